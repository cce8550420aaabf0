//! The parts of the request path that look at configuration or leave a trace: routing, filters, metrics, access log.

use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codec::http1;
use futures_util::FutureExt;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use proxy::config::compile::{self, Context};
use proxy::config::{Direction, Route};
use proxy::connection::ConnectionInfo;
use proxy::control::bench::Sidecar;
use proxy::filter::{FilterContext, FilterState, HttpFilter, Pipeline, cors::Cors, fault::Fault};
use proxy::head::{HttpVersion, RequestHead, ResponseHead};
use proxy::shared::Shared;
use proxy::telemetry::{self, AccessLog, Format, Record};

use crate::messages::{self, Reached, Side};
use crate::path::NODE;
use crate::scenario::{Scenario, Work, scenario};
use crate::stage::Stage;

pub const SCENARIOS: &[Scenario] = &[
    scenario("parts/route-of-1000x10", 3000, routing),
    scenario("parts/filters-with-nothing-to-do", 3000, filters),
    scenario("parts/metrics", 3000, metrics),
    scenario("parts/access-log-line", 3000, access_log),
];

const HOSTS: usize = 1000;
const RULES: usize = 10;

fn head(path: &str, host: &str) -> RequestHead {
    let text = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench/1.0\r\naccept: */*\r\naccept-encoding: gzip\r\n\
         x-request-id: 6ba7b810-9dad-41d1-80b4-00c04fd430c8\r\nx-canary: yes\r\ncookie: session=4f2a\r\n\r\n"
    );
    let read = http1::request_head(
        text.as_bytes(),
        &mut http1::Progress::default(),
        &http1::Limits::default(),
        "http",
        &mut Default::default(),
    );
    read.expect("well formed").expect("whole").head
}

/// One operation: host, then the first rule that fits, which is each of the ten in turn.
fn routing(rounds: u32) -> Work {
    let context = Context::new(Arc::new(Shared::new(Arc::default())), None);
    let table = compile::routes(messages::route_configuration(HOSTS, RULES), 1, &context).expect("a table");
    let heads: Vec<RequestHead> = (1..=RULES)
        .map(|rule| head(&format!("/v{rule}/item?id=7"), &messages::host(rule * 97)))
        .collect();
    Box::new(move || {
        for round in 0..rounds as usize {
            let head = black_box(&heads[round % RULES]);
            let host = table.virtual_host(&head.authority).expect("a virtual host");
            black_box(host.route(head).expect("a route"));
        }
    })
}

/// A request that was answered, with all that a record then holds.
struct Answered {
    stage: Stage,
    sidecar: Sidecar,
    connection: Rc<ConnectionInfo>,
    route: Arc<Route>,
    request: RequestHead,
    response: ResponseHead,
    record: Record,
}

fn answered() -> Answered {
    let stage = Stage::new();
    let pod = SocketAddr::from(([10, 0, 0, 1], 9080));
    let sidecar = stage.run(async {
        let mut sidecar = Sidecar::new(NODE);
        sidecar.hear(LISTENER, vec![messages::listener("outbound", Side::Outbound)]);
        sidecar.hear(CLUSTER, vec![messages::service(0, Reached::default())]);
        sidecar.hear(ENDPOINT, vec![messages::endpoints(0, &[pod])]);
        sidecar.hear(ROUTE, vec![messages::routes(1, 1)]);
        sidecar.check();
        sidecar
    });
    let slots = &sidecar.worker.shared.slots;
    let request = head("/item?id=7", &messages::host(0));
    let table = slots.routes(messages::ROUTES).table.load_full().expect("a table");
    let host = table.virtual_host(&request.authority).expect("a virtual host");
    let route = host.route(&request).expect("a route").clone();
    let connection = Rc::new(ConnectionInfo {
        id: 1,
        local: SocketAddr::from(([10, 0, 0, 9], 80)),
        remote: SocketAddr::from(([10, 0, 0, 8], 40_000)),
        redirected: false,
        direction: Direction::Outbound,
        server_name: None,
        tls: None,
        chain: None,
    });
    let mut record = Record::new(connection.clone(), Some(HttpVersion::Http11));
    let slot = slots.cluster(&messages::cluster_name(0));
    record.status = 200;
    record.details = "via_upstream".into();
    record.bytes_sent = 512;
    record.upstream_service_time = Some(Duration::from_millis(3));
    record.route = Some(route.clone());
    record.upstream.cluster = slot.cluster.load_full();
    record.upstream.endpoint = slot.endpoints.load().priorities[0].first().cloned();
    record.upstream.attempts = 1;
    Answered {
        stage,
        sidecar,
        connection,
        route,
        request,
        response: ResponseHead::new(200),
        record,
    }
}

/// One operation: the three phases of cross-origin checks and faults that no route asks for.
fn filters(rounds: u32) -> Work {
    let mut answered = answered();
    let pipeline = Pipeline::new(vec![HttpFilter::Cors(Cors), HttpFilter::Fault(Fault { default: None })]);
    Box::new(move || {
        for _ in 0..rounds {
            let mut state = FilterState::default();
            let mut cx = FilterContext {
                worker: &answered.sidecar.worker,
                connection: &answered.connection,
                route: Some(&answered.route),
                record: &mut answered.record,
                state: &mut state,
            };
            let answer = pipeline
                .request(&mut cx, black_box(&mut answered.request))
                .now_or_never();
            assert!(matches!(answer, Some(None)), "nothing to answer, nothing to wait for");
            pipeline.response(&mut cx, black_box(&mut answered.response));
            pipeline.complete(&answered.record);
        }
    })
}

/// One operation: what a request leaves in the `istio_*` metrics.
fn metrics(rounds: u32) -> Work {
    let mut answered = answered();
    let finish = |answered: &mut Answered| {
        let record = black_box(&mut answered.record);
        let response = Some(&answered.response);
        telemetry::finish(&answered.sidecar.worker, &[], record, Some(&answered.request), response);
    };
    finish(&mut answered);
    Box::new(move || (0..rounds).for_each(|_| finish(&mut answered)))
}

/// One operation: a line in the default format, and its share of handing full buffers to the writer.
fn access_log(rounds: u32) -> Work {
    let answered = answered();
    let log = AccessLog::file("/dev/null", Format::default_text()).expect("a log");
    Box::new(move || {
        answered.stage.run(async {
            for _ in 0..rounds {
                let record = black_box(&answered.record);
                let (request, response) = (Some(&answered.request), Some(&answered.response));
                log.log(&answered.sidecar.worker, record, request, response);
            }
        });
    })
}
