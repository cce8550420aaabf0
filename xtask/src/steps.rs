//! `cargo xtask test`: the steps, cheapest first.

use std::process::Command;
use std::time::Instant;

use crate::run::{self, Outcome, step, target};
use crate::{cost, tools};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    All,
    Quick,
}

pub fn test(extent: Extent) -> Outcome {
    let started = Instant::now();
    step("format", run::cargo().args(["fmt", "--all", "--check"]))?;
    step(
        "lints",
        run::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    // Beside the code stand tests that give a real Envoy what is generated; without this variable they would pass unseen.
    tools::packages(&tools::PACKAGES)?;
    let envoy = tools::envoy()?;
    step(
        "unit tests",
        run::cargo()
            .args([
                "test",
                "--workspace",
                "--exclude",
                "mesh-tests",
                "--all-features",
                "--quiet",
            ])
            .env("MELTEMI_ENVOY", envoy),
    )?;
    if extent == Extent::All {
        tools::install()?;
        let deny = tools::cargo_deny()?;
        step(
            "bans, licences, sources",
            Command::new(deny).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]),
        )?;
        cost::run(&[])?;
        step(
            "release build",
            run::cargo().args(["build", "--release", "-p", "meltemi", "-p", "meltemi-sidecar"]),
        )?;
        end_to_end()?;
    }
    eprintln!("\n=== all passed in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Whole meshes, one after the other: they use the same addresses.
fn end_to_end() -> Outcome {
    let (envoy, grpc) = (tools::envoy()?, tools::grpc()?);
    let mut command = run::cargo();
    command
        .args(["test", "-p", "mesh-tests", "--", "--test-threads=1"])
        .env("MELTEMI_BIN", target().join("release/meltemi"))
        .env("MELTEMI_SIDECAR_BIN", target().join("release/meltemi-sidecar"))
        .env("MELTEMI_ENVOY", envoy)
        .env("MELTEMI_GRPC_PYTHON", grpc);
    step("end to end", &mut command)
}
