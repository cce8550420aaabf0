//! The identity of a workload: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
//!
//! Exactly this form is accepted, without a trailing slash; anything else is another kind of SPIFFE id, which the mesh
//! compares as text but never takes apart.

use std::fmt;
use std::str::FromStr;

/// Namespace and service account within a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// Why a text is not the SPIFFE id of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a workload identity: {rule}; the form is spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
)]
pub struct SpiffeIdError {
    /// The text that was read, shortened when very long.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

const SCHEME: &str = "spiffe://";
const MAX_LENGTH: usize = 2048;

// === impl SpiffeId ===

impl SpiffeId {
    /// Makes an identity of its parts. An `@` in the trust domain (mail-like project names) becomes a dot.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, SpiffeIdError> {
        let trust_domain = trust_domain.replace('@', ".");
        let id = Self {
            trust_domain,
            namespace: namespace.into(),
            service_account: service_account.into(),
        };
        let wrong = [
            (
                &id.trust_domain,
                "the trust domain is empty or has a character outside A-Z a-z 0-9 . - _",
            ),
            (
                &id.namespace,
                "the namespace is empty or has a character outside A-Z a-z 0-9 . - _",
            ),
            (
                &id.service_account,
                "the service account is empty or has a character outside A-Z a-z 0-9 . - _",
            ),
        ];
        if let Some((_, rule)) = wrong.into_iter().find(|(part, _)| !is_segment(part)) {
            return Err(SpiffeIdError {
                text: shortened(&id.to_string()),
                rule,
            });
        }
        Ok(id)
    }

    /// The trust domain, e.g. `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The form policies and attributes use: without `spiffe://`.
    pub fn principal(&self) -> String {
        self.to_string()[SCHEME.len()..].to_owned()
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        let wrong = |rule| SpiffeIdError {
            text: shortened(text),
            rule,
        };
        if text.len() > MAX_LENGTH {
            return Err(wrong("it is longer than 2048 bytes"));
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("it does not start with spiffe://"))?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [trust_domain, "ns", namespace, "sa", service_account] = parts[..] else {
            return Err(wrong("the path is not /ns/<namespace>/sa/<service account>"));
        };
        if trust_domain.contains('@') {
            return Err(wrong("the trust domain holds an @"));
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

fn is_segment(text: &str) -> bool {
    let dots_only = text.bytes().all(|b| b == b'.');
    !dots_only
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn shortened(text: &str) -> String {
    if text.len() <= 200 {
        text.to_owned()
    } else {
        text.chars().take(200).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let id = SpiffeId::new("cluster.local", "default", "bookinfo-reviews").unwrap();
        assert_eq!(id.to_string(), "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        assert_eq!(id.principal(), "cluster.local/ns/default/sa/bookinfo-reviews");
    }

    #[test]
    fn an_at_sign_in_a_trust_domain_becomes_a_dot() {
        assert_eq!(
            SpiffeId::new("me@example.org", "a", "b").unwrap().trust_domain(),
            "me.example.org"
        );
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "http://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/../sa/b",
            "spiffe://td/sa/b/ns/a",
            "spiffe://td/ns/a/sa/b?x=y",
            "spiffe://td/ns/a/sa/b%2f",
            "spiffe://t@d/ns/a/sa/b",
            "SPIFFE://td/ns/a/sa/b",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?} was accepted");
        }
    }
}
