//! One encoding per value, for messages in which users may have put anything.
//!
//! [`canonical`](crate::canonical) knows where the maps are in what is generated. Here the schema of Envoy's API says it.

use prost::{Message, Name};
use proto::schema::{self, Kind};

use proto::wire::{Field, fields};

pub(crate) fn encode<M: Message + Name>(message: &M) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    if let Some(schema) = schema::message(&M::full_name()) {
        sort(schema, &mut bytes);
    }
    bytes
}

/// Puts the entries of all maps in order of their keys, in place.
fn sort(message: schema::Message, bytes: &mut [u8]) {
    let all: Vec<Field> = fields(bytes).collect();
    let mut at = 0;
    while let Some(field) = all.get(at) {
        at += 1;
        let known = message.numbered(field.number);
        let Some(Kind::Message(name)) = known.map(|known| known.kind) else {
            continue;
        };
        let Some(inner) = schema::message(name) else { continue };
        sort(inner, &mut bytes[field.payload.clone()]);
        if !inner.is_entry {
            continue;
        }
        let run: Vec<&Field> = all[at - 1..]
            .iter()
            .take_while(|other| other.number == field.number)
            .collect();
        for other in &run[1..] {
            sort(inner, &mut bytes[other.payload.clone()]);
        }
        at += run.len() - 1;
        let (start, end) = (field.whole.start, run[run.len() - 1].whole.end);
        let mut entries: Vec<(Vec<u8>, &[u8])> = run
            .iter()
            .map(|entry| (key(&bytes[entry.payload.clone()]), &bytes[entry.whole.clone()]))
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let sorted: Vec<u8> = entries.into_iter().flat_map(|(_, whole)| whole.to_vec()).collect();
        bytes[start..end].copy_from_slice(&sorted);
    }
}

fn key(entry: &[u8]) -> Vec<u8> {
    fields(entry)
        .find(|field| field.number == 1)
        .map(|field| entry[field.payload].to_vec())
        .unwrap_or_default()
}
