//! Resident memory of an idle bookinfo, before and after every proxy has dumped its configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::bookinfo::pages;
use mesh_tests::client::eventually;
use mesh_tests::processes::{MEMORY_BUDGETS, resident, role};
use mesh_tests::{DataPlane, Directory, Mesh, sync};

/// The largest process of each component.
fn measure(mesh: &Mesh) -> Result<BTreeMap<String, f64>> {
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    for pid in mesh.processes()? {
        if let (Some(role), Some(megabytes)) = (role(pid), resident(pid)) {
            let entry = largest.entry(role).or_default();
            *entry = entry.max(megabytes);
        }
    }
    Ok(largest)
}

/// Memory and code that a burst of work needed are given back a few seconds after it.
async fn within_budget(mesh: &Mesh, when: &str) -> Result<()> {
    let what = format!("memory {when}");
    let checked = eventually(&what, Duration::from_secs(20), async || {
        let largest = measure(mesh)?;
        for (component, budget) in MEMORY_BUDGETS {
            let megabytes = largest.get(component).with_context(|| format!("no {component} runs"))?;
            ensure!(
                *megabytes <= budget,
                "{component} occupies {megabytes:.1} MB of {budget}: {largest:.1?}"
            );
        }
        Ok(largest)
    });
    let largest = checked.await?;
    eprintln!("{when}: {largest:.1?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_mesh_is_small() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    sync::in_sync(&mesh).await?;
    within_budget(&mesh, "idle").await?;
    pages(mesh.ingress()?, 50).await?;
    within_budget(&mesh, "idle after 50 pages").await?;
    for pod in mesh.pods()? {
        let dump: serde_json::Value = serde_json::from_str(&mesh.admin(&pod, "/config_dump").await?)?;
        let sections = dump["configs"].as_array().map_or(0, Vec::len);
        ensure!(sections >= 4, "{}: a dump of {sections} sections", pod.name);
    }
    within_budget(&mesh, "after a dump of every configuration").await
}
