//! Patches of listeners, of their filters and of their chains.

use model::kinds::{ApplyTo, PatchContext};
use model::mesh::{EnvoyOperation, EnvoyTarget, ListenerTarget};
use prost::Message;

use super::matching::{Place, network_filter};
use super::{Applied, adds_on, cluster, filters, http, merge, side};
use crate::listener::MANAGER;
use crate::pb::core;
use crate::pb::listener::{FilterChain, Listener};
use crate::scope::Scope;
use crate::{Notes, TranslateError};

/// `FilterChain.transport_socket`
const TRANSPORT_SOCKET: u32 = 6;

/// What every step needs.
pub(super) struct Work<'s, 'a> {
    pub(super) scope: &'s Scope<'a>,
    pub(super) place: Place<'s, 'a>,
    pub(super) context: PatchContext,
}

impl<'s, 'a> Work<'s, 'a> {
    /// The patches of a kind that are for this side and this listener, each with what it asks for.
    pub(super) fn patches(
        &self,
        apply_to: ApplyTo,
    ) -> impl Iterator<Item = (&'s Applied<'a>, Option<&'s ListenerTarget>)> {
        let whole = apply_to == ApplyTo::Listener;
        let all = self
            .scope
            .patches()
            .to(apply_to)
            .filter(|applied| applied.fits(self.context));
        all.filter_map(move |applied| match &applied.patch.target {
            EnvoyTarget::All => Some((applied, None)),
            EnvoyTarget::Listener(wanted) => self.place.matches(wanted, whole).then_some((applied, Some(wanted))),
            EnvoyTarget::Route(_) | EnvoyTarget::Cluster(_) => None,
        })
    }

    /// Those that are also for this chain.
    fn of_chain(&self, apply_to: ApplyTo, chain: &FilterChain) -> Vec<(&'s Applied<'a>, Option<&'s ListenerTarget>)> {
        let all = self.patches(apply_to);
        all.filter(|(_, wanted)| wanted.is_none_or(|wanted| self.place.matches_chain(wanted, chain)))
            .collect()
    }
}

/// Patches a generated listener; `None`: it is removed. The flag tells whether anything changed.
///
/// # Errors
/// If nothing is left of it that could accept a connection.
pub(crate) fn patch(
    scope: &Scope<'_>,
    mut listener: Listener,
    notes: &mut Notes,
) -> Result<Option<(Listener, bool)>, TranslateError> {
    let context = context(scope, &listener);
    let work = Work {
        scope,
        place: Place::of(scope, &listener),
        context,
    };
    let mut changed = false;
    for (added, applied) in added(scope).filter(|(added, _)| added.name == listener.name) {
        let rule = format!("listener {} is not added: one of this name is generated", added.name);
        applied.report(notes, &rule, "use MERGE, or another name");
    }
    for (applied, _) in work.patches(ApplyTo::Listener) {
        match applied.patch.operation {
            EnvoyOperation::Remove => {
                notes.origin(applied.object);
                return Ok(None);
            }
            operation if operation.is_merge() && applied.starts(notes) => {
                changed |= merge::message(&mut listener, &applied.patch.value, operation);
            }
            _ => {}
        }
    }
    for (applied, wanted) in work.patches(ApplyTo::ListenerFilter) {
        let name = wanted
            .map(|wanted| wanted.listener.listener_filter.as_str())
            .filter(|name| !name.is_empty());
        changed |= named_filters(&mut listener.listener_filters, applied, name, notes);
    }
    changed |= chains(&work, &mut listener, notes);
    if listener.filter_chains.is_empty() && listener.default_filter_chain.is_none() {
        let last = scope.patches().0.last().map(|applied| applied.object);
        let object = last.expect("a listener that lost its chains was patched");
        let rule = format!("listener {} has no filter chains left", listener.name);
        return Err(TranslateError::new(object, rule, "remove the listener instead"));
    }
    Ok(Some((listener, changed)))
}

fn named_filters<F: filters::Named>(
    list: &mut Vec<F>,
    applied: &Applied<'_>,
    name: Option<&str>,
    notes: &mut Notes,
) -> bool {
    if applied.patch.operation != EnvoyOperation::Merge {
        return filters::apply(list, applied, name, notes);
    }
    let meant = list
        .iter_mut()
        .filter(|filter| name.is_none_or(|name| filter.name() == name));
    meant.fold(false, |changed, filter| {
        filters::merge(filter, applied, notes) | changed
    })
}

/// Whether a listener of this name is taken out; only what its name and plan say is asked.
pub(crate) fn removed(scope: &Scope<'_>, name: &str) -> bool {
    let mut removing = scope
        .patches()
        .to(ApplyTo::Listener)
        .filter(|applied| applied.patch.operation == EnvoyOperation::Remove);
    removing.next().is_some() && matches!(crate::listener::generate(scope, name), Ok(None))
}

