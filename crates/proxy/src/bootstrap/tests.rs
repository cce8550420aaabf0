use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Bootstrap, String> {
    parse(Path::new("/etc/bootstrap.json"), text.to_owned()).map_err(|error| error.to_string())
}

const FULL: &str = r#"{
  "node": { "id": "sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local", "cluster": "reviews.default",
            "metadata": { "NAME": "reviews-v1-0", "NAMESPACE": "default", "LABELS": { "app": "reviews", "camelCase": "kept" } },
            "locality": { "region": "r" } },
  "admin": { "address": { "socketAddress": { "address": "127.0.0.1", "portValue": 15000 } } },
  "layered_runtime": { "layers": [] },
  "stats_config": { "stats_matcher": { "inclusion_list": { "patterns": [{ "prefix": "server" }, { "safe_regex": { "regex": "a.c" } }] } } },
  "cluster_manager": { "upstream_bind_config": { "source_address": { "address": "127.64.1.1", "port_value": 0 } } },
  "dynamic_resources": {
    "lds_config": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
    "cds_config": { "ads": {} },
    "ads_config": { "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
      "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc",
        "retry_policy": { "retry_back_off": { "base_interval": "0.2s", "max_interval": "5s" } } } }] }
  },
  "static_resources": {
    "clusters": [{
      "name": "xds-grpc", "type": "STATIC", "connectTimeout": "1.5s",
      "load_assignment": { "cluster_name": "xds-grpc", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
        "address": { "socket_address": { "address": "127.64.0.2", "port_value": 15011 } } } }] }] },
      "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": { "alpn_protocols": ["h2"],
          "tls_certificate_sds_secret_configs": [{ "name": "default", "sds_config": { "api_config_source": {
            "api_type": "GRPC", "grpc_services": [{ "envoy_grpc": { "cluster_name": "sds-grpc" } }] } } }],
          "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": "spiffe://x" } }] },
            "validation_context_sds_secret_config": { "name": "ROOTCA" } } } } }
    }, {
      "name": "sds-grpc", "type": "STATIC",
      "load_assignment": { "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "pipe": { "path": "/tmp/sds" } } } }] }] },
      "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} } } }
    }],
    "listeners": [{
      "name": "prometheus", "address": { "socket_address": { "address": "0.0.0.0", "port_value": 15090 } },
      "filter_chains": [{ "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type": "AUTO", "stat_prefix": "stats",
        "route_config": { "virtual_hosts": [{ "name": "backend", "domains": ["*"],
          "routes": [{ "match": { "prefix": "/stats/prometheus" }, "route": { "cluster": "prometheus_stats" } }] }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }] } }] }]
    }]
  },
  "tracing": {},
  "surprise": 1
}"#;

#[test]
fn reads_what_the_agent_writes() {
    let bootstrap = read(FULL).unwrap();
    assert_eq!(bootstrap.node.namespace, "default");
    assert_eq!(
        bootstrap.node.labels["camelCase"], "kept",
        "keys of metadata are the user's"
    );
    assert_eq!(bootstrap.admin, Some("127.0.0.1:15000".parse().unwrap()));
    assert_eq!(bootstrap.source, Some("127.64.1.1".parse().unwrap()));
    let ads = bootstrap.ads.unwrap();
    assert_eq!(
        (ads.dialect, ads.service.cluster.as_str()),
        (xds::client::Dialect::Delta, "xds-grpc")
    );
    let names: Vec<_> = bootstrap.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["xds-grpc", "sds-grpc"]);
    assert_eq!(bootstrap.clusters[0].connect_timeout.unwrap().nanos, 500_000_000);
    assert_eq!(bootstrap.listeners[0].name, "prometheus");
    assert!(
        bootstrap.stats.includes("server.live")
            && bootstrap.stats.includes("abc")
            && !bootstrap.stats.includes("cluster.x")
    );
    assert_eq!(
        bootstrap.warnings,
        [
            "field `surprise` is not known, it has no effect",
            "field `tracing` has no effect in this proxy"
        ]
    );
}

#[test]
fn says_who_it_is() {
    let node = read(FULL).unwrap().node.message();
    assert_eq!(node.user_agent_name, "meltemi");
    assert!(node.metadata.unwrap().fields.contains_key("LABELS"));
    assert_eq!(node.locality.unwrap().region, "r");
}

#[test]
fn faults_name_file_and_field() {
    let cases = [
        ("{", "/etc/bootstrap.json:1: not JSON"),
        (r#"{"admin": 5}"#, "field `admin`"),
        (
            r#"{"admin": {"address": {"socket_address": {"address": "nowhere"}}}}"#,
            "field `admin.address.socket_address.address`: `nowhere`",
        ),
        (
            r#"{"static_resources": {"clusters": [{"name": "a", "type": "EDS"}]}}"#,
            "field `static_resources.clusters[0].type`: `EDS`",
        ),
        (
            r#"{"static_resources": {"clusters": [{"name": "a", "connect_timeout": "1h"}]}}"#,
            "connect_timeout`: `1h` is no duration",
        ),
        (
            r#"{"dynamic_resources": {"lds_config": {"path": "x"}}}"#,
            "field `dynamic_resources.lds_config.ads`",
        ),
        (
            r#"{"dynamic_resources": {"ads_config": {"api_type": "REST"}}}"#,
            "field `dynamic_resources.ads_config.api_type`: `REST`",
        ),
    ];
    for (text, expected) in cases {
        let error = read(text).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
