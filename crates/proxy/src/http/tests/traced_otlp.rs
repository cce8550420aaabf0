//! Spans for OpenTelemetry as a collector reads them: its messages are written down here a second time, with the fields that a span of the
//! proxy may not have, after opentelemetry-proto 1.x (trace/v1, common/v1, resource/v1 and collector/trace/v1).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use prost::Message;
use tokio::net::TcpListener;

use super::harness::{Proxy, Upstream, forward, header, play, route, until};
use crate::config::{ClusterSlot, TracerKind, Tracing, UpstreamProtocol};
use crate::stats::TracerStats;
use crate::trace::Propagation;
use crate::trace::tests::reporting;

const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "2")]
    dropped_attributes_count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(bytes = "vec", tag = "1")]
    scope: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    dropped_attributes_count: u32,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum SpanKind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// What one report was.
struct Report {
    head: http::request::Parts,
    body: Bytes,
}

/// A collector; it speaks HTTP/2 if `grpc`, and then answers with `grpc_status`.
async fn collector(grpc: bool, grpc_status: &'static str) -> (std::net::SocketAddr, Rc<RefCell<Vec<Report>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let reports = Rc::new(RefCell::new(Vec::new()));
    let seen = reports.clone();
    let service = move |request: http::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            seen.borrow_mut().push(Report { head, body });
            let response = http::Response::builder();
            let response = match grpc {
                true => response
                    .header("content-type", "application/grpc")
                    .header("grpc-status", grpc_status),
                false => response,
            };
            Ok::<_, std::convert::Infallible>(response.body(Full::new(Bytes::new())).expect("a head"))
        }
    };
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = hyper_util::rt::TokioIo::new(stream);
            let service = hyper::service::service_fn(service.clone());
            tokio::task::spawn_local(async move {
                if grpc {
                    let _ = hyper::server::conn::http2::Builder::new(Local)
                        .serve_connection(stream, service)
                        .await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(stream, service)
                        .await;
                }
            });
        }
    });
    (address, reports)
}

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Everything is sampled.
fn tracing(kind: TracerKind, cluster: Arc<ClusterSlot>, stats: Arc<TracerStats>) -> Tracing {
    let path = match kind {
        TracerKind::OtlpGrpc => GRPC,
        _ => "/v1/traces",
    };
    let mut tracing = reporting(cluster, stats);
    let tracer = Arc::get_mut(&mut tracing.tracer).expect("nobody else has it yet");
    (tracer.kind, tracer.propagation) = (kind, Propagation::W3c);
    (tracer.authority, tracer.path) = ("otel.observe:4317".into(), path.into());
    tracing
}

/// What is told of a request with `fields` that the server answers with `status`: the request that the server saw, and the report.
async fn told(
    kind: TracerKind,
    grpc_status: &'static str,
    status: u16,
    fields: &str,
) -> (String, Report, Arc<TracerStats>) {
    let grpc = kind == TracerKind::OtlpGrpc;
    let (address, reports) = collector(grpc, grpc_status).await;
    let upstream = Upstream::new(move |mut peer| async move {
        while peer.request().await.is_some() {
            peer.reply(status, "ok").await;
        }
    })
    .await;
    let stats = Arc::new(TracerStats::default());
    let made = stats.clone();
    let slot = crate::shared::Shared::new(Arc::default()).slots.cluster("otel");
    let traced = slot.clone();
    let proxy = Proxy::new(|manager| manager.tracing = Some(Box::new(tracing(kind, traced, made)))).await;
    let served = proxy.cluster(&[address], |cluster| {
        if grpc {
            cluster.http.protocol = UpstreamProtocol::Http2;
        }
    });
    slot.cluster.store(served.cluster.load_full());
    slot.endpoints.store(served.endpoints.load_full());
    let server = proxy.cluster(&[upstream.address], |_| {});
    proxy.route(vec![route("/", forward(&server, |_| {}))]);
    proxy
        .ask(&format!("GET /a HTTP/1.1\r\nhost: mesh\r\n{fields}\r\n"))
        .await;
    until("a report", || !reports.borrow().is_empty()).await;
    until("the end of it", || {
        stats.reports_sent.get() + stats.reports_dropped.get() == 1
    })
    .await;
    let report = reports.borrow_mut().remove(0);
    (upstream.requests().remove(0), report, stats)
}

