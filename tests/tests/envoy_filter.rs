//! EnvoyFilters, in running meshes of both data planes: what they merge has its effect, and what our own proxy cannot run costs nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::client::{Reply, eventually};
use mesh_tests::{DataPlane, Directory, Mesh, Request, sync};
use tokio::net::{TcpSocket, TcpStream};

const ECHO: &str = env!("CARGO_BIN_EXE_mesh-echo");
const LIMIT: Duration = Duration::from_secs(10);

/// Half a second for a request to echo, 200 ms for a connection to anything, and a filter that only a stock Envoy has.
const EDIT: &str = r#"apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: edit, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {connect_timeout: 0.2s}}
  - applyTo: HTTP_ROUTE
    match:
      context: SIDECAR_OUTBOUND
      routeConfiguration: {vhost: {name: "echo.default.svc.cluster.local:80", route: {action: ROUTE}}}
    patch: {operation: MERGE, value: {route: {timeout: 0.5s, retry_policy: {num_retries: 0}}}}
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_OUTBOUND}
    patch:
      operation: ADD
      value:
        name: envoy.filters.http.lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code:
            inline_string: "function envoy_on_response(handle) handle:headers():add('x-stamp', 'lua') end"
"#;

const DEAF: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: deaf, namespace: default}
spec:
  hosts: [deaf.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{name: http, number: 80, protocol: HTTP}]
  endpoints: [{address: @ADDRESS@, ports: {http: @PORT@}}]
";

/// A socket that listens and accepts nobody: its queue is full, so that connections to it stay unanswered.
async fn deaf() -> Result<(SocketAddr, impl Sized)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(connected) => waiting.push(connected?),
            Err(_) => return Ok((address, (listener, waiting))),
        }
    }
    anyhow::bail!("{address} accepts everybody")
}

async fn ask(mesh: &Mesh, host: &str, path: &str) -> Result<(Reply, Duration)> {
    let through = SocketAddr::new(mesh.pod("client")?.address, 15002);
    let start = Instant::now();
    let reply = Request::get(host, path).through_proxy().send(through).await?;
    Ok((reply, start.elapsed()))
}

async fn check(plane: DataPlane) -> Result<()> {
    let (address, _queue) = deaf().await?;
    let directory = Directory::echo(ECHO)?;
    let entry = DEAF
        .replace("@ADDRESS@", &address.ip().to_string())
        .replace("@PORT@", &address.port().to_string());
    directory.write("deaf.yaml", &entry)?;
    let mesh = Mesh::up(directory.path(), plane, &[])?;
    sync::in_sync(&mesh).await?;
    ensure!(
        ask(&mesh, "echo", "/delay/1000").await?.0.status == 200,
        "without a limit a second is fine"
    );

    sync::after_change(&mesh, || directory.write("edit.yaml", EDIT)).await?;
    eventually("the route's timeout", LIMIT, async || {
        let (reply, took) = ask(&mesh, "echo", "/delay/3000").await?;
        ensure!(
            reply.status == 504 && took < Duration::from_secs(2),
            "{} after {took:?}",
            reply.status
        );
        Ok(())
    })
    .await?;
    let (reply, took) = ask(&mesh, "deaf.example", "/").await?;
    ensure!(
        reply.status == 503 && took < Duration::from_secs(4),
        "{} after {took:?}",
        reply.status
    );
    let (reply, _) = ask(&mesh, "echo", "/").await?;
    ensure!(reply.status == 200, "{}", reply.status);

    let status = mesh.debug("/debug/status?kind=EnvoyFilter").await?.to_string();
    let left_out = status.contains("left out for our own proxy") && status.contains("lua.v3.Lua");
    let output = mesh.output();
    let said = output.lines().any(|line| {
        let parts = [
            "EnvoyFilter default/edit",
            "typed_config",
            "has an effect only with Envoy as the data plane",
        ];
        parts.iter().all(|part| line.contains(part))
    });
    ensure!(said == (plane == DataPlane::Native), "{output}");
    match plane {
        DataPlane::Native => ensure!(left_out, "{status}"),
        DataPlane::Envoy => {
            ensure!(!left_out, "{status}");
            ensure!(reply.header("x-stamp") == Some("lua"), "the filter does nothing");
        }
    }

    // A mistake is told with its line, and what was good before stays.
    let mistaken = EDIT.replace("connect_timeout: 0.2s", "conect_timeout: 0.2s");
    directory.write("edit.yaml", &mistaken)?;
    eventually("the mistake is told", LIMIT, async || {
        let output = mesh.output();
        let told = |line: &str| {
            [
                "edit.yaml:9",
                "EnvoyFilter default/edit",
                "conect_timeout",
                "write connect_timeout",
            ]
            .iter()
            .all(|part| line.contains(part))
        };
        ensure!(output.lines().any(told), "{output}");
        Ok(())
    })
    .await?;
    let (reply, _) = ask(&mesh, "echo", "/delay/3000").await?;
    ensure!(reply.status == 504, "the last good one is gone: {}", reply.status);

    sync::after_change(&mesh, || directory.remove("edit.yaml")).await?;
    eventually("without the object all is as before", LIMIT, async || {
        let (reply, _) = ask(&mesh, "echo", "/delay/1000").await?;
        ensure!(
            reply.status == 200 && reply.header("x-stamp").is_none(),
            "{}",
            reply.status
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_proxy_takes_what_it_has() -> Result<()> {
    check(DataPlane::Native).await.context("native")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_envoy_takes_all_of_it() -> Result<()> {
    check(DataPlane::Envoy).await.context("Envoy")
}
