//! MeshConfig: a file of its own, or the key `mesh` of the ConfigMap `istio`, laid over the defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::kinds::catalog::{self, Kind};
use model::kinds::shape::Finding;
use model::kinds::validate::Severity;
use model::kinds::{MeshConfig, MeshProxyConfig, PROXY_CONFIG_ANNOTATION};
use serde_json::Value;

use crate::lines::LineMap;
use crate::message::{ENVOY_ONLY, ENVOY_ONLY_TEXT, Message};
use crate::object::{Object, unknown_field};
use crate::yaml;

/// Reads MeshConfig from text: what the text leaves out keeps its default. The messages hold warnings too; with an error
/// among them there is no MeshConfig.
pub fn read(file: &Path, text: &str) -> (Option<MeshConfig>, Vec<Message>) {
    read_as("MeshConfig", file, text)
}

/// Reads the annotation `proxy.istio.io/config` of a pod in `file`, in the same way. Lines count inside the annotation.
pub fn read_annotation(file: &Path, text: &str) -> (Option<MeshProxyConfig>, Vec<Message>) {
    read_as(PROXY_CONFIG_ANNOTATION, file, text)
}

fn read_as<T: Kind + Default>(name: &'static str, file: &Path, text: &str) -> (Option<T>, Vec<Message>) {
    let (value, lines) = match yaml::parse_plain(file, text) {
        Ok(Some(read)) => read,
        Ok(None) => return (Some(T::default()), Vec::new()),
        Err(error) => return (None, vec![*error.message]),
    };
    let report = catalog::check::<T>(&value);
    let at = Place {
        name,
        file,
        lines: &lines,
    };
    let mut messages = Vec::new();
    if let Some(wrong) = &report.wrong {
        let way_out = crate::state::way_out_of(&wrong.message);
        messages.push(at.message(
            Severity::Error,
            "wrong-value",
            &wrong.path,
            wrong.message.clone(),
            way_out,
        ));
    }
    for issue in &report.issues {
        messages.push(at.message(issue.severity, "rule", &issue.path, issue.rule.clone(), &issue.way_out));
    }
    for finding in &report.findings {
        messages.push(match finding {
            Finding::Unknown { path, field, nearest } => at.message(
                Severity::Warning,
                "unknown-field",
                path,
                unknown_field(field, *nearest),
                "",
            ),
            Finding::Unsupported { path, note } => {
                let text = "is not supported yet: it has no effect".to_owned();
                at.message(Severity::Warning, "no-effect", path, text, note)
            }
            Finding::EnvoyOnly { path, note } => {
                at.message(Severity::Warning, ENVOY_ONLY, path, ENVOY_ONLY_TEXT.to_owned(), note)
            }
        });
    }
    if messages.iter().any(Message::is_error) {
        return (None, messages);
    }
    let config = catalog::read::<T>(&value).map(|read| read.value).ok();
    (config, messages)
}

struct Place<'a> {
    /// What is read.
    name: &'static str,
    file: &'a Path,
    lines: &'a LineMap,
}

impl Place<'_> {
    fn message(&self, severity: Severity, code: &'static str, field: &str, text: String, way_out: &str) -> Message {
        Message {
            severity,
            code,
            object: None,
            file: Some(self.file.to_owned()),
            line: self.lines.line(field),
            field: if field.is_empty() {
                self.name.to_owned()
            } else {
                format!("{}.{field}", self.name)
            },
            text,
            way_out: way_out.to_owned(),
        }
    }
}

/// The MeshConfig in force, with the last good one kept where the new one is wrong.
#[derive(Debug)]
pub(crate) struct MeshConfigState {
    file: Option<PathBuf>,
    current: Arc<MeshConfig>,
    messages: Vec<Message>,
}

