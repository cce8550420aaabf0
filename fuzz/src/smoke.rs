//! Runs a target on the stable toolchain, and keeps what made it fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::mutate;

/// The examples and former findings of a target, in the order of their file names.
pub fn examples(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = ["seeds", "regressions"]
        .into_iter()
        .filter_map(|kind| std::fs::read_dir(own_folder().join(kind).join(target.name)).ok())
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

fn own_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the examples, then mutations of them until there were `rounds` or `time` is over; says how many there were.
///
/// # Errors
/// The input that made the target panic, as text, and where it was kept.
pub fn run(target: &Target, rounds: u32, time: Duration) -> Result<u32, String> {
    let examples = examples(target);
    for example in &examples {
        attempt(target, example)?;
    }
    let mut random = fastrand::Rng::with_seed(0x6d65_6c74_656d_6921);
    let started = Instant::now();
    for round in 0..rounds {
        if started.elapsed() >= time {
            return Ok(round);
        }
        let input = mutate(pick(&examples, &mut random), pick(&examples, &mut random), &mut random);
        attempt(target, &input)?;
    }
    Ok(rounds)
}

fn pick<'a>(examples: &'a [Vec<u8>], random: &mut fastrand::Rng) -> &'a [u8] {
    if examples.is_empty() {
        return &[];
    }
    &examples[random.usize(0..examples.len())]
}

fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return Ok(());
    }
    let kept = std::env::temp_dir().join(format!("fuzz-{}-finding", target.name));
    let place = match std::fs::write(&kept, input) {
        Ok(()) => format!(
            "kept in {}; its place is fuzz/regressions/{}/",
            kept.display(),
            target.name
        ),
        Err(error) => format!("not kept: {error}"),
    };
    Err(format!("{}: b\"{}\" ({place})", target.name, input.escape_ascii()))
}
