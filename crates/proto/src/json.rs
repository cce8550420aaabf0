//! JSON to Envoy's messages, as their encoded bytes.
//!
//! The mapping is protobuf's own, with Envoy's `typed_config` (`Any`) read as the message its `@type` names. Every fault is reported, with
//! its path in the value; nothing that is written is passed over.
//!
//! Bytes rather than messages, because they can be laid over what is there: decoding one message's bytes after another's merges the two as
//! protobuf defines it. Durations and the wrappers of single values are written with their zeros, so that they replace what was there as a
//! whole: `5s` over `0.5s` is 5 s, and a written `false` is false.

mod scalar;
mod well_known;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use crate::schema::{self, Enumeration, Field, Kind, Message};

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;

/// Something in a value that is no such message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From the top of the value: `typed_config.rules[0].name`; empty for the value itself.
    pub path: String,
    /// What is wrong.
    pub rule: String,
    /// What to write instead.
    pub way_out: String,
    /// Where a name is not known: what was written, and what is known.
    pub unknown: Option<(String, Vec<&'static str>)>,
}

/// A message, and what of the value leaves no trace in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Paths of zeros, `false`s and empty texts in fields that do not tell them from "not given"; not of those in items of lists and
    /// maps, which are never laid over others.
    pub zeros: Vec<String>,
}

/// Encodes `value` as the message of this full name.
///
/// # Errors
/// Everything that is wrong with the value, in its order.
///
/// # Panics
/// If there is no message of that name: it is the caller's choice, not the user's.
pub fn encode(message: &str, value: &Value) -> Result<Encoded, Vec<Fault>> {
    let message = schema::message(message).expect("the caller names a message of Envoy's API");
    let mut writer = Writer::default();
    let bytes = writer.message(message, value);
    if writer.faults.is_empty() {
        Ok(Encoded {
            bytes,
            zeros: writer.zeros,
        })
    } else {
        Err(writer.faults)
    }
}

/// Collects faults on the way.
#[derive(Default)]
struct Writer {
    path: Vec<String>,
    faults: Vec<Fault>,
    zeros: Vec<String>,
    /// In so many items of lists and maps.
    items: usize,
}

impl Writer {
    fn message(&mut self, message: Message, value: &Value) -> Vec<u8> {
        if self.path.len() > MAX_DEPTH {
            self.fault("the value is nested too deeply", "write a flatter one");
            return Vec::new();
        }
        if let Some(bytes) = self.well_known(message.name, value) {
            return bytes;
        }
        match value {
            Value::Object(fields) => self.fields(message, fields, &[]),
            other => {
                self.wrong(other, "a map of fields");
                Vec::new()
            }
        }
    }

    fn fields(&mut self, message: Message, given: &Map<String, Value>, except: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut seen: Vec<Field> = Vec::new();
        for (key, value) in given.iter().filter(|(key, _)| !except.contains(&key.as_str())) {
            self.path.push(key.clone());
            match message.field(key) {
                None => self.unknown_field(message, key),
                Some(_) if value.is_null() => {}
                Some(field) => {
                    if let Some(other) = seen.iter().find(|other| excludes(other, &field)) {
                        let rule = format!("{} and {} exclude each other", other.name, field.name);
                        self.fault(rule, "write one of them");
                    }
                    seen.push(field);
                    self.field(field, value, &mut bytes);
                }
            }
            self.path.pop();
        }
        bytes
    }

    fn field(&mut self, field: Field, value: &Value, bytes: &mut Vec<u8>) {
        match (field.entry(), value) {
            (Some(entry), Value::Object(map)) => self.map(field, entry, map, bytes),
            (Some(_), other) => self.wrong(other, "a map"),
            (None, Value::Array(items)) if field.repeated => {
                for (index, item) in items.iter().enumerate() {
                    let name = self.path.pop().unwrap_or_default();
                    self.path.push(format!("{name}[{index}]"));
                    self.items += 1;
                    self.single(field, item, true, bytes);
                    self.items -= 1;
                    self.path.pop();
                    self.path.push(name);
                }
            }
            (None, other) if field.repeated => self.wrong(other, "a list"),
            (None, value) => self.single(field, value, field.presence, bytes),
        }
    }

