//! The pages of a proxy that a scripted control plane has talked to.

use std::sync::Arc;
use std::time::Duration;

use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use serde_json::Value;

use super::config_dump::{Selection, dump};
use super::render::{Input, render};
use super::*;
use crate::control::tests::{Talk, assignment, eds_cluster, http_listener, on_control_thread, routes_to};

const BOOTSTRAP: &str = r#"{"node": {"id": "me", "cluster": "c", "metadata": {"NAME": "pod"}},
    "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "server"}, {"prefix": "cluster.a"}]}}}}"#;

fn talked() -> Talk {
    let mut talk = Talk::with(BOOTSTRAP);
    talk.say(CLUSTER, vec![("a", eds_cluster("a")), ("b", eds_cluster("b"))], &[]);
    talk.say(ENDPOINT, vec![("a", assignment("a", &["10.0.0.1"]))], &[]);
    talk.say(LISTENER, vec![("l", http_listener("l", "80"))], &[]);
    talk.say(ROUTE, vec![("80", routes_to("80", "a"))], &[]);
    let mut broken = eds_cluster("a");
    broken.value.push(0xff);
    talk.say(CLUSTER, vec![("a", broken)], &[]);
    talk
}

fn pages() -> Rc<Pages> {
    let talk = talked();
    let bootstrap = crate::bootstrap::parse(std::path::Path::new("b.json"), BOOTSTRAP.to_owned()).unwrap();
    let (quit, _) = tokio::sync::mpsc::unbounded_channel();
    let lifecycle = Lifecycle::new(Arc::clone(&talk.state.shared), quit);
    lifecycle.observe(&talk.state);
    let options = Options {
        drain_time: Duration::from_secs(5),
        concurrency: 2,
        config_path: "b.json".into(),
        log: LogLevels::new("info", |level| {
            if level == "loud" {
                Err("no such level".into())
            } else {
                Ok(())
            }
        }),
    };
    Rc::new(Pages {
        state: Rc::new(RefCell::new(talk.state)),
        lifecycle,
        bootstrap,
        options,
    })
}

async fn get(pages: &Rc<Pages>, path: &str, query: &str, is_post: bool) -> (u16, String) {
    let page = answer(pages, is_post, path, &Query::parse(Some(query))).await;
    (page.status, String::from_utf8_lossy(&page.body).into_owned())
}

#[test]
fn pages_say_what_envoys_say() {
    on_control_thread(async {
        let pages = pages();
        let cases = [
            ("/clusters", "", false, 200, "a::10.0.0.1:80::health_flags::healthy\n"),
            ("/clusters", "", false, 200, "a::default_priority::max_requests::1024\n"),
            ("/clusters", "format=json", false, 200, "\"eds_service_name\": \"a\""),
            ("/listeners", "", false, 200, "l::127.0.0.1:"),
            ("/listeners", "format=json", false, 200, "\"listener_statuses\""),
            ("/stats", "", false, 200, "cluster_manager.warming_clusters: 1\n"),
            (
                "/stats",
                "filter=^listener_manager.total",
                false,
                200,
                "listener_manager.total_listeners_active: 1\nlistener_manager.total_listeners_draining: 0\n",
            ),
            (
                "/stats",
                "format=json&filter=server.state",
                false,
                200,
                "\"name\": \"server.state\"",
            ),
            ("/stats", "filter=(", false, 400, "`filter`"),
            (
                "/stats/prometheus",
                "",
                false,
                200,
                "# TYPE envoy_server_state gauge\nenvoy_server_state ",
            ),
            (
                "/stats/prometheus",
                "all",
                false,
                200,
                "envoy_cluster_membership_total{cluster_name=\"a\"} 1\n",
            ),
            ("/server_info", "", false, 200, "\"concurrency\": 2"),
            ("/certs", "", false, 200, "\"certificates\": []"),
            ("/memory", "", false, 200, "\"total_physical_bytes\""),
            ("/logging", "", false, 200, "proxy: info"),
            ("/logging", "level=debug", false, 405, "POST required"),
            ("/logging", "level=debug", true, 200, "proxy: debug"),
            ("/logging", "level=loud", true, 400, "no such level"),
            ("/ready", "", false, 503, "PRE_INITIALIZING\n"),
            ("/healthcheck/fail", "", false, 405, "POST required"),
            ("/healthcheck/fail", "", true, 200, "OK"),
            ("/ready", "", false, 503, "DRAINING\n"),
            ("/healthcheck/ok", "", true, 200, "OK"),
            ("/why", "", false, 400, "`url` is needed"),
            (
                "/why",
                "url=http://x/&to=l",
                false,
                200,
                "=> 100.0000 %: a: 10.0.0.1:80\n",
            ),
            (
                "/why",
                "url=http://x/&to=l&format=json",
                false,
                200,
                "\"outcome\": \"forwarded\"",
            ),
            ("/nothing", "", false, 404, "/config_dump"),
            ("/help", "", false, 200, "/drain_listeners"),
        ];
        for (path, query, is_post, status, expected) in cases {
            let (actual, body) = get(&pages, path, query, is_post).await;
            assert!(
                actual == status && body.contains(expected),
                "{path}?{query}: {actual} {body}"
            );
        }
        let (_, few) = get(&pages, "/stats/prometheus", "", false).await;
        assert!(!few.contains("envoy_http_"), "only what the bootstrap includes");
    });
}

