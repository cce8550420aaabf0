//! Every message and enumeration of Envoy's API as lines of text, sorted by name: see `src/schema.rs` for how they are read.
//!
//! A message is `<name> m <field> <field> …` (`M` for the entries of a map), a field `<name>,<number>,<type>,<flags>,<type name>,<oneof>`
//! with the type's number of `descriptor.proto` and of the flags `*` for a list and `?` for a field that tells "zero" from "not given".
//! An enumeration is `<name> e <value>=<number> …`.
//!
//! Files are parsed and their names resolved here: in all files together some relative names mean something else than in their own
//! imports, and a compiler would refuse them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use protox::file::{File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, field_descriptor_proto::Label,
};

type Fault = Box<dyn Error>;

const GOOGLE: &[&str] = &[
    "any",
    "duration",
    "empty",
    "field_mask",
    "struct",
    "timestamp",
    "wrappers",
];
const MESSAGE: i32 = 11;
const ENUMERATION: i32 = 14;

pub fn write(folders: &[PathBuf], to: &Path) -> Result<(), Fault> {
    let mut files = Vec::new();
    for root in folders {
        collect(root, root, &mut files)?;
    }
    for name in GOOGLE {
        let file = GoogleFileResolver::new().open_file(&format!("google/protobuf/{name}.proto"))?;
        files.push(file.file_descriptor_proto().clone());
    }
    let mut names = Names::default();
    for file in &files {
        names.add(file.package(), &file.message_type, &file.enum_type);
    }
    let mut lines = BTreeMap::new();
    for file in &files {
        add(file.package(), &file.message_type, &file.enum_type, &names, &mut lines)?;
    }
    let mut text = String::new();
    for (name, line) in lines {
        writeln!(text, "{name} {line}")?;
    }
    Ok(fs::write(to, text)?)
}

/// Parses the .proto files below `folder`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<FileDescriptorProto>) -> Result<(), Fault> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.strip_prefix(root)?.to_str().ok_or("a name that is no text")?;
            if [
                "envoy/",
                "udpa/",
                "xds/",
                "google/rpc/",
                "google/api/",
                "opentelemetry/",
                "cel/",
                "io/",
            ]
            .iter()
            .any(|top| name.starts_with(top))
            {
                let file = File::from_source(name, &fs::read_to_string(&path)?)?;
                files.push(file.file_descriptor_proto().clone());
            }
        }
    }
    Ok(())
}

/// Full names of all types; whether each is an enumeration.
#[derive(Default)]
struct Names(BTreeMap<String, bool>);

impl Names {
    fn add(&mut self, outer: &str, messages: &[DescriptorProto], enumerations: &[EnumDescriptorProto]) {
        for enumeration in enumerations {
            self.0.insert(format!("{outer}.{}", enumeration.name()), true);
        }
        for message in messages {
            let name = format!("{outer}.{}", message.name());
            self.add(&name, &message.nested_type, &message.enum_type);
            self.0.insert(name, false);
        }
    }

    /// What `name` means in `scope`: the innermost type of that name.
    fn resolve(&self, name: &str, scope: &str) -> Option<(String, bool)> {
        if let Some(full) = name.strip_prefix('.') {
            return self.0.get(full).map(|is| (full.to_owned(), *is));
        }
        let mut scope = scope;
        loop {
            let full = if scope.is_empty() {
                name.to_owned()
            } else {
                format!("{scope}.{name}")
            };
            if let Some(is) = self.0.get(&full) {
                return Some((full, *is));
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }
}

type Lines = BTreeMap<String, String>;

fn add(
    outer: &str,
    messages: &[DescriptorProto],
    enumerations: &[EnumDescriptorProto],
    names: &Names,
    lines: &mut Lines,
) -> Result<(), Fault> {
    for enumeration in enumerations {
        let mut line = "e".to_owned();
        for value in &enumeration.value {
            write!(line, " {}={}", value.name(), value.number())?;
        }
        lines.insert(format!("{outer}.{}", enumeration.name()), line);
    }
    for message in messages {
        let name = format!("{outer}.{}", message.name());
        let entry = message.options.as_ref().is_some_and(|options| options.map_entry());
        let mut line = if entry { "M" } else { "m" }.to_owned();
        for field in &message.field {
            write!(line, " {}", field_text(field, message, &name, names)?)?;
        }
        add(&name, &message.nested_type, &message.enum_type, names, lines)?;
        lines.insert(name, line);
    }
    Ok(())
}

fn field_text(
    field: &FieldDescriptorProto,
    message: &DescriptorProto,
    scope: &str,
    names: &Names,
) -> Result<String, Fault> {
    let (name, number) = (field.name(), field.number());
    let (kind, of) = match field.type_name() {
        "" => (field.r#type() as i32, String::new()),
        given => {
            let found = names.resolve(given, scope);
            let (full, is) = found.ok_or_else(|| format!("{scope}.{name}: there is no {given}"))?;
            (if is { ENUMERATION } else { MESSAGE }, full)
        }
    };
    let list = if field.label() == Label::Repeated { "*" } else { "" };
    let presence = if field.oneof_index.is_some() || field.proto3_optional() {
        "?"
    } else {
        ""
    };
    let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
    let oneof = oneof.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let oneof = oneof.map_or("", |oneof| oneof.name());
    Ok(format!("{name},{number},{kind},{list}{presence},{of},{oneof}"))
}
