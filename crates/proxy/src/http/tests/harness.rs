//! The stage: one worker, a listening connection manager, and peers on loopback.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runtime::drain::{Trigger, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bootstrap::Node;
use crate::config::{
    Action, Cluster, ClusterChoice, ClusterSlot, Codec, DirectResponse, Direction, EndpointSet, ForwardClientCert,
    HttpConnectionManager, PathMatch, PathRewrite, RetryOn, RetryPolicy, Route, RouteAction, RouteMatch, RouteSlot,
    RouteSource, RouteTable, ServerHeader, VirtualHost,
};
use crate::connection::ConnectionInfo;
use crate::head::Value;
use crate::http::Served;
use crate::listener::Downstream;
use crate::shared::Shared;
use crate::telemetry::{AccessLog, Format, flush_access_logs};
use crate::upstream::test_support;
use crate::worker::Worker;

/// What the log says of a request.
const LOG: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% in=%BYTES_RECEIVED% out=%BYTES_SENT% \
    attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% grpc=%GRPC_STATUS_NUMBER%\n";

/// Runs a conversation on a worker's kind of thread.
pub(super) fn play<T>(conversation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), conversation)
            .await
            .expect("in time")
    })
}

pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

/// For what must run out, but not before something else has happened: times that are short, and longer ones for machines that have much
/// else to do. A trial says whether its time sufficed; all else it asserts.
pub(super) fn in_some_time(what: &str, mut trial: impl FnMut(Duration) -> bool) {
    let suffices = [60, 600, 6_000]
        .into_iter()
        .any(|millis| trial(Duration::from_millis(millis)));
    assert!(suffices, "never in time: {what}");
}

/// A proxy of one worker with one connection manager.
pub(super) struct Proxy {
    pub(super) worker: Rc<Worker>,
    pub(super) manager: Arc<HttpConnectionManager>,
    pub(super) address: SocketAddr,
    routes: Arc<RouteSlot>,
    log: PathBuf,
    drain: RefCell<Option<Trigger>>,
    force: Rc<tokio::sync::Notify>,
}

impl Proxy {
    pub(super) async fn new(change: impl FnOnce(&mut HttpConnectionManager)) -> Self {
        Self::of(Node::default(), change).await
    }

    pub(super) async fn of(node: Node, change: impl FnOnce(&mut HttpConnectionManager)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let shared = Arc::new(Shared::new(Arc::new(node)));
        let worker = Rc::new(Worker::new(0, shared.clone(), 1000));
        let routes = shared.slots.routes("routes");
        let log = std::env::temp_dir().join(format!(
            "meltemi-http-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let format = Format::text(LOG).expect("a format");
        let mut manager = manager(&shared, routes.clone());
        manager.access_log = vec![Arc::new(
            AccessLog::file(&log.display().to_string(), format).expect("a log"),
        )];
        change(&mut manager);
        let manager = Arc::new(manager);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (trigger, watch) = runtime::drain::channel();
        let force = Rc::new(tokio::sync::Notify::new());
        tokio::task::spawn_local(accept(listener, worker.clone(), manager.clone(), watch, force.clone()));
        Proxy {
            worker,
            manager,
            address,
            routes,
            log,
            drain: RefCell::new(Some(trigger)),
            force,
        }
    }

    /// All requests are for the host `mesh`.
    pub(super) fn route(&self, routes: Vec<Route>) {
        self.route_with(routes, |_| {});
    }

    pub(super) fn route_with(&self, routes: Vec<Route>, change: impl FnOnce(&mut VirtualHost)) {
        let mut host = VirtualHost {
            name: "mesh".into(),
            routes: routes.into_iter().map(Arc::new).collect(),
            require_tls: false,
            request_headers: Default::default(),
            response_headers: Default::default(),
            include_attempt_count: false,
        };
        change(&mut host);
        let table = RouteTable {
            virtual_hosts: vec![host],
            exact: [("mesh".into(), 0)].into(),
            ..RouteTable::default()
        };
        self.routes.table.store(Some(Arc::new(table)));
    }

    pub(super) fn cluster(&self, addresses: &[SocketAddr], change: impl FnOnce(&mut Cluster)) -> Arc<ClusterSlot> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mut cluster = test_support::cluster();
        change(&mut cluster);
        let slot = self
            .worker
            .shared
            .slots
            .cluster(&format!("cluster-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        slot.cluster.store(Some(Arc::new(cluster)));
        let endpoints = addresses
            .iter()
            .map(|address| test_support::endpoint(&address.to_string(), 1))
            .collect();
        slot.endpoints.store(Arc::new(EndpointSet {
            generation: 1,
            priorities: vec![endpoints],
            locality_weighted: false,
        }));
        slot
    }

    pub(super) async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.address).await.expect("connected"),
            unread: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, request: &str) -> Reply {
        let mut client = self.connect().await;
        client.send(request).await;
        client.reply(request.starts_with("HEAD")).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: mesh\r\n\r\n")).await
    }

    /// What serves a connection, before anything came.
    pub(super) async fn served(&self) -> Served {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let (_trigger, watch) = runtime::drain::channel();
        let begun = begin(self.worker.clone(), self.manager.clone(), stream, self.address, watch);
        begun.await.expect("a protocol")
    }

    /// Begins a drain; its end is the end of the last connection.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + use<> {
        self.drain.borrow_mut().take().expect("once").drain()
    }

