//! The committed budget: a small part of TOML, one line for each scenario, edited in place so that people's comments stay.

use std::fmt::Write as _;

use super::Cost;

/// How far above its budget a scenario may come, in percent, unless its line says otherwise.
const TOLERANCE: f64 = 2.0;
/// What is always let pass: two percent of next to nothing is nothing. The small parts and the codec's scenarios count exactly alike from run
/// to run, and from one clean build to another elsewhere; only what has an event loop in it differs, by some units in ten thousand.
const SLACK: Cost = Cost {
    instructions: 3.0,
    allocations: 0.05,
    bytes: 8.0,
};
/// Changes below this many percent are noise, not worth a line in a diff.
const NOISE: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) cost: Cost,
    /// Percent; `None`: the usual one.
    pub(super) tolerance: Option<f64>,
}

pub(super) struct Budget(Vec<Line>);

enum Line {
    /// A comment, or nothing.
    Other(String),
    Entry(String, Entry),
}

/// How a cost stands to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Within,
    /// So much better that the budget should say so.
    Better,
    Over,
}

impl Budget {
    /// # Errors
    /// The first line that is no entry, by its number.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let line = |(index, line): (usize, &str)| {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                return Ok(Line::Other(line.to_owned()));
            }
            entry(trimmed)
                .map(|(name, entry)| Line::Entry(name, entry))
                .ok_or_else(|| {
                    format!(
                        "line {}: not `\"NAME\" = {{ instructions = N, allocations = N, bytes = N }}`",
                        index + 1
                    )
                })
        };
        text.lines().enumerate().map(line).collect::<Result<_, _>>().map(Budget)
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry> {
        self.entries().find(|(known, _)| *known == name).map(|(_, entry)| entry)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(name, _)| name)
    }

    fn entries(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.0.iter().filter_map(|line| match line {
            Line::Entry(name, entry) => Some((name.as_str(), *entry)),
            Line::Other(_) => None,
        })
    }

    /// The cost becomes the budget, unless it is that already but for noise.
    pub(super) fn set(&mut self, name: &str, cost: &Cost) {
        for line in &mut self.0 {
            match line {
                Line::Entry(known, entry) if known == name => {
                    if entry.differs(cost) {
                        entry.cost = *cost;
                    }
                    return;
                }
                _ => {}
            }
        }
        let entry = Entry {
            cost: *cost,
            tolerance: None,
        };
        self.0.push(Line::Entry(name.to_owned(), entry));
    }

    /// Drops the lines of scenarios that are no more.
    pub(super) fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|line| match line {
            Line::Entry(name, _) => exists(name),
            Line::Other(_) => true,
        });
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.0 {
            let _ = match line {
                Line::Other(line) => writeln!(text, "{line}"),
                Line::Entry(name, entry) => writeln!(text, "{}", entry.text(name)),
            };
        }
        text
    }
}

fn entry(line: &str) -> Option<(String, Entry)> {
    let (name, rest) = line.strip_prefix('"')?.split_once('"')?;
    let fields = rest
        .trim()
        .strip_prefix('=')?
        .trim()
        .strip_prefix('{')?
        .strip_suffix('}')?;
    let mut values = [None; 4];
    for field in fields.split(',') {
        let (key, value) = field.split_once('=')?;
        let place = ["instructions", "allocations", "bytes", "tolerance"]
            .iter()
            .position(|known| *known == key.trim())?;
        values[place] = Some(value.trim().replace('_', "").parse::<f64>().ok()?);
    }
    let [instructions, allocations, bytes, tolerance] = values;
    let cost = Cost {
        instructions: instructions?,
        allocations: allocations?,
        bytes: bytes?,
    };
    Some((name.to_owned(), Entry { cost, tolerance }))
}

impl Entry {
    pub(super) fn standing(&self, cost: &Cost) -> Standing {
        let share = self.tolerance.unwrap_or(TOLERANCE) / 100.0;
        let pairs = pairs(&self.cost, cost);
        if pairs
            .iter()
            .any(|(budget, cost, slack)| cost - budget > (budget * share).max(*slack))
        {
            Standing::Over
        } else if pairs
            .iter()
            .any(|(budget, cost, slack)| budget - cost > (budget * share).max(*slack))
        {
            Standing::Better
        } else {
            Standing::Within
        }
    }

