//! Flags, spelt as the original spells them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use runtime::duration;

/// Certificate authority of the mesh (Citadel).
#[derive(Debug, Parser)]
#[command(
    name = "istio_ca",
    args_conflicts_with_subcommands = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the server.
    #[command(flatten)]
    pub serve: Serve,
}

/// Other commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Succeed when the liveness file was touched within the interval.
    Probe(Probe),
    /// Print the version.
    Version,
}

/// Flags of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// The file that a healthy istio_ca touches.
    #[arg(long = "probe-path", value_name = "FILE")]
    pub path: PathBuf,
    /// How old the file may be.
    #[arg(long, value_parser = duration::parse, default_value = "0s")]
    pub interval: Duration,
}

/// Flags of the server.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Make a root of our own, or use the one in --storage-dir.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "CA")]
    pub self_signed_ca: bool,
    /// How long a root of our own lives.
    #[arg(long, value_parser = duration::parse, default_value = "87600h", help_heading = "CA")]
    pub self_signed_ca_cert_ttl: Duration,
    /// Keeps ca-cert.pem, ca-key.pem and root-cert.pem over restarts.
    #[arg(long, value_name = "DIR", help_heading = "CA")]
    pub storage_dir: Option<PathBuf>,
    /// Wait for ca-cert.pem and ca-key.pem in --storage-dir instead of making them.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "CA")]
    pub read_signing_cert_only: bool,
    /// Issuing certificate of your own CA.
    #[arg(long, value_name = "FILE", help_heading = "CA")]
    pub signing_cert: Option<PathBuf>,
    /// Key of the issuing certificate: RSA or EC, PEM.
    #[arg(long, value_name = "FILE", help_heading = "CA")]
    pub signing_key: Option<PathBuf>,
    /// Root of your own CA.
    #[arg(long, value_name = "FILE", help_heading = "CA")]
    pub root_cert: Option<PathBuf>,
    /// Certificates from the issuing one up to the root.
    #[arg(long, value_name = "FILE", help_heading = "CA")]
    pub cert_chain: Option<PathBuf>,
    /// Trust domain of the identities we certify.
    #[arg(long, default_value = "", help_heading = "CA")]
    pub trust_domain: String,

    /// Lifetime of certificates when none is asked for.
    #[arg(long, value_parser = duration::parse, default_value = "2160h", help_heading = "Certificates")]
    pub workload_cert_ttl: Duration,
    /// Requests for a longer lifetime are refused.
    #[arg(long, value_parser = duration::parse, default_value = "2160h", help_heading = "Certificates")]
    pub max_workload_cert_ttl: Duration,
    /// Share of its lifetime that a certificate in --secret-dir has left when it is renewed.
    #[arg(long, default_value_t = 0.5, help_heading = "Certificates")]
    pub workload_cert_grace_period_ratio: f64,
    /// Renew when less than this is left.
    #[arg(long, value_parser = duration::parse, default_value = "10m", help_heading = "Certificates")]
    pub workload_cert_min_grace_period: Duration,
    /// Issue CA certificates.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "Certificates")]
    pub sign_ca_certs: bool,
    /// Repeat the identity as common name where it is short enough.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "Certificates")]
    pub experimental_dual_use: bool,

    /// Port of the certificate services; 0 or less disables them.
    #[arg(
        long,
        default_value_t = 8060,
        allow_negative_numbers = true,
        help_heading = "Servers"
    )]
    pub grpc_port: i64,
    /// Address of the certificate services.
    #[arg(long, default_value = "0.0.0.0", help_heading = "Servers")]
    pub grpc_address: IpAddr,
    /// DNS names of our server certificate.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "istio-ca,istio-citadel",
        help_heading = "Servers"
    )]
    pub grpc_host_identities: Vec<String>,
    /// Port of /metrics and /version; 0 or less disables it.
    #[arg(
        long,
        default_value_t = 15014,
        allow_negative_numbers = true,
        help_heading = "Servers"
    )]
    pub monitoring_port: i64,
    /// Address of /metrics and /version; by default that of the certificate services.
    #[arg(long, help_heading = "Servers")]
    pub monitoring_address: Option<IpAddr>,
    /// Our namespace: part of our server certificate's names.
    #[arg(long, default_value = "istio-system", help_heading = "Servers")]
    pub citadel_storage_namespace: String,

    /// Public keys (JWKS) that sign service-account tokens; read again when the file changes.
    #[arg(long, value_name = "FILE", requires = "token_issuer", help_heading = "Callers")]
    pub token_jwks: Option<PathBuf>,
    /// Issuer that tokens must name.
    #[arg(long, value_name = "ISS", requires = "token_jwks", help_heading = "Callers")]
    pub token_issuer: Option<String>,
    /// Audience that tokens must name.
    #[arg(long, value_name = "AUD", default_value = "istio-ca", help_heading = "Callers")]
    pub token_audience: String,

    /// Writes DIR/<namespace>.<service account>/{cert-chain,key,root-cert}.pem, and renews them.
    #[arg(
        long,
        value_name = "DIR",
        requires = "secret_service_accounts",
        help_heading = "Secrets"
    )]
    pub secret_dir: Option<PathBuf>,
    /// Comma list of <namespace>/<service account> to write certificates for.
    #[arg(long, value_delimiter = ',', requires = "secret_dir", help_heading = "Secrets")]
    pub secret_service_accounts: Vec<String>,
    /// Serve no secrets.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "Secrets")]
    pub server_only: bool,
    /// Add DNS names to the certificates of webhook servers.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = true, help_heading = "Secrets")]
    pub append_dns_names: bool,
    /// Comma list of <service account>.<namespace>:<domain>: DNS names to add.
    #[arg(long, value_delimiter = ',', help_heading = "Secrets")]
    pub custom_dns_names: Vec<String>,

    /// Touch this file as long as the CA signs.
    #[arg(long, value_name = "FILE", default_value = "", help_heading = "Liveness")]
    pub liveness_probe_path: String,
    /// How often to touch it.
    #[arg(long, value_parser = duration::parse, default_value = "0s", help_heading = "Liveness")]
    pub liveness_probe_interval: Duration,

    /// Log level, or a list like default:info.
    #[arg(long = "log_output_level", default_value = "default:info", help_heading = "Logging")]
    pub log_output_level: String,
    /// Log JSON.
    #[arg(long = "log_as_json", num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value_t = false, help_heading = "Logging")]
    pub log_as_json: bool,

    /// Flags that change nothing here.
    #[command(flatten)]
    pub without_effect: WithoutEffect,
}

