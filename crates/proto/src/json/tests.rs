use prost::Message as _;
use serde_json::json;

use super::*;
use crate::envoy::envoy::config::cluster::v3::{Cluster, cluster};
use crate::envoy::envoy::config::core::v3 as core;
use crate::envoy::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use crate::envoy::google::protobuf as google;

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
const HTTP_FILTER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";

fn read<M: prost::Message + Default>(name: &str, value: &Value) -> M {
    let encoded = encode(name, value).unwrap_or_else(|faults| panic!("{value}: {faults:#?}"));
    M::decode(encoded.bytes.as_slice()).expect("what was encoded decodes")
}

#[test]
fn every_kind_of_field_is_read() {
    let made: Cluster = read(
        CLUSTER,
        &json!({
            "name": "a", "type": "STRICT_DNS", "connectTimeout": "1.5s", "max_requests_per_connection": 7,
            "per_connection_buffer_limit_bytes": "32768", "lb_policy": 3,
            "dns_lookup_family": "V4_ONLY", "connection_pool_per_downstream_connection": true,
            "common_lb_config": { "healthy_panic_threshold": { "value": 12.5 } },
            "metadata": { "filter_metadata": { "istio": { "b": [1, null, "x", false], "a": { "c": "d" } } } },
            "load_assignment": { "cluster_name": "a", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": { "socket_address": { "address": "::1", "port_value": 80 } },
            } }] }] },
            "typed_extension_protocol_options": {
                "x": { "@type": "type.googleapis.com/google.protobuf.Duration", "value": "2s" },
            },
        }),
    );
    assert_eq!((made.name.as_str(), made.lb_policy), ("a", 3));
    assert_eq!(
        made.connect_timeout,
        Some(google::Duration {
            seconds: 1,
            nanos: 500_000_000
        })
    );
    assert_eq!(
        made.per_connection_buffer_limit_bytes,
        Some(google::UInt32Value { value: 32768 })
    );
    let kind = Some(cluster::ClusterDiscoveryType::Type(
        cluster::DiscoveryType::StrictDns.into(),
    ));
    assert_eq!(made.cluster_discovery_type, kind);
    assert!(made.connection_pool_per_downstream_connection);
    let istio = &made.metadata.expect("there").filter_metadata["istio"];
    let Some(google::value::Kind::ListValue(list)) = &istio.fields["b"].kind else {
        panic!("a list")
    };
    assert_eq!(list.values[0].kind, Some(google::value::Kind::NumberValue(1.0)));
    assert_eq!(list.values[1].kind, Some(google::value::Kind::NullValue(0)));
    assert_eq!(list.values[3].kind, Some(google::value::Kind::BoolValue(false)));
    let endpoint = &made.load_assignment.expect("there").endpoints[0].lb_endpoints[0];
    let identifier = endpoint.host_identifier.clone().expect("there");
    let crate::envoy::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier::Endpoint(endpoint) = identifier else {
        panic!("an endpoint")
    };
    let Some(core::address::Address::SocketAddress(socket)) = endpoint.address.expect("there").address else {
        panic!("a socket")
    };
    assert_eq!(
        socket.port_specifier,
        Some(core::socket_address::PortSpecifier::PortValue(80))
    );
    let any = &made.typed_extension_protocol_options["x"];
    assert_eq!(any.type_url, "type.googleapis.com/google.protobuf.Duration");
    assert_eq!(
        google::Duration::decode(any.value.as_slice()).expect("decodes").seconds,
        2
    );
}

#[test]
fn a_typed_config_is_the_message_it_names() {
    use crate::envoy::envoy::extensions::filters::http::lua::v3::Lua;
    let made: HttpFilter = read(
        HTTP_FILTER,
        &json!({ "name": "lua", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": "x" },
        } }),
    );
    let Some(crate::envoy::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType::TypedConfig(any)) =
        made.config_type
    else {
        panic!("typed")
    };
    let lua = Lua::decode(any.value.as_slice()).expect("a Lua");
    let Some(core::data_source::Specifier::InlineString(code)) = lua.default_source_code.expect("there").specifier
    else {
        panic!("inline")
    };
    assert_eq!(code, "x");
}

#[test]
fn laid_over_another_message_it_merges() {
    let base: Cluster = read(
        CLUSTER,
        &json!({
            "name": "a", "connect_timeout": "0.5s", "connection_pool_per_downstream_connection": true,
            "upstream_connection_options": { "tcp_keepalive": { "keepalive_time": 5, "keepalive_interval": 6 } },
            "health_checks": [{ "alt_port": 1 }],
            "metadata": { "filter_metadata": { "a": { "x": 1 }, "b": { "x": 1 } } },
        }),
    );
    let patch = encode(
        CLUSTER,
        &json!({
            "connect_timeout": "2s", "connection_pool_per_downstream_connection": false,
            "upstream_connection_options": { "tcp_keepalive": { "keepalive_time": 0 } },
            "health_checks": [{ "alt_port": 2 }],
            "metadata": { "filter_metadata": { "a": { "y": 2 } } },
        }),
    )
    .expect("valid");
    let mut merged = base.clone();
    merged.merge(patch.bytes.as_slice()).expect("decodes");
    assert_eq!(
        merged.connect_timeout,
        Some(google::Duration { seconds: 2, nanos: 0 }),
        "replaced, not merged"
    );
    assert!(
        merged.connection_pool_per_downstream_connection,
        "protobuf does not tell a false from nothing"
    );
    assert_eq!(patch.zeros, ["connection_pool_per_downstream_connection"]);
    let keepalive = merged
        .upstream_connection_options
        .and_then(|options| options.tcp_keepalive)
        .expect("there");
    assert_eq!(
        keepalive.keepalive_time,
        Some(google::UInt32Value { value: 0 }),
        "a wrapper is replaced"
    );
    assert_eq!(keepalive.keepalive_interval, Some(google::UInt32Value { value: 6 }));
    assert_eq!(merged.health_checks.len(), 2, "lists grow");
    let metadata = merged.metadata.expect("there").filter_metadata;
    assert!(
        metadata["a"].fields.contains_key("y") && !metadata["a"].fields.contains_key("x"),
        "entries are replaced"
    );
    assert!(metadata.contains_key("b"));
}

