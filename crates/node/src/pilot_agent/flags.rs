//! The command line: the original's spelling, our help.
//!
//! Values are read as text here and judged in [`super::Settings`], so that all faults are told together.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

/// Runs a proxy beside a workload: bootstrap, certificates, supervision, readiness and drain.
#[derive(Debug, Parser)]
// As in the original, a flag that is repeated counts the last time.
#[command(name = "pilot-agent", version = runtime::version::VERSION, args_override_self = true)]
pub struct PilotAgent {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start and supervise a proxy.
    Proxy(Box<Flags>),
    /// Ask the proxy's admin and print the body of the answer.
    Request(Request),
    /// Wait until the proxy is ready: for scripts that start an application after it.
    Wait(Wait),
    /// Print the version.
    Version,
    #[command(name = runtime::child::EXEC_CHILD, hide = true)]
    ExecChild {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
pub struct Request {
    /// GET or POST: Envoy changes its state by POST only.
    pub method: String,
    /// Path and query, such as stats?filter=cds
    pub path: String,
    pub body: Option<String>,
    /// The admin's address.
    #[arg(long = "proxyAdminAddress", value_name = "HOST", default_value = "127.0.0.1")]
    pub admin_address: String,
    /// The admin's port.
    #[arg(
        long = "proxyAdminPort",
        value_name = "PORT",
        alias = "debug-port",
        default_value_t = 15000
    )]
    pub admin_port: u16,
}

#[derive(Args, Debug)]
pub struct Wait {
    /// What answers 200 once the proxy is ready.
    #[arg(long, default_value = "http://127.0.0.1:15020/healthz/ready")]
    pub url: String,
    /// Give up after this long.
    #[arg(long = "timeoutSeconds", value_name = "SECONDS", default_value_t = 60)]
    pub timeout_seconds: u64,
    /// Patience with one request.
    #[arg(long = "requestTimeoutMillis", value_name = "MILLISECONDS", default_value_t = 500)]
    pub request_timeout_millis: u64,
    /// Time between two requests.
    #[arg(long = "periodMillis", value_name = "MILLISECONDS", default_value_t = 500)]
    pub period_millis: u64,
}

/// Flags of `pilot-agent proxy`. Durations are written 45s, 1m0s, 100ms.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "camelCase")]
pub struct Flags {
    /// What the proxy is: sidecar, or router for a gateway (ingress means router).
    #[arg(default_value = "sidecar")]
    pub role: String,

