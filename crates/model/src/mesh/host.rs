//! Host names as Istio compares them: exact, or with a leading `*`.

use std::fmt;
use std::sync::Arc;

/// A host name, lower case: a fully qualified name (`reviews.default.svc.cluster.local`), or a wildcard (`*`, `*.example.com`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    pub fn new(name: &str) -> Self {
        Host(name.to_ascii_lowercase().into())
    }

    /// Expands a short name (one without a dot) by the namespace of the object that holds it: `reviews` in `default` is
    /// `reviews.default.svc.cluster.local`. A name with a dot, and `*`, are complete already.
    pub fn resolve(name: &str, namespace: &str, domain: &str) -> Self {
        if name == "*" || name.contains('.') {
            return Host::new(name);
        }
        Host::new(&format!("{name}.{namespace}.svc.{domain}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether the two can name the same host: equal, or the part after a leading `*` of one is a suffix of the other.
    pub fn matches(&self, other: &Host) -> bool {
        match (self.0.strip_prefix('*'), other.0.strip_prefix('*')) {
            (None, None) => self == other,
            (Some(suffix), None) => other.0.ends_with(suffix),
            (None, Some(suffix)) => self.0.ends_with(suffix),
            (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        }
    }

    /// Whether every host that `other` can name is one of ours: the two are equal, or ours is a wildcard that is no narrower.
    pub fn covers(&self, other: &Host) -> bool {
        let suffix = self.0.strip_prefix('*');
        self == other || suffix.is_some_and(|suffix| other.0.strip_prefix('*').unwrap_or(&other.0).ends_with(suffix))
    }

    /// Sort key that puts the most specific host first: exact names, then longer wildcards, then alphabetically.
    pub fn specificity(&self) -> (bool, std::cmp::Reverse<usize>, &str) {
        (self.is_wildcard(), std::cmp::Reverse(self.0.len()), &self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for Host {
    fn from(name: &str) -> Self {
        Host::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_take_the_namespace_of_their_object() {
        let cases = [
            ("reviews", "reviews.bookinfo.svc.cluster.local"),
            ("reviews.other", "reviews.other"),
            ("*", "*"),
            ("*.example.com", "*.example.com"),
            ("Example.COM", "example.com"),
        ];
        for (name, expected) in cases {
            assert_eq!(Host::resolve(name, "bookinfo", "cluster.local").as_str(), expected);
        }
    }

    #[test]
    fn wildcards_match_by_suffix_both_ways() {
        let cases = [
            ("*", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("a.b", "*.b", true),
            ("*.b", "*.a.b", true),
            ("*.c", "*.a.b", false),
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(Host::new(a).matches(&Host::new(b)), expected, "{a} ~ {b}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_narrower() {
        let cases = [
            ("*", "a.b", true),
            ("*", "*.b", true),
            ("*.b", "a.b", true),
            ("*.b", "*.a.b", true),
            ("*.b", "*.b", true),
            ("*.a.b", "*.b", false),
            ("*.b", "*", false),
            ("a.b", "*.b", false),
            ("*.b", "b", false),
            ("a.b", "a.b", true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(Host::new(a).covers(&Host::new(b)), expected, "{a} covers {b}");
        }
    }

    #[test]
    fn most_specific_first() {
        let mut hosts = ["*", "*.com", "b.com", "*.a.com", "a.com"].map(Host::new);
        hosts.sort_by(|a, b| a.specificity().cmp(&b.specificity()));
        assert_eq!(
            hosts.map(|h| h.to_string()),
            ["a.com", "b.com", "*.a.com", "*.com", "*"]
        );
    }
}
