//! Command lines.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Show which proxies are connected to pilot, and whether each has what it should have.
///
/// SYNCED: the proxy has accepted what was sent last. STALE: it has not answered yet. NOT SENT: pilot has nothing for it.
/// ERROR: the proxy refused it, and why; the last good configuration stays in force there.
#[derive(Debug, Parser)]
#[command(name = "proxy-status", bin_name = "meltemi proxy-status")]
pub(crate) struct ProxyStatus {
    /// Only these proxies: a pod's name or the beginning of it, with its namespace after a dot if need be
    #[arg(value_name = "POD[.NAMESPACE]")]
    pub(crate) pod: Option<String>,

    #[command(flatten)]
    pub(crate) mesh: MeshFlags,

    /// Address of pilot's HTTP port, in place of a local mesh's
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) pilot_address: Option<String>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: StatusFormat,
}

/// Show what a proxy has been told, as the proxy itself has it.
#[derive(Debug, Parser)]
#[command(name = "proxy-config", bin_name = "meltemi proxy-config", after_help = CONFIG_HELP)]
pub(crate) struct ProxyConfig {
    #[command(subcommand)]
    pub(crate) what: What,
}

const CONFIG_HELP: &str = "\
Examples:
  meltemi proxy-config cluster productpage-v1 --direction outbound
  meltemi proxy-config route istio-ingressgateway.istio-system --name http.80 -o json
  meltemi proxy-config endpoint productpage-v1 --cluster 'outbound|9080||reviews.default.svc.cluster.local'

POD is a pod's name or the beginning of it, with its namespace after a dot if need be.";

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Clusters: where requests may go
    #[command(visible_aliases = ["c", "clusters"])]
    Cluster {
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        filter: ClusterFilter,
    },
    /// Listeners: what is accepted, and what becomes of it
    #[command(visible_aliases = ["l", "listeners"])]
    Listener {
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        filter: ListenerFilter,
    },
    /// Routes: which request goes to which cluster
    #[command(visible_aliases = ["r", "routes"])]
    Route {
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        filter: RouteFilter,
    },
    /// Endpoints: the addresses behind clusters, and their health
    #[command(visible_aliases = ["ep", "endpoints"])]
    Endpoint {
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        filter: EndpointFilter,
    },
    /// Bootstrap: what the proxy was started with
    #[command(visible_aliases = ["b"])]
    Bootstrap {
        #[command(flatten)]
        from: From,
    },
    /// Secrets: certificates and roots, without keys
    #[command(visible_aliases = ["s", "secrets"])]
    Secret {
        #[command(flatten)]
        from: From,
    },
    /// Everything
    #[command(visible_aliases = ["a"])]
    All {
        #[command(flatten)]
        from: From,
    },
}

/// Find mistakes in manifests, without a mesh: broken rules, fields without effect, hosts, subsets and gateways that are not there,
/// rules that no request reaches, gateways in conflict, mutual TLS that cannot work.
///
/// Each finding has a stable code, the object, file:line, and the way out. What ends in an error is refused by a mesh, which keeps
/// the last good version; a warning is taken as it is. Ends with status 79 if something at or above the threshold is found.
#[derive(Debug, Parser)]
#[command(name = "analyze", bin_name = "meltemi analyze", after_help = ANALYZE_HELP)]
pub(crate) struct Analyze {
    /// Directories (with all below them) and files of YAML; of two objects of one name the first counts
    #[arg(value_name = "DIR|FILE", required = true)]
    pub(crate) paths: Vec<PathBuf>,

    /// What is bad enough to fail
    #[arg(long, value_enum, default_value = "error")]
    pub(crate) failure_threshold: Threshold,

    /// The data plane that is meant: fields that only Envoy does are a finding for ours
    #[arg(long, value_enum, default_value = "native")]
    pub(crate) data_plane: DataPlane,

    /// Namespace of mesh-wide configuration
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    pub(crate) root_namespace: String,

    /// DNS domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: AnalyzeFormat,
}

