//! The rules as tables: a spec, and the paths of what breaks a rule in it.

mod virtual_service;

use serde_json::{Value, json};

use super::{Context, Issues, Severity, Validate};
use crate::kinds::catalog::{self, Kind, check};
use crate::kinds::k8s::{Deployment, Service};
use crate::kinds::shape::Finding;
use crate::kinds::{
    DestinationRule, Gateway, MeshConfig, PeerAuthentication, Policy, ServiceEntry, Sidecar, VirtualService,
};

/// Paths with an error, in order; a warning's path begins with `~`.
fn broken<T: Kind>(object: &Value) -> Vec<String> {
    let report = check::<T>(object);
    assert_eq!(report.wrong, None, "{object}");
    let mark = |severity| if severity == Severity::Warning { "~" } else { "" };
    report
        .issues
        .iter()
        .map(|issue| format!("{}{}", mark(issue.severity), issue.path))
        .collect()
}

fn holds<T: Kind>(cases: &[(Value, &[&str])]) {
    for (spec, expected) in cases {
        assert_eq!(broken::<T>(&json!({ "spec": spec })), *expected, "{spec}");
    }
}

#[test]
fn destination_rules() {
    let policy = |policy: Value| json!({"host": "a", "trafficPolicy": policy});
    holds::<DestinationRule>(&[
        (json!({"host": "a"}), &[]),
        (json!({"host": "*.a.b"}), &[]),
        (json!({}), &["spec.host"]),
        (
            json!({"host": "a", "subsets": [{"name": "v1"}, {"name": "v1"}]}),
            &["spec.subsets[1].name"],
        ),
        (
            json!({"host": "a", "subsets": [{"name": ""}]}),
            &["spec.subsets[0].name"],
        ),
        (policy(json!({"loadBalancer": {"simple": "LEAST_CONN"}})), &[]),
        (policy(json!({"tunnel": {"targetHost": "a.b", "targetPort": 443}})), &[]),
        (
            policy(json!({"tunnel": {"protocol": "post", "targetHost": "%REQ(a)%"}})),
            &[
                "spec.trafficPolicy.tunnel.protocol",
                "spec.trafficPolicy.tunnel.targetHost",
                "spec.trafficPolicy.tunnel.targetPort",
            ],
        ),
        (
            policy(json!({"loadBalancer": {"simple": "RANDOM", "consistentHash": {"useSourceIp": true}}})),
            &["spec.trafficPolicy.loadBalancer"],
        ),
        (
            policy(json!({"loadBalancer": {"consistentHash": {}}})),
            &["spec.trafficPolicy.loadBalancer.consistentHash"],
        ),
        (
            policy(
                json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a", "to": {"a": 80, "b": 10}}]}}}),
            ),
            &["spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to"],
        ),
        (
            policy(
                json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"to": {"a": 100}}], "failover": [{"from": "a", "to": "b"}]}}}),
            ),
            &["spec.trafficPolicy.loadBalancer.localityLbSetting"],
        ),
        (
            policy(json!({"connectionPool": {"tcp": {"connectTimeout": "1500us"}}})),
            &["spec.trafficPolicy.connectionPool.tcp.connectTimeout"],
        ),
        (
            policy(json!({"outlierDetection": {"maxEjectionPercent": 200}})),
            &["spec.trafficPolicy.outlierDetection.maxEjectionPercent"],
        ),
        (policy(json!({"tls": {"mode": "ISTIO_MUTUAL"}})), &[]),
        (
            policy(json!({"tls": {"mode": "SIMPLE", "caCertificates": "/ca~", "caCrl": "a~b"}})),
            &["spec.trafficPolicy.tls.caCertificates", "spec.trafficPolicy.tls.caCrl"],
        ),
        (
            policy(json!({"tls": {"mode": "ISTIO_MUTUAL", "privateKey": "/k"}})),
            &["spec.trafficPolicy.tls"],
        ),
        (
            policy(json!({"tls": {"mode": "MUTUAL"}})),
            &[
                "spec.trafficPolicy.tls.clientCertificate",
                "spec.trafficPolicy.tls.privateKey",
            ],
        ),
        (
            policy(json!({"portLevelSettings": [{}]})),
            &["spec.trafficPolicy.portLevelSettings[0].port"],
        ),
    ]);
}

