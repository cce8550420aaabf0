//! EnvoyFilters: the last word on what is generated.
//!
//! Patches are applied to the finished message and before it is encoded, in the order of today's control plane: smaller priorities first,
//! then objects of the root namespace, then the oldest. An object of the root namespace is for every proxy, any other for its own namespace.
//! A proxy that no object is for pays nothing; a patch that matches nothing changes no byte.
//!
//! | question | module |
//! |---|---|
//! | which messages a patch means | `matching` |
//! | how values are laid over what is there | `merge` |
//! | lists of named filters | `filters` |
//! | what is patched in what | `cluster`, `listener`, `http`, `route` |
//! | what our own proxy has of Envoy's API | `model::kinds` |
//!
//! Three rules keep a mistake from costing a listener. What Envoy refuses for its order is put in order: nothing comes after the filter that
//! ends a chain, and that filter is not taken away. A domain that is taken is left out of an added virtual host. And a patch that our own
//! proxy has no use for is left out for it alone. Each is reported on the object.

mod cluster;
#[cfg(test)]
mod envoy_tests;
mod filters;
mod http;
mod listener;
mod matching;
mod merge;
mod order;
mod route;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use model::kinds::{ApplyTo, PatchContext};
use model::mesh::{ConfigRef, EnvoyPatch, EnvoyPatches, Proxy, ProxyKind, Snapshot};

use crate::scope::Scope;
use crate::visibility::selects;
use crate::{Notes, ResourceType, TranslateError};

pub(crate) use cluster::{added as added_clusters, patch as cluster, removed as removes_cluster};
pub(crate) use listener::{added as added_listeners, patch as listener, removed as removes_listener};
pub(crate) use order::encode;
pub(crate) use route::patch as routes;

/// The label by which proxies of a Gateway of the Gateway API are known.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The patches for one proxy, in order.
#[derive(Debug, Default)]
pub(crate) struct Patches<'a>(Vec<Applied<'a>>);

/// A patch that is for the proxy.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    object: &'a ConfigRef,
    patch: &'a EnvoyPatch,
    /// Whether the proxy is our own.
    native: bool,
}

// === impl Patches ===

impl<'a> Patches<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, proxy: &Proxy) -> Self {
        let root = snapshot.mesh.root_namespace.as_str();
        let all = snapshot.envoy_filters.iter().map(|object| object.as_ref());
        let mut objects: Vec<_> = all
            .filter(|object| object.namespace() == root || object.namespace() == proxy.namespace)
            .filter(|object| is_for(&object.spec, object.namespace(), root, proxy))
            .collect();
        // The snapshot's order, which is by age, decides among equals.
        objects.sort_by_key(|object| (object.spec.priority, object.namespace() != root));
        let mut patches = Vec::new();
        for object in objects {
            for patch in object.spec.patches.iter().filter(|patch| fits_proxy(patch, proxy)) {
                patches.push(Applied {
                    object: &object.reference,
                    patch,
                    native: proxy.native,
                });
            }
        }
        Patches(patches)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn to(&self, apply_to: ApplyTo) -> impl Iterator<Item = &Applied<'a>> {
        self.0.iter().filter(move |applied| applied.patch.apply_to == apply_to)
    }

    /// Adds to a key what may make this proxy's resources differ from another's.
    pub(crate) fn key(&self, ty: ResourceType, text: &mut String) {
        for applied in self.0.iter().filter(|applied| touches(applied.patch.apply_to, ty)) {
            let (object, path) = (applied.object, &applied.patch.path);
            write!(text, "|patch={}/{} {path}", object.namespace, object.name)
                .expect("writing to a String cannot fail");
        }
    }
}

