//! What an unquoted word means.
//!
//! As kubectl reads it, with one exception: YAML 1.1's other spellings of booleans (`yes`, `on` …) stay text, because in
//! label and header values they are text to everyone who writes them. Fields that want a boolean accept them as one.

use serde_json::{Number, Value};

/// The value of a plain (unquoted) scalar.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.as_bytes()[0];
    if !first.is_ascii_digit() && !matches!(first, b'-' | b'+' | b'.') {
        return None;
    }
    integer(text).or_else(|| float(text))
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        u64::from_str_radix(octal, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    }
    .ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

fn float(text: &str) -> Option<Number> {
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    if !text.chars().all(allowed) || !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_mean_what_kubectl_takes_them_for() {
        let cases = [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("9080", json!(9080)),
            ("-1", json!(-1)),
            ("+1", json!(1)),
            ("0", json!(0)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.10", json!(1.1)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("v1", json!("v1")),
            ("1.2.3.4", json!("1.2.3.4")),
            ("10.0.0.0/8", json!("10.0.0.0/8")),
            ("5s", json!("5s")),
            ("-", json!("-")),
            (".", json!(".")),
            ("./*", json!("./*")),
            (".inf", json!(".inf")),
            ("2026-01-01T00:00:00Z", json!("2026-01-01T00:00:00Z")),
            ("08", json!(8.0)),
        ];
        for (text, expected) in cases {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
