//! Messages with parts that cannot be printed.
//!
//! A dump holds what was refused, and refused it may have been because a part is damaged or of a type that nobody knows. Such a part
//! is replaced by a sentence, so that it does not take all others with it.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

const ANY: &str = "google.protobuf.Any";
const TEXT_TYPE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// # Errors
/// If the type is not known, or the bytes are damaged.
pub(super) fn open(pool: &DescriptorPool, type_url: &str, bytes: &[u8]) -> anyhow::Result<DynamicMessage> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = pool
        .get_message_by_name(name)
        .ok_or_else(|| anyhow::anyhow!("the type `{name}` is not known"))?;
    Ok(DynamicMessage::decode(descriptor, bytes)?)
}

/// Replaces what is packed in the message, at any depth, and cannot be opened.
pub(super) fn mend(pool: &DescriptorPool, message: &mut DynamicMessage) {
    if message.descriptor().full_name() == ANY {
        return mend_any(pool, message);
    }
    message.fields_mut().for_each(|(_, value)| mend_value(pool, value));
}

fn mend_value(pool: &DescriptorPool, value: &mut Value) {
    match value {
        Value::Message(message) => mend(pool, message),
        Value::List(items) => items.iter_mut().for_each(|item| mend_value(pool, item)),
        Value::Map(entries) => entries.values_mut().for_each(|entry| mend_value(pool, entry)),
        _ => {}
    }
}

fn mend_any(pool: &DescriptorPool, any: &mut DynamicMessage) {
    let type_url = any
        .get_field_by_name("type_url")
        .and_then(|url| url.as_str().map(str::to_owned))
        .unwrap_or_default();
    let bytes = any
        .get_field_by_name("value")
        .and_then(|value| value.as_bytes().cloned())
        .unwrap_or_default();
    let (type_url, bytes) = match open(pool, &type_url, &bytes) {
        Ok(mut inner) => {
            mend(pool, &mut inner);
            (type_url, inner.encode_to_vec())
        }
        Err(error) => (
            TEXT_TYPE.to_owned(),
            format!("{type_url}, {} bytes: {error}", bytes.len()).encode_to_vec(),
        ),
    };
    any.set_field_by_name("type_url", Value::String(type_url));
    any.set_field_by_name("value", Value::Bytes(bytes.into()));
}
