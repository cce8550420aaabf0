//! rustls' cryptography, in our order: key exchange groups by the names that Envoy's configuration has for them, and cipher suites.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{NamedGroup, SupportedCipherSuite};

use super::Ciphers;

/// Which groups a configuration offers and accepts, most preferred first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<NamedGroup>);

/// None of these groups is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of the key exchange groups {} is supported; X25519MLKEM768, X25519, P-256 and P-384 are", .0.join(", "))]
pub struct UnknownGroups(pub Vec<String>);

/// Names as OpenSSL and BoringSSL spell them.
const NAMES: [(&str, NamedGroup); 6] = [
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("X25519", NamedGroup::X25519),
    ("P-256", NamedGroup::secp256r1),
    ("prime256v1", NamedGroup::secp256r1),
    ("P-384", NamedGroup::secp384r1),
    ("secp384r1", NamedGroup::secp384r1),
];

/// The hybrid post-quantum group first.
static DEFAULT: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(base()));
/// One for each choice that any configuration has made.
static CHOSEN: Mutex<Vec<Chosen>> = Mutex::new(Vec::new());

type Chosen = (Groups, Ciphers, Arc<CryptoProvider>);

// === impl Groups ===

impl Groups {
    /// The groups of this list that are supported, in its order; an empty list asks for the default. `X25519:P-256` is two.
    ///
    /// # Errors
    /// The list, if none of it is supported.
    pub fn named<S: AsRef<str>>(list: &[S]) -> Result<Self, UnknownGroups> {
        let names: Vec<&str> = list.iter().flat_map(|names| names.as_ref().split(':')).collect();
        let mut groups: Vec<NamedGroup> = Vec::new();
        for name in &names {
            let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            groups.extend(known.map(|(_, group)| *group).filter(|group| !groups.contains(group)));
        }
        if groups.is_empty() && !names.is_empty() {
            return Err(UnknownGroups(names.into_iter().map(str::to_owned).collect()));
        }
        Ok(Groups(groups))
    }

    /// rustls' cryptography with these groups.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        provider(self, &Ciphers::default())
    }

    fn choose(&self, provider: &mut CryptoProvider) {
        if self.0.is_empty() {
            return;
        }
        let all = std::mem::take(&mut provider.kx_groups);
        let find = |wanted: &NamedGroup| all.iter().copied().find(|group| group.name() == *wanted);
        provider.kx_groups = self.0.iter().filter_map(find).collect();
    }
}

/// rustls' cryptography with these groups and suites; one for each choice per process.
pub(super) fn provider(groups: &Groups, ciphers: &Ciphers) -> Arc<CryptoProvider> {
    if groups.0.is_empty() && *ciphers == Ciphers::default() {
        return DEFAULT.clone();
    }
    let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = chosen.iter().find(|(g, c, _)| g == groups && c == ciphers);
    if let Some((_, _, provider)) = known {
        return provider.clone();
    }
    let mut provider = base();
    groups.choose(&mut provider);
    ciphers.choose(&mut provider.cipher_suites);
    let provider = Arc::new(provider);
    chosen.push((groups.clone(), ciphers.clone(), provider.clone()));
    provider
}

/// AES-128 first: as good as AES-256 against everything known, a tenth of a handshake cheaper (its hash is the one that processors
/// have instructions for), and the first choice of the other data plane as well.
fn base() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_first = |suite: &SupportedCipherSuite| {
        let name = suite.suite().as_str().unwrap_or_default();
        name.contains("AES_128_GCM")
    };
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite)); // stable
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_envoy_reads_them() {
        let names = |list: &[&str]| {
            let groups = Groups::named(list).map_err(|error| error.to_string())?;
            Ok::<_, String>(
                groups
                    .provider()
                    .kx_groups
                    .iter()
                    .map(|group| group.name())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(&[]).unwrap()[0], NamedGroup::X25519MLKEM768);
        assert_eq!(names(&["X25519"]), Ok(vec![NamedGroup::X25519]));
        let two = vec![NamedGroup::secp256r1, NamedGroup::X25519];
        assert_eq!(names(&["P-256:X25519", "P-521", "P-256"]), Ok(two));
        assert!(names(&["P-521"]).unwrap_err().contains("P-521"));
    }

    #[test]
    fn the_cheapest_suite_is_first_and_none_is_lost() {
        let suites = Groups::default().provider().cipher_suites.clone();
        assert_eq!(suites[0].suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(suites.len(), aws_lc_rs::DEFAULT_CIPHER_SUITES.len());
    }

    #[test]
    fn equal_choices_share_their_cryptography() {
        let groups = || Groups::named(&["P-384"]).unwrap().provider();
        assert!(Arc::ptr_eq(&groups(), &groups()));
    }
}
