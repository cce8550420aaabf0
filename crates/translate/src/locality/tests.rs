use model::mesh::Proxy;
use serde_json::{Value, json};

use crate::ResourceType;
use crate::Scope;
use crate::fixture::{Mesh, cluster, endpoints, labels, productpage};
use model::mesh::Locality;

const RATINGS: &str = "outbound|9080||ratings.default.svc.cluster.local";

fn locality(text: &str) -> Locality {
    let mut parts = text.split('/').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    Locality {
        region: part(),
        zone: part(),
        subzone: part(),
    }
}

/// ratings in these places, one pod each (`place` or `place label=value`), and a rule.
fn mesh(places: &[&str], policy: Value) -> Mesh {
    let mut mesh = Mesh::empty().service(
        "default",
        "ratings",
        Some([10, 0, 0, 1].into()),
        &[("http", 9080, 9080)],
    );
    for (n, place) in places.iter().enumerate() {
        let pod = format!("ratings-{n}");
        let (place, label) = place.split_once(' ').unwrap_or((place, "x=y"));
        let (key, value) = label.split_once('=').unwrap();
        mesh = mesh
            .endpoint("default", "ratings", &pod, 9080, 9080, &[(key, value)])
            .endpoints(&pod, |endpoint| endpoint.locality = locality(place));
    }
    mesh.apply(
        "DestinationRule",
        "default",
        "ratings",
        json!({ "host": "ratings", "trafficPolicy": policy }),
    )
}

fn client(place: &str) -> Proxy {
    let mut proxy = productpage();
    proxy.locality = locality(place);
    proxy
}

/// `place priority weight` for each group with endpoints.
fn made(mesh: &Mesh, proxy: &Proxy) -> Vec<String> {
    let group = |group: &crate::pb::endpoint::LocalityLbEndpoints| {
        let place = group.locality.clone().unwrap_or_default();
        let place = [place.region, place.zone, place.sub_zone].join("/");
        let place = place.trim_end_matches('/').to_owned();
        let weight = group.load_balancing_weight.unwrap().value;
        format!("{place} {} {weight} x{}", group.priority, group.lb_endpoints.len())
    };
    endpoints(mesh, proxy, RATINGS).endpoints.iter().map(group).collect()
}

fn with_setting(setting: Value) -> Value {
    json!({ "outlierDetection": {}, "loadBalancer": { "localityLbSetting": setting } })
}

