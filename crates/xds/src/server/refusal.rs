//! Whom a refusal concerns.
//!
//! A NACK refuses a response, not a resource, and xDS has no field for the name. Envoy writes the names of refused clusters and
//! listeners into the error text; for everything else the response is cut in halves and tried again until one is left.

use std::sync::Arc;

/// A resource that the proxy did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The version refused; another one may be offered.
    pub version: u64,
    /// In the proxy's words.
    pub reason: Arc<str>,
}

/// The names of `offered` that stand in `text` as whole words. Names that could as well be a number or an everyday word (route
/// `80`) are never read out of a text.
pub(super) fn named_in(text: &str, offered: &[Arc<str>]) -> Vec<Arc<str>> {
    offered
        .iter()
        .filter(|name| is_telling(name) && has_word(text, name))
        .cloned()
        .collect()
}

fn is_telling(name: &str) -> bool {
    name.len() >= 8 || name.contains(['|', '_', ':'])
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let rest = &text[start + word.len()..];
        !before.is_some_and(is_name_char) && ends_name(rest)
    })
}

/// `:` and `.` belong to names, and end sentences as well: they continue a name only when more of it follows.
fn ends_name(rest: &str) -> bool {
    let mut chars = rest.chars();
    match chars.next() {
        None => true,
        Some('.' | ':') => !chars.next().is_some_and(is_name_char),
        Some(c) => !is_name_char(c),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '|' | '_' | '-' | '.' | '*' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_whole_words() {
        let offered: Vec<Arc<str>> = [
            "outbound|80||a.b",
            "outbound|80||a.b.c",
            "virtualInbound",
            "80",
            "10.0.0.1_80",
        ]
        .map(Arc::from)
        .to_vec();
        let cases: &[(&str, &[&str])] = &[
            (
                "Error adding/updating cluster(s) outbound|80||a.b: bad",
                &["outbound|80||a.b"],
            ),
            ("outbound|80||a.b.c: bad", &["outbound|80||a.b.c"]),
            (
                "listener(s) virtualInbound: x, 10.0.0.1_80: y",
                &["virtualInbound", "10.0.0.1_80"],
            ),
            ("port 80 is bad", &[]),
            ("Proto constraint validation failed", &[]),
        ];
        for (text, expected) in cases {
            let found = named_in(text, &offered);
            let found: Vec<&str> = found.iter().map(|n| &**n).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }
}
