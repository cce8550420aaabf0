//! The `istio_*` metrics of today's sidecar: names, labels and buckets that Kiali and the dashboards read.
//!
//! A series is found by its label texts once. A worker then finds it by a small key of identities (the cluster, the peer, the status),
//! without touching text; the shared registry is locked only when a worker meets a new combination.
//!
//! Each worker has numbers of its own for a series, which are added up when somebody reads: counting a request takes no locked operation, and
//! workers do not take each other's cache lines away.

mod labels;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use self::labels::{common_labels, request_labels};
use super::record::{Flags, Record};
use crate::config::{Cluster, Direction, PeerLabels};
use crate::head::HttpVersion;
use crate::stats::OwnCounter;
use crate::worker::Worker;

/// Series that the process keeps; what would need another one is counted as [`OVERFLOW`].
const MAX_SERIES: usize = 10_000;
const OVERFLOW: &str = "reporter=\"overflow\"";
/// Combinations (and principals) that a worker remembers; beyond, it starts afresh.
const MAX_KNOWN: usize = 4096;

/// Upper bounds of all histograms (milliseconds, and bytes).
const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The bounds in the unit of what is observed.
const BOUNDS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = (BUCKETS[at] * MILLION as f64) as u64;
        at += 1;
    }
    bounds
};

/// Histograms observe millionths: nanoseconds where the unit is a millisecond.
const MILLION: u64 = 1_000_000;

#[derive(Default)]
struct Histogram {
    buckets: [OwnCounter; BUCKETS.len()],
    /// Beyond the last bound.
    beyond: OwnCounter,
    /// In thousandths, so that it can be an integer.
    sum: OwnCounter,
}

impl Histogram {
    fn observe(&self, millionths: u64) {
        let bucket = BOUNDS
            .iter()
            .zip(&self.buckets)
            .find(|(bound, _)| millionths <= **bound);
        bucket.map_or(&self.beyond, |(_, bucket)| bucket).inc();
        self.sum.add(millionths / 1000);
    }

    fn observe_bytes(&self, bytes: u64) {
        self.observe(bytes.saturating_mul(MILLION));
    }

    fn take_in(&self, other: &Self) {
        for (bucket, other) in self.buckets.iter().zip(&other.buckets) {
            bucket.add(other.get());
        }
        self.beyond.add(other.beyond.get());
        self.sum.add(other.sum.get());
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let mut total = 0;
        for (bound, bucket) in BUCKETS.iter().zip(&self.buckets) {
            total += bucket.get();
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        let count = total + self.beyond.get();
        let sum = self.sum.get() as f64 / 1000.0;
        let _ = writeln!(
            out,
            "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
        );
    }
}

/// Numbers of one combination of labels, as one worker counted them.
trait Series: Default {
    /// Takes in what another worker counted.
    fn take_in(&mut self, other: &Self);
}

/// HTTP traffic.
#[derive(Default)]
pub struct RequestCounters {
    requests: OwnCounter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    request_messages: OwnCounter,
    response_messages: OwnCounter,
    grpc: bool,
}

impl Series for RequestCounters {
    fn take_in(&mut self, other: &Self) {
        self.grpc |= other.grpc;
        self.requests.add(other.requests.get());
        self.duration.take_in(&other.duration);
        self.request_bytes.take_in(&other.request_bytes);
        self.response_bytes.take_in(&other.response_bytes);
        self.request_messages.add(other.request_messages.get());
        self.response_messages.add(other.response_messages.get());
    }
}

/// Opaque traffic.
#[derive(Default)]
pub struct TcpCounters {
    pub opened: OwnCounter,
    pub closed: OwnCounter,
    /// Bytes from the client.
    pub received: OwnCounter,
    /// Bytes to the client.
    pub sent: OwnCounter,
}

impl Series for TcpCounters {
    fn take_in(&mut self, other: &Self) {
        self.opened.add(other.opened.get());
        self.closed.add(other.closed.get());
        self.received.add(other.received.get());
        self.sent.add(other.sent.get());
    }
}

/// Series by their rendered labels; of each, the numbers of the workers that have met it.
type All<T> = BTreeMap<Arc<str>, Vec<(usize, Arc<T>)>>;

/// Every series of the process.
#[derive(Default)]
pub struct MeshMetrics {
    requests: Mutex<All<RequestCounters>>,
    tcp: Mutex<All<TcpCounters>>,
    told_of_overflow: AtomicBool,
}

impl MeshMetrics {
    fn requests(&self, worker: usize, labels: String, grpc: bool) -> Arc<RequestCounters> {
        let make = |grpc| RequestCounters {
            grpc,
            ..Default::default()
        };
        self.series(&self.requests, worker, labels, || make(grpc), || make(true))
    }

