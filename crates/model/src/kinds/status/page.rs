//! The compatibility page, made from the tables.

use std::fmt::Write;

use super::{Status, of};
use crate::kinds::catalog::{self, Effect, Scope};
use crate::kinds::shape::Shape;

const HEAD: &str = "\
# Compatibility

This page is generated from the tables in `crates/model/src/kinds/status` and `crates/model/src/kinds/catalog.rs`; a test keeps
the two equal. To renew it: `UPDATE=1 cargo test -p model compatibility`.

Every field of every API version is read. What a field does is one of these; `meltemi up` says what is reported, and so does
`/debug/status` of pilot-discovery:

| Status | Meaning |
|---|---|
| works | has its effect with our own proxy and with Envoy |
| Envoy only | has its effect only with Envoy as the data plane (`--data-plane envoy`); is **reported**, since our own proxy does without it |
| no effect | is read, checked and **reported** with its file and line, and changes nothing yet |

A field that no version of the API knows is reported too, with the name that was probably meant. Field names are read in both
of protobuf's spellings (`httpHeaderName`, `http_header_name`); `null` means \"not given\".
";

/// Renders the whole page.
pub fn compatibility_page() -> String {
    let mut page = HEAD.to_owned();
    decisions(&mut page);
    kinds(&mut page);
    kubernetes(&mut page);
    for (kind, shape) in catalog::shapes() {
        let effect = catalog::by_kind(kind).map_or(Effect::Works, |entry| entry.effect);
        fields(&mut page, kind, effect, shape);
    }
    page
}

fn decisions(page: &mut String) {
    page.push_str(
        "\n## Decisions where the original's text and its behaviour differ\n\nThe documented intent wins.\n\n",
    );
    for decision in DECISIONS {
        let _ = writeln!(page, "- {decision}");
    }
}

fn kinds(page: &mut String) {
    page.push_str("\n## Kinds\n\n| Kind | Group | Versions | Scope | Status |\n|---|---|---|---|---|\n");
    for entry in catalog::ENTRIES {
        let scope = if entry.scope == Scope::Cluster {
            "cluster"
        } else {
            "namespace"
        };
        let group = if entry.group.is_empty() { "(core)" } else { entry.group };
        let _ = writeln!(
            page,
            "| {} | {group} | {} | {scope} | {} |",
            entry.kind,
            entry.versions.join(", "),
            entry.effect.describe()
        );
    }
    page.push_str("\nMeshConfig is no object of its own: a file given to `--meshConfig`, or the key `mesh` of the ConfigMap `istio`.\n");
}

fn kubernetes(page: &mut String) {
    page.push_str(
        "\n## Kubernetes' own kinds\n\nThe mesh reads these fields; all others are between you and Kubernetes, and are not \
         looked at. In local mode, where there is no Kubernetes, what a Pod or a Deployment asks for beyond them is reported by \
         name.\n\n| Kind | Fields with an effect |\n|---|---|\n",
    );
    for (kind, fields) in KUBERNETES {
        let _ = writeln!(page, "| {kind} | {fields} |");
    }
}

fn fields(page: &mut String, kind: &str, effect: Effect, shape: &Shape) {
    let _ = writeln!(page, "\n## {kind}\n");
    if effect != Effect::Works {
        let _ = writeln!(page, "The kind as a whole {}.\n", effect.describe());
    }
    page.push_str("| Field | Value | Status | Note |\n|---|---|---|---|\n");
    // Path of the field without effect that the walk is below, if any.
    let mut dead: Option<String> = (effect != Effect::Works).then(String::new);
    shape.fields(&mut |path, message, field, below| {
        if dead.as_ref().is_some_and(|top| !top.is_empty() && !is_below(path, top)) {
            dead = None;
        }
        let known = of(message, field);
        let note = known.map_or("", |(_, note)| note);
        let status = if dead.is_some() {
            Status::Unsupported
        } else {
            known.map_or(Status::Unsupported, |(status, _)| status)
        };
        if status == Status::Unsupported && dead.is_none() {
            dead = Some(path.to_owned());
        }
        let _ = writeln!(page, "| `{path}` | {} | {} | {note} |", below.describe(), word(status));
        true
    });
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.starts_with(['.', '[']))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Works => "works",
        Status::EnvoyOnly => "Envoy only",
        Status::Unsupported => "no effect",
    }
}

