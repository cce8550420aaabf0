//! Cipher suites of TLS 1.2 by the names that Envoy's configuration has for them.
//!
//! A list limits TLS 1.2 alone: the suites of TLS 1.3 are always there, as in the other data plane. What is named and is not
//! here (CBC, key exchange by RSA) is left out, and told by name to whoever wrote it.

use rustls::{CipherSuite, SupportedCipherSuite};

/// Which suites of TLS 1.2 a configuration offers and accepts; the default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ciphers(Option<Vec<CipherSuite>>);

/// OpenSSL's name, the standard's, and the suite.
const NAMES: [(&str, &str, CipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

// === impl Ciphers ===

impl Ciphers {
    /// The suites of this list that are supported, in its order; an empty list asks for all. `[A|B]` are two of equal rank.
    pub fn named<S: AsRef<str>>(list: &[S]) -> Self {
        if list.is_empty() {
            return Ciphers(None);
        }
        let mut suites = Vec::new();
        let names = list.iter().flat_map(|names| names.as_ref().split([':', '|', '[', ']']));
        for name in names {
            let known = NAMES
                .iter()
                .find(|(short, standard, _)| *short == name || *standard == name);
            suites.extend(
                known
                    .map(|(_, _, suite)| *suite)
                    .filter(|suite| !suites.contains(suite)),
            );
        }
        Ciphers(Some(suites))
    }

    /// Whether none of TLS 1.2 is left.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }

    /// Leaves what was chosen, in its order, after the suites of TLS 1.3.
    pub(super) fn choose(&self, all: &mut Vec<SupportedCipherSuite>) {
        let Some(chosen) = &self.0 else { return };
        let rank = |suite: &SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls13(_) => Some(0),
            SupportedCipherSuite::Tls12(_) => chosen.iter().position(|one| *one == suite.suite()).map(|at| at + 1),
        };
        all.retain(|suite| rank(suite).is_some());
        all.sort_by_key(rank); // stable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::groups::{Groups, provider};

    #[test]
    fn lists_limit_tls_1_2_only() {
        let named = |list: &[&str]| {
            let suites = &provider(&Groups::default(), &Ciphers::named(list)).cipher_suites;
            let old = suites.iter().filter(|suite| suite.tls13().is_none());
            assert_eq!(suites.iter().filter(|suite| suite.tls13().is_some()).count(), 3);
            old.map(|suite| suite.suite().as_str().unwrap_or_default())
                .collect::<Vec<_>>()
        };
        assert_eq!(named(&[]).len(), 6);
        let aes = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        let chacha = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
        assert_eq!(named(&["ECDHE-RSA-AES256-GCM-SHA384"]), [aes]);
        assert_eq!(
            named(&["AES128-SHA", chacha, "ECDHE-RSA-AES256-GCM-SHA384"]),
            [chacha, aes]
        );
        assert_eq!(
            named(&["[ECDHE-RSA-AES256-GCM-SHA384|ECDHE-RSA-CHACHA20-POLY1305]"]),
            [aes, chacha]
        );
        assert_eq!(named(&["AES128-SHA"]), [""; 0]);
        assert!(Ciphers::named(&["AES128-SHA"]).is_empty() && !Ciphers::named::<&str>(&[]).is_empty());
    }
}
