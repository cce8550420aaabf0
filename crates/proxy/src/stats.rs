//! Counters under Envoy's names.
//!
//! Each is one relaxed atomic that its holder reaches without a lookup: a cluster, an endpoint, a listener holds its own group. They
//! exist once per proxy and are touched a handful of times per request; nothing is looked up by name on the request path. The
//! admin page gives them their names.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, OnceLock};

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that one thread alone writes, whoever reads it: to count takes no locked operation. A second writer would lose counts.
#[derive(Debug, Default)]
pub struct OwnCounter(AtomicU64);

impl OwnCounter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Sets `new` if the value is `current` still; false if another thread was faster.
    pub fn replace(&self, current: i64, new: i64) -> bool {
        self.0.compare_exchange(current, new, Relaxed, Relaxed).is_ok()
    }

    /// Adds one and says what it is now.
    pub fn next(&self) -> i64 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Adds one to a gauge for as long as it lives.
pub struct Held<'a>(&'a Gauge);

impl<'a> Held<'a> {
    pub fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Held(gauge)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A group of named numbers: a struct, and the list of its names for the admin page.
macro_rules! group {
    ($(#[$doc:meta])* $name:ident { counters { $($(#[$cdoc:meta])* $counter:ident,)* } gauges { $($(#[$gdoc:meta])* $gauge:ident,)* } }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$cdoc])* pub $counter: Counter,)*
            $($(#[$gdoc])* pub $gauge: Gauge,)*
        }

        impl $name {
            /// Every counter with its name, in the order of declaration.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($counter), self.$counter.get()),)*].into_iter()
            }

            /// Every gauge with its name.
            pub fn gauges(&self) -> impl Iterator<Item = (&'static str, i64)> {
                [$((stringify!($gauge), self.$gauge.get()),)*].into_iter()
            }
        }
    };
}

group! {
    /// `cluster.<name>.*`
    ClusterNumbers {
        counters {
            upstream_cx_total, upstream_cx_http1_total, upstream_cx_http2_total, upstream_cx_connect_fail, upstream_cx_connect_timeout,
            upstream_cx_overflow, upstream_cx_pool_overflow, upstream_cx_destroy, upstream_cx_idle_timeout, upstream_cx_none_healthy,
            upstream_cx_rx_bytes_total, upstream_cx_tx_bytes_total, upstream_cx_max_requests, upstream_cx_max_duration_reached,
            upstream_rq_total, upstream_rq_completed, upstream_rq_1xx, upstream_rq_2xx, upstream_rq_3xx, upstream_rq_4xx, upstream_rq_5xx,
            upstream_rq_pending_total, upstream_rq_pending_overflow, upstream_rq_pending_failure_eject, upstream_rq_cancelled,
            upstream_rq_timeout, upstream_rq_per_try_timeout, upstream_rq_retry, upstream_rq_retry_success, upstream_rq_retry_overflow,
            upstream_rq_retry_limit_exceeded, upstream_rq_rx_reset, upstream_rq_tx_reset, upstream_rq_maintenance_mode,
            lb_healthy_panic, update_attempt, update_rejected, update_failure, update_no_rebuild,
            ssl_handshake, ssl_connection_error, ssl_fail_verify_error, ssl_fail_verify_san,
            outlier_detection_ejections_enforced_total, outlier_detection_ejections_overflow,
        }
        gauges {
            upstream_cx_active, upstream_rq_active, upstream_rq_pending_active, upstream_rq_retry_active,
            membership_total, membership_healthy, membership_degraded, membership_excluded,
            outlier_detection_ejections_active, max_host_weight,
        }
    }
}

/// The numbers of a cluster. They take room from the first touch on: most clusters of a mesh are never called by this workload.
#[derive(Debug, Default)]
pub struct ClusterStats(OnceLock<Box<ClusterNumbers>>);

impl ClusterStats {
    /// As they are, without making room for them.
    pub fn peek(&self) -> &ClusterNumbers {
        static UNTOUCHED: LazyLock<ClusterNumbers> = LazyLock::new(ClusterNumbers::default);
        match self.0.get() {
            Some(numbers) => numbers,
            None => &UNTOUCHED,
        }
    }
}

impl Deref for ClusterStats {
    type Target = ClusterNumbers;

    fn deref(&self) -> &ClusterNumbers {
        self.0.get_or_init(Box::default)
    }
}

/// What became of a cluster's endpoint updates: three numbers of [`ClusterNumbers`], kept apart because they are touched for
/// every cluster there is.
#[derive(Debug, Default)]
pub struct UpdateStats {
    pub update_success: Counter,
    pub update_empty: Counter,
    pub membership_change: Counter,
}

group! {
    /// Per endpoint, as `/clusters` shows them.
    EndpointStats {
        counters { cx_total, cx_connect_fail, rq_total, rq_success, rq_error, rq_timeout, }
        gauges {
            cx_active, rq_active,
            /// Until when the endpoint is ejected, in milliseconds since the start of the proxy; 0: it is not.
            ejected_until,
            /// How often in a row it has been ejected.
            ejections,
            /// When the last ejection ended, by the same clock.
            unejected_at,
            consecutive_5xx, consecutive_gateway_failure, consecutive_local_origin_failure,
            /// When the endpoint came, by the same clock.
            added_at,
        }
    }
}

impl EndpointStats {
    /// Of an endpoint that has come now, in milliseconds since the start of the proxy.
    pub fn added(now: i64) -> Arc<Self> {
        let stats = EndpointStats::default();
        stats.added_at.set(now);
        Arc::new(stats)
    }
}

group! {
    /// `listener.<address>.*`
    ListenerStats {
        counters {
            downstream_cx_total, downstream_cx_destroy, downstream_pre_cx_timeout, no_filter_chain_match,
            ssl_handshake, ssl_connection_error, ssl_fail_verify_error, ssl_fail_verify_san, ssl_fail_verify_no_cert,
            downstream_cx_overflow,
        }
        gauges { downstream_cx_active, downstream_pre_cx_active, }
    }
}

group! {
    /// `http.<stat_prefix>.*`
    HttpStats {
        counters {
            downstream_cx_total, downstream_cx_http1_total, downstream_cx_http2_total, downstream_cx_idle_timeout, downstream_cx_protocol_error,
            downstream_cx_drain_close, downstream_cx_upgrades_total,
            downstream_rq_total, downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_completed,
            downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx,
            downstream_rq_timeout, downstream_rq_idle_timeout, downstream_rq_header_timeout, downstream_rq_rx_reset, downstream_rq_tx_reset,
            downstream_rq_too_large, no_route, no_cluster, rq_direct_response, rq_redirect, rq_total,
        }
        gauges { downstream_cx_active, downstream_rq_active, downstream_cx_upgrades_active, }
    }
}

group! {
    /// `http.<stat_prefix>.tracing.*`
    TracingStats {
        counters { random_sampling, service_forced, client_enabled, not_traceable, health_check, }
        gauges { }
    }
}

group! {
    /// `tracing.zipkin.*`, `tracing.opentelemetry.*`
    TracerStats {
        counters {
            spans_sent, spans_dropped, timer_flushed, reports_sent, reports_dropped, reports_failed, reports_skipped_no_cluster,
        }
        gauges { }
    }
}

group! {
    /// `tcp.<stat_prefix>.*`
    TcpStats {
        counters { downstream_cx_total, downstream_cx_no_route, downstream_cx_rx_bytes_total, downstream_cx_tx_bytes_total, }
        gauges { downstream_cx_active, }
    }
}

group! {
    /// Without a prefix of their own: `listener_manager.*`, `cluster_manager.*`, `server.*` and `control_plane.*` (the admin page maps them).
    ServerStats {
        counters {
            cds_update_success, cds_update_rejected, cds_update_attempt, cds_update_failure,
            lds_update_success, lds_update_rejected, lds_update_attempt, lds_update_failure,
            rds_update_success, rds_update_rejected, eds_update_success, eds_update_rejected, sds_update_success, sds_update_rejected,
            listener_added, listener_modified, listener_removed, listener_create_failure, listener_create_success,
            cluster_added, cluster_modified, cluster_removed,
        }
        gauges {
            total_listeners_active, total_listeners_draining, workers_started, active_clusters, warming_clusters,
            control_plane_connected, live, state, total_connections,
        }
    }
}

/// Groups by name, kept over updates so that a replaced cluster or listener goes on counting. Control thread only.
pub struct Registry<T>(std::sync::Mutex<std::collections::BTreeMap<Arc<str>, Arc<T>>>);

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry(Default::default())
    }
}

impl<T: Default> Registry<T> {
    pub fn get(&self, name: &str) -> Arc<T> {
        let mut groups = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(group) = groups.get(name) {
            return group.clone();
        }
        groups.entry(name.into()).or_default().clone()
    }

    pub fn remove(&self, name: &str) {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(name);
    }

    pub fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let groups = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        groups
            .iter()
            .map(|(name, group)| (name.clone(), group.clone()))
            .collect()
    }
}

/// Every group of the process but those of clusters, which are in their slots.
#[derive(Default)]
pub struct Stats {
    pub server: ServerStats,
    pub listeners: Registry<ListenerStats>,
    pub http: Registry<HttpStats>,
    pub tcp: Registry<TcpStats>,
    pub tracing: Registry<TracingStats>,
    /// By kind of tracer.
    pub tracers: Registry<TracerStats>,
}
