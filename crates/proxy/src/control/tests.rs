//! What the control plane says, and what comes into force.

use std::sync::Arc;
use std::time::Duration;

use prost::Name;
use proto::envoy::envoy::config::cluster::v3::{Cluster, cluster::ClusterDiscoveryType};
use proto::envoy::envoy::config::core::v3 as core;
use proto::envoy::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::envoy::config::listener::v3 as listener;
use proto::envoy::envoy::config::route::v3 as route;
use proto::envoy::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::google::protobuf::Any;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use proto::{TypeUrl, any};
use tokio::task::LocalSet;
use xds::client::{Client, Dialect, Response};

use super::*;
use crate::bootstrap;

mod agent;
mod dialects;
mod mesh;
mod process;
mod scale;

/// A control plane's words, and the state that hears them.
pub(crate) struct Talk {
    pub(crate) state: State,
    client: Client,
    nonce: u32,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with("{}")
    }

    pub(crate) fn with(bootstrap: &str) -> Self {
        let bootstrap = bootstrap::parse(std::path::Path::new("b.json"), bootstrap.to_owned()).unwrap();
        let shared = Arc::new(Shared::new(Arc::new(bootstrap.node.clone())));
        let mut state = State::new(shared, &bootstrap, Vec::new(), Duration::from_secs(1));
        state.load_static(&bootstrap).unwrap();
        let mut client = Client::new(Dialect::Delta, core::Node::default());
        ads::subscribe(&mut client, &mut state);
        client.stream_opened();
        Talk {
            state,
            client,
            nonce: 0,
        }
    }

    /// One delta response; the answer is what is refused.
    pub(crate) fn say(&mut self, type_url: &str, resources: Vec<(&str, Any)>, removed: &[&str]) -> Vec<String> {
        self.nonce += 1;
        let resource = |(name, body): (&str, Any)| discovery::Resource {
            name: name.into(),
            version: self.nonce.to_string(),
            resource: Some(body),
            ..Default::default()
        };
        let response = Response::Delta(discovery::DeltaDiscoveryResponse {
            type_url: type_url.into(),
            system_version_info: self.nonce.to_string(),
            nonce: self.nonce.to_string(),
            resources: resources.into_iter().map(resource).collect(),
            removed_resources: removed.iter().map(|name| (*name).into()).collect(),
            ..Default::default()
        });
        let mut update = self.client.receive(response).unwrap();
        let version = update.version.clone();
        let url = update.type_url;
        let rejections = self.state.apply(&mut update);
        self.state.settle();
        ads::subscribe(&mut self.client, &mut self.state);
        let refused = self.client.settle(update, rejections);
        self.state.note_refusals(url, &version, &refused);
        refused
            .into_iter()
            .map(|r| format!("{}: {}", r.name, r.reason))
            .collect()
    }

    fn in_force(&self, cluster: &str) -> bool {
        self.state.shared.slots.cluster(cluster).cluster.load().is_some()
    }

    fn endpoints(&self, cluster: &str) -> Vec<String> {
        let set = self.state.shared.slots.cluster(cluster).endpoints.load_full();
        set.priorities
            .iter()
            .flatten()
            .map(|e| e.address_text.to_string())
            .collect()
    }

    fn listening(&self) -> Vec<String> {
        self.state.listeners.active().map(|l| l.name.to_string()).collect()
    }
}

fn pack<M: prost::Message + TypeUrl>(message: &M) -> Any {
    any(M::TYPE_URL, message)
}

pub(crate) fn eds_cluster(name: &str) -> Any {
    pack(&Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(3)),
        ..Default::default()
    })
}

fn bad_cluster(name: &str) -> Any {
    let mut cluster = Cluster {
        name: name.into(),
        ..Default::default()
    };
    cluster.health_checks.push(Default::default());
    pack(&cluster)
}

fn socket(ip: &str, port: u32) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..Default::default()
    };
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    })
}

pub(crate) fn assignment(name: &str, ips: &[&str]) -> Any {
    let endpoint = |ip: &&str| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: socket(ip, 80),
            ..Default::default()
        })),
        ..Default::default()
    };
    let locality = endpoint::LocalityLbEndpoints {
        lb_endpoints: ips.iter().map(endpoint).collect(),
        ..Default::default()
    };
    pack(&endpoint::ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![locality],
        ..Default::default()
    })
}

