//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, on the stable toolchain.
//!
//! Coverage is LLVM's own pass, which stable rustc can be asked for; sanitizers would need a nightly one, and find little in code without
//! `unsafe`.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{self, Outcome, output, root, step, target};

const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
const DEFAULT_SECONDS: u32 = 60;

/// `[TARGET] [--time SECONDS]`: one target, or each in turn; seconds are for each.
pub fn run(words: &[&str]) -> Outcome {
    let (names, seconds) = match words {
        [] => (targets()?, DEFAULT_SECONDS),
        ["--time", seconds] => (targets()?, parse(seconds)?),
        [name] => (vec![(*name).to_owned()], DEFAULT_SECONDS),
        [name, "--time", seconds] => (vec![(*name).to_owned()], parse(seconds)?),
        other => return Err(format!("no `{}`: [TARGET] [--time SECONDS]", other.join(" "))),
    };
    let program = build()?;
    let faults: Vec<String> = names
        .iter()
        .filter_map(|name| one(&program, name, seconds).err())
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn parse(seconds: &str) -> Result<u32, String> {
    seconds.parse().map_err(|_| format!("{seconds} are no seconds"))
}

/// Each target has a folder of examples: a test in `fuzz/` holds that.
fn targets() -> Result<Vec<String>, String> {
    let seeds = root().join("fuzz/seeds");
    let entries = std::fs::read_dir(&seeds).map_err(|e| format!("{}: {e}", seeds.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Apart from other builds, which have other flags.
fn folder() -> PathBuf {
    target().join("fuzz")
}

fn build() -> Result<PathBuf, String> {
    if !run::succeeds(&["c++", "--version"]) {
        return Err("libFuzzer is C++, and there is no compiler for it; as root: apt-get install g++".to_owned());
    }
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc -vV names no host")?;
    step(
        "fuzz targets",
        run::cargo()
            .args(["build", "--quiet", "-p", "fuzz", "--profile", "fuzz", "--target", host])
            .arg("--target-dir")
            .arg(folder())
            .env("RUSTFLAGS", COVERAGE.join(" ")),
    )?;
    Ok(folder().join(host).join("fuzz/fuzz"))
}

/// What it learns stays in the target folder, so that the next run goes on from there.
fn one(program: &PathBuf, name: &str, seconds: u32) -> Outcome {
    let corpus = folder().join("corpus").join(name);
    let findings = folder().join("findings");
    for folder in [&corpus, &findings] {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let seeds = root().join("fuzz/seeds").join(name);
    let former = root().join("fuzz/regressions").join(name);
    let artifacts = format!("-artifact_prefix={}/{name}-", findings.display());
    let time = format!("-max_total_time={seconds}");
    let mut command = Command::new(program);
    command
        .args([
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            &time,
            &artifacts,
        ])
        .arg(&corpus)
        .arg(&seeds)
        .env("FUZZ_TARGET", name);
    if former.exists() {
        command.arg(&former);
    }
    step(&format!("fuzz {name}"), &mut command).map_err(|error| {
        format!(
            "{error}\nthe input is in {}; repaired, it goes to fuzz/regressions/{name}/",
            findings.display()
        )
    })
}
