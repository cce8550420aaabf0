//! How a connection is told apart: mutual TLS or not, HTTP or bytes.
//!
//! A server that accepts both learns it from the first bytes: TLS by its ClientHello, whose ALPN also says what is inside
//! (sidecars announce it), plaintext HTTP by its request line. The tables here are that decision, one row for each chain, for
//! every protocol a port may declare and every mode it may demand.
//!
//! The price is paid by protocols in which the server speaks first: on a PERMISSIVE port even declared TCP waits for the
//! client's first bytes, since only they tell TLS from plaintext. Such a port needs STRICT (sidecars always begin with TLS)
//! or DISABLE.

use model::mesh::Protocol;

use crate::authn::PeerMode;
use crate::pb::listener::{
    FilterChain, FilterChainMatch, ListenerFilter, ListenerFilterChainMatchPredicate, listener_filter,
    listener_filter_chain_match_predicate as predicate,
};
use crate::pb::{self, google, kind};

pub(super) const TLS: &str = "tls";
pub(super) const RAW: &str = "raw_buffer";
/// What sidecars announce for HTTP, for other traffic, and for either.
const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];
pub(super) const MESH: &[&str] = &[
    "istio-peer-exchange",
    "istio",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];
/// What the HTTP inspector finds in plaintext.
pub(super) const PLAIN_HTTP: &[&str] = &["http/1.0", "http/1.1", "h2c"];
/// What a server offers in answer.
pub(super) const OFFER_HTTP: &[&str] = &["h2", "http/1.1"];
pub(super) const OFFER_TCP: &[&str] = &["istio-peer-exchange", "h2", "http/1.1"];

/// One way into a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `""`: any.
    pub(super) transport: &'static str,
    pub(super) alpn: &'static [&'static str],
    pub(super) http: bool,
    pub(super) mutual: bool,
}

const fn entry(transport: &'static str, alpn: &'static [&'static str], http: bool, mutual: bool) -> Entry {
    Entry {
        transport,
        alpn,
        http,
        mutual,
    }
}

const HTTP: bool = true;
const BYTES: bool = false;
const MUTUAL: bool = true;
const AS_IS: bool = false;

/// The ways into a port. Application TLS (`https`, `tls`) is bytes.
pub(super) fn entries(protocol: Protocol, mode: PeerMode) -> &'static [Entry] {
    static PERMISSIVE_AUTO: [Entry; 5] = [
        entry(TLS, MESH_HTTP, HTTP, MUTUAL),
        entry(RAW, PLAIN_HTTP, HTTP, AS_IS),
        entry(TLS, MESH_TCP, BYTES, MUTUAL),
        entry(RAW, &[], BYTES, AS_IS),
        entry(TLS, &[], BYTES, AS_IS),
    ];
    static PERMISSIVE_HTTP: [Entry; 2] = [entry(TLS, MESH, HTTP, MUTUAL), entry(RAW, &[], HTTP, AS_IS)];
    static PERMISSIVE_TCP: [Entry; 3] = [
        entry(TLS, MESH, BYTES, MUTUAL),
        entry(TLS, &[], BYTES, AS_IS),
        entry(RAW, &[], BYTES, AS_IS),
    ];
    static STRICT_AUTO: [Entry; 2] = [entry(TLS, MESH_HTTP, HTTP, MUTUAL), entry(TLS, &[], BYTES, MUTUAL)];
    static STRICT_HTTP: [Entry; 1] = [entry(TLS, &[], HTTP, MUTUAL)];
    static STRICT_TCP: [Entry; 1] = [entry(TLS, &[], BYTES, MUTUAL)];
    static PLAIN_AUTO: [Entry; 2] = [entry("", PLAIN_HTTP, HTTP, AS_IS), entry("", &[], BYTES, AS_IS)];
    static PLAIN_HTTP_ONLY: [Entry; 1] = [entry("", &[], HTTP, AS_IS)];
    static PLAIN_TCP: [Entry; 1] = [entry("", &[], BYTES, AS_IS)];
    match (mode, protocol) {
        (PeerMode::Permissive, Protocol::Auto) => &PERMISSIVE_AUTO,
        (PeerMode::Permissive, _) if protocol.is_http() => &PERMISSIVE_HTTP,
        (PeerMode::Permissive, _) => &PERMISSIVE_TCP,
        (PeerMode::Strict, Protocol::Auto) => &STRICT_AUTO,
        (PeerMode::Strict, _) if protocol.is_http() => &STRICT_HTTP,
        (PeerMode::Strict, _) => &STRICT_TCP,
        (PeerMode::Disable, Protocol::Auto) => &PLAIN_AUTO,
        (PeerMode::Disable, _) if protocol.is_http() => &PLAIN_HTTP_ONLY,
        (PeerMode::Disable, _) => &PLAIN_TCP,
    }
}

impl Entry {
    pub(super) fn chain_match(&self, port: Option<u16>) -> Option<FilterChainMatch> {
        let made = FilterChainMatch {
            destination_port: port.and_then(|port| pb::u32(port.into())),
            transport_protocol: self.transport.to_owned(),
            application_protocols: self.alpn.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        };
        (made != FilterChainMatch::default()).then_some(made)
    }
}

// === listener filters ===

/// The listener filters that `chains` need to be told apart.
pub(super) fn inspectors(chains: &[FilterChain]) -> Vec<ListenerFilter> {
    let matches = || chains.iter().filter_map(|chain| chain.filter_chain_match.as_ref());
    let tls = matches().any(|m| !m.transport_protocol.is_empty() || !m.server_names.is_empty());
    let http = matches().any(|m| {
        m.application_protocols
            .iter()
            .any(|word| PLAIN_HTTP.contains(&word.as_str()))
    });
    let mut filters = Vec::new();
    filters.extend(tls.then(|| tls_inspector(&[])));
    filters.extend(http.then(|| http_inspector(&[])));
    filters
}

/// Not for connections to `except`: those must not wait for bytes that the client may never send first.
pub(super) fn tls_inspector(except: &[u16]) -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.tls_inspector",
        pb::any(&pb::tls_inspector::TlsInspector::default()),
        except,
    )
}

pub(super) fn http_inspector(except: &[u16]) -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.http_inspector",
        pb::any(&pb::http_inspector::HttpInspector {}),
        except,
    )
}

pub(super) fn original_dst() -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.original_dst",
        pb::any(&pb::original_dst::OriginalDst {}),
        &[],
    )
}

fn listener_filter(name: &str, config: google::Any, except: &[u16]) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        filter_disabled: ports(except),
    }
}

fn ports(ports: &[u16]) -> Option<ListenerFilterChainMatchPredicate> {
    let one = |port: &u16| ListenerFilterChainMatchPredicate {
        rule: Some(predicate::Rule::DestinationPortRange(kind::Int32Range {
            start: i32::from(*port),
            end: i32::from(*port) + 1,
        })),
    };
    match ports {
        [] => None,
        [only] => Some(one(only)),
        several => Some(ListenerFilterChainMatchPredicate {
            rule: Some(predicate::Rule::OrMatch(predicate::MatchSet {
                rules: several.iter().map(one).collect(),
            })),
        }),
    }
}