    /// Drops every connection, as a listener does at the end of a drain.
    pub(super) fn end_now(&self) {
        self.force.notify_waiters();
    }

    /// The lines of the log, once there are `n`; nothing is under way then.
    pub(super) async fn log(&self, n: usize) -> Vec<String> {
        let read = || {
            self.worker.telemetry.logs.flush_all();
            flush_access_logs(Duration::from_secs(5));
            let text = std::fs::read_to_string(&self.log).expect("a log");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        until(&format!("{n} lines"), || read().len() >= n).await;
        until("all requests are over", || {
            self.manager.stats.downstream_rq_active.get() == 0
        })
        .await;
        let lines = read();
        assert_eq!(lines.len(), n, "each request once: {lines:#?}");
        lines
    }

    pub(super) fn stats(&self, slot: &ClusterSlot) -> Arc<crate::stats::ClusterStats> {
        slot.cluster.load().as_ref().expect("a cluster").stats.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

async fn accept(
    listener: TcpListener,
    worker: Rc<Worker>,
    manager: Arc<HttpConnectionManager>,
    watch: Watch,
    force: Rc<tokio::sync::Notify>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = watch.signaled() => return,
        };
        let (stream, remote) = accepted.expect("accepted");
        let serve = begin(worker.clone(), manager.clone(), stream, remote, watch.clone());
        let force = force.clone();
        tokio::task::spawn_local(async move {
            let served = async {
                if let Some(served) = serve.await {
                    served.await;
                }
            };
            tokio::select! {
                () = served => {}
                () = force.notified() => {}
            }
        });
    }
}

fn begin(
    worker: Rc<Worker>,
    manager: Arc<HttpConnectionManager>,
    stream: TcpStream,
    remote: SocketAddr,
    watch: Watch,
) -> impl Future<Output = Option<Served>> {
    let info = ConnectionInfo {
        id: worker.shared.next_connection_id(),
        local: stream.local_addr().expect("bound"),
        remote,
        redirected: false,
        direction: manager.direction,
        server_name: None,
        tls: None,
        chain: None,
    };
    crate::http::serve(worker, manager, Downstream::Plain(stream), Rc::new(info), watch)
}

/// For tests of what a manager says, without a conversation.
pub(in crate::http) fn plain_manager() -> HttpConnectionManager {
    let shared = Shared::new(Arc::default());
    let routes = shared.slots.routes("routes");
    manager(&shared, routes)
}

fn manager(shared: &Shared, routes: Arc<RouteSlot>) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "test".into(),
        direction: Direction::Outbound,
        codec: Codec::Auto,
        routes: RouteSource::Rds(routes),
        pipeline: Default::default(),
        access_log: Vec::new(),
        server_name: Value::from_static("meltemi").to_owned(),
        server_header: ServerHeader::Overwrite,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        skip_xff_append: false,
        forward_client_cert: ForwardClientCert::Sanitize,
        xfcc_subject: true,
        xfcc_uri: true,
        xfcc_dns: true,
        generate_request_id: true,
        preserve_external_request_id: false,
        normalize_path: true,
        merge_slashes: false,
        unescape_slashes: false,
        strip_matching_host_port: false,
        strip_any_host_port: false,
        upgrades: vec!["websocket".into()],
        accept_http_10: false,
        default_host_for_http_10: None,
        idle_timeout: Duration::from_secs(3600),
        stream_idle_timeout: Duration::ZERO,
        request_timeout: Duration::ZERO,
        request_headers_timeout: Duration::from_secs(60),
        max_connection_duration: None,
        drain_timeout: Duration::from_secs(5),
        max_request_headers_bytes: 60 * 1024,
        max_headers_count: 100,
        max_concurrent_streams: 100,
        buffer_limit: 1024 * 1024,
        stats: shared.stats.http.get("test"),
        tracing: None,
    }
}

