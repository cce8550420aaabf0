//! One encoding per value.
//!
//! Maps of the generated messages are hash maps with a random seed: encoding the same cluster twice may order its metadata
//! differently, and a proxy that compares bytes would rebuild the cluster and break its connections. So every message is
//! packed here, and the entries of its maps are put in order of their keys in the encoded bytes. Sorting entries changes no
//! length, so it happens in place and costs one pass.
//!
//! A [`Shape`] says where in a message maps may be; only messages that hold maps have one.

use std::ops::Range;

use prost::{Message, Name};
use proto::envoy::google::protobuf::Any;
use proto::wire::Field;

use crate::pb;

/// Packs `message` with its maps in order.
pub(crate) fn any<M: Shaped>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: encode(message),
    }
}

pub(crate) fn encode<M: Shaped>(message: &M) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    if !M::SHAPE.0.is_empty() {
        sort_maps(M::SHAPE, &mut bytes);
    }
    bytes
}

/// A message that may be packed.
pub(crate) trait Shaped: Message + Name {
    const SHAPE: &'static Shape;
}

/// Field numbers that lead to maps.
pub(crate) struct Shape(&'static [(u32, Part)]);

enum Part {
    Message(&'static Shape),
    /// A map whose values have this shape.
    Map(&'static Shape),
}

static LEAF: Shape = Shape(&[]);
static STRUCT: Shape = Shape(&[(1, Part::Map(&VALUE))]);
static VALUE: Shape = Shape(&[(5, Part::Message(&STRUCT)), (6, Part::Message(&LIST))]);
static LIST: Shape = Shape(&[(1, Part::Message(&VALUE))]);
static METADATA: Shape = Shape(&[(1, Part::Map(&STRUCT)), (2, Part::Map(&LEAF))]);
static CLUSTER: Shape = Shape(&[
    (25, Part::Message(&METADATA)),
    (33, Part::Message(&ASSIGNMENT)),
    (36, Part::Map(&LEAF)),
    (43, Part::Message(&SOCKET_MATCH)),
]);
static SOCKET_MATCH: Shape = Shape(&[(2, Part::Message(&STRUCT))]);
static ASSIGNMENT: Shape = Shape(&[(2, Part::Message(&LOCALITY))]);
static LOCALITY: Shape = Shape(&[(2, Part::Message(&LB_ENDPOINT)), (9, Part::Message(&METADATA))]);
static LB_ENDPOINT: Shape = Shape(&[(3, Part::Message(&METADATA))]);
static LISTENER: Shape = Shape(&[(3, Part::Message(&FILTER_CHAIN)), (6, Part::Message(&METADATA))]);
static FILTER_CHAIN: Shape = Shape(&[(5, Part::Message(&METADATA))]);
static ROUTES: Shape = Shape(&[(2, Part::Message(&VIRTUAL_HOST))]);
static VIRTUAL_HOST: Shape = Shape(&[(3, Part::Message(&ROUTE)), (15, Part::Map(&LEAF))]);
static ROUTE: Shape = Shape(&[
    (2, Part::Message(&ROUTE_ACTION)),
    (4, Part::Message(&METADATA)),
    (13, Part::Map(&LEAF)),
]);
static ROUTE_ACTION: Shape = Shape(&[(3, Part::Message(&WEIGHTED_CLUSTER))]);
static WEIGHTED_CLUSTER: Shape = Shape(&[(1, Part::Message(&CLUSTER_WEIGHT))]);
static CLUSTER_WEIGHT: Shape = Shape(&[(3, Part::Message(&METADATA)), (10, Part::Map(&LEAF))]);
static CONNECTION_MANAGER: Shape = Shape(&[(4, Part::Message(&ROUTES))]);
static FILE_ACCESS_LOG: Shape = Shape(&[(5, Part::Message(&LOG_FORMAT))]);
static LOG_FORMAT: Shape = Shape(&[(2, Part::Message(&STRUCT))]);

macro_rules! shapes {
    ($($message:ty => $shape:expr;)*) => {
        $(impl Shaped for $message { const SHAPE: &'static Shape = &$shape; })*
    };
}

shapes! {
    pb::cluster::Cluster => CLUSTER;
    pb::endpoint::ClusterLoadAssignment => ASSIGNMENT;
    pb::listener::Listener => LISTENER;
    pb::route::RouteConfiguration => ROUTES;
    pb::hcm::HttpConnectionManager => CONNECTION_MANAGER;
    pb::accesslog_file::FileAccessLog => FILE_ACCESS_LOG;
    pb::tcp_proxy::TcpProxy => LEAF;
    pb::dns::DnsCluster => LEAF;
    pb::tls::UpstreamTlsContext => LEAF;
    pb::tls::DownstreamTlsContext => LEAF;
    pb::raw_buffer::RawBuffer => LEAF;
    pb::proxy_protocol::ProxyProtocolUpstreamTransport => LEAF;
    pb::upstream_http::HttpProtocolOptions => LEAF;
    pb::fault::HttpFault => LEAF;
    pb::cors::Cors => LEAF;
    pb::cors::CorsPolicy => LEAF;
    pb::grpc_web::GrpcWeb => LEAF;
    pb::router::Router => LEAF;
    pb::trace::ZipkinConfig => LEAF;
    pb::trace::OpenTelemetryConfig => LEAF;
    pb::tls_inspector::TlsInspector => LEAF;
    pb::http_inspector::HttpInspector => LEAF;
    pb::original_dst::OriginalDst => LEAF;
    pb::previous_hosts::PreviousHostsPredicate => LEAF;
    pb::previous_priorities::PreviousPrioritiesConfig => LEAF;
}

/// Sorts the maps of a well-formed message in place; stops at bytes that are not a message (ours always are).
fn sort_maps(shape: &Shape, bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(field) = Field::read(bytes, at) {
        at = field.whole.end;
        match shape.0.iter().find(|(number, _)| *number == field.number) {
            Some((_, Part::Message(inner))) => sort_maps(inner, &mut bytes[field.payload]),
            Some((number, Part::Map(value))) => at = sort_entries(*number, value, bytes, field),
            None => {}
        }
    }
}

/// Sorts the run of entries that starts with `first`; gives the end of the run.
fn sort_entries(number: u32, value: &Shape, bytes: &mut [u8], first: Field) -> usize {
    let start = first.whole.start;
    let mut end = start;
    let mut entries: Vec<(Vec<u8>, Range<usize>)> = Vec::new();
    while let Some(entry) = Field::read(bytes, end).filter(|field| field.number == number) {
        end = entry.whole.end;
        let key = sort_entry(value, &mut bytes[entry.payload]);
        entries.push((key, entry.whole));
    }
    if !entries.is_sorted_by(|a, b| a.0 <= b.0) {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let sorted: Vec<u8> = entries
            .iter()
            .flat_map(|(_, range)| bytes[range.clone()].to_vec())
            .collect();
        bytes[start..end].copy_from_slice(&sorted);
    }
    end
}

/// Sorts inside one entry's value; gives the entry's key.
fn sort_entry(value: &Shape, entry: &mut [u8]) -> Vec<u8> {
    let mut key = Vec::new();
    let mut at = 0;
    while let Some(field) = Field::read(entry, at) {
        at = field.whole.end;
        match field.number {
            1 => key = entry[field.payload].to_vec(),
            2 => sort_maps(value, &mut entry[field.payload]),
            _ => {}
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> pb::endpoint::ClusterLoadAssignment {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let section = || pb::object(keys.map(|key| (key, pb::nested(pb::object(keys.map(|k| (k, pb::text(k))))))));
        pb::endpoint::ClusterLoadAssignment {
            cluster_name: "x".into(),
            endpoints: vec![pb::endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![pb::endpoint::LbEndpoint {
                    metadata: pb::metadata(keys.map(|key| (key, section()))),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn equal_values_have_equal_bytes() {
        let expected = encode(&endpoint());
        for _ in 0..20 {
            assert_eq!(encode(&endpoint()), expected);
        }
    }

    #[test]
    fn sorting_keeps_the_value() {
        let decoded =
            pb::endpoint::ClusterLoadAssignment::decode(encode(&endpoint()).as_slice()).expect("still a message");
        assert_eq!(decoded, endpoint());
    }
}