    fn tcp(&self, worker: usize, labels: String) -> Arc<TcpCounters> {
        self.series(&self.tcp, worker, labels, TcpCounters::default, TcpCounters::default)
    }

    /// That worker's numbers for those labels; where there are too many, for all the others.
    fn series<T>(
        &self,
        all: &Mutex<All<T>>,
        worker: usize,
        labels: String,
        make: impl FnOnce() -> T,
        make_overflow: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = all.len() < MAX_SERIES || all.contains_key(labels.as_str());
        if has_room {
            return own(all.entry(labels.into()).or_default(), worker, make);
        }
        if !self.told_of_overflow.swap(true, Relaxed) {
            tracing::warn!(
                MAX_SERIES,
                "more combinations of metric labels than are kept: further ones are counted as reporter=\"overflow\""
            );
        }
        own(all.entry(OVERFLOW.into()).or_default(), worker, make_overflow)
    }

    /// Prometheus text.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# TYPE istio_build gauge\nistio_build{{component=\"proxy\",tag=\"{}\"}} 1",
            runtime::version::VERSION
        );
        let requests = totals(&self.requests);
        let grpc = || requests.iter().filter(|(_, series)| series.grpc);
        counters(
            &mut out,
            "istio_requests_total",
            requests.iter().map(|(l, s)| (l, &s.requests)),
        );
        counters(
            &mut out,
            "istio_request_messages_total",
            grpc().map(|(l, s)| (l, &s.request_messages)),
        );
        counters(
            &mut out,
            "istio_response_messages_total",
            grpc().map(|(l, s)| (l, &s.response_messages)),
        );
        histograms(
            &mut out,
            "istio_request_duration_milliseconds",
            requests.iter().map(|(l, s)| (l, &s.duration)),
        );
        histograms(
            &mut out,
            "istio_request_bytes",
            requests.iter().map(|(l, s)| (l, &s.request_bytes)),
        );
        histograms(
            &mut out,
            "istio_response_bytes",
            requests.iter().map(|(l, s)| (l, &s.response_bytes)),
        );
        let tcp = totals(&self.tcp);
        counters(
            &mut out,
            "istio_tcp_connections_opened_total",
            tcp.iter().map(|(l, s)| (l, &s.opened)),
        );
        counters(
            &mut out,
            "istio_tcp_connections_closed_total",
            tcp.iter().map(|(l, s)| (l, &s.closed)),
        );
        counters(
            &mut out,
            "istio_tcp_received_bytes_total",
            tcp.iter().map(|(l, s)| (l, &s.received)),
        );
        counters(
            &mut out,
            "istio_tcp_sent_bytes_total",
            tcp.iter().map(|(l, s)| (l, &s.sent)),
        );
        out
    }
}

/// The numbers of one worker among those of all.
fn own<T>(workers: &mut Vec<(usize, Arc<T>)>, worker: usize, make: impl FnOnce() -> T) -> Arc<T> {
    if let Some((_, known)) = workers.iter().find(|(id, _)| *id == worker) {
        return known.clone();
    }
    let made = Arc::new(make());
    workers.push((worker, made.clone()));
    made
}

/// What all workers have counted.
fn totals<T: Series>(all: &Mutex<All<T>>) -> BTreeMap<Arc<str>, T> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let total = |workers: Vec<(usize, Arc<T>)>| {
        let mut total = T::default();
        workers.iter().for_each(|(_, series)| total.take_in(series));
        total
    };
    all.into_iter()
        .map(|(labels, workers)| (labels, total(workers)))
        .collect()
}

fn counters<'a>(out: &mut String, name: &str, series: impl Iterator<Item = (&'a Arc<str>, &'a OwnCounter)>) {
    let mut series = series.peekable();
    if series.peek().is_some() {
        let _ = writeln!(out, "# TYPE {name} counter");
    }
    for (labels, counter) in series {
        let _ = writeln!(out, "{name}{{{labels}}} {}", counter.get());
    }
}

fn histograms<'a>(out: &mut String, name: &str, series: impl Iterator<Item = (&'a Arc<str>, &'a Histogram)>) {
    let mut series = series.peekable();
    if series.peek().is_some() {
        let _ = writeln!(out, "# TYPE {name} histogram");
    }
    for (labels, histogram) in series {
        histogram.render(name, labels, out);
    }
}

