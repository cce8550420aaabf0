//! Flags, checked: all faults are reported at once and before anything is bound or written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use pki::ca::{Profile, TtlPolicy};
use pki::rotation::Schedule;
use pki::{San, SpiffeId};

use crate::args::Serve;

/// What the CA needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the signing key comes from.
    pub source: Source,
    /// Where the root (and a key of our own) is kept.
    pub storage_dir: Option<PathBuf>,
    /// Trust domain of identities.
    pub trust_domain: String,
    /// Lifetimes.
    pub ttl: TtlPolicy,
    /// What kind of certificates.
    pub profile: Profile,
    /// Where the certificate services listen.
    pub grpc: Option<SocketAddr>,
    /// DNS names of our server certificate.
    pub server_names: Vec<San>,
    /// Where /metrics is.
    pub monitoring: Option<SocketAddr>,
    /// How tokens are verified.
    pub tokens: Option<Tokens>,
    /// Certificates written to files.
    pub secrets: Option<Secrets>,
    /// File to touch, and how often.
    pub liveness: Option<(PathBuf, Duration)>,
}

/// Where the signing key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A root of our own.
    SelfSigned {
        /// How long it lives.
        ttl: Duration,
        /// Wait for somebody else to make it.
        wait_only: bool,
    },
    /// The operator's files.
    PluggedIn(CaFiles),
}

/// The files of an operator's CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFiles {
    /// Issuing certificate.
    pub signing_cert: PathBuf,
    /// Its key.
    pub signing_key: PathBuf,
    /// Roots.
    pub root_cert: PathBuf,
    /// Certificates between them.
    pub cert_chain: Option<PathBuf>,
}

/// How tokens are verified.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Public keys.
    pub jwks: PathBuf,
    /// Expected issuer.
    pub issuer: String,
    /// Expected audience.
    pub audience: String,
}

/// Certificates written to files.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Where.
    pub dir: PathBuf,
    /// For whom: identity, and the names in the certificate.
    pub accounts: Vec<(SpiffeId, Vec<San>)>,
    /// When to renew.
    pub schedule: Schedule,
}

/// All that is wrong with the flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("istio_ca cannot start with these flags:{}", .0.iter().map(|f| format!("\n  - {f}")).collect::<String>())]
pub struct Faults(pub Vec<String>);

impl Settings {
    /// Checks the flags.
    pub fn from_args(args: &Serve) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let trust_domain = if args.trust_domain.is_empty() {
            "cluster.local"
        } else {
            &args.trust_domain
        }
        .to_owned();
        let namespace = std::env::var("NAMESPACE").ok().filter(|ns| !ns.is_empty());
        let namespace = namespace.as_deref().unwrap_or(&args.citadel_storage_namespace);
        if let Err(error) = SpiffeId::new(&trust_domain, "ns", "sa") {
            faults.push(format!("--trust-domain: {}", error.rule));
        }
        let source = source(args, &mut faults);
        let grpc = address(args.grpc_address, args.grpc_port, "grpc-port", &mut faults);
        if grpc.is_none() && args.server_only {
            faults.push("--server-only with --grpc-port 0 leaves nothing to do".to_owned());
        }
        let monitoring_address = args.monitoring_address.unwrap_or(args.grpc_address);
        lifetimes(args, &mut faults);
        let secrets = secrets(args, &trust_domain, namespace, &mut faults);
        let settings = source.map(|source| Self {
            source,
            storage_dir: args.storage_dir.clone(),
            trust_domain,
            ttl: TtlPolicy {
                default: args.workload_cert_ttl,
                max: args.max_workload_cert_ttl,
            },
            profile: Profile {
                authority: args.sign_ca_certs,
                dual_use: args.experimental_dual_use,
            },
            grpc,
            server_names: server_names(args, namespace),
            monitoring: address(monitoring_address, args.monitoring_port, "monitoring-port", &mut faults),
            tokens: tokens(args),
            secrets,
            liveness: liveness(args),
        });
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => Err(Faults(faults)),
        }
    }
}

