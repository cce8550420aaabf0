//! Tables, JSON and YAML.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use comfy_table::{Table, presets};
use serde_json::Value;

/// Rows under a header, as plain text.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(String::as_str));
    }
    // The first column has nothing to keep its distance from.
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}

pub(crate) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// YAML in block style. Text that could be read as something else is quoted as in JSON, which YAML understands.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("standard output: {error}");
            ExitCode::from(super::DATA)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Names and messages come from elsewhere and must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let _ = write!(out, "{:width$}{}:", "", scalar(key), width = depth * 2);
                child(value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                block(item, depth + 1, &mut text);
                // The first line of the item moves behind the dash.
                let _ = write!(out, "{:width$}- {}", "", text.trim_start(), width = depth * 2);
            }
        }
        other => {
            let _ = writeln!(out, "{}", inline(other));
        }
    }
}

fn child(value: &Value, depth: usize, out: &mut String) {
    let is_block = value.as_object().is_some_and(|fields| !fields.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty());
    if is_block {
        out.push('\n');
        // Lists stand at the level of their key.
        block(value, if value.is_array() { depth - 1 } else { depth }, out);
    } else {
        let _ = writeln!(out, " {}", inline(value));
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain where nothing in it could mean anything else.
fn scalar(text: &str) -> String {
    let safe = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | '|' | '@' | '~' | '(' | ')' | '$' | '+')
    };
    let first = text.chars().next();
    let plain = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/') && text.chars().all(safe);
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if plain && !word {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b]0;b\x07\r\n\tc\u{9b}"), "a]0;b\n\tc");
    }

    #[test]
    fn yaml_reads_like_yaml() {
        let value = json!({
            "name": "outbound|80||a", "empty": {}, "none": [], "port": 80, "quoted": "yes", "time": "10:00", "blank": "",
            "list": [{"a": 1, "b": {"c": "d"}}, "x", ["z"]],
            "@type": "t",
        });
        let expected = "\
name: outbound|80||a
empty: {}
none: []
port: 80
quoted: \"yes\"
time: \"10:00\"
blank: \"\"
list:
- a: 1
  b:
    c: d
- x
- - z
\"@type\": t
";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn a_table_is_plain_text() {
        let text = table(["A", "B"], &[["1".into(), "two words".into()]]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().contains("two words"), "{text}");
    }
}
