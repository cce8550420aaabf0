//! Finding a local mesh, and a pod in it.
//!
//! A running `meltemi up` keeps `mesh.json` in its state directory: its process, pilot's address, and every pod with its
//! proxy's admin address.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::flags::MeshFlags;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Mesh {
    pid: u32,
    directory: PathBuf,
    pub(crate) pilot: String,
    pods: Vec<Pod>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: String,
    workload: String,
    /// None for a pod without a proxy.
    pub(crate) admin: Option<String>,
}

const FILE: &str = "mesh.json";

impl Mesh {
    /// The mesh that the flags mean.
    pub(crate) fn find(flags: &MeshFlags) -> Result<Self, String> {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let candidates = match &flags.state_dir {
            Some(dir) => vec![dir.join(FILE)],
            None => files(runtime_dir.as_deref(), &std::env::temp_dir()),
        };
        let running = candidates
            .iter()
            .filter_map(|path| Mesh::read(path))
            .find(Mesh::is_running);
        running.ok_or_else(|| {
            let place = flags.state_dir.as_ref().map(|dir| format!(" in {}", dir.display())).unwrap_or_default();
            format!(
                "no local mesh is running{place}; start one with `meltemi up DIR`, name its --state-dir, or name an address \
                 with --pilot-address (proxy-status) or --proxy-admin-address (proxy-config, describe)"
            )
        })
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// A killed `up` leaves its file for a moment.
    fn is_running(&self) -> bool {
        Path::new("/proc").join(self.pid.to_string()).exists()
    }

    /// The pod of this name, `pod.namespace`, or the only pod of the workload of this name, or whose name begins so.
    pub(crate) fn pod(&self, text: &str, namespace: Option<&str>) -> Result<&Pod, String> {
        // Pods' names may contain dots, namespaces do not: try the whole text first.
        let (name, dotted) = text.rsplit_once('.').unwrap_or((text, ""));
        let fits = |pod: &Pod, name: &str, namespace: Option<&str>| {
            (pod.name == name || pod.workload == name) && namespace.is_none_or(|namespace| pod.namespace == namespace)
        };
        let mut found: Vec<&Pod> = self.pods.iter().filter(|pod| fits(pod, text, namespace)).collect();
        if found.is_empty() && !dotted.is_empty() {
            found = self.pods.iter().filter(|pod| fits(pod, name, Some(dotted))).collect();
        }
        if found.is_empty() {
            let begins =
                |pod: &&Pod| pod.name.starts_with(text) && namespace.is_none_or(|namespace| pod.namespace == namespace);
            found = self.pods.iter().filter(begins).collect();
        }
        match found[..] {
            [pod] => Ok(pod),
            [] => Err(format!(
                "there is no pod `{text}` in the mesh of {}; there are:\n{}",
                self.directory.display(),
                self.list(&self.pods.iter().collect::<Vec<_>>())
            )),
            _ => Err(format!(
                "`{text}` means several pods; name one of:\n{}",
                self.list(&found)
            )),
        }
    }

    /// The pod whose proxy has this IP address.
    pub(crate) fn pod_at(&self, ip: IpAddr) -> Option<&Pod> {
        let is_there = |admin: &str| admin.parse::<SocketAddr>().is_ok_and(|address| address.ip() == ip);
        self.pods.iter().find(|pod| pod.admin.as_deref().is_some_and(is_there))
    }

    fn list(&self, pods: &[&Pod]) -> String {
        pods.iter()
            .map(|pod| format!("  {}.{}", pod.name, pod.namespace))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// `mesh.json` of every mesh of this user, the one changed last first.
fn files(runtime_dir: Option<&Path>, tmp: &Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let in_tmp = list(tmp.to_owned()).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("meltemi-"))
    });
    let in_runtime = runtime_dir.into_iter().flat_map(|dir| list(dir.join("meltemi")));
    let mut found: Vec<PathBuf> = in_runtime
        .chain(in_tmp)
        .filter(|dir| is_ours(dir))
        .map(|dir| dir.join(FILE))
        .filter(|path| path.exists())
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().and_then(|meta| meta.modified()).ok()));
    found
}

/// Whether this is a directory of this user itself, not a link to one: anybody may put one into the temporary directory.
fn is_ours(dir: &Path) -> bool {
    dir.symlink_metadata()
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        let pod = |name: &str, namespace: &str, workload: &str| Pod {
            name: name.into(),
            namespace: namespace.into(),
            workload: workload.into(),
            admin: Some("127.0.0.1:1".into()),
        };
        Mesh {
            pods: vec![
                pod("web-aaaaa", "default", "web"),
                pod("web-bbbbb", "shop", "web"),
                pod("db-ccccc", "shop", "db"),
                pod("v1.0-ddddd", "shop", "v1.0"),
            ],
            ..Mesh::default()
        }
    }

    #[test]
    fn a_pod_is_found_by_every_name_it_has() {
        let cases = [
            ("web-aaaaa", None, Ok("web-aaaaa")),
            ("web-bbbbb.shop", None, Ok("web-bbbbb")),
            ("web", Some("shop"), Ok("web-bbbbb")),
            ("web.default", None, Ok("web-aaaaa")),
            ("db", None, Ok("db-ccccc")),
            ("v1.0-ddddd", None, Ok("v1.0-ddddd")),
            ("d", None, Ok("db-ccccc")),
            ("we", None, Err("means several pods")),
            ("web", None, Err("means several pods")),
            ("web-aaaaa", Some("shop"), Err("there is no pod")),
            ("nobody", None, Err("web-aaaaa.default")),
        ];
        for (text, namespace, expected) in cases {
            let found = mesh().pod(text, namespace).map(|pod| pod.name.clone());
            match (found, expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_mesh_changed_last_comes_first_and_dead_ones_are_passed_over() {
        let tmp = std::env::temp_dir().join(format!("mlt-place-{}", std::process::id()));
        for (name, pid) in [("meltemi-0-a", std::process::id()), ("meltemi-0-b", u32::MAX)] {
            std::fs::create_dir_all(tmp.join(name)).unwrap();
            std::fs::write(
                tmp.join(name).join(FILE),
                format!("{{\"pid\": {pid}, \"pilot\": \"{name}\"}}"),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink(tmp.join("meltemi-0-a"), tmp.join("meltemi-0-c")).unwrap();
        let running: Vec<Mesh> = files(None, &tmp)
            .iter()
            .filter_map(|path| Mesh::read(path))
            .filter(Mesh::is_running)
            .collect();
        assert_eq!(running.len(), 1);
        assert_eq!(running[0].pilot, "meltemi-0-a");
        let flags = MeshFlags {
            state_dir: Some(tmp.join("meltemi-0-b")),
            namespace: None,
        };
        assert!(Mesh::find(&flags).unwrap_err().contains("no local mesh is running in"));
        std::fs::remove_dir_all(tmp).unwrap();
    }
}