pub(super) fn route(prefix: &str, action: Action) -> Route {
    Route {
        name: prefix.trim_matches('/').into(),
        matches: RouteMatch {
            path: PathMatch::Prefix(prefix.into()),
            ignore_case: false,
            headers: vec![],
            query: vec![],
            grpc_only: false,
            fraction: None,
        },
        action,
        request_headers: Default::default(),
        response_headers: Default::default(),
        origin: "".into(),
        rule: "".into(),
        cors: None,
        fault: None,
        operation: None,
    }
}

pub(super) fn direct(status: u16, body: &'static str) -> Action {
    Action::Direct(DirectResponse {
        status,
        body: body.into(),
    })
}

pub(super) fn forward(slot: &Arc<ClusterSlot>, change: impl FnOnce(&mut RouteAction)) -> Action {
    let mut action = RouteAction {
        cluster: ClusterChoice::One(slot.clone()),
        rewrite: PathRewrite::None,
        host_rewrite: None,
        auto_host_rewrite: false,
        append_x_forwarded_host: false,
        timeout: None,
        idle_timeout: None,
        max_grpc_timeout: None,
        retry: None,
        mirrors: vec![],
        hash: vec![],
        upgrades: vec![],
        terminates_connect: false,
        cluster_not_found_status: 503,
    };
    change(&mut action);
    Action::Forward(Box::new(action))
}

pub(super) fn retry(words: &str, attempts: u32, change: impl FnOnce(&mut RetryPolicy)) -> Option<Arc<RetryPolicy>> {
    let mut on = RetryOn::default();
    assert!(words.split(',').all(|word| on.add(word)), "{words}");
    let mut policy = RetryPolicy {
        on,
        attempts,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        avoid_previous_hosts: false,
        host_selection_attempts: 0,
        statuses: vec![503],
        base_interval: Duration::from_millis(1),
        max_interval: Duration::from_millis(2),
    };
    change(&mut policy);
    Some(Arc::new(policy))
}

/// An HTTP/1 client that writes what it is told to.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// The body did not come to its announced end.
    pub(super) cut: bool,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .into_iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

impl Client {
    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("written");
    }

    /// Waits for this at the end of what has come, and leaves it there to be read. False if the connection ends before.
    pub(super) async fn has(&mut self, end: &str) -> bool {
        while !self.unread.ends_with(end.as_bytes()) {
            if !read_some(&mut self.stream, &mut self.unread).await {
                return false;
            }
        }
        true
    }

    pub(super) async fn reply(&mut self, bodiless: bool) -> Reply {
        let mut reply = Reply::default();
        let Some(head) = read_head(&mut self.stream, &mut self.unread).await else {
            reply.cut = true;
            return reply;
        };
        reply.status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status line");
        if !bodiless && !matches!(reply.status, 100..200 | 204 | 304) {
            let body = read_body(&mut self.stream, &mut self.unread, &head, true).await;
            reply.cut = body.is_none();
            reply.body = body.unwrap_or_default();
        }
        reply.head = head;
        reply
    }

    /// Whether the proxy has closed the connection.
    pub(super) async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut [0; 1])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// An upstream's side of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
    seen: Rc<RefCell<Vec<String>>>,
}

