//! Which filter chain serves a connection: the matches of all chains, compiled into one tree.
//!
//! The levels are Envoy's, in its order: destination port, destination address (longest prefix), server name (exact, then the longest
//! wildcard), transport protocol, application protocols, source type, source address, source port. At each level the most specific entry is
//! taken *and never given back*: if a chain names this port, chains for any port are out, even when nothing below fits. That makes a choice
//! a walk of at most eight lookups, and two chains that would fit the same connection a conflict that is refused here, once.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::{
    ConnectionFacts, FilterChain, Listener, ListenerFilters, NetworkFilter, SourceType, TransportProtocol,
};

mod tree;

use tree::Addresses;

/// What must be looked at before a chain can be chosen, for one destination port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Server name, application protocols, or whether there is TLS at all.
    pub tls: bool,
    /// Whether plain bytes are HTTP.
    pub http: bool,
}

/// Two chains match exactly the same connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter chains `{first}` and `{second}` match the same connections; make their filter_chain_match differ")]
pub struct MatchConflict {
    pub first: Arc<str>,
    pub second: Arc<str>,
}

pub struct Matcher {
    exact_ports: HashMap<u16, Branch>,
    any_port: Option<Branch>,
    chains: Vec<Arc<FilterChain>>,
    default: Option<Arc<FilterChain>>,
}

#[derive(Default)]
struct Branch {
    addresses: Addresses,
    needs: Needs,
    serves_plaintext: bool,
}

// === impl Matcher ===

impl Matcher {
    pub fn new(listener: &Listener) -> Result<Self, MatchConflict> {
        let mut matcher = Matcher {
            exact_ports: HashMap::new(),
            any_port: None,
            chains: listener.chains.clone(),
            default: listener.default_chain.clone(),
        };
        for (index, chain) in listener.chains.iter().enumerate() {
            let branch = match chain.matches.destination_port {
                Some(port) => matcher.exact_ports.entry(port).or_default(),
                None => matcher.any_port.get_or_insert_default(),
            };
            branch.needs.add(chain, &listener.filters);
            branch.serves_plaintext |= chain.matches.transport_protocol != Some(TransportProtocol::Tls);
            branch
                .addresses
                .insert(&chain.matches, index)
                .map_err(|other| MatchConflict {
                    first: listener.chains[other].name.clone(),
                    second: chain.name.clone(),
                })?;
        }
        Ok(matcher)
    }

    /// The chain of a connection, or the listener's default chain.
    pub fn select(&self, facts: &ConnectionFacts) -> Option<&Arc<FilterChain>> {
        let found = self
            .branch(facts.destination)
            .and_then(|branch| branch.addresses.select(facts));
        found.and_then(|index| self.chains.get(index)).or(self.default.as_ref())
    }

    /// Every chain for this destination wants TLS (mutual TLS is STRICT).
    pub fn is_tls_only(&self, destination: Option<SocketAddr>) -> bool {
        self.branch(destination).is_some_and(|branch| !branch.serves_plaintext)
    }

    /// What the choice for this destination depends on.
    pub fn needs(&self, destination: Option<SocketAddr>) -> Needs {
        self.branch(destination).map(|branch| branch.needs).unwrap_or_default()
    }

    fn branch(&self, destination: Option<SocketAddr>) -> Option<&Branch> {
        let exact = destination.and_then(|address| self.exact_ports.get(&address.port()));
        exact.or(self.any_port.as_ref())
    }
}

// === impl Needs ===

impl Needs {
    /// Bytes are waited for only where a match reads them: a server-first protocol must not hang on a question nobody asks.
    fn add(&mut self, chain: &FilterChain, filters: &ListenerFilters) {
        let matches = &chain.matches;
        let by_sni = matches!(&chain.filter, NetworkFilter::Tcp(proxy) if proxy.cluster_from_sni);
        let protocols = !matches.application_protocols.is_empty();
        let tls = !matches.server_names.is_empty() || matches.transport_protocol.is_some() || protocols || by_sni;
        self.tls |= filters.tls_inspector && tls;
        self.http |= filters.http_inspector && protocols && matches.transport_protocol != Some(TransportProtocol::Tls);
    }
}

#[cfg(test)]
pub(super) mod tests;
