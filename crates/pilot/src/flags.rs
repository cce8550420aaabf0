//! The command line: the original's flags, in its spelling, and ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, Subcommand};

/// The control plane of the mesh: reads services and routing rules, and tells every proxy what it needs to know of them.
#[derive(Debug, Parser)]
#[command(name = "pilot-discovery", version = runtime::version::VERSION, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve discovery to proxies.
    Discovery(Box<Flags>),
    /// Ask a running pilot on this machine, as `GET /debug/syncz`.
    Request(RequestFlags),
    /// Print the version.
    Version,
    /// Messages as JSON, for the parent.
    #[command(hide = true)]
    Render,
}

#[derive(Debug, Args)]
pub(crate) struct RequestFlags {
    /// HTTP method.
    pub(crate) method: String,
    /// Path, beginning with a slash.
    pub(crate) path: String,
    /// Body, if any.
    pub(crate) body: Option<String>,
    /// Monitoring address of the pilot to ask.
    #[arg(long, default_value = "127.0.0.1:15014", value_parser = address)]
    pub(crate) address: SocketAddr,
}

/// Where manifests mount the mesh configuration.
pub(crate) const DEFAULT_MESH_CONFIG: &str = "/etc/istio/config/mesh";

/// Flags are in camel case where the original's are.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Directory of Kubernetes and Istio YAML to serve from, with its subdirectories; watched. Give it again for more: an object
    /// in an earlier one hides its namesake in a later one.
    #[arg(long = "configDir", value_name = "DIR", required = true)]
    pub(crate) config_dirs: Vec<PathBuf>,
    /// File with the mesh configuration; watched. Need not exist.
    #[arg(long = "meshConfig", value_name = "FILE", default_value = DEFAULT_MESH_CONFIG)]
    pub(crate) mesh_config: PathBuf,
    /// DNS domain of the cluster: services are <name>.<namespace>.svc.<domain>.
    #[arg(long, default_value = "cluster.local")]
    pub(crate) domain: String,
    /// Trust domain of workload identities. Empty: the mesh configuration's.
    #[arg(long = "trust-domain", default_value = "")]
    pub(crate) trust_domain: String,

    /// Address for /ready, /debug, /metrics and REST xDS.
    #[arg(long = "httpAddr", default_value = ":8080", value_name = "ADDR", value_parser = address)]
    pub(crate) http: SocketAddr,
    /// Address for xDS over plaintext gRPC.
    #[arg(long = "grpcAddr", default_value = ":15010", value_name = "ADDR", value_parser = address)]
    pub(crate) grpc: SocketAddr,
    /// Address for xDS over gRPC with mutual TLS. Empty: none.
    #[arg(long = "secureGrpcAddr", default_value = ":15011", value_name = "ADDR", value_parser = optional_address)]
    secure_grpc: SocketAddr,
    /// Second address for what is at httpAddr.
    #[arg(long = "monitoringAddr", default_value = ":15014", value_name = "ADDR", value_parser = address)]
    pub(crate) monitoring: SocketAddr,
    /// Directory with cert-chain.pem, key.pem and root-cert.pem of this pilot, for secureGrpcAddr. Waited for at the start and
    /// read again when they change.
    #[arg(
        long = "certDir",
        env = "PILOT_CERT_DIR",
        default_value = "/etc/certs",
        value_name = "DIR"
    )]
    pub(crate) cert_dir: PathBuf,

    /// Time without traffic after which a client is asked whether it is still there.
    #[arg(long = "keepaliveInterval", default_value = "30s", value_parser = runtime::duration::parse)]
    pub(crate) keepalive_interval: Duration,
    /// Time it has to answer.
    #[arg(long = "keepaliveTimeout", default_value = "10s", value_parser = runtime::duration::parse)]
    pub(crate) keepalive_timeout: Duration,
    /// Age at which a connection is ended gracefully, so that clients spread over replicas. Default: none.
    #[arg(long = "keepaliveMaxServerConnectionAge", value_parser = runtime::duration::parse)]
    pub(crate) max_connection_age: Option<Duration>,
    /// Time for clients to leave when this process is told to end.
    #[arg(long = "shutdownDuration", default_value = "5s", value_parser = runtime::duration::parse)]
    pub(crate) shutdown: Duration,

    /// Log level, or a list of scopes with levels, as `info` or `default:info,pilot:debug`.
    #[arg(long = "log_output_level", default_value = "info")]
    pub(crate) log_level: String,
    /// Log as JSON.
    #[arg(long = "log_as_json", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub(crate) log_json: bool,

    #[command(flatten)]
    pub(crate) ignored: Ignored,
}

