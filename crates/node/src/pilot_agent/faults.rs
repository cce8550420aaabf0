//! Everything that is wrong with a configuration, collected.

use std::fmt;

/// Faults so far. Reading goes on after each, with the value missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Notes what is wrong with `source`, a flag or a variable.
    pub fn add(&mut self, source: &str, fault: impl fmt::Display) {
        self.0.push(format!("{source}: {fault}"));
    }

    /// The value, or nothing and one more fault.
    pub fn take<T, E: fmt::Display>(&mut self, source: &str, result: Result<T, E>) -> Option<T> {
        result.inspect_err(|error| self.add(source, error)).ok()
    }

    /// Reads `text` as a `T`.
    pub fn parse<T: std::str::FromStr>(&mut self, source: &str, text: &str, expected: &str) -> Option<T> {
        self.take(
            source,
            text.trim().parse().map_err(|_| format!("`{text}` is not {expected}")),
        )
    }

    /// Reads `text` as a duration.
    pub fn duration(&mut self, source: &str, text: &str) -> Option<std::time::Duration> {
        self.take(source, runtime::duration::parse(text))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}
