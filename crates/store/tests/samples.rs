//! The samples say nothing: no message on any of them.

use std::path::{Path, PathBuf};

use store::{Batch, Message, Settings, Store, dir};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name)
}

fn apply(store: &mut Store, batch: Batch) -> Vec<String> {
    store.apply(batch);
    store.messages().iter().map(Message::to_string).collect()
}

#[test]
fn bookinfo_and_each_of_its_tasks_are_clean() {
    let bookinfo = dir::read_directory(0, &sample("bookinfo")).expect("readable");
    let tasks = dir::read_directory(1, &sample("bookinfo-tasks")).expect("readable");
    assert!(!bookinfo.files.is_empty() && !tasks.files.is_empty());
    let mut store = Store::new(Settings::default());
    assert_eq!(apply(&mut store, bookinfo.clone()), Vec::<String>::new());
    for task in tasks.files {
        let mut store = Store::new(Settings::default());
        apply(&mut store, bookinfo.clone());
        let said = apply(
            &mut store,
            Batch {
                files: vec![task.clone()],
                sources: vec![],
            },
        );
        assert_eq!(said, Vec::<String>::new(), "{task:?}");
    }
}
