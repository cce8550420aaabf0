//! What a run leaves in the documentation: tables, a plot, and what they were measured on.
//!
//! Only what lies between two marks of `docs/performance.md` is replaced; what people wrote around it stays.

mod machine;
mod plot;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::options::Run;
use crate::results::{Results, aligned};
use crate::run::Bench;
use crate::targets;

const BEGIN: &str = "<!-- measured: written by `cargo xtask bench` -->";
const END: &str = "<!-- measured: end -->";
/// Figures beside each other: a title, and the figures that are its columns.
const TABLES: &[(&str, &[(&str, &str)])] = &[
    (
        "Memory at rest, and for each of 4,000 idle connections that have made one request",
        &[
            ("idle-mb", "at rest, MB"),
            ("connection-h1-kb", "HTTP/1.1, KB"),
            ("connection-mtls-kb", "HTTP/1.1 over mutual TLS, KB"),
            ("connection-h2-kb", "HTTP/2, KB"),
        ],
    ),
    (
        "N clusters with a mutual TLS context each, and N virtual hosts",
        &[
            ("clusters-0-rss-mb", "none: RSS, MB"),
            ("clusters-1000-rss-mb", "1,000: RSS, MB"),
            ("clusters-1000-ready-ms", "ready, ms"),
            ("clusters-1000-cpu-ms", "CPU, ms"),
            ("clusters-5000-rss-mb", "5,000: RSS, MB"),
            ("clusters-5000-ready-ms", "ready, ms"),
            ("clusters-5000-cpu-ms", "CPU, ms"),
        ],
    ),
    (
        "CPU time in the proxy when one endpoint changes",
        &[
            ("endpoint-update-1000-ms", "among 1,000 clusters, ms"),
            ("endpoint-update-5000-ms", "among 5,000 clusters, ms"),
        ],
    ),
];

/// Writes tables and plot where the documentation is.
pub fn write(bench: &Bench, results: &Results) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("a workspace")?
        .join("docs");
    let page = folder.join("performance.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{}: no `{BEGIN}`", page.display()))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{}: no `{END}`", page.display()))?;
    let measured = markdown(bench, results)?;
    fs::write(&page, format!("{before}{BEGIN}\n\n{measured}\n{END}{after}"))?;
    fs::write(folder.join("performance.svg"), plot::svg(results))?;
    eprintln!("written: {} and the plot beside it", page.display());
    Ok(())
}

/// Shows what earlier runs brought, or writes it into the documentation.
pub fn again(bench: &Bench, files: &[PathBuf], options: &Run) -> anyhow::Result<()> {
    let mut lines = String::new();
    for file in files {
        lines += &fs::read_to_string(file).with_context(|| file.display().to_string())?;
    }
    let results = Results::read(&lines);
    if options.write {
        return write(bench, &results);
    }
    for summary in results
        .summaries()
        .filter(|summary| options.wants_scenario(summary.scenario.name))
    {
        println!("{}", summary.text());
    }
    println!("{}", targets_text(&results));
    Ok(())
}

/// The targets as text for the terminal.
pub fn targets_text(results: &Results) -> String {
    aligned(&target_cells(results))
}

fn target_cells(results: &Results) -> Vec<Vec<String>> {
    let head = ["what", "measured", "at most", "that is", "held"]
        .map(str::to_owned)
        .to_vec();
    let rows = targets::checks(results).into_iter().map(|check| {
        vec![
            [check.scenario.as_str(), check.figure].join(" ").trim_end().to_owned(),
            format!("{:.2}", check.measured),
            format!("{:.2}", check.limit),
            check.basis.clone(),
            if check.held() { "yes" } else { "no" }.to_owned(),
        ]
    });
    std::iter::once(head).chain(rows).collect()
}

fn markdown(bench: &Bench, results: &Results) -> anyhow::Result<String> {
    let mut text = machine::describe(bench);
    text += "\n## Against the targets\n\n";
    text += &table(&target_cells(results));
    for (title, figures) in TABLES {
        let cells = figure_cells(results, figures);
        if cells.len() > 1 {
            write!(text, "\n## {title}\n\n{}", table(&cells))?;
        }
    }
    text += "\n## All loads\n";
    for summary in results.summaries() {
        let rounds = summary.rows.iter().map(|row| row.rounds).max().unwrap_or(0);
        let (name, what) = (summary.scenario.name, summary.scenario.what);
        write!(
            text,
            "\n### {name}\n\n{what}; medians of {rounds} rounds.\n\n{}",
            table(&summary.cells())
        )?;
    }
    Ok(text)
}

fn figure_cells(results: &Results, figures: &[(&str, &str)]) -> Vec<Vec<String>> {
    let mut proxies: Vec<&str> = Vec::new();
    for found in &results.figures {
        let shown = figures.iter().any(|(figure, _)| *figure == found.figure);
        if shown && !proxies.contains(&found.proxy.as_str()) {
            proxies.push(&found.proxy);
        }
    }
    let head = std::iter::once("proxy").chain(figures.iter().map(|(_, words)| *words));
    let mut cells = vec![head.map(str::to_owned).collect()];
    for proxy in proxies {
        let value = |figure| {
            results
                .figure(figure, proxy)
                .map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
        };
        let mut row = vec![proxy.to_owned()];
        row.extend(figures.iter().map(|(figure, _)| value(figure)));
        cells.push(row);
    }
    cells
}

fn table(cells: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        text += &format!("| {} |\n", row.join(" | "));
        if index == 0 {
            text += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    text
}
