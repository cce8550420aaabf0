//! Which of Envoy's statistics are kept, and how their names become labels.
//!
//! A mesh has thousands of clusters and Envoy a hundred counters for each: by default only those are kept that the mesh itself reads (readiness,
//! drain, refusals). A pod's annotations add to them.

use serde_json::{Value, json};

const PREFIXES: [&str; 6] = [
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "cluster.sds-grpc",
    "sds.",
];
const SUFFIXES: [&str; 6] = [
    "update_rejected",
    "update_success",
    "downstream_cx_active",
    "rbac.allowed",
    "rbac.denied",
    "ssl_context_update_by_sds",
];

/// What a pod's annotations ask for beyond the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inclusion {
    /// `sidecar.istio.io/statsInclusionPrefixes`
    pub prefixes: Vec<String>,
    /// `sidecar.istio.io/statsInclusionSuffixes`
    pub suffixes: Vec<String>,
    /// `sidecar.istio.io/statsInclusionRegexps`
    pub regexps: Vec<String>,
}

pub(super) fn render(inclusion: &Inclusion, cluster_domain: &str) -> Value {
    let words = |key: &str, fixed: &[&str], more: &[String]| -> Vec<Value> {
        fixed
            .iter()
            .copied()
            .chain(more.iter().map(String::as_str))
            .map(|word| json!({ key: word }))
            .collect()
    };
    let mut patterns = words("prefix", &PREFIXES, &inclusion.prefixes);
    patterns.extend(words("suffix", &SUFFIXES, &inclusion.suffixes));
    patterns.extend(
        inclusion
            .regexps
            .iter()
            .map(|regex| json!({ "safe_regex": { "regex": regex } })),
    );
    json!({
        "use_all_default_tags": false,
        "stats_tags": tags(cluster_domain),
        "stats_matcher": { "inclusion_list": { "patterns": patterns } },
    })
}

/// The first group is cut from the name, the second becomes the label. A cluster's name holds dots: one of a service of the mesh ends
/// with the domain, any other with its first dot.
fn tags(cluster_domain: &str) -> Vec<Value> {
    let domain = cluster_domain.replace('.', r"\.");
    let extracted = [
        ("cluster_name", format!(r"^cluster\.((.+?(?:\.[^.]+\.{domain})?)\.)")),
        (
            "http_conn_manager_prefix",
            r"^http\.((outbound_[^.]*\.[0-9.]+_\d+|inbound_[^.]*\.[0-9.]+_\d+|[^.]+)\.)".into(),
        ),
        ("tcp_prefix", r"^tcp\.((.+?)\.)\w+$".into()),
        (
            "listener_address",
            r"^listener\.((\[[^\]]*\]_\d+|[0-9.]+_\d+|[^.]+)\.)".into(),
        ),
        ("response_code", r"_rq(_(\d{3}))$".into()),
        ("response_code_class", r"_rq(_(\dxx))$".into()),
    ];
    extracted
        .into_iter()
        .map(|(name, regex)| json!({ "tag_name": name, "regex": regex }))
        .collect()
}
