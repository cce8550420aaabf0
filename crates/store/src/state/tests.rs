use std::path::PathBuf;

use model::kinds::VirtualService;

use super::*;

fn content(source: usize, file: &str, text: &str) -> Batch {
    let change = FileChange::Content {
        source,
        file: PathBuf::from(file),
        text: text.to_owned(),
    };
    Batch {
        files: vec![change],
        sources: vec![],
    }
}

fn removed(source: usize, file: &str) -> Batch {
    Batch {
        files: vec![FileChange::Removed {
            source,
            file: PathBuf::from(file),
        }],
        sources: vec![],
    }
}

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
}

fn rule(name: &str, timeout: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: {name}\nspec:\n  host: a.b\n  trafficPolicy:\n    connectionPool:\n      tcp:\n        connectTimeout: {timeout}\n"
    )
}

fn store() -> Store {
    Store::new(Settings::default())
}

/// Changes as text: `+Service/default/a`.
fn changes(applied: &Applied) -> Vec<String> {
    let sign = |what| match what {
        What::Added => "+",
        What::Updated => "~",
        What::Removed => "-",
    };
    applied
        .changes
        .iter()
        .map(|c| format!("{}{}/{}/{}", sign(c.what), c.kind, c.namespace, c.name))
        .collect()
}

fn codes(store: &Store) -> Vec<&'static str> {
    store.messages().iter().map(|message| message.code).collect()
}

#[test]
fn objects_come_change_and_go() {
    let mut store = store();
    let steps = [
        (
            content(0, "a.yaml", &format!("{}---\n{}", service("a", 80), service("b", 80))),
            vec!["+Service/default/a", "+Service/default/b"],
            1,
        ),
        (
            content(0, "a.yaml", &format!("{}---\n{}", service("a", 81), service("b", 80))),
            vec!["~Service/default/a"],
            2,
        ),
        (content(0, "c.yaml", &service("c", 80)), vec!["+Service/default/c"], 3),
        (removed(0, "c.yaml"), vec!["-Service/default/c"], 4),
        (removed(0, "never.yaml"), vec![], 4),
    ];
    for (batch, expected, generation) in steps {
        let applied = store.apply(batch);
        assert_eq!(changes(&applied), expected);
        assert_eq!(store.generation(), generation);
    }
    let generation = |name| store.get("Service", "default", name).expect("in force").generation;
    assert_eq!((generation("a"), generation("b")), (2, 1));
    assert_eq!(store.changes_since(2).map(|c| c.len()), Some(2));
}

#[test]
fn comments_space_order_and_version_change_no_object() {
    let mut store = store();
    let (a, b) = (rule("a", "1s"), rule("b", "2s"));
    store.apply(content(0, "a.yaml", &format!("{a}---\n{b}")));
    let moved = [
        format!("# a comment\n\n\n{a}---\n{b}"),
        format!("{b}---\n{a}"),
        format!(
            "{a}---\n{}",
            b.replace("  host: a.b\n", "").replace(
                "        connectTimeout: 2s\n",
                "        connectTimeout: \"2s\"   # two\n  host: a.b\n"
            )
        ),
        format!("{}---\n{b}", a.replace("istio.io/v1\n", "istio.io/v1alpha3\n")),
    ];
    for text in moved {
        let (generation, revision) = (store.generation(), store.revision());
        let applied = store.apply(content(0, "a.yaml", &text));
        assert_eq!(changes(&applied), Vec::<String>::new(), "{text}");
        assert_eq!(store.generation(), generation);
        assert!(store.revision() > revision, "origins are visible");
    }
    store.apply(content(0, "a.yaml", &format!("{b}---\n# x\n{a}")));
    let object = store.get("DestinationRule", "default", "a").expect("in force");
    assert_eq!((object.origin.line, object.generation), (13, 1));
    assert_eq!(store.origin(&object.reference()), Some((object.origin.clone(), 1)));
}

#[test]
fn an_unreadable_file_keeps_what_it_held() {
    for broken in ["", "  \n", "a: [", "kind: {", "a: 1\na: 2\n"] {
        let mut store = store();
        store.apply(content(0, "a.yaml", &service("a", 80)));
        let applied = store.apply(content(0, "a.yaml", broken));
        assert_eq!(changes(&applied), Vec::<String>::new(), "{broken:?}");
        assert!(store.get("Service", "default", "a").is_some(), "{broken:?}");
        assert_eq!(store.messages().len(), 1, "{broken:?}");
        assert_eq!(store.statuses()[0].in_force, InForce::LastGood, "{broken:?}");
        let applied = store.apply(content(0, "a.yaml", &service("b", 80)));
        assert_eq!(
            changes(&applied),
            ["-Service/default/a", "+Service/default/b"],
            "{broken:?}"
        );
        assert!(store.messages().is_empty());
        store.apply(content(0, "a.yaml", broken));
        assert_eq!(
            changes(&store.apply(removed(0, "a.yaml"))),
            ["-Service/default/b"],
            "{broken:?}"
        );
    }
}

