//! gRPC of another make than ours (Google's, from PyPI) through two sidecars with mutual TLS between them: every kind of call, and what
//! goes wrong with calls.
//!
//! The client dials its sidecar as an application does; what both say is in `tests/grpc`. `MELTEMI_GRPC_PYTHON` names a Python with the package
//! `grpcio`; without it, it is the one that `cargo xtask tools` installs.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::mesh::{grpc_python, root};
use mesh_tests::{DataPlane, Directory, Mesh};
use tokio::process::Command;

/// For all calls together.
const LIMIT: Duration = Duration::from_secs(90);
/// As many as the client has.
const CASES: usize = 23;

async fn interop(plane: DataPlane) -> Result<()> {
    let (python, programs) = (grpc_python(), root().join("tests/grpc"));
    let directory = Directory::echo(env!("CARGO_BIN_EXE_mesh-echo"))?;
    let mesh_file = std::fs::read_to_string(root().join("tests/meshes/grpc/apps.yaml"))?;
    let placed = mesh_file
        .replace("@PYTHON@", &python.to_string_lossy())
        .replace("@SERVER@", &programs.join("server.py").to_string_lossy());
    directory.write("grpc.yaml", &placed)?;
    let mesh = Mesh::up(directory.path(), plane, &[])?;
    let client = mesh.pod("client")?;
    let port = mesh.local_port("peer", "default", 7070)?;
    let calls = Command::new(&python)
        .arg(programs.join("client.py"))
        .arg(format!("{}:{port}", client.address))
        .arg("spiffe://cluster.local/ns/default/sa/client")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, calls)
        .await
        .context("the calls do not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAILED")).collect();
    ensure!(failed.is_empty(), "{plane:?}:\n  {}", failed.join("\n  "));
    let held = said.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(
        held == CASES,
        "{plane:?}: {held} of {CASES} cases; {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    eprintln!("{plane:?}: {held} cases");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_through_two_sidecars() -> Result<()> {
    interop(DataPlane::Native).await
}

/// The peer by which the cases are checked.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_through_two_envoys() -> Result<()> {
    interop(DataPlane::Envoy).await
}
