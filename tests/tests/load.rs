//! Nothing is lost: weights that flip by the edit of a file, pods that are replaced, certificates that are renewed, all under load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::client::eventually;
use mesh_tests::load::{Load, Plan, Tally};
use mesh_tests::{DataPlane, Directory, Mesh, Request, sync};

const ECHO: &str = env!("CARGO_BIN_EXE_mesh-echo");
const FLIPS: u32 = 100;
/// So many before anything else happens, for comparison.
const QUIET_FLIPS: u32 = 20;
const RESTARTS: usize = 20;
const ROTATIONS: u32 = 10;
/// From the write of the file to the last answer by the old rule.
const EFFECT: Duration = Duration::from_millis(250);
/// Without an answer by the old rule for so long (hundreds of requests), the new one holds.
const SETTLED: Duration = Duration::from_millis(120);
/// Restarted in turn: servers with one pod each, a caller in the middle, and the one that the ingress calls. Not the ingress: its one address
/// belongs to one process at a time.
const RESTARTED: [&str; 5] = ["echo-v1", "echo-v2", "details-v1", "reviews-v2", "productpage-v1"];

struct World {
    mesh: Mesh,
    directory: Directory,
}

impl World {
    fn echo(&self) -> Result<Load> {
        let address = SocketAddr::new(self.mesh.pod("client")?.address, 15002);
        Ok(Load::start(&Plan {
            address,
            host: "echo".into(),
            target: "http://echo/".into(),
            rate: 2_000,
            connections: 40,
        }))
    }

    fn page(&self) -> Result<Load> {
        let address = self.mesh.ingress()?;
        Ok(Load::start(&Plan {
            address,
            host: address.to_string(),
            target: "/productpage".into(),
            rate: 200,
            connections: 20,
        }))
    }

    fn route_to(&self, version: &str) -> Result<()> {
        let (one, two) = if version == "v1" { (100, 0) } else { (0, 100) };
        self.directory.write(
            "route.yaml",
            &format!(
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
            ),
        )
    }

    /// Changes the rule and gives the time until the last answer by the old one.
    async fn flip(&self, load: &Load, from: &str, to: &str) -> Result<Duration> {
        self.route_to(to)?;
        let written = Instant::now();
        eventually(&format!("{to} alone answers"), Duration::from_secs(5), async || {
            let tally = load.tally();
            let (old, new) = (tally.last_seen.get(from).copied(), tally.last_seen.get(to).copied());
            let quiet = old.map_or(written.elapsed(), |old| old.elapsed().min(written.elapsed()));
            ensure!(quiet >= SETTLED, "{from} answered {quiet:?} ago");
            ensure!(new.is_some_and(|new| new > written), "{to} has not answered");
            Ok(old.map_or(Duration::ZERO, |old| old.saturating_duration_since(written)))
        })
        .await
    }

    async fn flips(&self, load: &Load, count: u32) -> Result<Vec<Duration>> {
        let mut effects = Vec::new();
        for n in 0..count {
            let (from, to) = if n % 2 == 0 { ("v1", "v2") } else { ("v2", "v1") };
            effects.push(self.flip(load, from, to).await.with_context(|| format!("flip {n}"))?);
        }
        Ok(effects)
    }

    async fn restarts(&self) -> Result<()> {
        for deployment in RESTARTED.iter().cycle().take(RESTARTS) {
            let before = self.mesh.pod(deployment)?.name;
            let words: Vec<std::ffi::OsString> = ["restart", deployment, "--state-dir"]
                .into_iter()
                .map(Into::into)
                .chain([self.mesh.state_dir().into()])
                .collect();
            let output = tokio::process::Command::new(mesh_tests::mesh::meltemi())
                .args(words)
                .output()
                .await?;
            ensure!(
                output.status.success(),
                "restart {deployment}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            ensure!(
                self.mesh.pod(deployment)?.name != before,
                "{deployment} has the same pod"
            );
        }
        Ok(())
    }

    async fn rotations(&self) -> Result<()> {
        for n in 0..ROTATIONS {
            let pod = self
                .mesh
                .pod(["client", "ratings-v1", "istio-ingressgateway", "reviews-v1"][n as usize % 4])?;
            let before = self.mesh.serial(&pod).await?;
            let status = SocketAddr::new(pod.address, 15020);
            let reply = Request::get("status", "/rotate").method("POST").send(status).await?;
            ensure!(reply.status == 200, "/rotate: {reply:?}");
            eventually("another certificate", Duration::from_secs(15), async || {
                ensure!(
                    self.mesh.serial(&pod).await? != before,
                    "{} still has {before}",
                    pod.name
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_everything_changes() -> Result<()> {
    let directory = Directory::bookinfo()?;
    directory.add_echo(ECHO)?;
    let world = World {
        mesh: Mesh::up(directory.path(), DataPlane::Native, &[])?,
        directory,
    };
    sync::after_change(&world.mesh, || world.route_to("v1")).await?;
    let (echo, page) = (world.echo()?, world.page()?);
    eventually("both loads are answered", Duration::from_secs(5), async || {
        ensure!(
            echo.tally().ok > 1000 && page.tally().ok > 100,
            "{} and {}",
            echo.tally().ok,
            page.tally().ok
        );
        Ok(())
    })
    .await?;
    let begun = Instant::now();
    let quiet = world.flips(&echo, QUIET_FLIPS).await?;
    let (effects, restarts, rotations) = tokio::join!(world.flips(&echo, FLIPS), world.restarts(), world.rotations());
    let took = begun.elapsed();
    let (echo, page) = (echo.stop().await, page.stop().await);
    let effects = effects?;
    restarts.context("restarts")?;
    rotations.context("rotations")?;
    report("flips", &quiet);
    report("flips while pods and certificates are replaced", &effects);
    none_failed("echo", &echo, 2_000, took)?;
    none_failed("productpage", &page, 200, took)?;
    let late = quiet.iter().chain(&effects).filter(|effect| **effect > EFFECT).count();
    ensure!(
        late == 0,
        "{late} flips took effect after more than {EFFECT:?}: {quiet:?} {effects:?}"
    );
    Ok(())
}

fn report(what: &str, effects: &[Duration]) {
    let mut sorted = effects.to_vec();
    sorted.sort();
    let at = |share: usize| {
        sorted
            .get(sorted.len() * share / 100)
            .or(sorted.last())
            .copied()
            .unwrap_or_default()
    };
    eprintln!(
        "{what}: {} took effect after {:?} (median), {:?} (95 %), {:?} at most",
        sorted.len(),
        at(50),
        at(95),
        at(100)
    );
}

fn none_failed(what: &str, tally: &Tally, rate: u64, took: Duration) -> Result<()> {
    eprintln!(
        "{what}: {} requests in {took:?}, {} failed, slowest {:?}, by version {:?}",
        tally.sent, tally.failed, tally.slowest, tally.versions
    );
    ensure!(
        tally.failed == 0,
        "{what}: {} of {} failed: {:#?}",
        tally.failed,
        tally.sent,
        tally.failures
    );
    // The load was really there: within a tenth of what was asked for.
    let due = rate * took.as_secs();
    ensure!(
        tally.ok * 10 >= due * 9,
        "{what}: only {} of {due} requests were sent",
        tally.ok
    );
    Ok(())
}