#[test]
fn equal_values_have_equal_bytes() {
    let forth = json!({ "metadata": { "filter_metadata": { "a": { "x": 1, "y": 2 }, "b": {} } } });
    let back = json!({ "metadata": { "filter_metadata": { "b": {}, "a": { "y": 2, "x": 1 } } } });
    assert_eq!(encode(CLUSTER, &forth), encode(CLUSTER, &back));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
    let cases = [
        (
            CLUSTER,
            json!({ "conect_timeout": "1s" }),
            "conect_timeout",
            "has no field \"conect_timeout\"",
        ),
        (
            CLUSTER,
            json!({ "connect_timeout": 5 }),
            "connect_timeout",
            "the number 5 stands where a duration",
        ),
        (
            CLUSTER,
            json!({ "connect_timeout": "5m" }),
            "connect_timeout",
            "\"5m\" stands where a duration",
        ),
        (
            CLUSTER,
            json!({ "connection_pool_per_downstream_connection": "true" }),
            "connection_pool_per_downstream_connection",
            "true or false belongs",
        ),
        (CLUSTER, json!({ "name": 1 }), "name", "a text in quotes belongs"),
        (
            CLUSTER,
            json!({ "lb_policy": "ROUND" }),
            "lb_policy",
            "\"ROUND\" is none of the values",
        ),
        (
            CLUSTER,
            json!({ "lb_policy": 99 }),
            "lb_policy",
            "\"99\" is none of the values",
        ),
        (
            CLUSTER,
            json!({ "health_checks": {} }),
            "health_checks",
            "a list belongs",
        ),
        (
            CLUSTER,
            json!({ "health_checks": [{}, { "alt_port": -1 }] }),
            "health_checks[1].alt_port",
            "out of range",
        ),
        (
            CLUSTER,
            json!({ "metadata": { "filter_metadata": { "a": 1 } } }),
            "metadata.filter_metadata.a",
            "a map belongs",
        ),
        (
            CLUSTER,
            json!({ "type": "EDS", "cluster_type": {} }),
            "cluster_type",
            "type and cluster_type exclude each other",
        ),
        (
            CLUSTER,
            json!({ "connectTimeout": "1s", "connect_timeout": "2s" }),
            "connect_timeout",
            "exclude each other",
        ),
        (CLUSTER, json!([]), "", "a list stands where a map of fields belongs"),
        (
            HTTP_FILTER,
            json!({ "typed_config": {} }),
            "typed_config",
            "must say of which",
        ),
        (
            HTTP_FILTER,
            json!({ "typed_config": { "@type": lua, "inline": "" } }),
            "typed_config.inline",
            "has no field",
        ),
        (
            HTTP_FILTER,
            json!({ "typed_config": { "@type": "x/envoy.v2.Lua" } }),
            "typed_config.@type",
            "there is no message",
        ),
    ];
    for (message, value, path, rule) in cases {
        let faults = encode(message, &value).expect_err(&value.to_string());
        assert_eq!(faults.len(), 1, "{value}: {faults:#?}");
        assert_eq!(faults[0].path, path, "{value}");
        assert!(faults[0].rule.contains(rule), "{value}: {}", faults[0].rule);
    }
    let faults = encode(CLUSTER, &json!({ "a": 1, "b": 2 })).expect_err("two faults");
    assert_eq!(faults.len(), 2);
}

#[test]
fn moments_and_durations_have_one_reading() {
    use super::well_known::{parse_duration, parse_timestamp};
    for (text, expected) in [
        ("0s", Some((0, 0))),
        ("1.5s", Some((1, 500_000_000))),
        ("-1.5s", Some((-1, -500_000_000))),
        ("0.000000001s", Some((0, 1))),
        (".5s", None),
        ("1", None),
        ("1ms", None),
        ("1.0000000001s", None),
        ("+1s", None),
        ("999999999999s", None),
    ] {
        assert_eq!(parse_duration(text), expected, "{text}");
    }
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", Some((0, 0))),
        ("2000-02-29T12:34:56.25Z", Some((951_827_696, 250_000_000))),
        ("2026-11-24T00:00:00Z", Some((1_795_478_400, 0))),
        ("2026-13-01T00:00:00Z", None),
        ("2026-11-24", None),
    ] {
        assert_eq!(parse_timestamp(text), expected, "{text}");
    }
}

#[test]
fn what_nests_without_end_is_refused() {
    let mut value = json!({});
    for _ in 0..200 {
        value = json!({ "and_rules": { "rules": [value] } });
    }
    assert!(encode("envoy.config.rbac.v3.Permission", &value).is_err());
}
