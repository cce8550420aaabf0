//! Listeners, filter chains and connection managers.

use super::*;

#[test]
fn a_listener_with_both_kinds_of_chains() {
    let context = context();
    let mut chain = http_chain("0.0.0.0_9080", &manager());
    chain.filter_chain_match = Some(listener_pb::FilterChainMatch {
        destination_port: number(9080),
        transport_protocol: "tls".into(),
        server_names: vec!["*.Example.com".into()],
        ..Default::default()
    });
    let message = listener_of(vec![chain, tcp_chain("virtualInbound", "InboundPassthroughCluster")]);
    let compiled = listener(message, 1, &context).unwrap();
    assert!(compiled.bind_to_port && !compiled.filters.tls_inspector);
    assert_eq!(compiled.chains[0].matches.server_names, ["*.example.com"]);
    let NetworkFilter::Http(manager) = &compiled.chains[0].filter else {
        panic!("HTTP")
    };
    assert_eq!(
        (
            manager.stream_idle_timeout.as_secs(),
            manager.request_headers_timeout.as_secs()
        ),
        (300, 60)
    );
    assert_eq!(
        (
            manager.max_headers_count,
            manager.max_request_headers_bytes,
            manager.server_name.as_bytes()
        ),
        (100, 61_440, b"envoy".as_slice())
    );
    let NetworkFilter::Tcp(tcp) = &compiled.chains[1].filter else {
        panic!("TCP")
    };
    assert_eq!(
        (tcp.max_connect_attempts, tcp.idle_timeout.unwrap().as_secs()),
        (1, 3600)
    );
    let references = context.take_references();
    assert_eq!(references.routes.keys().map(|k| &**k).collect::<Vec<_>>(), ["80"]);
    assert_eq!(
        references.clusters.keys().map(|k| &**k).collect::<Vec<_>>(),
        ["InboundPassthroughCluster"]
    );
}

#[test]
fn an_equal_chain_has_an_equal_version() {
    let chain = |name: &str, prefix: &str| {
        http_chain(
            name,
            &hcm::HttpConnectionManager {
                stat_prefix: prefix.into(),
                ..manager()
            },
        )
    };
    let version = |chain| compile_listener(listener_of(vec![chain])).unwrap().chains[0].version;
    assert_eq!(version(chain("a", "x")), version(chain("a", "x")));
    assert_ne!(version(chain("a", "x")), version(chain("a", "y")));
}

#[test]
fn what_a_listener_may_not_ask_for_is_named_with_its_place() {
    let unknown_filter = || {
        let config = hcm::http_filter::ConfigType::TypedConfig(protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua".into(),
            value: Vec::new(),
        });
        hcm::HttpFilter {
            name: "lua".into(),
            config_type: Some(config),
            ..Default::default()
        }
    };
    let with_filter = |filter| {
        let mut manager = manager();
        manager.http_filters.insert(0, filter);
        compile_listener(listener_of(vec![http_chain("c", &manager)]))
    };
    const HCM: &str = "filter_chains[0](c).filters[0](envoy.filters.network.http_connection_manager)";
    let error = with_filter(unknown_filter()).err().unwrap();
    assert_eq!(
        error,
        format!("{HCM}.http_filters[0](lua).envoy.extensions.filters.http.lua.v3.Lua: not supported by this proxy")
    );
    assert!(
        with_filter(hcm::HttpFilter {
            is_optional: true,
            ..unknown_filter()
        })
        .is_ok(),
        "optional filters may be left out"
    );

    let local_reply = hcm::HttpConnectionManager {
        local_reply_config: Some(Default::default()),
        ..manager()
    };
    let mut no_router = manager();
    no_router.http_filters.clear();
    let rbac = protobuf::Any {
        type_url: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC".into(),
        value: Vec::new(),
    };
    let mut rbac_chain = tcp_chain("t", "x");
    rbac_chain.filters.insert(0, filter("rbac", rbac));
    let cases = [
        (
            listener_of(vec![http_chain("c", &local_reply)]),
            format!("{HCM}.local_reply_config: not supported"),
        ),
        (
            listener_of(vec![http_chain("c", &no_router)]),
            format!("{HCM}.http_filters: the last one must be the router"),
        ),
        (
            listener_of(vec![rbac_chain]),
            "filter_chains[0](t).filters[0](rbac).envoy.extensions.filters.network.rbac.v3.RBAC: not".to_owned(),
        ),
        (listener_of(vec![]), "filter_chains: is needed".to_owned()),
        (
            listener_pb::Listener {
                address: None,
                ..listener_of(vec![tcp_chain("t", "x")])
            },
            "address.address: is needed".to_owned(),
        ),
    ];
    for (message, expected) in cases {
        let error = compile_listener(message).err().unwrap();
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn access_logs_are_shared_and_their_filters_understood() {
    use proto::envoy::envoy::config::accesslog::v3 as log_pb;
    use proto::envoy::envoy::extensions::access_loggers::file::v3 as file;
    let log = |flags: &[&str]| log_pb::AccessLog {
        name: "envoy.access_loggers.file".into(),
        filter: (!flags.is_empty()).then(|| log_pb::AccessLogFilter {
            filter_specifier: Some(log_pb::access_log_filter::FilterSpecifier::ResponseFlagFilter(
                log_pb::ResponseFlagFilter {
                    flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
                },
            )),
        }),
        config_type: Some(log_pb::access_log::ConfigType::TypedConfig(any(
            &file::FileAccessLog::type_url(),
            &file::FileAccessLog {
                path: "/dev/null".into(),
                access_log_format: None,
            },
        ))),
    };
    let with_log = |log| {
        let manager = hcm::HttpConnectionManager {
            access_log: vec![log],
            ..manager()
        };
        listener_of(vec![http_chain("c", &manager)])
    };
    let mut message = with_log(log(&[]));
    message.access_log = vec![log(&["NR"])];
    let compiled = listener(message, 1, &context()).unwrap();
    let NetworkFilter::Http(manager) = &compiled.chains[0].filter else {
        panic!("HTTP")
    };
    assert!(Arc::ptr_eq(&manager.access_log[0], &compiled.access_log[0]));
    assert!(
        compile_listener(with_log(log(&["UH"])))
            .err()
            .unwrap()
            .contains("access_log[0].filter: not supported")
    );
}
