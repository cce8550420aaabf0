//! `cargo xtask bench`: what the bench needs is installed and built, then the bench runs (package `mesh-bench`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Outcome, step, target};
use crate::tools;

/// Debian packages, each with a command that succeeds where it is there.
const PACKAGES: [(&str, &[&str]); 3] = [
    ("haproxy", &["haproxy", "-v"]),
    ("nginx-light", &["nginx", "-v"]),
    ("util-linux", &["taskset", "--version"]),
];
/// Only profiles and counts of system calls need these.
const PERF: [(&str, &[&str]); 1] = [("linux-perf", &["perf", "--version"])];

/// Where Debian puts nginx's module for bytes.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub fn bench(arguments: &[&str]) -> Outcome {
    let only_help = arguments.iter().any(|word| matches!(*word, "--help" | "-h"));
    let mut command = Command::new(target().join("release/mesh-bench"));
    if !only_help {
        tools::packages(&PACKAGES)?;
        if arguments.iter().any(|word| matches!(*word, "profile" | "syscalls")) {
            tools::packages(&PERF)?;
        }
        command.arg("--envoy").arg(tools::envoy()?);
        command.arg("--nginx-stream").arg(stream_module()?);
    }
    build(only_help || arguments.iter().any(|word| word.starts_with("--binary")))?;
    let status = command
        .args(arguments)
        .current_dir(run::root())
        .status()
        .map_err(|e| format!("mesh-bench: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("mesh-bench: {status}"))
    }
}

/// The rig and the small peers, and our proxy unless nothing or another one is measured.
fn build(without_proxy: bool) -> Outcome {
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "-p", "mesh-bench"]);
    if !without_proxy {
        cargo.args(["-p", "meltemi-sidecar"]);
    }
    step("build", &mut cargo)
}

/// nginx's stream module, which is a package of its own.
fn stream_module() -> Result<PathBuf, String> {
    if !Path::new(STREAM_MODULE).exists() {
        tools::install_packages(&["libnginx-mod-stream"])?;
    }
    Ok(STREAM_MODULE.into())
}
