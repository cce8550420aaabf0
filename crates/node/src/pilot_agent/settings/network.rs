//! Addresses, ports and patience.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::termination::TerminationSettings;
use super::pod::Pod;
use super::{Faults, Flags, IdentitySettings, StatusSettings, xds_mode};
use crate::address::HostPort;
use crate::bootstrap::Discovery;
use crate::environment::Environment;
use crate::identity::citadel::Citadel;
use crate::status::{Scrape, parse_probes};

const PILOT_ACCOUNT: &str = "istio-pilot-service-account";

pub(super) fn discovery(flags: &Flags, environment: &Environment, pod: &Pod, faults: &mut Faults) -> Option<Discovery> {
    let address = faults.take("--discoveryAddress", flags.discovery_address.parse::<HostPort>());
    let mode = faults.take("--xds-mode", xds_mode(&flags.xds_mode));
    let connect_timeout = faults.duration("--connectTimeout", &flags.connect_timeout);
    let mutual = match flags.control_plane_auth_policy.as_str() {
        "MUTUAL_TLS" => Some(true),
        "NONE" => Some(false),
        other => {
            faults.add(
                "--controlPlaneAuthPolicy",
                format!("`{other}` is neither MUTUAL_TLS nor NONE"),
            );
            None
        }
    };
    let address = address?;
    let identity = || match &flags.discovery_san {
        Some(identity) => identity.clone(),
        None => {
            let namespace = pilot_namespace(&address, environment, pod);
            format!("spiffe://{}/ns/{namespace}/sa/{PILOT_ACCOUNT}", pod.trust_domain)
        }
    };
    let pilot_identity = mutual?.then(identity);
    Some(Discovery {
        address,
        mode: mode?,
        connect_timeout: connect_timeout?,
        pilot_identity,
    })
}

/// A name of one label is in the pod's own namespace, one of two names its namespace; anything longer, and an address, is the mesh's.
fn pilot_namespace(address: &HostPort, environment: &Environment, pod: &Pod) -> String {
    let labels: Vec<_> = address.host.split('.').collect();
    match labels[..] {
        [_] if address.ip().is_none() => pod.namespace.clone(),
        [_, namespace] => namespace.to_owned(),
        _ => environment.get("ISTIO_NAMESPACE").unwrap_or("istio-system").to_owned(),
    }
}

/// The outer option is a fault, the inner one the wish to have no certificates.
pub(super) fn identity(
    flags: &Flags,
    environment: &Environment,
    pod: &Pod,
    faults: &mut Faults,
) -> Option<Option<IdentitySettings>> {
    let ttl = faults.duration(
        "--csr-ttl",
        environment.choose(flags.csr_ttl.as_deref(), "SECRET_TTL", "24h"),
    );
    let address = environment.choose(
        flags.ca_address.as_deref(),
        "CA_ADDR",
        "istio-citadel.istio-system:8060",
    );
    if address == "none" {
        return Some(None);
    }
    let address = faults.take("--caAddress", address.parse::<HostPort>());
    if flags.ca_san.is_empty() {
        faults.add(
            "--caSAN",
            "empty: the CA would be anybody with a certificate of the mesh",
        );
    }
    let account = environment
        .get("SERVICE_ACCOUNT")
        .or_else(|| environment.get("ISTIO_META_SERVICE_ACCOUNT"));
    let name = account.and_then(|account| pki::SpiffeId::new(&pod.trust_domain, &pod.namespace, account).ok());
    Some(Some(IdentitySettings {
        citadel: Citadel {
            address: address?,
            server_name: flags.ca_san.clone(),
            root_file: flags.ca_root_cert.clone(),
            token_file: flags.token_path.clone(),
            timeout: Duration::from_secs(10),
        },
        ttl: ttl?,
        output: flags
            .output_certs
            .clone()
            .or_else(|| environment.get("OUTPUT_CERTS").map(Into::into)),
        name,
    }))
}

pub(super) fn status(flags: &Flags, environment: &Environment, faults: &mut Faults) -> Option<StatusSettings> {
    let address = match flags.status_port.as_str() {
        "0" => Some(None),
        port => socket(
            ("--statusAddress", &flags.status_address),
            ("--statusPort", port),
            faults,
        )
        .map(Some),
    };
    let application = flags
        .app_address
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or("127.0.0.1");
    let application = faults.parse::<IpAddr>("--app-address", application, "an IP address");
    let words = flags
        .application_ports
        .iter()
        .map(|port| port.trim())
        .filter(|port| !port.is_empty());
    let ports: Vec<Option<u16>> = words
        .map(|port| faults.parse("--applicationPorts", port, "a port"))
        .collect();
    let probes = match environment.get("ISTIO_KUBE_APP_PROBERS") {
        Some(json) => faults.take("ISTIO_KUBE_APP_PROBERS", parse_probes(json)),
        None => Some(Default::default()),
    };
    let application = application?;
    let scrape = match environment.get("ISTIO_PROMETHEUS_ANNOTATIONS") {
        Some(json) => faults.take("ISTIO_PROMETHEUS_ANNOTATIONS", Scrape::parse(json, application)),
        None => Some(None),
    };
    Some(StatusSettings {
        address: address?,
        application,
        application_ports: ports.into_iter().collect::<Option<_>>()?,
        probes: probes?,
        scrape: scrape?,
    })
}

/// The drain before the end: today's variables, the original's, or the proxy's own drain.
pub(super) fn termination(
    flags: &Flags,
    environment: &Environment,
    faults: &mut Faults,
) -> Option<TerminationSettings> {
    let given = match environment.get("TERMINATION_DRAIN_DURATION_SECONDS") {
        Some(seconds) => faults
            .parse("TERMINATION_DRAIN_DURATION_SECONDS", seconds, "a number of seconds")
            .map(Duration::from_secs),
        None => runtime::duration::parse(&flags.drain_duration).ok(), // judged elsewhere
    };
    let minimum = match environment.get("MINIMUM_DRAIN_DURATION") {
        Some(text) => faults.duration("MINIMUM_DRAIN_DURATION", text),
        None => Some(Duration::from_secs(5)),
    };
    let until_idle = match environment.get("EXIT_ON_ZERO_ACTIVE_CONNECTIONS") {
        Some(text) => faults.parse("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", text, "true or false"),
        None => Some(false),
    };
    let drain = given?;
    Some(TerminationSettings {
        drain,
        minimum: minimum?.min(drain),
        until_idle: until_idle?,
    })
}

/// An address and a port of two flags.
pub(super) fn socket(address: (&str, &str), port: (&str, &str), faults: &mut Faults) -> Option<SocketAddr> {
    let ip = faults.parse::<IpAddr>(address.0, address.1, "an IP address");
    let port = faults.parse::<u16>(port.0, port.1, "a port from 1 to 65535");
    Some(SocketAddr::new(ip?, port?))
}
