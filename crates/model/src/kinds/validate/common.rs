//! Rules that several kinds share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Issues;
use crate::kinds::cipher::{self, Suite};
use crate::kinds::shape::Finding;
use crate::kinds::{StringMatch, TlsProtocol, WorkloadSelector};
use crate::mesh::Protocol;

pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|c| inner(*c))
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

pub(super) fn is_dns_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Cipher suites of TLS 1.2: unknown and repeated names are left out.
pub(super) fn cipher_suites(path: &str, list: &[String], issues: &mut Issues) {
    for (index, name) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if cipher::suite(name) == Suite::Unknown {
            let rule = format!("{name:?} is no cipher suite of TLS 1.2 that can be used: it is left out");
            issues.warn(path, rule, "write for example ECDHE-ECDSA-AES128-GCM-SHA256");
        } else if list[..index].contains(name) {
            issues.warn(path, format!("{name} is listed twice"), "remove one of the two");
        }
    }
}

/// Those that our own proxy does without.
pub(super) fn foreign_suites(path: &str, list: &[String]) -> Vec<Finding> {
    let foreign = list.iter().enumerate();
    let foreign = foreign.filter(|(_, name)| cipher::suite(name) == Suite::EnvoyOnly);
    let finding = |(index, _)| Finding::EnvoyOnly {
        path: format!("{path}[{index}]"),
        note: "our own proxy has neither CBC nor key exchange by RSA",
    };
    foreign.map(finding).collect()
}

/// Versions below 1.2 are not spoken by anybody who should be spoken to.
pub(super) fn tls_version(path: &str, version: TlsProtocol, issues: &mut Issues) {
    if matches!(version, TlsProtocol::Tls10 | TlsProtocol::Tls11) {
        issues.error(
            path,
            "TLS below 1.2 is refused: its ciphers are broken",
            "write TLSV1_2 or TLSV1_3, or leave it out",
        );
    }
}

/// Paths of TLS files, each with its field. Proxies get them as names of secrets, where `~` stands between two files.
pub(super) fn tls_files<'a>(path: &str, files: impl IntoIterator<Item = (&'a str, &'a String)>, issues: &mut Issues) {
    for (field, file) in files {
        if file.contains('~') {
            issues.error(
                format!("{path}.{field}"),
                format!("{file:?} cannot name a file: `~` parts two paths"),
                "give the whole path, in a folder without `~` in its name",
            );
        }
    }
}

