//! Messages that have a JSON form of their own.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use super::{Fault, Writer, delimited};
use crate::schema::{self, Kind};

/// What stands before the name in the `@type` of an `Any`.
const PREFIX: &str = "type.googleapis.com/";
const TYPE: &str = "@type";
/// Largest number of seconds of a duration, in either direction: 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

impl Writer {
    /// `None`: the message has no form of its own.
    pub(super) fn well_known(&mut self, name: &'static str, value: &Value) -> Option<Vec<u8>> {
        Some(match name.strip_prefix("google.protobuf.")? {
            "Any" => self.any(value),
            "Duration" => self.duration(value),
            "Timestamp" => self.timestamp(value),
            "Struct" => self.structure(value),
            "Value" => dynamic(value),
            "ListValue" => match value {
                Value::Array(items) => list(items),
                other => self.nothing(other, "a list"),
            },
            "FieldMask" => self.mask(value),
            "DoubleValue" => self.wrapped(Kind::Double, value),
            "FloatValue" => self.wrapped(Kind::Float, value),
            "Int64Value" => self.wrapped(Kind::Int64, value),
            "UInt64Value" => self.wrapped(Kind::Uint64, value),
            "Int32Value" => self.wrapped(Kind::Int32, value),
            "UInt32Value" => self.wrapped(Kind::Uint32, value),
            "BoolValue" => self.wrapped(Kind::Bool, value),
            "StringValue" => self.wrapped(Kind::String, value),
            "BytesValue" => self.wrapped(Kind::Bytes, value),
            _ => return None,
        })
    }

    fn nothing(&mut self, found: &Value, expected: &str) -> Vec<u8> {
        self.wrong(found, expected);
        Vec::new()
    }

    fn wrapped(&mut self, kind: Kind, value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.scalar(1, kind, value, true, &mut bytes);
        bytes
    }

    fn any(&mut self, value: &Value) -> Vec<u8> {
        let Value::Object(fields) = value else {
            return self.nothing(value, "a map with \"@type\"");
        };
        let Some(given) = fields.get(TYPE).and_then(Value::as_str) else {
            self.fault(
                "a message of any type must say of which",
                format!("write \"@type\": {PREFIX}<name of the message>"),
            );
            return Vec::new();
        };
        let name = given.rsplit('/').next().unwrap_or(given);
        let Some(message) = schema::message(name) else {
            self.unknown_type(given, name);
            return Vec::new();
        };
        let inner = if has_own_form(message.name) {
            self.path.push("value".to_owned());
            let inner = self.message(message, fields.get("value").unwrap_or(&Value::Null));
            self.path.pop();
            inner
        } else {
            self.fields(message, fields, &[TYPE])
        };
        let url = format!("{PREFIX}{}", message.name);
        crate::envoy::google::protobuf::Any {
            type_url: url,
            value: inner,
        }
        .encode_to_vec()
    }

    fn unknown_type(&mut self, given: &str, name: &str) {
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let short = last(name);
        let mut known: Vec<_> = schema::messages().filter(|known| last(known) == short).collect();
        let way_out = match known.as_slice() {
            [] => "write the full name of a message of Envoy's API, version 3".to_owned(),
            some => format!(
                "write one of {}",
                some.iter().take(4).copied().collect::<Vec<_>>().join(", ")
            ),
        };
        if known.is_empty() {
            known = schema::messages().collect();
        }
        self.path.push(TYPE.to_owned());
        let path = self.place();
        self.path.pop();
        let rule = format!("there is no message {given:?} in Envoy's API");
        self.faults.push(Fault {
            path,
            rule,
            way_out,
            unknown: Some((name.to_owned(), known)),
        });
    }

    /// Both fields, also where they are zero: see the module.
    fn duration(&mut self, value: &Value) -> Vec<u8> {
        let Some((seconds, nanos)) = value.as_str().and_then(parse_duration) else {
            return self.nothing(value, "a duration in seconds, like 1.5s,");
        };
        instant(seconds, nanos)
    }

    fn timestamp(&mut self, value: &Value) -> Vec<u8> {
        match value.as_str().and_then(parse_timestamp) {
            Some((seconds, nanos)) => instant(seconds, nanos),
            None => self.nothing(value, "a moment like 2030-01-31T00:00:00Z"),
        }
    }

    fn structure(&mut self, value: &Value) -> Vec<u8> {
        match value {
            Value::Object(fields) => structure(fields),
            other => self.nothing(other, "a map"),
        }
    }

    fn mask(&mut self, value: &Value) -> Vec<u8> {
        let Some(paths) = value.as_str() else {
            return self.nothing(value, "a list of fields with commas, as one text,");
        };
        let mut bytes = Vec::new();
        for path in paths.split(',').filter(|path| !path.is_empty()) {
            let mut snake = String::new();
            for c in path.chars() {
                if c.is_ascii_uppercase() {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            delimited(1, snake.as_bytes(), &mut bytes);
        }
        bytes
    }
}

/// Whether an `Any` holds the message under `value` instead of beside `@type`.
fn has_own_form(name: &str) -> bool {
    name.strip_prefix("google.protobuf.")
        .is_some_and(|name| name != "Empty")
}

fn instant(seconds: i64, nanos: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Protobuf extends the sign.
    for (number, value) in [(1, seconds as u64), (2, i64::from(nanos) as u64)] {
        encode_key(number, WireType::Varint, &mut bytes);
        encode_varint(value, &mut bytes);
    }
    bytes
}

pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
    Some((sign * seconds, i32::try_from(sign).ok()? * nanos(fraction)?))
}

/// The digits after the point, at most nine of them.
fn nanos(fraction: &str) -> Option<i32> {
    format!("{fraction:0<9}").parse().ok()
}

/// `2030-01-31T00:00:00.5Z`
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let numbers = |text: &str, by| -> Option<[i64; 3]> {
        let parts: Option<Vec<i64>> = text
            .split(by)
            .map(|part| part.parse().ok().filter(|n| *n >= 0))
            .collect();
        parts?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let is_moment = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_moment || hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    // Days since 1970-03-01 in years that begin in March, so that the leap day is the last.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, nanos(fraction)?))
}

// === values of any shape ===

fn structure(fields: &Map<String, Value>) -> Vec<u8> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| key.as_str());
    let mut bytes = Vec::new();
    for (key, value) in sorted {
        let mut entry = Vec::new();
        delimited(1, key.as_bytes(), &mut entry);
        delimited(2, &dynamic(value), &mut entry);
        delimited(1, &entry, &mut bytes);
    }
    bytes
}

fn list(items: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        delimited(1, &dynamic(item), &mut bytes);
    }
    bytes
}

fn dynamic(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match value {
        Value::Null => bytes.extend([1 << 3, 0]),
        Value::Bool(value) => bytes.extend([4 << 3, u8::from(*value)]),
        Value::Number(number) => {
            encode_key(2, WireType::SixtyFourBit, &mut bytes);
            bytes.extend(number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::String(text) => delimited(3, text.as_bytes(), &mut bytes),
        Value::Object(fields) => delimited(5, &structure(fields), &mut bytes),
        Value::Array(items) => delimited(6, &list(items), &mut bytes),
    }
    bytes
}
