//! What an operator sees: the two commands, each admin page, metrics with both ends named, and where a rule was written.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mesh_tests::bookinfo::pages;
use mesh_tests::client::get;
use mesh_tests::mesh::Pod;
use mesh_tests::{DataPlane, Directory, Mesh, Request, sync};
use serde_json::Value;

const KINDS: [&str; 6] = ["cluster", "listener", "route", "endpoint", "bootstrap", "secret"];
/// Pages that only tell.
const TELLING: [&str; 8] = [
    "/ready",
    "/server_info",
    "/stats",
    "/stats/prometheus",
    "/clusters",
    "/listeners",
    "/config_dump",
    "/certs",
];

async fn up(plane: DataPlane) -> Result<(Mesh, Directory)> {
    let directory = Directory::bookinfo()?;
    directory.apply("reviews-90-10.yaml")?;
    let mesh = Mesh::up(directory.path(), plane, &[])?;
    sync::in_sync(&mesh).await?;
    pages(mesh.ingress()?, 20).await?;
    Ok((mesh, directory))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_show_a_mesh_of_our_proxies() -> Result<()> {
    let (mesh, directory) = up(DataPlane::Native).await?;
    commands(&mesh, &directory).await?;
    describe(&mesh, &directory)?;
    let pod = mesh.pod("productpage-v1")?;
    pages_of_the_admin(&mesh, &pod).await?;
    metrics(&pod).await?;
    drained(&pod).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_show_a_mesh_of_envoys() -> Result<()> {
    let (mesh, directory) = up(DataPlane::Envoy).await?;
    commands(&mesh, &directory).await?;
    let refused = mesh
        .command(&DESCRIBE)
        .expect_err("an Envoy does not tell why")
        .to_string();
    ensure!(refused.contains("stock Envoy"), "{refused}");
    pages_of_the_admin(&mesh, &mesh.pod("productpage-v1")?).await
}

async fn commands(mesh: &Mesh, directory: &Directory) -> Result<()> {
    let table = mesh.command(&["proxy-status"])?;
    let status: Value = serde_json::from_str(&mesh.command(&["proxy-status", "-o", "json"])?)?;
    for pod in mesh.pods()? {
        let name = format!("{}.{}", pod.name, pod.namespace);
        let row = table
            .lines()
            .find(|line| line.starts_with(&name))
            .with_context(|| format!("no row of {name}: {table}"))?;
        ensure!(row.matches("SYNCED").count() == 4, "{row}");
        ensure!(
            status
                .as_array()
                .is_some_and(|rows| rows.iter().any(|row| row["proxy"] == name.as_str())),
            "{name} is not in {status}"
        );
    }
    for kind in KINDS {
        let words = ["proxy-config", kind, "productpage-v1"];
        let table = mesh.command(&words)?;
        ensure!(table.lines().count() >= 2, "proxy-config {kind}: {table}");
        let json = mesh.command(&[&words[..], &["-o", "json"]].concat())?;
        let value: Value = serde_json::from_str(&json).with_context(|| format!("proxy-config {kind}: {json}"))?;
        ensure!(
            value
                .as_array()
                .map_or(value.as_object().map_or(0, |o| o.len()), Vec::len)
                > 0,
            "proxy-config {kind}: {json}"
        );
        let yaml = mesh.command(&[&words[..], &["-o", "yaml"]].concat())?;
        ensure!(
            yaml.len() > 100 && !yaml.starts_with(['[', '{']),
            "proxy-config {kind} -o yaml: {yaml}"
        );
    }
    let routes = mesh.command(&["proxy-config", "route", "productpage-v1"])?;
    ensure!(
        routes.contains("reviews.default"),
        "no route names its VirtualService: {routes}"
    );
    let unknown = mesh
        .command(&["proxy-config", "route", "nobody"])
        .expect_err("there is no such pod")
        .to_string();
    ensure!(
        unknown.contains("nobody") && unknown.contains("productpage-v1"),
        "{unknown}"
    );
    origin(mesh, directory).await
}

const DESCRIBE: [&str; 5] = [
    "describe",
    "request",
    "http://reviews:9080/reviews/0",
    "--from",
    "productpage-v1",
];

/// From a request to the lines that decide about it, at both ends.
fn describe(mesh: &Mesh, directory: &Directory) -> Result<()> {
    let text = mesh.command(&DESCRIBE)?;
    let json = mesh.command(&[&DESCRIBE[..], &["-o", "json"]].concat())?;
    let value: Value = serde_json::from_str(&json).with_context(|| format!("describe: {json}"))?;
    let outcomes = value["hops"][0]["outcomes"].as_array().cloned().unwrap_or_default();
    let shares: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome["cluster"].as_str(), outcome["share"].as_f64()))
        .collect();
    let cluster = |subset: &str| format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
    let (v1, v2) = (cluster("v1"), cluster("v2"));
    ensure!(
        shares == [(Some(&*v1), Some(90.0)), (Some(&*v2), Some(10.0))],
        "{shares:?} in {text}"
    );
    let line = directory
        .read("reviews-90-10.yaml")?
        .lines()
        .position(|line| line.contains("- route"))
        .unwrap_or(0)
        + 1;
    let place = format!(
        "VirtualService default/reviews [0]  {}:{line}",
        directory.path().join("reviews-90-10.yaml").display()
    );
    ensure!(text.contains(&place), "{place} is not in {text}");
    let arrival = value["hops"].as_array().is_some_and(|hops| {
        hops.iter()
            .any(|hop| hop["proxy"].as_str().is_some_and(|name| name.starts_with("reviews-v2")))
    });
    ensure!(arrival, "no proxy of reviews-v2 was asked: {text}");
    Ok(())
}

