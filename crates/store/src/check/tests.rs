use std::path::PathBuf;

use crate::{Batch, FileChange, Settings, Store};

const BASE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{port: 9080, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1}, {name: v2}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
";

/// What is said about an object added to the base.
fn said(object: &str) -> Vec<String> {
    let mut store = Store::new(Settings::default());
    let text = format!("{BASE}{object}");
    let change = FileChange::Content {
        source: 0,
        file: PathBuf::from("a.yaml"),
        text,
    };
    store.apply(Batch {
        files: vec![change],
        sources: vec![],
    });
    store.messages().iter().map(|m| format!("{} {m}", m.code)).collect()
}

fn route(destination: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r, namespace: shop}}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n    - destination: {destination}\n"
    )
}

#[test]
fn references_are_held_against_what_there_is() {
    let cases = [
        (route("{host: reviews}"), None),
        (route("{host: reviews.shop.svc.cluster.local, subset: v1, port: {number: 9080}}"), None),
        (route("{host: www.example.com}"), None),
        (route("{host: reviews, subset: v3}"), Some("missing-subset a.yaml:29: VirtualService shop/r: spec.http[0].route[0].destination.subset: no DestinationRule defines subset \"v3\"")),
        (route("{host: rewiews}"), Some("reviews.shop.svc.cluster.local was probably meant")),
        (route("{host: reviews.other}"), Some("missing-host")),
        (route("{host: reviews, port: {number: 80}}"), Some("missing-port")),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop}\nspec: {hosts: [a.b], gateways: [font], http: [{route: [{destination: {host: reviews}}]}]}".to_owned(),
            Some("\"shop/front\" was probably meant"),
        ),
        (
            route("{host: reviews}\n    mirror: {host: nobody}"),
            Some("which means nobody.shop.svc.cluster.local here: no copy is sent"),
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop}\nspec: {hosts: [reviews], tcp: [{route: [{destination: {host: reviews, subset: v3}}]}]}".to_owned(),
            Some("of reviews.shop.svc.cluster.local: connections that are routed there are closed"),
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x, namespace: shop}\nspec: {host: ratings}".to_owned(),
            Some("no Service or ServiceEntry is known for \"ratings\", which means ratings.shop.svc.cluster.local here"),
        ),
        (
            "apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {name: x, namespace: shop}\nspec: {targets: [{name: ratings}], peers: [{mtls: {}}]}".to_owned(),
            Some("missing-host"),
        ),
    ];
    for (object, expected) in cases {
        let said = said(&object);
        match expected {
            None => assert!(said.is_empty(), "{object}: {said:?}"),
            Some(expected) => {
                assert!(
                    said.len() == 1 && said[0].contains(expected),
                    "{object}\nexpected {expected}\nsaid {said:#?}"
                );
            }
        }
    }
}

#[test]
fn a_delegate_must_be_there() {
    let root = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop}\nspec: {hosts: [reviews], http: [{delegate: {name: d}}]}\n";
    let delegate = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: shop}\nspec: {http: [{route: [{destination: {host: reviews}}]}]}\n";
    assert!(said(root)[0].starts_with("missing-delegate"), "{:?}", said(root));
    assert_eq!(said(&format!("{root}{delegate}")), Vec::<String>::new());
}

#[test]
fn the_second_virtual_service_for_a_host_is_told() {
    let mut two = route("{host: reviews}");
    two.push_str("---\n");
    two.push_str(&route("{host: reviews}").replace("name: r,", "name: s,"));
    let said = said(&two);
    assert!(said.len() == 1 && said[0].contains("VirtualService shop/s"), "{said:?}");
    assert!(
        said[0].starts_with("host-conflict") && said[0].contains("VirtualService shop/r routes"),
        "{said:?}"
    );
}

