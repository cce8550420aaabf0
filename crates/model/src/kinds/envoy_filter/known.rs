//! The part of Envoy's API that our own proxy has, by message and field: what its compiler (`proxy::config::compile`) takes.
//!
//! A message that is not here is one it does not have. Fields are kept where they were read in the compiler; whoever teaches it a field
//! adds it here, and until then patches with that field are for Envoy alone.

/// What our own proxy makes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Works,
    /// Taken without effect.
    Idle,
    /// Refused.
    Unknown,
}

/// A message and its fields, divided by spaces; `*` for all.
pub(super) struct Known {
    name: &'static str,
    works: &'static str,
    idle: &'static str,
}

impl Known {
    pub(super) fn status(&self, field: &str) -> Status {
        let has = |list: &str| list == "*" || list.split(' ').any(|name| name == field);
        if has(self.works) {
            Status::Works
        } else if has(self.idle) {
            Status::Idle
        } else {
            Status::Unknown
        }
    }
}

/// Values of enumerations that it refuses, by message and field.
const REFUSED: &[(&str, &str, &[u8])] = &[
    ("config.cluster.v3.Cluster", "lb_policy", &[6, 7]), // CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG
    ("config.route.v3.VirtualHost", "require_tls", &[1]), // EXTERNAL_ONLY
    (
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type",
        &[3],
    ), // HTTP3
];

impl Known {
    /// Whether it refuses this encoded value of a field that it has.
    pub(super) fn refuses(&self, field: &str, value: &[u8]) -> bool {
        let mut rules = REFUSED
            .iter()
            .filter(|(message, of, _)| (*message, *of) == (self.name, field));
        rules.any(|(_, _, refused)| matches!(value, [one] if refused.contains(one)))
    }
}

pub(super) fn message(name: &str) -> Option<&'static Known> {
    let name = name.strip_prefix("envoy.")?;
    KNOWN.iter().find(|known| known.name == name)
}

const fn all(name: &'static str) -> Known {
    Known {
        name,
        works: "*",
        idle: "",
    }
}

const fn some(name: &'static str, works: &'static str, idle: &'static str) -> Known {
    Known { name, works, idle }
}

