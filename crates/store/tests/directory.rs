//! Real directories, watched: what people and editors do to files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use store::{Settings, Store, StoreHandle};
use tokio::sync::watch::Receiver;

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n")
}

fn names(store: &Store) -> Vec<String> {
    store
        .list("Service")
        .iter()
        .map(|object| object.name.to_string())
        .collect()
}

struct Watched {
    directory: tempfile::TempDir,
    handle: StoreHandle,
    revision: Receiver<u64>,
}

impl Watched {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        let handle = StoreHandle::start(&[directory.path().to_owned()], Settings::default()).expect("watched");
        let revision = handle.subscribe();
        Watched {
            directory,
            handle,
            revision,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the Services are these.
    async fn until(&mut self, expected: &[&str]) {
        let waiting = async {
            while self.handle.read(names) != expected {
                self.revision.changed().await.expect("the store lives");
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), waiting).await.is_ok();
        assert!(
            in_time,
            "expected {expected:?}, there are {:?}",
            self.handle.read(names)
        );
    }
}

/// As editors and `kubectl` do: a new file beside it, renamed over it.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).expect("written");
    fs::rename(beside, path).expect("renamed");
}

#[tokio::test]
async fn everything_there_is_read_before_start_returns() {
    let watched = Watched::new(&[
        ("a.yaml", &service("a")),
        ("b.yml", &service("b")),
        (".c.yaml", &service("c")),
        ("bad.yaml", "a: ["),
    ]);
    assert_eq!(watched.handle.read(names), ["a", "b"]);
    assert_eq!(watched.handle.read(|store| store.messages().len()), 1);
}

#[tokio::test]
async fn files_are_followed_through_what_people_do_to_them() {
    let mut watched = Watched::new(&[("a.yaml", &service("a"))]);
    fs::write(watched.path("b.yaml"), service("b")).expect("written");
    watched.until(&["a", "b"]).await;
    replace(&watched.path("b.yaml"), &service("c"));
    watched.until(&["a", "c"]).await;
    fs::rename(watched.path("b.yaml"), watched.path("b.txt")).expect("renamed");
    watched.until(&["a"]).await;
    fs::create_dir_all(watched.path("deep/er")).expect("made");
    fs::write(watched.path("deep/er/d.yaml"), service("d")).expect("written");
    watched.until(&["a", "d"]).await;
    replace(&watched.path("deep/er/d.yaml"), &service("e"));
    watched.until(&["a", "e"]).await;
    fs::remove_dir_all(watched.path("deep")).expect("removed");
    watched.until(&["a"]).await;
    std::os::unix::fs::symlink(watched.path("b.txt"), watched.path("l.yaml")).expect("linked");
    watched.until(&["a", "c"]).await;
}

#[tokio::test]
async fn an_emptied_file_keeps_its_objects_until_it_is_written_or_removed() {
    let mut watched = Watched::new(&[("a.yaml", &service("a"))]);
    fs::write(watched.path("a.yaml"), "").expect("emptied");
    watched.revision.changed().await.expect("a message");
    assert_eq!(watched.handle.read(names), ["a"]);
    fs::write(watched.path("a.yaml"), service("b")).expect("written");
    watched.until(&["b"]).await;
    fs::remove_file(watched.path("a.yaml")).expect("removed");
    watched.until(&[]).await;
}

#[tokio::test]
async fn a_directory_that_comes_back_is_followed_again() {
    let outer = tempfile::tempdir().expect("a directory");
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).expect("made");
    fs::write(inner.join("a.yaml"), service("a")).expect("written");
    let handle = StoreHandle::start(std::slice::from_ref(&inner), Settings::default()).expect("watched");
    let revision = handle.subscribe();
    let aside = outer.path().join("aside");
    fs::rename(&inner, &aside).expect("moved away");
    let mut watched = Watched {
        directory: outer,
        handle,
        revision,
    };
    watched.revision.changed().await.expect("a message");
    assert_eq!(watched.handle.read(names), ["a"]);
    fs::write(aside.join("b.yaml"), service("b")).expect("written");
    fs::rename(&aside, &inner).expect("moved back");
    watched.until(&["a", "b"]).await;
    fs::write(inner.join("c.yaml"), service("c")).expect("written");
    watched.until(&["a", "b", "c"]).await;
}

#[tokio::test]
async fn a_directory_that_takes_the_name_of_another_is_followed() {
    let outer = tempfile::tempdir().expect("a directory");
    let (inner, next) = (outer.path().join("inner"), outer.path().join("next"));
    for (directory, name) in [(&inner, "a"), (&next, "b")] {
        fs::create_dir(directory).expect("made");
        fs::write(directory.join("x.yaml"), service(name)).expect("written");
    }
    let handle = StoreHandle::start(std::slice::from_ref(&inner), Settings::default()).expect("watched");
    let revision = handle.subscribe();
    let mut watched = Watched {
        directory: outer,
        handle,
        revision,
    };
    fs::rename(&inner, watched.path("old")).expect("moved away");
    fs::rename(&next, &inner).expect("moved there");
    watched.until(&["b"]).await;
    fs::write(inner.join("c.yaml"), service("c")).expect("written");
    watched.until(&["b", "c"]).await;
}

#[tokio::test]
async fn mesh_config_is_followed_by_its_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let mesh = tempfile::tempdir().expect("a directory");
    let file = mesh.path().join("mesh");
    let settings = Settings {
        mesh_config: Some(file.clone()),
        ..Settings::default()
    };
    let handle = StoreHandle::start(&[directory.path().to_owned()], settings).expect("watched");
    let mut revision = handle.subscribe();
    fs::write(&file, "accessLogFile: /dev/stdout\n").expect("written");
    let waiting = async {
        while handle.read(|store| store.mesh_config().access_log_file.clone()) != "/dev/stdout" {
            revision.changed().await.expect("the store lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .expect("taken up");
}

#[tokio::test]
async fn what_cannot_be_watched_is_said_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.yaml");
    fs::write(&file, "").expect("written");
    for (path, expected) in [
        (directory.path().join("nowhere"), "no such directory"),
        (file, "not a directory"),
    ] {
        let error = StoreHandle::start(&[path], Settings::default()).expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