#[test]
fn gateways() {
    let server = |server: Value| json!({"servers": [server]});
    let tls = |tls: Value| json!({"servers": [{"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}]});
    let http = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    holds::<Gateway>(&[
        (json!({}), &["spec.servers"]),
        (
            server(json!({"port": http, "hosts": ["*", "ns/a.b", "./*", "*/*.c"]})),
            &[],
        ),
        (server(json!({"port": http, "hosts": []})), &["spec.servers[0].hosts"]),
        (
            server(json!({"port": {"number": 80, "protocol": "HTP"}, "hosts": ["*"]})),
            &["spec.servers[0].port.protocol", "spec.servers[0].port.name"],
        ),
        (
            server(json!({"port": http, "hosts": ["*"], "tls": {"httpsRedirect": true}})),
            &[],
        ),
        (
            server(json!({"port": http, "hosts": ["*"], "tls": {"mode": "SIMPLE"}})),
            &["spec.servers[0].tls"],
        ),
        (
            server(json!({"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"]})),
            &["spec.servers[0].tls"],
        ),
        (
            tls(json!({"mode": "SIMPLE"})),
            &[
                "spec.servers[0].tls.serverCertificate",
                "spec.servers[0].tls.privateKey",
            ],
        ),
        (tls(json!({"mode": "SIMPLE", "credentialName": "c"})), &[]),
        (
            tls(json!({"mode": "SIMPLE", "serverCertificate": "~/c", "privateKey": "/k"})),
            &["spec.servers[0].tls.serverCertificate"],
        ),
        (
            tls(json!({"mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k"})),
            &["spec.servers[0].tls.caCertificates"],
        ),
        (
            tls(json!({"minProtocolVersion": "TLSV1_3", "maxProtocolVersion": "TLSV1_2"})),
            &["spec.servers[0].tls.minProtocolVersion"],
        ),
        (
            tls(json!({"minProtocolVersion": "TLSV1_0", "maxProtocolVersion": "TLSV1_1"})),
            &[
                "spec.servers[0].tls.minProtocolVersion",
                "spec.servers[0].tls.maxProtocolVersion",
            ],
        ),
        (
            tls(json!({"mode": "MUTUAL", "tlsCertificates": [
                {"serverCertificate": "/a", "privateKey": "/b", "caCertificates": "/ca"},
                {"serverCertificate": "/c", "privateKey": "/d", "caCertificates": "/ca"},
            ]})),
            &[],
        ),
        (
            tls(json!({"mode": "MUTUAL", "caCertificates": "/ca", "tlsCertificates": [
                {"serverCertificate": "/a", "privateKey": "/b", "caCertificates": "/other"},
            ]})),
            &["spec.servers[0].tls.tlsCertificates[0].caCertificates"],
        ),
        (
            json!({"servers": [{"port": http, "hosts": ["a"]}, {"port": http, "hosts": ["b"]}]}),
            &["spec.servers[1].port.name"],
        ),
    ]);
}

#[test]
fn cipher_suites_that_somebody_does_without_are_told() {
    let spec = json!({"servers": [{
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
        "tls": {"mode": "SIMPLE", "credentialName": "c", "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA", "RC4"]},
    }]});
    let gateway: Gateway = serde_json::from_value(spec).expect("valid");
    let foreign = gateway.envoy_only();
    assert!(
        matches!(&foreign[..], [Finding::EnvoyOnly { path, .. }] if path == "spec.servers[0].tls.cipherSuites[1]"),
        "{foreign:?}"
    );
    let mut issues = Issues::default();
    gateway.validate(Context::default(), &mut issues);
    let told: Vec<_> = issues
        .into_vec()
        .into_iter()
        .map(|one| (one.severity, one.path))
        .collect();
    assert_eq!(
        told,
        [(Severity::Warning, "spec.servers[0].tls.cipherSuites[2]".to_owned())]
    );
}

#[test]
fn service_entries() {
    let entry = |more: Value| {
        let mut entry = json!({"hosts": ["a.b"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
        entry
            .as_object_mut()
            .expect("a map")
            .extend(more.as_object().cloned().unwrap_or_default());
        entry
    };
    holds::<ServiceEntry>(&[
        (entry(json!({})), &[]),
        (entry(json!({"hosts": []})), &["spec.hosts"]),
        (entry(json!({"hosts": ["*"]})), &["spec.hosts[0]"]),
        (entry(json!({"ports": []})), &["spec.ports"]),
        (entry(json!({"ports": [{"number": 80}]})), &["spec.ports[0].name"]),
        (
            entry(json!({"ports": [{"number": 80, "name": "a"}, {"number": 80, "name": "a"}]})),
            &["spec.ports[1].number", "spec.ports[1].name"],
        ),
        (entry(json!({"addresses": ["10.1.1.1/32"]})), &[]),
        (
            entry(json!({"addresses": ["10.0.0.0/8", "10.1.1.1/32", "10.1.1.2"]})),
            &[],
        ),
        (
            entry(json!({"addresses": ["10.0.0.0/8"], "resolution": "DNS"})),
            &["spec.addresses[0]"],
        ),
        (entry(json!({"addresses": ["ten"]})), &["spec.addresses[0]"]),
        (
            entry(json!({"endpoints": [{"address": "1.2.3.4"}]})),
            &["spec.endpoints"],
        ),
        (entry(json!({"resolution": "STATIC"})), &["spec.endpoints"]),
        (
            entry(json!({"resolution": "STATIC", "workloadSelector": {"labels": {"a": "b"}}})),
            &[],
        ),
        (
            entry(json!({"resolution": "STATIC", "endpoints": [{"address": "x.y"}]})),
            &["spec.endpoints[0].address"],
        ),
        (
            entry(json!({"resolution": "STATIC", "endpoints": [{"address": "unix:///a"}]})),
            &[],
        ),
        (
            entry(json!({"resolution": "DNS", "endpoints": [{"address": "x.y", "ports": {"http": 8080, "b": 1}}]})),
            &["spec.endpoints[0].ports.b"],
        ),
        (
            entry(json!({"resolution": "DNS", "hosts": ["*.b"]})),
            &["spec.hosts[0]"],
        ),
        (
            entry(json!({"hosts": ["a.b", "c.d"], "ports": [{"number": 1, "name": "t", "protocol": "TCP"}]})),
            &["~spec.hosts"],
        ),
    ]);
}

#[test]
fn sidecars_and_peer_authentications() {
    holds::<Sidecar>(&[
        (json!({"egress": [{"hosts": ["./*", "ns/a.b", "~/*", "*/*"]}]}), &[]),
        (json!({"egress": [{"hosts": ["a.b"]}]}), &["spec.egress[0].hosts[0]"]),
        (json!({"egress": [{}]}), &["spec.egress[0].hosts"]),
        (
            json!({"egress": [{"port": {"number": 80}, "bind": "127.0.0.1", "captureMode": "NONE", "hosts": ["./*"]}]}),
            &[],
        ),
        (
            json!({"egress": [
                {"port": {"number": 80}, "bind": "unix:///a", "hosts": ["./*"]}, {"port": {"number": 81}, "bind": "a", "hosts": ["./*"]},
                {"bind": "127.0.0.1", "hosts": ["./*"]},
            ]}),
            &["spec.egress[0].bind", "spec.egress[1].bind", "spec.egress[2].bind"],
        ),
        (
            json!({"egress": [{"captureMode": "NONE", "hosts": ["./*"]}]}),
            &["spec.egress[0].captureMode"],
        ),
        (
            json!({"egress": [{"hosts": ["./*"]}, {"port": {"number": 80}, "hosts": ["./*"]}]}),
            &["spec.egress[0]"],
        ),
        (
            json!({"ingress": [
                {"port": {"number": 1}, "defaultEndpoint": "127.0.0.1:80"}, {"port": {"number": 2}, "defaultEndpoint": "unix:///a"},
                {"port": {"number": 3}, "defaultEndpoint": "[::]:80"}, {"port": {"number": 4}},
            ]}),
            &[],
        ),
        (
            json!({"ingress": [
                {"port": {"number": 1}, "defaultEndpoint": "127.0.0.1"}, {"port": {"number": 1}, "defaultEndpoint": "unix://a"},
            ]}),
            &[
                "spec.ingress[0].defaultEndpoint",
                "spec.ingress[1].port.number",
                "spec.ingress[1].defaultEndpoint",
            ],
        ),
    ]);
    holds::<PeerAuthentication>(&[
        (json!({"mtls": {"mode": "STRICT"}}), &[]),
        (
            json!({"portLevelMtls": {"80": {"mode": "DISABLE"}}}),
            &["~spec.portLevelMtls"],
        ),
        (
            json!({"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}),
            &[],
        ),
    ]);
}

#[test]
fn policies_and_their_names() {
    let cases = [
        ("Policy", "default", json!({"peers": [{"mtls": null}]}), vec![]),
        (
            "Policy",
            "default",
            json!({"targets": [{"name": "a"}]}),
            vec!["spec.targets"],
        ),
        ("Policy", "x", json!({"peers": [{"mtls": {}}]}), vec!["metadata.name"]),
        (
            "Policy",
            "x",
            json!({"targets": [{"name": "a", "ports": [{"number": 80}, {"name": "b"}]}]}),
            vec![],
        ),
        (
            "Policy",
            "x",
            json!({"targets": [{"name": "a.b"}]}),
            vec!["spec.targets[0].name"],
        ),
        (
            "Policy",
            "x",
            json!({"targets": [{"name": "a"}], "peers": [{}]}),
            vec!["spec.peers[0]"],
        ),
        (
            "Policy",
            "x",
            json!({"targets": [{"name": "a"}], "origins": [{"jwt": {}}]}),
            vec!["spec.origins[0].jwt.issuer"],
        ),
        ("MeshPolicy", "default", json!({"peers": [{"mtls": {}}]}), vec![]),
        ("MeshPolicy", "x", json!({}), vec!["metadata.name"]),
    ];
    for (kind, name, spec, expected) in cases {
        let object = json!({"kind": kind, "metadata": {"name": name}, "spec": spec});
        assert_eq!(broken::<Policy>(&object), expected, "{object}");
    }
    let strict = catalog::read::<Policy>(&json!({"spec": {"peers": [{"mtls": null}]}})).expect("valid");
    assert!(strict.value.mtls().is_some());
}

#[test]
fn kubernetes_kinds() {
    let pod = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}});
    holds::<Service>(&[
        (json!({"ports": [{"port": 80}]}), &[]),
        (json!({"clusterIP": "None"}), &[]),
        (json!({"type": "ExternalName"}), &["spec.externalName"]),
        (json!({}), &["spec.ports"]),
        (
            json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}),
            &["spec.ports[0].name"],
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
            &["spec.ports[1].port"],
        ),
        (
            json!({"ports": [{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]}),
            &[],
        ),
    ]);
    holds::<Deployment>(&[
        (json!({"selector": {"matchLabels": {"app": "a"}}, "template": pod}), &[]),
        (
            json!({"selector": {"matchLabels": {"app": "b"}}, "template": pod}),
            &["spec.selector.matchLabels.app"],
        ),
        (json!({"template": {}}), &["spec.template.spec.containers"]),
    ]);
}

#[test]
fn mesh_config() {
    assert_eq!(broken::<MeshConfig>(&json!({})), Vec::<String>::new());
    assert_eq!(
        broken::<MeshConfig>(&json!({"proxyHttpPort": 70000, "connectTimeout": "0s"})),
        ["proxyHttpPort", "connectTimeout"]
    );
}

#[test]
fn wrong_types_name_their_path() {
    let cases = [
        (json!({"hosts": "a"}), "spec.hosts"),
        (json!({"http": [{"timeout": 5}]}), "spec.http[0].timeout"),
        (
            json!({"http": [{"route": [{"weight": "x"}]}]}),
            "spec.http[0].route[0].weight",
        ),
        (
            json!({"http": [{"route": [{"weight": -1}]}]}),
            "spec.http[0].route[0].weight",
        ),
        (
            json!({"http": [{"match": [{"uri": {"exact": "a", "prefix": "b"}}]}]}),
            "spec.http[0].match[0].uri",
        ),
        (
            json!({"http": [{"corsPolicy": {"unmatchedPreflights": "MAYBE"}}]}),
            "spec.http[0].corsPolicy.unmatchedPreflights",
        ),
        (json!([]), "spec"),
        (json!({"http": [{"fault": ["x"]}]}), "spec.http[0].fault"),
    ];
    for (spec, path) in cases {
        let wrong = check::<VirtualService>(&json!({ "spec": spec })).wrong.expect("wrong");
        assert_eq!(wrong.path, path, "{wrong}");
    }
}