fn source(args: &Serve, faults: &mut Vec<String>) -> Option<Source> {
    if args.self_signed_ca {
        if args.read_signing_cert_only && args.storage_dir.is_none() {
            faults.push(
                "--read-signing-cert-only needs --storage-dir: the folder to wait for ca-cert.pem and ca-key.pem in"
                    .to_owned(),
            );
        }
        return Some(Source::SelfSigned {
            ttl: args.self_signed_ca_cert_ttl,
            wait_only: args.read_signing_cert_only,
        });
    }
    let required = [
        ("signing-cert", &args.signing_cert),
        ("signing-key", &args.signing_key),
        ("root-cert", &args.root_cert),
    ];
    let missing: Vec<&str> = required
        .iter()
        .filter(|(_, file)| file.is_none())
        .map(|(flag, _)| *flag)
        .collect();
    if !missing.is_empty() {
        faults.push(format!(
            "no CA: give --self-signed-ca, or your own CA's files (missing: --{})",
            missing.join(", --")
        ));
    }
    Some(Source::PluggedIn(CaFiles {
        signing_cert: args.signing_cert.clone()?,
        signing_key: args.signing_key.clone()?,
        root_cert: args.root_cert.clone()?,
        cert_chain: args.cert_chain.clone(),
    }))
}

fn address(ip: IpAddr, port: i64, flag: &str, faults: &mut Vec<String>) -> Option<SocketAddr> {
    if port <= 0 {
        return None;
    }
    let port = u16::try_from(port);
    if port.is_err() {
        faults.push(format!("--{flag} is above 65535"));
    }
    port.ok().map(|port| SocketAddr::new(ip, port))
}

fn lifetimes(args: &Serve, faults: &mut Vec<String>) {
    if !(0.0..=1.0).contains(&args.workload_cert_grace_period_ratio) {
        faults.push(format!(
            "--workload-cert-grace-period-ratio is {}, it must be from 0 to 1",
            args.workload_cert_grace_period_ratio
        ));
    } else if !(0.2..=0.8).contains(&args.workload_cert_grace_period_ratio) {
        tracing::warn!(
            "--workload-cert-grace-period-ratio is outside 0.2 to 0.8: certificates are renewed very often or very late"
        );
    }
    if args.workload_cert_ttl > args.max_workload_cert_ttl {
        faults.push("--workload-cert-ttl is longer than --max-workload-cert-ttl".to_owned());
    }
    for (flag, ttl) in [
        ("workload-cert-ttl", args.workload_cert_ttl),
        ("self-signed-ca-cert-ttl", args.self_signed_ca_cert_ttl),
    ] {
        if ttl < Duration::from_secs(1) {
            faults.push(format!("--{flag} is shorter than a second"));
        }
    }
}

fn server_names(args: &Serve, namespace: &str) -> Vec<San> {
    let given = args
        .grpc_host_identities
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty());
    let mut names: Vec<San> = given.map(San::from_text).collect();
    let full = San::Dns(format!("istio-citadel.{namespace}.svc.cluster.local"));
    if !names.contains(&full) {
        names.push(full);
    }
    names
}

fn tokens(args: &Serve) -> Option<Tokens> {
    let (jwks, issuer) = args.token_jwks.clone().zip(args.token_issuer.clone())?;
    Some(Tokens {
        jwks,
        issuer,
        audience: args.token_audience.clone(),
    })
}

fn liveness(args: &Serve) -> Option<(PathBuf, Duration)> {
    let both = !args.liveness_probe_path.is_empty() && !args.liveness_probe_interval.is_zero();
    both.then(|| (PathBuf::from(&args.liveness_probe_path), args.liveness_probe_interval))
}

fn secrets(args: &Serve, trust_domain: &str, namespace: &str, faults: &mut Vec<String>) -> Option<Secrets> {
    let dir = args.secret_dir.clone().filter(|_| !args.server_only)?;
    let extra = extra_names(args, namespace, faults);
    let mut accounts = Vec::new();
    for text in args
        .secret_service_accounts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let parts = text.split_once('/').ok_or("the form is <namespace>/<service account>");
        match parts.and_then(|(ns, sa)| SpiffeId::new(trust_domain, ns, sa).map_err(|e| e.rule)) {
            Ok(id) => {
                let key = (id.service_account().to_owned(), id.namespace().to_owned());
                let names = std::iter::once(San::from(&id))
                    .chain(extra.get(&key).cloned().unwrap_or_default())
                    .collect();
                accounts.push((id, names));
            }
            Err(rule) => faults.push(format!("--secret-service-accounts: `{text}`: {rule}")),
        }
    }
    let schedule = Schedule {
        grace_ratio: args.workload_cert_grace_period_ratio,
        min_grace: args.workload_cert_min_grace_period,
    };
    Some(Secrets {
        dir,
        accounts,
        schedule,
    })
}