/// What tells two series apart, as identities. The parts are kept alive by [`Held`], so an address names one thing only.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    direction: Direction,
    cluster: usize,
    downstream_peer: usize,
    upstream_peer: usize,
    /// Of the other side, see [`Principals`]. Its certificate is another one for each connection.
    principal: u32,
    status: u16,
    grpc_status: Option<u32>,
    flags: Flags,
    protocol: Option<HttpVersion>,
    grpc: bool,
    mutual_tls: bool,
}

impl Hash for Key {
    /// In few words: it is done for each request.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let small = u64::from(self.status)
            | (self.direction as u64) << 16
            | u64::from(self.grpc) << 20
            | u64::from(self.mutual_tls) << 21
            | self.protocol.map_or(0, |protocol| protocol as u64 + 1) << 24
            | u64::from(self.principal) << 32;
        let rare = u64::from(self.flags.bits()) | u64::from(self.grpc_status.unwrap_or(u32::MAX)) << 32;
        for word in [
            self.cluster as u64,
            self.downstream_peer as u64,
            self.upstream_peer as u64,
            small,
            rare,
        ] {
            state.write_u64(word);
        }
    }
}

/// What keeps the addresses in a [`Key`] from being reused.
struct Held {
    _cluster: Option<Arc<Cluster>>,
    _downstream: Option<Arc<PeerLabels>>,
    _upstream: Option<Arc<PeerLabels>>,
    _endpoint: Option<Arc<crate::config::Endpoint>>,
}

/// Numbers for the principals that one worker has met, from 1.
#[derive(Default)]
struct Principals(HashMap<Box<str>, u32, RandomState>);

impl Principals {
    fn number(&mut self, principal: Option<&str>) -> u32 {
        let Some(principal) = principal else { return 0 };
        if let Some(number) = self.0.get(principal) {
            return *number;
        }
        let number = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        self.0.insert(principal.into(), number);
        number
    }
}

/// The combinations that one worker has met.
#[derive(Default)]
pub struct WorkerMetrics {
    requests: RefCell<HashMap<Key, (Arc<RequestCounters>, Held), RandomState>>,
    /// Where the last request was counted, which is known among `requests`: the next one often belongs there, too.
    last: RefCell<Option<(Key, Arc<RequestCounters>)>>,
    tcp: RefCell<HashMap<Key, (Arc<TcpCounters>, Held), RandomState>>,
    principals: RefCell<Principals>,
}

impl WorkerMetrics {
    pub(super) fn request(&self, worker: &Worker, record: &Record) {
        // Gateways and sidecars alike; a listener without a direction (15090) is no traffic of the mesh.
        if record.connection.direction == Direction::Unspecified {
            return;
        }
        let key = self.key(record);
        let mut last = self.last.borrow_mut();
        let series = match &*last {
            Some((known, series)) if *known == key => series,
            _ => {
                let mut known = self.requests.borrow_mut();
                let (series, _) = known.entry(key.clone()).or_insert_with(|| {
                    let labels = request_labels(worker, record);
                    (
                        worker.shared.mesh_metrics.requests(worker.id, labels, record.grpc),
                        held(record),
                    )
                });
                &last.insert((key, series.clone())).1
            }
        };
        series.requests.inc();
        series
            .duration
            .observe(u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX));
        series.request_bytes.observe_bytes(record.bytes_received);
        series.response_bytes.observe_bytes(record.bytes_sent);
        if record.grpc {
            series.request_messages.add(record.request_messages);
            series.response_messages.add(record.response_messages);
        }
    }

    pub(super) fn tcp(&self, worker: &Worker, record: &Record) -> Arc<TcpCounters> {
        let key = self.key(record);
        let mut known = self.tcp.borrow_mut();
        let (series, _) = known.entry(key).or_insert_with(|| {
            let mut labels = common_labels(worker, record);
            // The flags of an open connection are not known yet; both ends of one connection must be one series.
            let _ = write!(labels, ",request_protocol=\"tcp\",response_flags=\"-\"");
            (worker.shared.mesh_metrics.tcp(worker.id, labels), held(record))
        });
        series.clone()
    }

    fn key(&self, record: &Record) -> Key {
        self.bound();
        let address = |p: *const ()| p as usize;
        let connection = &record.connection;
        let upstream_peer = match (&record.upstream.peer, &record.upstream.endpoint) {
            (Some(peer), _) => address(Arc::as_ptr(peer).cast()),
            (None, Some(endpoint)) => address(Arc::as_ptr(endpoint).cast()),
            (None, None) => 0,
        };
        let principal = match connection.direction {
            Direction::Inbound => connection.peer_principal(),
            Direction::Outbound | Direction::Unspecified => record.upstream.peer_principal.as_deref(),
        };
        Key {
            direction: connection.direction,
            cluster: record
                .upstream
                .cluster
                .as_ref()
                .map_or(0, |c| address(Arc::as_ptr(c).cast())),
            downstream_peer: record
                .downstream_peer
                .as_ref()
                .map_or(0, |p| address(Arc::as_ptr(p).cast())),
            upstream_peer,
            principal: self.principals.borrow_mut().number(principal),
            status: record.status,
            grpc_status: record.grpc_status,
            flags: if record.protocol.is_some() {
                record.flags
            } else {
                Flags::default()
            },
            protocol: record.protocol,
            grpc: record.grpc,
            mutual_tls: connection.is_mutual_tls(),
        }
    }

    /// Forgets what is known if it has become too much: the series themselves are the process's.
    fn bound(&self) {
        let full = |len: usize| len >= MAX_KNOWN;
        if full(self.requests.borrow().len()) || full(self.tcp.borrow().len()) || full(self.principals.borrow().0.len())
        {
            self.requests.borrow_mut().clear();
            *self.last.borrow_mut() = None;
            self.tcp.borrow_mut().clear();
            self.principals.borrow_mut().0.clear();
        }
    }
}

