//! The state directory: what `up` writes for its children, and what it leaves nobody.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A unix socket's path may have 107 bytes; the longest below the state directory is a pod's SDS socket.
const MAX_PATH: usize = 50;

/// Says that a directory is ours to empty.
const MARKER: &str = "meltemi-state";
const MARKER_TEXT: &str = "meltemi up keeps the state of a running mesh in this directory, and empties it.\n";

/// The kernel never writes a process id longer than this.
const MAX_PID_DIGITS: u64 = 10;

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// The registry's files, as last written.
#[derive(Debug)]
pub(crate) struct RegistryFiles {
    directory: PathBuf,
    written: BTreeMap<String, Value>,
}

/// Where the state of a directory's mesh is, for this user's environment, unless a flag says otherwise.
pub(crate) fn usual_root(mesh: &Path) -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    default_root(mesh, runtime_dir.as_deref(), &std::env::temp_dir())
}

/// The default state directory of a mesh directory: under `$XDG_RUNTIME_DIR` where there is one, else in `tmp`.
pub(crate) fn default_root(mesh: &Path, runtime_dir: Option<&Path>, tmp: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    mesh.hash(&mut hasher);
    let hash = format!("{:010x}", hasher.finish() & 0xff_ffff_ffff);
    match runtime_dir {
        Some(dir) if dir.is_absolute() && owned(dir) => dir.join("meltemi").join(hash),
        _ => tmp.join(format!("meltemi-{}-{hash}", nix::unistd::geteuid())),
    }
}

fn owned(dir: &Path) -> bool {
    dir.metadata()
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw())
}

/// Whether this is a directory of ours itself, not a link to one.
pub(crate) fn owned_itself(dir: &Path) -> bool {
    dir.symlink_metadata()
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw())
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Layout { root }
    }

    /// Makes the directory, for our eyes only. Someone else's is refused: it will hold keys. So is one with something else
    /// in it: all of its contents are about to be ours.
    pub(crate) fn create(&self) -> Result<(), String> {
        let root = self.root.display();
        if self.root.as_os_str().len() > MAX_PATH {
            return Err(format!(
                "state directory {root}: its path is longer than {MAX_PATH} bytes, too long for the sockets in it; give a shorter one with --state-dir"
            ));
        }
        make_dir(&self.root)
            .map_err(|error| format!("state directory {root}: {error}; give another with --state-dir"))?;
        if self.root.is_symlink() {
            return Err(format!(
                "state directory {root} is a symbolic link; give the directory itself, or another, with --state-dir"
            ));
        }
        if !owned_itself(&self.root) {
            return Err(format!(
                "state directory {root} belongs to another user; give another with --state-dir"
            ));
        }
        let failed = |error| format!("state directory {root}: {error}; give another with --state-dir");
        if !self.is_ours().map_err(failed)? {
            return Err(format!(
                "state directory {root} holds files that are not a mesh's state, and would be emptied; give a new or an \
                 empty one with --state-dir, or, if nothing in this one is needed, remove it"
            ));
        }
        let _ = fs::set_permissions(&self.root, std::os::unix::fs::PermissionsExt::from_mode(0o700));
        write_atomic(&self.marker(), MARKER_TEXT.as_bytes()).map_err(failed)
    }

    /// Empty, or marked, or locked by a mesh at some time (which writes its process id).
    fn is_ours(&self) -> io::Result<bool> {
        if fs::read_dir(&self.root)?.next().is_none() || is_file(&self.marker()) {
            return Ok(true);
        }
        let lock = self.lock();
        if !lock
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_PID_DIGITS)
        {
            return Ok(false);
        }
        let pid = fs::read_to_string(lock)?;
        Ok(!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Makes what is below it, after removing what a killed predecessor left.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        self.remove_secrets();
        let _ = fs::remove_dir_all(self.logs());
        for dir in [self.registry(), self.logs(), self.pods(), self.ca(), self.secrets()] {
            make_dir(&dir)?;
        }
        Ok(())
    }

    /// Removes everything but the logs.
    pub(crate) fn remove_secrets(&self) {
        for dir in [self.registry(), self.pods(), self.ca(), self.secrets()] {
            let _ = fs::remove_dir_all(dir);
        }
        for file in [self.control_socket(), self.mesh_file(), self.jwks(), self.mesh_config()] {
            let _ = fs::remove_file(file);
        }
    }

    /// From now on no other command finds this mesh.
    pub(crate) fn forget_control(&self) {
        let _ = fs::remove_file(self.control_socket());
        let _ = fs::remove_file(self.mesh_file());
    }

    /// Removes the directory as well.
    pub(crate) fn remove(&self) {
        self.remove_secrets();
        let _ = fs::remove_dir_all(self.logs());
        let _ = fs::remove_file(self.marker());
        let _ = fs::remove_dir(&self.root);
    }

    fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Objects for the control plane to watch.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join("registry")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log(&self, pod: &str, container: &str) -> PathBuf {
        self.logs().join(format!("{pod}.{container}.log"))
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// A pod's own files: token, bootstrap, sockets.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.root.join("ca")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    pub(crate) fn jwks(&self) -> PathBuf {
        self.root.join("jwks.json")
    }

    pub(crate) fn mesh_config(&self) -> PathBuf {
        self.root.join("mesh.yaml")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// What other commands read of the running mesh.
    pub(crate) fn mesh_file(&self) -> PathBuf {
        self.root.join("mesh.json")
    }
}

