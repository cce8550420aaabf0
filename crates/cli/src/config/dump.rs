//! A config dump: sections by type, resources in several states of life.

use serde_json::Value;

#[derive(Debug)]
pub(super) struct Dump(Value);

impl Dump {
    pub(super) fn new(value: Value) -> Self {
        Dump(value)
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    pub(super) fn bootstrap(&self) -> Option<&Value> {
        self.sections("BootstrapConfigDump")
            .map(|section| &section["bootstrap"])
            .find(|value| value.is_object())
    }

    /// Static ones, then those in force.
    pub(super) fn clusters(&self) -> Vec<&Value> {
        self.resources(
            "ClustersConfigDump",
            &["static_clusters", "dynamic_active_clusters"],
            |entry| &entry["cluster"],
        )
    }

    pub(super) fn listeners(&self) -> Vec<&Value> {
        let inner = |entry: &Value| entry.get("listener").is_some();
        self.resources(
            "ListenersConfigDump",
            &["static_listeners", "dynamic_listeners"],
            move |entry| {
                if inner(entry) {
                    &entry["listener"]
                } else {
                    &entry["active_state"]["listener"]
                }
            },
        )
    }

    pub(super) fn routes(&self) -> Vec<&Value> {
        self.resources(
            "RoutesConfigDump",
            &["static_route_configs", "dynamic_route_configs"],
            |entry| &entry["route_config"],
        )
    }

    pub(super) fn endpoints(&self) -> Vec<&Value> {
        let lists = ["static_endpoint_configs", "dynamic_endpoint_configs"];
        self.resources("EndpointsConfigDump", &lists, |entry| &entry["endpoint_config"])
    }

    /// With their state: a secret that has not come is waited for.
    pub(super) fn secrets(&self) -> Vec<&Value> {
        let lists = ["static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"];
        self.resources("SecretsConfigDump", &lists, |entry| entry)
    }

    /// What the proxy has refused: name and reason.
    pub(super) fn refusals(&self) -> Vec<(String, String)> {
        let lists = [
            "dynamic_listeners",
            "dynamic_active_clusters",
            "dynamic_warming_clusters",
            "dynamic_route_configs",
            "dynamic_endpoint_configs",
        ];
        let sections = self.0["configs"].as_array().into_iter().flatten();
        let entries = sections.flat_map(|section| lists.iter().filter_map(|list| section[*list].as_array()).flatten());
        let refusal = |entry: &Value| {
            let why = entry["error_state"]["details"].as_str()?;
            let name = entry["name"]
                .as_str()
                .or_else(|| entry.pointer("/error_state/failed_configuration/name")?.as_str());
            Some((name.unwrap_or("?").to_owned(), why.to_owned()))
        };
        entries.filter_map(refusal).collect()
    }

    fn sections<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Value> {
        let all = self.0["configs"].as_array().into_iter().flatten();
        all.filter(move |section| section["@type"].as_str().is_some_and(|url| url.ends_with(name)))
    }

    fn resources<'a>(
        &'a self,
        section: &'static str,
        lists: &[&str],
        inner: impl Fn(&'a Value) -> &'a Value,
    ) -> Vec<&'a Value> {
        let mut found = Vec::new();
        for section in self.sections(section) {
            for list in lists {
                found.extend(
                    section[*list]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(&inner)
                        .filter(|value| value.is_object()),
                );
            }
        }
        found
    }
}

/// The object of ours that made a resource, from its metadata: `/apis/…/namespaces/ns/virtual-service/name` as `name.ns`.
pub(super) fn origin(resource: &Value) -> String {
    let path = resource
        .pointer("/metadata/filter_metadata/istio/config")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [.., "namespaces", namespace, _, name] => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A small dump as a sidecar gives it.
    pub(crate) fn sample() -> Dump {
        let url = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}");
        let origin = |kind: &str, name: &str| json!({"filter_metadata": {"istio": {"config": format!("/apis/networking.istio.io/v1/namespaces/default/{kind}/{name}")}}});
        let hcm = |rds: &str| json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": {"rds": {"route_config_name": rds}}});
        Dump::new(json!({"configs": [
            {"@type": url("BootstrapConfigDump"), "bootstrap": {"node": {"id": "sidecar~1"}}},
            {"@type": url("ClustersConfigDump"),
             "static_clusters": [{"cluster": {"name": "xds-grpc", "type": "STATIC"}}],
             "dynamic_active_clusters": [
                {"cluster": {"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "type": "EDS", "metadata": origin("destination-rule", "reviews")}},
                {"cluster": {"name": "inbound|9080||", "type": "ORIGINAL_DST"}}]},
            {"@type": url("ListenersConfigDump"),
             "static_listeners": [{"listener": {"name": "prometheus", "address": {"socket_address": {"address": "127.64.1.0", "port_value": 15090}},
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {"route_config": {"name": "stats"}}}]}]}}],
             "dynamic_listeners": [
                {"name": "0.0.0.0_9080", "active_state": {"listener": {"name": "0.0.0.0_9080", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 9080}},
                    "filter_chains": [{"filters": [hcm("9080")]}],
                    "default_filter_chain": {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": "PassthroughCluster"}}]}}}},
                {"name": "bad", "error_state": {"details": "no such filter"}}]},
            {"@type": url("RoutesConfigDump"),
             "dynamic_route_configs": [{"route_config": {"name": "9080", "virtual_hosts": [{
                "name": "reviews.default.svc.cluster.local:9080", "domains": ["reviews.default.svc.cluster.local", "reviews"],
                "routes": [
                    {"match": {"path": "/x", "headers": [{"name": "end-user"}]}, "metadata": origin("virtual-service", "reviews"), "route": {"cluster": "c"}},
                    {"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}]}}]},
            {"@type": url("EndpointsConfigDump"),
             "dynamic_endpoint_configs": [{"endpoint_config": {"cluster_name": "outbound|9080||reviews", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.64.1.2", "port_value": 9080}}}, "health_status": "DRAINING"}]}]}}]},
            {"@type": url("SecretsConfigDump"),
             "dynamic_active_secrets": [{"name": "default", "secret": {"name": "default", "tls_certificate": {"certificate_chain": {"inline_bytes": "bm9uZQ=="}}}}],
             "dynamic_warming_secrets": [{"name": "ROOTCA", "secret": {"name": "ROOTCA", "validation_context": {}}}]},
        ]}))
    }

    #[test]
    fn sections_are_found_by_type() {
        let dump = sample();
        assert_eq!(dump.bootstrap().unwrap()["node"]["id"], "sidecar~1");
        let counts = [
            dump.clusters().len(),
            dump.listeners().len(),
            dump.routes().len(),
            dump.endpoints().len(),
            dump.secrets().len(),
        ];
        assert_eq!(counts, [3, 2, 1, 1, 2]);
        assert_eq!(dump.refusals(), [("bad".to_owned(), "no such filter".to_owned())]);
        assert_eq!(origin(dump.clusters()[1]), "reviews.default");
        assert_eq!(origin(dump.clusters()[2]), "");
        assert!(Dump::new(json!("noise")).clusters().is_empty());
    }
}