/// Listeners that are added, with the patch that does it.
pub(crate) fn added<'s, 'a>(scope: &'s Scope<'a>) -> impl Iterator<Item = (Listener, &'s Applied<'a>)> {
    let contexts: &[PatchContext] = match scope.is_gateway() {
        true => &[PatchContext::Gateway],
        false => &[PatchContext::SidecarOutbound, PatchContext::SidecarInbound],
    };
    let adding = scope.patches().to(ApplyTo::Listener).filter(|applied| {
        applied.patch.operation == EnvoyOperation::Add && contexts.iter().any(|context| adds_on(applied, *context))
    });
    adding.filter_map(|applied| Some((Listener::decode(applied.patch.value.as_slice()).ok()?, applied)))
}

fn context(scope: &Scope<'_>, listener: &Listener) -> PatchContext {
    side(
        scope,
        listener.traffic_direction == i32::from(core::TrafficDirection::Inbound),
    )
}

// === chains ===

fn chains(work: &Work<'_, '_>, listener: &mut Listener, notes: &mut Notes) -> bool {
    let mut changed = false;
    let mut kept = Vec::with_capacity(listener.filter_chains.len());
    for mut chain in std::mem::take(&mut listener.filter_chains) {
        let (keep, touched) = chain_of(work, &mut chain, notes);
        changed |= touched || !keep;
        if keep {
            kept.push(chain);
        }
    }
    listener.filter_chains = kept;
    if let Some(mut chain) = listener.default_filter_chain.take() {
        let (keep, touched) = chain_of(work, &mut chain, notes);
        changed |= touched || !keep;
        listener.default_filter_chain = keep.then_some(chain);
    }
    for (applied, _) in work
        .patches(ApplyTo::FilterChain)
        .filter(|(applied, _)| applied.patch.operation == EnvoyOperation::Add)
    {
        let Ok(chain) = FilterChain::decode(applied.patch.value.as_slice()) else {
            continue;
        };
        if listener
            .filter_chains
            .iter()
            .any(|known| known.filter_chain_match == chain.filter_chain_match)
        {
            let rule = format!(
                "the chain is not added: another of listener {} matches the same",
                listener.name
            );
            applied.report(notes, &rule, "use MERGE, or another filter_chain_match");
        } else if applied.starts(notes) {
            listener.filter_chains.push(chain);
            changed = true;
        }
    }
    changed
}

/// Whether the chain stays, and whether anything in it changed.
fn chain_of(work: &Work<'_, '_>, chain: &mut FilterChain, notes: &mut Notes) -> (bool, bool) {
    let mut changed = false;
    for (applied, _) in work.of_chain(ApplyTo::FilterChain, chain) {
        match applied.patch.operation {
            EnvoyOperation::Remove => {
                notes.origin(applied.object);
                return (false, true);
            }
            operation if operation.is_merge() && applied.starts(notes) => changed |= merge_chain(chain, applied),
            _ => {}
        }
    }
    changed |= network_filters(work, chain, notes);
    (!chain.filters.is_empty(), changed)
}

fn merge_chain(chain: &mut FilterChain, applied: &Applied<'_>) -> bool {
    let value = &applied.patch.value;
    let socket = FilterChain::decode(value.as_slice())
        .ok()
        .and_then(|value| value.transport_socket);
    let same = chain
        .transport_socket
        .as_mut()
        .zip(socket.as_ref())
        .filter(|(known, given)| known.name == given.name);
    let Some((known, given)) = same else {
        if socket.is_some() {
            // Another kind of socket takes the place of the one that is there.
            chain.transport_socket = None;
        }
        return merge::message(chain, value, applied.patch.operation);
    };
    let merged = match (cluster::settings_mut(known), cluster::settings(given)) {
        (Some(target), Some(value)) => merge::any(target, value),
        _ => false,
    };
    let rest = merge::without(TRANSPORT_SOCKET, value);
    merged | (!rest.is_empty() && merge::message(chain, &rest, applied.patch.operation))
}

fn network_filters(work: &Work<'_, '_>, chain: &mut FilterChain, notes: &mut Notes) -> bool {
    let patches = work.of_chain(ApplyTo::NetworkFilter, chain);
    let name = |wanted: Option<&'_ ListenerTarget>| wanted.and_then(network_filter).map(|filter| filter.name.clone());
    let mut changed = false;
    for (applied, wanted) in patches
        .iter()
        .filter(|(applied, _)| !applied.patch.operation.is_merge())
    {
        changed |= filters::apply(&mut chain.filters, applied, name(*wanted).as_deref(), notes);
    }
    for (applied, wanted) in patches
        .iter()
        .filter(|(applied, _)| applied.patch.operation == EnvoyOperation::Merge)
    {
        changed |= named_filters(&mut chain.filters, applied, name(*wanted).as_deref(), notes);
    }
    let http = work.of_chain(ApplyTo::HttpFilter, chain);
    for filter in chain.filters.iter_mut().filter(|filter| filter.name == MANAGER) {
        changed |= http::manager(work, &http, filter, notes);
    }
    changed
}
