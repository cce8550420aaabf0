//! A mesh directory that a test may edit.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::mesh::{copy_dir, root, write};

/// What stands where the path of the echo application belongs.
const ECHO: &str = "@ECHO@";

pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn empty() -> Result<Self> {
        Ok(Directory(tempfile::tempdir()?))
    }

    /// A copy of `samples/bookinfo`.
    pub fn bookinfo() -> Result<Self> {
        copy_dir(&root().join("samples/bookinfo")).map(Directory)
    }

    /// The client and the two versions of `tests/meshes/echo`; `program` is the echo application.
    pub fn echo(program: &str) -> Result<Self> {
        let directory = Directory::empty()?;
        directory.add_echo(program)?;
        Ok(directory)
    }

    pub fn add_echo(&self, program: &str) -> Result<()> {
        for path in yaml_files(&root().join("tests/meshes/echo"))? {
            let text = std::fs::read_to_string(&path)?.replace(ECHO, program);
            self.write(&file_name(&path), &text)?;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file in one step, new or in place of an old one.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write(&self.path().join(name), text)
    }

    pub fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.path().join(name)).with_context(|| name.to_owned())
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path().join(name)).with_context(|| name.to_owned())
    }

    /// Copies a file of `samples/bookinfo-tasks` here, as the README says to.
    pub fn apply(&self, task: &str) -> Result<()> {
        self.write(
            task,
            &std::fs::read_to_string(root().join("samples/bookinfo-tasks").join(task))?,
        )
    }
}

/// Names of all task files.
pub fn tasks() -> Result<Vec<String>> {
    let files = yaml_files(&root().join("samples/bookinfo-tasks"))?;
    Ok(files.iter().map(|path| file_name(path)).collect())
}

pub fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
