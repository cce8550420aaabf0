//! What one proxy should have: the input of a conversation.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::envoy::google::protobuf::Any;
use xxhash_rust::xxh3::xxh3_64;

use super::Kind;

/// One resource, encoded once and shared by all proxies that see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub name: Arc<str>,
    /// Hash of the content.
    pub version: u64,
    /// The `google.protobuf.Any`, as it goes on the wire.
    pub bytes: Bytes,
}

impl Encoded {
    pub fn new(name: &str, any: &Any) -> Self {
        let bytes = any.encode_to_vec();
        Encoded {
            name: name.into(),
            version: xxh3_64(&bytes),
            bytes: bytes.into(),
        }
    }
}

/// The answer to the question for one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(Encoded),
    /// It does not exist: a proxy that has it should drop it.
    Absent,
    /// It exists and could not be made: a proxy that has one keeps it.
    Broken(Arc<str>),
}

/// Everything that one proxy may ask for, at one moment.
pub trait View: Send + Sync {
    /// Changes whenever the answers for this kind may have changed. Equal revisions spare the comparison.
    fn revision(&self, kind: Kind) -> u64;

    /// What a wildcard subscription gets. Never holds [`Lookup::Absent`].
    fn all(&self, kind: Kind) -> Arc<Vec<Lookup>>;

    fn get(&self, kind: Kind, name: &str) -> Lookup;
}
