//! The door of the cost benches: a whole proxy on the thread that calls.
//!
//! In production the control loop and each worker have threads of their own, and who comes first differs from run to run. Here they are
//! tasks of one event loop, so that the same conversation takes the same instructions each time. What runs is the product's code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::google::protobuf::Any;
use xds::client::{Client, Dialect, Response};

use super::{Kind, State, ads};
use crate::bootstrap;
use crate::shared::Shared;
use crate::worker::Worker;

/// A proxy with one worker, and the control plane's words in its ear.
pub struct Sidecar {
    pub worker: Rc<Worker>,
    pub state: State,
    client: Client,
    responses: u64,
}

impl Sidecar {
    /// On an event loop that runs local tasks.
    ///
    /// # Panics
    /// If the bootstrap cannot be used.
    pub fn new(bootstrap: &str) -> Self {
        let bootstrap = bootstrap::parse(Path::new("bootstrap.json"), bootstrap.to_owned()).expect("a bootstrap");
        let shared = Arc::new(Shared::new(Arc::new(bootstrap.node.clone())));
        let (handle, worker) = Worker::here(shared.clone());
        let mut state = State::new(shared, &bootstrap, vec![handle], Duration::from_secs(1));
        state.load_static(&bootstrap).expect("static resources");
        let mut client = Client::new(Dialect::Delta, core::Node::default());
        ads::subscribe(&mut client, &mut state);
        client.stream_opened();
        Sidecar {
            worker,
            state,
            client,
            responses: 0,
        }
    }

    /// One response of the control plane, and all that the control loop does with it.
    pub fn hear(&mut self, type_url: &str, resources: Vec<(String, Any)>) {
        self.responses += 1;
        let version = self.responses.to_string();
        let resource = |(name, body)| discovery::Resource {
            name,
            version: version.clone(),
            resource: Some(body),
            ..Default::default()
        };
        let response = discovery::DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            system_version_info: version.clone(),
            nonce: version.clone(),
            resources: resources.into_iter().map(resource).collect(),
            ..Default::default()
        };
        ads::receive(Response::Delta(response), &mut self.client, &mut self.state);
        while self.client.next_request().is_some() {}
    }

    /// Everything that was heard is in force.
    ///
    /// # Panics
    /// If something was refused, or waits.
    pub fn check(&self) {
        for kind in [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route, Kind::Secret] {
            let refused: BTreeMap<_, _> = self
                .state
                .records
                .refused(kind)
                .iter()
                .map(|(n, r)| (n, &r.reason))
                .collect();
            assert!(refused.is_empty(), "{refused:?}");
        }
        assert!(!self.state.is_waiting(), "something has not arrived");
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.state.listeners.address(listener).expect("a listener of this name")
    }
}
