//! Several certificates of one server: which of them a client is shown.
//!
//! The choice is Envoy's. Those with the name that the client asks for come first (the name itself, then the wildcard one label
//! up); a name that no certificate has leaves the first. Among those that are left one with an ECDSA key is for clients that can
//! check it, the first with another key for the rest, and where nothing suits it is the first all the same: the handshake then
//! fails and says why.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;
use crate::San;

/// At least one certificate.
#[derive(Debug)]
pub(super) struct Several {
    keys: Vec<(Arc<CertifiedKey>, bool)>,
    /// Places in `keys`, by name; `.example.com` stands for `*.example.com`.
    names: HashMap<String, Vec<usize>>,
}

impl Several {
    /// `None` if there is no certificate at all.
    pub(super) fn new(identities: &[Identity]) -> Option<Self> {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, identity) in identities.iter().enumerate() {
            for san in identity.certificate().sans() {
                if let San::Dns(name) = san {
                    let name = name.strip_prefix('*').unwrap_or(&name).to_ascii_lowercase();
                    names.entry(name).or_default().push(place);
                }
            }
        }
        let keys: Vec<_> = identities
            .iter()
            .map(|identity| {
                let key = identity.certified_key();
                let is_ecdsa = key.key.algorithm() == SignatureAlgorithm::ECDSA;
                (key, is_ecdsa)
            })
            .collect();
        (!keys.is_empty()).then_some(Several { keys, names })
    }

    /// The place of the certificate for a client that asks for `name` and can or cannot check ECDSA.
    fn choose(&self, name: Option<&str>, ecdsa: bool) -> usize {
        let Some(name) = name else {
            return self.suited(0..self.keys.len(), ecdsa).unwrap_or(0);
        };
        let wildcard = name.find('.').map(|dot| &name[dot..]);
        let named = [Some(name), wildcard].into_iter().flatten();
        named
            .filter_map(|name| self.names.get(name))
            .find_map(|places| self.suited(places.iter().copied(), ecdsa))
            .unwrap_or(0)
    }

    fn suited(&self, places: impl Iterator<Item = usize> + Clone, ecdsa: bool) -> Option<usize> {
        let with = |wanted: bool| places.clone().find(|place| self.keys[*place].1 == wanted);
        if ecdsa {
            with(true).or_else(|| with(false))
        } else {
            with(false)
        }
    }
}

impl ResolvesServerCert for Several {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ecdsa = hello.signature_schemes().iter().any(|scheme| is_ecdsa(*scheme));
        let (key, _) = &self.keys[self.choose(hello.server_name(), ecdsa)];
        Some(key.clone())
    }
}

fn is_ecdsa(scheme: rustls::SignatureScheme) -> bool {
    use rustls::SignatureScheme as S;
    matches!(
        scheme,
        S::ECDSA_NISTP256_SHA256 | S::ECDSA_NISTP384_SHA384 | S::ECDSA_NISTP521_SHA512
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_by_name_then_by_key() {
        let identity = |names: &[&str], algorithm: &'static rcgen::SignatureAlgorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
        };
        let (rsa, ecdsa) = (&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256);
        let several = Several::new(&[
            identity(&["a.test"], rsa),
            identity(&["a.test"], ecdsa),
            identity(&["*.wide.test"], ecdsa),
            identity(&["b.test"], rsa),
        ])
        .unwrap();
        let cases = [
            (None, true, 1),
            (None, false, 0),
            (Some("a.test"), true, 1),
            (Some("a.test"), false, 0),
            (Some("x.wide.test"), true, 2),
            (Some("x.wide.test"), false, 0),
            (Some("x.y.wide.test"), true, 0),
            (Some("b.test"), true, 3),
            (Some("other.test"), true, 0),
            (Some("plain"), true, 0),
        ];
        for (name, can, expected) in cases {
            assert_eq!(several.choose(name, can), expected, "{name:?} {can}");
        }
        assert!(Several::new(&[]).is_none());
    }
}
