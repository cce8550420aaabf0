use std::sync::Arc;

use translate::ResourceType;

use super::{WEB, World, object, pod, service, slice};

const POD1: &str = ", targetRef: {kind: Pod, name: web-1}";
const POD2: &str = ", targetRef: {kind: Pod, name: web-2}";

fn base() -> String {
    service("web", WEB)
        + &service("other", "{ports: [{name: http, port: 80}]}")
        + &pod("web-1", "10.1.0.1")
        + &slice("10.1.0.1", 8080, POD1)
}

fn route(subset: &str) -> String {
    let spec = format!("{{hosts: [web], http: [{{route: [{{destination: {{host: web, subset: {subset}}}}}]}}]}}");
    object("VirtualService", "web", &format!("  namespace: default\nspec: {spec}"))
}

fn rule() -> String {
    let spec = "{host: web, subsets: [{name: v1, labels: {app: web}}, {name: v2, labels: {app: web}}]}";
    object("DestinationRule", "web", &format!("  namespace: default\nspec: {spec}"))
}

#[test]
fn what_a_change_touches() {
    let second = || pod("web-2", "10.1.0.2") + &slice("10.1.0.2", 8080, POD2);
    let cases: &[(&str, String, String, &str)] = &[
        ("nothing", base(), base(), "origin"),
        ("a comment", base(), format!("# hello\n\n{}", base()), "origin"),
        ("one more endpoint", base(), base() + &second(), "endpoint"),
        ("one endpoint fewer", base() + &second(), base(), "endpoint"),
        (
            "the first endpoint: an identity appears",
            service("web", WEB),
            base(),
            "full",
        ),
        (
            "a route",
            base() + &rule() + &route("v1"),
            base() + &rule() + &route("v2"),
            "route",
        ),
        ("a rule", base(), base() + &rule(), "full"),
        ("a service", base(), base() + &service("new", WEB), "full"),
        (
            "a route, with Sidecars about",
            base() + &rule() + &sidecar() + &route("v1"),
            base() + &rule() + &sidecar() + &route("v2"),
            "full",
        ),
    ];
    for (name, before, after, expected) in cases {
        let mut world = World::new();
        world.write(before);
        let (_, impact) = world.write(after);
        assert_eq!(impact.describe(), *expected, "{name}: {impact:?}");
    }
}

fn sidecar() -> String {
    object(
        "Sidecar",
        "default",
        "  namespace: default\nspec: {egress: [{hosts: ['./*']}]}",
    )
}

#[test]
fn an_envoy_filter_touches_what_it_applies_to() {
    let filter = |apply_to: &str, value: &str| {
        let patch = format!("{{operation: MERGE, value: {value}}}");
        let spec = format!("{{configPatches: [{{applyTo: {apply_to}, patch: {patch}}}]}}");
        object("EnvoyFilter", "edit", &format!("  namespace: default\nspec: {spec}"))
    };
    let cases: &[(&str, &str, &str, &[ResourceType])] = &[
        (
            "CLUSTER",
            "{alt_stat_name: a}",
            "{alt_stat_name: b}",
            &[ResourceType::Cluster],
        ),
        ("HTTP_FILTER", "{name: a}", "{name: b}", &[ResourceType::Listener]),
        (
            "VIRTUAL_HOST",
            "{name: a}",
            "{name: b}",
            &[ResourceType::Listener, ResourceType::Route],
        ),
        ("CLUSTER", "{alt_stat_name: a}", "{alt_stat_name: a}", &[]),
    ];
    for (apply_to, before, after, expected) in cases {
        let mut world = World::new();
        world.write(&(base() + &filter(apply_to, before)));
        let (_, impact) = world.write(&(base() + &filter(apply_to, after)));
        assert_eq!(impact.types, expected.iter().copied().collect(), "{apply_to}");
        assert!(impact.hosts.is_empty());
    }
}

#[test]
fn what_did_not_change_is_shared() {
    let mut world = World::new();
    let (first, _) = world.write(&base());
    let more = pod("web-2", "10.1.0.2") + &slice("10.1.0.2", 8080, POD2);
    let (second, _) = world.write(&(base() + &more));
    assert!(
        first
            .services
            .iter()
            .zip(&second.services)
            .all(|(a, b)| Arc::ptr_eq(a, b))
    );
    let shared = first
        .endpoints
        .iter()
        .filter(|(host, list)| Arc::ptr_eq(list, &second.endpoints[host]));
    assert_eq!(shared.count(), 1);
    assert_eq!(second.generation, first.generation + 1);
}
