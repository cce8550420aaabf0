//! The levels below the destination port, one type each.

use super::*;
use crate::config::ChainMatch;

/// Entries with the longest prefix first; a match without prefixes is `0.0.0.0/0` and `::/0` in one.
pub(super) struct Prefixes<T>(Vec<(Option<IpNet>, T)>);

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Prefixes(Vec::new())
    }
}

impl<T: Default> Prefixes<T> {
    fn entry(&mut self, prefix: Option<IpNet>) -> &mut T {
        let prefix = prefix.map(|net| net.trunc());
        let position = self
            .0
            .iter()
            .position(|(known, _)| *known == prefix)
            .unwrap_or_else(|| {
                let length = |net: &Option<IpNet>| net.map_or(-1, |net| i16::from(net.prefix_len()));
                let at = self.0.partition_point(|(known, _)| length(known) >= length(&prefix));
                self.0.insert(at, (prefix, T::default()));
                at
            });
        &mut self.0[position].1
    }

    fn get(&self, ip: Option<IpAddr>) -> Option<&T> {
        let covers = |net: &Option<IpNet>| match (net, ip) {
            (None, _) => true,
            (Some(net), Some(ip)) => net.contains(&ip.to_canonical()),
            (Some(_), None) => false,
        };
        self.0.iter().find(|(net, _)| covers(net)).map(|(_, entry)| entry)
    }
}

/// `f` for each of the alternatives, or once with `None` for "any".
fn each<A: Copy>(alternatives: &[A], mut f: impl FnMut(Option<A>) -> Result<(), usize>) -> Result<(), usize> {
    if alternatives.is_empty() {
        return f(None);
    }
    alternatives.iter().try_for_each(|alternative| f(Some(*alternative)))
}

#[derive(Default)]
pub(super) struct Addresses(Prefixes<Names>);

impl Addresses {
    /// Adds a chain; the error is the chain that matches the same already.
    pub(super) fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        each(&matches.prefix_ranges, |net| self.0.entry(net).insert(matches, chain))
    }

    pub(super) fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        self.0.get(facts.destination.map(|address| address.ip()))?.select(facts)
    }
}

/// Server names: exact ones, and `.example.com` for `*.example.com`.
#[derive(Default)]
struct Names {
    named: HashMap<Box<str>, Transports>,
    any: Option<Transports>,
}

impl Names {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        let names: Vec<&str> = matches.server_names.iter().map(String::as_str).collect();
        each(&names, |name| match name {
            None | Some("" | "*") => self.any.get_or_insert_default().insert(matches, chain),
            Some(name) => {
                let key = name
                    .strip_prefix('*')
                    .filter(|rest| rest.starts_with('.'))
                    .unwrap_or(name);
                self.named
                    .entry(key.to_ascii_lowercase().into())
                    .or_default()
                    .insert(matches, chain)
            }
        })
    }

    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        let named = facts.server_name.as_deref().and_then(|name| self.named(name));
        named.or(self.any.as_ref())?.select(facts)
    }

    fn named(&self, name: &str) -> Option<&Transports> {
        if self.named.is_empty() {
            return None;
        }
        let wildcards = name
            .match_indices('.')
            .filter(|(at, _)| *at > 0)
            .map(|(at, _)| &name[at..]);
        // An SNI that begins with a dot must not be taken for a wildcard entry.
        let exact = Some(name).filter(|name| !name.starts_with('.'));
        exact.into_iter().chain(wildcards).find_map(|key| self.named.get(key))
    }
}

#[derive(Default)]
struct Transports {
    tls: Option<Protocols>,
    raw: Option<Protocols>,
    any: Option<Protocols>,
}

impl Transports {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        let slot = match matches.transport_protocol {
            Some(TransportProtocol::Tls) => &mut self.tls,
            Some(TransportProtocol::Raw) => &mut self.raw,
            None => &mut self.any,
        };
        slot.get_or_insert_default().insert(matches, chain)
    }

    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        let exact = if facts.tls { &self.tls } else { &self.raw };
        exact.as_ref().or(self.any.as_ref())?.select(facts)
    }
}

#[derive(Default)]
struct Protocols {
    named: HashMap<Box<str>, SourceTypes>,
    any: Option<SourceTypes>,
}

impl Protocols {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        let protocols: Vec<&str> = matches.application_protocols.iter().map(String::as_str).collect();
        each(&protocols, |protocol| match protocol {
            None => self.any.get_or_insert_default().insert(matches, chain),
            Some(name) => self.named.entry(name.into()).or_default().insert(matches, chain),
        })
    }

    /// The client's order of protocols decides, not that of the chains.
    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        let named = facts
            .application_protocols
            .iter()
            .find_map(|protocol| self.named.get(protocol.as_str()));
        named.or(self.any.as_ref())?.select(facts)
    }
}

#[derive(Default)]
struct SourceTypes {
    local: Option<Sources>,
    external: Option<Sources>,
    any: Option<Sources>,
}

impl SourceTypes {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        let slot = match matches.source_type {
            SourceType::SameIpOrLoopback => &mut self.local,
            SourceType::External => &mut self.external,
            SourceType::Any => &mut self.any,
        };
        slot.get_or_insert_default().insert(matches, chain)
    }

    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        let special = if facts.is_local() { &self.local } else { &self.external };
        special.as_ref().or(self.any.as_ref())?.select(facts)
    }
}

#[derive(Default)]
struct Sources(Prefixes<SourcePorts>);

impl Sources {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        each(&matches.source_prefix_ranges, |net| {
            self.0.entry(net).insert(matches, chain)
        })
    }

    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        self.0.get(facts.source.map(|address| address.ip()))?.select(facts)
    }
}

#[derive(Default)]
struct SourcePorts {
    exact: HashMap<u16, usize>,
    any: Option<usize>,
}

impl SourcePorts {
    fn insert(&mut self, matches: &ChainMatch, chain: usize) -> Result<(), usize> {
        each(&matches.source_ports, |port| {
            let before = match port {
                Some(port) => self.exact.insert(port, chain),
                None => self.any.replace(chain),
            };
            // A chain may repeat itself (`*` and no name); only another chain is a conflict.
            before.filter(|other| *other != chain).map_or(Ok(()), Err)
        })
    }

    fn select(&self, facts: &ConnectionFacts) -> Option<usize> {
        facts
            .source
            .and_then(|address| self.exact.get(&address.port()).copied())
            .or(self.any)
    }
}
