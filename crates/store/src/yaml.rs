//! Text to objects.
//!
//! A file holds any number of documents, each an object or a `kind: List` of objects. A fault of syntax loses the file, a
//! fault of one object that object only.

mod envelope;
mod load;
mod scalar;

use std::path::Path;

use serde_json::Value;

pub use load::{MAX_BYTES, MAX_DEPTH};

use crate::lines::LineMap;
use crate::message::{Message, Severity};
use crate::object::Object;

/// Objects of one file.
pub const MAX_OBJECTS: usize = 10_000;

/// Why a file, or one document of it, gives no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    pub message: Box<Message>,
    pub lost: Lost,
}

/// What an error cost, so that the right last good objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The file could not be read at all.
    File,
    /// One object, of which this much is known.
    Object { kind: Option<String>, name: Option<String> },
    /// An object that was never ours.
    Nothing,
}

impl ParseError {
    fn new(file: &Path, line: u32, code: &'static str, lost: Lost, text: String, way_out: impl Into<String>) -> Self {
        let message = Message {
            severity: Severity::Error,
            code,
            object: None,
            file: Some(file.to_owned()),
            line,
            field: String::new(),
            text,
            way_out: way_out.into(),
        };
        ParseError {
            message: Box::new(message),
            lost,
        }
    }

    fn syntax(file: &Path, fault: load::Fault) -> Self {
        ParseError::new(file, fault.line, "syntax", Lost::File, fault.rule, fault.way_out)
    }
}

/// Reads a file. Never panics, whatever the text; its cost is bounded by the size of the text.
pub fn parse(file: &Path, text: &str) -> Vec<Result<Object, ParseError>> {
    let documents = match load::documents(text) {
        Ok(documents) => documents,
        Err(fault) => return vec![Err(ParseError::syntax(file, fault))],
    };
    let mut objects = Vec::new();
    for document in documents {
        let line = document.line;
        collect(file, document.value, document.lines, line, &mut objects);
        if objects.len() > MAX_OBJECTS {
            let rule = format!("the file holds more than {MAX_OBJECTS} objects");
            return vec![Err(ParseError::new(file, line, "syntax", Lost::File, rule, "split it"))];
        }
    }
    objects
}

/// Reads a file of one document that is no object, such as MeshConfig: its value and lines, nothing for an empty one.
pub fn parse_plain(file: &Path, text: &str) -> Result<Option<(Value, LineMap)>, ParseError> {
    let mut documents = load::documents(text).map_err(|fault| ParseError::syntax(file, fault))?;
    documents.retain(|document| !document.value.is_null());
    if let Some(second) = documents.get(1) {
        let rule = "there is a second document".to_owned();
        return Err(ParseError::new(
            file,
            second.line,
            "syntax",
            Lost::File,
            rule,
            "keep one document in this file",
        ));
    }
    Ok(documents.pop().map(|document| (document.value, document.lines)))
}

/// Adds the object, or the objects of a List.
fn collect(file: &Path, value: Value, lines: LineMap, line: u32, out: &mut Vec<Result<Object, ParseError>>) {
    if value.is_null() {
        return;
    }
    let is_list = value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"))
        && value.get("items").is_some_and(Value::is_array);
    if !is_list {
        out.push(envelope::object(file, value, lines, line));
        return;
    }
    let Some(Value::Array(items)) = value.as_object().and_then(|map| map.get("items")).cloned() else {
        return;
    };
    for (index, item) in items.into_iter().enumerate() {
        let lines = lines.below(&format!("items[{index}]"));
        let line = lines.line("");
        collect(file, item, lines, line, out);
    }
}
