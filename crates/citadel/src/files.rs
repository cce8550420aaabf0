//! Files written so that a reader sees the old content or the new, never a part; keys readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Nothing we read is larger.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Mode of private keys.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of certificates.
pub(crate) const PUBLIC: u32 = 0o644;

/// A file operation that failed, with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", .path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// A whole small file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failed(io::Error::other("it is larger than 4 MiB")));
    }
    Ok(bytes)
}

/// A folder and its parents. New ones are open to their owner only when `private`.
pub(crate) fn create_dir(path: &Path, private: bool) -> Result<(), FileError> {
    let mode = if private { 0o700 } else { 0o755 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(FileError::of("create the folder", path))
}

/// Replaces a file by rename.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = beside(path, "new");
    write_new(&temporary, bytes, mode).map_err(FileError::of("write", &temporary))?;
    fs::rename(&temporary, path).map_err(FileError::of("replace", path))
}

/// Replaces several files of one folder in one step, in the way Kubernetes mounts a secret: the files are links through `..data`, which
/// is a link to a folder with the content, and only that link is replaced. Readers find a key and its certificate from the same write.
pub(crate) fn write_set(dir: &Path, set: &[(&str, &[u8], u32)], stamp: &str) -> Result<(), FileError> {
    create_dir(dir, true)?;
    let content_name = format!("..{stamp}");
    let content = dir.join(&content_name);
    create_dir(&content, true)?;
    for (name, bytes, mode) in set {
        let path = content.join(name);
        write_new(&path, bytes, *mode).map_err(FileError::of("write", &path))?;
    }
    let data = dir.join("..data");
    let old = fs::read_link(&data).ok();
    replace_link(&data, Path::new(&content_name))?;
    for (name, _, _) in set {
        let target = Path::new("..data").join(name);
        let link = dir.join(name);
        if fs::read_link(&link).ok().as_deref() != Some(&target) {
            replace_link(&link, &target)?;
        }
    }
    if let Some(old) = old.filter(|old| old.as_os_str() != content_name.as_str()) {
        let _ = fs::remove_dir_all(dir.join(old)); // a leftover is harmless
    }
    Ok(())
}

fn replace_link(link: &Path, target: &Path) -> Result<(), FileError> {
    let temporary = beside(link, "link");
    let _ = fs::remove_file(&temporary);
    symlink(target, &temporary).map_err(FileError::of("link", &temporary))?;
    fs::rename(&temporary, link).map_err(FileError::of("replace", link))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_set_is_replaced_as_a_whole_and_keys_stay_private() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("default.reviews");
        for (stamp, content) in [("1", "first"), ("2", "second"), ("2", "third")] {
            let set = [
                ("key.pem", content.as_bytes(), SECRET),
                ("cert-chain.pem", content.as_bytes(), PUBLIC),
            ];
            write_set(&target, &set, stamp).unwrap();
            assert_eq!(read(&target.join("key.pem")).unwrap(), content.as_bytes());
            assert_eq!(read(&target.join("cert-chain.pem")).unwrap(), content.as_bytes());
        }
        let mode = |name: &str| fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("key.pem"), mode("cert-chain.pem")), (0o600, 0o644));
        let entries = fs::read_dir(&target).unwrap().count();
        assert_eq!(entries, 4, "two links, ..data and one folder of content");
    }

    #[test]
    fn errors_name_the_file() {
        let error = read(Path::new("/nowhere/at/all.pem")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere/at/all.pem: "), "{error}");
    }
}