#[test]
fn endpoints_are_ordered_and_weighted_as_the_settings_say() {
    let places = ["r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r2/z1/s1", "r3/z1/s1"];
    let plain = [
        "r1/z1/s1 0 1 x1",
        "r1/z1/s2 0 1 x1",
        "r1/z2/s1 0 1 x1",
        "r2/z1/s1 0 1 x1",
        "r3/z1/s1 0 1 x1",
    ];
    let near = [
        "r1/z1/s1 0 1 x1",
        "r1/z1/s2 1 1 x1",
        "r1/z2/s1 2 1 x1",
        "r2/z1/s1 3 1 x1",
        "r3/z1/s1 3 1 x1",
    ];
    let cases: [(&str, Value, &str, &[&str]); 9] = [
        ("without outlier detection nothing moves", json!({}), "r1/z1/s1", &plain),
        (
            "the mesh's default orders by distance",
            json!({ "outlierDetection": {} }),
            "r1/z1/s1",
            &near,
        ),
        (
            "switched off",
            with_setting(json!({ "enabled": false })),
            "r1/z1/s1",
            &plain,
        ),
        (
            "the next region is named",
            with_setting(json!({ "failover": [{ "from": "r1", "to": "r3" }] })),
            "r1/z1/s1",
            &[
                "r1/z1/s1 0 1 x1",
                "r1/z1/s2 1 1 x1",
                "r1/z2/s1 2 1 x1",
                "r2/z1/s1 4 1 x1",
                "r3/z1/s1 3 1 x1",
            ],
        ),
        (
            "from where nothing is near, priorities have no gaps",
            with_setting(json!({ "failover": [{ "from": "r9", "to": "r3" }] })),
            "r9/z1/s1",
            &[
                "r1/z1/s1 1 1 x1",
                "r1/z1/s2 1 1 x1",
                "r1/z2/s1 1 1 x1",
                "r2/z1/s1 1 1 x1",
                "r3/z1/s1 0 1 x1",
            ],
        ),
        (
            "labels of the topology",
            with_setting(
                json!({ "failoverPriority": ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"] }),
            ),
            "r1/z1/s1",
            &[
                "r1/z1/s1 0 1 x1",
                "r1/z1/s2 0 1 x1",
                "r1/z2/s1 1 1 x1",
                "r2/z1/s1 2 1 x1",
                "r3/z1/s1 2 1 x1",
            ],
        ),
        (
            "shares; a place without one gets nothing",
            with_setting(json!({ "distribute": [
                { "from": "r2/*", "to": { "r2": 100 } },
                { "from": "r1/z1/*", "to": { "r1/z1/*": 70, "r2/*": 30 } },
            ] })),
            "r1/z1/s1",
            &["r1/z1/s1 0 35 x1", "r1/z1/s2 0 35 x1", "r2/z1/s1 0 30 x1"],
        ),
        (
            "the narrower pattern has its share first",
            with_setting(json!({ "distribute": [{ "from": "*", "to": { "*": 20, "r1/z1/s1": 80 } }] })),
            "r5",
            &[
                "r1/z1/s1 0 80 x1",
                "r1/z1/s2 0 5 x1",
                "r1/z2/s1 0 5 x1",
                "r2/z1/s1 0 5 x1",
                "r3/z1/s1 0 5 x1",
            ],
        ),
        (
            "no share is said for this client",
            with_setting(json!({ "distribute": [{ "from": "r7", "to": { "r1": 100 } }] })),
            "r1/z1/s1",
            &plain,
        ),
    ];
    for (why, policy, from, expected) in cases {
        assert_eq!(made(&mesh(&places, policy), &client(from)), expected, "{why}");
    }
}

#[test]
fn labels_split_a_locality() {
    let places = ["r1 tier=a", "r1 tier=b", "r2 tier=a", "r2 tier=b"];
    let cases: [(Value, &[&str]); 3] = [
        (json!(["tier=b"]), &["r1 0 1 x1", "r1 1 1 x1", "r2 0 1 x1", "r2 1 1 x1"]),
        (json!(["tier"]), &["r1 0 1 x1", "r1 1 1 x1", "r2 0 1 x1", "r2 1 1 x1"]),
        (
            json!(["tier", "topology.kubernetes.io/region"]),
            &["r1 0 1 x1", "r1 2 1 x1", "r2 1 1 x1", "r2 2 1 x1"],
        ),
    ];
    let mut proxy = client("r1");
    proxy.labels = labels(&[("tier", "a")]);
    for (priorities, expected) in cases {
        let mesh = mesh(&places, with_setting(json!({ "failoverPriority": priorities })));
        assert_eq!(made(&mesh, &proxy), expected, "{priorities}");
    }
}

#[test]
fn shares_of_localities_count_where_they_are_asked_for() {
    let cases = [
        (json!({ "outlierDetection": {} }), false),
        (with_setting(json!({ "failover": [{ "from": "a", "to": "b" }] })), true),
        (with_setting(json!({ "failoverPriority": ["x"] })), true),
        (
            with_setting(json!({ "distribute": [{ "from": "*", "to": { "*": 100 } }] })),
            true,
        ),
        (
            json!({ "loadBalancer": { "localityLbSetting": { "failoverPriority": ["x"] } } }),
            false,
        ),
    ];
    for (policy, expected) in cases {
        let made = cluster(&mesh(&["r1"], policy.clone()), &client("r1"), RATINGS);
        let weighted = made.common_lb_config.unwrap().locality_config_specifier.is_some();
        assert_eq!(weighted, expected, "{policy}");
    }
}

#[test]
fn the_mesh_has_a_setting_of_its_own() {
    let mesh = mesh(&["r1", "r2"], json!({ "outlierDetection": {} }));
    let off = mesh.clone().mesh(json!({ "localityLbSetting": { "enabled": false } }));
    assert_eq!(made(&off, &client("r1")), ["r1 0 1 x1", "r2 0 1 x1"]);
    let shared = mesh.mesh(json!({ "localityLbSetting": { "distribute": [{ "from": "r1", "to": { "r2": 100 } }] } }));
    assert_eq!(made(&shared, &client("r1")), ["r2 0 100 x1"]);
}

#[test]
fn a_client_that_names_no_place_is_where_its_pod_is() {
    let mut mesh = mesh(&["r1", "r2"], json!({ "outlierDetection": {} }));
    let proxy = productpage();
    let places = [(proxy.ip().unwrap(), locality("r2"))];
    mesh.0.localities = std::sync::Arc::new(places.into());
    assert_eq!(made(&mesh, &proxy), ["r1 1 1 x1", "r2 0 1 x1"]);
}

#[test]
fn the_place_divides_clients_only_where_it_matters() {
    let key = |mesh: &Mesh, place: &str| Scope::new(&mesh.0, &client(place)).key(ResourceType::Endpoint);
    let plain = mesh(&["r1"], json!({}));
    assert_eq!(key(&plain, "r1"), key(&plain, "r2"));
    let ordered = mesh(&["r1"], json!({ "outlierDetection": {} }));
    assert_ne!(key(&ordered, "r1"), key(&ordered, "r2"));
}