impl MeshConfigState {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        MeshConfigState {
            file,
            current: Arc::default(),
            messages: Vec::new(),
        }
    }

    pub(crate) fn current(&self) -> Arc<MeshConfig> {
        Arc::clone(&self.current)
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Takes in its file. Whether anything is different, and whether the MeshConfig in force is.
    pub(crate) fn read_file(&mut self, text: Option<&str>) -> (bool, bool) {
        let Some(file) = self.file.clone() else {
            return (false, false);
        };
        match text {
            Some(text) if text.trim().is_empty() && self.current != Arc::default() => (false, false),
            Some(text) => self.take(read(&file, text)),
            None => {
                let lines = LineMap::default();
                let at = Place {
                    name: "MeshConfig",
                    file: &file,
                    lines: &lines,
                };
                let text = "there is no such file: the last known settings are in force".to_owned();
                let message = at.message(
                    Severity::Warning,
                    "unreadable",
                    "",
                    text,
                    "create it, or leave the flag out",
                );
                self.take((None, vec![message]))
            }
        }
    }

    /// Takes in the ConfigMap, where no file is configured. Whether the MeshConfig in force is different.
    pub(crate) fn read_config_map(&mut self, map: Option<&Object>) -> bool {
        if self.file.is_some() {
            return false;
        }
        let text = map
            .and_then(|map| map.value.pointer("/data/mesh"))
            .and_then(Value::as_str);
        let (Some(map), Some(text)) = (map, text) else {
            return self.take((Some(MeshConfig::default()), Vec::new())).1;
        };
        let file = map.origin.file.clone().unwrap_or_default();
        let (config, mut messages) = read(&file, text);
        // Lines inside the embedded text count from the line after its key.
        let offset = map.line("data.mesh");
        for message in &mut messages {
            message.line += offset;
            message.object = Some(map.reference());
        }
        self.take((config, messages)).1
    }

    fn take(&mut self, (config, messages): (Option<MeshConfig>, Vec<Message>)) -> (bool, bool) {
        let mut different = self.messages != messages;
        self.messages = messages;
        let changed = config.as_ref().is_some_and(|config| *config != *self.current);
        if let (true, Some(config)) = (changed, config) {
            self.current = Arc::new(config);
            different = true;
        }
        (different, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read_text(text: &str) -> (Option<MeshConfig>, Vec<Message>) {
        read(Path::new("mesh.yaml"), text)
    }

    #[test]
    fn a_partial_file_is_laid_over_the_defaults() {
        let (config, messages) = read_text("accessLogFile: /dev/stdout\ndefaultConfig:\n  drainDuration: 5s\n");
        let config = config.expect("valid");
        assert_eq!(config.access_log_file, "/dev/stdout");
        assert_eq!(config.default_config.drain_duration, Some(Duration::from_secs(5)));
        assert_eq!(config.default_config.proxy_admin_port, 15000);
        assert!(config.enable_auto_mtls);
        assert!(!messages.iter().any(Message::is_error), "{messages:?}");
        assert_eq!(read_text("").0, Some(MeshConfig::default()));
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let cases = [
            ("a: [", "mesh.yaml:1: "),
            (
                "connectTimeout: fast\n",
                "mesh.yaml:1: MeshConfig.connectTimeout: \"fast\" is not a duration",
            ),
            (
                "\nproxyHttpPort: 99999\n",
                "mesh.yaml:2: MeshConfig.proxyHttpPort: 99999 is no port number",
            ),
            (
                "accesLogFile: x\n",
                "there is no field \"accesLogFile\"; \"accessLogFile\" was probably meant",
            ),
            ("discoverySelectors: []\n", "is not supported yet"),
            ("a: 1\n---\nb: 1\n", "mesh.yaml:3: there is a second document"),
        ];
        for (text, expected) in cases {
            let (_, messages) = read_text(text);
            let said: Vec<String> = messages.iter().map(Message::to_string).collect();
            assert!(said.iter().any(|m| m.contains(expected)), "{text:?}: {said:?}");
        }
    }
}