#[rustfmt::skip] // a table
const KNOWN: &[Known] = &[
    // clusters
    some("config.cluster.v3.Cluster",
        "name type connect_timeout lb_policy load_assignment eds_cluster_config circuit_breakers outlier_detection common_lb_config \
         transport_socket typed_extension_protocol_options http2_protocol_options common_http_protocol_options \
         max_requests_per_connection protocol_selection upstream_bind_config upstream_connection_options metadata dns_lookup_family \
         dns_refresh_rate ring_hash_lb_config maglev_lb_config round_robin_lb_config least_request_lb_config load_balancing_policy",
        "alt_stat_name stats_matcher per_connection_buffer_limit_bytes cleanup_interval wait_for_warm_on_init dns_jitter \
         dns_failure_refresh_rate respect_dns_ttl typed_dns_resolver_config track_timeout_budgets track_cluster_stats \
         preconnect_policy http_protocol_options close_connections_on_host_health_failure ignore_health_on_host_removal"),
    some("config.cluster.v3.Cluster.CommonLbConfig", "healthy_panic_threshold locality_weighted_lb_config",
        "update_merge_window ignore_new_hosts_until_first_hc close_connections_on_host_set_change zone_aware_lb_config"),
    all("config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig"),
    some("config.cluster.v3.Cluster.LeastRequestLbConfig", "choice_count slow_start_config", "active_request_bias"),
    some("config.cluster.v3.Cluster.RoundRobinLbConfig", "slow_start_config", ""),
    some("config.cluster.v3.Cluster.SlowStartConfig", "slow_start_window aggression min_weight_percent", ""),
    some("config.core.v3.RuntimeDouble", "default_value", "runtime_key"),
    some("config.cluster.v3.Cluster.RingHashLbConfig", "minimum_ring_size maximum_ring_size", ""),
    some("config.cluster.v3.Cluster.MaglevLbConfig", "table_size", ""),
    some("config.cluster.v3.Cluster.EdsClusterConfig", "eds_config service_name", ""),
    some("config.cluster.v3.LoadBalancingPolicy", "policies", ""),
    some("config.cluster.v3.LoadBalancingPolicy.Policy", "typed_extension_config", ""),
    some("config.core.v3.TypedExtensionConfig", "name typed_config", ""),
    some("extensions.load_balancing_policies.round_robin.v3.RoundRobin", "", ""),
    some("extensions.load_balancing_policies.random.v3.Random", "", ""),
    some("extensions.load_balancing_policies.least_request.v3.LeastRequest", "choice_count", ""),
    some("extensions.load_balancing_policies.ring_hash.v3.RingHash", "minimum_ring_size maximum_ring_size", ""),
    some("extensions.load_balancing_policies.maglev.v3.Maglev", "table_size", ""),
    some("config.core.v3.ConfigSource", "ads self resource_api_version initial_fetch_timeout", ""),
    all("config.core.v3.AggregatedConfigSource"),
    some("config.core.v3.SelfConfigSource", "*", ""),
    some("config.cluster.v3.CircuitBreakers", "thresholds", ""),
    some("config.cluster.v3.CircuitBreakers.Thresholds", "priority max_connections max_pending_requests max_requests max_retries retry_budget",
        "track_remaining max_connection_pools"),
    all("config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget"),
    some("config.cluster.v3.OutlierDetection",
        "consecutive_5xx enforcing_consecutive_5xx consecutive_gateway_failure enforcing_consecutive_gateway_failure \
         consecutive_local_origin_failure enforcing_consecutive_local_origin_failure split_external_local_origin_errors interval \
         base_ejection_time max_ejection_time max_ejection_percent",
        "max_ejection_time_jitter successful_active_health_check_uneject_host always_eject_one_host"),
    some("config.cluster.v3.UpstreamConnectionOptions", "tcp_keepalive", "set_local_interface_name_on_upstream_connections happy_eyeballs_config"),
    all("config.core.v3.TcpKeepalive"),
    some("config.core.v3.BindConfig", "source_address", "freebind"),
    some("config.core.v3.Address", "socket_address", ""),
    some("config.core.v3.SocketAddress", "address port_value", ""),
    some("config.endpoint.v3.ClusterLoadAssignment", "cluster_name endpoints", ""),
    some("config.endpoint.v3.LocalityLbEndpoints", "locality lb_endpoints load_balancing_weight priority", ""),
    some("config.endpoint.v3.LbEndpoint", "endpoint metadata load_balancing_weight health_status", ""),
    some("config.endpoint.v3.Endpoint", "address hostname", ""),
    all("config.core.v3.Locality"),
    some("config.core.v3.Metadata", "filter_metadata", ""),
    some("config.core.v3.Http1ProtocolOptions", "allow_absolute_url accept_http_10 default_host_for_http_10",
        "enable_trailers use_balsa_parser override_stream_error_on_invalid_http_message allow_custom_methods"),
    some("config.core.v3.Http2ProtocolOptions", "max_concurrent_streams connection_keepalive", "*"),
    some("config.core.v3.KeepaliveSettings", "interval timeout", "interval_jitter connection_idle_interval"),
    some("config.core.v3.HttpProtocolOptions", "idle_timeout max_connection_duration", "max_response_headers_kb"),
    some("extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config", ""),
    some("extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig", "http_protocol_options http2_protocol_options", ""),
    some("extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig", "http_protocol_options http2_protocol_options", ""),
    some("extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig", "http_protocol_options http2_protocol_options", ""),
    some("config.core.v3.TransportSocket", "name typed_config", ""),
    some("extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni common_tls_context", ""),
    some("extensions.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context", ""),
    some("extensions.transport_sockets.tls.v3.CommonTlsContext", "alpn_protocols tls_params", ""),
    some("extensions.transport_sockets.tls.v3.TlsParameters", "tls_minimum_protocol_version tls_maximum_protocol_version ecdh_curves cipher_suites", "signature_algorithms"),
    some("extensions.transport_sockets.raw_buffer.v3.RawBuffer", "*", ""),
    some("extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport", "config transport_socket", ""),
    some("config.core.v3.ProxyProtocolConfig", "version", ""),
    // listeners
    some("config.listener.v3.Listener",
        "name address filter_chains default_filter_chain listener_filters listener_filters_timeout \
         continue_on_listener_filters_timeout per_connection_buffer_limit_bytes bind_to_port transparent use_original_dst access_log \
         traffic_direction",
        "stat_prefix stats_matcher metadata drain_type connection_balance_config enable_reuse_port reuse_port \
         tcp_fast_open_queue_length tcp_backlog_size max_connections_to_accept_per_socket_event ignore_global_conn_limit \
         bypass_overload_manager"),
    some("config.listener.v3.FilterChain", "name filter_chain_match filters transport_socket transport_socket_connect_timeout", "metadata"),
    some("config.listener.v3.FilterChainMatch",
        "destination_port prefix_ranges server_names transport_protocol application_protocols source_type source_prefix_ranges \
         source_ports", "address_suffix suffix_len"),
    all("config.core.v3.CidrRange"),
    some("config.listener.v3.ListenerFilter", "name typed_config", "filter_disabled"),
    some("extensions.filters.listener.original_dst.v3.OriginalDst", "*", ""),
    some("extensions.filters.listener.tls_inspector.v3.TlsInspector", "", "*"),
    some("extensions.filters.listener.http_inspector.v3.HttpInspector", "*", ""),
    some("extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", "", "*"),
    some("config.listener.v3.Filter", "name typed_config", ""),
    some("extensions.filters.network.sni_cluster.v3.SniCluster", "*", ""),
    some("extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix cluster weighted_clusters idle_timeout max_downstream_connection_duration max_connect_attempts access_log \
         tunneling_config",
        "access_log_flush_interval access_log_options backoff_options"),
    some("extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig", "hostname use_post post_path", ""),
    some("extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", "clusters", ""),
    some("extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name weight", ""),
    some("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "codec_type stat_prefix rds route_config http_filters common_http_protocol_options http_protocol_options http2_protocol_options \
         server_name server_header_transformation access_log use_remote_address xff_num_trusted_hops skip_xff_append \
         forward_client_cert_details set_current_client_cert_details generate_request_id preserve_external_request_id normalize_path \
         merge_slashes strip_matching_host_port strip_any_host_port upgrade_configs stream_idle_timeout request_timeout \
         request_headers_timeout drain_timeout max_request_headers_kb",
        "tracing http3_protocol_options stream_flush_timeout drain_timeout_jitter delayed_close_timeout access_log_flush_interval \
         access_log_options internal_address_config request_id_extension stream_error_on_invalid_http_message \
         path_normalization_options add_proxy_protocol_connection_state http1_safe_max_connection_duration"),
    some("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails", "subject uri dns", ""),
    some("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig", "upgrade_type enabled", ""),
    some("extensions.filters.network.http_connection_manager.v3.Rds", "config_source route_config_name", ""),
    some("extensions.filters.network.http_connection_manager.v3.HttpFilter", "name typed_config disabled is_optional", ""),
    // HTTP filters
    some("extensions.filters.http.cors.v3.Cors", "*", ""),
    some("extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials \
         forward_not_matching_preflights filter_enabled", "shadow_enabled"),
    some("extensions.filters.http.fault.v3.HTTPFault", "delay abort headers upstream_cluster",
        "delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime max_active_faults_runtime \
         response_rate_limit_percent_runtime abort_grpc_status_runtime disable_downstream_cluster_stats filter_metadata"),
    some("extensions.filters.http.fault.v3.FaultAbort", "http_status grpc_status percentage", ""),
    some("extensions.filters.common.fault.v3.FaultDelay", "fixed_delay percentage", ""),
    all("extensions.filters.http.grpc_web.v3.GrpcWeb"),
    some("extensions.filters.http.grpc_stats.v3.FilterConfig", "", "*"),
    some("extensions.filters.http.router.v3.Router", "",
        "dynamic_stats start_child_span suppress_grpc_request_failure_code_stats reject_connect_request_early_data \
         respect_expected_rq_timeout"),
    all("type.v3.FractionalPercent"),
    all("type.v3.Percent"),
    all("type.v3.Int64Range"),
    // routes
    some("config.route.v3.RouteConfiguration",
        "name virtual_hosts ignore_port_in_host_matching most_specific_header_mutations_wins request_headers_to_add \
         request_headers_to_remove response_headers_to_add response_headers_to_remove typed_per_filter_config",
        "validate_clusters max_direct_response_body_size_bytes metadata"),
    some("config.route.v3.VirtualHost",
        "name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add \
         response_headers_to_remove include_request_attempt_count retry_policy cors typed_per_filter_config",
        "metadata virtual_clusters per_request_buffer_limit_bytes request_body_buffer_limit include_is_timeout_retry_header"),
    some("config.route.v3.FilterConfig", "config is_optional", ""),
    some("config.route.v3.Route",
        "name match route redirect direct_response request_headers_to_add request_headers_to_remove response_headers_to_add \
         response_headers_to_remove typed_per_filter_config metadata",
        "decorator tracing stat_prefix per_request_buffer_limit_bytes request_body_buffer_limit"),
    some("config.route.v3.RouteMatch",
        "prefix path path_separated_prefix safe_regex connect_matcher case_sensitive headers query_parameters grpc runtime_fraction", ""),
    some("config.route.v3.RouteMatch.ConnectMatcher", "*", ""),
    some("config.route.v3.RouteMatch.GrpcRouteMatchOptions", "*", ""),
    some("config.route.v3.RouteAction",
        "cluster cluster_header weighted_clusters timeout idle_timeout retry_policy cors prefix_rewrite regex_rewrite \
         host_rewrite_literal auto_host_rewrite append_x_forwarded_host max_grpc_timeout max_stream_duration request_mirror_policies \
         hash_policy upgrade_configs cluster_not_found_response_code",
        "early_data_policy include_vh_rate_limits flush_timeout"),
    some("config.route.v3.RouteAction.MaxStreamDuration", "grpc_timeout_header_max", ""),
    some("config.route.v3.RouteAction.RequestMirrorPolicy", "cluster runtime_fraction disable_shadow_host_suffix_append", "trace_sampled"),
    some("config.route.v3.RouteAction.HashPolicy", "header cookie connection_properties query_parameter terminal", ""),
    some("config.route.v3.RouteAction.HashPolicy.Header", "header_name", ""),
    some("config.route.v3.RouteAction.HashPolicy.Cookie", "name ttl path attributes", ""),
    all("config.route.v3.RouteAction.HashPolicy.CookieAttribute"),
    all("config.route.v3.RouteAction.HashPolicy.ConnectionProperties"),
    all("config.route.v3.RouteAction.HashPolicy.QueryParameter"),
    some("config.route.v3.RouteAction.UpgradeConfig", "upgrade_type enabled connect_config", ""),
    some("config.route.v3.RouteAction.UpgradeConfig.ConnectConfig", "", ""),
    some("config.route.v3.WeightedCluster", "clusters", "total_weight runtime_key_prefix"),
    some("config.route.v3.WeightedCluster.ClusterWeight",
        "name weight request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove \
         host_rewrite_literal", ""),
    some("config.route.v3.RetryPolicy",
        "retry_on num_retries per_try_timeout per_try_idle_timeout retriable_status_codes retry_back_off \
         host_selection_retry_max_attempts", ""),
    all("config.route.v3.RetryPolicy.RetryBackOff"),
    some("config.route.v3.RedirectAction",
        "host_redirect port_redirect https_redirect scheme_redirect path_redirect prefix_rewrite regex_rewrite response_code \
         strip_query", ""),
    some("config.route.v3.DirectResponseAction", "status body", ""),
    some("config.route.v3.CorsPolicy",
        "allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials filter_enabled \
         forward_not_matching_preflights", "shadow_enabled"),
    some("config.route.v3.HeaderMatcher",
        "name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match invert_match \
         treat_missing_header_as_empty", ""),
    all("config.route.v3.QueryParameterMatcher"),
    some("config.core.v3.DataSource", "filename inline_bytes inline_string environment_variable", ""),
    all("config.core.v3.HeaderValueOption"),
    all("config.core.v3.HeaderValue"),
    some("config.core.v3.RuntimeFractionalPercent", "default_value", "runtime_key"),
    some("type.matcher.v3.StringMatcher", "exact prefix suffix safe_regex contains ignore_case", ""),
    some("type.matcher.v3.RegexMatcher", "regex", "google_re2"),
    all("type.matcher.v3.RegexMatchAndSubstitute"),
    // access logs
    some("config.accesslog.v3.AccessLog", "name typed_config", ""),
    some("extensions.access_loggers.file.v3.FileAccessLog", "path log_format format json_format typed_json_format", ""),
    some("extensions.access_loggers.stream.v3.StdoutAccessLog", "log_format", ""),
    some("extensions.access_loggers.stream.v3.StderrAccessLog", "log_format", ""),
    some("config.core.v3.SubstitutionFormatString", "text_format text_format_source json_format", "formatters omit_empty_values content_type"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proto::schema;

    #[test]
    fn every_name_in_the_table_exists() {
        for known in KNOWN {
            let name = format!("envoy.{}", known.name);
            let message = schema::message(&name).unwrap_or_else(|| panic!("there is no {name}"));
            for field in known
                .works
                .split(' ')
                .chain(known.idle.split(' '))
                .filter(|field| !["", "*"].contains(field))
            {
                assert!(
                    message.fields().any(|known| known.name == field),
                    "there is no {name}.{field}"
                );
            }
        }
    }
}
