//! The stable reference by which metadata names the object that wanted a resource:
//! `/apis/<group>/<version>/namespaces/<namespace>/<kind>/<name>`. The control plane writes it, proxies read it.

/// An object, as a reference names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    pub group: &'a str,
    pub namespace: &'a str,
    /// As [`kind_word`] writes it.
    pub kind: &'a str,
    pub name: &'a str,
}

impl<'a> Reference<'a> {
    /// `None` for a text that is no reference, as where nobody wanted a resource.
    pub fn read(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [.., group, _, "namespaces", namespace, kind, name] = parts[..] else {
            return None;
        };
        Some(Reference {
            group,
            namespace,
            kind,
            name,
        })
    }
}

/// `api`: group and version. The kind is written as its [`kind_word`].
pub fn write(api: &str, namespace: &str, kind: &str, name: &str) -> String {
    format!("/apis/{api}/namespaces/{namespace}/{}/{name}", kind_word(kind))
}

/// `DestinationRule` is `destination-rule`, `HTTPRoute` is `http-route`.
pub fn kind_word(kind: &str) -> String {
    let letters: Vec<char> = kind.chars().collect();
    let mut text = String::with_capacity(kind.len() + 2);
    for (at, letter) in letters.iter().enumerate() {
        let lower = |index: usize| letters.get(index).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && at > 0 && (lower(at - 1) || lower(at + 1)) {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = write("networking.istio.io/v1", "shop", "DestinationRule", "reviews");
        assert_eq!(
            text,
            "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/reviews"
        );
        let expected = Reference {
            group: "networking.istio.io",
            namespace: "shop",
            kind: "destination-rule",
            name: "reviews",
        };
        assert_eq!(Reference::read(&text), Some(expected));
        for other in ["", "reviews", "/apis/x/y/shop/destination-rule/reviews"] {
            assert_eq!(Reference::read(other), None, "{other}");
        }
    }
}
