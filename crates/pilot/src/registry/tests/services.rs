use super::{object, service, snapshot};
use model::mesh::{Protocol, Resolution, Visibility};

#[test]
fn kubernetes_services() {
    let cases = [
        (
            "{clusterIP: 10.0.0.1, ports: [{port: 80}]}",
            Resolution::Endpoints,
            Some("10.0.0.1"),
            false,
        ),
        ("{ports: [{port: 80}]}", Resolution::Endpoints, None, false),
        (
            "{clusterIP: None, ports: [{port: 80}]}",
            Resolution::Passthrough,
            None,
            false,
        ),
        (
            "{type: ExternalName, externalName: a.example.com, ports: [{port: 80}]}",
            Resolution::Dns,
            None,
            true,
        ),
    ];
    for (spec, resolution, address, external) in cases {
        let snapshot = snapshot(&service("web", spec));
        let service = &snapshot.services[0];
        assert_eq!(service.hostname.as_str(), "web.default.svc.cluster.local", "{spec}");
        assert_eq!(service.resolution, resolution, "{spec}");
        assert_eq!(service.address, address.map(|text| text.parse().unwrap()), "{spec}");
        assert_eq!(service.mesh_external, external, "{spec}");
    }
}

#[test]
fn ports() {
    let spec = "{ports: [{name: http, port: 80, targetPort: 8080}, {name: x, port: 81, targetPort: named}, {name: grpc-y, port: 82}]}";
    let ports =
        "  namespace: istio-system\ndata: {default.web.80: '20001', web.default.81: '20002', default.web.82: nonsense}";
    let snapshot = snapshot(&(service("web", spec) + &object("ConfigMap", "meltemi-local-ports", ports)));
    let ports = snapshot.services[0]
        .ports
        .iter()
        .map(|p| (p.number, p.protocol, p.target_port, p.local_port));
    assert_eq!(
        ports.collect::<Vec<_>>(),
        [
            (80, Protocol::Http, Some(8080), Some(20001)),
            (81, Protocol::Auto, None, Some(20002)),
            (82, Protocol::Grpc, Some(82), None),
        ]
    );
}

#[test]
fn visibility_is_the_objects_or_the_meshs() {
    let cases = [
        ("''", Visibility::Public),
        ("'*'", Visibility::Public),
        ("'.'", Visibility::Namespaces(vec!["default".into()])),
        (
            "'., other'",
            Visibility::Namespaces(vec!["default".into(), "other".into()]),
        ),
        ("'~'", Visibility::Namespaces(Vec::new())),
    ];
    for (text, expected) in cases {
        let annotated = format!(
            "  namespace: default\n  annotations: {{networking.istio.io/exportTo: {text}}}\nspec: {{ports: [{{port: 80}}]}}"
        );
        let snapshot = snapshot(&object("Service", "web", &annotated));
        assert_eq!(snapshot.services[0].export_to, expected, "{text}");
    }
}

#[test]
fn a_service_entry_is_a_service_for_each_host() {
    let spec = "  namespace: default\nspec: {hosts: [a.example.com, B.example.com], addresses: [10.8.0.1/32, 10.8.0.2], \
                ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}], resolution: DNS, exportTo: ['.']}";
    let snapshot = snapshot(&object("ServiceEntry", "ext", spec));
    let hosts: Vec<&str> = snapshot.services.iter().map(|s| s.hostname.as_str()).collect();
    assert_eq!(hosts, ["b.example.com", "a.example.com"]);
    let service = &snapshot.services[1];
    let addresses: Vec<String> = service.addresses().map(|address| address.to_string()).collect();
    assert_eq!(addresses, ["10.8.0.1", "10.8.0.2"]);
    assert_eq!(service.resolution, Resolution::Dns);
    assert!(service.mesh_external);
    assert_eq!(
        (service.ports[0].protocol, service.ports[0].target_port),
        (Protocol::Tls, Some(8443))
    );
    assert_eq!(&*service.origin.kind, "ServiceEntry");
}

#[test]
fn blocks_of_addresses_are_kept_apart() {
    let spec = "  namespace: default\nspec: {hosts: [a.example.com], addresses: [10.8.3.1/16, 10.9.0.1, 'fd00:1:2::5/32', 0.0.0.0/0], \
                ports: [{number: 3306, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}";
    let snapshot = snapshot(&object("ServiceEntry", "ext", spec));
    let service = &snapshot.services[0];
    let blocks: Vec<_> = service
        .blocks
        .iter()
        .map(|block| format!("{}/{}", block.address, block.length))
        .collect();
    assert_eq!(blocks, ["10.8.0.0/16", "fd00:1::/32", "0.0.0.0/0"]);
    let addresses: Vec<String> = service.addresses().map(|address| address.to_string()).collect();
    assert_eq!(addresses, ["10.9.0.1"]);
}

#[test]
fn accounts_of_annotations() {
    let annotated = "  namespace: default\n  annotations: {alpha.istio.io/canonical-serviceaccounts: 'x@y', \
                     alpha.istio.io/kubernetes-serviceaccounts: 'a, b'}\nspec: {ports: [{port: 80}]}";
    let snapshot = snapshot(&object("Service", "web", annotated));
    let names = &snapshot.services[0].subject_alt_names;
    assert_eq!(
        names,
        &[
            "x@y",
            "spiffe://cluster.local/ns/default/sa/a",
            "spiffe://cluster.local/ns/default/sa/b"
        ]
    );
}