impl RegistryFiles {
    pub(crate) fn new(directory: PathBuf) -> Self {
        RegistryFiles {
            directory,
            written: BTreeMap::new(),
        }
    }

    /// Writes what has changed and removes what is gone. Returns whether anything did.
    pub(crate) fn sync(&mut self, files: BTreeMap<String, Value>) -> io::Result<bool> {
        let mut changed = false;
        for (name, value) in &files {
            if self.written.get(name) != Some(value) {
                write_atomic(&self.directory.join(name), format!("{value:#}\n").as_bytes())?;
                changed = true;
            }
        }
        for name in self.written.keys().filter(|name| !files.contains_key(*name)) {
            let _ = fs::remove_file(self.directory.join(name));
            changed = true;
        }
        self.written = files;
        Ok(changed)
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_file())
}

/// Makes a directory and its parents, for us alone.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file in one step: a reader sees the old text or the new, whole. Readable by us alone.
pub(crate) fn write_atomic(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text)?;
    drop(file);
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mlt-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn the_default_place_follows_the_directory() {
        let (mesh, tmp) = (Path::new("/home/a/mesh"), std::env::temp_dir());
        let in_tmp = default_root(mesh, None, &tmp);
        assert!(
            in_tmp.file_name().unwrap().to_str().unwrap().starts_with("meltemi-"),
            "{in_tmp:?}"
        );
        assert_ne!(in_tmp, default_root(Path::new("/home/a/other"), None, &tmp));
        assert_eq!(in_tmp, default_root(mesh, Some(Path::new("/no/such/dir")), &tmp));
        let runtime = scratch("run");
        make_dir(&runtime).unwrap();
        assert!(default_root(mesh, Some(&runtime), &tmp).starts_with(runtime.join("meltemi")));
        fs::remove_dir_all(runtime).unwrap();
    }

    #[test]
    fn only_differences_are_written() {
        let dir = scratch("sync");
        make_dir(&dir).unwrap();
        let mut files = RegistryFiles::new(dir.clone());
        let map = |pairs: &[(&str, u32)]| {
            pairs
                .iter()
                .map(|(name, n)| ((*name).to_owned(), Value::from(*n)))
                .collect()
        };
        assert!(files.sync(map(&[("a.yaml", 1), ("b.yaml", 1)])).unwrap());
        let before = dir.join("a.yaml").metadata().unwrap().ino();
        assert!(!files.sync(map(&[("a.yaml", 1), ("b.yaml", 1)])).unwrap());
        assert!(files.sync(map(&[("a.yaml", 1), ("c.yaml", 1)])).unwrap());
        assert_eq!(dir.join("a.yaml").metadata().unwrap().ino(), before);
        assert!(!dir.join("b.yaml").exists() && dir.join("c.yaml").exists());
        assert_eq!(
            dir.join("c.yaml").metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn removing_leaves_nothing_but_logs_then_nothing() {
        let layout = Layout::new(scratch("layout"));
        layout.create().unwrap();
        layout.prepare().unwrap();
        for file in [
            layout.jwks(),
            layout.mesh_file(),
            layout.log("a", "b"),
            layout.ca().join("ca-key.pem"),
        ] {
            write_atomic(&file, b"x").unwrap();
        }
        layout.remove_secrets();
        let mut left: Vec<_> = fs::read_dir(layout.root())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["logs", MARKER]);
        layout.remove();
        assert!(!layout.root().exists());
    }

    #[test]
    fn a_directory_of_somebody_elses_files_is_left_alone() {
        let cases: [(&[(&str, &str)], bool); 6] = [
            (&[], true),
            (&[("mesh.yaml", "kind: Service")], false),
            (&[("lock", "not a process"), ("logs", "")], false),
            (&[("lock", ""), ("mesh.json", "{}")], false),
            (&[("lock", "4711"), ("logs", "")], true),
            (&[(MARKER, MARKER_TEXT), ("logs", "")], true),
        ];
        for (files, accepted) in cases {
            let layout = Layout::new(scratch("foreign"));
            make_dir(layout.root()).unwrap();
            for (name, text) in files {
                fs::write(layout.root().join(name), text).unwrap();
            }
            let created = layout.create();
            assert_eq!(created.is_ok(), accepted, "{files:?}: {created:?}");
            if let Err(error) = created {
                let root = layout.root().to_str().unwrap();
                assert!(error.contains(root) && error.contains("--state-dir"), "{error}");
                assert!(files.iter().all(|(name, _)| layout.root().join(name).exists()));
            }
            fs::remove_dir_all(layout.root()).unwrap();
        }
    }

    #[test]
    fn a_link_to_a_directory_is_refused() {
        let (target, link) = (scratch("target"), scratch("link"));
        make_dir(&target).unwrap();
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = Layout::new(link.clone()).create().unwrap_err();
        assert!(error.contains("symbolic link"), "{error}");
        fs::remove_file(link).unwrap();
        fs::remove_dir(target).unwrap();
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        let error = Layout::new(format!("/tmp/{}", "x".repeat(80)).into())
            .create()
            .unwrap_err();
        assert!(error.contains("--state-dir"), "{error}");
    }
}
