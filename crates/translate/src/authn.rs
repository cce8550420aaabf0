//! Which transport a workload's port accepts: mutual TLS only, both, or plaintext only.
//!
//! Asked twice, with one answer: by the server's listeners, and by the endpoints that tell clients whether to use mutual TLS.

use std::collections::BTreeMap;

use model::kinds::{MtlsMode, PeerAuthentication, Policy, PolicyMtlsMode};
use model::mesh::{Config, Service, ServicePort, Snapshot};

use crate::visibility::selects;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerMode {
    Disable,
    Permissive,
    Strict,
}

/// The mode of `port` (as the workload listens; `None`: ports that no service names).
///
/// Today's PeerAuthentication is asked first, narrowest scope first; where it says nothing, 1.1's Policy for the service,
/// then MeshPolicy; where nothing is configured the port accepts both.
pub(crate) fn peer_mode(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: Option<u16>,
    service: Option<(&Service, &ServicePort)>,
) -> PeerMode {
    peer_authentication(snapshot, namespace, labels, port)
        .or_else(|| policy(snapshot, namespace, service))
        .unwrap_or(PeerMode::Permissive)
}

fn peer_authentication(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: Option<u16>,
) -> Option<PeerMode> {
    let in_namespace = |name: &str| {
        let name = name.to_owned();
        snapshot
            .peer_authentications
            .iter()
            .map(|policy| policy.as_ref())
            .filter(move |policy| policy.namespace() == name)
    };
    let root = &snapshot.mesh.root_namespace;
    // A selector in the root namespace would reach into every namespace; it is ignored, as today.
    let workload = (namespace != root)
        .then(|| in_namespace(namespace).find(|policy| selector(policy).is_some_and(|s| selects(s, labels))))
        .flatten();
    let at_port = workload
        .zip(port)
        .and_then(|(policy, port)| policy.spec.port_level_mtls.get(&port.into()));
    let wide = |name: &str| in_namespace(name).find(|policy| selector(policy).is_none());
    let scopes = [workload, wide(namespace), wide(root)];
    at_port.and_then(|mtls| mode(mtls.mode)).or_else(|| {
        let modes = scopes
            .into_iter()
            .flatten()
            .map(|policy| policy.spec.mtls.as_ref().map(|mtls| mtls.mode));
        modes.flatten().find_map(mode)
    })
}

fn selector(policy: &Config<PeerAuthentication>) -> Option<&BTreeMap<String, String>> {
    let labels = &policy.spec.selector.as_ref()?.match_labels;
    (!labels.is_empty()).then_some(labels)
}

fn mode(mode: MtlsMode) -> Option<PeerMode> {
    match mode {
        MtlsMode::Unset => None,
        MtlsMode::Disable => Some(PeerMode::Disable),
        MtlsMode::Permissive => Some(PeerMode::Permissive),
        MtlsMode::Strict => Some(PeerMode::Strict),
    }
}

/// 1.1's policies: one that names the service (and port), else the namespace's `default`, else the mesh's.
fn policy(snapshot: &Snapshot, namespace: &str, service: Option<(&Service, &ServicePort)>) -> Option<PeerMode> {
    let in_namespace = || {
        snapshot
            .policies
            .iter()
            .filter(|policy| policy.namespace() == namespace)
    };
    let targeted = service.and_then(|(service, port)| {
        in_namespace()
            .find(|policy| targets(&policy.spec, service, port))
            .map(|policy| &policy.spec)
    });
    let whole = || {
        in_namespace()
            .find(|policy| policy.spec.targets.is_empty())
            .map(|policy| &policy.spec)
    };
    let mesh = || snapshot.mesh_policies.first().map(|policy| &policy.spec);
    targeted.or_else(whole).or_else(mesh).map(|policy| match policy.mtls() {
        None => PeerMode::Disable,
        Some(mtls) if mtls.mode == PolicyMtlsMode::Permissive => PeerMode::Permissive,
        Some(_) => PeerMode::Strict,
    })
}

fn targets(policy: &Policy, service: &Service, port: &ServicePort) -> bool {
    policy.targets.iter().any(|target| {
        let names_port = target.ports.iter().any(|wanted| {
            wanted.number == Some(port.number.into()) || wanted.name.as_deref().is_some_and(|name| name == port.name)
        });
        target.name == service.name && (target.ports.is_empty() || names_port)
    })
}
