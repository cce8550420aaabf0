//! Laws: equal input gives equal bytes; equal keys give equal names and resources; and keys are no finer than they must be.

use std::collections::HashMap;
use std::net::IpAddr;

use model::mesh::{InterceptionMode, Proxy, ProxyKind, Snapshot};
use proptest::prelude::*;
use serde_json::json;

use crate::fixture::{Mesh, labels, local, productpage, reviews, router, sidecar};
use crate::{Resource, ResourceType, Scope};

fn everything(snapshot: &Snapshot, proxy: &Proxy, ty: ResourceType) -> Vec<(String, Option<Resource>)> {
    let scope = Scope::new(snapshot, proxy);
    let names = scope.names(ty);
    names
        .into_iter()
        .map(|name| (name.clone(), scope.resource(ty, &name).ok().flatten()))
        .collect()
}

/// A mesh in which every kind of dependence on the asking proxy occurs.
fn mesh() -> Mesh {
    Mesh::bookinfo()
        .reviews_subsets()
        .ingress()
        .service("other", "reviews", Some([10, 0, 3, 1].into()), &[("http", 80, 8080), ("", 7000, 7000)])
        .apply("VirtualService", "default", "by-label", json!({
            "hosts": ["ratings"],
            "http": [
                { "match": [{ "sourceLabels": { "version": "v2" } }], "route": [{ "destination": { "host": "details" } }] },
                { "match": [{ "sourceNamespace": "other" }], "route": [{ "destination": { "host": "reviews" } }] },
                { "route": [{ "destination": { "host": "ratings" } }] },
            ],
        }))
        .apply("DestinationRule", "default", "for-some", json!({
            "host": "details",
            "workloadSelector": { "matchLabels": { "version": "v1" } },
            "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" }, "retryBudget": {} },
        }))
        .apply("DestinationRule", "other", "private", json!({
            "host": "ratings.default.svc.cluster.local", "exportTo": ["."],
            "trafficPolicy": { "loadBalancer": { "consistentHash": { "useSourceIp": true } } },
        }))
        .apply("PeerAuthentication", "default", "too", json!({
            "selector": { "matchLabels": { "app": "reviews", "version": "v1" } }, "mtls": { "mode": "PERMISSIVE" },
        }))
        .apply("PeerAuthentication", "default", "strict", json!({
            "selector": { "matchLabels": { "version": "v2" } }, "mtls": { "mode": "STRICT" },
        }))
        .apply("DestinationRule", "default", "near", json!({
            "host": "productpage",
            "trafficPolicy": { "outlierDetection": {}, "loadBalancer": { "localityLbSetting": { "failoverPriority": ["tier"] } } },
        }))
        .endpoints("productpage-v1", |endpoint| endpoint.locality.region = "east".to_owned())
        .apply("Sidecar", "default", "ports", json!({
            "workloadSelector": { "labels": { "app": "ratings" } }, "egress": [{ "hosts": ["*/*"] }],
            "ingress": [
                { "port": { "number": 7000, "protocol": "HTTP", "name": "a" }, "defaultEndpoint": "0.0.0.0:8080" },
                { "port": { "number": 7001, "protocol": "TCP", "name": "b" }, "captureMode": "NONE", "defaultEndpoint": "unix:///run/b.sock" },
            ],
        }))
        .apply("Gateway", "other", "by-sni", json!({
            "selector": { "istio": "ingressgateway", "version": "v1" },
            "servers": [{ "port": { "number": 15443, "name": "tls", "protocol": "TLS" }, "hosts": ["*.local"], "tls": { "mode": "AUTO_PASSTHROUGH" } }],
        }))
        .apply("Sidecar", "other", "narrow", json!({
            "workloadSelector": { "labels": { "app": "reviews" } }, "egress": [{ "hosts": ["./*", "default/ratings.default.svc.cluster.local"] }],
        }))
}