pub(crate) fn http_listener(name: &str, routes: &str) -> Any {
    let router = hcm::http_filter::ConfigType::TypedConfig(any(&Router::type_url(), &Router::default()));
    let manager = hcm::HttpConnectionManager {
        stat_prefix: name.into(),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            route_config_name: routes.into(),
            config_source: None,
        })),
        http_filters: vec![hcm::HttpFilter {
            name: "router".into(),
            config_type: Some(router),
            ..Default::default()
        }],
        ..Default::default()
    };
    let packed = any(&hcm::HttpConnectionManager::type_url(), &manager);
    let filter = listener::Filter {
        name: "hcm".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(packed)),
    };
    pack(&listener::Listener {
        name: name.into(),
        address: socket("127.0.0.1", 0),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..Default::default()
        }],
        ..Default::default()
    })
}

pub(crate) fn routes_to(name: &str, cluster: &str) -> Any {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let one = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![one],
        ..Default::default()
    };
    pack(&route::RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![host],
        ..Default::default()
    })
}

/// Runs a test where the control loop runs.
pub(crate) fn on_control_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn what_is_referred_to_comes_into_force_first() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        assert!(!talk.in_force("a"), "its endpoints have not come");
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        assert!(talk.listening().is_empty(), "its routes have not come");
        talk.say(ROUTE, vec![("80", routes_to("80", "a"))], &[]);
        assert!(
            talk.state.shared.slots.routes("80").table.load().is_none(),
            "its cluster is not in force"
        );
        assert!(!talk.state.is_initialized() && talk.state.is_waiting());
        talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1"]))], &[]);
        assert!(talk.in_force("a") && talk.state.shared.slots.routes("80").table.load().is_some());
        assert_eq!(
            (talk.endpoints("a"), talk.listening()),
            (vec!["10.0.0.1:80".to_owned()], vec!["l".to_owned()])
        );
        assert!(talk.state.is_initialized() && !talk.state.is_waiting());
    });
}

#[test]
fn nobody_waits_for_ever() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        tokio::time::advance(WARMING).await;
        talk.state.settle();
        assert!(talk.in_force("a"));
        assert_eq!(talk.listening(), ["l"]);
    });
}

#[test]
fn a_cluster_that_needs_nothing_any_more_is_not_waited_for() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        assert!(talk.state.is_waiting());
        let plain = Cluster {
            name: "a".into(),
            ..Default::default()
        };
        assert!(talk.say(CLUSTER, vec![("a", pack(&plain))], &[]).is_empty());
        assert!(talk.in_force("a") && !talk.state.is_waiting());
    });
}

#[test]
fn a_missing_name_is_waited_for_no_longer() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        talk.say(ENDPOINT, vec![], &["a"]);
        talk.say(ROUTE, vec![], &["80"]);
        assert!(talk.in_force("a") && talk.endpoints("a").is_empty());
        assert_eq!(talk.listening(), ["l"]);
    });
}

#[test]
fn a_refused_name_is_waited_for_no_longer() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        let refused = talk.say(ENDPOINT, vec![("a", assignment("a", &["nowhere"]))], &[]);
        assert!(refused[0].contains("`nowhere` is no IP address"), "{refused:?}");
        assert!(talk.in_force("a") && talk.endpoints("a").is_empty());
        assert!(talk.listening().is_empty());
        let broken = Any {
            type_url: ROUTE.into(),
            value: vec![0x0a, 2, b'8', b'0', 0xff],
        };
        assert_eq!(talk.say(ROUTE, vec![("80", broken)], &[]).len(), 1);
        assert_eq!(talk.listening(), ["l"]);
    });
}

#[test]
fn the_last_good_one_stays_and_the_reason_is_kept() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1"]))], &[]);
        let refused = talk.say(
            CLUSTER,
            vec![
                ("a", bad_cluster("a")),
                ("b", eds_cluster("b")),
                ("c", bad_cluster("c")),
            ],
            &[],
        );
        assert_eq!(
            refused,
            [
                "a: health_checks: not supported by this proxy",
                "c: health_checks: not supported by this proxy"
            ]
        );
        assert!(talk.in_force("a") && talk.state.records.get(Kind::Cluster, "b").is_some());
        let kept = talk.state.records.refused(Kind::Cluster);
        assert_eq!(kept.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);
        talk.say(
            CLUSTER,
            vec![(
                "a",
                pack(&Cluster {
                    alt_stat_name: "x".into(),
                    ..prost::Message::decode(&*eds_cluster("a").value).unwrap()
                }),
            )],
            &["c"],
        );
        assert!(
            talk.state.records.refused(Kind::Cluster).is_empty(),
            "a good version, and a removal, end a refusal"
        );
        assert_eq!(
            talk.endpoints("a"),
            ["10.0.0.1:80"],
            "endpoints outlive a change of their cluster"
        );
    });
}

