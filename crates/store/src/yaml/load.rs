//! Parser events to values, with the line of every field and bounds on everything.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Value};

use super::scalar;
use crate::lines::{LineMap, Recorder};

/// Bytes of one file.
pub const MAX_BYTES: usize = 8 << 20;
/// Levels of lists and maps inside one another.
pub const MAX_DEPTH: usize = 64;
/// Bytes of the path of one field: each field's path is hashed, so this bounds the work for a file.
const MAX_PATH: usize = 4096;
/// Values that aliases may add to one file.
const MAX_ALIASED: usize = 100_000;

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) lines: LineMap,
    pub(super) line: u32,
}

/// Why a file is not YAML as objects need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) rule: String,
    pub(super) way_out: &'static str,
}

pub(super) fn documents(text: &str) -> Result<Vec<Document>, Fault> {
    if text.len() > MAX_BYTES {
        let rule = format!("the file has {} bytes, more than {} MiB", text.len(), MAX_BYTES >> 20);
        return Err(Fault {
            line: 0,
            rule,
            way_out: "split it",
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault {
            // At the end of the text the parser stands on the line after the last.
            line: line(error.marker().line().min(text.lines().count().max(1))),
            rule: format!("this is not YAML: {}", error.info()),
            way_out: "check indentation, quotes and colons around this line",
        })?;
        loader.event(event, span)?;
    }
    Ok(loader.done)
}

fn line(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A list or map being read.
enum Open {
    List(Vec<Value>),
    Map {
        map: Map<String, Value>,
        key: Option<String>,
        merged: Vec<Value>,
    },
}

struct Frame {
    open: Open,
    anchor: usize,
    /// Length of the path where this began.
    path: usize,
}

#[derive(Default)]
struct Loader {
    stack: Vec<Frame>,
    path: String,
    lines: Recorder,
    anchors: HashMap<usize, (Value, usize)>,
    aliased: usize,
    first: u32,
    root: Option<Value>,
    done: Vec<Document>,
}

impl Loader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = line(span.start.line());
        match event {
            Event::DocumentStart(_) => self.begin(),
            Event::DocumentEnd => self.end(at),
            Event::SequenceStart(anchor, _) => self.open(Open::List(Vec::new()), anchor, at),
            Event::MappingStart(anchor, _) => self.open(
                Open::Map {
                    map: Map::new(),
                    key: None,
                    merged: Vec::new(),
                },
                anchor,
                at,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                if self.wants_key() {
                    return self.key(text.into_owned(), at);
                }
                let value = match style {
                    ScalarStyle::Plain if !text_tag => scalar::plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                self.enter(at);
                self.remember(anchor, &value);
                self.place(value, at)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.path.clear();
        self.lines = Recorder::default();
        self.anchors.clear();
        self.first = 0;
        self.root = None;
        Ok(())
    }

    fn end(&mut self, _at: u32) -> Result<(), Fault> {
        if let Some(value) = self.root.take() {
            let lines = std::mem::take(&mut self.lines).finish(self.first);
            self.done.push(Document {
                value,
                lines,
                line: self.first,
            });
        }
        Ok(())
    }

    /// Whether the next scalar is a key.
    fn wants_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        )
    }

    /// Notes where the value about to be read stands. Map values stand where their key does.
    fn enter(&mut self, at: u32) {
        if self.first == 0 {
            self.first = at;
        }
        if let Some(Frame {
            open: Open::List(items),
            ..
        }) = self.stack.last()
        {
            use std::fmt::Write;
            let _ = write!(self.path, "[{}]", items.len());
        }
        self.lines.note(&self.path, at);
    }

    fn key(&mut self, text: String, at: u32) -> Result<(), Fault> {
        let Some(Frame {
            open: Open::Map { map, key, .. },
            path,
            ..
        }) = self.stack.last_mut()
        else {
            return Ok(());
        };
        if map.contains_key(&text) {
            let rule = format!("the key {text:?} stands twice in one map");
            return Err(Fault {
                line: at,
                rule,
                way_out: "remove one of the two",
            });
        }
        self.path.truncate(*path);
        if !self.path.is_empty() {
            self.path.push('.');
        }
        if self.path.len() + text.len() > MAX_PATH {
            let rule = format!("the names of nested fields have more than {MAX_PATH} bytes together");
            return Err(Fault {
                line: at,
                rule,
                way_out: "no object needs that: check quotes and colons around this line",
            });
        }
        self.path.push_str(&text);
        *key = Some(text);
        self.lines.note(&self.path, at);
        Ok(())
    }

    fn open(&mut self, open: Open, anchor: usize, at: u32) -> Result<(), Fault> {
        if self.stack.len() == MAX_DEPTH {
            let rule = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            return Err(Fault {
                line: at,
                rule,
                way_out: "no object needs that: check brackets and indentation",
            });
        }
        if self.wants_key() {
            let rule = "a list or map cannot be a key".to_owned();
            return Err(Fault {
                line: at,
                rule,
                way_out: "write the key as text",
            });
        }
        self.enter(at);
        self.stack.push(Frame {
            open,
            anchor,
            path: self.path.len(),
        });
        Ok(())
    }

    fn close(&mut self, at: u32) -> Result<(), Fault> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        self.path.truncate(frame.path);
        let value = match frame.open {
            Open::List(items) => Value::Array(items),
            Open::Map { mut map, merged, .. } => {
                for source in merged {
                    merge(&mut map, source, at)?;
                }
                Value::Object(map)
            }
        };
        self.remember(frame.anchor, &value);
        self.place(value, at)
    }

    fn remember(&mut self, anchor: usize, value: &Value) {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size(value)));
        }
    }

    fn alias(&mut self, anchor: usize, at: u32) -> Result<(), Fault> {
        if self.wants_key() {
            let rule = "an alias cannot be a key".to_owned();
            return Err(Fault {
                line: at,
                rule,
                way_out: "write the key as text",
            });
        }
        let Some((value, size)) = self.anchors.get(&anchor) else {
            let rule = "the alias stands inside what it names, or names nothing".to_owned();
            return Err(Fault {
                line: at,
                rule,
                way_out: "write the value out",
            });
        };
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            let rule = format!("aliases stand for more than {MAX_ALIASED} values");
            return Err(Fault {
                line: at,
                rule,
                way_out: "write the values out, in several files",
            });
        }
        let value = value.clone();
        self.enter(at);
        self.place(value, at)
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, value: Value, at: u32) -> Result<(), Fault> {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match &mut frame.open {
            Open::List(items) => items.push(value),
            Open::Map { map, key, merged } => match key.take() {
                Some(key) if key == "<<" => merged.push(value),
                Some(key) => {
                    map.insert(key, value);
                }
                None => {
                    let rule = "a value stands where a key belongs".to_owned();
                    return Err(Fault {
                        line: at,
                        rule,
                        way_out: "write key: value",
                    });
                }
            },
        }
        self.path.truncate(frame.path);
        Ok(())
    }
}