    fn differs(&self, cost: &Cost) -> bool {
        let noise = NOISE / 100.0;
        pairs(&self.cost, cost)
            .iter()
            .any(|(budget, cost, slack)| (cost - budget).abs() > (budget * noise).max(slack / 4.0))
    }

    fn text(&self, name: &str) -> String {
        let tolerance = self
            .tolerance
            .map_or(String::new(), |percent| format!(", tolerance = {percent}"));
        let Cost {
            instructions,
            allocations,
            bytes,
        } = self.cost;
        format!(
            "\"{name}\" = {{ instructions = {}, allocations = {}, bytes = {}{tolerance} }}",
            grouped(instructions),
            short(allocations),
            grouped(bytes)
        )
    }
}

fn pairs(budget: &Cost, cost: &Cost) -> [(f64, f64, f64); 3] {
    [
        (budget.instructions, cost.instructions, SLACK.instructions),
        (budget.allocations, cost.allocations, SLACK.allocations),
        (budget.bytes, cost.bytes, SLACK.bytes),
    ]
}

/// A whole number, with an underscore before every three digits.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = if number <= -0.5 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// At most two decimals, and none that are zero.
pub(super) fn short(number: f64) -> String {
    let text = format!("{:.2}", number + 0.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# What it may cost.\n\n\"a/b\" = { instructions = 12_345, allocations = 3.5, bytes = 400 }\n# noisy\n\
        \"c\" = { instructions = 7, allocations = 0, bytes = 0, tolerance = 5 }\n";

    fn cost(instructions: f64, allocations: f64, bytes: f64) -> Cost {
        Cost {
            instructions,
            allocations,
            bytes,
        }
    }

    #[test]
    fn what_is_read_is_written_again() {
        let mut budget = Budget::read(TEXT).unwrap();
        assert_eq!(budget.text(), TEXT);
        budget.set("a/b", &cost(12_350.0, 3.5, 400.0));
        assert_eq!(budget.text(), TEXT, "noise changes nothing");
        budget.set("c", &cost(1_000_000.0, 1.25, 64.0));
        budget.set("new", &cost(1.0, 0.0, 0.0));
        budget.keep(|name| name != "a/b");
        assert_eq!(
            budget.text(),
            "# What it may cost.\n\n# noisy\n\"c\" = { instructions = 1_000_000, allocations = 1.25, bytes = 64, tolerance = 5 }\n\
             \"new\" = { instructions = 1, allocations = 0, bytes = 0 }\n"
        );
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for wrong in [
            "a = 1",
            "\"a\" = { instructions = 1 }",
            "\"a\" = { instructions = x, allocations = 1, bytes = 1 }",
        ] {
            let error = Budget::read(&format!("# fine\n{wrong}\n")).err().expect(wrong);
            assert!(error.starts_with("line 2:"), "{error}");
        }
    }

    #[test]
    fn a_cost_stands_to_its_budget() {
        let entry = |tolerance| Entry {
            cost: cost(10_000.0, 10.0, 1000.0),
            tolerance,
        };
        let cases = [
            (None, cost(10_200.0, 10.0, 1000.0), Standing::Within),
            (None, cost(10_201.0, 10.0, 1000.0), Standing::Over),
            (Some(5.0), cost(10_201.0, 10.0, 1000.0), Standing::Within),
            (None, cost(9_799.0, 10.0, 1000.0), Standing::Better),
            (None, cost(9_000.0, 10.5, 1000.0), Standing::Over),
            (None, cost(10_000.0, 10.0, 1021.0), Standing::Over),
            (None, cost(10_000.0, 9.0, 1000.0), Standing::Better),
        ];
        for (tolerance, cost, expected) in cases {
            assert_eq!(entry(tolerance).standing(&cost), expected, "{cost:?}");
        }
    }

    #[test]
    fn numbers_are_for_people() {
        let whole = [
            (0.4, "0"),
            (999.0, "999"),
            (1000.0, "1_000"),
            (1_234_567.0, "1_234_567"),
            (-1500.0, "-1_500"),
            (-0.2, "0"),
        ];
        for (number, text) in whole {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [(0.0, "0"), (-0.001, "0"), (1.5, "1.5"), (20.0, "20"), (0.126, "0.13")] {
            assert_eq!(short(number), text);
        }
    }
}
