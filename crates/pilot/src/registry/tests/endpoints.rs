use super::{WEB, endpoints, object, pod, service, slice, snapshot};

const HOST: &str = "web.default.svc.cluster.local";
const POD: &str = ", targetRef: {kind: Pod, name: web-1, namespace: default}";

/// Conditions of an endpoint of a known pod.
fn with(conditions: &str) -> String {
    format!("{POD}, conditions: {{{conditions}}}")
}

#[test]
fn slices() {
    let cases: &[(&str, String, &[&str])] = &[
        ("a pod", POD.into(), &["10.1.0.1:8080>80 mtls web/sa"]),
        ("by its address", String::new(), &["10.1.0.1:8080>80 mtls web/sa"]),
        ("unknown pod", ", targetRef: {kind: Pod, name: other}".into(), &[]),
        ("not ready", with("ready: false"), &[]),
        (
            "leaving",
            with("ready: false, serving: true, terminating: true"),
            &["10.1.0.1:8080>80 mtls draining web/sa"],
        ),
        ("gone", with("ready: false, serving: false, terminating: true"), &[]),
        ("unknown is ready", with(""), &["10.1.0.1:8080>80 mtls web/sa"]),
    ];
    for (name, more, expected) in cases {
        let text = service("web", WEB) + &pod("web-1", "10.1.0.1") + &slice("10.1.0.1", 8080, more);
        assert_eq!(endpoints(&snapshot(&text), HOST), *expected, "{name}");
    }
}

#[test]
fn addresses_without_a_pod_are_plain() {
    let text = service("web", WEB) + &slice("10.2.0.1", 8080, "");
    assert_eq!(endpoints(&snapshot(&text), HOST), ["10.2.0.1:8080>80"]);
}

#[test]
fn services_that_publish_unready_addresses_list_them_as_such() {
    let spec = "{selector: {app: web}, publishNotReadyAddresses: true, ports: [{name: http, port: 80}]}";
    let text = service("web", spec) + &slice("10.1.0.1", 8080, ", conditions: {ready: false}");
    assert_eq!(endpoints(&snapshot(&text), HOST), ["10.1.0.1:8080>80 unhealthy"]);
}

#[test]
fn endpoints_are_read_where_there_are_no_slices() {
    let subsets = "  namespace: default\nsubsets: [{addresses: [{ip: 10.1.0.2}], notReadyAddresses: [{ip: 10.1.0.3}], \
                   ports: [{name: http, port: 8080}, {name: other, port: 9}]}]";
    let old = service("web", WEB) + &object("Endpoints", "web", subsets);
    assert_eq!(endpoints(&snapshot(&old), HOST), ["10.1.0.2:8080>80"]);
    let both = old + &slice("10.1.0.1", 8080, "");
    assert_eq!(endpoints(&snapshot(&both), HOST), ["10.1.0.1:8080>80"]);
}

#[test]
fn pods_say_whether_they_speak_mutual_tls() {
    let cases = [
        ("labels: {security.istio.io/tlsMode: istio}", true),
        (
            "labels: {security.istio.io/tlsMode: disabled}\n  annotations: {sidecar.istio.io/status: '{}'}",
            false,
        ),
        ("annotations: {sidecar.istio.io/status: '{}'}", true),
        ("labels: {}", false),
    ];
    for (metadata, expected) in cases {
        let rest = format!("  namespace: default\n  {metadata}\nstatus: {{phase: Running, podIP: 10.1.0.1}}");
        let text = service("web", WEB) + &object("Pod", "web-1", &rest) + &slice("10.1.0.1", 8080, "");
        let shown = &endpoints(&snapshot(&text), HOST)[0];
        assert_eq!(shown.contains("mtls"), expected, "{metadata}: {shown}");
    }
}

#[test]
fn workloads_are_named_after_what_controls_them() {
    let cases = [
        (
            "labels: {pod-template-hash: h1}\n  ownerReferences: [{kind: ReplicaSet, name: web-h1, controller: true}]",
            "web/",
        ),
        (
            "ownerReferences: [{kind: StatefulSet, name: db, controller: true}]",
            "db/",
        ),
        ("labels: {service.istio.io/canonical-name: canon}", "canon/"),
        ("labels: {}", "web-1/"),
    ];
    for (metadata, expected) in cases {
        let rest = format!("  namespace: default\n  {metadata}\nstatus: {{phase: Running, podIP: 10.1.0.1}}");
        let text = service("web", WEB) + &object("Pod", "web-1", &rest) + &slice("10.1.0.1", 8080, "");
        let shown = &endpoints(&snapshot(&text), HOST)[0];
        assert!(shown.contains(&format!(" {expected}")), "{metadata}: {shown}");
    }
}

