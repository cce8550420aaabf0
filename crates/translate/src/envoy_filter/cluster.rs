//! Patches of clusters.

use model::kinds::{ApplyTo, PatchContext};
use model::mesh::{EnvoyOperation, EnvoyTarget};
use prost::Message;
use proto::envoy::google::protobuf::Any;

use super::{Applied, adds_on, matching, merge, side};
use crate::Notes;
use crate::names;
use crate::pb::cluster::Cluster;
use crate::pb::core::{TransportSocket, transport_socket};
use crate::scope::Scope;

/// `Cluster.transport_socket`
const TRANSPORT_SOCKET: u32 = 24;

/// Patches a generated cluster; `None`: it is removed. The flag tells whether anything changed.
pub(crate) fn patch(scope: &Scope<'_>, mut cluster: Cluster, notes: &mut Notes) -> Option<(Cluster, bool)> {
    let context = context(scope, &cluster.name);
    let mut changed = false;
    for applied in scope.patches().to(ApplyTo::Cluster) {
        let operation = applied.patch.operation;
        if operation == EnvoyOperation::Add && adds_on(applied, context) && name_of(applied) == cluster.name {
            let rule = format!("cluster {} is not added: one of this name is generated", cluster.name);
            applied.report(notes, &rule, "use MERGE, or another name");
        }
        if !matches(scope, applied, context, &cluster.name) {
            continue;
        }
        match operation {
            EnvoyOperation::Remove => {
                notes.origin(applied.object);
                return None;
            }
            operation if operation.is_merge() && applied.starts(notes) => changed |= merge_into(&mut cluster, applied),
            _ => {}
        }
    }
    Some((cluster, changed))
}

/// Whether a cluster is taken out.
pub(crate) fn removed(scope: &Scope<'_>, name: &str) -> bool {
    let context = context(scope, name);
    let mut removing = scope
        .patches()
        .to(ApplyTo::Cluster)
        .filter(|applied| applied.patch.operation == EnvoyOperation::Remove);
    removing.any(|applied| matches(scope, applied, context, name))
}

/// Clusters that are added, with the patch that does it.
pub(crate) fn added<'s, 'a>(scope: &'s Scope<'a>) -> impl Iterator<Item = (Cluster, &'s Applied<'a>)> {
    let contexts: &[PatchContext] = match scope.is_gateway() {
        true => &[PatchContext::Gateway],
        false => &[PatchContext::SidecarOutbound, PatchContext::SidecarInbound],
    };
    let adding = scope.patches().to(ApplyTo::Cluster).filter(|applied| {
        applied.patch.operation == EnvoyOperation::Add && contexts.iter().any(|context| adds_on(applied, *context))
    });
    adding.filter_map(|applied| Some((Cluster::decode(applied.patch.value.as_slice()).ok()?, applied)))
}

fn name_of(applied: &Applied<'_>) -> String {
    Cluster::decode(applied.patch.value.as_slice())
        .map(|cluster| cluster.name)
        .unwrap_or_default()
}

fn context(scope: &Scope<'_>, name: &str) -> PatchContext {
    side(
        scope,
        name.starts_with("inbound|") || name == names::INBOUND_PASSTHROUGH,
    )
}

fn matches(scope: &Scope<'_>, applied: &Applied<'_>, context: PatchContext, name: &str) -> bool {
    applied.fits(context)
        && match &applied.patch.target {
            EnvoyTarget::Cluster(wanted) => matching::cluster(scope, wanted, name),
            EnvoyTarget::All => true,
            EnvoyTarget::Listener(_) | EnvoyTarget::Route(_) => false,
        }
}

/// A transport socket is merged into the one of its name, wherever the cluster has it; if there is none, it takes the place of the one
/// that is there. (Where sockets are chosen by endpoint, one more would be refused.)
fn merge_into(cluster: &mut Cluster, applied: &Applied<'_>) -> bool {
    let value = &applied.patch.value;
    let socket = Cluster::decode(value.as_slice())
        .ok()
        .and_then(|value| value.transport_socket);
    let Some(socket) = socket else {
        return merge::message(cluster, value, applied.patch.operation);
    };
    let by_endpoint = !cluster.transport_socket_matches.is_empty();
    let mut matches = cluster
        .transport_socket_matches
        .iter_mut()
        .filter_map(|one| one.transport_socket.as_mut());
    let same = if by_endpoint {
        matches.find(|known| known.name == socket.name)
    } else {
        cluster
            .transport_socket
            .as_mut()
            .filter(|known| known.name == socket.name)
    };
    let mut changed = match (same.and_then(settings_mut), settings(&socket)) {
        (Some(target), Some(value)) => merge::any(target, value),
        (Some(_), None) => false,
        (None, _) if by_endpoint => false,
        (None, _) => {
            cluster.transport_socket = Some(socket);
            true
        }
    };
    let rest = merge::without(TRANSPORT_SOCKET, value);
    if !rest.is_empty() {
        changed |= merge::message(cluster, &rest, applied.patch.operation);
    }
    changed
}

pub(super) fn settings(socket: &TransportSocket) -> Option<&Any> {
    match &socket.config_type {
        Some(transport_socket::ConfigType::TypedConfig(any)) => Some(any),
        None => None,
    }
}

pub(super) fn settings_mut(socket: &mut TransportSocket) -> Option<&mut Any> {
    match &mut socket.config_type {
        Some(transport_socket::ConfigType::TypedConfig(any)) => Some(any),
        None => None,
    }
}
