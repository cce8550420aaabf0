//! What our own proxy would make of a patch.
//!
//! It refuses a resource with a field that it does not have, so that nothing is silently without effect. One such field in a patch would
//! cost the listener, cluster or table that it changes; so the value of every patch is held against the fields that are known to it.

use model::mesh::EnvoyPatch;
use prost::Message as _;
use proto::envoy::google::protobuf::Any;
use proto::schema::{self, Kind};

use super::known;
use super::merge::fields;

/// What a value holds that our own proxy does not take, and what it takes without effect; by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) lack: Option<String>,
    pub(super) idle: Option<String>,
}

pub(super) fn examine(patch: &EnvoyPatch) -> Finding {
    let mut finding = Finding::default();
    if let Some(message) = patch.apply_to.message().and_then(schema::message) {
        walk(message, &patch.value, "", &mut finding);
    }
    finding
}

fn walk(message: schema::Message, bytes: &[u8], path: &str, finding: &mut Finding) {
    if message.name == "google.protobuf.Any" {
        return settings(bytes, path, finding);
    }
    if message.name.starts_with("google.protobuf.") {
        return;
    }
    let known = known::message(message.name);
    for field in fields(bytes) {
        let Some(of) = message.numbered(field.number) else {
            continue;
        };
        let place = if path.is_empty() {
            of.name.to_owned()
        } else {
            format!("{path}.{}", of.name)
        };
        if !message.is_entry {
            match known.map(|known| known.status(of.name)) {
                Some(known::Status::Works)
                    if known.is_some_and(|known| known.refuses(of.name, &bytes[field.payload.clone()])) =>
                {
                    finding.lack.get_or_insert(format!("this value of {place}"));
                    continue;
                }
                Some(known::Status::Works) => {}
                Some(known::Status::Idle) => {
                    finding.idle.get_or_insert(place);
                    continue;
                }
                Some(known::Status::Unknown) | None => {
                    finding.lack.get_or_insert(place);
                    continue;
                }
            }
        }
        if let Some(inner) = inner(of) {
            walk(inner, &bytes[field.payload], &place, finding);
        }
    }
}

fn inner(field: schema::Field) -> Option<schema::Message> {
    match field.kind {
        Kind::Message(name) => schema::message(name),
        _ => None,
    }
}

/// Settings of a type that is not known are what most patches bring that our own proxy cannot run.
fn settings(bytes: &[u8], path: &str, finding: &mut Finding) {
    let any = Any::decode(bytes).unwrap_or_default();
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    match schema::message(name).filter(|_| known::message(name).is_some()) {
        Some(message) => walk(message, &any.value, path, finding),
        None => {
            finding.lack.get_or_insert(name.to_owned());
        }
    }
}
