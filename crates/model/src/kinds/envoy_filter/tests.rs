use serde_json::{Value, json};

use super::*;
use crate::kinds::validate::{Issues, Severity};
use crate::mesh::{EnvoyOperation, EnvoyPatches, EnvoyTarget};

fn compile(spec: Value) -> (EnvoyPatches, Vec<String>) {
    let filter: EnvoyFilter = serde_json::from_value(spec).expect("well-typed");
    let mut issues = Issues::default();
    let patches = filter.compile(&mut issues);
    let text = |issue: crate::kinds::validate::Issue| {
        let mark = if issue.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        format!("{mark} {}: {} ({})", issue.path, issue.rule, issue.way_out)
    };
    (patches, issues.into_vec().into_iter().map(text).collect())
}

fn patch(apply_to: &str, wanted: Value, operation: &str, value: Value) -> Value {
    json!({ "configPatches": [{ "applyTo": apply_to, "match": wanted, "patch": { "operation": operation, "value": value } }] })
}

const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";

#[test]
fn values_are_checked_where_they_stand() {
    let cases = [
        (
            patch("CLUSTER", json!({}), "MERGE", json!({ "conect_timeout": "1s" })),
            "error spec.configPatches[0].patch.value.conect_timeout: envoy.config.cluster.v3.Cluster has no field \"conect_timeout\" \
             (write connect_timeout)",
        ),
        (
            patch("CLUSTER", json!({}), "MERGE", json!({ "connect_timeout": 1 })),
            "error spec.configPatches[0].patch.value.connect_timeout: the number 1 stands where a duration",
        ),
        (
            patch(
                "HTTP_FILTER",
                json!({}),
                "ADD",
                json!({ "name": "x", "typed_config": { "@type": "type.googleapis.com/envoy.config.filter.http.lua.v2.Lua" } }),
            ),
            "error spec.configPatches[0].patch.value.typed_config.@type: there is no message \
             \"type.googleapis.com/envoy.config.filter.http.lua.v2.Lua\" in Envoy's API (write one of envoy.extensions.filters.http.lua.v3.Lua, ",
        ),
        (
            patch("HTTP_FILTER", json!({}), "ADD", json!({ "name": "x", "config": {} })),
            "error spec.configPatches[0].patch.value.config: envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter has no field",
        ),
        (
            patch("CLUSTER", json!({}), "ADD", json!({ "connect_timeout": "1s" })),
            "error spec.configPatches[0].patch.value.name: what is added",
        ),
        (
            patch("CLUSTER", json!({ "listener": {} }), "MERGE", json!({})),
            "error spec.configPatches[0].match: what is matched",
        ),
        (
            patch("CLUSTER", json!({}), "INVALID", json!({})),
            "error spec.configPatches[0].patch.operation: a patch must say",
        ),
        (
            patch("INVALID", json!({}), "MERGE", json!({})),
            "error spec.configPatches[0].applyTo: a patch must say",
        ),
        (
            json!({ "configPatches": [{ "applyTo": "CLUSTER", "patch": { "operation": "MERGE" } }] }),
            "error spec.configPatches[0].patch.value: this",
        ),
        (
            patch(
                "CLUSTER",
                json!({ "proxy": { "proxyVersion": "(" } }),
                "MERGE",
                json!({}),
            ),
            "error spec.configPatches[0].match.proxy.proxyVersion: \"(\" is no regular expression",
        ),
        (
            patch(
                "LISTENER",
                json!({}),
                "MERGE",
                json!({ "continue_on_listener_filters_timeout": false }),
            ),
            "warning spec.configPatches[0].patch.value.continue_on_listener_filters_timeout: has no effect",
        ),
        (
            patch("ROUTE_CONFIGURATION", json!({}), "ADD", json!({})),
            "warning spec.configPatches[0].patch.operation: this operation",
        ),
        (
            patch("BOOTSTRAP", json!({}), "MERGE", json!({})),
            "warning spec.configPatches[0].applyTo: has no effect",
        ),
        (
            patch("CLUSTER", json!({ "context": "WAYPOINT" }), "MERGE", json!({})),
            "warning spec.configPatches[0].match: has no effect",
        ),
        (
            patch(
                "HTTP_FILTER",
                json!({ "listener": { "filterChain": { "filter": { "name": "envoy.http_connection_manager" } } } }),
                "REMOVE",
                Value::Null,
            ),
            "warning spec.configPatches[0].match.listener.filterChain.filter.name: matches nothing",
        ),
        (
            json!({ "targetRefs": [{ "group": "", "kind": "Service", "name": "x" }] }),
            "warning spec.targetRefs[0]: has no effect",
        ),
        (
            json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.lua", "filterConfig": { "inlineCodes": "x" } }] }),
            "error spec.filters[0].filterConfig.inlineCodes: envoy.extensions.filters.http.lua.v3.Lua has no field \"inlineCodes\" (write inline_code)",
        ),
        (
            json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.luaa" }] }),
            "error spec.filters[0].filterName: \"envoy.luaa\" is no filter of this form (write envoy.lua)",
        ),
        (
            json!({ "filters": [{ "filterName": "envoy.lua" }] }),
            "error spec.filters[0].filterType",
        ),
        (
            json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.cors", "insertPosition": { "index": "BEFORE" } }] }),
            "error spec.filters[0].insertPosition.relativeTo",
        ),
        (
            json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.cors", "listenerMatch": { "address": ["x"] } }] }),
            "error spec.filters[0].listenerMatch.address[0]",
        ),
    ];
    for (spec, expected) in cases {
        let (_, issues) = compile(spec.clone());
        assert_eq!(issues.len(), 1, "{spec}: {issues:#?}");
        assert!(issues[0].starts_with(expected), "{spec}: {}", issues[0]);
    }
}

