//! Configuration: a mesh that arrives, and one endpoint of a large mesh that changes.

use std::mem::take;
use std::net::SocketAddr;

use proto::envoy::google::protobuf::Any;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET};
use proxy::control::bench::Sidecar;

use crate::messages::{self, Reached, Side};
use crate::scenario::{Scenario, Work, scenario};
use crate::stage::Stage;

pub const SCENARIOS: &[Scenario] = &[
    scenario("config/cluster-and-route-of-1000", 1000, mesh),
    scenario("config/endpoint-of-5000", 20, endpoint_changes),
];

/// Services in the mesh where an endpoint changes.
const MANY: usize = 5000;

fn address(service: usize, pod: u8) -> SocketAddr {
    let [.., high, low] = service.to_be_bytes();
    SocketAddr::from(([10, high, low, pod], 9080))
}

/// One operation: a cluster with a TLS context of its own, its two endpoints, and a virtual host with a route. All of a kind come in one response.
fn mesh(services: u32) -> Work {
    let services = services as usize;
    let reached = Reached {
        mutual_tls: true,
        http2: false,
    };
    let pods = |number| [address(number, 1), address(number, 2)];
    let mut clusters: Vec<_> = (0..services).map(|number| messages::service(number, reached)).collect();
    let mut endpoints: Vec<_> = (0..services)
        .map(|number| messages::endpoints(number, &pods(number)))
        .collect();
    let mut routes = vec![messages::routes(services, 1)];
    let stage = Stage::new();
    let mut sidecar = stage.run(async {
        let mut sidecar = Sidecar::new("{}");
        // The first service brings the secrets, which all share.
        let others = clusters.split_off(1);
        sidecar.hear(LISTENER, vec![messages::listener("outbound", Side::Outbound)]);
        sidecar.hear(CLUSTER, std::mem::replace(&mut clusters, others));
        sidecar.hear(SECRET, messages::secrets(&messages::authority(), "client"));
        sidecar
    });
    Box::new(move || {
        stage.run(async {
            sidecar.hear(CLUSTER, take(&mut clusters));
            sidecar.hear(ENDPOINT, take(&mut endpoints));
            sidecar.hear(ROUTE, take(&mut routes));
            sidecar.check();
        });
    })
}

/// One operation: a response with one assignment, in which one of three endpoints is another one than before.
fn endpoint_changes(changes: u32) -> Work {
    let chosen = MANY / 2;
    let change = |number: u32| {
        let last = if number.is_multiple_of(2) { 3 } else { 4 };
        messages::endpoints(chosen, &[1, 2, last].map(|pod| address(chosen, pod)))
    };
    let mut assignments: Vec<(String, Any)> = (0..changes).map(change).collect();
    let stage = Stage::new();
    let mut sidecar = stage.run(async {
        let mut sidecar = Sidecar::new("{}");
        let clusters = (0..MANY).map(|number| messages::service(number, Reached::default()));
        let endpoints = (0..MANY).map(|number| messages::endpoints(number, &[address(number, 1)]));
        sidecar.hear(CLUSTER, clusters.collect());
        sidecar.hear(ENDPOINT, endpoints.collect());
        sidecar.check();
        sidecar
    });
    Box::new(move || {
        stage.run(async {
            for assignment in assignments.drain(..) {
                sidecar.hear(ENDPOINT, vec![assignment]);
            }
        });
    })
}