/// A DNS name whose first label may be `*`, or `*` alone.
pub(super) fn is_wildcard_name(text: &str) -> bool {
    match text.strip_prefix('*') {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(is_dns_name),
        None => is_dns_name(text),
    }
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// A host as users write it in `hosts`: DNS name, wildcard or IP address.
pub(super) fn host(path: &str, text: &str, issues: &mut Issues) {
    if !is_wildcard_name(text) && !is_ip(text) {
        issues.error(
            path,
            format!("{text:?} is neither a DNS name (a leading \"*.\" is allowed) nor an IP address"),
            "write a name such as reviews, reviews.default.svc.cluster.local or *.example.com",
        );
    }
}

/// A port number that must be there.
pub(super) fn port(path: &str, number: u32, issues: &mut Issues) {
    if !(1..=65535).contains(&number) {
        issues.error(
            path,
            format!("{number} is no port number"),
            "write a number from 1 to 65535",
        );
    }
}

/// A port number where 0 means "not given".
pub(super) fn optional_port(path: &str, number: u32, issues: &mut Issues) {
    if number != 0 {
        port(path, number, issues);
    }
}

pub(super) fn percent(path: &str, value: f64, issues: &mut Issues) {
    if !(0.0..=100.0).contains(&value) {
        issues.error(
            path,
            format!("{value} is no percentage"),
            "write a number from 0 to 100",
        );
    }
}

/// A duration of whole milliseconds, at least one; proxies cannot keep finer time.
pub(super) fn duration(path: &str, value: Option<Duration>, issues: &mut Issues) {
    let Some(value) = value else { return };
    if value < Duration::from_millis(1) || !value.subsec_nanos().is_multiple_of(1_000_000) {
        issues.error(
            path,
            format!("{value:?} is not a whole number of milliseconds, at least one"),
            "write for example 10ms",
        );
    }
}

/// As [`duration`], where 0 switches something off.
pub(super) fn duration_or_zero(path: &str, value: Option<Duration>, issues: &mut Issues) {
    if value != Some(Duration::ZERO) {
        duration(path, value, issues);
    }
}

pub(super) fn export_to(list: &[String], issues: &mut Issues) {
    for (index, entry) in list.iter().enumerate() {
        if !matches!(entry.as_str(), "." | "*" | "~") && !is_dns_label(entry) {
            issues.error(
                format!("spec.exportTo[{index}]"),
                format!("{entry:?} is not a namespace"),
                "write a namespace, \".\" for the object's own, \"*\" for all or \"~\" for none",
            );
        }
    }
}

/// A text condition where an empty one would match everything.
pub(super) fn string_match(path: &str, condition: &StringMatch, issues: &mut Issues) {
    match condition {
        StringMatch::Present => {
            issues.error(
                path,
                "an empty condition matches everything",
                "give one of exact, prefix, regex, or leave it out",
            );
        }
        other => regex_of(path, other, issues),
    }
}

/// A condition on a header or query parameter, where `{}` asks for presence.
pub(super) fn presence_match(path: &str, condition: &StringMatch, issues: &mut Issues) {
    regex_of(path, condition, issues);
}

fn regex_of(path: &str, condition: &StringMatch, issues: &mut Issues) {
    if let StringMatch::Regex(text) = condition {
        regex(&format!("{path}.regex"), text, issues);
    }
}

pub(super) fn regex(path: &str, text: &str, issues: &mut Issues) {
    if let Err(error) = regex::Regex::new(text) {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim().to_owned();
        issues.error(
            path,
            format!("{text:?} is not a regular expression in RE2 syntax: {reason}"),
            "correct the expression",
        );
    }
}

/// The protocol of a port of an Istio kind.
pub(super) fn protocol(path: &str, text: &str, issues: &mut Issues) {
    if Protocol::parse(text).is_none() {
        issues.error(
            path,
            format!("{text:?} is not a protocol"),
            "write HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS, MYSQL or UDP",
        );
    }
}

pub(super) fn workload_selector(selector: Option<&WorkloadSelector>, issues: &mut Issues) {
    if let Some(selector) = selector {
        labels("spec.workloadSelector.labels", &selector.labels, issues);
    }
}

/// Labels that select: a wildcard selects nothing in Kubernetes, though it looks as if.
pub(super) fn labels(path: &str, labels: &BTreeMap<String, String>, issues: &mut Issues) {
    for (key, value) in labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            issues.error(
                format!("{path}.{key}"),
                format!("{key:?}: {value:?} is not a label: keys must not be empty, wildcards do not exist"),
                "write the label exactly as the pods carry it",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a-b", "a.b.c", "*.b", "*", "1.example.com", "a_b", "x."] {
            assert!(is_wildcard_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "*a", "a.*", "a b", "*.", &"a".repeat(64), "a/b"] {
            assert!(!is_wildcard_name(bad), "{bad}");
        }
    }

    #[test]
    fn durations_are_whole_milliseconds() {
        let broken = |value| {
            let mut issues = Issues::default();
            duration("x", Some(value), &mut issues);
            !issues.into_vec().is_empty()
        };
        assert!(!broken(Duration::from_millis(1)));
        assert!(!broken(Duration::from_secs(3)));
        assert!(broken(Duration::ZERO));
        assert!(broken(Duration::from_micros(1500)));
    }
}
