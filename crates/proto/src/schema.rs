//! What Envoy's messages look like: their fields, by name and number.
//!
//! A pool of descriptors takes 19 MB. This is the part of them that reading JSON needs, as text in the executable: a line for each
//! message, sorted, found by bisection and read when it is asked for. It costs no memory and no time before that.

static LINES: &str = include_str!(concat!(env!("OUT_DIR"), "/envoy.schema"));

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// `envoy.config.cluster.v3.Cluster`
    pub name: &'static str,
    /// Whether it is made for the entries of a map.
    pub is_entry: bool,
    fields: &'static str,
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As .proto files spell it: `connect_timeout`.
    pub name: &'static str,
    pub number: u32,
    pub kind: Kind,
    pub repeated: bool,
    /// Whether a zero is told from "not given".
    pub presence: bool,
    /// The group of fields of which only one may be given; empty if it is in none.
    pub oneof: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// By the message's name.
    Message(&'static str),
    /// By the enumeration's name.
    Enumeration(&'static str),
}

/// An enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumeration {
    values: &'static str,
}

/// The message of this full name.
pub fn message(name: &str) -> Option<Message> {
    let (name, rest) = find(LINES, name)?;
    let (mark, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_entry = mark == "M";
    (mark == "m" || is_entry).then_some(Message { name, is_entry, fields })
}

/// The enumeration of this full name.
pub fn enumeration(name: &str) -> Option<Enumeration> {
    let values = find(LINES, name)?.1.strip_prefix("e ")?;
    Some(Enumeration { values })
}

/// The full names of all messages.
pub fn messages() -> impl Iterator<Item = &'static str> {
    LINES.lines().filter_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        rest.starts_with('m').then_some(name)
    })
}

/// The line of `name` in sorted lines, without it.
fn find(mut lines: &'static str, name: &str) -> Option<(&'static str, &'static str)> {
    while !lines.is_empty() {
        let middle = lines.floor_char_boundary(lines.len() / 2);
        let start = lines[..middle].rfind('\n').map_or(0, |at| at + 1);
        let end = lines[start..].find('\n').map_or(lines.len(), |at| start + at);
        let (found, rest) = lines[start..end].split_once(' ')?;
        match found.cmp(name) {
            std::cmp::Ordering::Equal => return Some((found, rest)),
            std::cmp::Ordering::Less => lines = lines.get(end + 1..).unwrap_or(""),
            std::cmp::Ordering::Greater => lines = &lines[..start],
        }
    }
    None
}

// === impl Message ===

impl Message {
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.fields.split(' ').filter_map(Field::read)
    }

    /// By either spelling: `connect_timeout` or `connectTimeout`.
    pub fn field(self, name: &str) -> Option<Field> {
        self.fields().find(|field| field.is_named(name))
    }

    pub fn numbered(self, number: u32) -> Option<Field> {
        self.fields().find(|field| field.number == number)
    }
}

// === impl Field ===

impl Field {
    fn read(text: &'static str) -> Option<Field> {
        let mut parts = text.split(',');
        let (name, number, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let (flags, of, oneof) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Field {
            name,
            number: number.parse().ok()?,
            kind: Kind::read(kind, of)?,
            repeated: flags.contains('*'),
            presence: flags.contains('?'),
            oneof,
        })
    }

    fn is_named(&self, name: &str) -> bool {
        if self.name == name {
            return true;
        }
        // JSON's spelling has no underscores, and a capital after each.
        let mut rest = name.chars();
        let mut after_underscore = false;
        for c in self.name.chars() {
            if c == '_' {
                after_underscore = true;
                continue;
            }
            let expected = if after_underscore { c.to_ascii_uppercase() } else { c };
            after_underscore = false;
            if rest.next() != Some(expected) {
                return false;
            }
        }
        rest.next().is_none()
    }

    /// The message this field's map has as entries.
    pub fn entry(&self) -> Option<Message> {
        match self.kind {
            Kind::Message(name) if self.repeated => message(name).filter(|message| message.is_entry),
            _ => None,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// By the number that `descriptor.proto` gives to the type.
    fn read(number: &str, of: &'static str) -> Option<Kind> {
        Some(match number {
            "1" => Kind::Double,
            "2" => Kind::Float,
            "3" => Kind::Int64,
            "4" => Kind::Uint64,
            "5" => Kind::Int32,
            "6" => Kind::Fixed64,
            "7" => Kind::Fixed32,
            "8" => Kind::Bool,
            "9" => Kind::String,
            "11" => Kind::Message(of),
            "12" => Kind::Bytes,
            "13" => Kind::Uint32,
            "14" => Kind::Enumeration(of),
            "15" => Kind::Sfixed32,
            "16" => Kind::Sfixed64,
            "17" => Kind::Sint32,
            "18" => Kind::Sint64,
            _ => return None,
        })
    }
}

// === impl Enumeration ===

impl Enumeration {
    pub fn values(self) -> impl Iterator<Item = (&'static str, i32)> {
        self.values.split(' ').filter_map(|value| {
            let (name, number) = value.split_once('=')?;
            Some((name, number.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_and_read() {
        let mut count = 0;
        for line in LINES.lines() {
            let (name, rest) = line.split_once(' ').expect("a name and more");
            if rest.starts_with('e') {
                assert!(enumeration(name).expect("found").values().count() > 0, "{name}");
                continue;
            }
            let found = message(name).unwrap_or_else(|| panic!("{name} is not found"));
            assert_eq!(found.fields().count(), rest.split(' ').skip(1).count(), "{name}");
            for field in found.fields() {
                let known = match field.kind {
                    Kind::Message(of) => of.starts_with("google.protobuf.") || message(of).is_some(),
                    Kind::Enumeration(of) => of.starts_with("google.protobuf.") || enumeration(of).is_some(),
                    _ => true,
                };
                assert!(known, "{name}.{} has an unknown type", field.name);
            }
            count += 1;
        }
        assert!(count > 1500, "{count} messages are not all of them");
        assert_eq!(message("envoy.config.cluster.v3.Clusters"), None);
        assert_eq!(enumeration("envoy.config.cluster.v3.Cluster"), None);
    }

    #[test]
    fn fields_have_two_spellings() {
        let cluster = message("envoy.config.cluster.v3.Cluster").expect("known");
        for name in ["connect_timeout", "connectTimeout"] {
            let field = cluster.field(name).expect(name);
            assert_eq!(
                (field.number, field.kind),
                (4, Kind::Message("google.protobuf.Duration"))
            );
        }
        for name in ["connecttimeout", "connectTimeouts", "ConnectTimeout", "connect"] {
            assert_eq!(cluster.field(name), None, "{name}");
        }
        let entry = cluster
            .field("typed_extension_protocol_options")
            .and_then(|field| field.entry());
        assert!(entry.is_some_and(|entry| entry.is_entry));
        assert_eq!(cluster.field("type").expect("known").oneof, "cluster_discovery_type");
    }
}