/// DNS names by (service account, namespace).
fn extra_names(args: &Serve, namespace: &str, faults: &mut Vec<String>) -> BTreeMap<(String, String), Vec<San>> {
    const WEBHOOKS: [(&str, &str); 2] = [
        ("istio-sidecar-injector-service-account", "istio-sidecar-injector"),
        ("istio-galley-service-account", "istio-galley"),
    ];
    let mut names: BTreeMap<_, Vec<San>> = BTreeMap::new();
    for (account, service) in WEBHOOKS.into_iter().filter(|_| args.append_dns_names) {
        let dns = [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}")];
        names.insert(
            (account.to_owned(), namespace.to_owned()),
            dns.into_iter().map(San::Dns).collect(),
        );
    }
    for entry in args
        .custom_dns_names
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        match entry
            .split_once(':')
            .and_then(|(key, domain)| Some((key.split_once('.')?, domain)))
        {
            Some(((account, ns), domain)) => {
                names
                    .entry((account.to_owned(), ns.to_owned()))
                    .or_default()
                    .push(San::from_text(domain));
            }
            None => faults.push(format!(
                "--custom-dns-names: `{entry}` is not <service account>.<namespace>:<domain>"
            )),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn settings(flags: &str) -> Result<Settings, Faults> {
        let args = Cli::try_parse_from(std::iter::once("istio_ca").chain(flags.split_whitespace())).unwrap();
        Settings::from_args(&args.serve)
    }

    #[test]
    fn the_flags_of_the_original_chart() {
        let chart = "--append-dns-names=true --grpc-port=8060 --grpc-hostname=citadel --citadel-storage-namespace=istio-system \
            --custom-dns-names=istio-pilot-service-account.istio-system:istio-pilot.istio-system --monitoring-port=15014 \
            --self-signed-ca=true --trust-domain=example.org --secret-dir /s \
            --secret-service-accounts istio-system/istio-pilot-service-account,istio-system/istio-galley-service-account";
        let settings = settings(chart).unwrap();
        assert_eq!(settings.grpc.unwrap().port(), 8060);
        assert_eq!(
            settings.server_names,
            [
                "istio-ca",
                "istio-citadel",
                "istio-citadel.istio-system.svc.cluster.local"
            ]
            .map(San::from_text)
        );
        let accounts = settings.secrets.unwrap().accounts;
        let texts: Vec<Vec<String>> = accounts
            .iter()
            .map(|(_, names)| names.iter().map(San::text).collect())
            .collect();
        assert_eq!(
            texts[0],
            [
                "spiffe://example.org/ns/istio-system/sa/istio-pilot-service-account",
                "istio-pilot.istio-system"
            ]
        );
        assert_eq!(
            texts[1],
            [
                "spiffe://example.org/ns/istio-system/sa/istio-galley-service-account",
                "istio-galley.istio-system.svc",
                "istio-galley.istio-system"
            ]
        );
    }

    #[test]
    fn faults_are_all_named() {
        for (flags, words) in [
            (
                "",
                vec!["--self-signed-ca", "--signing-cert, --signing-key, --root-cert"],
            ),
            ("--signing-cert a --root-cert b", vec!["missing: --signing-key"]),
            (
                "--self-signed-ca --workload-cert-ttl 100h --max-workload-cert-ttl 1h",
                vec!["longer than"],
            ),
            (
                "--self-signed-ca --workload-cert-grace-period-ratio 3 --grpc-port 70000",
                vec!["from 0 to 1", "above 65535"],
            ),
            ("--self-signed-ca --server-only --grpc-port -1", vec!["nothing to do"]),
            (
                "--self-signed-ca --secret-dir d --secret-service-accounts pilot",
                vec!["`pilot`"],
            ),
            (
                "--self-signed-ca --secret-dir d --secret-service-accounts a/b --custom-dns-names x",
                vec!["`x`"],
            ),
            ("--self-signed-ca --trust-domain a/b", vec!["--trust-domain"]),
        ] {
            let error = settings(flags).expect_err(flags).to_string();
            words
                .iter()
                .for_each(|w| assert!(error.contains(w), "{flags}: {error}"));
        }
    }

    #[test]
    fn positional_arguments_are_refused() {
        assert!(Cli::try_parse_from(["istio_ca", "--self-signed-ca", "surplus"]).is_err());
    }
}