    // Who it is.
    /// Pod address, first in the node's addresses [$INSTANCE_IP, then the machine's private addresses].
    #[arg(long, value_name = "ADDRESS", help_heading = "Identity")]
    pub ip: Option<String>,
    /// Name of the proxy, pod.namespace [$POD_NAME.$POD_NAMESPACE].
    #[arg(long, value_name = "POD.NAMESPACE", help_heading = "Identity")]
    pub id: Option<String>,
    /// DNS suffix of the pod's namespace [$POD_NAMESPACE.svc.cluster.local].
    #[arg(long, value_name = "DOMAIN", help_heading = "Identity")]
    pub domain: Option<String>,
    /// Trust domain of the mesh [$TRUST_DOMAIN, else cluster.local].
    #[arg(long = "trust-domain", value_name = "DOMAIN", help_heading = "Identity")]
    pub trust_domain: Option<String>,
    /// Name of the service that the proxy belongs to, for people and statistics.
    #[arg(long, value_name = "NAME", default_value = "istio-proxy", help_heading = "Identity")]
    pub service_cluster: String,
    /// Where services are registered; only Kubernetes is known.
    #[arg(
        long = "serviceregistry",
        value_name = "NAME",
        default_value = "Kubernetes",
        help_heading = "Identity"
    )]
    pub service_registry: String,

    // Pilot.
    /// Where pilot serves xDS.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "istio-pilot.istio-system:15011",
        help_heading = "Configuration from pilot"
    )]
    pub discovery_address: String,
    /// MUTUAL_TLS or NONE.
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "MUTUAL_TLS",
        help_heading = "Configuration from pilot"
    )]
    pub control_plane_auth_policy: String,
    /// SPIFFE id that pilot must prove [istio-pilot-service-account in pilot's namespace].
    #[arg(long, value_name = "SPIFFE_ID", help_heading = "Configuration from pilot")]
    pub discovery_san: Option<String>,
    /// Patience with a connection to pilot.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        help_heading = "Configuration from pilot"
    )]
    pub connect_timeout: String,
    /// delta, or sotw for state of the world.
    #[arg(
        long = "xds-mode",
        value_name = "MODE",
        default_value = "delta",
        help_heading = "Configuration from pilot"
    )]
    pub xds_mode: String,

    // Certificates.
    /// Where the CA listens; `none` runs without certificates [$CA_ADDR, else istio-citadel.istio-system:8060].
    #[arg(long, value_name = "HOST:PORT", help_heading = "Certificates")]
    pub ca_address: Option<String>,
    /// Name that the CA must prove.
    #[arg(
        long = "caSAN",
        value_name = "NAME",
        default_value = "istio-citadel",
        help_heading = "Certificates"
    )]
    pub ca_san: String,
    /// Roots that the CA is verified against; watched.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/istio/root-cert.pem",
        help_heading = "Certificates"
    )]
    pub ca_root_cert: PathBuf,
    /// Token shown to the CA; read again for each request.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/tokens/istio-token",
        help_heading = "Certificates"
    )]
    pub token_path: PathBuf,
    /// Lifetime asked for; a certificate is renewed when half of its life is over [$SECRET_TTL, else 24h].
    #[arg(long = "csr-ttl", value_name = "DURATION", help_heading = "Certificates")]
    pub csr_ttl: Option<String>,
    /// Also write key.pem, cert-chain.pem and root-cert.pem into this folder [$OUTPUT_CERTS].
    #[arg(long = "output-certs", value_name = "DIR", help_heading = "Certificates")]
    pub output_certs: Option<PathBuf>,

    // The proxy.
    /// Program of the proxy [this executable, or /usr/local/bin/envoy].
    #[arg(long, value_name = "FILE", help_heading = "Proxy")]
    pub binary_path: Option<PathBuf>,
    /// native or envoy [envoy if the program is called so].
    #[arg(long, value_name = "TYPE", help_heading = "Proxy")]
    pub proxy_type: Option<String>,
    /// Folder for the bootstrap and the secret socket; one per agent.
    #[arg(long, value_name = "DIR", default_value = "/etc/istio/proxy", help_heading = "Proxy")]
    pub config_path: PathBuf,
    /// A whole bootstrap to use in place of the generated one.
    #[arg(long, value_name = "FILE", help_heading = "Proxy")]
    pub custom_config_file: Option<PathBuf>,
    /// Worker threads; 0 leaves it to the proxy.
    #[arg(long, value_name = "NUMBER", default_value = "0", help_heading = "Proxy")]
    pub concurrency: String,
    /// How long the proxy drains connections.
    #[arg(long, value_name = "DURATION", default_value = "45s", help_heading = "Proxy")]
    pub drain_duration: String,
    /// Passed on; without hot restart it has no effect.
    #[arg(long, value_name = "DURATION", default_value = "60s", help_heading = "Proxy")]
    pub parent_shutdown_duration: String,
    /// Log level of the proxy.
    #[arg(long, value_name = "LEVEL", default_value = "warning", help_heading = "Proxy")]
    pub proxy_log_level: String,
    /// Log levels of parts of the proxy, such as upstream:debug,config:trace.
    #[arg(long, value_name = "LEVELS", help_heading = "Proxy")]
    pub proxy_component_log_level: Option<String>,
    /// Address of the proxy's admin.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", help_heading = "Proxy")]
    pub proxy_admin_address: String,
    /// Port of the proxy's admin.
    #[arg(long, value_name = "PORT", default_value = "15000", help_heading = "Proxy")]
    pub proxy_admin_port: String,
    /// Address of the proxy's scrape port.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", help_heading = "Proxy")]
    pub prometheus_address: String,
    /// The proxy's scrape port [$ENVOY_PROMETHEUS_PORT, else 15090].
    #[arg(long, value_name = "PORT", help_heading = "Proxy")]
    pub prometheus_port: Option<String>,

    // The pod.
    /// The agent's status port; 0 has none.
    #[arg(long, value_name = "PORT", default_value = "15020", help_heading = "Pod")]
    pub status_port: String,
    /// Address of the status port.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", help_heading = "Pod")]
    pub status_address: String,
    /// Comma-separated: the pod is ready when the proxy listens for one of them. Name ports of Services, not every open port.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = "Pod")]
    pub application_ports: Vec<String>,
    /// Where the application listens [127.0.0.1].
    #[arg(long = "app-address", value_name = "ADDRESS", help_heading = "Pod")]
    pub app_address: Option<String>,

    // Logs.
    /// Log level of the agent, such as info or default:info,sds:debug.
    #[arg(
        long = "log_output_level",
        value_name = "LEVELS",
        default_value = "info",
        help_heading = "Logs"
    )]
    pub log_output_level: String,
    /// Logs as JSON.
    #[arg(long = "log_as_json", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", help_heading = "Logs")]
    pub log_as_json: bool,

    #[command(flatten)]
    pub obsolete: Obsolete,
}

