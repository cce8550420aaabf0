//! Which object of the files is in force under each name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::kinds::validate::Severity;
use model::mesh::ConfigRef;

use super::{Held, Kind, Store};
use crate::object::{Object, Origin};

/// The outcome for all files.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) live: HashMap<Arc<str>, Kind>,
    pub(super) held: BTreeMap<ConfigRef, Held>,
    pub(super) duplicates: Vec<(Arc<Object>, Origin)>,
}

/// Chooses; the store still holds what was in force before.
pub(super) fn select(store: &Store) -> Selection {
    let mut selection = Selection::default();
    let mut chosen: BTreeMap<ConfigRef, Arc<Object>> = BTreeMap::new();
    for object in store.files.values().flat_map(|file| &file.objects) {
        match chosen.get(&object.reference()) {
            Some(first) => selection.duplicates.push((Arc::clone(object), first.origin.clone())),
            None => {
                chosen.insert(object.reference(), Arc::clone(object));
            }
        }
    }
    for (reference, object) in &chosen {
        let before = store.get(&reference.kind, &reference.namespace, &reference.name);
        let in_force = if is_valid(object) {
            Some(keep_if_equal(object, before))
        } else {
            let held = Held {
                current: Some(Arc::clone(object)),
                last_good: before.clone(),
            };
            selection.held.insert(reference.clone(), held);
            before
        };
        if let Some(object) = in_force {
            put(&mut selection.live, object);
        }
    }
    keep_lost(store, &chosen, &mut selection);
    selection
}

/// Objects that were in force, are found nowhere now, and whose file may still mean to hold them.
fn keep_lost(store: &Store, chosen: &BTreeMap<ConfigRef, Arc<Object>>, selection: &mut Selection) {
    for object in store.live.values().flat_map(BTreeMap::values) {
        let reference = object.reference();
        if chosen.contains_key(&reference) {
            continue;
        }
        let lost = store
            .files
            .iter()
            .any(|((_, path), file)| Some(path) == object.origin.file.as_ref() && file.may_have_lost(object));
        if lost {
            selection.held.insert(
                reference,
                Held {
                    current: None,
                    last_good: Some(Arc::clone(object)),
                },
            );
            put(&mut selection.live, Arc::clone(object));
        }
    }
}

/// Valid by itself.
pub(super) fn is_valid(object: &Object) -> bool {
    object.report.wrong.is_none()
        && object
            .report
            .issues
            .iter()
            .all(|issue| issue.severity != Severity::Error)
}

/// The new object (generation 0 until it is installed), with the old generation where only its place, its comments or its API version differ.
fn keep_if_equal(object: &Arc<Object>, before: Option<Arc<Object>>) -> Arc<Object> {
    match before {
        Some(before) if Arc::ptr_eq(&before, object) => before,
        Some(before) if same_content(&before, object) => {
            if before.origin == object.origin && before.report == object.report {
                return before;
            }
            Arc::new(Object {
                generation: before.generation,
                ..Object::clone(object)
            })
        }
        // It was in force once, lost to another, and is new again.
        _ if object.generation != 0 => Arc::new(Object {
            generation: 0,
            ..Object::clone(object)
        }),
        _ => Arc::clone(object),
    }
}

/// Whether two versions of an object mean the same: everything but the API version it was written in.
pub(super) fn same_content(a: &Object, b: &Object) -> bool {
    if a.value == b.value {
        return true;
    }
    let (Some(a), Some(b)) = (a.value.as_object(), b.value.as_object()) else {
        return false;
    };
    let rest = |map: &serde_json::Map<String, serde_json::Value>| map.keys().filter(|key| *key != "apiVersion").count();
    rest(a) == rest(b)
        && a.iter()
            .all(|(key, value)| key == "apiVersion" || b.get(key) == Some(value))
}

fn put(live: &mut HashMap<Arc<str>, Kind>, object: Arc<Object>) {
    let key = (Arc::clone(&object.namespace), Arc::clone(&object.name));
    live.entry(Arc::clone(&object.kind)).or_default().insert(key, object);
}