macro_rules! ignored {
    ($($(#[short = $short:literal])? $id:ident $long:literal: $help:literal;)*) => {
        /// Flags of the original that have nothing to act on here. They are accepted, so that its manifests start, and named
        /// in a warning when given.
        #[derive(Debug, Args)]
        pub(crate) struct Ignored {
            $(
                #[doc = $help]
                #[arg(long = $long, $(short = $short,)? num_args = 0..=1, default_missing_value = "true", hide_possible_values = true,
                    help_heading = "Accepted without effect")]
                pub(crate) $id: Option<String>,
            )*
        }

        const IGNORED: &[(&str, &str)] = &[$((stringify!($id), $long)),*];
    };
}

ignored! {
    registries "registries": "Service registries: configDir is what is read.";
    cluster_registries_namespace "clusterRegistriesNamespace": "Namespace of remote clusters' secrets.";
    kubeconfig "kubeconfig": "Access to the Kubernetes API.";
    networks_config "networksConfig": "File with mesh networks.";
    #[short = 'n']
    namespace "namespace": "Namespace this pilot runs in.";
    plugins "plugins": "HTTP filter plugins and their order.";
    mcp_server_addrs "mcpServerAddrs": "Mesh configuration protocol servers.";
    mcp_max_msg_size "mcpMaxMsgSize": "Largest message of such a server.";
    disable_install_crds "disable-install-crds": "Do not create missing resource definitions.";
    #[short = 'a']
    app_namespace "appNamespace": "Only this namespace is watched.";
    resync "resync": "Interval at which the Kubernetes API is read again.";
    consul_url "consulserverURL": "Consul to read services from.";
    consul_interval "consulserverInterval": "How often.";
    profile "profile": "Go profiling under /debug/pprof.";
    discovery_cache "discoveryCache": "Caching of the retired v1 API.";
    ctrlz_port "ctrlz_port": "Port of the introspection page.";
    ctrlz_address "ctrlz_address": "Address of the introspection page.";
    log_target "log_target": "Where logs go: always standard error.";
    log_rotate "log_rotate": "Log file to rotate.";
    log_rotate_max_age "log_rotate_max_age": "Days after which rotated logs go.";
    log_rotate_max_backups "log_rotate_max_backups": "Rotated logs kept.";
    log_rotate_max_size "log_rotate_max_size": "Megabytes at which a log is rotated.";
    log_caller "log_caller": "Scopes whose log lines name their source.";
    log_stacktrace_level "log_stacktrace_level": "Level at which stack traces are logged.";
}

/// The flags given that have no effect here.
pub(crate) fn without_effect(matches: &ArgMatches) -> Vec<&'static str> {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    IGNORED
        .iter()
        .filter(|(id, _)| given(id))
        .map(|(_, long)| *long)
        .collect()
}

/// `host:port`; without a host every address of this machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.replace("localhost:", "127.0.0.1:")
    };
    full.parse()
        .map_err(|_| format!("`{text}` is no address; write IP:PORT, as 127.0.0.1:8080, or :PORT"))
}

fn optional_address(text: &str) -> Result<SocketAddr, String> {
    if text.is_empty() { Ok(NONE) } else { address(text) }
}

/// Stands for "none": no listener can have this address.
const NONE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::BROADCAST), 0);

// === impl Flags ===

impl Flags {
    pub(crate) fn secure_address(&self) -> Option<SocketAddr> {
        Some(self.secure_grpc).filter(|address| *address != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    fn parse(args: &str) -> Result<(Flags, Vec<&'static str>), clap::Error> {
        let words = ["pilot-discovery", "discovery"]
            .into_iter()
            .chain(args.split_whitespace());
        let words = words.map(|word| if word == "''" { "" } else { word });
        let matches = Cli::command().try_get_matches_from(words)?;
        let Command::Discovery(flags) = Cli::from_arg_matches(&matches)?.command else {
            panic!("not discovery");
        };
        let (_, sub) = matches.subcommand().unwrap();
        Ok((*flags, without_effect(sub)))
    }

    #[test]
    fn the_originals_flags_are_accepted_and_those_without_effect_named() {
        let (flags, ignored) = parse(
            "--configDir a --configDir b --httpAddr :1 --secureGrpcAddr '' --registries Kubernetes -n istio-system \
             --profile=false --keepaliveMaxServerConnectionAge 30m --log_output_level default:info --disable-install-crds",
        )
        .unwrap();
        assert_eq!(flags.config_dirs.len(), 2);
        assert_eq!(flags.http, "0.0.0.0:1".parse().unwrap());
        assert_eq!(flags.secure_address(), None);
        assert_eq!(flags.max_connection_age, Some(Duration::from_secs(1800)));
        assert_eq!(ignored, ["registries", "namespace", "disable-install-crds", "profile"]);
    }

    #[test]
    fn faults_are_explained() {
        for (args, word) in [
            ("", "configDir"),
            ("--configDir a --httpAddr x", "no address"),
            ("--configDir a --nope", "nope"),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(word), "{args}: {error}");
        }
        Cli::command().debug_assert();
    }
}