#[test]
fn a_broken_file_among_good_ones_harms_no_other() {
    let mut store = store();
    store.apply(content(0, "bad.yaml", ": : :\n\t-"));
    store.apply(content(0, "good.yaml", &service("a", 80)));
    assert_eq!(store.len(), 1);
    assert_eq!(codes(&store), ["syntax"]);
}

#[test]
fn an_invalid_object_keeps_its_last_good_version() {
    let mut store = store();
    store.apply(content(
        0,
        "a.yaml",
        &format!("{}---\n{}", rule("a", "1s"), rule("b", "1s")),
    ));
    let applied = store.apply(content(
        0,
        "a.yaml",
        &format!("{}---\n{}", rule("a", "soon"), rule("b", "3s")),
    ));
    assert_eq!(changes(&applied), ["~DestinationRule/default/b"]);
    let a = store.get("DestinationRule", "default", "a").expect("last good");
    assert_eq!(
        (
            a.generation,
            a.value.pointer("/spec/trafficPolicy/connectionPool/tcp/connectTimeout")
        ),
        (1, Some(&"1s".into()))
    );
    let statuses = store.statuses();
    let status = statuses.iter().find(|s| &*s.object.name == "a").expect("listed");
    assert_eq!(
        (status.valid, status.in_force, status.generation),
        (false, InForce::LastGood, 1)
    );
    let said: Vec<String> = status.messages.iter().map(Message::to_string).collect();
    assert!(
        said[0].starts_with(
            "a.yaml:10: DestinationRule default/a: spec.trafficPolicy.connectionPool.tcp.connectTimeout: \"soon\" is not a duration"
        ),
        "{said:?}"
    );
    // Valid again, as it was: nothing changed for anyone.
    let applied = store.apply(content(
        0,
        "a.yaml",
        &format!("{}---\n{}", rule("a", "1s"), rule("b", "3s")),
    ));
    assert_eq!(changes(&applied), Vec::<String>::new());
    assert!(store.statuses().iter().all(|s| s.in_force == InForce::Current));
}

#[test]
fn an_object_that_cannot_be_named_any_more_is_kept() {
    let good = format!("{}---\n{}", service("a", 80), service("b", 80));
    let cases = [
        (good.replacen("kind: Service", "kind: Servic", 1), true),
        (good.replacen("name: a", "nam: a", 1), true),
        (good.replacen("apiVersion: v1", "apiVersion: v7", 1), true),
        (good.replacen("name: a", "name: A_", 1), true),
        (good.replacen("name: a", "name: a, labels: {x: 1}", 1), true),
        (good.replacen("kind: Service", "kind: Certificate", 1), false),
        (service("b", 80), false),
    ];
    for (text, kept) in cases {
        let mut store = store();
        store.apply(content(0, "a.yaml", &good));
        store.apply(content(0, "a.yaml", &text));
        assert_eq!(store.get("Service", "default", "a").is_some(), kept, "{text}");
        assert!(store.get("Service", "default", "b").is_some());
        store.apply(content(0, "a.yaml", &service("b", 80)));
        assert!(store.get("Service", "default", "a").is_none(), "{text}");
    }
}

#[test]
fn the_first_of_two_counts_and_the_other_is_told_with_both_places() {
    let mut store = store();
    store.apply(content(1, "1.yaml", &service("a", 1)));
    store.apply(content(0, "z.yaml", &format!("# first source\n{}", service("a", 2))));
    store.apply(content(1, "2.yaml", &service("a", 3)));
    let port = |store: &Store| {
        store
            .get("Service", "default", "a")
            .map(|o| o.value["spec"]["ports"][0]["port"].clone())
    };
    assert_eq!(port(&store), Some(2.into()));
    let messages = store.messages();
    let said: Vec<String> = messages.iter().map(Message::to_string).collect();
    assert_eq!(codes(&store), ["duplicate", "duplicate"]);
    assert!(
        said[0]
            .starts_with("1.yaml:3: Service default/a: metadata.name: there is another Service default/a at z.yaml:2"),
        "{said:?}"
    );
    let before = store.generation();
    store.apply(removed(0, "z.yaml"));
    assert_eq!(port(&store), Some(1.into()));
    assert_eq!(
        store.get("Service", "default", "a").map(|o| o.generation),
        Some(before + 1)
    );
}

#[test]
fn unsupported_and_unknown_fields_are_named_with_their_lines() {
    let text = "
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: a
spec:
  hosts: [a.b]
  http:
  - route:
    - destination: {host: a.b}
    mirror:
      host: a.b
      port: {name: x, number: 80}
    timeot: 5s
    retries: {attempts: 1, retryRemoteLocalities: true}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: x}
