//! Medians of what was measured.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::measure::Sample;
use crate::scenario::{self, Protocol, Scenario, Unit};

/// All that a run brought.
#[derive(Default)]
pub struct Results {
    pub samples: Vec<Sample>,
    /// Figures that are not of a load: memory, times, costs of updates.
    pub figures: Vec<Figure>,
}

/// Takes what is measured, keeps it, and writes it down at once.
pub struct Recorder {
    pub results: Results,
    raw: Option<File>,
}

impl Recorder {
    pub fn new(raw: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| path.display().to_string())
        };
        Ok(Recorder {
            results: Results::default(),
            raw: raw.map(open).transpose()?,
        })
    }

    pub fn sample(&mut self, sample: Sample) -> anyhow::Result<()> {
        self.write(&sample)?;
        self.results.samples.push(sample);
        Ok(())
    }

    pub fn figure(&mut self, figure: &str, proxy: &str, value: f64) -> anyhow::Result<()> {
        eprintln!("{figure} {proxy}: {value:.2}");
        let figure = Figure {
            figure: figure.to_owned(),
            proxy: proxy.to_owned(),
            value,
        };
        self.write(&figure)?;
        self.results.figures.push(figure);
        Ok(())
    }

    fn write(&mut self, row: &impl Serialize) -> anyhow::Result<()> {
        if let Some(raw) = &mut self.raw {
            writeln!(raw, "{}", serde_json::to_string(row)?)?;
        }
        Ok(())
    }
}

/// One figure of one proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub figure: String,
    pub proxy: String,
    pub value: f64,
}

/// Several measurements of the same.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { least, median, most })
    }
}

/// One proxy in one scenario.
pub struct Row {
    pub proxy: &'static str,
    pub cpu: Spread,
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub system: f64,
    pub share: f64,
    pub foreign: f64,
    pub rig: f64,
    pub resident: f64,
    pub errors: u64,
    pub rounds: usize,
}

pub struct Summary {
    pub scenario: &'static Scenario,
    /// As the scenario lists them.
    pub rows: Vec<Row>,
}

impl Summary {
    pub fn of(scenario: &'static Scenario, results: &Results) -> Self {
        let row = |proxy: &'static str| {
            let samples = || {
                results
                    .samples
                    .iter()
                    .filter(move |sample| sample.scenario == scenario.name && sample.proxy == proxy)
            };
            let median = |value: fn(&Sample) -> f64| Spread::of(samples().map(value)).map(|spread| spread.median);
            Some(Row {
                proxy,
                cpu: Spread::of(samples().map(|sample| sample.cpu))?,
                rate: median(|sample| sample.rate)?,
                p50: median(|sample| sample.p50)?,
                p99: median(|sample| sample.p99)?,
                system: median(|sample| sample.system)?,
                share: median(|sample| sample.share)?,
                foreign: median(|sample| sample.foreign)?,
                rig: median(|sample| sample.rig)?,
                resident: median(|sample| sample.resident)?,
                errors: samples().map(|sample| sample.errors).sum(),
                rounds: samples().count(),
            })
        };
        let mut rows: Vec<Row> = scenario.peers.iter().filter_map(|peer| row(peer.name())).collect();
        rows.sort_by(|a, b| a.cpu.median.total_cmp(&b.cpu.median));
        Summary { scenario, rows }
    }

    pub fn row(&self, proxy: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.proxy == proxy)
    }

    pub fn cpu(&self, proxy: &str) -> Option<f64> {
        self.row(proxy).map(|row| row.cpu.median)
    }

    /// The table's head and its rows, cell by cell.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let unit = self.scenario.unit.word();
        let head = [
            "proxy".to_owned(),
            format!("CPU us/{unit} (least..most)"),
            "x envoy".into(),
            "x haproxy".into(),
            "x floor".into(),
            "per s".into(),
            "p50 us".into(),
            "p99 us".into(),
            "kernel".into(),
            "its core".into(),
            "rig's core".into(),
            "foreign".into(),
            "RSS MB".into(),
            "errors".into(),
        ];
        // Nothing written by hand speaks HTTP/2 here.
        let floor = match (self.scenario.protocol, self.scenario.unit) {
            (Protocol::Http2, _) => None,
            (_, Unit::Megabyte) => self.cpu("relay-splice"),
            _ => self.cpu("floor").or_else(|| self.cpu("relay")),
        };
        let ratio = |row: &Row, to: Option<f64>| match to {
            Some(to) if row.proxy != "direct" => format!("{:.2}", row.cpu.median / to),
            _ => "-".into(),
        };
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        let mut table = vec![head.to_vec()];
        for row in &self.rows {
            table.push(vec![
                row.proxy.into(),
                format!("{:.2} ({:.2}..{:.2})", row.cpu.median, row.cpu.least, row.cpu.most),
                ratio(row, self.cpu("envoy")),
                ratio(row, self.cpu("haproxy")),
                ratio(row, floor),
                format!("{:.0}", row.rate),
                format!("{:.0}", row.p50),
                format!("{:.0}", row.p99),
                percent(row.system),
                percent(row.share),
                percent(row.rig),
                percent(row.foreign),
                format!("{:.1}", row.resident),
                row.errors.to_string(),
            ]);
        }
        table
    }

    pub fn text(&self) -> String {
        let rounds = self.rows.iter().map(|row| row.rounds).max().unwrap_or(0);
        format!(
            "{}: {} ({rounds} rounds)\n{}",
            self.scenario.name,
            self.scenario.what,
            aligned(&self.cells())
        )
    }
}

/// Columns padded to their widest cell.
pub fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        table
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in table {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push('\n');
    }
    text
}

impl Results {
    pub fn summaries(&self) -> impl Iterator<Item = Summary> {
        let all = scenario::ALL.iter().map(|scenario| Summary::of(scenario, self));
        all.filter(|summary| !summary.rows.is_empty())
    }

    /// The median of a figure.
    pub fn figure(&self, figure: &str, proxy: &str) -> Option<f64> {
        let found = self
            .figures
            .iter()
            .filter(|found| found.figure == figure && found.proxy == proxy);
        Spread::of(found.map(|found| found.value)).map(|spread| spread.median)
    }

    pub fn json(&self) -> anyhow::Result<String> {
        let rows: Vec<serde_json::Value> = self
            .summaries()
            .flat_map(|summary| {
                let name = summary.scenario.name;
                let rows = summary.rows.into_iter();
                rows.map(move |row| {
                    serde_json::json!({
                        "scenario": name, "proxy": row.proxy, "rounds": row.rounds,
                        "cpu_us": { "median": row.cpu.median, "least": row.cpu.least, "most": row.cpu.most },
                        "rate": row.rate, "p50_us": row.p50, "p99_us": row.p99, "kernel": row.system,
                        "foreign": row.foreign, "rss_mb": row.resident, "errors": row.errors,
                    })
                })
            })
            .collect();
        Ok(serde_json::to_string_pretty(
            &serde_json::json!({ "loads": rows, "figures": self.figures }),
        )?)
    }

    /// Reads the lines of an earlier run.
    pub fn read(text: &str) -> Self {
        let mut results = Results::default();
        for line in text.lines() {
            if let Ok(sample) = serde_json::from_str::<Sample>(line) {
                results.samples.push(sample);
            } else if let Ok(figure) = serde_json::from_str::<Figure>(line) {
                results.figures.push(figure);
            }
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).unwrap();
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0].into_iter()).unwrap().median, 2.5);
        assert!(Spread::of(std::iter::empty()).is_none());
    }
}
