//! Which files and which events count.

use std::path::Path;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};

/// Whether a file name is one of ours: YAML or JSON, neither hidden nor an editor's.
pub(super) fn is_config_file(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let editors = name.starts_with(['.', '#', '~']) || name.ends_with(['~', '#']);
    let ours = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
    ours && !editors
}

/// Whether a directory below the watched one is looked into. (`..data` and its like, by which Kubernetes swaps the files of
/// a mounted ConfigMap, are hidden: the files in sight are links into them.)
pub(super) fn is_visible_directory(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| !name.starts_with('.'))
}

/// Whether an event may have changed what a directory says.
pub(super) fn counts(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => true,
        EventKind::Modify(ModifyKind::Name(_)) => true,
        EventKind::Create(CreateKind::File) => event.paths.iter().any(|path| is_link(path)),
        EventKind::Create(_) => true,
        // Systems that cannot tell when a file is closed.
        EventKind::Modify(_) => !cfg!(target_os = "linux"),
        EventKind::Any | EventKind::Other => event.need_rescan(),
        EventKind::Access(_) => false,
    }
}

/// A link is complete when it appears; a new file is not.
fn is_link(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink() || meta.nlink() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_leave_files_that_are_not_ours() {
        let cases = [
            ("a.yaml", true),
            ("d/a.yml", true),
            ("a.json", true),
            ("a.yaml~", false),
            (".a.yaml.swp", false),
            (".a.yaml", false),
            ("#a.yaml#", false),
            (".#a.yaml", false),
            ("a.yaml.tmp", false),
            ("README.md", false),
            ("4913", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_config_file(Path::new(name)), expected, "{name}");
        }
    }
}