/// The merge key `<<`: keys of `source` that the map does not have itself.
fn merge(map: &mut Map<String, Value>, source: Value, at: u32) -> Result<(), Fault> {
    match source {
        Value::Object(source) => {
            for (key, value) in source {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(sources) => sources.into_iter().try_for_each(|source| match source {
            Value::Array(_) => Err(merge_fault(at)),
            source => merge(map, source, at),
        }),
        _ => Err(merge_fault(at)),
    }
}

fn merge_fault(at: u32) -> Fault {
    Fault {
        line: at,
        rule: "\"<<\" merges maps only".to_owned(),
        way_out: "name an anchor that stands on a map",
    }
}

/// How many values a value holds, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str) -> Vec<Value> {
        documents(text)
            .expect("valid YAML")
            .into_iter()
            .map(|d| d.value)
            .collect()
    }

    fn fault(text: &str) -> Fault {
        documents(text).expect_err("invalid")
    }

    #[test]
    fn values_and_documents() {
        let cases = [
            ("", vec![]),
            ("# only a comment\n", vec![]),
            (
                "a: 1\n---\nb: [x, 'yes', \"2\"]\n",
                vec![json!({"a": 1}), json!({"b": ["x", "yes", "2"]})],
            ),
            ("---\n---\na: |\n  x\n  y\n", vec![json!(null), json!({"a": "x\ny\n"})]),
            ("1: a\ntrue: b\n", vec![json!({"1": "a", "true": "b"})]),
            (
                "a: &x {b: 1}\nc: *x\nd: [*x]\n",
                vec![json!({"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]})],
            ),
            (
                "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n",
                vec![json!({"a": {"b": 1, "c": 2}, "d": {"c": 3, "b": 1}})],
            ),
            (
                "{\"a\": [1, 2.5, null], \"b\": {}}",
                vec![json!({"a": [1, 2.5, null], "b": {}})],
            ),
            ("a: !!str 1\n", vec![json!({"a": "1"})]),
            ("\u{feff}a: 1\n", vec![json!({"a": 1})]),
            ("a: 1\r\nb: 2\r\n", vec![json!({"a": 1, "b": 2})]),
        ];
        for (text, expected) in cases {
            assert_eq!(values(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_field_has_its_line() {
        let text =
            "\n# head\nkind: X\nspec:\n  hosts:\n  - a\n  - b\n  http:\n  - route:\n    - weight: 1\n    timeout: 5s\n";
        let document = documents(text).expect("valid").remove(0);
        let cases = [
            ("kind", 3),
            ("spec", 4),
            ("spec.hosts", 5),
            ("spec.hosts[1]", 7),
            ("spec.http[0]", 9),
            ("spec.http[0].route[0].weight", 10),
            ("spec.http[0].timeout", 11),
        ];
        for (path, line) in cases {
            assert_eq!(document.lines.line(path), line, "{path}");
        }
        assert_eq!(document.line, 3);
    }

    #[test]
    fn faults_name_the_line() {
        let cases = [
            ("a: 1\na: 2\n", 2, "stands twice"),
            ("a: b\n c: d\n", 2, "not YAML"),
            ("a: [1, 2\n", 1, "not YAML"),
            ("a: *nowhere\n", 1, "not YAML"),
            ("a: &x [*x]\n", 1, "alias"),
            ("? [a]\n: b\n", 1, "cannot be a key"),
            ("a:\n\tb: 1\n", 2, "not YAML"),
        ];
        for (text, line, rule) in cases {
            let fault = fault(text);
            assert_eq!(fault.line, line, "{text:?}: {fault:?}");
            assert!(fault.rule.contains(rule), "{text:?}: {fault:?}");
        }
    }

    #[test]
    fn everything_is_bounded() {
        assert!(fault(&"[".repeat(65)).rule.contains("nested"));
        assert!(fault(&"- ".repeat(200)).rule.contains("nested"));
        assert!(fault(&"x".repeat(MAX_BYTES + 1)).rule.contains("MiB"));
        assert!(
            fault(&format!("? {}\n: 1", "x".repeat(5000)))
                .rule
                .contains("names of nested fields")
        );
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(fault(&bomb).rule.contains("aliases stand for more"));
    }
}
