//! The synchronous state: files in, objects in force out.
//!
//! Each file is read once when it changes. From all files the objects in force are then chosen: by source (in the order
//! given), by path, by place in the file; the first of a kind, namespace and name counts and must be valid, else its last
//! good version stays. What is in force is compared with what was, by content alone.

mod apply;
mod file;
mod select;
mod status;

pub(crate) use status::way_out_of;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use model::kinds::MeshConfig;
use model::mesh::ConfigRef;

use crate::mesh_config::MeshConfigState;
use crate::message::Message;
use crate::object::{Object, Origin};
use file::FileState;

/// Changes remembered for [`Store::changes_since`].
const HISTORY: usize = 4096;

#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS domain of the cluster.
    pub domain: String,
    /// File with MeshConfig. None: the ConfigMap `istio` of the root namespace, if there is one.
    pub mesh_config: Option<PathBuf>,
    /// Namespace of that ConfigMap.
    pub root_namespace: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            domain: "cluster.local".to_owned(),
            mesh_config: None,
            root_namespace: "istio-system".to_owned(),
        }
    }
}

/// What happened to files, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub files: Vec<FileChange>,
    /// Whether each source could be read as a whole: its index and the reason why not.
    pub sources: Vec<(usize, Option<String>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// The whole text of a file of a source (by its index: a lower one wins).
    Content {
        source: usize,
        file: PathBuf,
        text: String,
    },
    /// It is there and cannot be read.
    Unreadable {
        source: usize,
        file: PathBuf,
        reason: String,
    },
    Removed {
        source: usize,
        file: PathBuf,
    },
    /// MeshConfig's own file; none: it is not there.
    MeshConfig {
        text: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    Added,
    Updated,
    Removed,
}

/// An object in force that is not what it was. MeshConfig appears with its kind and no name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub what: What,
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Grows only when an object in force changed.
    pub generation: u64,
    /// Grows with every visible difference: also of origins and messages.
    pub revision: u64,
    pub changes: Vec<Change>,
}

/// Which version of an object is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// The one in the file.
    Current,
    /// An earlier one, because the one in the file is invalid or cannot be read.
    LastGood,
    /// None.
    Nothing,
}

/// All there is to say about one object.
#[derive(Clone, Debug)]
pub struct Status {
    pub object: ConfigRef,
    pub api_version: Arc<str>,
    pub origin: Origin,
    /// No message is an error.
    pub valid: bool,
    pub in_force: InForce,
    /// Of what is in force; 0 if nothing is.
    pub generation: u64,
    pub messages: Vec<Message>,
}

/// Objects of one kind by namespace and name.
type Kind = BTreeMap<(Arc<str>, Arc<str>), Arc<Object>>;

/// See the module.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    files: BTreeMap<(usize, PathBuf), FileState>,
    /// By source, why it cannot be read at present.
    broken_sources: BTreeMap<usize, String>,
    live: HashMap<Arc<str>, Kind>,
    /// Chosen but invalid, or kept from a file that lost them: what stands in the files, with what is in force instead.
    held: BTreeMap<ConfigRef, Held>,
    /// Objects that lost against an earlier one of the same name.
    duplicates: Vec<(Arc<Object>, Origin)>,
    mesh: MeshConfigState,
    generation: u64,
    revision: u64,
    history: VecDeque<(u64, Change)>,
    /// Computed when first asked for.
    statuses: OnceLock<Arc<Vec<Status>>>,
    /// What [`crate::check`] found; it outlives changes of kinds that it does not look at.
    cross: OnceLock<Vec<Message>>,
}

/// An object that is not in force as it stands.
#[derive(Clone, Debug)]
struct Held {
    /// What stands in the file; none where it can no longer be found there.
    current: Option<Arc<Object>>,
    last_good: Option<Arc<Object>>,
}

impl Store {
    pub fn new(settings: Settings) -> Self {
        let mesh = MeshConfigState::new(settings.mesh_config.clone());
        Store {
            settings,
            files: BTreeMap::new(),
            broken_sources: BTreeMap::new(),
            live: HashMap::new(),
            held: BTreeMap::new(),
            duplicates: Vec::new(),
            mesh,
            generation: 0,
            revision: 0,
            history: VecDeque::new(),
            statuses: OnceLock::new(),
            cross: OnceLock::new(),
        }
    }

    /// Grows only when an object in force changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Grows with every visible difference: also of origins and messages.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn domain(&self) -> &str {
        &self.settings.domain
    }

    pub fn root_namespace(&self) -> &str {
        &self.settings.root_namespace
    }

    /// The objects of a kind in force, oldest first; those of equal age by namespace and name.
    pub fn list(&self, kind: &str) -> Vec<Arc<Object>> {
        let mut objects: Vec<_> = self
            .live
            .get(kind)
            .into_iter()
            .flat_map(|k| k.values().cloned())
            .collect();
        objects.sort_by_key(|object| object.created);
        objects
    }

    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let kind = self.live.get(kind)?;
        kind.get(&(Arc::from(namespace), Arc::from(name))).cloned()
    }

    /// How many objects are in force.
    pub fn len(&self) -> usize {
        self.live.values().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kinds that have an object in force.
    pub fn kinds(&self) -> Vec<Arc<str>> {
        let mut kinds: Vec<_> = self
            .live
            .iter()
            .filter(|(_, k)| !k.is_empty())
            .map(|(kind, _)| Arc::clone(kind))
            .collect();
        kinds.sort();
        kinds
    }

    pub fn mesh_config(&self) -> Arc<MeshConfig> {
        self.mesh.current()
    }

    /// Where a reference stands now, with the generation of its content.
    pub fn origin(&self, reference: &ConfigRef) -> Option<(Origin, u64)> {
        let object = self.get(&reference.kind, &reference.namespace, &reference.name)?;
        Some((object.origin.clone(), object.generation))
    }

    /// What is wrong between objects.
    fn cross_messages(&self) -> &[Message] {
        self.cross.get_or_init(|| crate::check::all(self))
    }

    /// Every object in the files, in force or not, by kind, namespace and name.
    pub fn statuses(&self) -> Arc<Vec<Status>> {
        Arc::clone(self.statuses.get_or_init(|| Arc::new(status::all(self))))
    }

    /// Everything there is to say: about files, then about objects.
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = status::of_files(self);
        messages.extend(
            self.statuses()
                .iter()
                .flat_map(|status| status.messages.iter().cloned()),
        );
        messages
    }

    /// The changes after `generation`; `None` if that is too long ago to know.
    pub fn changes_since(&self, generation: u64) -> Option<Vec<Change>> {
        let complete =
            self.history.len() < HISTORY || self.history.front().is_some_and(|(first, _)| *first <= generation);
        complete.then(|| {
            self.history
                .iter()
                .filter(|(g, _)| *g > generation)
                .map(|(_, change)| change.clone())
                .collect()
        })
    }
}

#[cfg(test)]
mod tests;