/// The one span of a report, whose other parts are checked.
fn only_span(message: &[u8]) -> Span {
    let export = ExportTraceServiceRequest::decode(message).expect("OTLP");
    assert_eq!(
        export.encode_to_vec(),
        message,
        "there is nothing that a collector does not know"
    );
    let [resource_spans] = export.resource_spans.as_slice() else {
        panic!("one resource: {export:?}")
    };
    let expected = [KeyValue {
        key: "service.name".into(),
        value: Some(AnyValue {
            string_value: Some("web.shop".into()),
        }),
    }];
    assert_eq!(resource_spans.resource.as_ref().expect("said").attributes, expected);
    let [scope] = resource_spans.scope_spans.as_slice() else {
        panic!("one scope: {export:?}")
    };
    assert_eq!(scope.spans.len(), 1, "{export:?}");
    scope.spans[0].clone()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn otlp_over_http_is_the_bare_message() {
    play(async {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
        let caller = "traceparent: 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01\r\n";
        let (seen, report, stats) = told(TracerKind::OtlpHttp, "", 503, caller).await;
        let Report { head, body } = report;
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        assert_eq!(head.headers["host"], "otel.observe:4317");
        let span = only_span(&body);
        assert_eq!(hex(&span.trace_id), "463ac35c9f6413ad48485a3953bb6124");
        assert_eq!(hex(&span.parent_span_id), "a2fb4a1d1a96d312");
        let sent = header(&seen, "traceparent").expect("goes on");
        assert_eq!(
            sent,
            format!("00-463ac35c9f6413ad48485a3953bb6124-{}-01", hex(&span.span_id))
        );
        assert_eq!((span.name.as_str(), span.kind()), ("mesh", SpanKind::Client));
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        let slack = Duration::from_secs(60).as_nanos() as u64;
        let began = before.as_nanos() as u64;
        assert!(
            began - slack < start && start <= end && end < began + slack,
            "{start} {end}"
        );
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2), "ERROR");
        let said = |key: &str| {
            let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
            attribute.value.as_ref()?.string_value.clone()
        };
        for (key, expected) in [
            ("http.url", "http://mesh/a"),
            ("http.method", "GET"),
            ("http.status_code", "503"),
            ("component", "proxy"),
            ("error", "true"),
        ] {
            assert_eq!(said(key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!((stats.reports_sent.get(), stats.spans_sent.get()), (1, 1));
    });
}

#[test]
fn otlp_over_grpc_is_in_a_frame() {
    play(async {
        for (answer, taken) in [("0", true), ("14", false)] {
            let (seen, report, stats) = told(TracerKind::OtlpGrpc, answer, 200, "").await;
            let Report { head, body } = report;
            assert_eq!((head.version, head.uri.path()), (http::Version::HTTP_2, GRPC));
            assert_eq!(
                head.uri.authority().map(|authority| authority.as_str()),
                Some("otel.observe:4317")
            );
            assert_eq!(
                (&head.headers["content-type"], &head.headers["te"]),
                (
                    &"application/grpc".parse().expect("a value"),
                    &"trailers".parse().expect("a value")
                )
            );
            let (frame, message) = body.split_at(5);
            assert_eq!(frame[0], 0, "not compressed");
            assert_eq!(
                u32::from_be_bytes(frame[1..].try_into().expect("four")) as usize,
                message.len()
            );
            let span = only_span(message);
            assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
            assert!(span.parent_span_id.is_empty() && span.status.is_none(), "{span:?}");
            let sent = header(&seen, "traceparent").expect("goes on");
            assert_eq!(sent, format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)));
            assert_eq!(
                (stats.reports_sent.get(), stats.reports_dropped.get()),
                (u64::from(taken), u64::from(!taken))
            );
        }
    });
}