#[test]
fn what_is_inserted_where_there_is_no_order_is_added() {
    let value = json!({ "name": "x" });
    for (apply_to, operation, expected) in [
        ("CLUSTER", "INSERT_BEFORE", EnvoyOperation::Add),
        ("LISTENER", "INSERT_FIRST", EnvoyOperation::Add),
        ("HTTP_FILTER", "INSERT_BEFORE", EnvoyOperation::Before),
        ("LISTENER_FILTER", "INSERT_AFTER", EnvoyOperation::After),
        ("CLUSTER", "MERGE_AND_REPLACE_LIST", EnvoyOperation::MergeReplacingLists),
    ] {
        let (patches, issues) = compile(patch(apply_to, json!({}), operation, value.clone()));
        assert!(issues.is_empty(), "{issues:?}");
        assert_eq!(patches.patches[0].operation, expected, "{apply_to} {operation}");
    }
}

#[test]
fn the_early_form_becomes_the_later_one() {
    let (patches, issues) = compile(json!({
        "workloadLabels": { "app": "reviews" },
        "filters": [{
            "listenerMatch": { "portNumber": 9080, "listenerType": "SIDECAR_INBOUND", "listenerProtocol": "HTTP", "address": ["10.0.0.0/8"] },
            "insertPosition": { "index": "BEFORE", "relativeTo": "envoy.router" },
            "filterType": "HTTP", "filterName": "envoy.lua",
            "filterConfig": { "default_source_code": { "inline_string": "x" } },
        }],
    }));
    assert_eq!(issues, Vec::<String>::new());
    assert_eq!(patches.selector.get("app").map(String::as_str), Some("reviews"));
    let made = &patches.patches[0];
    let (same, _) = compile(patch(
        "HTTP_FILTER",
        json!({}),
        "INSERT_BEFORE",
        json!({
            "name": "envoy.filters.http.lua",
            "typed_config": { "@type": LUA, "default_source_code": { "inline_string": "x" } },
        }),
    ));
    assert_eq!(made.value, same.patches[0].value);
    assert_eq!(
        (made.operation, made.context),
        (EnvoyOperation::Before, PatchContext::SidecarInbound)
    );
    let EnvoyTarget::Listener(target) = &made.target else {
        panic!("a listener")
    };
    let filter = target
        .listener
        .filter_chain
        .as_ref()
        .and_then(|chain| chain.filter.as_ref())
        .expect("a filter");
    assert_eq!(
        filter.sub_filter.as_ref().map(|sub| sub.name.as_str()),
        Some("envoy.filters.http.router")
    );
    assert_eq!(target.listener.port_number, 9080);
}

#[test]
fn what_our_own_proxy_does_not_have_is_named_where_it_stands() {
    use crate::kinds::shape::Finding;
    use crate::kinds::validate::Validate;
    let lua = json!({ "name": "x", "typed_config": { "@type": LUA } });
    let early = json!({ "filters": [{ "filterType": "HTTP", "filterName": "envoy.lua" }] });
    let cases = [
        (
            patch("HTTP_FILTER", json!({}), "ADD", lua),
            Some("spec.configPatches[0].patch.value.typed_config"),
        ),
        (
            patch("LISTENER", json!({}), "MERGE", json!({ "socket_options": [{}] })),
            Some("spec.configPatches[0].patch.value.socket_options"),
        ),
        (
            patch("CLUSTER", json!({}), "MERGE", json!({ "alt_stat_name": "x" })),
            Some("spec.configPatches[0].patch.value.alt_stat_name"),
        ),
        (
            patch(
                "CLUSTER",
                json!({}),
                "MERGE",
                json!({ "lb_policy": "CLUSTER_PROVIDED" }),
            ),
            Some("spec.configPatches[0].patch.value.lb_policy"),
        ),
        (
            patch("CLUSTER", json!({}), "MERGE", json!({ "connect_timeout": "1s" })),
            None,
        ),
        (early, Some("spec.filters[0].filterConfig")),
    ];
    for (spec, expected) in cases {
        let filter: EnvoyFilter = serde_json::from_value(spec.clone()).expect("well-typed");
        let found = filter.envoy_only();
        let paths: Vec<_> = found
            .iter()
            .map(|finding| match finding {
                Finding::EnvoyOnly { path, .. } => path.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(paths, expected.into_iter().collect::<Vec<_>>(), "{spec}");
    }
}

#[test]
fn every_filter_of_the_early_form_is_a_message() {
    for (kind, names) in [
        (
            "HTTP",
            &[
                "envoy.buffer",
                "envoy.filters.http.tap",
                "envoy.filters.http.rbac",
                "envoy.ip_tagging",
                "envoy.rate_limit",
            ] as &[_],
        ),
        (
            "NETWORK",
            &[
                "envoy.echo",
                "envoy.redis_proxy",
                "envoy.filters.network.zookeeper_proxy",
                "envoy.ratelimit",
            ],
        ),
    ] {
        for name in names {
            let (patches, issues) = compile(json!({ "filters": [{ "filterType": kind, "filterName": name }] }));
            assert!(issues.is_empty() && patches.patches.len() == 1, "{name}: {issues:?}");
        }
    }
}