/// What is read of kinds that the mesh does not define.
const KUBERNETES: &[(&str, &str)] = &[
    (
        "all",
        "`metadata.name`, `namespace`, `labels`, `annotations`, `creationTimestamp`; of Pods also `ownerReferences`, `deletionTimestamp`",
    ),
    (
        "Namespace",
        "its name and labels, for `allowedRoutes` of the Gateway API",
    ),
    (
        "Node",
        "labels `topology.kubernetes.io/region` and `zone` (or `failure-domain.beta.kubernetes.io/…`), `topology.istio.io/subzone`",
    ),
    (
        "Service",
        "`spec.type`, `externalName`, `clusterIP` (the first address only), `selector`, `publishNotReadyAddresses`, `ports[].name`, `port`, \
         `protocol`, `appProtocol`, `targetPort`; annotations `networking.istio.io/exportTo`, \
         `alpha.istio.io/canonical-serviceaccounts`, `alpha.istio.io/kubernetes-serviceaccounts`",
    ),
    (
        "Endpoints",
        "`subsets[].addresses[]` and `notReadyAddresses[]`: `ip`, `targetRef`; `subsets[].ports[]`: `name`, `port`",
    ),
    (
        "EndpointSlice",
        "label `kubernetes.io/service-name`; `endpoints[].addresses` (the first), `conditions`, `targetRef`, `zone`; `ports[].name`, `port`",
    ),
    (
        "Pod",
        "`spec.serviceAccountName`, `nodeName`; `status.phase`, `podIP`, `podIPs`, `conditions`; labels `security.istio.io/tlsMode`, \
         `service.istio.io/canonical-name` and `-revision`, `istio-locality`; annotation \
         `sidecar.istio.io/status`",
    ),
    ("Deployment", "in local mode: `spec.replicas`, `strategy`, `template`"),
    ("ServiceAccount", "its name is the identity"),
    (
        "ConfigMap",
        "`istio` in `istio-system`: the key `mesh`; in local mode all, for `env` and `envFrom`",
    ),
    (
        "Secret",
        "certificates that Gateways and Ingresses name; in local mode `cacerts` in `istio-system` as the CA, and all for `env` and \
         `envFrom`",
    ),
];

const DECISIONS: &[&str] = &[
    "`retries.attempts: 0` is valid and switches retries off; 1.1's validation refused it.",
    "`match.sourceLabels` counts beside `match.gateways`; 1.1 ignored it there.",
    "An EnvoyFilter applies in its own namespace, in the root namespace to all; 1.1's form applied everywhere.",
    "An EnvoyFilter's MERGE replaces durations and wrapped values as a whole, so a written `false` or `0` of a wrapped value counts; \
     today's control plane merges wrapped values, where a `false` changes nothing.",
    "A HTTP or network filter that an EnvoyFilter adds comes before the one that ends the chain, and that one cannot be removed alone: \
     Envoy would refuse the listener. For the same reason a domain that is taken is left out of an added virtual host.",
    "A MERGE of a cluster or chain with a `transport_socket` merges the other fields of the value too; today's control plane drops them.",
    "An EXTENSION_CONFIG of an EnvoyFilter is put into the filters that refer to it, and not served apart.",
    "DestinationRules for one host are merged oldest first: subsets are added, the first policy counts, also when it stands in a \
     rule without subsets.",
    "`exportTo` takes any number of namespaces, `.`, `*` and `~`; 1.1 read the first entry only.",
    "Weights of a route may have any sum; 1.1 wanted 100.",
    "An empty Endpoints object removes its endpoints at once; 1.1 waited for the next push.",
    "An object that breaks a rule is refused whole: its last good version stays in force.",
    "Two objects of one kind and name: the first one read (by source, then by file name) counts, the other is reported.",
    "`destination_service` of requests to a host outside the registry is `PassthroughCluster`, as `destination_service_name` is; \
     today's sidecar takes it from the request's `Host`, which lets a client make any number of series.",
    "Gateway API: a Gateway is served by the workloads of the Service that `spec.addresses` names (type `Hostname`), else by those \
     of a Service that selects `gateway.networking.k8s.io/gateway-name: <its name>`, else by the mesh's ingress gateway \
     (`ingressService`); none is deployed.",
    "Gateway API: what the rules for a host name leave, those for a wider name of the same listener may take, as the API says.",
    "Gateway API: path conditions that are regular expressions come after prefixes, and before what matches everything.",
    "Gateway API: routes with a Service as parent count before VirtualServices in the namespace of a client that wrote them for \
     itself; everywhere else the older counts.",
    "Ingress: the default backend takes what no path of any Ingress takes (Istio ignores it); a certificate's Secret is sought in \
     the Ingress's own namespace, then in the gateway's; `*.example.com` stands for any number of labels.",
    "Where two objects claim the same thing, the older wins. Objects without `metadata.creationTimestamp` are the oldest; those of \
     equal age are ordered by namespace and name, so that moving an object inside a file or to another changes nothing.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatibility_page_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        let page = compatibility_page();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &page).expect("docs/compatibility.md can be written");
        }
        let stored = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            stored == page,
            "docs/compatibility.md is out of date: run UPDATE=1 cargo test -p model compatibility"
        );
    }
}
