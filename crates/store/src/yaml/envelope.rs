//! What every object has: apiVersion, kind, metadata.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::kinds::catalog::{self, Effect, Entry, Lookup, Report, Scope};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Lost, ParseError};
use crate::lines::LineMap;
use crate::object::{Object, Origin};

/// The document as an object, checked by itself.
pub(super) fn object(file: &Path, value: Value, lines: LineMap, line: u32) -> Result<Object, ParseError> {
    let reader = Reader {
        file,
        value: &value,
        lines: &lines,
    };
    let entry = reader.entry()?;
    let name = reader.name(entry)?;
    let namespace = reader.namespace(entry, &name)?;
    let labels = reader.texts(entry, &name, "labels")?;
    let annotations = reader.texts(entry, &name, "annotations")?;
    let created = reader.created();
    let api_version = text(&value, "/apiVersion").unwrap_or_default().into();
    let report = Arc::new(entry.check.map_or_else(Report::default, |check| check(&value)));
    Ok(Object {
        kind: entry.name().into(),
        api_version,
        name: name.into(),
        namespace: namespace.into(),
        labels,
        annotations,
        created,
        origin: Origin {
            file: Some(file.to_owned()),
            line,
        },
        generation: 0,
        lines,
        entry,
        report,
        value,
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

struct Reader<'a> {
    file: &'a Path,
    value: &'a Value,
    lines: &'a LineMap,
}

impl Reader<'_> {
    fn error(
        &self,
        field: &str,
        code: &'static str,
        lost: Lost,
        rule: String,
        way_out: impl Into<String>,
    ) -> ParseError {
        let mut error = ParseError::new(self.file, self.lines.line(field), code, lost, rule, way_out);
        error.message.field = field.to_owned();
        error
    }

    fn name_text(&self) -> Option<String> {
        text(self.value, "/metadata/name").map(str::to_owned)
    }

    fn entry(&self) -> Result<&'static Entry, ParseError> {
        let lost = |kind: Option<&str>| Lost::Object {
            kind: kind.map(str::to_owned),
            name: self.name_text(),
        };
        if !self.value.is_object() {
            let rule = "this document is not an object".to_owned();
            return Err(self.error(
                "",
                "envelope",
                lost(None),
                rule,
                "start it with apiVersion, kind and metadata",
            ));
        }
        let Some(kind) = text(self.value, "/kind") else {
            let rule = "the object has no kind".to_owned();
            return Err(self.error(
                "kind",
                "envelope",
                lost(None),
                rule,
                "write for example kind: VirtualService",
            ));
        };
        let Some(api_version) = text(self.value, "/apiVersion") else {
            let rule = format!("the {kind} has no apiVersion");
            let way_out = catalog::by_kind(kind).map_or_else(String::new, |e| format!("write {}", api_version_of(e)));
            return Err(self.error("apiVersion", "envelope", lost(Some(kind)), rule, way_out));
        };
        match catalog::lookup(api_version, kind) {
            Lookup::Known(entry) => Ok(entry),
            Lookup::UnknownVersion(entry) => {
                let rule = format!("{kind} has no version {api_version:?}");
                let way_out = format!("write one of {}", versions_of(entry));
                Err(self.error("apiVersion", "unknown-version", lost(Some(kind)), rule, way_out))
            }
            Lookup::UnknownKind { same_kind, nearest } => Err(self.unknown_kind(api_version, kind, same_kind, nearest)),
        }
    }

    fn unknown_kind(
        &self,
        api_version: &str,
        kind: &str,
        same_kind: Option<&'static Entry>,
        nearest: Option<&'static str>,
    ) -> ParseError {
        let known = same_kind.or_else(|| nearest.and_then(catalog::by_kind));
        let lost = match known {
            Some(entry) => Lost::Object {
                kind: Some(entry.kind.to_owned()),
                name: self.name_text(),
            },
            None => Lost::Nothing,
        };
        let rule = format!("there is no kind {kind:?} in {api_version:?}");
        let (field, way_out) = match (same_kind, nearest) {
            (Some(entry), _) => ("apiVersion", format!("{kind} is in {}", versions_of(entry))),
            (None, Some(nearest)) => ("kind", format!("{nearest:?} was probably meant; {}", known_kinds())),
            (None, None) => ("kind", format!("it is left out; {}", known_kinds())),
        };
        self.error(field, "unknown-kind", lost, rule, way_out)
    }

    fn name(&self, entry: &Entry) -> Result<String, ParseError> {
        let lost = Lost::Object {
            kind: Some(entry.kind.to_owned()),
            name: None,
        };
        let Some(name) = text(self.value, "/metadata/name") else {
            let rule = format!("the {} has no name", entry.kind);
            let way_out = match text(self.value, "/metadata/generateName") {
                Some(_) => "generateName needs an API server: write metadata.name",
                None => "write metadata: {name: ...} (in quotes if it looks like a number)",
            };
            return Err(self.error("metadata.name", "name", lost, rule, way_out));
        };
        // A Service's name becomes a DNS label of its host name.
        let label = matches!((entry.group, entry.kind), ("", "Service" | "Namespace"));
        let ok = if label {
            is_label(name)
        } else {
            name.len() <= 253 && name.split('.').all(is_label)
        };
        if ok {
            return Ok(name.to_owned());
        }
        let rule = format!("{name:?} is not a name for a {}", entry.kind);
        let way_out = if label {
            "use at most 63 lower-case letters, digits and \"-\", starting and ending with a letter or digit"
        } else {
            "use lower-case letters, digits, \"-\" and \".\", starting and ending with a letter or digit"
        };
        Err(self.error("metadata.name", "name", lost, rule, way_out))
    }

    /// `default` where a namespaced object names none; none for cluster-scoped kinds, whatever is written.
    fn namespace(&self, entry: &Entry, name: &str) -> Result<String, ParseError> {
        if entry.scope == Scope::Cluster {
            return Ok(String::new());
        }
        let namespace = text(self.value, "/metadata/namespace").unwrap_or("default");
        if is_label(namespace) {
            return Ok(namespace.to_owned());
        }
        let lost = Lost::Object {
            kind: Some(entry.kind.to_owned()),
            name: Some(name.to_owned()),
        };
        let rule = format!("{namespace:?} is not a name for a namespace");
        Err(self.error(
            "metadata.namespace",
            "name",
            lost,
            rule,
            "use lower-case letters, digits and \"-\"",
        ))
    }

    /// `labels` or `annotations`: everything in them is text.
    fn texts(&self, entry: &Entry, name: &str, field: &str) -> Result<BTreeMap<String, String>, ParseError> {
        let lost = || Lost::Object {
            kind: Some(entry.kind.to_owned()),
            name: Some(name.to_owned()),
        };
        let path = format!("metadata.{field}");
        let map = match self.value.pointer(&format!("/metadata/{field}")) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map,
            Some(_) => {
                return Err(self.error(
                    &path,
                    "wrong-value",
                    lost(),
                    format!("{field} are a map"),
                    "write key: value",
                ));
            }
        };
        let mut texts = BTreeMap::new();
        for (key, value) in map {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => {
                    let rule = format!("the value of {key:?} must be text and is {other}");
                    let way_out = format!("write it in quotes: {key}: \"{other}\"");
                    return Err(self.error(&format!("{path}.{key}"), "wrong-value", lost(), rule, way_out));
                }
            };
            texts.insert(key.clone(), text);
        }
        Ok(texts)
    }

    fn created(&self) -> i64 {
        text(self.value, "/metadata/creationTimestamp")
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
            .map_or(0, OffsetDateTime::unix_timestamp)
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let end = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|c| end(*c) || *c == b'-')
        && end(bytes[0])
        && end(bytes[bytes.len() - 1])
}

fn api_version_of(entry: &Entry) -> String {
    let version = entry.versions.first().copied().unwrap_or_default();
    if entry.group.is_empty() {
        version.to_owned()
    } else {
        format!("{}/{version}", entry.group)
    }
}

fn versions_of(entry: &Entry) -> String {
    let full = |version: &&str| {
        if entry.group.is_empty() {
            (*version).to_owned()
        } else {
            format!("{}/{version}", entry.group)
        }
    };
    entry.versions.iter().map(full).collect::<Vec<_>>().join(", ")
}

/// The kinds that have an effect, for people who look for the right one.
fn known_kinds() -> String {
    let mut kinds: Vec<&str> = catalog::ENTRIES
        .iter()
        .filter(|e| e.effect == Effect::Works)
        .map(|e| e.kind)
        .collect();
    kinds.dedup();
    format!("the kinds in use here are {}", kinds.join(", "))
}
