//! Reading directories as a whole, and telling what differs from the time before.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::filter::{is_config_file, is_visible_directory};
use crate::state::{Batch, FileChange};
use crate::yaml::MAX_BYTES;

/// Levels of directories below the watched one.
const MAX_LEVELS: usize = 32;
/// Files of one source.
const MAX_FILES: usize = 20_000;

/// What was last seen of each file, so that only what differs is read again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    files: BTreeMap<PathBuf, Stamp>,
}

/// Changes with every complete write of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp {
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            length: meta.len(),
            inode: meta.ino(),
        }
    }
}

/// Reads a directory once, without watching it.
pub fn read_directory(source: usize, root: &Path) -> io::Result<Batch> {
    let mut batch = Batch::default();
    Seen::default().scan(source, root, &mut batch)?;
    Ok(batch)
}

impl Seen {
    /// Adds what differs to the batch. Fails, with nothing added, if the directory itself cannot be read.
    pub(super) fn scan(&mut self, source: usize, root: &Path, batch: &mut Batch) -> io::Result<()> {
        let mut found = BTreeMap::new();
        walk(root, 0, &mut found)?;
        for path in self.files.keys().filter(|path| !found.contains_key(*path)) {
            batch.files.push(FileChange::Removed {
                source,
                file: path.clone(),
            });
        }
        self.files.retain(|path, _| found.contains_key(path));
        for (path, stamp) in found {
            if self.files.get(&path) == Some(&stamp) {
                continue;
            }
            match read(&path) {
                Ok(text) => {
                    batch.files.push(FileChange::Content {
                        source,
                        file: path.clone(),
                        text,
                    });
                    self.files.insert(path, stamp);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let reason = error.to_string();
                    batch.files.push(FileChange::Unreadable {
                        source,
                        file: path.clone(),
                        reason,
                    });
                    self.files.insert(path, stamp);
                }
            }
        }
        Ok(())
    }
}

fn walk(directory: &Path, level: usize, found: &mut BTreeMap<PathBuf, Stamp>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        // Links to files are followed, links to directories are not: they may lead round in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if level < MAX_LEVELS && is_visible_directory(&path) {
                // A directory that vanishes meanwhile holds nothing.
                let _ = walk(&path, level + 1, found);
            }
        } else if is_config_file(&path)
            && found.len() < MAX_FILES
            && let Ok(meta) = fs::metadata(&path)
            && meta.is_file()
        {
            found.insert(path, Stamp::of(&meta));
        }
    }
    Ok(())
}

/// Reads a file up to a little more than what will be accepted.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}