/// Whether such a patch can change resources of a type.
pub(crate) fn touches(apply_to: ApplyTo, ty: ResourceType) -> bool {
    match apply_to {
        ApplyTo::Cluster => ty == ResourceType::Cluster,
        ApplyTo::Listener
        | ApplyTo::FilterChain
        | ApplyTo::NetworkFilter
        | ApplyTo::HttpFilter
        | ApplyTo::ListenerFilter
        | ApplyTo::ExtensionConfig => ty == ResourceType::Listener,
        // Routes to a workload are part of its listeners.
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            matches!(ty, ResourceType::Listener | ResourceType::Route)
        }
        ApplyTo::Bootstrap | ApplyTo::Invalid => false,
    }
}

fn is_for(spec: &EnvoyPatches, namespace: &str, root: &str, proxy: &Proxy) -> bool {
    let named = || {
        let name = proxy.labels.get(GATEWAY_NAME);
        name.is_some_and(|name| spec.gateways.contains(name)) && (namespace == proxy.namespace || namespace == root)
    };
    selects(&spec.selector, &proxy.labels) && (spec.gateways.is_empty() || named())
}

fn fits_proxy(patch: &EnvoyPatch, proxy: &Proxy) -> bool {
    let context = match patch.context {
        PatchContext::Any => true,
        PatchContext::Gateway => proxy.kind == ProxyKind::Router,
        PatchContext::SidecarInbound | PatchContext::SidecarOutbound => proxy.kind == ProxyKind::Sidecar,
        PatchContext::Waypoint => false,
    };
    let version = patch
        .proxy_version
        .as_ref()
        .is_none_or(|wanted| !proxy.version.is_empty() && wanted.is_match(&proxy.version));
    let metadata = patch
        .proxy_metadata
        .iter()
        .all(|(key, value)| proxy.metadata.get(key) == Some(value));
    context && version && metadata
}

// === impl Applied ===

impl Applied<'_> {
    fn fits(&self, context: PatchContext) -> bool {
        self.patch.context == PatchContext::Any || self.patch.context == context
    }

    /// Notes that the patch changes a resource; whether it may.
    fn starts(&self, notes: &mut Notes) -> bool {
        notes.origin(self.object);
        let effect = &self.patch.native;
        match (&effect.lack, &effect.idle) {
            _ if !self.native => return true,
            (Some(lack), _) => {
                let rule = format!(
                    "{}: left out for our own proxy, which does not have {lack}",
                    self.patch.path
                );
                let way_out = "it has an effect with Envoy only: start with --data-plane envoy";
                notes.issue(TranslateError::new(self.object, rule, way_out));
            }
            (None, Some(idle)) => {
                let rule = format!("{}: {idle} has an effect with Envoy only", self.patch.path);
                let way_out = "it is without effect with our own proxy";
                notes.issue(TranslateError::new(self.object, rule, way_out));
            }
            (None, None) => {}
        }
        effect.lack.is_none()
    }

    /// The notes of a resource that is all of the patch's making.
    ///
    /// # Errors
    /// If it cannot be for this proxy.
    pub(crate) fn alone(&self) -> Result<Notes, TranslateError> {
        let mut notes = Notes::default();
        if self.starts(&mut notes) {
            return Ok(notes);
        }
        let found = notes.issues.into_iter().next_back();
        Err(found.expect("a patch that may not start says why"))
    }

    fn report(&self, notes: &mut Notes, rule: &str, way_out: &str) {
        let rule = format!("{}: {rule}", self.patch.path);
        notes.issue(TranslateError::new(self.object, rule, way_out));
    }
}

/// Which side of a proxy a message of this direction is on.
fn side(scope: &Scope<'_>, inbound: bool) -> PatchContext {
    match (scope.is_gateway(), inbound) {
        (true, _) => PatchContext::Gateway,
        (false, true) => PatchContext::SidecarInbound,
        (false, false) => PatchContext::SidecarOutbound,
    }
}

/// Whether a patch that adds something without saying on which side adds it on this one: on one only.
fn adds_on(applied: &Applied<'_>, context: PatchContext) -> bool {
    match applied.patch.context {
        PatchContext::Any => context != PatchContext::SidecarInbound,
        wanted => wanted == context,
    }
}
