//! From the reference that a resource carries to the file and line where its object was written.

use std::collections::HashMap;
use std::fmt;

use proto::meltemi::origins::v1::{Origin, Origins};
use proto::reference::{Reference, kind_word};
use serde::Serialize;

/// An object, the rule in it, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Name or number of the rule, the subset, the server; empty for the object as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) rule: String,
    /// Empty where the control plane does not know it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) file: String,
    /// From 1; 0: unknown.
    pub(crate) line: u32,
}

/// All places, by the reference of their object.
pub(super) struct Places<'a>(HashMap<String, &'a Origin>);

// === impl Places ===

impl<'a> Places<'a> {
    pub(super) fn new(origins: &'a Origins) -> Self {
        let key = |origin: &Origin| key(&kind_word(&origin.kind), &origin.namespace, &origin.name);
        Places(origins.origins.iter().map(|origin| (key(origin), origin)).collect())
    }

    /// `None` for a resource that no object of a user wanted.
    pub(super) fn find(&self, reference: &str, rule: &str) -> Option<Place> {
        let Reference {
            group,
            namespace,
            kind,
            name,
        } = Reference::read(reference)?;
        // Where two groups have a kind of one name, the group is part of the other's name.
        let qualified = key(&format!("{kind}.{group}"), namespace, name);
        let known = self
            .0
            .get(&qualified)
            .or_else(|| self.0.get(&key(kind, namespace, name)));
        let line = known.map_or(0, |origin| {
            let part = origin.parts.iter().find(|part| part.name == rule);
            part.map_or(origin.line, |part| part.line)
        });
        Some(Place {
            kind: known.map_or_else(|| kind.to_owned(), |origin| origin.kind.clone()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            rule: rule.to_owned(),
            file: known.map(|origin| origin.file.clone()).unwrap_or_default(),
            line,
        })
    }
}

fn key(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)?;
        if !self.rule.is_empty() {
            write!(f, " [{}]", self.rule)?;
        }
        if !self.file.is_empty() {
            write!(f, " {}:{}", self.file, self.line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::meltemi::origins::v1::Part;

    #[test]
    fn a_reference_leads_to_the_line_of_the_rule() {
        let part = |name: &str, line| Part {
            name: name.into(),
            line,
        };
        let origins = Origins {
            origins: vec![Origin {
                kind: "VirtualService".into(),
                namespace: "shop".into(),
                name: "reviews".into(),
                file: "routes.yaml".into(),
                line: 3,
                generation: 1,
                parts: vec![part("canary", 12), part("1", 20)],
            }],
        };
        let mut origins = origins;
        for (kind, line) in [
            ("HTTPRoute", 30),
            ("Gateway", 40),
            ("Gateway.gateway.networking.k8s.io", 50),
        ] {
            origins.origins.push(Origin {
                kind: kind.into(),
                namespace: "shop".into(),
                name: "web".into(),
                file: "web.yaml".into(),
                line,
                ..Origin::default()
            });
        }
        let places = Places::new(&origins);
        let reference = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews";
        let cases = [
            (reference, "canary", Some(("routes.yaml", 12))),
            (reference, "1", Some(("routes.yaml", 20))),
            (reference, "", Some(("routes.yaml", 3))),
            (reference, "unknown", Some(("routes.yaml", 3))),
            (
                "/apis/networking.istio.io/v1/namespaces/shop/gateway/reviews",
                "",
                Some(("", 0)),
            ),
            (
                "/apis/gateway.networking.k8s.io/v1/namespaces/shop/http-route/web",
                "",
                Some(("web.yaml", 30)),
            ),
            (
                "/apis/networking.istio.io/v1/namespaces/shop/gateway/web",
                "",
                Some(("web.yaml", 40)),
            ),
            (
                "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateway/web",
                "",
                Some(("web.yaml", 50)),
            ),
            ("", "", None),
        ];
        for (reference, rule, expected) in cases {
            let found = places.find(reference, rule);
            let found = found.as_ref().map(|place| (place.file.as_str(), place.line));
            assert_eq!(found, expected, "{reference} {rule}");
        }
        let shown = places.find(reference, "canary").map(|place| place.to_string());
        assert_eq!(
            shown.as_deref(),
            Some("VirtualService shop/reviews [canary] routes.yaml:12")
        );
    }
}
