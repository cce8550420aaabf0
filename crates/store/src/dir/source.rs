//! Watching directories, with changes gathered until they pause.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::filter;
use super::scan::{Seen, read};
use crate::state::{Batch, FileChange};

/// A batch ends when nothing has happened for this long …
const QUIET: Duration = Duration::from_millis(20);
/// … or when its first event is this old.
const LONGEST: Duration = Duration::from_millis(200);
/// How often a directory that has gone is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why watching cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{}: there is no such directory (create it, or name another one)", .0.display())]
    Missing(PathBuf),
    #[error("{}: this is not a directory (name the directory that holds the file)", .0.display())]
    NotADirectory(PathBuf),
    #[error("{}: the directory cannot be read: {reason} (check its permissions)", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("files cannot be watched: {0} (on Linux, raise fs.inotify.max_user_watches or max_user_instances)")]
    Watch(String),
}

/// Several directories, and MeshConfig's file, as one stream of batches.
#[derive(Debug)]
pub struct DirSource {
    roots: Vec<Root>,
    mesh_config: Option<MeshFile>,
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<()>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    seen: Seen,
    /// It could not be read when last tried, and is not watched.
    gone: bool,
    /// The directory that is watched, as the file system knows it: another may take its name.
    identity: Option<(u64, u64)>,
}

#[derive(Debug)]
struct MeshFile {
    path: PathBuf,
    /// What it held when last read; none before the first time.
    last: Option<Option<String>>,
    watched: bool,
}

impl DirSource {
    /// Begins to watch. The first batch, with everything there is, comes from [`DirSource::scan`].
    pub fn new(directories: &[PathBuf], mesh_config: Option<&Path>) -> Result<Self, WatchError> {
        for path in directories {
            check(path)?;
        }
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error of the watcher itself may hide events: look at everything.
            if event.is_err() || event.is_ok_and(|event| filter::counts(&event)) {
                let _ = sender.send(());
            }
        })
        .map_err(|error| WatchError::Watch(error.to_string()))?;
        let roots = directories
            .iter()
            .map(|path| Root {
                path: path.clone(),
                seen: Seen::default(),
                gone: true,
                identity: None,
            })
            .collect();
        let mesh_config = mesh_config.map(|path| MeshFile {
            path: path.to_owned(),
            last: None,
            watched: false,
        });
        let mut source = DirSource {
            roots,
            mesh_config,
            watcher,
            events,
        };
        for index in 0..source.roots.len() {
            source.watch_root(index)?;
        }
        Ok(source)
    }

    fn watch_root(&mut self, index: usize) -> Result<(), WatchError> {
        let root = &mut self.roots[index];
        self.watcher
            .watch(&root.path, RecursiveMode::Recursive)
            .map_err(|error| WatchError::Watch(error.to_string()))?;
        root.gone = false;
        root.identity = identity(&root.path);
        Ok(())
    }

    /// What differs from the scan before; everything, the first time.
    pub fn scan(&mut self) -> Batch {
        let mut batch = Batch::default();
        for index in 0..self.roots.len() {
            self.scan_root(index, &mut batch);
        }
        self.scan_mesh_config(&mut batch);
        batch
    }

    fn scan_root(&mut self, index: usize, batch: &mut Batch) {
        let root = &mut self.roots[index];
        if !root.gone && root.identity != identity(&root.path) {
            let _ = self.watcher.unwatch(&root.path);
            root.gone = true;
        }
        if root.gone && self.watch_root(index).is_err() {
            let path = &self.roots[index].path;
            batch
                .sources
                .push((index, Some(format!("{}: the directory is not there", path.display()))));
            return;
        }
        let root = &mut self.roots[index];
        match root.seen.scan(index, &root.path, batch) {
            Ok(()) => batch.sources.push((index, None)),
            Err(error) => {
                root.gone = true;
                let _ = self.watcher.unwatch(&root.path);
                let reason = format!("{}: the directory cannot be read: {error}", root.path.display());
                batch.sources.push((index, Some(reason)));
            }
        }
    }

    fn scan_mesh_config(&mut self, batch: &mut Batch) {
        let Some(file) = &mut self.mesh_config else { return };
        if !file.watched
            && let Some(directory) = file.path.parent()
        {
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            file.watched = self.watcher.watch(directory, RecursiveMode::NonRecursive).is_ok();
        }
        let text = read(&file.path).ok();
        if file.last.as_ref() != Some(&text) {
            file.last = Some(text.clone());
            batch.files.push(FileChange::MeshConfig { text });
        }
    }

    /// Waits until something happened and then paused.
    pub async fn changed(&mut self) {
        let incomplete =
            self.roots.iter().any(|root| root.gone) || self.mesh_config.as_ref().is_some_and(|f| !f.watched);
        if incomplete {
            tokio::select! {
                _ = self.events.recv() => {}
                () = sleep(LOOK_AGAIN) => return,
            }
        } else if self.events.recv().await.is_none() {
            // The watcher lives as long as we do; should it ever end, looking now and then is what is left.
            sleep(LOOK_AGAIN).await;
            return;
        }
        let latest = Instant::now() + LONGEST;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, self.events.recv()).await {
                Ok(Some(())) if Instant::now() < latest => {}
                Ok(Some(())) | Err(_) => return,
                Ok(None) => return sleep_until(quiet).await,
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn check(path: &Path) -> Result<(), WatchError> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Err(WatchError::NotADirectory(path.to_owned())),
        Ok(_) => std::fs::read_dir(path)
            .map(|_| ())
            .map_err(|error| WatchError::Unreadable {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(WatchError::Missing(path.to_owned())),
        Err(error) => Err(WatchError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}