spec: {whatever: 1}
";
    let mut store = store();
    store.apply(content(0, "a.yaml", text));
    let said: Vec<String> = store.messages().iter().map(|m| format!("{} {m}", m.code)).collect();
    for expected in [
        "unknown-field a.yaml:14: VirtualService default/a: spec.http[0].timeot: there is no field \"timeot\"; \"timeout\" was probably meant",
        "no-effect a.yaml:13: VirtualService default/a: spec.http[0].mirror.port.name: is not supported yet",
        "envoy-only a.yaml:15: VirtualService default/a: spec.http[0].retries.retryRemoteLocalities: has an effect only with Envoy",
        "no-effect a.yaml:18: AuthorizationPolicy default/x: kind: AuthorizationPolicy is not supported yet",
    ] {
        assert!(
            said.iter().any(|m| m.starts_with(expected)),
            "{expected} not in {said:#?}"
        );
    }
}

#[test]
fn a_list_is_its_items() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: 0}]}\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: n, namespace: ignored}\n";
    let mut store = store();
    store.apply(content(0, "a.yaml", text));
    assert!(store.get("Namespace", "", "n").is_some());
    let said: Vec<String> = store.messages().iter().map(Message::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("a.yaml:7: Service default/a: spec.ports[0].port: 0 is no port number"),
        "{said:?}"
    );
}

#[test]
fn lists_are_oldest_first_whatever_the_place() {
    let aged = |name: &str, created: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, creationTimestamp: '{created}'}}\nspec: {{ports: [{{port: 1}}]}}\n"
        )
    };
    let texts = [
        aged("x", "2026-01-02T00:00:00Z"),
        aged("y", "2026-01-01T00:00:00Z"),
        service("z", 1),
        service("b", 1),
    ];
    let names = |order: &[usize]| {
        let mut store = store();
        let text: Vec<&str> = order.iter().map(|i| texts[*i].as_str()).collect();
        store.apply(content(0, "a.yaml", &text.join("---\n")));
        store
            .list("Service")
            .iter()
            .map(|o| o.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&[0, 1, 2, 3]), ["b", "z", "y", "x"]);
    assert_eq!(names(&[3, 2, 1, 0]), ["b", "z", "y", "x"]);
}

#[test]
fn mesh_config_comes_from_the_config_map_and_survives_a_mistake() {
    let map = |mesh: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {mesh}\n"
        )
    };
    let mut store = store();
    let applied = store.apply(content(0, "m.yaml", &map("accessLogFile: /dev/stdout")));
    assert_eq!(changes(&applied), ["+ConfigMap/istio-system/istio", "~MeshConfig//"]);
    assert_eq!(store.mesh_config().access_log_file, "/dev/stdout");
    store.apply(content(0, "m.yaml", &map("accessLogFile: [1]")));
    assert_eq!(store.mesh_config().access_log_file, "/dev/stdout");
    let said: Vec<String> = store.messages().iter().map(Message::to_string).collect();
    assert!(
        said[0].starts_with("m.yaml:6: ConfigMap istio-system/istio: MeshConfig.accessLogFile:"),
        "{said:?}"
    );
    store.apply(removed(0, "m.yaml"));
    assert_eq!(store.mesh_config().access_log_file, "");
}

#[test]
fn mesh_config_comes_from_its_file() {
    let mut store = Store::new(Settings {
        mesh_config: Some("mesh.yaml".into()),
        ..Settings::default()
    });
    let set = |text: Option<&str>| Batch {
        files: vec![FileChange::MeshConfig {
            text: text.map(str::to_owned),
        }],
        sources: vec![],
    };
    assert_eq!(
        changes(&store.apply(set(Some("proxyHttpPort: 15002\n")))),
        ["~MeshConfig//"]
    );
    assert_eq!(
        changes(&store.apply(set(Some("# same\nproxyHttpPort: 15002\n")))),
        Vec::<String>::new()
    );
    assert_eq!(changes(&store.apply(set(None))), Vec::<String>::new());
    assert_eq!(store.mesh_config().proxy_http_port, 15002);
    assert_eq!(store.messages().len(), 1);
}

#[test]
fn a_vanished_source_keeps_its_objects() {
    let mut store = store();
    store.apply(content(0, "a.yaml", &service("a", 80)));
    store.apply(Batch {
        files: vec![],
        sources: vec![(0, Some("d: gone".to_owned()))],
    });
    assert_eq!((store.len(), codes(&store)), (1, vec!["source"]));
    store.apply(Batch {
        files: vec![],
        sources: vec![(0, None)],
    });
    assert!(store.messages().is_empty());
}

#[test]
fn objects_are_read_as_their_type() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a.b]\n  http:\n  - timeout: 0.5s\n    wat: 1\n    route: [{destination: {host: a.b}}]\n";
    let mut store = store();
    store.apply(content(0, "a.yaml", text));
    let object = store.get("VirtualService", "default", "a").expect("in force");
    let parsed = object.parse::<VirtualService>().expect("valid");
    assert_eq!(
        parsed.value.http[0].timeout,
        Some(std::time::Duration::from_millis(500))
    );
    assert_eq!(parsed.unknown.len(), 1);
    assert_eq!(
        (parsed.unknown[0].path.as_str(), parsed.unknown[0].line),
        ("spec.http[0].wat", 8)
    );
}
