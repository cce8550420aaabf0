//! The whole way of a request: from a client over loopback through one sidecar, or two with mutual TLS between them, to a server.
//!
//! Everything runs on one thread, so that who comes first is settled by the order of things and not by the clock. What client and server cost
//! is measured by a conversation without a proxy, and taken off.

use std::net::SocketAddr;

use proto::envoy::google::protobuf::Any;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use proxy::control::bench::Sidecar;

use crate::messages::{self, Reached, Side};
use crate::peers::{http1, http2};
use crate::scenario::{Scenario, Work, scenario};
use crate::stage::Stage;

pub const SCENARIOS: &[Scenario] = &[
    through("path/http1", 400, "path/peers-http1", |n| {
        talk(Kind::Http1, Way::Plain, n)
    }),
    through("path/http1-two-sidecars-mtls", 400, "path/peers-http1", |n| {
        talk(Kind::Http1, Way::Mutual, n)
    }),
    scenario("path/peers-http1", 400, |n| talk(Kind::Http1, Way::Direct, n)),
    through("path/http1-64k", 80, "path/peers-http1-64k", |n| {
        talk(Kind::Bodies, Way::Plain, n)
    }),
    scenario("path/peers-http1-64k", 80, |n| talk(Kind::Bodies, Way::Direct, n)),
    through("path/grpc", 400, "path/peers-grpc", |n| talk(Kind::Grpc, Way::Plain, n)),
    through("path/grpc-two-sidecars-mtls", 400, "path/peers-grpc", |n| {
        talk(Kind::Grpc, Way::Mutual, n)
    }),
    scenario("path/peers-grpc", 400, |n| talk(Kind::Grpc, Way::Direct, n)),
];

const fn through(name: &'static str, rounds: u32, less: &'static str, prepare: fn(u32) -> Work) -> Scenario {
    Scenario {
        name,
        rounds,
        less,
        prepare,
    }
}

/// Before anything is counted: connections are made, and whatever is made for the first request.
const WARM_UP: u32 = 16;

/// Who a sidecar is: what it tells of itself to other sidecars and in metrics.
pub const NODE: &str = r#"{"node": {"id": "sidecar~10.0.0.9~client-v1-0.shop~shop.svc.cluster.local", "cluster": "client.shop",
    "metadata": {"NAME": "client-v1-0", "NAMESPACE": "shop", "WORKLOAD_NAME": "client-v1", "SERVICE_ACCOUNT": "client",
    "CLUSTER_ID": "Kubernetes", "LABELS": {"app": "client", "version": "v1"}}}}"#;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// GET, one after the other on one connection.
    Http1,
    /// The same with 64 KiB in either direction.
    Bodies,
    /// Unary calls, eight at a time on one connection.
    Grpc,
}

#[derive(Clone, Copy)]
enum Way {
    Direct,
    Plain,
    Mutual,
}

enum Client {
    Http1(http1::Client),
    Http2(http2::Client),
}

impl Client {
    async fn send(&mut self, rounds: u32) {
        match self {
            Client::Http1(client) => client.send(rounds).await,
            Client::Http2(client) => client.send(rounds).await,
        }
    }
}

fn talk(kind: Kind, way: Way, rounds: u32) -> Work {
    let stage = Stage::new();
    let (mut client, sidecars) = stage.run(async {
        let server = match kind {
            Kind::Http1 | Kind::Bodies => http1::serve().await,
            Kind::Grpc => http2::serve().await,
        };
        let (address, sidecars) = lead(way, server, kind == Kind::Grpc);
        let host = messages::host(0);
        let mut client = match kind {
            Kind::Http1 => Client::Http1(http1::Client::get(address, &host).await),
            Kind::Bodies => Client::Http1(http1::Client::post(address, &host).await),
            Kind::Grpc => Client::Http2(http2::Client::new(address, &host).await),
        };
        client.send(WARM_UP).await;
        (client, sidecars)
    });
    Box::new(move || {
        stage.run(client.send(rounds));
        assert!(
            sidecars.iter().all(|sidecar| sidecar.worker.connections() == 1),
            "kept alive"
        );
    })
}

/// Sidecars that lead to a server, and where to enter.
fn lead(way: Way, server: SocketAddr, http2: bool) -> (SocketAddr, Vec<Sidecar>) {
    let reached = |mutual_tls| Reached { mutual_tls, http2 };
    let mut sidecars = Vec::new();
    let address = match way {
        Way::Direct => server,
        Way::Plain => enter(&mut sidecars, Side::Outbound, server, reached(false), Vec::new()),
        Way::Mutual => {
            let authority = messages::authority();
            let [client, service] =
                ["client", &messages::account(0)].map(|account| messages::secrets(&authority, account));
            let inside = enter(&mut sidecars, Side::Inbound, server, reached(false), service);
            enter(&mut sidecars, Side::Outbound, inside, reached(true), client)
        }
    };
    (address, sidecars)
}

/// Leads all requests to `next`, and tells where they are to be sent.
fn enter(
    sidecars: &mut Vec<Sidecar>,
    side: Side,
    next: SocketAddr,
    reached: Reached,
    secrets: Vec<(String, Any)>,
) -> SocketAddr {
    let mut sidecar = Sidecar::new(NODE);
    sidecar.hear(CLUSTER, vec![messages::service(0, reached)]);
    sidecar.hear(ENDPOINT, vec![messages::endpoints(0, &[next])]);
    sidecar.hear(LISTENER, vec![messages::listener("way", side)]);
    sidecar.hear(ROUTE, vec![messages::routes(1, 1)]);
    sidecar.hear(SECRET, secrets);
    sidecar.check();
    let address = sidecar.address("way");
    sidecars.push(sidecar);
    address
}