/// From a route back to the file and line that made it.
async fn origin(mesh: &Mesh, directory: &Directory) -> Result<()> {
    let origin = mesh
        .debug("/debug/origin?kind=VirtualService&namespace=default&name=reviews")
        .await?;
    let file = directory.path().join("reviews-90-10.yaml");
    let line = directory
        .read("reviews-90-10.yaml")?
        .lines()
        .position(|line| line.starts_with("apiVersion"))
        .context("no object")?
        + 1;
    ensure!(
        origin["file"] == file.display().to_string() && origin["line"] == line,
        "{origin}"
    );
    Ok(())
}

async fn pages_of_the_admin(mesh: &Mesh, pod: &Pod) -> Result<()> {
    for page in TELLING {
        let text = mesh.admin(pod, page).await?;
        ensure!(!text.is_empty(), "{page} is empty");
    }
    let info: Value = serde_json::from_str(&mesh.admin(pod, "/server_info").await?)?;
    ensure!(
        info["state"] == "LIVE" && info["node"]["id"].as_str().is_some_and(|id| id.contains(&pod.name)),
        "{info}"
    );
    ensure!(
        mesh.admin(pod, "/listeners").await?.contains(":15002"),
        "no proxy port among the listeners"
    );
    let admin = SocketAddr::new(pod.address, 15000);
    let post = async |page: &str| Request::get("admin", page).method("POST").send(admin).await;
    ensure!(post("/logging?level=info").await?.status == 200, "/logging");
    for changing in ["/healthcheck/fail", "/drain_listeners", "/quitquitquit"] {
        let by_get = Request::get("admin", changing).send(admin).await?;
        ensure!(
            by_get.status == 405,
            "GET {changing} must not change anything: {by_get:?}"
        );
    }
    ensure!(
        post("/healthcheck/fail").await?.status == 200 && post("/healthcheck/ok").await?.status == 200,
        "/healthcheck"
    );
    Ok(())
}

async fn metrics(pod: &Pod) -> Result<()> {
    let page = get(SocketAddr::new(pod.address, 15090), "/stats/prometheus")
        .await?
        .text();
    let holds = |parts: &[&str]| page.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    let called = [
        "istio_requests_total{",
        "reporter=\"source\"",
        "source_workload=\"productpage-v1\"",
        "destination_workload=\"details-v1\"",
        "destination_service=\"details.default.svc.cluster.local\"",
        "response_code=\"200\"",
    ];
    ensure!(holds(&called), "not as a caller: {page}");
    let serves = [
        "istio_requests_total{",
        "reporter=\"destination\"",
        "source_workload=\"istio-ingressgateway\"",
        "destination_workload=\"productpage-v1\"",
        "connection_security_policy=\"mutual_tls\"",
    ];
    ensure!(holds(&serves), "not as a server: {page}");
    for name in [
        "istio_request_duration_milliseconds_bucket{",
        "istio_request_bytes_sum{",
        "istio_response_bytes_count{",
    ] {
        ensure!(holds(&[name]), "no {name}");
    }
    Ok(())
}

/// Asked to drain, a proxy still answers, and asks its callers to go elsewhere.
async fn drained(pod: &Pod) -> Result<()> {
    let admin = SocketAddr::new(pod.address, 15000);
    let reply = Request::get("admin", "/healthcheck/fail")
        .method("POST")
        .send(admin)
        .await?;
    ensure!(reply.status == 200, "{reply:?}");
    let reply = Request::get("admin", "/drain_listeners?graceful")
        .method("POST")
        .send(admin)
        .await?;
    ensure!(reply.status == 200, "{reply:?}");
    let served = Request::get("productpage", "/productpage")
        .send(SocketAddr::new(pod.address, 9080))
        .await?;
    ensure!(
        served.status == 200 && served.header("connection") == Some("close"),
        "a draining proxy keeps connections: {served:?}"
    );
    Ok(())
}
