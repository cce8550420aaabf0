//! The resources of one type for all proxies that translation cannot tell apart.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use model::mesh::{ConfigRef, Proxy};
use translate::{ResourceType, Scope, TranslateError};
use xds::server::{Encoded, Lookup};

use super::State;

/// One resource as it was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// [`Lookup::Broken`] only if there was never a good one.
    pub(crate) lookup: Lookup,
    /// The objects it was made from.
    pub(crate) origins: Arc<[ConfigRef]>,
    /// Why the newest one could not be made; the last good one then stands.
    pub(crate) fault: Option<Fault>,
}

/// What went wrong in making a resource.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Configuration(TranslateError),
    /// A panic: our defect.
    Internal(Arc<str>),
}

/// All resources of a class at one moment.
#[derive(Debug, Default)]
pub(crate) struct Built {
    epoch: u64,
    /// In the order of the names that translation gives.
    pub(crate) list: Arc<Vec<Lookup>>,
    made: HashMap<Arc<str>, Made>,
    /// Parts of the configuration that have no effect.
    pub(crate) issues: Vec<TranslateError>,
}

#[derive(Debug)]
pub(crate) struct Class {
    ty: ResourceType,
    built: Mutex<Option<Arc<Built>>>,
}

// === impl Class ===

impl Class {
    pub(super) fn new(ty: ResourceType) -> Self {
        Class {
            ty,
            built: Mutex::new(None),
        }
    }

    /// The resources, made anew as far as the state demands it. The flag tells whether anything was made.
    pub(super) fn at(&self, state: &State, proxy: &Proxy) -> (Arc<Built>, bool) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = state.epochs.of(self.ty);
        if let Some(current) = built.as_ref().filter(|current| current.epoch >= needed) {
            return (current.clone(), false);
        }
        let scope = Scope::new(&state.snapshot, proxy);
        let new = match built.as_ref() {
            Some(old) if old.epoch >= state.epochs.whole(self.ty) => old.with_endpoints(&scope, state),
            old => Built::whole(self.ty, &scope, needed, old.map(|old| &**old)),
        };
        let new = Arc::new(new);
        *built = Some(new.clone());
        (new, true)
    }
}

// === impl Built ===

impl Built {
    fn whole(ty: ResourceType, scope: &Scope<'_>, epoch: u64, old: Option<&Built>) -> Built {
        let mut built = Built {
            epoch,
            ..Built::default()
        };
        let names = guarded(|| scope.names(ty)).unwrap_or_else(|panic| {
            tracing::error!(?ty, panic, "translation failed; the last good configuration stays");
            old.map(|old| old.made.keys().map(|name| name.to_string()).collect())
                .unwrap_or_default()
        });
        for name in names {
            built.make(ty, scope, &name, old.and_then(|old| old.made.get(name.as_str())));
        }
        built.finish()
    }

    /// A copy with the endpoints of changed services made anew.
    fn with_endpoints(&self, scope: &Scope<'_>, state: &State) -> Built {
        let ty = ResourceType::Endpoint;
        let mut built = Built {
            epoch: state.epochs.of(ty),
            ..Built::default()
        };
        for lookup in self.list.iter() {
            let Some(name) = name_of(lookup) else { continue };
            let old = self.made.get(name);
            if state.epochs.host_changed(host_of(name), self.epoch) {
                built.make(ty, scope, name, old);
            } else if let Some(old) = old {
                built.made.insert(name.clone(), old.clone());
                Arc::make_mut(&mut built.list).push(lookup.clone());
            }
        }
        built.issues.extend(self.issues.iter().cloned());
        built.finish()
    }

    fn make(&mut self, ty: ResourceType, scope: &Scope<'_>, name: &str, old: Option<&Made>) {
        let fault = match guarded(|| scope.resource(ty, name)) {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(resource))) => {
                self.issues.extend(resource.issues);
                let encoded = Encoded::new(&resource.name, &resource.any);
                return self.put(Made {
                    lookup: Lookup::Found(share(encoded, old)),
                    origins: resource.origins.into(),
                    fault: None,
                });
            }
            Ok(Err(error)) => Fault::Configuration(error),
            Err(panic) => Fault::Internal(panic.into()),
        };
        self.put(Made {
            lookup: old.map_or_else(|| Lookup::Broken(name.into()), |old| old.lookup.clone()),
            origins: old.map(|old| old.origins.clone()).unwrap_or_default(),
            fault: Some(fault),
        });
    }

    fn put(&mut self, made: Made) {
        if let Some(name) = name_of(&made.lookup) {
            Arc::make_mut(&mut self.list).push(made.lookup.clone());
            self.made.insert(name.clone(), made.clone());
        }
    }

    fn finish(mut self) -> Built {
        self.issues.sort();
        self.issues.dedup();
        self
    }

    pub(crate) fn get(&self, name: &str) -> Lookup {
        self.made.get(name).map_or(Lookup::Absent, |made| made.lookup.clone())
    }

    pub(crate) fn made(&self, name: &str) -> Option<&Made> {
        self.made.get(name)
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = (&Arc<str>, &Fault)> {
        self.made
            .iter()
            .filter_map(|(name, made)| Some((name, made.fault.as_ref()?)))
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = &Encoded> {
        self.list.iter().filter_map(|lookup| match lookup {
            Lookup::Found(resource) => Some(resource),
            _ => None,
        })
    }
}

/// Equal content keeps its bytes.
fn share(new: Encoded, old: Option<&Made>) -> Encoded {
    match old.map(|old| &old.lookup) {
        Some(Lookup::Found(old)) if old.version == new.version => old.clone(),
        _ => new,
    }
}

fn name_of(lookup: &Lookup) -> Option<&Arc<str>> {
    match lookup {
        Lookup::Found(resource) => Some(&resource.name),
        Lookup::Broken(name) => Some(name),
        Lookup::Absent => None,
    }
}

/// The service of a cluster, `outbound|80|v1|reviews.default.svc.cluster.local` or, for gateways that pass on by SNI,
/// `outbound_.80_.v1_.reviews.default.svc.cluster.local`.
fn host_of(cluster: &str) -> &str {
    match cluster.strip_prefix("outbound_.") {
        Some(rest) => rest.splitn(3, "_.").last().unwrap_or(cluster),
        None => cluster.rsplit('|').next().unwrap_or(cluster),
    }
}

/// A panic in translation must not take the process with it: one resource is missing, the others go out.
pub(super) fn guarded<T>(make: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(make)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}