#[test]
fn locality_is_the_nodes() {
    let node = "  labels: {topology.kubernetes.io/region: r, failure-domain.beta.kubernetes.io/zone: z}";
    let text = service("web", WEB) + &pod("web-1", "10.1.0.1") + &slice("10.1.0.1", 8080, POD);
    let snapshot = snapshot(&(text + &object("Node", "n1", node)));
    let list = snapshot.endpoints.values().next().unwrap();
    assert_eq!(
        (list[0].locality.region.as_str(), list[0].locality.zone.as_str()),
        ("r", "z")
    );
}

#[test]
fn service_entries() {
    let entry = |spec: &str| object("ServiceEntry", "ext", &format!("  namespace: default\nspec: {spec}"));
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let cases: &[(String, &[&str])] = &[
        (format!("{{hosts: [x.y], {ports}, resolution: DNS}}"), &["x.y:80>80"]),
        (format!("{{hosts: [x.y], {ports}, resolution: NONE}}"), &[]),
        (
            format!(
                "{{hosts: [x.y], {ports}, resolution: STATIC, endpoints: [{{address: 1.1.1.1, ports: {{http: 8080}}}}, {{address: 1.1.1.2}}]}}"
            ),
            &["1.1.1.1:8080>80", "1.1.1.2:80>80"],
        ),
        (
            format!("{{hosts: [x.y], {ports}, resolution: STATIC, endpoints: [{{address: 'unix:///tmp/s'}}]}}"),
            &["unix:///tmp/s:0>80"],
        ),
        (
            format!("{{hosts: [x.y], {ports}, resolution: STATIC, workloadSelector: {{labels: {{app: vm}}}}}}"),
            &["1.2.3.4:8081>80 vm-1/vm-sa"],
        ),
    ];
    let vm = object(
        "WorkloadEntry",
        "vm-1",
        "  namespace: default\nspec: {address: 1.2.3.4, ports: {http: 8081}, labels: {app: vm}, serviceAccount: vm-sa}",
    );
    for (spec, expected) in cases {
        let snapshot = snapshot(&(entry(spec) + &vm));
        assert_eq!(endpoints(&snapshot, "x.y"), *expected, "{spec}");
    }
}

#[test]
fn an_external_name_stands_for_one_name() {
    let text = service(
        "web",
        "{type: ExternalName, externalName: a.example.com, ports: [{name: a, port: 80}, {name: b, port: 81}]}",
    );
    assert_eq!(
        endpoints(&snapshot(&text), HOST),
        ["a.example.com:80>80", "a.example.com:81>81"]
    );
}

#[test]
fn endpoints_stay_with_the_namespace_that_names_them() {
    let entry = |namespace: &str, address: &str| {
        let spec = format!(
            "{{hosts: [{HOST}], ports: [{{number: 80, name: http}}], resolution: STATIC, endpoints: [{{address: {address}}}]}}"
        );
        object(
            "ServiceEntry",
            "more",
            &format!("  namespace: {namespace}\nspec: {spec}"),
        )
    };
    let text =
        service("web", WEB) + &slice("10.2.0.1", 8080, "") + &entry("b", "6.6.6.6") + &entry("default", "10.2.0.2");
    let snapshot = snapshot(&text);
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for service in &snapshot.services {
        let kind: &str = &service.origin.kind;
        let list = snapshot.endpoints_of(service);
        seen.extend(list.map(|endpoint| (kind, service.namespace.as_str(), endpoint.address.as_str())));
    }
    seen.sort_unstable();
    let expected = [
        ("Service", "default", "10.2.0.1"),
        ("Service", "default", "10.2.0.2"),
        ("ServiceEntry", "b", "6.6.6.6"),
        ("ServiceEntry", "default", "10.2.0.1"),
        ("ServiceEntry", "default", "10.2.0.2"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn labels_of_a_workload_entry_itself_come_first() {
    let vm = object(
        "WorkloadEntry",
        "vm-1",
        "  namespace: default\n  labels: {app: web, security.istio.io/tlsMode: istio, v: object}\n\
         spec: {address: 1.2.3.4, labels: {v: spec, only: spec}}",
    );
    let snapshot = snapshot(&(service("web", WEB) + &vm));
    let list = snapshot.endpoints.values().next().unwrap();
    let label = |name: &str| list[0].labels.get(name).map(String::as_str);
    assert_eq!((label("v"), label("only")), (Some("object"), Some("spec")));
    assert_eq!(list[0].tls_mode, model::mesh::TlsMode::Istio);
}
