//! Responses, and their bytes.
//!
//! Encoded by hand: the generated types would own a copy of each resource for each proxy. Field numbers are those of
//! `envoy.service.discovery.v3`; a test reads the result back with the generated types.

use std::sync::Arc;

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{Encoded, Kind};

/// Which of the two protocol variants a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// State of the world.
    Sotw,
    Delta,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub dialect: Dialect,
    pub type_url: Arc<str>,
    /// `None` for a type that is not served (the answer is then empty).
    pub kind: Option<Kind>,
    pub version: String,
    pub nonce: String,
    pub resources: Vec<Encoded>,
    /// Delta only.
    pub removed: Vec<Arc<str>>,
    /// Shown by Envoy as the control plane it is connected to.
    pub identifier: Arc<str>,
}

// Field numbers common to both messages.
const VERSION: u32 = 1;
const RESOURCES: u32 = 2;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;
// DiscoveryResponse
const SOTW_CONTROL_PLANE: u32 = 6;
// DeltaDiscoveryResponse
const DELTA_REMOVED: u32 = 6;
const DELTA_CONTROL_PLANE: u32 = 7;
// Resource
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
// ControlPlane
const IDENTIFIER: u32 = 1;

impl Frame {
    /// The text form of a resource's version in the delta protocol.
    pub fn version_text(version: u64) -> String {
        format!("{version:016x}")
    }

    pub fn encoded_len(&self) -> usize {
        let resources: usize = self.resources.iter().map(|r| self.resource_len(r)).sum();
        let removed: usize = self
            .removed
            .iter()
            .map(|name| field_len(DELTA_REMOVED, name.len()))
            .sum();
        let control_plane = field_len(SOTW_CONTROL_PLANE, field_len(IDENTIFIER, self.identifier.len()));
        field_len(VERSION, self.version.len())
            + field_len(TYPE_URL, self.type_url.len())
            + field_len(NONCE, self.nonce.len())
            + resources
            + removed
            + control_plane
    }

    pub fn encode(&self, buf: &mut impl BufMut) {
        put(VERSION, self.version.as_bytes(), buf);
        for resource in &self.resources {
            self.put_resource(resource, buf);
        }
        put(TYPE_URL, self.type_url.as_bytes(), buf);
        put(NONCE, self.nonce.as_bytes(), buf);
        for name in &self.removed {
            put(DELTA_REMOVED, name.as_bytes(), buf);
        }
        let control_plane = match self.dialect {
            Dialect::Sotw => SOTW_CONTROL_PLANE,
            Dialect::Delta => DELTA_CONTROL_PLANE,
        };
        put_header(control_plane, field_len(IDENTIFIER, self.identifier.len()), buf);
        put(IDENTIFIER, self.identifier.as_bytes(), buf);
    }

    fn resource_len(&self, resource: &Encoded) -> usize {
        let content = match self.dialect {
            Dialect::Sotw => resource.bytes.len(),
            Dialect::Delta => delta_resource_len(resource),
        };
        field_len(RESOURCES, content)
    }

    fn put_resource(&self, resource: &Encoded, buf: &mut impl BufMut) {
        if self.dialect == Dialect::Sotw {
            put(RESOURCES, &resource.bytes, buf);
            return;
        }
        put_header(RESOURCES, delta_resource_len(resource), buf);
        put(RESOURCE_VERSION, Frame::version_text(resource.version).as_bytes(), buf);
        put(RESOURCE_ANY, &resource.bytes, buf);
        put(RESOURCE_NAME, resource.name.as_bytes(), buf);
    }
}

/// Length of a version's text: sixteen hexadecimal digits.
const VERSION_LEN: usize = 16;

fn delta_resource_len(resource: &Encoded) -> usize {
    field_len(RESOURCE_VERSION, VERSION_LEN)
        + field_len(RESOURCE_ANY, resource.bytes.len())
        + field_len(RESOURCE_NAME, resource.name.len())
}

fn field_len(tag: u32, content: usize) -> usize {
    key_len(tag) + encoded_len_varint(content as u64) + content
}

fn put_header(tag: u32, content: usize, buf: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(content as u64, buf);
}

fn put(tag: u32, content: &[u8], buf: &mut impl BufMut) {
    put_header(tag, content.len(), buf);
    buf.put_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
    use proto::envoy::google::protobuf::Any;

    fn frame(dialect: Dialect) -> (Frame, Any) {
        let any = Any {
            type_url: "t".into(),
            value: vec![7; 300],
        };
        let frame = Frame {
            dialect,
            type_url: "type".into(),
            kind: None,
            version: "v".into(),
            nonce: "n".into(),
            resources: vec![Encoded::new("one", &any), Encoded::new("two", &any)],
            removed: Vec::new(),
            identifier: "pilot".into(),
        };
        (frame, any)
    }

    #[test]
    fn generated_types_read_a_state_of_the_world_response() {
        let (frame, any) = frame(Dialect::Sotw);
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes.len(), frame.encoded_len());
        let read = DiscoveryResponse::decode(&bytes[..]).unwrap();
        assert_eq!(
            (read.version_info, read.nonce, read.type_url),
            ("v".into(), "n".into(), "type".into())
        );
        assert_eq!(read.resources, [any.clone(), any]);
        assert_eq!(read.control_plane.unwrap().identifier, "pilot");
    }

    #[test]
    fn generated_types_read_a_delta_response() {
        let (mut frame, any) = frame(Dialect::Delta);
        frame.removed = vec!["three".into()];
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(bytes.len(), frame.encoded_len());
        let read = DeltaDiscoveryResponse::decode(&bytes[..]).unwrap();
        assert_eq!((read.system_version_info, read.nonce), ("v".into(), "n".into()));
        assert_eq!(read.removed_resources, ["three"]);
        assert_eq!(read.control_plane.unwrap().identifier, "pilot");
        assert_eq!(read.resources[1].name, "two");
        assert_eq!(
            read.resources[1].version,
            Frame::version_text(frame.resources[1].version)
        );
        assert_eq!(read.resources[1].resource, Some(any));
    }
}
