//! What our own proxy would make of a patch.
//!
//! It refuses a resource with a field that it does not have, so that nothing is silently without effect. One such field in a patch would
//! cost the listener, cluster or table that it changes; so the value of every patch is held against the fields that are known to it.

use proto::schema::{self, Kind};
use proto::wire::fields;

use super::{ApplyTo, known};
use crate::mesh::{Lack, NativeEffect};

pub(super) fn examine(apply_to: ApplyTo, value: &[u8]) -> NativeEffect {
    let mut effect = NativeEffect::default();
    if let Some(message) = apply_to.message().and_then(schema::message) {
        walk(message, value, "", &mut effect);
    }
    effect
}

fn walk(message: schema::Message, bytes: &[u8], path: &str, effect: &mut NativeEffect) {
    if message.name == "google.protobuf.Any" {
        return settings(bytes, path, effect);
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
                    effect
                        .lack
                        .get_or_insert_with(|| Lack::new(&place, format!("this value of {place}")));
                    continue;
                }
                Some(known::Status::Works) => {}
                Some(known::Status::Idle) => {
                    effect.idle.get_or_insert_with(|| Lack::new(&place, place.clone()));
                    continue;
                }
                Some(known::Status::Unknown) | None => {
                    effect.lack.get_or_insert_with(|| Lack::new(&place, place.clone()));
                    continue;
                }
            }
        }
        if let Some(inner) = inner(of) {
            walk(inner, &bytes[field.payload], &place, effect);
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
fn settings(bytes: &[u8], path: &str, effect: &mut NativeEffect) {
    let (mut url, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in fields(bytes) {
        match field.number {
            1 => url = &bytes[field.payload],
            2 => value = &bytes[field.payload],
            _ => {}
        }
    }
    let url = std::str::from_utf8(url).unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    match schema::message(name).filter(|_| known::message(name).is_some()) {
        Some(message) => walk(message, value, path, effect),
        None => {
            effect.lack.get_or_insert_with(|| Lack::new(path, name.to_owned()));
        }
    }
}
