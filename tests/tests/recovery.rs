//! `kill -9` of each part, while somebody counts what fails.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::client::eventually;
use mesh_tests::load::{Load, Plan};
use mesh_tests::mesh::{Pod, kill};
use mesh_tests::processes::{agent, component, proxy, replaced};
use mesh_tests::{DataPlane, Directory, Mesh, Reply, Request, sync};
use nix::sys::signal::Signal;

const ECHO: &str = env!("CARGO_BIN_EXE_mesh-echo");
const RECOVERY: Duration = Duration::from_secs(2);
/// So many answers without a failure between them are taken for recovery.
const ANSWERS: u32 = 25;

fn route(weights: [u32; 2]) -> String {
    let [one, two] = weights;
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: default}}
spec:
  hosts: [echo]
  http:
  - route:
    - {{destination: {{host: echo, subset: v1}}, weight: {one}}}
    - {{destination: {{host: echo, subset: v2}}, weight: {two}}}
"
    )
}

struct World {
    mesh: Mesh,
    directory: Directory,
    client: Pod,
    server: Pod,
}

impl World {
    async fn start() -> Result<Self> {
        let directory = Directory::bookinfo()?;
        directory.add_echo(ECHO)?;
        directory.write("route.yaml", &route([100, 0]))?;
        let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
        sync::in_sync(&mesh).await?;
        let (client, server) = (mesh.pod("client")?, mesh.pod("echo-v1")?);
        Ok(World {
            mesh,
            directory,
            client,
            server,
        })
    }

    fn through(&self) -> SocketAddr {
        SocketAddr::new(self.client.address, 15002)
    }

    async fn ask(&self) -> Result<Reply> {
        let request = Request::get("echo", "/").through_proxy();
        let reply = tokio::time::timeout(Duration::from_millis(500), request.send(self.through()))
            .await
            .context("no answer in 500 ms")??;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        Ok(reply)
    }

    /// How long it takes after a death until answers come without a failure between them.
    async fn recovers(&self, what: &str, pid: u32) -> Result<Duration> {
        self.ask().await.context("before anything was killed")?;
        let killed = Instant::now();
        kill(pid, Signal::SIGKILL)?;
        let (mut row, mut since, mut failures, mut last) = (0, killed, 0, None);
        while row < ANSWERS {
            let asked = Instant::now();
            match self.ask().await {
                Ok(_) if row == 0 => (row, since) = (1, asked),
                Ok(_) => row += 1,
                Err(error) => (row, failures, last) = (0, failures + 1, Some(error)),
            }
            ensure!(
                killed.elapsed() < Duration::from_secs(20),
                "{what}: no recovery: {last:?}\n{}",
                self.mesh.output()
            );
            tokio::time::sleep(Duration::from_millis(4)).await; // the pace of asking
        }
        let took = since - killed;
        eprintln!("{what}: answers again {took:?} after its death, {failures} requests failed ({last:?})");
        Ok(took)
    }

    /// From sidecar to sidecar.
    fn load(&self) -> Load {
        Load::start(&Plan {
            address: self.through(),
            host: "echo".into(),
            target: "http://echo/".into(),
            rate: 200,
            connections: 8,
        })
    }

    /// Through the ingress and four services.
    fn page_load(&self) -> Result<Load> {
        let address = self.mesh.ingress()?;
        Ok(Load::start(&Plan {
            address,
            host: address.to_string(),
            target: "/productpage".into(),
            rate: 50,
            connections: 5,
        }))
    }

    fn proxies(&self) -> Result<Vec<u32>> {
        self.mesh.pods()?.iter().map(|pod| proxy(&self.mesh, pod)).collect()
    }

    async fn answered(&self, load: &Load, more: u64) -> Result<()> {
        let before = load.tally().ok;
        eventually("the load goes on", Duration::from_secs(10), async || {
            ensure!(
                load.tally().ok >= before + more,
                "{} answers since",
                load.tally().ok - before
            );
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_recovers_from_the_death_of_proxies_and_agents() -> Result<()> {
    let world = World::start().await?;
    type Find = fn(&Mesh, &Pod) -> Result<u32>;
    let victims: [(&str, Find, &Pod); 4] = [
        ("the server's proxy", proxy, &world.server),
        ("the client's proxy", proxy, &world.client),
        ("the server's agent", agent, &world.server),
        ("the client's agent", agent, &world.client),
    ];
    for (what, find, pod) in victims {
        let pid = find(&world.mesh, pod)?;
        let took = world.recovers(what, pid).await?;
        ensure!(took <= RECOVERY, "{what}: traffic recovered after {took:?} only");
        replaced(what, pid, || find(&world.mesh, pod)).await?;
        eventually("the pod is ready again", Duration::from_secs(10), async || {
            ensure!(
                world.mesh.pods()?.iter().all(|pod| pod.ready),
                "{:?}",
                world.mesh.pods()?
            );
            Ok(())
        })
        .await?;
    }
    sync::in_sync(&world.mesh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_does_not_stop_while_the_control_plane_is_dead() -> Result<()> {
    let world = World::start().await?;
    let (load, pages) = (world.load(), world.page_load()?);
    world.answered(&load, 50).await?;
    let proxies = world.proxies()?;

    let pilot = component(&world.mesh, "pilot-discovery")?;
    kill(pilot, Signal::SIGKILL)?;
    let pilot = replaced("pilot-discovery", pilot, || component(&world.mesh, "pilot-discovery")).await?;
    sync::in_sync(&world.mesh)
        .await
        .context("after the return of pilot-discovery")?;
    sync::after_change(&world.mesh, || world.directory.write("route.yaml", &route([0, 100]))).await?;
    let reply = world.ask().await?;
    ensure!(
        reply.header("x-version") == Some("v2"),
        "a change after its return has no effect: {reply:?}"
    );

    let citadel = component(&world.mesh, "istio_ca")?;
    kill(citadel, Signal::SIGKILL)?;
    replaced("istio_ca", citadel, || component(&world.mesh, "istio_ca")).await?;
    a_new_certificate(&world)
        .await
        .context("after the return of istio_ca")?;

    world.answered(&load, 50).await?;
    for (what, load) in [("echo", load), ("productpage", pages)] {
        let tally = load.stop().await;
        eprintln!(
            "{what}: {} requests, slowest {:?}, {} failed",
            tally.sent, tally.slowest, tally.failed
        );
        ensure!(
            tally.failed == 0 && tally.ok > 20,
            "{what}: {} of {} failed: {:#?}",
            tally.failed,
            tally.sent,
            tally.failures
        );
    }
    ensure!(world.proxies()? == proxies, "a proxy was restarted");
    ensure!(
        component(&world.mesh, "pilot-discovery")? == pilot,
        "pilot-discovery was restarted once more"
    );
    Ok(())
}

/// A pod gets another certificate when it asks for one.
async fn a_new_certificate(world: &World) -> Result<()> {
    let before = world.mesh.serial(&world.client).await?;
    let status = SocketAddr::new(world.client.address, 15020);
    let reply = Request::get("status", "/rotate").method("POST").send(status).await?;
    ensure!(reply.status == 200, "/rotate: {reply:?}");
    eventually("another certificate", Duration::from_secs(15), async || {
        let now = world.mesh.serial(&world.client).await?;
        ensure!(now != before, "still {now}");
        Ok(())
    })
    .await
}