prop_compose! {
    fn any_proxy()(
        namespace in prop::sample::select(vec!["default", "other", "istio-system"]),
        app in prop::sample::select(vec!["reviews", "ratings", "nothing"]),
        version in prop::sample::select(vec!["v1", "v2"]),
        pod in 0_u8..3,
        router in any::<bool>(),
        mode in prop::sample::select(vec![InterceptionMode::Redirect, InterceptionMode::Tproxy, InterceptionMode::None]),
        own_app in prop::option::of(0_u8..2),
        bind in prop::option::of(Just(IpAddr::from([127, 0, 0, 1]))),
        gateway in any::<bool>(),
        domain in prop::sample::select(vec!["default.svc.cluster.local", "other.svc.cluster.local"]),
        http_10 in any::<bool>(),
        native in any::<bool>(),
        region in prop::sample::select(vec!["", "east", "west"]),
        dns in any::<bool>(),
    ) -> Proxy {
        let mut proxy = sidecar(namespace, &format!("pod-{pod}"), &[("app", app), ("version", version)]);
        if router {
            proxy.kind = ProxyKind::Router;
        }
        if gateway {
            proxy.labels.extend(labels(&[("istio", "ingressgateway")]));
        }
        proxy.interception = mode;
        proxy.app_address = own_app.map(|n| IpAddr::from([127, 64, 0, n]));
        proxy.bind_address = bind;
        proxy.native = native;
        proxy.locality.region = region.to_owned();
        if dns {
            proxy.metadata.insert("DNS_CAPTURE".to_owned(), "true".to_owned());
        }
        proxy.dns_domain = domain.to_owned();
        if http_10 {
            proxy.metadata.insert("HTTP10".to_owned(), "1".to_owned());
        }
        proxy
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn equal_keys_mean_equal_resources(proxies in prop::collection::vec(any_proxy(), 12)) {
        let mesh = mesh();
        for ty in ResourceType::ALL {
            let mut known: HashMap<String, Vec<(String, Option<Resource>)>> = HashMap::new();
            for proxy in &proxies {
                let made = everything(&mesh.0, proxy, ty);
                let key = Scope::new(&mesh.0, proxy).key(ty);
                let first = known.entry(key.clone()).or_insert_with(|| made.clone());
                prop_assert_eq!(&*first, &made, "{} of {}", key, proxy.id);
            }
        }
    }
}

#[test]
fn equal_input_has_equal_bytes() {
    let (one, two) = (mesh(), mesh());
    for proxy in [reviews(), local(reviews()), router()] {
        for ty in ResourceType::ALL {
            assert_eq!(everything(&one.0, &proxy, ty), everything(&two.0, &proxy, ty));
        }
    }
}

#[test]
fn pods_of_one_deployment_share_everything_where_traffic_is_captured() {
    let mesh = mesh();
    let pods = ["a", "b"].map(|pod| sidecar("default", pod, &[("app", "reviews"), ("version", "v1"), ("pod", pod)]));
    for ty in ResourceType::ALL {
        let [a, b] = pods.each_ref().map(|pod| Scope::new(&mesh.0, pod).key(ty));
        assert_eq!(a, b, "{ty:?}");
    }
}

#[test]
fn all_of_a_namespace_share_endpoints() {
    let mesh = Mesh::bookinfo().reviews_subsets();
    let [a, b] = [productpage(), reviews()].map(|proxy| Scope::new(&mesh.0, &proxy).key(ResourceType::Endpoint));
    assert_eq!(a, b);
    let [a, b] =
        [local(productpage()), local(reviews())].map(|proxy| Scope::new(&mesh.0, &proxy).key(ResourceType::Route));
    assert_eq!(a, b, "routes know no address");
}

#[test]
fn a_port_of_the_workload_that_hides_a_service_is_part_of_the_key_of_routes() {
    let mesh = mesh();
    let hidden = mesh.0.services[0].ports[0].local_port.expect("allotted");
    let mesh = mesh
        .service("default", "odd", Some([10, 0, 4, 1].into()), &[("http", 80, hidden)])
        .change("odd", |service| service.selector = labels(&[("app", "reviews")]));
    let [hides, sees] = [reviews(), productpage()].map(local);
    let routes = |proxy| Scope::new(&mesh.0, proxy).names(ResourceType::Route);
    assert_ne!(routes(&hides), routes(&sees));
    let [a, b] = [&hides, &sees].map(|proxy| Scope::new(&mesh.0, proxy).key(ResourceType::Route));
    assert_ne!(a, b);
}

#[test]
fn everything_named_is_there_and_nothing_else() {
    let mesh = mesh();
    for proxy in [productpage(), reviews(), local(reviews()), router()] {
        for ty in ResourceType::ALL {
            for (name, made) in everything(&mesh.0, &proxy, ty) {
                let made = made.unwrap_or_else(|| panic!("{name} for {}", proxy.id));
                assert_eq!(made.name, name);
                assert_eq!(made.any.type_url, ty.type_url());
            }
            for name in [
                "",
                "nothing",
                "outbound|1||x",
                "outbound|9080|v9|reviews.default.svc.cluster.local",
                "99",
            ] {
                assert_eq!(
                    Scope::new(&mesh.0, &proxy).resource(ty, name),
                    Ok(None),
                    "{ty:?} {name}"
                );
            }
        }
    }
}