#[test]
fn a_refusal_ends_when_the_good_version_comes_back() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        assert_eq!(talk.say(CLUSTER, vec![("a", bad_cluster("a"))], &[]).len(), 1);
        assert!(talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]).is_empty());
        assert!(talk.state.records.refused(Kind::Cluster).is_empty());
        assert_eq!(&*talk.state.records.get(Kind::Cluster, "a").unwrap().version, "3");
    });
}

#[test]
fn a_listener_whose_address_is_taken_is_tried_again() {
    on_control_thread(async {
        let mut talk = Talk::new();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut message: listener::Listener = prost::Message::decode(&*http_listener("l", "80").value).unwrap();
        message.address = socket("127.0.0.1", u32::from(taken.local_addr().unwrap().port()));
        assert!(talk.say(LISTENER, vec![("l", pack(&message))], &[]).is_empty());
        talk.say(ROUTE, vec![("80", routes_to("80", "nowhere"))], &[]);
        assert!(talk.listening().is_empty());
        assert_eq!(talk.state.records.refused(Kind::Listener).len(), 1, "people see why");
        assert!(!talk.state.is_waiting() && talk.state.is_restless());
        drop(taken);
        tokio::time::advance(Duration::from_secs(1)).await;
        talk.state.settle();
        assert_eq!(talk.listening(), ["l"]);
        assert!(talk.state.records.refused(Kind::Listener).is_empty() && !talk.state.is_restless());
    });
}

#[test]
fn new_endpoints_touch_nothing_but_the_set() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1"]))], &[]);
        let slot = talk.state.shared.slots.cluster("a");
        let (cluster, set) = (slot.cluster.load_full(), slot.endpoints.load_full());
        talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1", "10.0.0.2"]))], &[]);
        assert!(Arc::ptr_eq(
            cluster.as_ref().unwrap(),
            slot.cluster.load().as_ref().unwrap()
        ));
        let now = slot.endpoints.load_full();
        assert!(
            Arc::ptr_eq(&set.priorities[0][0].stats, &now.priorities[0][0].stats) && now.generation > set.generation
        );
        talk.say(CLUSTER, vec![], &["a"]);
        assert!(!talk.in_force("a") && talk.endpoints("a").is_empty());
        assert!(talk.state.clusters.service_names().is_empty());
        talk.say(CLUSTER, vec![("a", eds_cluster("a"))], &[]);
        assert!(
            !talk.in_force("a"),
            "what was known of its endpoints may be out of date"
        );
        talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1"]))], &[]);
        assert!(talk.in_force("a") && !talk.state.is_waiting());
        assert_eq!(talk.endpoints("a"), ["10.0.0.1:80"]);
    });
}

#[test]
fn a_listener_that_goes_takes_its_routes_and_one_that_returns_waits_for_fresh_ones() {
    on_control_thread(async {
        let mut talk = Talk::new();
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        talk.say(ROUTE, vec![("80", routes_to("80", "nowhere"))], &[]);
        assert_eq!(talk.listening(), ["l"]);
        talk.say(LISTENER, vec![], &["l"]);
        assert!(talk.listening().is_empty() && talk.state.routes.names().is_empty());
        assert!(talk.state.records.get(Kind::Route, "80").is_none());
        talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
        assert!(
            talk.listening().is_empty(),
            "what the table held then may be out of date"
        );
        talk.say(ROUTE, vec![("80", routes_to("80", "nowhere"))], &[]);
        assert_eq!(talk.listening(), ["l"]);
    });
}

#[test]
fn the_bootstraps_clusters_are_not_the_control_planes() {
    on_control_thread(async {
        let mut talk = Talk::with(
            r#"{"static_resources": {"clusters": [{"name": "xds-grpc", "load_assignment": {"endpoints":
            [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}}]}]}}]}}"#,
        );
        assert!(talk.in_force("xds-grpc"));
        let refused = talk.say(CLUSTER, vec![("xds-grpc", eds_cluster("xds-grpc"))], &[]);
        assert_eq!(refused, ["xds-grpc: a cluster of the bootstrap has this name"]);
        talk.say(CLUSTER, vec![], &["xds-grpc"]);
        assert_eq!(talk.endpoints("xds-grpc"), ["127.0.0.1:1"]);
    });
}