const ANALYZE_HELP: &str = "\
Examples:
  meltemi analyze samples/bookinfo
  meltemi analyze shop new-rule.yaml --failure-threshold warning      # would this rule fit?
  meltemi analyze shop -o json | jq -r '.[].code'";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threshold {
    Error,
    Warning,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataPlane {
    Native,
    Envoy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnalyzeFormat {
    Text,
    Json,
    Yaml,
}

/// Explain what the mesh does, and which line of which file wants it so.
#[derive(Debug, Parser)]
#[command(name = "describe", bin_name = "meltemi describe")]
pub(crate) struct Describe {
    #[command(subcommand)]
    pub(crate) what: Subject,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subject {
    /// Why a request gets the answer it gets: listener, route, rule, subset and endpoint, step by step, without sending anything
    ///
    /// The proxies themselves are asked, so the answer is about what is in force now. What chance decides (weights, injected
    /// faults) is told with how often it happens.
    #[command(after_help = DESCRIBE_HELP)]
    Request(DescribeRequest),
}

const DESCRIBE_HELP: &str = "\
Examples:
  meltemi describe request GET http://reviews:9080/reviews/0 --from productpage-v1
  meltemi describe request http://reviews:9080/reviews/0 --from productpage-v1 -H 'end-user: jason'
  meltemi describe request http://localhost:8080/productpage --from istio-ingressgateway.istio-system --to :8080

Without Meltemi's own proxy (--data-plane envoy) there is nobody who could be asked.";

#[derive(Debug, Args)]
pub(crate) struct DescribeRequest {
    /// The request, as its client would write it; without METHOD: GET
    #[arg(value_name = "[METHOD] URL", num_args = 1..=2, required = true)]
    pub(crate) request: Vec<String>,

    /// The pod that sends it, or the gateway that gets it: its name or the beginning of it, with its namespace after a dot if need be
    #[arg(
        long,
        value_name = "POD[.NAMESPACE]",
        required_unless_present = "proxy_admin_address"
    )]
    pub(crate) from: Option<String>,

    #[command(flatten)]
    pub(crate) mesh: MeshFlags,

    /// Address of the proxy's admin, in place of a pod of a local mesh
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "from")]
    pub(crate) proxy_admin_address: Option<String>,

    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// Where the client dials: an address, a port, or the name of a listener [default: what fits the URL]
    #[arg(long, value_name = "IP:PORT|:PORT|LISTENER")]
    pub(crate) to: Option<String>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: DescribeFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeFormat {
    Text,
    Json,
    Yaml,
}

/// Whom to ask, and the form of the output.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// The proxy's pod
    #[arg(value_name = "POD[.NAMESPACE]", required_unless_present_any = ["proxy_admin_address", "file"])]
    pub(crate) pod: Option<String>,

    #[command(flatten)]
    pub(crate) mesh: MeshFlags,

    /// Address of the proxy's admin, in place of a pod of a local mesh
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["pod", "file"])]
    pub(crate) proxy_admin_address: Option<String>,

    /// A config dump in a file, in place of a running proxy
    #[arg(short, long, value_name = "FILE", conflicts_with = "pod")]
    pub(crate) file: Option<PathBuf>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "short")]
    pub(crate) output: Format,
}

/// Which mesh.
#[derive(Debug, Default, Args)]
pub(crate) struct MeshFlags {
    /// State directory of a local mesh [default: the mesh started last]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Namespace of the pod
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ClusterFilter {
    /// Only this service host
    #[arg(long)]
    pub(crate) fqdn: Option<String>,
    /// Only this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only this subset
    #[arg(long)]
    pub(crate) subset: Option<String>,
    /// Only this direction
    #[arg(long, value_parser = ["inbound", "outbound"])]
    pub(crate) direction: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ListenerFilter {
    /// Only listeners bound to this address
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// Only this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only this type: HTTP, TCP, or HTTP+TCP
    #[arg(long = "type", ignore_case = true, value_parser = ["HTTP", "TCP", "HTTP+TCP", "UNKNOWN"])]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct RouteFilter {
    /// Only the route configuration of this name, such as 9080 or http.80
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct EndpointFilter {
    /// Only this address
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// Only this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only this cluster, by its whole name
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Only endpoints of this health
    #[arg(long, value_parser = ["healthy", "unhealthy", "draining"])]
    pub(crate) status: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Short,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    Table,
    Json,
    Yaml,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_sound() {
        ProxyStatus::command().debug_assert();
        ProxyConfig::command().debug_assert();
        Describe::command().debug_assert();
        Analyze::command().debug_assert();
    }

    #[test]
    fn short_names_and_filters_are_istioctls() {
        let parse = |line: &str| ProxyConfig::try_parse_from(line.split(' ')).map(|flags| flags.what);
        assert!(matches!(
            parse("pc c web.default --fqdn a --port 80"),
            Ok(What::Cluster { .. })
        ));
        assert!(matches!(parse("pc l web --type http"), Ok(What::Listener { .. })));
        assert!(matches!(
            parse("pc ep --file dump.json --status healthy"),
            Ok(What::Endpoint { .. })
        ));
        assert!(matches!(parse("pc s web -o yaml"), Ok(What::Secret { .. })));
        assert!(parse("pc r").is_err(), "a pod is needed");
        assert!(parse("pc c web --direction sideways").is_err());
    }
}
