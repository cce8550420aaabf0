//! Values laid over what is there.
//!
//! Encoded after one another, two messages are their merge as protobuf defines it: fields of the second win, lists grow, messages merge,
//! entries of maps are replaced. So merging is concatenation.

use model::mesh::EnvoyOperation;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, Name};
use proto::envoy::google::protobuf::Any;
use proto::schema::{self, Kind};
use proto::wire::fields;

/// Merges an encoded value into a message; whether anything came of it.
pub(super) fn message<M: Message + Name + Default + Clone>(
    target: &mut M,
    value: &[u8],
    operation: EnvoyOperation,
) -> bool {
    let mut merged = target.clone();
    let done = match (operation, schema::message(&M::full_name())) {
        (EnvoyOperation::MergeReplacingLists, Some(schema)) => {
            let mut bytes = without_lists(schema, &target.encode_to_vec(), value);
            bytes.extend_from_slice(value);
            M::decode(bytes.as_slice()).map(|decoded| merged = decoded)
        }
        _ => merged.merge(value),
    };
    let done = done.is_ok();
    if done {
        *target = merged;
    }
    done
}

/// Merges settings of one type; `false`: they are of different types.
pub(super) fn any(target: &mut Any, value: &Any) -> bool {
    let name = |any: &Any| any.type_url.rsplit('/').next().map(str::to_owned);
    let same = name(target) == name(value);
    if same {
        target.value.extend_from_slice(&value.value);
    }
    same
}

/// A message without one of its fields.
pub(super) fn without(number: u32, bytes: &[u8]) -> Vec<u8> {
    fields(bytes)
        .filter(|field| field.number != number)
        .flat_map(|field| bytes[field.whole].to_vec())
        .collect()
}

/// A message without the lists that `value` brings, at every depth that both have.
fn without_lists(message: schema::Message, bytes: &[u8], value: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for field in fields(bytes) {
        let known = message.numbered(field.number);
        let brought: Vec<u8> = match known {
            Some(_) => fields(value)
                .filter(|other| other.number == field.number)
                .flat_map(|other| value[other.payload].to_vec())
                .collect(),
            None => Vec::new(),
        };
        let is_brought = fields(value).any(|other| other.number == field.number);
        match known {
            Some(known) if known.repeated && known.entry().is_none() && is_brought => {}
            Some(schema::Field {
                kind: Kind::Message(name),
                repeated: false,
                ..
            }) if is_brought => match schema::message(name) {
                Some(inner) => {
                    let inner = without_lists(inner, &bytes[field.payload], &brought);
                    encode_key(field.number, WireType::LengthDelimited, &mut kept);
                    encode_varint(inner.len() as u64, &mut kept);
                    kept.extend(inner);
                }
                None => kept.extend_from_slice(&bytes[field.whole]),
            },
            _ => kept.extend_from_slice(&bytes[field.whole]),
        }
    }
    kept
}
