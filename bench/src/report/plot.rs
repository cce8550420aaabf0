//! The plot: for each kind of traffic the CPU time of each proxy as a bar, least first.

use std::fmt::Write as _;

use crate::results::{Results, Summary};

/// What is shown, two panels side by side.
const SHOWN: &[&str] = &[
    "h1-plain",
    "h1-plain-5k",
    "h1-mtls-out",
    "h1-mtls-in",
    "h2-plain",
    "h2-mtls-out",
    "h2-mtls-in",
    "h1-1MiB-down",
    "tcp-rr",
    "tcp-cps",
    "mtls-rr-in",
    "mtls-cps-in",
];
/// Variants that would only repeat a bar.
const LEFT_OUT: &[&str] = &[
    "direct",
    "envoy-log",
    "meltemi-log",
    "meltemi-two-workers",
    "haproxy-splice",
];

const PANEL: f64 = 470.0;
const MARGIN: f64 = 20.0;
const LABEL: f64 = 92.0;
const VALUE: f64 = 56.0;
const BAR: f64 = 14.0;
const STEP: f64 = 19.0;
const HEAD: f64 = 34.0;

pub fn svg(results: &Results) -> String {
    let panels: Vec<Summary> = results
        .summaries()
        .filter(|summary| SHOWN.contains(&summary.scenario.name))
        .collect();
    let mut body = String::new();
    let mut top = MARGIN;
    for pair in panels.chunks(2) {
        let mut height: f64 = 0.0;
        for (column, summary) in pair.iter().enumerate() {
            let left = MARGIN + column as f64 * (PANEL + MARGIN);
            height = height.max(panel(&mut body, summary, left, top));
        }
        top += height + MARGIN;
    }
    let width = 2.0 * PANEL + 3.0 * MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {top}\" width=\"{width}\" height=\"{top}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>CPU time of proxies</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws one scenario; returns its height.
fn panel(body: &mut String, summary: &Summary, left: f64, top: f64) -> f64 {
    let rows: Vec<_> = summary
        .rows
        .iter()
        .filter(|row| !LEFT_OUT.contains(&row.proxy))
        .collect();
    let most = rows.iter().map(|row| row.cpu.median).fold(f64::MIN_POSITIVE, f64::max);
    let space = PANEL - LABEL - VALUE;
    let (what, unit) = (escaped(summary.scenario.what), summary.scenario.unit.word());
    line(
        body,
        left,
        top + 12.0,
        "start",
        "font-weight=\"600\" fill=\"#1f2933\"",
        &what,
    );
    line(
        body,
        left,
        top + 26.0,
        "start",
        "fill=\"#66727f\" font-size=\"10\"",
        &format!("CPU microseconds for each {unit}"),
    );
    for (index, row) in rows.iter().enumerate() {
        let y = top + HEAD + index as f64 * STEP;
        let length = (row.cpu.median / most * space).max(1.0);
        let fill = match row.proxy {
            "meltemi" => "#d1495b",
            "floor" | "relay" | "relay-splice" => "#c3cbd3",
            _ => "#4f81a8",
        };
        let weight = if row.proxy == "meltemi" {
            "font-weight=\"600\" fill=\"#1f2933\""
        } else {
            "fill=\"#1f2933\""
        };
        let middle = y + BAR - 3.0;
        line(body, left + LABEL - 6.0, middle, "end", weight, row.proxy);
        let x = left + LABEL;
        let _ = writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{fill}\"/>"
        );
        let digits = usize::from(row.cpu.median < 100.0);
        line(
            body,
            x + length + 5.0,
            middle,
            "start",
            weight,
            &format!("{:.digits$}", row.cpu.median),
        );
    }
    HEAD + rows.len() as f64 * STEP
}

fn line(body: &mut String, x: f64, y: f64, anchor: &str, style: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{text}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
