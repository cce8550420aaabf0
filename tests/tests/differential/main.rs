//! The same questions through our proxy and through a real Envoy, with the same configuration from one pilot: the answers are as the
//! scenario says, and the same in all else.
//!
//! Scenarios are files: `tests/scenarios/GROUP/NAME.yaml`, explained in `tests/scenarios/README.md`. `MELTEMI_SCENARIO=text` runs those
//! with this in their file's name or their title.
//!
//! Beside them: what pilot makes of a thousand services (`large`), and both variants of xDS after the same changes (`dialects`).

mod answer;
mod ask;
mod authority;
mod backend;
mod backend1;
mod backend2;
mod capture;
mod check;
mod dialects;
mod foretold;
mod group;
mod hash;
mod http1;
mod instruction;
mod large;
mod objects;
mod pilots;
mod predict;
mod proxy;
mod run;
mod scenario;
mod seen;
mod small;
mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use mesh_tests::mesh::root;

use foretold::Judged;
use run::Verdict;
use world::World;

/// Files that run at the same time: most scenarios wait more than they work.
const AT_ONCE: usize = 12;

fn groups() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root().join("tests/scenarios"))?;
    let mut groups: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    groups.sort();
    Ok(groups)
}

/// `text`: all with it in their title; `file: text`: of one file.
struct Filter(Option<String>);

impl Filter {
    fn takes_file(&self, path: &std::path::Path) -> bool {
        let Some(wanted) = &self.0 else { return true };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let titles = text.lines().filter_map(|line| line.trim().strip_prefix("- title: "));
        titles
            .into_iter()
            .any(|title| format!("{name}: {title}").contains(wanted.as_str()))
    }

    fn takes(&self, file: &str, title: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|wanted| format!("{file}: {title}").contains(wanted.as_str()))
    }
}

async fn run_group(group: &std::path::Path, filter: &Filter) -> Result<Vec<Verdict>> {
    let begun = Instant::now();
    let wanted = |path: &std::path::Path| filter.takes_file(path);
    let Some(world) = World::start(group, &wanted).await? else {
        return Ok(Vec::new());
    };
    let started = begun.elapsed();
    let files = stream::iter(0..world.files.len()).map(|file| {
        let world = &world;
        async move {
            let mut ran = Vec::new();
            for (n, scenario) in world.files[file].scenarios.iter().enumerate() {
                if filter.takes(&world.files[file].name, &scenario.title) {
                    let one = run::run(world, file, n).await;
                    ran.push(one.with_context(|| format!("{}: {}", world.files[file].path.display(), scenario.title))?);
                }
            }
            anyhow::Ok(ran)
        }
    });
    let mut ran = Vec::new();
    for one in files.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        ran.extend(one?);
    }
    let asked = begun.elapsed() - started;
    world.all_accepted().await?;
    let refused = world::refused_objects(&world).await?;
    ensure!(
        refused.is_empty(),
        "pilot refuses what scenarios are about:\n{}",
        refused.join("\n")
    );
    let logs = run::logs(&world, &ran).await;
    ran.sort_by_key(|one| (one.file, one.scenario));
    let verdicts: Result<Vec<Verdict>> = ran.iter().map(|one| run::judge(&world, one, &logs)).collect();
    eprintln!(
        "{}: {} scenarios in {} files; started in {started:.1?}, asked in {asked:.1?}, judged after {:.1?}",
        group.display(),
        ran.len(),
        world.files.len(),
        begun.elapsed()
    );
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_data_planes_do_what_scenarios_say() -> Result<()> {
    assert!(
        seen::TOLERATED
            .iter()
            .all(|(what, why)| !what.is_empty() && !why.is_empty())
    );
    let filter = Filter(std::env::var("MELTEMI_SCENARIO").ok());
    let (mut count, mut failed, mut known) = (0, 0, 0);
    let mut features = BTreeSet::new();
    let mut foretold = Judged::default();
    for group in groups()? {
        for verdict in run_group(&group, &filter).await? {
            count += 1;
            features.extend(verdict.of.clone());
            if !verdict.foretold.faults.is_empty() {
                failed += 1;
                eprintln!("\n=== {}\n  {}", verdict.title, verdict.foretold.faults.join("\n  "));
            }
            foretold.add(verdict.foretold);
            match (&verdict.known, verdict.faults.is_empty()) {
                (None, true) => {}
                (Some(defect), false) => {
                    known += 1;
                    eprintln!("known: {}: {defect}", verdict.title);
                }
                (Some(defect), true) => {
                    failed += 1;
                    eprintln!("{}: holds, but is said to be a known defect: {defect}", verdict.title);
                }
                (None, false) => {
                    failed += 1;
                    eprintln!(
                        "\n=== {}\n  {}\n{}",
                        verdict.title,
                        verdict.faults.join("\n  "),
                        verdict.report
                    );
                }
            }
        }
    }
    eprintln!(
        "{count} scenarios of {} features, {failed} fail, {known} are known to fail",
        features.len()
    );
    eprintln!("{foretold}");
    ensure!(count > 0, "no scenario has this in its title");
    ensure!(failed == 0, "{failed} of {count} scenarios fail");
    Ok(())
}
