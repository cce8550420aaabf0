//! Envoy, configured from a file with what a sidecar would get.

use std::path::Path;

use serde_json::{Value, json};

use super::{Start, text};
use crate::config::{self, Plane, Secrets, Source};
use crate::process::{PROXY_CORE, Process};
use crate::run::Bench;

pub fn command(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let secrets = Secrets::Files(start.certificates());
    let configuration = json!({ "static_resources": {
        "listeners": [config::listener(&start.hop, Plane::Envoy, secrets, Source::Inline)],
        "clusters": [config::cluster(&start.hop, secrets, Source::Inline)],
    } });
    words(start.bench, &start.folder, &configuration)
}

fn words(bench: &Bench, folder: &Path, configuration: &Value) -> anyhow::Result<Vec<String>> {
    let file = folder.join("envoy.json");
    std::fs::write(&file, serde_json::to_vec(configuration)?)?;
    let mut words = vec![text(&bench.envoy), "-c".into(), text(&file)];
    words.extend(["--concurrency", "1", "--disable-hot-restart", "-l", "error"].map(str::to_owned));
    Ok(words)
}

/// Starts one with a whole configuration.
pub fn start_with(bench: &Bench, folder: &Path, configuration: &Value) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder)?;
    Process::start(
        PROXY_CORE,
        &words(bench, folder, configuration)?,
        &folder.join("output"),
    )
}
