use proto::type_url::{CLUSTER, ENDPOINT, NAME_TABLE, ORIGINS};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::world::{MESH, replace, world};

const WEB: &str = "outbound|80||web.default.svc.cluster.local";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_reaches_the_proxy() {
    let world = world().await;
    let mut client = world.plain_client().await;
    let (names, response) = client.expect(CLUSTER).await;
    assert!(names.contains(&WEB.to_owned()), "{names:?}");
    client.answer(&response, None);
    client.subscribe(ENDPOINT, &[WEB]);
    let (_, response) = client.expect(ENDPOINT).await;
    client.answer(&response, None);
    replace(&world.conf("mesh.yaml"), &MESH.replace("10.1.0.1", "10.1.0.2"));
    let (names, response) = client.expect(ENDPOINT).await;
    assert_eq!(names, [WEB]);
    client.answer(&response, None);
    client.subscribe(ORIGINS, &["*"]);
    let (names, response) = client.expect(ORIGINS).await;
    assert_eq!(names, ["origins"]);
    client.answer(&response, None);
    client.subscribe(NAME_TABLE, &["*"]);
    assert_eq!(client.expect(NAME_TABLE).await.0, ["name-table"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_with_its_object() {
    let world = world().await;
    let mut client = world.plain_client().await;
    let (_, response) = client.expect(CLUSTER).await;
    client.answer(&response, Some(&format!("cluster(s) {WEB}: no good")));
    let (names, response) = client.expect(CLUSTER).await;
    assert!(
        !names.contains(&WEB.to_owned()),
        "the others go on without it: {names:?}"
    );
    client.answer(&response, None);
    let rejected = loop {
        let sync = world.json("/debug/syncz").await;
        if sync[0]["synced"] == true {
            break sync[0]["rejected"][0].clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(rejected["resource"], WEB);
    let object = rejected["objects"][0].as_str().unwrap();
    assert!(
        object.starts_with("Service default/web (") && object.ends_with("mesh.yaml:2)"),
        "{object}"
    );
    let metrics = world.get("/metrics").await;
    assert!(metrics.contains("pilot_total_xds_rejects{type=\"cds\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_harms_nobody() {
    let world = world().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x05hello",
        &[0xff; 4096],
    ] {
        for address in [world.grpc, world.secure, world.http] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // It may be closed while we write.
            let _ = stream.write_all(garbage).await;
        }
    }
    let mut client = world.plain_client().await;
    client.subscribe("unheard/of", &["a"]);
    let _ = client.expect(CLUSTER).await;
    let unheard = client.next().await.unwrap();
    assert_eq!(
        (unheard.type_url.as_str(), unheard.removed_resources.len()),
        ("unheard/of", 1)
    );
    assert_eq!(world.get("/ready").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_tells_clients_to_go_elsewhere() {
    let mut world = world().await;
    let mut client = world.plain_client().await;
    let _ = client.expect(CLUSTER).await;
    world.running.leave.send_replace(true);
    assert_eq!(client.next().await.unwrap_err().code(), tonic::Code::Unavailable);
    drop(client);
    while world.running.servers.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_answers() {
    let world = world().await;
    let mut client = world.plain_client().await;
    let _ = client.expect(CLUSTER).await;
    for path in ["/ready", "/version", "/metrics", "/debug", "/debug/endpointz?brief=1"] {
        world.get(path).await;
    }
    for path in [
        "/v1/registration",
        "/debug/syncz",
        "/debug/adsz",
        "/debug/cdsz",
        "/debug/edsz",
        "/debug/config_dump?proxyID=web-1.default",
        "/debug/authenticationz?proxyID=web-1.default",
        "/debug/registryz",
        "/debug/endpointz",
        "/debug/endpointShardz",
        "/debug/workloadz",
        "/debug/configz",
        "/debug/configz?kind=service",
        "/debug/status",
        "/debug/push_status",
        "/debug/origin",
    ] {
        let answer = world.json(path).await;
        assert!(answer.is_array() || answer.is_object(), "{path}: {answer}");
    }
    let origin = world
        .json("/debug/origin?kind=service&namespace=default&name=web")
        .await;
    assert_eq!(origin["line"], 2);
    let registration = world.json("/v1/registration").await;
    assert_eq!(registration[0]["service-key"], "web.default.svc.cluster.local|http");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_by_polling() {
    let world = world().await;
    let node = r#"{"id": "sidecar~10.1.0.1~web-1.default~default.svc.cluster.local"}"#;
    let body = format!(r#"{{"node": {node}, "resource_names": ["{WEB}"]}}"#);
    let (status, answer) = world.post("/v3/discovery:endpoints", &body).await;
    assert_eq!(status, 200, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["resources"][0]["cluster_name"], WEB);
    let version = answer["version_info"].as_str().unwrap();
    let again = format!(r#"{{"node": {node}, "resourceNames": ["{WEB}"], "versionInfo": "{version}"}}"#);
    assert_eq!(world.post("/v3/discovery:endpoints", &again).await.0, 304);
    for kind in ["clusters", "listeners", "routes"] {
        let (status, answer) = world
            .post(&format!("/v3/discovery:{kind}"), &format!(r#"{{"node": {node}}}"#))
            .await;
        assert_eq!(status, 200, "{kind}: {answer}");
    }
    let (status, answer) = world.post("/v3/discovery:routes", r#"{"node": {"id": "who"}}"#).await;
    assert_eq!(status, 400);
    assert!(answer.contains("`who`"), "{answer}");
    assert_eq!(world.post("/v3/discovery:routes", "nonsense").await.0, 400);
}
