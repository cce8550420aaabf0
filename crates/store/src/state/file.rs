//! What is known of one file.

use std::path::Path;
use std::sync::Arc;

use model::kinds::validate::Severity;
use xxhash_rust::xxh3::xxh3_128;

use crate::message::Message;
use crate::object::Object;
use crate::yaml::{self, Lost, ParseError};

#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Of the text last read, so that a touched file costs nothing.
    hash: u128,
    /// As they stand in the file now, or stood when it was last readable.
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) errors: Vec<ParseError>,
    /// The file cannot be read or is no YAML: `objects` are those of its last good text.
    pub(super) broken: Option<Message>,
}

impl FileState {
    /// Takes in a new text. False if nothing is different.
    pub(super) fn read(&mut self, file: &Path, text: &str) -> bool {
        let hash = xxh3_128(text.as_bytes());
        if hash == self.hash && self.broken.as_ref().is_none_or(|broken| broken.code != "unreadable") {
            return false;
        }
        self.hash = hash;
        if text.trim().is_empty() {
            let rule = "the file is empty: what it held before stays in force";
            self.broken = (!self.objects.is_empty()).then(|| {
                message(
                    file,
                    Severity::Warning,
                    "empty",
                    rule.to_owned(),
                    "remove the file to remove its objects",
                )
            });
            return true;
        }
        let parsed = yaml::parse(file, text);
        if let [Err(error @ ParseError { lost: Lost::File, .. })] = parsed.as_slice() {
            self.broken = Some((*error.message).clone());
            return true;
        }
        self.broken = None;
        self.errors.clear();
        self.objects.clear();
        for result in parsed {
            match result {
                Ok(object) => self.objects.push(Arc::new(object)),
                Err(error) => self.errors.push(error),
            }
        }
        true
    }

    /// The file is there and cannot be read.
    pub(super) fn unreadable(&mut self, file: &Path, reason: String) -> bool {
        let text = format!("the file cannot be read: {reason}");
        let broken = Some(message(
            file,
            Severity::Error,
            "unreadable",
            text,
            "check its permissions",
        ));
        let different = self.broken != broken;
        self.broken = broken;
        different
    }

    /// Whether an object that is no longer found in this file may be one of those that could not be read.
    pub(super) fn may_have_lost(&self, object: &Object) -> bool {
        self.broken.is_some()
            || self.errors.iter().any(|error| match &error.lost {
                Lost::File => true,
                Lost::Nothing => false,
                Lost::Object { kind, name } => {
                    kind.as_deref().is_none_or(|kind| kind == object.entry.kind)
                        && name.as_deref().is_none_or(|name| name == &*object.name)
                }
            })
    }
}

fn message(file: &Path, severity: Severity, code: &'static str, text: String, way_out: &str) -> Message {
    Message {
        severity,
        code,
        object: None,
        file: Some(file.to_owned()),
        line: 0,
        field: String::new(),
        text,
        way_out: way_out.to_owned(),
    }
}
