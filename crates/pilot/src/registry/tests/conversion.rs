//! Objects of the Gateway API on their way into snapshots.

use super::*;

const GATEWAY: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web, namespace: default}\n\
                       spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}\n";

fn route(name: &str, path: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{parentRefs: [{{name: web}}], hostnames: [{name}.io], rules: [{{matches: [{{path: {{value: {path}}}}}], \
         backendRefs: [{{name: web, port: 80}}]}}]}}\n"
    )
}

fn ingress_service() -> String {
    object(
        "Service",
        "istio-ingressgateway",
        "  namespace: istio-system\nspec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80}]}",
    )
}

#[test]
fn routes_become_virtual_services_and_keep_their_places() {
    let mut world = World::new();
    let base = format!("{}{}{GATEWAY}", service("web", WEB), ingress_service());
    let (first, _) = world.write(&format!("{base}{}{}", route("a", "/a"), route("b", "/b")));
    assert_eq!((first.gateways.len(), first.virtual_services.len()), (1, 2));
    assert_eq!(first.statuses.len(), 3);
    assert!(
        first.statuses.iter().all(|status| status.problems.is_empty()),
        "{:?}",
        first.statuses
    );

    // Nothing that matters has changed: neither has anything that was made.
    let (second, impact) = world.write(&format!("{base}{}{}# moved\n", route("a", "/a"), route("b", "/b")));
    assert!(impact.is_nothing());
    assert!(Arc::ptr_eq(&first.statuses, &second.statuses));

    // A changed route changes the VirtualService of its host, and no other.
    let (third, impact) = world.write(&format!("{base}{}{}", route("a", "/c"), route("b", "/b")));
    assert!(!impact.is_nothing());
    let same = |at: usize| Arc::ptr_eq(&second.virtual_services[at], &third.virtual_services[at]);
    assert_eq!([same(0), same(1)], [false, true]);
    assert!(Arc::ptr_eq(&second.gateways[0], &third.gateways[0]));
}

#[test]
fn both_kinds_of_gateways_may_have_one_name() {
    let istio = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web, namespace: default}\n\
                 spec: {servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]}\n";
    let mut world = World::new();
    let (snapshot, _) = world.write(&format!("{}{GATEWAY}{istio}", ingress_service()));
    let ports: Vec<u32> = snapshot
        .gateways
        .iter()
        .map(|gateway| gateway.spec.servers[0].port.number)
        .collect();
    assert_eq!(ports, [81, 80]);
}
