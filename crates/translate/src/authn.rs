//! Which transport a workload's port accepts: mutual TLS only, both, or plaintext only.
//!
//! Asked twice, with one answer: by the server's listeners, and by the endpoints that tell clients whether to use mutual TLS.

use std::collections::BTreeMap;

use model::kinds::{MtlsMode, MutualTls, PeerAuthentication, Policy, PolicyMtlsMode};
use model::mesh::{Config, ConfigRef, Service, ServicePort, Snapshot};

use crate::visibility::selects;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerMode {
    Disable,
    Permissive,
    Strict,
}

/// A mode and the policy that says so; none where it is the default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) mode: PeerMode,
    pub(crate) policy: Option<&'a ConfigRef>,
}

/// The mode of a port, without its reason.
pub(crate) fn peer_mode(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: Option<u16>,
    service: Option<(&Service, &ServicePort)>,
) -> PeerMode {
    peer(snapshot, namespace, labels, port, service).mode
}

/// What `port` demands (as the workload listens; `None`: ports that no service names).
///
/// Today's PeerAuthentication is asked first, narrowest scope first; where it says nothing, 1.1's Policy for the service,
/// then MeshPolicy; where nothing is configured the port accepts both.
pub(crate) fn peer<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: Option<u16>,
    service: Option<(&Service, &ServicePort)>,
) -> Peer<'a> {
    let default = Peer {
        mode: PeerMode::Permissive,
        policy: None,
    };
    let today = peer_authentication(snapshot, namespace, labels, port);
    today
        .or_else(|| policy(snapshot, namespace, service))
        .unwrap_or(default)
}

fn peer_authentication<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    port: Option<u16>,
) -> Option<Peer<'a>> {
    let in_namespace = |name: &str| -> Vec<&'a Config<PeerAuthentication>> {
        let all = snapshot.peer_authentications.iter().map(|policy| policy.as_ref());
        all.filter(|policy| policy.namespace() == name).collect()
    };
    let root = &snapshot.mesh.root_namespace;
    let own = in_namespace(namespace);
    // A selector in the root namespace would reach into every namespace; it is ignored, as today.
    let workload = own
        .iter()
        .find(|policy| selector(policy).is_some_and(|s| namespace != root && selects(s, labels)));
    let wide = |list: &[&'a Config<PeerAuthentication>]| list.iter().copied().find(|policy| selector(policy).is_none());
    let said = |policy: &'a Config<PeerAuthentication>, mtls: Option<&MutualTls>| {
        let mode = mode(mtls?.mode)?;
        Some(Peer {
            mode,
            policy: Some(&policy.reference),
        })
    };
    let at_port = workload
        .zip(port)
        .and_then(|(policy, port)| said(policy, policy.spec.port_level_mtls.get(&port.into())));
    let scopes = [workload.copied(), wide(&own), wide(&in_namespace(root))];
    let whole = || {
        scopes
            .into_iter()
            .flatten()
            .find_map(|policy| said(policy, policy.spec.mtls.as_ref()))
    };
    at_port.or_else(whole)
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
fn policy<'a>(snapshot: &'a Snapshot, namespace: &str, service: Option<(&Service, &ServicePort)>) -> Option<Peer<'a>> {
    let all = snapshot.policies.iter().map(|policy| policy.as_ref());
    let own: Vec<&'a Config<Policy>> = all.filter(|policy| policy.namespace() == namespace).collect();
    let targeted = service.and_then(|(service, port)| own.iter().find(|policy| targets(&policy.spec, service, port)));
    let whole = || own.iter().find(|policy| policy.spec.targets.is_empty());
    let mesh = || snapshot.mesh_policies.first().map(|policy| policy.as_ref());
    let policy = targeted.or_else(whole).copied().or_else(mesh)?;
    let mode = match policy.spec.mtls() {
        None => PeerMode::Disable,
        Some(mtls) if mtls.mode == PolicyMtlsMode::Permissive => PeerMode::Permissive,
        Some(_) => PeerMode::Strict,
    };
    Some(Peer {
        mode,
        policy: Some(&policy.reference),
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
