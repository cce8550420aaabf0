//! Subject alternative names: what a certificate says, and what a peer is expected to say.

use std::fmt;
use std::net::IpAddr;

use regex::Regex;

use crate::SpiffeId;

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum San {
    /// A URI, in the mesh a SPIFFE id.
    Uri(String),
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// What one of a peer's SANs has to look like. Compared with URIs, DNS names and the text of addresses.
#[derive(Clone, Debug)]
pub enum SanMatch {
    /// The whole name. A DNS name of the certificate may be a wildcard (`*.example.org`) for one label.
    Exact(String),
    /// Starts with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// Holds.
    Contains(String),
    /// A regular expression that matches the whole name; made by [`SanMatch::regex`].
    Regex(Regex),
}

/// A regular expression that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{pattern}` is not a usable regular expression for a subject alternative name: {reason}")]
pub struct SanMatchError {
    /// The expression as given.
    pub pattern: String,
    /// What the parser says.
    pub reason: String,
}

const REGEX_SIZE_LIMIT: usize = 256 * 1024;

// === impl San ===

impl San {
    /// Reads a name as the CA does: `spiffe:` makes a URI, an IP literal an address, everything else a DNS name.
    pub fn from_text(text: &str) -> Self {
        if text.starts_with("spiffe:") {
            return Self::Uri(text.to_owned());
        }
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Ip)
    }

    /// The name as text, without its kind.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(text) | Self::Dns(text) => f.write_str(text),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl From<&SpiffeId> for San {
    fn from(id: &SpiffeId) -> Self {
        Self::Uri(id.to_string())
    }
}

// === impl SanMatch ===

impl SanMatch {
    /// A regular expression over the whole name.
    pub fn regex(pattern: &str) -> Result<Self, SanMatchError> {
        regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
            .size_limit(REGEX_SIZE_LIMIT)
            .build()
            .map(Self::Regex)
            .map_err(|e| SanMatchError {
                pattern: pattern.to_owned(),
                reason: e.to_string(),
            })
    }

    /// Whether this name is as expected.
    pub fn matches(&self, san: &San) -> bool {
        match san {
            San::Uri(text) => self.matches_text(text),
            San::Dns(text) => self.matches_text(text) || self.matches_wildcard(text),
            San::Ip(address) => self.matches_text(&address.to_string()),
        }
    }

    fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    fn matches_wildcard(&self, presented: &str) -> bool {
        let (Self::Exact(expected), Some(parent)) = (self, presented.strip_prefix("*.")) else {
            return false;
        };
        expected
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
    }
}

impl fmt::Display for SanMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Contains(text) => write!(f, "*{text}*"),
            Self::Regex(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl PartialEq for SanMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Suffix(a), Self::Suffix(b))
            | (Self::Contains(a), Self::Contains(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Eq for SanMatch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_ca_reads_them() {
        assert_eq!(
            San::from_text("spiffe://td/ns/a/sa/b"),
            San::Uri("spiffe://td/ns/a/sa/b".into())
        );
        assert_eq!(San::from_text("10.0.0.1"), San::Ip("10.0.0.1".parse().unwrap()));
        assert_eq!(San::from_text("istio-citadel"), San::Dns("istio-citadel".into()));
    }

    #[test]
    fn matching() {
        let id = "spiffe://td/ns/a/sa/b";
        let regex = |p| SanMatch::regex(p).unwrap();
        for (matcher, name, expected) in [
            (SanMatch::Exact(id.into()), id, true),
            (SanMatch::Exact(id.into()), "spiffe://td/ns/a/sa/bb", false),
            (SanMatch::Prefix("spiffe://td/".into()), id, true),
            (SanMatch::Prefix("spiffe://other/".into()), id, false),
            (SanMatch::Suffix("/sa/b".into()), id, true),
            (SanMatch::Contains("/ns/a/".into()), id, true),
            (regex("spiffe://td/ns/[ab]/sa/.*"), id, true),
            (regex("ns/a"), id, false),
            (SanMatch::Exact("www.example.org".into()), "*.example.org", true),
            (SanMatch::Exact("a.b.example.org".into()), "*.example.org", false),
            (SanMatch::Exact("example.org".into()), "*.example.org", false),
            (SanMatch::Exact("10.0.0.1".into()), "10.0.0.1", true),
        ] {
            assert_eq!(
                matcher.matches(&San::from_text(name)),
                expected,
                "{matcher} against {name}"
            );
        }
    }

    #[test]
    fn a_broken_expression_is_named() {
        assert!(SanMatch::regex("(").unwrap_err().to_string().contains("`(`"));
    }
}
