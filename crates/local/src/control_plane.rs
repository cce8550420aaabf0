//! The control plane's processes: istio_ca and pilot-discovery, each on its own address with its real ports.
//!
//! They start together with everything else and wait for each other's files and sockets; nothing here knows an order.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::pod::World;
use crate::probe::{Check, ask, get_status};
use crate::process::Launch;
use crate::restarts::RestartPolicy;
use crate::state::write_atomic;
use crate::supervise::{State, Stop, supervise};
use crate::tokens::{AUDIENCE, ISSUER};

const PILOT_ACCOUNT: &str = "istio-system/istio-pilot-service-account";
const PILOT_SECRET: &str = "istio-system.istio-pilot-service-account";
const CA_PORT: u16 = 8060;
pub(crate) const PILOT_HTTP_PORT: u16 = 8080;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    Citadel,
    Pilot,
}

#[derive(Debug)]
pub(crate) enum Event {
    Process(Component, State),
    Ready(Component),
}

impl Component {
    pub(crate) const ALL: [Component; 2] = [Component::Citadel, Component::Pilot];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Component::Citadel => "istio-citadel",
            Component::Pilot => "istio-pilot",
        }
    }

    /// The container's name in a cluster.
    pub(crate) fn container(self) -> &'static str {
        match self {
            Component::Citadel => "citadel",
            Component::Pilot => "discovery",
        }
    }

    fn arguments(self, world: &World) -> Result<Vec<String>, String> {
        match self {
            Component::Citadel => citadel(world),
            Component::Pilot => Ok(pilot(world)),
        }
    }

    async fn is_ready(self, world: &World) -> bool {
        let timeout = Duration::from_secs(1);
        let subnet = world.settings.subnet;
        match self {
            Component::Citadel => ask(&Check::Tcp { port: CA_PORT }, subnet.citadel(), timeout)
                .await
                .is_ok(),
            Component::Pilot => get_status(subnet.pilot(), PILOT_HTTP_PORT, "/ready", None, timeout).await == Ok(200),
        }
    }
}

/// Keeps one component running.
pub(crate) async fn run(
    component: Component,
    world: Rc<World>,
    events: mpsc::UnboundedSender<Event>,
    stop: watch::Receiver<Stop>,
) {
    let prepare = || {
        Ok(Launch {
            program: world.settings.executable.clone(),
            args: component.arguments(&world)?,
            env: vec![
                ("POD_NAME".into(), component.name().into()),
                ("POD_NAMESPACE".into(), crate::gateway::ROOT_NAMESPACE.into()),
            ],
            directory: world.settings.directory.clone(),
            log: world.layout.log(component.name(), component.container()),
        })
    };
    let health = |_| async {
        while !component.is_ready(&world).await {
            sleep(Duration::from_millis(20)).await;
        }
        let _ = events.send(Event::Ready(component));
        std::future::pending().await
    };
    let report = |state| {
        let _ = events.send(Event::Process(component, state));
    };
    let grace = Duration::from_secs(1);
    supervise(
        &*world.processes,
        RestartPolicy::Always,
        grace,
        prepare,
        health,
        report,
        stop,
    )
    .await;
}

fn words(command: &[&str], flags: &[(&str, String)]) -> Vec<String> {
    let flags = flags
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
    command.iter().map(|word| (*word).to_owned()).chain(flags).collect()
}

fn citadel(world: &World) -> Result<Vec<String>, String> {
    let (settings, layout) = (&world.settings, &world.layout);
    let mut args = words(
        &["istio_ca"],
        &[
            ("storage-dir", layout.ca().display().to_string()),
            ("grpc-address", settings.subnet.citadel().to_string()),
            ("grpc-port", CA_PORT.to_string()),
            ("monitoring-port", "15014".into()),
            ("trust-domain", settings.trust_domain.borrow().clone()),
            ("token-jwks", layout.jwks().display().to_string()),
            ("token-issuer", ISSUER.into()),
            ("token-audience", AUDIENCE.into()),
            ("secret-dir", layout.secrets().display().to_string()),
            ("secret-service-accounts", PILOT_ACCOUNT.into()),
            ("log_output_level", "info".into()),
        ],
    );
    args.extend(authority(world)?);
    Ok(args)
}

/// The root of the mesh: the directory's own, if it holds the Secret `cacerts` as an installation would, else a new one.
fn authority(world: &World) -> Result<Vec<String>, String> {
    let desired = world.desired.borrow();
    let Some(secret) = desired
        .secrets
        .get(&(crate::gateway::ROOT_NAMESPACE.to_owned(), "cacerts".to_owned()))
    else {
        return Ok(vec!["--self-signed-ca".into()]);
    };
    let mut args = Vec::new();
    for (flag, key, required) in [
        ("signing-cert", "ca-cert.pem", true),
        ("signing-key", "ca-key.pem", true),
        ("root-cert", "root-cert.pem", true),
        ("cert-chain", "cert-chain.pem", false),
    ] {
        let Some(text) = secret.get(key) else {
            if required {
                return Err(format!(
                    "Secret istio-system/cacerts has no key `{key}`; add it, or remove the Secret for a root made here"
                ));
            }
            continue;
        };
        let path = world.layout.ca().join(format!("plugged-in-{key}"));
        write_atomic(&path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
        args.extend([format!("--{flag}"), path.display().to_string()]);
    }
    Ok(args)
}

fn pilot(world: &World) -> Vec<String> {
    let (settings, layout) = (&world.settings, &world.layout);
    let at = |port: u16| format!("{}:{port}", settings.subnet.pilot());
    words(
        &["pilot-discovery", "discovery"],
        &[
            ("configDir", settings.directory.display().to_string()),
            ("configDir", layout.registry().display().to_string()),
            ("httpAddr", at(PILOT_HTTP_PORT)),
            ("grpcAddr", at(15010)),
            ("secureGrpcAddr", at(15011)),
            ("monitoringAddr", at(15014)),
            ("domain", "cluster.local".into()),
            ("trust-domain", settings.trust_domain.borrow().clone()),
            ("meshConfig", layout.mesh_config().display().to_string()),
            ("certDir", layout.secrets().join(PILOT_SECRET).display().to_string()),
            ("log_output_level", "info".into()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::{desired, manifest};
    use crate::pod::tests::pod;
    use crate::supervise::tests::Scripted;
    use serde_json::json;

    #[test]
    fn the_root_is_the_directorys_or_a_new_one() {
        let (pod, _) = pod(
            json!({"name": "app"}),
            std::net::Ipv4Addr::LOCALHOST,
            Scripted::default(),
        );
        assert_eq!(authority(&pod.world), Ok(vec!["--self-signed-ca".to_owned()]));
        let secret =
            json!({"kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"}, "stringData": {}});
        assert_eq!(manifest(secret.clone()).namespace, "istio-system");
        *pod.world.desired.borrow_mut() = desired(&[secret]);
        assert!(authority(&pod.world).unwrap_err().contains("has no key `ca-cert.pem`"));
    }
}
