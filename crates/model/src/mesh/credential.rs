//! Keys and certificates of Secrets: which there are and what each is good for, never a word of what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a Secret can be used as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// A certificate chain with its key (`tls.crt` and `tls.key`, or `cert` and `key`).
    pub identity: Fitness,
    /// The roots that peers are checked against (`ca.crt`, or `cacert`), with a revocation list where there is one.
    pub roots: Fitness,
}

/// Whether a part of a Secret can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fitness {
    /// The Secret has no such part.
    #[default]
    Missing,
    Usable,
    /// What is there now cannot be used, for this reason; what was there before is served on.
    Outdated(String),
    /// It cannot be used, for this reason, and never could.
    Broken(String),
}

/// All of them, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials(pub BTreeMap<Arc<str>, BTreeMap<Arc<str>, Credential>>);

/// The Secret that a `credentialName` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialName<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

/// How xDS names what comes from a Secret of Kubernetes.
const SCHEME: &str = "kubernetes://";
const GATEWAY_SCHEME: &str = "kubernetes-gateway://";
/// What the name of a Secret's roots ends with; also of a Secret that holds nothing but roots.
const ROOTS_SUFFIX: &str = "-cacert";

/// A part of a Secret, as xDS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretResource<'a> {
    pub credential: CredentialName<'a>,
    /// The roots rather than certificate and key.
    pub roots: bool,
}

/// Files of the proxy's own machine, as xDS names them: a secret that says which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileResource<'a> {
    /// A certificate chain and its key.
    Identity { chain: &'a str, key: &'a str },
    /// Roots, and a revocation list or `""`.
    Roots { roots: &'a str, revocations: &'a str },
}

const IDENTITY_FILES: &str = "file-cert:";
const ROOT_FILES: &str = "file-root:";
/// Stands between two paths; one that has it cannot be named.
const BETWEEN_FILES: char = '~';

impl<'a> FileResource<'a> {
    pub fn name(&self) -> String {
        match self {
            FileResource::Identity { chain, key } => format!("{IDENTITY_FILES}{chain}{BETWEEN_FILES}{key}"),
            FileResource::Roots { roots, revocations: "" } => format!("{ROOT_FILES}{roots}"),
            FileResource::Roots { roots, revocations } => format!("{ROOT_FILES}{roots}{BETWEEN_FILES}{revocations}"),
        }
    }

    /// Reads such a name; `None` for any other.
    pub fn parse(resource: &'a str) -> Option<Self> {
        if let Some(files) = resource.strip_prefix(IDENTITY_FILES) {
            let (chain, key) = files.split_once(BETWEEN_FILES)?;
            return Some(FileResource::Identity { chain, key });
        }
        let files = resource.strip_prefix(ROOT_FILES)?;
        let (roots, revocations) = files.split_once(BETWEEN_FILES).unwrap_or((files, ""));
        Some(FileResource::Roots { roots, revocations })
    }
}

impl<'a> CredentialName<'a> {
    /// Reads `name`, `kubernetes://name` or `kubernetes://namespace/name`; `own` is the namespace of who asks.
    pub fn parse(text: &'a str, own: &'a str) -> Self {
        let bare = [SCHEME, GATEWAY_SCHEME]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let path = bare.unwrap_or(text);
        let (namespace, name) = path.split_once('/').unwrap_or((own, path));
        CredentialName { namespace, name }
    }

    /// The resource with certificate and key, for a proxy of namespace `own`.
    pub fn identity_resource(&self, own: &str) -> String {
        self.resource(own, self.name, "")
    }

    /// The resource with the roots, for a proxy of namespace `own`.
    pub fn roots_resource(&self, own: &str) -> String {
        let name = self.name.strip_suffix(ROOTS_SUFFIX).unwrap_or(self.name);
        self.resource(own, name, ROOTS_SUFFIX)
    }

    fn resource(&self, own: &str, name: &str, suffix: &str) -> String {
        match self.namespace {
            namespace if namespace == own => format!("{SCHEME}{name}{suffix}"),
            namespace => format!("{GATEWAY_SCHEME}{namespace}/{name}{suffix}"),
        }
    }

    /// The Secrets in which the roots are sought, in order: one of their own, then that with the certificate.
    pub fn roots_secrets(&self) -> [String; 2] {
        let name = self.name.strip_suffix(ROOTS_SUFFIX).unwrap_or(self.name);
        [format!("{name}{ROOTS_SUFFIX}"), name.to_owned()]
    }
}