impl Peer {
    /// The next request, with its body; `None` when the proxy has closed.
    pub(super) async fn request(&mut self) -> Option<String> {
        let head = self.head().await?;
        let body = read_body(&mut self.stream, &mut self.unread, &head, false).await?;
        let request = format!("{head}\r\n\r\n{body}");
        self.seen.borrow_mut().push(request.clone());
        Some(request)
    }

    pub(super) async fn head(&mut self) -> Option<String> {
        read_head(&mut self.stream, &mut self.unread).await
    }

    /// Reads `n` bytes of a body.
    pub(super) async fn swallow(&mut self, n: usize) {
        while self.unread.len() < n && read_some(&mut self.stream, &mut self.unread).await {}
        assert_eq!(self.unread.len(), n);
        self.unread.clear();
    }

    pub(super) async fn write(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    pub(super) async fn reply(&mut self, status: u16, body: &str) {
        self.write(&format!(
            "HTTP/1.1 {status} Some\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Breaks the connection with a reset instead of an orderly end.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket");
    }
}

/// A scripted upstream.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Rc<RefCell<Vec<String>>>,
}

impl Upstream {
    /// Each connection is played by `script`.
    pub(super) async fn new<F: Future<Output = ()> + 'static>(script: impl Fn(Peer) -> F + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Rc::new(RefCell::new(Vec::new()));
        let requests = seen.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(script(Peer {
                    stream,
                    unread: Vec::new(),
                    seen: requests.clone(),
                }));
            }
        });
        Upstream { address, seen }
    }

    /// Answers every request 200 with its own text.
    pub(super) async fn echo() -> Self {
        Self::new(|mut peer| async move {
            while let Some(request) = peer.request().await {
                peer.reply(200, &request).await;
            }
        })
        .await
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }
}

/// An address where nobody listens.
pub(super) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

async fn read_some(stream: &mut TcpStream, unread: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer).await {
        Ok(n) if n > 0 => {
            unread.extend_from_slice(&buffer[..n]);
            true
        }
        _ => false,
    }
}

async fn read_head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).into_owned();
            unread.drain(..end + 4);
            return Some(head);
        }
        if !read_some(stream, unread).await {
            return None;
        }
    }
}

async fn read_body(stream: &mut TcpStream, unread: &mut Vec<u8>, head: &str, to_close: bool) -> Option<String> {
    if let Some(length) = header(head, "content-length").and_then(|text| text.parse::<usize>().ok()) {
        while unread.len() < length {
            if !read_some(stream, unread).await {
                return None;
            }
        }
        return Some(String::from_utf8_lossy(&unread.drain(..length).collect::<Vec<_>>()).into_owned());
    }
    if header(head, "transfer-encoding").is_some() {
        // Chunks as they are, so that tests see trailers; the end is an empty chunk and an empty line.
        loop {
            let end = unread
                .windows(5)
                .position(|window| window == b"0\r\n\r\n")
                .map(|at| at + 5);
            let trailers = unread.windows(5).position(|window| window == b"\r\n0\r\n");
            let end = end.or_else(|| {
                let start = trailers? + 2;
                unread[start..]
                    .windows(4)
                    .position(|window| window == b"\r\n\r\n")
                    .map(|at| start + at + 4)
            });
            if let Some(end) = end {
                return Some(String::from_utf8_lossy(&unread.drain(..end).collect::<Vec<_>>()).into_owned());
            }
            if !read_some(stream, unread).await {
                return None;
            }
        }
    }
    if !to_close || header(head, "connection") != Some("close") {
        return Some(String::new());
    }
    while read_some(stream, unread).await {}
    Some(String::from_utf8_lossy(&std::mem::take(unread)).into_owned())
}
