//! One mesh per directory and per part of the loopback network: locks that the kernel takes back when we die.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::addresses::Subnet;

/// In a directory that others may write to, a name may lead elsewhere, or to something that blocks.
const NO_SURPRISE: i32 = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;

/// Held for as long as the mesh runs; its file goes with it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Locks `path` and leaves `text` in it; the error is the text of whoever holds it.
    fn take(path: &Path, text: &str) -> Result<Self, LockError> {
        loop {
            let mut options = OpenOptions::new();
            let mut file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(NO_SURPRISE)
                .open(path)
                .map_err(LockError::Io)?;
            if !is_ours(&file) {
                let what = "is no file of ours; remove it";
                return Err(LockError::Io(std::io::Error::other(what)));
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    return Err(LockError::Held(holder.trim().to_owned()));
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
            // Whoever held it before may have removed the file between our opening and our locking it.
            let same = file
                .metadata()
                .ok()
                .zip(path.symlink_metadata().ok())
                .is_some_and(|(a, b)| a.ino() == b.ino());
            if same {
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(text.as_bytes()))
                    .map_err(LockError::Io)?;
                return Ok(Lock {
                    _file: file,
                    path: path.to_owned(),
                });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

enum LockError {
    Held(String),
    Io(std::io::Error),
}

/// Takes the state directory, and with it the mesh directory it belongs to.
pub(crate) fn take_directory(lock: &Path, mesh: &Path) -> Result<Lock, String> {
    Lock::take(lock, &format!("{}", std::process::id())).map_err(|error| match error {
        LockError::Held(pid) => format!(
            "{} is up already (pid {pid}). Changes of its files take effect there; end it with: kill {pid}",
            mesh.display()
        ),
        LockError::Io(error) => format!("{}: {error}", lock.display()),
    })
}

/// Takes a subnet. `directory` holds the lock files of all meshes of this user.
pub(crate) fn take_subnet(directory: &Path, subnet: Subnet, mesh: &Path) -> Result<Lock, String> {
    let held = |pid: &str, other: &str| {
        format!(
            "subnet {subnet} is in use by another mesh (pid {pid}, {other}). Give this one addresses and a port of its own: \
             --subnet 127.128.0.0/16 --ingress-port 8081"
        )
    };
    for (file, taken) in subnet_locks(directory).filter(|(_, taken)| taken.overlaps(subnet) && *taken != subnet) {
        if let Some((pid, other)) = holder(&file) {
            return Err(format!("{} (its subnet is {taken})", held(&pid, &other)));
        }
    }
    let path = directory.join(file_name(subnet));
    let text = format!("{}\n{}", std::process::id(), mesh.display());
    Lock::take(&path, &text).map_err(|error| match error {
        LockError::Held(text) => {
            let (pid, other) = text.split_once('\n').unwrap_or((&text, ""));
            held(pid, other)
        }
        LockError::Io(error) => format!("{}: {error}", path.display()),
    })
}

fn file_name(subnet: Subnet) -> String {
    format!(
        "meltemi-{}-subnet-{}",
        nix::unistd::geteuid(),
        subnet.to_string().replace('/', "_")
    )
}

fn subnet_locks(directory: &Path) -> impl Iterator<Item = (PathBuf, Subnet)> {
    let prefix = format!("meltemi-{}-subnet-", nix::unistd::geteuid());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name();
        let subnet = name.to_str()?.strip_prefix(&prefix)?.replace('_', "/").parse().ok()?;
        Some((entry.path(), subnet))
    })
}

/// Pid and directory of the process that holds a lock.
fn holder(path: &Path) -> Option<(String, String)> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).custom_flags(NO_SURPRISE).open(path).ok()?;
    if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let (pid, other) = text.split_once('\n')?;
    Some((pid.to_owned(), other.to_owned()))
}

/// A plain file of this user with no second name. What it holds is about to be replaced.
fn is_ours(file: &File) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    // Without a name it has just been removed by its holder.
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.uid() == own && meta.nlink() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed() {
        let dir = std::env::temp_dir().join(format!("mlt-lock-link-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let precious = dir.join("precious");
        fs::write(&precious, "text").unwrap();
        std::os::unix::fs::symlink(&precious, dir.join("soft")).unwrap();
        fs::hard_link(&precious, dir.join("hard")).unwrap();
        for name in ["soft", "hard"] {
            assert!(take_directory(&dir.join(name), Path::new("/mesh")).is_err(), "{name}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "text", "{name}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_second_mesh_is_told_who_was_first() {
        let dir = std::env::temp_dir().join(format!("mlt-lock-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mesh = Path::new("/mesh");
        let pid = format!("pid {}", std::process::id());

        let first = take_directory(&dir.join("lock"), mesh).unwrap();
        let error = take_directory(&dir.join("lock"), mesh).unwrap_err();
        assert!(error.contains(&pid) && error.contains("/mesh is up already"), "{error}");
        drop(first);
        assert!(take_directory(&dir.join("lock"), mesh).is_ok());

        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        let _wide = take_subnet(&dir, subnet("127.64.0.0/10"), mesh).unwrap();
        for other in ["127.64.0.0/10", "127.80.0.0/16"] {
            let error = take_subnet(&dir, subnet(other), mesh).unwrap_err();
            assert!(error.contains(&pid) && error.contains("--subnet"), "{error}");
        }
        assert!(take_subnet(&dir, subnet("127.128.0.0/16"), mesh).is_ok());
        fs::remove_dir_all(dir).unwrap();
    }
}
