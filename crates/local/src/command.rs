//! Which program a container's command is on this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::manifest::{Container, PodTemplate};

/// The pod annotation that names the program of a container whose image would bring its own, or which this machine has
/// under another name.
const ANNOTATION: &str = "local.meltemi.io/command";

/// Where programs are sought, in this order after absolute paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchPath {
    pub(crate) directory: PathBuf,
    pub(crate) beside: PathBuf,
    pub(crate) path: Vec<PathBuf>,
}

/// Program and arguments, before `$(NAME)` is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
}

/// The command line of a container: the annotation's, else the container's own.
pub(crate) fn resolve(
    container: &Container,
    template: &PodTemplate,
    search: &SearchPath,
) -> Result<CommandLine, String> {
    let annotation = format!("{ANNOTATION}.{}", container.name);
    let mut words = match template.annotations.get(&annotation) {
        Some(text) => split(text).map_err(|error| format!("annotation {annotation}: {error}"))?,
        None => container.command.clone(),
    };
    if words.is_empty() {
        return Err(format!(
            "container {} has no `command`, and its image `{}` is not run here: name a program of this machine with the pod annotation `{annotation}: \"PROGRAM ARG …\"`",
            container.name, container.image
        ));
    }
    let first = words.remove(0);
    words.extend(container.args.iter().cloned());
    match search.find(&first) {
        Some(program) => Ok(CommandLine { program, args: words }),
        None => Err(format!(
            "container {}: program `{first}` was not found{}: install it, or name another with the pod annotation `{annotation}`",
            container.name,
            search.places(&first)
        )),
    }
}

impl SearchPath {
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        if name.starts_with('/') {
            return Some(PathBuf::from(name)).filter(|path| is_program(path));
        }
        let with_slash = name.contains('/');
        let elsewhere = std::iter::once(&self.beside).chain(&self.path).filter(|_| !with_slash);
        std::iter::once(&self.directory)
            .chain(elsewhere)
            .map(|dir| dir.join(name))
            .find(|path| is_program(path))
    }

    fn places(&self, name: &str) -> String {
        if name.starts_with('/') {
            return String::new();
        }
        let directory = self.directory.display();
        if name.contains('/') {
            return format!(" in {directory}");
        }
        format!(" in {directory}, in {}, or in PATH", self.beside.display())
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Splits words as a shell does, with quotes and backslashes but without expansion. A JSON array is taken as it stands.
fn split(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("not a JSON array of strings: {error}"));
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let cases: [(&str, &[&str]); 5] = [
            ("a  b\tc", &["a", "b", "c"]),
            ("sh -c 'echo \"x\" y'", &["sh", "-c", "echo \"x\" y"]),
            (r#"a "b \"c\"" d\ e '' "#, &["a", "b \"c\"", "d e", ""]),
            (r#"["a b", "c"]"#, &["a b", "c"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
        assert!(split("a 'b").unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_program_is_found_or_its_absence_explained() {
        let directory = std::env::temp_dir().join(format!("meltemi-command-{}", std::process::id()));
        let (dir, beside) = (directory.join("dir"), directory.join("beside"));
        for place in [&dir, &beside] {
            std::fs::create_dir_all(place).unwrap();
            std::fs::write(place.join("app"), "").unwrap();
            std::fs::set_permissions(place.join("app"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(dir.join("data"), "").unwrap();
        let search = SearchPath {
            directory: dir.clone(),
            beside: beside.clone(),
            path: vec!["/bin".into()],
        };
        let cases = [
            ("app", Some(dir.join("app"))),
            ("sh", Some("/bin/sh".into())),
            ("/bin/sh", Some("/bin/sh".into())),
            ("./app", Some(dir.join("./app"))),
            ("data", None),
            ("/nowhere/app", None),
        ];
        for (name, expected) in cases {
            assert_eq!(search.find(name), expected, "{name}");
        }

        let container = |value| serde_json::from_value::<Container>(value).unwrap();
        let mut template = PodTemplate::default();
        let bare = container(serde_json::json!({"name": "web", "image": "nginx", "args": ["-v"]}));
        let error = resolve(&bare, &template, &search).unwrap_err();
        assert!(
            error.contains("image `nginx` is not run here") && error.contains("local.meltemi.io/command.web"),
            "{error}"
        );
        template.annotations = BTreeMap::from([("local.meltemi.io/command.web".to_owned(), "sh -c".to_owned())]);
        let line = resolve(&bare, &template, &search).unwrap();
        assert_eq!(
            line,
            CommandLine {
                program: "/bin/sh".into(),
                args: vec!["-c".into(), "-v".into()]
            }
        );
        let missing = container(serde_json::json!({"name": "x", "command": ["no-such-program"]}));
        assert!(
            resolve(&missing, &template, &search)
                .unwrap_err()
                .contains("or in PATH: install it")
        );
        std::fs::remove_dir_all(directory).unwrap();
    }
}
