//! A batch of file changes becomes a new state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::mesh::ConfigRef;

use super::select::{Selection, select};
use super::{Applied, Batch, Change, FileChange, HISTORY, Kind, Store, What};
use crate::check;
use crate::message::Message;
use crate::object::Object;

impl Store {
    /// Takes in what happened to files. Cheap where nothing is different.
    pub fn apply(&mut self, batch: Batch) -> Applied {
        let mut different = self.apply_sources(batch.sources);
        let mut mesh = false;
        for change in batch.files {
            different |= match change {
                FileChange::MeshConfig { text } => {
                    let (different, changed) = self.mesh.read_file(text.as_deref());
                    mesh |= changed;
                    different
                }
                change => self.apply_file(change),
            };
        }
        if !different {
            return Applied {
                generation: self.generation,
                revision: self.revision,
                changes: Vec::new(),
            };
        }
        let selection = select(self);
        let mut changes = changes(&self.live, &selection.live);
        self.install(selection, !changes.is_empty());
        let map = self.get("ConfigMap", &self.settings.root_namespace, "istio");
        if self.mesh.read_config_map(map.as_deref()) || mesh {
            let none: Arc<str> = "".into();
            changes.push(Change {
                kind: "MeshConfig".into(),
                namespace: Arc::clone(&none),
                name: none,
                what: What::Updated,
            });
        }
        self.finish(changes)
    }

    fn apply_sources(&mut self, sources: Vec<(usize, Option<String>)>) -> bool {
        let mut different = false;
        for (source, reason) in sources {
            let before = match &reason {
                Some(reason) => self.broken_sources.insert(source, reason.clone()),
                None => self.broken_sources.remove(&source),
            };
            different |= before != reason;
        }
        different
    }

    fn apply_file(&mut self, change: FileChange) -> bool {
        match change {
            FileChange::Content { source, file, text } => {
                self.files.entry((source, file.clone())).or_default().read(&file, &text)
            }
            FileChange::Unreadable { source, file, reason } => self
                .files
                .entry((source, file.clone()))
                .or_default()
                .unreadable(&file, reason),
            FileChange::Removed { source, file } => self.files.remove(&(source, file)).is_some(),
            FileChange::MeshConfig { .. } => false,
        }
    }

    /// Makes the selection the state. New content gets the coming generation; moved content only its new place.
    fn install(&mut self, selection: Selection, changed: bool) {
        let generation = self.generation + u64::from(changed);
        let before = std::mem::replace(&mut self.live, selection.live);
        for (kind, objects) in &mut self.live {
            for (key, object) in objects {
                let known = before.get(kind).and_then(|k| k.get(key));
                if object.generation == 0 || known.is_none() {
                    *object = Arc::new(Object {
                        generation,
                        ..Object::clone(object)
                    });
                }
            }
        }
        self.held = selection.held;
        self.duplicates = selection.duplicates;
        self.share();
        if !check::KINDS
            .iter()
            .all(|kind| same_objects(before.get(*kind), self.live.get(*kind)))
        {
            self.cross.take();
        }
    }

    /// Lets files hold the very objects that are in force, so that each is in memory once.
    fn share(&mut self) {
        for object in self.files.values_mut().flat_map(|file| &mut file.objects) {
            let Some(live) = find(&self.live, object) else { continue };
            if live.origin == object.origin && !self.held.contains_key(&object.reference()) {
                *object = Arc::clone(live);
            }
        }
    }

    fn finish(&mut self, changes: Vec<Change>) -> Applied {
        if !changes.is_empty() {
            self.generation += 1;
        }
        for change in &changes {
            self.remember(change.clone());
        }
        self.revision += 1;
        self.statuses.take();
        Applied {
            generation: self.generation,
            revision: self.revision,
            changes,
        }
    }

    fn remember(&mut self, change: Change) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.generation, change));
    }

    /// Messages by what they are about, for telling which are new.
    pub(crate) fn message_set(&self) -> BTreeMap<String, Message> {
        self.messages()
            .into_iter()
            .map(|message| (message.to_string(), message))
            .collect()
    }
}

/// Whether these are the same objects, at the same places.
fn same_objects(a: Option<&Kind>, b: Option<&Kind>) -> bool {
    let all = |kind: Option<&Kind>| {
        kind.into_iter()
            .flat_map(|kind| kind.values().cloned())
            .collect::<Vec<_>>()
    };
    let (a, b) = (all(a), all(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// The differences in content, by kind, namespace and name.
fn changes(before: &HashMap<Arc<str>, Kind>, after: &HashMap<Arc<str>, Kind>) -> Vec<Change> {
    let change = |reference: ConfigRef, what| Change {
        kind: reference.kind,
        namespace: reference.namespace,
        name: reference.name,
        what,
    };
    let mut changes = Vec::new();
    for object in after.values().flat_map(BTreeMap::values) {
        match find(before, object) {
            None => changes.push(change(object.reference(), What::Added)),
            // An object that is equal carries the generation it had.
            Some(known) if known.generation != object.generation => {
                changes.push(change(object.reference(), What::Updated))
            }
            Some(_) => {}
        }
    }
    for object in before.values().flat_map(BTreeMap::values) {
        if find(after, object).is_none() {
            changes.push(change(object.reference(), What::Removed));
        }
    }
    changes.sort();
    changes
}

fn find<'a>(objects: &'a HashMap<Arc<str>, Kind>, like: &Object) -> Option<&'a Arc<Object>> {
    objects
        .get(&like.kind)?
        .get(&(Arc::clone(&like.namespace), Arc::clone(&like.name)))
}
