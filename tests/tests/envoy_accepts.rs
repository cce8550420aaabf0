//! What the control plane makes is what a real Envoy accepts, and it makes the same from the same content, however that is written.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesh_tests::directory::{tasks, yaml_files};
use mesh_tests::stats::{Stats, all_accepted};
use mesh_tests::sync::{Given, after_change, after_move, in_sync};
use mesh_tests::{DataPlane, Directory, Mesh};

const FAMILIES: [&str; 5] = ["CDS", "LDS", "RDS", "EDS", "SDS"];

async fn check(mesh: &Mesh) -> Result<()> {
    in_sync(mesh).await?;
    for pod in mesh.pods()? {
        let stats = Stats::parse(&mesh.admin(&pod, "/stats").await?);
        all_accepted(&stats, &FAMILIES).with_context(|| pod.name.clone())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_accepts_bookinfo_and_every_task() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let mesh = Mesh::up(directory.path(), DataPlane::Envoy, &[])?;
    check(&mesh).await.context("bookinfo")?;
    let tasks = tasks()?;
    ensure!(tasks.len() >= 7, "only {tasks:?}");
    for task in &tasks {
        after_change(&mesh, || directory.apply(task))
            .await
            .context(task.clone())?;
        check(&mesh).await.context(task.clone())?;
        after_change(&mesh, || directory.remove(task))
            .await
            .context(task.clone())?;
    }
    check(&mesh).await.context("bookinfo again")?;
    the_check_can_fail()
}

/// A refused update is seen, and so is a family without counters.
fn the_check_can_fail() -> Result<()> {
    let stats = |lines: &str| Stats::parse(lines);
    let good = "listener_manager.lds.update_rejected: 0\nlistener_manager.lds.update_success: 2\n";
    all_accepted(&stats(good), &["LDS"])?;
    for bad in [
        "",
        "listener_manager.lds.update_rejected: 0\nlistener_manager.lds.update_success: 0\n",
        &good.replace("rejected: 0", "rejected: 1"),
    ] {
        if all_accepted(&stats(bad), &["LDS"]).is_ok() {
            bail!("nothing was noticed in {bad:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_way_to_write_the_same_changes_nothing() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let mesh = Mesh::up(directory.path(), DataPlane::Native, &[])?;
    in_sync(&mesh).await?;
    for path in yaml_files(directory.path())? {
        rewrite(&mesh, &directory, &mesh_tests::directory::file_name(&path)).await?;
    }
    for task in tasks()? {
        after_change(&mesh, || directory.apply(&task))
            .await
            .context(task.clone())?;
        rewrite(&mesh, &directory, &task).await?;
        after_change(&mesh, || directory.remove(&task))
            .await
            .context(task.clone())?;
    }
    a_real_change_is_noticed(&mesh, &directory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_hears_nothing_of_another_way_to_write_the_same() -> Result<()> {
    let directory = Directory::bookinfo()?;
    let mesh = Mesh::up(directory.path(), DataPlane::Envoy, &[])?;
    after_change(&mesh, || directory.apply("reviews-90-10.yaml")).await?;
    let before = attempts(&mesh).await?;
    for file in ["reviews-90-10.yaml", "bookinfo.yaml"] {
        rewrite(&mesh, &directory, file).await?;
    }
    let after = attempts(&mesh).await?;
    ensure!(before == after, "updates before {before:?}, after {after:?}");
    a_real_change_is_noticed(&mesh, &directory).await?;
    ensure!(
        attempts(&mesh).await? != before,
        "a real change was not noticed by Envoy's own counters"
    );
    Ok(())
}

/// What each proxy has, once nothing follows any more: services that came with a change bring endpoints and local ports after them.
async fn settled(mesh: &Mesh) -> Result<Given> {
    let mut last = Given::now(mesh).await?;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = std::mem::replace(&mut last, Given::now(mesh).await?);
        if before.differences(&last).is_empty() {
            return Ok(last);
        }
    }
    bail!("the mesh does not come to rest")
}

/// Comments, white space and order, one after the other: no resource and no response is new.
async fn rewrite(mesh: &Mesh, directory: &Directory, file: &str) -> Result<()> {
    let original = directory.read(file)?;
    let edits = [
        ("comments", commented(&original)),
        ("white space", spaced(&original)),
        ("order", reordered(&original)),
        ("back again", original),
    ];
    let before = settled(mesh).await?;
    for (what, text) in edits {
        after_move(mesh, file, || directory.write(file, &text))
            .await
            .with_context(|| format!("{file}: {what}"))?;
        in_sync(mesh).await?;
        let differences = before.differences(&Given::now(mesh).await?);
        ensure!(differences.is_empty(), "{file}: {what} changed {differences:?}");
    }
    Ok(())
}

fn commented(text: &str) -> String {
    let line = |line: &str| {
        if line.trim_start().starts_with("name:") {
            format!("{line}  # a name\n")
        } else {
            format!("{line}\n")
        }
    };
    format!(
        "{}{}",
        "# A comment.\n".repeat(40),
        text.lines().map(line).collect::<String>()
    )
}

fn spaced(text: &str) -> String {
    let line = |line: &str| format!("\n{line}{}\n", if line.ends_with(':') { "   " } else { "" });
    text.lines().map(line).collect()
}

/// The documents from last to first, and further down, so that a single document moves too.
fn reordered(text: &str) -> String {
    let mut documents: Vec<&str> = text.split("\n---\n").collect();
    documents.reverse();
    format!("{}{}", "\n".repeat(80), documents.join("\n---\n"))
}

/// The proof that the comparison sees something.
async fn a_real_change_is_noticed(mesh: &Mesh, directory: &Directory) -> Result<()> {
    if directory.read("reviews-90-10.yaml").is_err() {
        after_change(mesh, || directory.apply("reviews-90-10.yaml")).await?;
    }
    let before = Given::now(mesh).await?;
    let text = directory
        .read("reviews-90-10.yaml")?
        .replace("weight: 90", "weight: 80")
        .replace("weight: 10", "weight: 20");
    after_change(mesh, || directory.write("reviews-90-10.yaml", &text)).await?;
    let differences = before.differences(&Given::now(mesh).await?);
    let changed = |kind: &str| differences.iter().any(|name| name.contains(kind));
    ensure!(
        changed("dynamic_route_configs") && changed(" rds"),
        "only {differences:?}"
    );
    ensure!(
        !changed("dynamic_active_clusters") && !changed("dynamic_endpoint_configs"),
        "a weight changed {differences:?}"
    );
    Ok(())
}

/// Envoy's own count of updates per pod.
async fn attempts(mesh: &Mesh) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for pod in mesh.pods()? {
        let stats = Stats::parse(&mesh.admin(&pod, "/stats").await?);
        let counted = |name: &str| {
            let discovered = ["cluster_manager.cds.", "listener_manager.lds."]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || name.contains(".rds.");
            discovered && name.ends_with(".update_success")
        };
        let counts: Vec<_> = stats
            .select(counted)
            .map(|(name, count)| (format!("{} {name}", pod.name), count))
            .collect();
        ensure!(counts.len() >= 3, "{}: {counts:?}", pod.name);
        all.extend(counts);
    }
    Ok(all)
}
