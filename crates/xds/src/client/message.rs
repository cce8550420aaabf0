//! Requests and responses of both dialects, and reading resources out of them.

use std::sync::Arc;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use proto::TypeUrl;
use proto::envoy::envoy::service::discovery::v3 as discovery;
use proto::envoy::google::protobuf::Any;

/// Which of the two protocol variants a stream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// State of the world.
    Sotw,
    #[default]
    Delta,
}

/// What goes to the control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Sotw(discovery::DiscoveryRequest),
    Delta(discovery::DeltaDiscoveryRequest),
}

/// What comes from it.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Sotw(discovery::DiscoveryResponse),
    Delta(discovery::DeltaDiscoveryResponse),
}

/// A response without the differences between dialects.
pub(super) struct Parts {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) resources: Vec<RawResource>,
    pub(super) removed: Vec<Arc<str>>,
}

pub(super) struct RawResource {
    /// Empty if the response does not say it: it is then read out of the resource.
    pub(super) name: String,
    pub(super) version: Arc<str>,
    /// `None` only prolongs the life of what is held.
    pub(super) body: Option<Any>,
}

/// Names longer than this are refused.
const MAX_NAME: usize = 4096;
/// The names of the one resource of each type whose messages have none.
const NAMELESS: [(&str, &str); 2] = [
    (proto::type_url::ORIGINS, "origins"),
    (proto::type_url::NAME_TABLE, "name-table"),
];

/// Decodes a resource as the message it should be.
///
/// # Errors
/// If it is of another type or damaged, in words for an operator.
pub fn decode<M: Message + Default + TypeUrl>(body: &Any) -> Result<M, String> {
    if body.type_url != M::TYPE_URL {
        return Err(format!("it is a `{}`, expected is `{}`", body.type_url, M::TYPE_URL));
    }
    M::decode(&*body.value).map_err(|error| format!("it does not decode: {error}"))
}

// === impl Response ===

impl Response {
    pub fn type_url(&self) -> &str {
        match self {
            Response::Sotw(response) => &response.type_url,
            Response::Delta(response) => &response.type_url,
        }
    }

    /// How the control plane calls itself; empty if it does not.
    pub fn control_plane(&self) -> &str {
        let identity = match self {
            Response::Sotw(response) => &response.control_plane,
            Response::Delta(response) => &response.control_plane,
        };
        identity.as_ref().map_or("", |plane| &plane.identifier)
    }

    pub(super) fn into_parts(self) -> Parts {
        match self {
            Response::Sotw(response) => sotw_parts(response),
            Response::Delta(response) => delta_parts(response),
        }
    }
}

fn sotw_parts(response: discovery::DiscoveryResponse) -> Parts {
    let version = response.version_info;
    let shared: Arc<str> = version.as_str().into();
    let resource = |body: Any| RawResource {
        name: String::new(),
        version: shared.clone(),
        body: Some(body),
    };
    Parts {
        resources: response.resources.into_iter().map(resource).collect(),
        type_url: response.type_url,
        nonce: response.nonce,
        removed: Vec::new(),
        version,
    }
}

fn delta_parts(response: discovery::DeltaDiscoveryResponse) -> Parts {
    let resource = |r: discovery::Resource| RawResource {
        name: r.name,
        version: r.version.into(),
        body: r.resource,
    };
    Parts {
        type_url: response.type_url,
        version: response.system_version_info,
        nonce: response.nonce,
        resources: response.resources.into_iter().map(resource).collect(),
        removed: response.removed_resources.into_iter().map(Arc::from).collect(),
    }
}

/// The name inside a resource, without decoding the rest: field 1 of every type that xDS carries at its top level.
pub(super) fn name_of(type_url: &str, body: &[u8]) -> Result<String, String> {
    if let Some((_, name)) = NAMELESS.iter().find(|(url, _)| *url == type_url) {
        return Ok((*name).to_owned());
    }
    read_name(body)
        .map_err(|error| format!("it does not decode: {error}"))?
        .ok_or_else(|| "it has no name".to_owned())
}

fn read_name(mut body: &[u8]) -> Result<Option<String>, prost::DecodeError> {
    let mut name = None;
    while !body.is_empty() {
        let (tag, wire_type) = decode_key(&mut body)?;
        if tag != 1 || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, &mut body, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut body)?).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = body.split_at_checked(length) else {
            return Ok(None);
        };
        body = rest;
        name = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
            .map(str::to_owned);
    }
    Ok(name)
}

/// The checks on a name that is taken from outside.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("it has no name".to_owned()),
        length if length > MAX_NAME => Err(format!("its name has {length} bytes; the limit is {MAX_NAME}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::envoy::envoy::config::cluster::v3::Cluster;

    #[test]
    fn a_name_is_read_without_the_rest() {
        let cluster = Cluster {
            name: "outbound|80||a".into(),
            alt_stat_name: "x".into(),
            ..Default::default()
        };
        let bytes = cluster.encode_to_vec();
        assert_eq!(
            name_of(proto::type_url::CLUSTER, &bytes).as_deref(),
            Ok("outbound|80||a")
        );
        assert_eq!(name_of(proto::type_url::ORIGINS, &[]).as_deref(), Ok("origins"));
        let nameless = Cluster {
            alt_stat_name: "x".into(),
            ..Default::default()
        }
        .encode_to_vec();
        assert_eq!(
            name_of(proto::type_url::CLUSTER, &nameless).unwrap_err(),
            "it has no name"
        );
        assert!(
            name_of(proto::type_url::CLUSTER, &[0xff, 0xff])
                .unwrap_err()
                .contains("does not decode")
        );
    }

    #[test]
    fn another_message_is_refused_by_its_name() {
        let body = Any {
            type_url: proto::type_url::ROUTE.into(),
            value: Vec::new(),
        };
        assert!(decode::<Cluster>(&body).unwrap_err().contains("RouteConfiguration"));
    }
}