    /// One value; a zero is only written if it is `explicit`.
    fn single(&mut self, field: Field, value: &Value, explicit: bool, bytes: &mut Vec<u8>) {
        match field.kind {
            Kind::Message(name) => match schema::message(name) {
                Some(message) => {
                    let inner = self.message(message, value);
                    delimited(field.number, &inner, bytes);
                }
                None => self.fault(format!("{name} is not known here"), "leave it out"),
            },
            Kind::Enumeration(name) => {
                // The zero of an enumeration is its default, and mostly written as such.
                if let Some(number) = self.enumeration(name, value).filter(|number| *number != 0 || explicit) {
                    // Protobuf extends the sign.
                    self.varint(field.number, i64::from(number) as u64, explicit, bytes);
                }
            }
            kind => self.scalar(field.number, kind, value, explicit, bytes),
        }
    }

    /// Sorted by key: equal values have equal bytes.
    fn map(&mut self, field: Field, entry: Message, map: &Map<String, Value>, bytes: &mut Vec<u8>) {
        let (Some(key_field), Some(value_field)) = (entry.numbered(1), entry.numbered(2)) else {
            return;
        };
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in entries {
            let mut inner = Vec::new();
            self.path.push(key.clone());
            self.map_key(key_field.kind, key, &mut inner);
            self.items += 1;
            self.single(value_field, value, true, &mut inner);
            self.items -= 1;
            self.path.pop();
            delimited(field.number, &inner, bytes);
        }
    }

    fn map_key(&mut self, kind: Kind, key: &str, bytes: &mut Vec<u8>) {
        let key = match kind {
            Kind::String => Value::String(key.to_owned()),
            _ => serde_json::from_str(key).unwrap_or_else(|_| Value::String(key.to_owned())),
        };
        self.scalar(1, kind, &key, true, bytes);
    }

    fn enumeration(&mut self, name: &'static str, value: &Value) -> Option<i32> {
        let values = schema::enumeration(name).map(Enumeration::values);
        let mut values = values.into_iter().flatten();
        let found = match value {
            Value::String(word) => values.find(|(name, _)| name == word).map(|(_, number)| number),
            Value::Number(given) => values
                .map(|(_, number)| number)
                .find(|number| given.as_i64() == Some((*number).into())),
            other => {
                self.wrong(other, "a word");
                return None;
            }
        };
        if found.is_none() {
            let known: Vec<_> = schema::enumeration(name)
                .into_iter()
                .flat_map(Enumeration::values)
                .map(|(name, _)| name)
                .collect();
            let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.faults.push(Fault {
                path: self.place(),
                rule: format!("{given:?} is none of the values"),
                way_out: format!("write one of {}", known.join(", ")),
                unknown: Some((given, known)),
            });
        }
        found
    }

    // === reporting ===

    fn place(&self) -> String {
        self.path.join(".")
    }

    fn fault(&mut self, rule: impl Into<String>, way_out: impl Into<String>) {
        let path = self.place();
        self.faults.push(Fault {
            path,
            rule: rule.into(),
            way_out: way_out.into(),
            unknown: None,
        });
    }

    fn wrong(&mut self, found: &Value, expected: &str) {
        self.fault(
            format!("{} stands where {expected} belongs", describe(found)),
            format!("write {expected}"),
        );
    }

    fn unknown_field(&mut self, message: Message, key: &str) {
        let known = message.fields().map(|field| field.name).collect();
        self.faults.push(Fault {
            path: self.place(),
            rule: format!("{} has no field {key:?}", message.name),
            way_out: "remove it".to_owned(),
            unknown: Some((key.to_owned(), known)),
        });
    }
}

/// Whether two fields cannot both be given.
fn excludes(a: &Field, b: &Field) -> bool {
    a.number == b.number || (!a.oneof.is_empty() && a.oneof == b.oneof)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// A length-delimited field.
fn delimited(number: u32, inner: &[u8], bytes: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(inner.len() as u64, bytes);
    bytes.extend_from_slice(inner);
}

#[cfg(test)]
mod tests;
