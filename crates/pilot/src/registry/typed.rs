//! Objects of one kind, each read once per change.

use std::collections::HashMap;
use std::sync::Arc;

use model::kinds::catalog::{self, Kind};
use model::mesh::{Config, ConfigRef};
use store::Object;

/// Where objects come from.
pub(crate) trait Objects {
    /// Those in force, in any order.
    fn list(&self, kind: &str) -> Vec<Arc<Object>>;
}

impl Objects for store::Store {
    fn list(&self, kind: &str) -> Vec<Arc<Object>> {
        store::Store::list(self, kind)
    }
}

/// `None`: the object is not for us.
type ReadFn<T> = fn(&Object) -> Option<T>;

#[derive(Debug)]
pub(super) struct Typed<T> {
    kind: &'static str,
    read: ReadFn<T>,
    known: HashMap<ConfigRef, Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    object: Arc<Object>,
    value: Option<Arc<Config<T>>>,
}

// === impl Typed ===

impl<T: Kind> Typed<T> {
    pub(super) fn of(kind: &'static str) -> Self {
        Typed::new(kind, |object| match catalog::read::<T>(&object.value) {
            Ok(read) => Some(read.value),
            Err(error) => {
                // The store reports it to the user, with its place in the file.
                tracing::debug!(object = %object.reference().name, %error, "left out");
                None
            }
        })
    }
}

impl<T> Typed<T> {
    pub(super) fn new(kind: &'static str, read: ReadFn<T>) -> Self {
        let known = HashMap::new();
        Typed { kind, read, known }
    }

    /// All objects of the kind, oldest first. An unchanged object keeps its `Arc`.
    pub(super) fn refresh(&mut self, objects: &dyn Objects) -> Vec<Arc<Config<T>>> {
        let mut known = HashMap::new();
        for object in objects.list(self.kind) {
            let reference = object.reference();
            let entry = match self.known.remove(&reference) {
                Some(old) if old.object.generation == object.generation => old,
                _ => Known {
                    value: (self.read)(&object).map(|spec| Arc::new(config(&object, reference.clone(), spec))),
                    object,
                },
            };
            known.insert(reference, entry);
        }
        self.known = known;
        let mut list: Vec<_> = self.known.values().filter_map(|entry| entry.value.clone()).collect();
        list.sort_by(|a, b| created_order(a, b));
        list
    }
}

fn config<T>(object: &Object, reference: ConfigRef, spec: T) -> Config<T> {
    Config {
        reference,
        labels: object.labels.clone(),
        annotations: object.annotations.clone(),
        created: object.created,
        spec,
    }
}

/// Oldest first, then by namespace and name.
pub(super) fn created_order<T>(a: &Config<T>, b: &Config<T>) -> std::cmp::Ordering {
    let key = |c: &Config<T>| (c.created, c.reference.namespace.clone(), c.reference.name.clone());
    key(a).cmp(&key(b))
}