impl<'a> SecretResource<'a> {
    /// Reads the name of a resource; `None` for one that does not come from Kubernetes.
    pub fn parse(resource: &'a str, own: &'a str) -> Option<Self> {
        let known = resource.starts_with(SCHEME) || resource.starts_with(GATEWAY_SCHEME);
        let credential = CredentialName::parse(resource, own);
        let roots = credential.name.ends_with(ROOTS_SUFFIX);
        known.then_some(SecretResource { credential, roots })
    }
}

impl Credentials {
    /// Certificate and key of this Secret.
    pub fn identity(&self, wanted: CredentialName<'_>) -> Fitness {
        self.get(wanted.namespace, wanted.name)
            .map(|found| found.identity.clone())
            .unwrap_or_default()
    }

    /// Roots of this Secret, or of the one beside it that holds nothing else.
    pub fn roots(&self, wanted: CredentialName<'_>) -> Fitness {
        let [separate, same] = wanted
            .roots_secrets()
            .map(|name| self.get(wanted.namespace, &name).map(|found| found.roots.clone()));
        separate
            .filter(|roots| *roots != Fitness::Missing)
            .or(same)
            .unwrap_or_default()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Credential> {
        self.0.get(namespace)?.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("web", "shop", "web"),
            ("kubernetes://web", "shop", "web"),
            ("kubernetes://other/web", "other", "web"),
            ("kubernetes-gateway://other/web", "other", "web"),
        ];
        for (text, namespace, name) in cases {
            let parsed = CredentialName::parse(text, "shop");
            assert_eq!(parsed, CredentialName { namespace, name }, "{text}");
            let prefix = if namespace == "shop" {
                "kubernetes://"
            } else {
                "kubernetes-gateway://other/"
            };
            assert_eq!(parsed.identity_resource("shop"), format!("{prefix}web"));
            assert_eq!(parsed.roots_resource("shop"), format!("{prefix}web-cacert"));
        }
        let of_roots = CredentialName::parse("web-cacert", "shop");
        assert_eq!(of_roots.roots_resource("shop"), "kubernetes://web-cacert");
    }

    #[test]
    fn resources() {
        let roots = |name| SecretResource::parse(name, "shop").map(|found| found.roots);
        assert_eq!(roots("kubernetes://web"), Some(false));
        assert_eq!(roots("kubernetes://web-cacert"), Some(true));
        assert_eq!(roots("default"), None);
    }

    #[test]
    fn files() {
        let identity = FileResource::Identity {
            chain: "/a/c",
            key: "/k",
        };
        let roots = |revocations| FileResource::Roots {
            roots: "/r",
            revocations,
        };
        for (resource, name) in [
            (identity, "file-cert:/a/c~/k"),
            (roots(""), "file-root:/r"),
            (roots("/l"), "file-root:/r~/l"),
        ] {
            assert_eq!(resource.name(), name);
            assert_eq!(FileResource::parse(name), Some(resource));
        }
        assert_eq!(FileResource::parse("kubernetes://web"), None);
    }

    #[test]
    fn roots_of_their_own_go_first() {
        let fit = |identity: bool, roots: bool| {
            let fitness = |is: bool| if is { Fitness::Usable } else { Fitness::Missing };
            Credential {
                identity: fitness(identity),
                roots: fitness(roots),
            }
        };
        let broken = Credential {
            identity: Fitness::Missing,
            roots: Fitness::Broken("x".to_owned()),
        };
        let of = |list: &[(&str, Credential)]| {
            let names = list
                .iter()
                .map(|(name, credential)| ((*name).into(), credential.clone()))
                .collect();
            Credentials(BTreeMap::from([("shop".into(), names)]))
        };
        let wanted = CredentialName::parse("web", "shop");
        let cases = [
            (of(&[]), Fitness::Missing),
            (of(&[("web", fit(true, false))]), Fitness::Missing),
            (of(&[("web", fit(true, true))]), Fitness::Usable),
            (
                of(&[("web", fit(true, false)), ("web-cacert", fit(false, true))]),
                Fitness::Usable,
            ),
            (
                of(&[("web", fit(true, true)), ("web-cacert", broken.clone())]),
                Fitness::Broken("x".to_owned()),
            ),
        ];
        for (credentials, expected) in cases {
            assert_eq!(credentials.roots(wanted), expected, "{credentials:?}");
        }
    }
}