/// Flags of the original that are accepted and, when given, named in a warning.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accepted, without effect here")]
pub struct WithoutEffect {
    #[arg(long, hide = true)]
    listened_namespaces: Option<String>,
    #[arg(long, hide = true)]
    listened_namespace: Option<String>,
    #[arg(long, hide = true)]
    kube_config: Option<String>,
    #[arg(long, hide = true)]
    upstream_ca_address: Option<String>,
    #[arg(long, hide = true)]
    org: Option<String>,
    #[arg(long, hide = true)]
    requested_ca_cert_ttl: Option<String>,
    #[arg(long, hide = true)]
    key_size: Option<String>,
    #[arg(long, hide = true)]
    grpc_hostname: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enable_profiling: Option<String>,
    #[arg(long, hide = true)]
    probe_check_interval: Option<String>,
    #[arg(long = "ctrlz_port", hide = true)]
    ctrlz_port: Option<String>,
    #[arg(long = "ctrlz_address", hide = true)]
    ctrlz_address: Option<String>,
    #[arg(long = "log_target", hide = true)]
    log_target: Option<String>,
    #[arg(long = "log_rotate", hide = true)]
    log_rotate: Option<String>,
    #[arg(long = "log_rotate_max_age", hide = true)]
    log_rotate_max_age: Option<String>,
    #[arg(long = "log_rotate_max_size", hide = true)]
    log_rotate_max_size: Option<String>,
    #[arg(long = "log_rotate_max_backups", hide = true)]
    log_rotate_max_backups: Option<String>,
    #[arg(long = "log_stacktrace_level", hide = true)]
    log_stacktrace_level: Option<String>,
    #[arg(long = "log_caller", hide = true)]
    log_caller: Option<String>,
}

const NO_CLUSTER: &str = "there is no cluster here";
const NOT_BUILT: &str = "this CA has no such function";
const LOGS: &str = "logs go to standard error";

/// Says which flags were given for nothing.
pub fn warn_of_flags_without_effect(args: &Serve) {
    for (flag, reason) in args.without_effect.given() {
        tracing::warn!("--{flag} has no effect here: {reason}");
    }
}

impl WithoutEffect {
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [
            ("listened-namespaces", NO_CLUSTER, &self.listened_namespaces),
            ("listened-namespace", NO_CLUSTER, &self.listened_namespace),
            ("kube-config", NO_CLUSTER, &self.kube_config),
            ("upstream-ca-address", NOT_BUILT, &self.upstream_ca_address),
            ("org", NOT_BUILT, &self.org),
            ("requested-ca-cert-ttl", NOT_BUILT, &self.requested_ca_cert_ttl),
            ("key-size", "our keys are P-256", &self.key_size),
            ("grpc-hostname", "use --grpc-host-identities", &self.grpc_hostname),
            ("enable-profiling", NOT_BUILT, &self.enable_profiling),
            (
                "probe-check-interval",
                "the check runs at --liveness-probe-interval",
                &self.probe_check_interval,
            ),
            ("ctrlz_port", NOT_BUILT, &self.ctrlz_port),
            ("ctrlz_address", NOT_BUILT, &self.ctrlz_address),
            ("log_target", LOGS, &self.log_target),
            ("log_rotate", LOGS, &self.log_rotate),
            ("log_rotate_max_age", LOGS, &self.log_rotate_max_age),
            ("log_rotate_max_size", LOGS, &self.log_rotate_max_size),
            ("log_rotate_max_backups", LOGS, &self.log_rotate_max_backups),
            ("log_stacktrace_level", LOGS, &self.log_stacktrace_level),
            ("log_caller", LOGS, &self.log_caller),
        ]
        .into_iter()
        .filter(|(_, _, value)| value.is_some())
        .map(|(flag, reason, _)| (flag, reason))
    }
}
