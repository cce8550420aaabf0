//! Everything that can be wrong before anything has started: all of it is found and said at once.

use std::path::{Path, PathBuf};

use crate::command::SearchPath;
use crate::envoy;
use crate::flags::Up;
use crate::settings::DataPlane;

/// The directory, absolute; or what is wrong with it.
pub(crate) fn directory(given: &Path) -> Result<PathBuf, String> {
    let shown = given.display();
    let way_out = "give a directory of Kubernetes and Istio YAML, such as samples/bookinfo";
    match given.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let here = std::env::current_dir().unwrap_or_default();
            Err(format!(
                "{shown}: there is no such directory (seen from {}); {way_out}",
                here.display()
            ))
        }
        Err(error) => Err(format!("{shown}: {error}; {way_out}")),
        Ok(meta) if !meta.is_dir() => {
            let parent = given
                .parent()
                .filter(|parent| *parent != Path::new(""))
                .unwrap_or(Path::new("."));
            Err(format!(
                "{shown} is a file; give its directory: meltemi up {}",
                parent.display()
            ))
        }
        Ok(_) => given.canonicalize().map_err(|error| format!("{shown}: {error}")),
    }
}

/// Which proxy, and where it is.
pub(crate) fn data_plane(flags: &Up, executable: &Path) -> Result<DataPlane, String> {
    if !flags.data_plane.is_envoy() {
        return Ok(DataPlane::Native);
    }
    let above = executable.ancestors().skip(1).take(4).map(Path::to_owned);
    let search = envoy::Search {
        given: flags.envoy.clone(),
        path: path_variable(),
        virtual_env: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        build_dirs: above.collect(),
    };
    search.find().map(DataPlane::Envoy)
}

pub(crate) fn search_path(directory: &Path, executable: &Path) -> SearchPath {
    SearchPath {
        directory: directory.to_owned(),
        beside: executable.parent().unwrap_or(Path::new("/")).to_owned(),
        path: path_variable(),
    }
}

fn path_variable() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

/// The executable that also is agent, proxy and control plane: this one. `MELTEMI_EXECUTABLE` names another, for tests of
/// this one with scripted parts.
pub(crate) fn executable() -> Result<PathBuf, String> {
    match std::env::var_os("MELTEMI_EXECUTABLE") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().map_err(|error| format!("cannot find our own executable: {error}")),
    }
}

/// This machine's name, for `spec.nodeName`.
pub(crate) fn node_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "localhost".into()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_directory_is_explained() {
        let error = directory(Path::new("no/such")).unwrap_err();
        assert!(
            error.contains("there is no such directory (seen from /") && error.contains("samples/bookinfo"),
            "{error}"
        );
        let error = directory(Path::new("src/lib.rs")).unwrap_err();
        assert!(
            error.ends_with("is a file; give its directory: meltemi up src"),
            "{error}"
        );
        assert!(directory(Path::new("src")).unwrap().is_absolute());
    }
}