fn held(record: &Record) -> Held {
    Held {
        _cluster: record.upstream.cluster.clone(),
        _downstream: record.downstream_peer.clone(),
        _upstream: record.upstream.peer.clone(),
        _endpoint: record.upstream.endpoint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_below_each_bound() {
        let histogram = Histogram::default();
        for value in [200_000, 3_000_000, 5_000_000, 5_000_001, 7_200_000_000_000] {
            histogram.observe(value);
        }
        histogram.observe_bytes(4);
        let mut out = String::new();
        histogram.render("h", "a=\"b\"", &mut out);
        for line in [
            "h_bucket{a=\"b\",le=\"0.5\"} 1",
            "h_bucket{a=\"b\",le=\"5\"} 4",
            "h_bucket{a=\"b\",le=\"10\"} 5",
            "h_bucket{a=\"b\",le=\"+Inf\"} 6",
            "h_sum{a=\"b\"} 7200017.2",
            "h_count{a=\"b\"} 6",
        ] {
            assert!(out.contains(line), "{line} in\n{out}");
        }
    }

    #[test]
    fn what_is_too_much_is_counted_in_one_series() {
        let metrics = MeshMetrics::default();
        for n in 0..MAX_SERIES + 5 {
            metrics.requests(0, format!("n=\"{n}\""), false).requests.inc();
        }
        metrics.requests(0, "n=\"7\"".into(), false).requests.inc();
        let all = totals(&metrics.requests);
        let count = |labels: &str| all.get(labels).map(|series| series.requests.get());
        assert_eq!(
            (all.len(), count(OVERFLOW), count("n=\"7\"")),
            (MAX_SERIES + 1, Some(5), Some(2))
        );
    }

    #[test]
    fn workers_count_for_themselves_and_are_added_up() {
        let metrics = MeshMetrics::default();
        for worker in [0, 1, 0] {
            let series = metrics.requests(worker, "a=\"b\"".into(), true);
            series.requests.inc();
            series.response_messages.add(10);
            series.duration.observe(3_000_000);
            metrics.tcp(worker, "c=\"d\"".into()).sent.add(100);
        }
        let text = metrics.render();
        for line in [
            "istio_requests_total{a=\"b\"} 3",
            "istio_response_messages_total{a=\"b\"} 30",
            "istio_request_duration_milliseconds_bucket{a=\"b\",le=\"5\"} 3",
            "istio_request_duration_milliseconds_count{a=\"b\"} 3",
            "istio_tcp_sent_bytes_total{c=\"d\"} 300",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn principals_are_told_apart_by_their_names_and_forgotten_when_they_are_many() {
        let metrics = WorkerMetrics::default();
        let number = |name: &str| metrics.principals.borrow_mut().number(Some(name));
        assert_eq!((number("a"), number("b"), number("a")), (1, 2, 1));
        assert_eq!(metrics.principals.borrow_mut().number(None), 0);
        for n in 0..MAX_KNOWN {
            number(&n.to_string());
        }
        metrics.bound();
        assert_eq!(number("b"), 1);
    }
}
