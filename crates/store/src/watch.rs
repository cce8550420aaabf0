//! A store that follows directories, shared by any number of readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dir::{DirSource, WatchError};
use crate::message::Message;
use crate::state::{Applied, Batch, Settings, Store};

/// See the module. Cloning shares the store; when the last clone is dropped, watching ends.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<RwLock<Store>>,
    revision: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StoreHandle {
    /// Reads the directories (the first wins where two hold the same object) and goes on following them. When this returns,
    /// everything that was there has been read. Needs a tokio runtime.
    pub fn start(directories: &[PathBuf], settings: Settings) -> Result<Self, WatchError> {
        let mut source = DirSource::new(directories, settings.mesh_config.as_deref())?;
        let mut follower = Follower {
            store: Arc::new(RwLock::new(Store::new(settings))),
            said: BTreeMap::new(),
        };
        let applied = follower.apply(source.scan());
        let (sender, revision) = watch::channel(applied.revision);
        let store = Arc::clone(&follower.store);
        let task = tokio::spawn(async move {
            loop {
                source.changed().await;
                let applied = follower.apply(source.scan());
                sender.send_if_modified(|revision| std::mem::replace(revision, applied.revision) != applied.revision);
            }
        });
        Ok(StoreHandle {
            inner: Arc::new(Inner { store, revision, task }),
        })
    }

    /// Follows [`Store::revision`], which grows with everything visible. Whether objects changed is told by
    /// [`Store::generation`] and [`Store::changes_since`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.revision.clone()
    }

    /// Looks at the store. Keep it short: changes wait meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.inner.store.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The one that writes.
struct Follower {
    store: Arc<RwLock<Store>>,
    /// Messages that have been logged and still hold.
    said: BTreeMap<String, Message>,
}

impl Follower {
    fn apply(&mut self, batch: Batch) -> Applied {
        let (before, applied) = {
            let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
            (store.revision(), store.apply(batch))
        };
        if applied.revision != before {
            // Held for reading only: what there is to say may take longer to find than the change itself.
            let now = self.store.read().unwrap_or_else(PoisonError::into_inner).message_set();
            self.log(&applied, now);
        }
        applied
    }

    /// Logs what is new, and what no longer holds.
    fn log(&mut self, applied: &Applied, now: BTreeMap<String, Message>) {
        if !applied.changes.is_empty() {
            tracing::info!(
                generation = applied.generation,
                changes = applied.changes.len(),
                "configuration changed"
            );
        }
        for (text, message) in &now {
            if self.said.contains_key(text) {
                continue;
            }
            if message.is_error() {
                tracing::error!(code = message.code, "{text}");
            } else {
                tracing::warn!(code = message.code, "{text}");
            }
        }
        for text in self.said.keys().filter(|text| !now.contains_key(*text)) {
            tracing::debug!("no longer: {text}");
        }
        self.said = now;
    }
}