/// Flags of 1.1 that mean nothing here. They are accepted, for manifests carry them, and named in a warning.
#[derive(Args, Clone, Debug, Default)]
#[command(rename_all = "camelCase")]
pub struct Obsolete {
    #[arg(long, hide = true)]
    pub zipkin_address: Option<String>,
    #[arg(long, hide = true)]
    pub lightstep_address: Option<String>,
    #[arg(long, hide = true)]
    pub lightstep_access_token: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub lightstep_secure: Option<String>,
    #[arg(long, hide = true)]
    pub lightstep_cacert_path: Option<String>,
    #[arg(long, hide = true)]
    pub datadog_agent_address: Option<String>,
    #[arg(long, hide = true)]
    pub statsd_udp_address: Option<String>,
    #[arg(long, hide = true)]
    pub envoy_metrics_service_address: Option<String>,
    #[arg(long, hide = true)]
    pub template_file: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub control_plane_bootstrap: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_internal_telemetry: Option<String>,
    #[arg(long, hide = true)]
    pub stat_name_length: Option<String>,
    #[arg(long, hide = true)]
    pub dns_refresh_rate: Option<String>,
    #[arg(long, hide = true)]
    pub mesh_config: Option<String>,
    #[arg(long = "stsPort", hide = true)]
    pub sts_port: Option<String>,
    #[arg(long, hide = true)]
    pub token_manager_plugin: Option<String>,
    #[arg(long = "log_caller", hide = true)]
    pub log_caller: Option<String>,
    #[arg(long = "log_stacktrace_level", hide = true)]
    pub log_stacktrace_level: Option<String>,
    #[arg(long = "log_target", hide = true)]
    pub log_target: Option<String>,
    #[arg(long = "log_rotate", hide = true)]
    pub log_rotate: Option<String>,
    #[arg(long = "log_rotate_max_age", hide = true)]
    pub log_rotate_max_age: Option<String>,
    #[arg(long = "log_rotate_max_backups", hide = true)]
    pub log_rotate_max_backups: Option<String>,
    #[arg(long = "log_rotate_max_size", hide = true)]
    pub log_rotate_max_size: Option<String>,
}

impl Obsolete {
    /// A warning for each that was given.
    pub fn warnings(&self) -> Vec<String> {
        const TRACING: &str = "tracers come from pilot's configuration, over xDS";
        const LOG: &str = "logs go to standard error";
        let given = [
            ("--zipkinAddress", &self.zipkin_address, TRACING),
            ("--lightstepAddress", &self.lightstep_address, TRACING),
            ("--lightstepAccessToken", &self.lightstep_access_token, TRACING),
            ("--lightstepSecure", &self.lightstep_secure, TRACING),
            ("--lightstepCacertPath", &self.lightstep_cacert_path, TRACING),
            ("--datadogAgentAddress", &self.datadog_agent_address, TRACING),
            (
                "--statsdUdpAddress",
                &self.statsd_udp_address,
                "metrics are scraped on 15090",
            ),
            (
                "--envoyMetricsServiceAddress",
                &self.envoy_metrics_service_address,
                "metrics are scraped on 15090",
            ),
            (
                "--templateFile",
                &self.template_file,
                "a whole bootstrap can be given by --customConfigFile",
            ),
            (
                "--controlPlaneBootstrap",
                &self.control_plane_bootstrap,
                "control-plane components need no proxy of their own",
            ),
            (
                "--disableInternalTelemetry",
                &self.disable_internal_telemetry,
                "which statistics are kept is a matter of annotations",
            ),
            (
                "--statNameLength",
                &self.stat_name_length,
                "names have no limit any more",
            ),
            (
                "--dnsRefreshRate",
                &self.dns_refresh_rate,
                "the time to live of DNS answers is respected",
            ),
            ("--meshConfig", &self.mesh_config, "the mesh configuration is pilot's"),
            ("--stsPort", &self.sts_port, "there is no token exchange"),
            (
                "--tokenManagerPlugin",
                &self.token_manager_plugin,
                "there is no token exchange",
            ),
            ("--log_caller", &self.log_caller, LOG),
            ("--log_stacktrace_level", &self.log_stacktrace_level, LOG),
            ("--log_target", &self.log_target, LOG),
            ("--log_rotate", &self.log_rotate, LOG),
            ("--log_rotate_max_age", &self.log_rotate_max_age, LOG),
            ("--log_rotate_max_backups", &self.log_rotate_max_backups, LOG),
            ("--log_rotate_max_size", &self.log_rotate_max_size, LOG),
        ];
        given
            .into_iter()
            .filter(|(_, value, _)| value.is_some())
            .map(|(flag, _, reason)| format!("{flag} has no effect here: {reason}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Flags {
        match PilotAgent::try_parse_from(line.split(' ')).unwrap().command {
            Command::Proxy(flags) => *flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        PilotAgent::command().debug_assert();
    }

    #[test]
    fn the_originals_line_is_understood_and_what_has_no_effect_is_named() {
        let flags = parse(
            "pilot-agent proxy sidecar --domain default.svc.cluster.local --configPath /etc/istio/proxy --binaryPath /usr/local/bin/envoy \
             --serviceCluster reviews.default --drainDuration 45s --parentShutdownDuration 1m0s --discoveryAddress istio-pilot.istio-system:15011 \
             --zipkinAddress zipkin.istio-system:9411 --connectTimeout 10s --proxyAdminPort 15000 --concurrency 2 --controlPlaneAuthPolicy MUTUAL_TLS \
             --statusPort 15020 --applicationPorts 9080,9081 --controlPlaneBootstrap=false --log_as_json",
        );
        assert_eq!(flags.application_ports, ["9080", "9081"]);
        assert!(flags.log_as_json);
        let warnings = flags.obsolete.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("--zipkinAddress has no effect here"));
    }
}
