//! Numbers, booleans, texts and bytes.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::NO_PAD};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

use super::{Writer, delimited};
use crate::schema::Kind;

impl Writer {
    pub(super) fn scalar(&mut self, number: u32, kind: Kind, value: &Value, explicit: bool, bytes: &mut Vec<u8>) {
        match kind {
            Kind::Bool => match value {
                Value::Bool(value) => self.varint(number, (*value).into(), explicit, bytes),
                other => self.wrong(other, "true or false"),
            },
            Kind::String => match value {
                Value::String(text) => self.text(number, text.as_bytes(), explicit, bytes),
                other => self.wrong(other, "a text in quotes"),
            },
            Kind::Bytes => match value.as_str().and_then(base64) {
                Some(decoded) => self.text(number, &decoded, explicit, bytes),
                None => self.wrong(value, "a text in base64"),
            },
            Kind::Double => self.float(value, explicit, |value| {
                encode_key(number, WireType::SixtyFourBit, bytes);
                bytes.extend(value.to_le_bytes());
            }),
            Kind::Float => self.float(value, explicit, |value| {
                encode_key(number, WireType::ThirtyTwoBit, bytes);
                bytes.extend((value as f32).to_le_bytes());
            }),
            Kind::Message(_) | Kind::Enumeration(_) => {}
            kind => self.integer(number, kind, value, explicit, bytes),
        }
    }

    /// A number in the one encoding that enumerations and booleans share.
    pub(super) fn varint(&mut self, number: u32, value: u64, explicit: bool, bytes: &mut Vec<u8>) {
        if self.is_kept(value == 0, explicit) {
            encode_key(number, WireType::Varint, bytes);
            encode_varint(value, bytes);
        }
    }

    fn text(&mut self, number: u32, text: &[u8], explicit: bool, bytes: &mut Vec<u8>) {
        if self.is_kept(text.is_empty(), explicit) {
            delimited(number, text, bytes);
        }
    }

    fn float(&mut self, value: &Value, explicit: bool, write: impl FnOnce(f64)) {
        let found = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(word) => match word.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                digits => digits.parse().ok(),
            },
            _ => None,
        };
        match found {
            Some(value) if self.is_kept(value == 0.0, explicit) => write(value),
            Some(_) => {}
            None => self.wrong(value, "a number"),
        }
    }

    fn integer(&mut self, number: u32, kind: Kind, value: &Value, explicit: bool, bytes: &mut Vec<u8>) {
        let (least, most) = range(kind);
        let Some(found) = whole(value) else {
            return self.wrong(value, "a whole number");
        };
        if found < least || found > most {
            return self.fault(
                format!("{found} is out of range"),
                format!("write a number from {least} to {most}"),
            );
        }
        if !self.is_kept(found == 0, explicit) {
            return;
        }
        // The range was checked: each cast keeps the value.
        match kind {
            Kind::Fixed32 | Kind::Sfixed32 => {
                encode_key(number, WireType::ThirtyTwoBit, bytes);
                bytes.extend((found as u32).to_le_bytes());
            }
            Kind::Fixed64 | Kind::Sfixed64 => {
                encode_key(number, WireType::SixtyFourBit, bytes);
                bytes.extend((found as u64).to_le_bytes());
            }
            Kind::Sint32 | Kind::Sint64 => {
                let signed = found as i64;
                encode_key(number, WireType::Varint, bytes);
                encode_varint(((signed << 1) ^ (signed >> 63)) as u64, bytes);
            }
            _ => {
                encode_key(number, WireType::Varint, bytes);
                encode_varint(found as u64, bytes);
            }
        }
    }

    /// Whether a value is written; notes those that are not.
    fn is_kept(&mut self, is_zero: bool, explicit: bool) -> bool {
        if is_zero && !explicit && self.items == 0 {
            self.zeros.push(self.place());
        }
        !is_zero || explicit
    }
}

fn range(kind: Kind) -> (i128, i128) {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => (i32::MIN.into(), i32::MAX.into()),
        Kind::Uint32 | Kind::Fixed32 => (0, u32::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

/// Whole numbers may be written as numbers, also with a point, or as texts.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            // Beyond 2^53 a number with a point is not exact.
            let exact = |value: &f64| value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0;
            whole.or_else(|| number.as_f64().filter(exact).map(|value| value as i128))
        }
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// Both alphabets, with and without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = |alphabet| GeneralPurpose::new(alphabet, LENIENT);
    let standard = engine(&base64::alphabet::STANDARD).decode(text);
    standard
        .or_else(|_| engine(&base64::alphabet::URL_SAFE).decode(text))
        .ok()
}