fn rendered(selection: Selection) -> Value {
    let mut configs = Value::Null;
    on_control_thread(async {
        let configs_of = dump(&talked().state, &selection);
        let input = Input {
            bootstrap: Some(BOOTSTRAP.into()),
            started: "2026-01-01T00:00:00Z".into(),
            configs: configs_of,
        };
        configs = serde_json::from_str(&render(&input.encode()).unwrap()).unwrap();
    });
    configs["configs"].take()
}

#[test]
fn a_dump_shows_what_is_in_force_what_waits_and_what_was_refused() {
    let configs = rendered(Selection {
        endpoints: true,
        ..Selection::default()
    });
    let types: Vec<_> = configs
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["@type"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    assert_eq!(configs[0]["bootstrap"]["node"]["id"], "me");
    let active = &configs[1]["dynamic_active_clusters"][0];
    assert_eq!(active["cluster"]["name"], "a");
    assert!(
        active["error_state"]["details"]
            .as_str()
            .unwrap()
            .contains("does not decode"),
        "{active}"
    );
    let failed = active["error_state"]["failed_configuration"]["value"].as_str().unwrap();
    assert!(
        failed.contains("Cluster, 6 bytes: "),
        "what cannot be opened is said, and hides nothing else: {failed}"
    );
    assert!(active["error_state"]["last_update_attempt"].is_string());
    assert_eq!(configs[1]["dynamic_warming_clusters"][0]["cluster"]["name"], "b");
    assert_eq!(
        configs[2]["dynamic_endpoint_configs"][0]["endpoint_config"]["cluster_name"],
        "a"
    );
    let listener = &configs[3]["dynamic_listeners"][0];
    assert_eq!(
        (&listener["name"], &listener["active_state"]["listener"]["name"]),
        (&"l".into(), &"l".into())
    );
    let filter = &listener["active_state"]["listener"]["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(filter["rds"]["route_config_name"], "80", "nested messages are opened");
    assert_eq!(configs[4]["dynamic_route_configs"][0]["route_config"]["name"], "80");
}

#[test]
fn a_dump_can_be_narrowed() {
    let configs = rendered(Selection {
        resource: Some("dynamic_active_clusters".into()),
        name: Some(regex::Regex::new("^a$").unwrap()),
        endpoints: true,
    });
    let configs = configs.as_array().unwrap();
    assert_eq!(
        configs.len(),
        2,
        "the bootstrap, which this test always gives, and one cluster"
    );
    assert_eq!(
        configs[1]["@type"],
        "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster"
    );
}

#[test]
fn input_from_elsewhere_is_no_dump() {
    assert!(
        render(b"\x00\x00\xff\xffxx")
            .err()
            .unwrap()
            .to_string()
            .contains("cut off")
    );
}
