//! The shape of the house: which crate may use which, and how long a file may be.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows of the workspace. A crate uses only rows above its own (smaller numbers). `testkit`-like packages may use all.
const ROWS: &[(u8, &[&str])] = &[
    (1, &["runtime", "proto", "codec"]),
    (2, &["model"]),
    (3, &["xds", "translate", "policy", "pki", "store"]),
    (4, &["k8s"]),
    (
        5,
        &[
            "pilot", "galley", "mixer", "citadel", "injector", "node", "proxy", "bookinfo",
        ],
    ),
    (6, &["local", "cli", "console"]),
    (7, &["meltemi", "meltemi-sidecar"]),
];

/// Rows from which every package may be used: these are for tests and chores.
const OUTSIDE: &[&str] = &["fuzz", "mesh-bench", "mesh-tests", "xtask"];

/// What lives beside a workload never carries the control plane.
const SIDECAR: &[&str] = &["node", "proxy", "meltemi-sidecar"];
const CONTROL_PLANE: &[&str] = &[
    "translate",
    "store",
    "k8s",
    "pilot",
    "galley",
    "mixer",
    "citadel",
    "injector",
    "local",
    "cli",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace has a root")
}

/// Each member with the members it uses in its product (not in its tests).
fn members() -> HashMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output();
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.expect("cargo metadata runs").stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let uses = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().into_iter().flatten();
        let product = all.filter(|dependency| dependency["kind"].is_null());
        product
            .map(|dependency| text(&dependency["name"]))
            .filter(|name| names.contains(name))
            .collect()
    };
    packages
        .iter()
        .map(|package| (text(&package["name"]), uses(package)))
        .collect()
}

fn row(name: &str) -> Option<u8> {
    ROWS.iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(row, _)| *row)
}

#[test]
fn a_crate_uses_only_rows_above_its_own() {
    let mut faults = Vec::new();
    for (name, uses) in members() {
        if OUTSIDE.contains(&name.as_str()) {
            continue;
        }
        let Some(own) = row(&name) else {
            faults.push(format!(
                "{name} has no row: give it one in tests/layout.rs and in ARCHITECTURE.md"
            ));
            continue;
        };
        for used in uses {
            if row(&used).is_none_or(|used| used >= own) {
                faults.push(format!("{name} (row {own}) uses {used} (row {:?})", row(&used)));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_lives_beside_a_workload_carries_no_control_plane() {
    let members = members();
    for name in SIDECAR {
        let mut reached = vec![(*name).to_owned()];
        let mut at = 0;
        while let Some(next) = reached.get(at).cloned() {
            at += 1;
            for used in members.get(&next).into_iter().flatten() {
                assert!(
                    !CONTROL_PLANE.contains(&used.as_str()),
                    "{name} reaches {used} through {next}"
                );
                if !reached.contains(used) {
                    reached.push(used.clone());
                }
            }
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// Lines of a file before its inline tests.
fn length(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn files_stay_short_enough_to_hold_in_the_head() {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(root().join("crates"))
        .expect("crates")
        .filter_map(|entry| Some(entry.ok()?.path().join("src")))
    {
        sources(&folder, &mut found);
    }
    let mut lengths: Vec<(usize, PathBuf)> = found.into_iter().map(|path| (length(&path), path)).collect();
    lengths.sort();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize].0;
    assert!(at(0.5) <= 150, "the median file has {} lines", at(0.5));
    assert!(at(0.9) <= 400, "one file in ten has more than {} lines", at(0.9));
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > 600).collect();
    assert!(long.is_empty(), "split along their seams: {long:#?}");
}
