//! A group of files: a folder, and what its `group.yaml` says of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use node::bootstrap::XdsMode;
use serde::Deserialize;

use crate::scenario::read;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    /// The proxies are told everything each time, instead of what changed.
    state_of_the_world: bool,
    /// Files of other groups that run here as well: `main/gateway`.
    files: Vec<String>,
}

pub struct Group {
    pub mode: XdsMode,
    /// Its scenario files, by path.
    pub files: Vec<PathBuf>,
}

impl Group {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("group.yaml");
        let written = match std::fs::read_to_string(&path) {
            Ok(text) => read(&path, &text).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == ErrorKind::NotFound => Written::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
            .filter(|path| !["mesh", "group"].contains(&stem(path).as_str()))
            .collect();
        let others = folder.parent().unwrap_or(folder);
        files.extend(written.files.iter().map(|file| others.join(format!("{file}.yaml"))));
        files.sort();
        Ok(Group {
            mode: if written.state_of_the_world {
                XdsMode::Sotw
            } else {
                XdsMode::Delta
            },
            files,
        })
    }
}

/// The name of a file, which is that of its namespace.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