#[test]
fn gateways_are_named_in_every_form() {
    for (name, ok) in [
        ("front", true),
        ("shop/front", true),
        ("./front", true),
        ("front.shop", true),
        ("front.shop.svc.cluster.local", true),
        ("mesh", true),
        ("other/front", false),
    ] {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r, namespace: shop}}\nspec: {{hosts: [a.b], gateways: ['{name}'], http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}"
        );
        assert_eq!(said(&text).is_empty(), ok, "{name}: {:?}", said(&text));
    }
}

/// One http rule of a VirtualService per item.
fn rules(rules: &[&str]) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r, namespace: shop}}\nspec:\n  hosts: [reviews]\n  http:\n{}",
        rules.concat()
    )
}

#[test]
fn what_no_request_reaches_is_told() {
    const ROUTE: &str = "route: [{destination: {host: reviews}}]";
    let rule = |conditions: &str| format!("{{match: [{conditions}], {ROUTE}}}");
    let all = format!("{{{ROUTE}}}");
    let cases = [
        (vec![rule("{uri: {prefix: /a}}"), all.clone()], None),
        (vec![all.clone(), rule("{uri: {prefix: /a}}")], Some("unreachable-rule")),
        (vec![rule("{uri: {prefix: /}}"), all.clone()], Some("unreachable-rule")),
        (vec![rule("{uri: {prefix: /}, port: 80}"), all.clone()], None),
        (vec![rule("{uri: {prefix: /a}}"), rule("{uri: {exact: /ab}}"), all.clone()], Some("unreachable-match")),
        (vec![rule("{uri: {exact: /ab}}"), rule("{uri: {prefix: /a}}"), all.clone()], None),
        (
            vec![rule("{headers: {x: {exact: a}}}"), rule("{headers: {x: {exact: a}}, uri: {prefix: /b}}"), all.clone()],
            Some("unreachable-match"),
        ),
        (
            vec![rule("{headers: {x: {exact: a}}}"), rule("{headers: {x: {exact: b}}}"), all.clone()],
            None,
        ),
        (
            vec!["{route: [{destination: {host: reviews, subset: v1}, weight: 100}, {destination: {host: reviews, subset: v2}}]}".to_owned()],
            Some("dead-weight"),
        ),
    ];
    for (list, expected) in cases {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let said = said(&rules(&list));
        let codes: Vec<&str> = said.iter().filter_map(|text| text.split(' ').next()).collect();
        assert_eq!(codes, expected.into_iter().collect::<Vec<_>>(), "{list:?}: {said:?}");
    }
}

#[test]
fn gateways_that_want_one_port_for_different_things_are_told() {
    let gateway = |server: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: second, namespace: shop}}\nspec: {{servers: [{server}]}}\n"
        )
    };
    let cases = [
        (
            "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}",
            false,
        ),
        (
            "{port: {number: 81, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}",
            false,
        ),
        (
            "{port: {number: 80, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}",
            true,
        ),
        ("{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}", true),
    ];
    for (server, conflict) in cases {
        let said = said(&gateway(server));
        let told = said
            .iter()
            .any(|text| text.starts_with("gateway-conflict") && text.contains("Gateway shop/front"));
        assert_eq!(told, conflict, "{server}: {said:?}");
    }
}

#[test]
fn clients_and_servers_must_agree_about_mutual_tls() {
    let mesh = |server: &str, client: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p, namespace: shop}}\nspec: {{mtls: {{mode: {server}}}}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: shop}}\nspec: {{host: reviews, trafficPolicy: {{tls: {{mode: {client}}}}}}}\n"
        )
    };
    let cases = [
        ("STRICT", "ISTIO_MUTUAL", false),
        ("STRICT", "DISABLE", true),
        ("STRICT", "SIMPLE", true),
        ("PERMISSIVE", "DISABLE", false),
        ("DISABLE", "ISTIO_MUTUAL", true),
        ("DISABLE", "DISABLE", false),
    ];
    for (server, client, conflict) in cases {
        let said = said(&mesh(server, client));
        let told = said
            .iter()
            .any(|text| text.starts_with("mtls-conflict") && text.contains("PeerAuthentication shop/p"));
        assert_eq!(told, conflict, "{server} {client}: {said:?}");
    }
}
