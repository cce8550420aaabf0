//! Route tables and virtual hosts.

use std::mem::take;
use std::sync::Arc;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use proto::envoy::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost as HostMessage, virtual_host::TlsRequirementType,
};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::headers::operations;
use super::per_filter::{self, PerFilter, legacy_cors};
use super::route::{Defaults, route};
use super::{Context, retry};
use crate::config::{ExactDomains, RouteTable, VirtualHost};

/// Compiles a route configuration; `version` is the hash of its bytes.
///
/// # Errors
/// Names the field that cannot be used.
pub fn routes(mut message: RouteConfiguration, version: u64, context: &Context) -> Compiled<RouteTable> {
    let hosts = take(&mut message.virtual_hosts);
    let (mut table, filters) = frame(message, version)?;
    let mut domains = Domains::default();
    for (index, host) in hosts.into_iter().enumerate() {
        let place = place(index, &host.name);
        let (host, names) = virtual_host(host, &filters, context).within(&place)?;
        domains.add_all(&names, index).within(&place)?;
        table.virtual_hosts.push(host);
    }
    domains.move_into(&mut table);
    Ok(table)
}

/// Compiles a route configuration from its bytes, one virtual host after the other.
///
/// A control plane sends the whole table when one virtual host of it changes. Those whose bytes are as they were in `previous` are taken
/// over as they are compiled.
///
/// # Errors
/// Names the field that cannot be used.
pub fn routes_after(
    body: &[u8],
    previous: Option<(&[u8], &RouteTable)>,
    version: u64,
    context: &Context,
) -> Compiled<RouteTable> {
    let parts = Parts::split(body)?;
    let (mut table, filters) = frame(decode(&parts.frame)?, version)?;
    let mut old = previous
        .and_then(|(body, table)| Some(Old::new(Parts::split(body).ok()?, table)))
        .filter(|old| old.parts.frame == parts.frame);
    let mut same_domains = old
        .as_ref()
        .is_some_and(|old| old.parts.hosts.len() == parts.hosts.len());
    table.virtual_hosts.reserve_exact(parts.hosts.len());
    for (index, bytes) in parts.hosts.iter().enumerate() {
        if let Some((at, host)) = old.as_mut().and_then(|old| old.take(bytes)) {
            same_domains = same_domains && at == index;
            table.virtual_hosts.push(host.clone());
            continue;
        }
        let message: HostMessage = decode(bytes)?;
        let place = place(index, &message.name);
        let (host, names) = virtual_host(message, &filters, context).within(&place)?;
        same_domains = same_domains && old.as_ref().is_some_and(|old| old.domains_at(index) == Some(names));
        table.virtual_hosts.push(host);
    }
    match (previous, same_domains) {
        (Some((_, old)), true) => {
            table.exact = old.exact.clone();
            table.suffixes = old.suffixes.clone();
            table.prefixes = old.prefixes.clone();
            table.default = old.default;
        }
        _ => index_domains(&parts, &mut table)?,
    }
    Ok(table)
}

fn index_domains(parts: &Parts<'_>, table: &mut RouteTable) -> Compiled<()> {
    let mut domains = Domains::default();
    for (index, bytes) in parts.hosts.iter().enumerate() {
        let names: HostDomains = decode(bytes)?;
        let name = &table.virtual_hosts[index].name;
        domains.add_all(&names.domains, index).within(&place(index, name))?;
    }
    domains.move_into(table);
    Ok(())
}

/// Everything but the virtual hosts.
fn frame(mut message: RouteConfiguration, version: u64) -> Compiled<(RouteTable, PerFilter)> {
    harmless!(message: validate_clusters, max_direct_response_body_size_bytes, metadata);
    let filters = per_filter::compile(take(&mut message.typed_per_filter_config))?;
    let table = RouteTable {
        name: take(&mut message.name).into(),
        ignore_port_in_host: take(&mut message.ignore_port_in_host_matching),
        most_specific_wins: take(&mut message.most_specific_header_mutations_wins),
        request_headers: operations(
            "request",
            take(&mut message.request_headers_to_add),
            take(&mut message.request_headers_to_remove),
        )?,
        response_headers: operations(
            "response",
            take(&mut message.response_headers_to_add),
            take(&mut message.response_headers_to_remove),
        )?,
        version,
        ..RouteTable::default()
    };
    exhausted(&message)?;
    Ok((table, filters))
}

fn place(index: usize, name: &str) -> String {
    format!("virtual_hosts[{index}]({name})")
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Compiled<M> {
    M::decode(bytes).map_err(undecodable)
}

fn undecodable(error: prost::DecodeError) -> CompileError {
    CompileError::new("", format!("it does not decode: {error}"))
}

/// A route configuration in pieces: the bytes of each virtual host, and those of the rest.
struct Parts<'a> {
    hosts: Vec<&'a [u8]>,
    frame: Vec<u8>,
}

/// `RouteConfiguration.virtual_hosts`
const VIRTUAL_HOSTS: u32 = 2;

impl<'a> Parts<'a> {
    fn split(body: &'a [u8]) -> Compiled<Self> {
        let mut parts = Parts {
            hosts: Vec::new(),
            frame: Vec::new(),
        };
        let mut rest = body;
        while !rest.is_empty() {
            let field = rest;
            let (tag, wire_type) = decode_key(&mut rest).map_err(undecodable)?;
            if tag != VIRTUAL_HOSTS || wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(undecodable)?;
                parts.frame.extend_from_slice(&field[..field.len() - rest.len()]);
                continue;
            }
            let length = decode_varint(&mut rest).map_err(undecodable)?;
            let host = usize::try_from(length)
                .ok()
                .and_then(|length| rest.split_at_checked(length));
            let (host, after) = host.ok_or_else(|| CompileError::new("", "it does not decode: it ends too early"))?;
            parts.hosts.push(host);
            rest = after;
        }
        Ok(parts)
    }
}

/// The table in force, walked along beside the one that follows it.
struct Old<'a> {
    parts: Parts<'a>,
    table: &'a RouteTable,
    next: usize,
}

/// So many virtual hosts may have gone in a row for the walk to find its way again; then the rest is compiled anew.
const LOOK_AHEAD: usize = 16;

impl<'a> Old<'a> {
    fn new(parts: Parts<'a>, table: &'a RouteTable) -> Self {
        Old { parts, table, next: 0 }
    }

    /// The virtual host that was made of the same bytes, and where it stands.
    fn take(&mut self, bytes: &[u8]) -> Option<(usize, &'a VirtualHost)> {
        let ahead = self.parts.hosts.iter().skip(self.next).take(LOOK_AHEAD);
        let found = ahead
            .enumerate()
            .find(|(_, old)| **old == bytes)
            .map(|(step, _)| self.next + step);
        // One that is not found has changed, or come in between; then the one beside it is found by the look ahead, or again here.
        self.next = found.map_or(self.next, |at| at + 1);
        found.and_then(|at| Some((at, self.table.virtual_hosts.get(at)?)))
    }

    fn domains_at(&self, index: usize) -> Option<Vec<String>> {
        let names: HostDomains = decode(self.parts.hosts.get(index)?).ok()?;
        Some(names.domains)
    }
}

/// A virtual host of which only the domains are read.
#[derive(Clone, PartialEq, Message)]
struct HostDomains {
    #[prost(string, repeated, tag = "2")]
    domains: Vec<String>,
}

fn virtual_host(
    mut message: HostMessage,
    outer: &PerFilter,
    context: &Context,
) -> Compiled<(VirtualHost, Vec<String>)> {
    harmless!(message: metadata, virtual_clusters, per_request_buffer_limit_bytes, request_body_buffer_limit);
    harmless!(message: include_is_timeout_retry_header);
    let mut filters = per_filter::compile(take(&mut message.typed_per_filter_config))?;
    if let Some(cors) = take(&mut message.cors) {
        filters.cors.get_or_insert(Arc::new(legacy_cors(cors).within("cors")?));
    }
    let defaults = Defaults {
        filters: filters.or(outer),
        retry: take(&mut message.retry_policy)
            .map(|policy| retry::compile(policy, context))
            .transpose()
            .within("retry_policy")?
            .flatten(),
    };
    let require_tls = match TlsRequirementType::try_from(take(&mut message.require_tls)) {
        Ok(TlsRequirementType::None) => false,
        Ok(TlsRequirementType::All) => true,
        Ok(TlsRequirementType::ExternalOnly) | Err(_) => return Err(CompileError::unsupported("require_tls")),
    };
    let host = VirtualHost {
        name: take(&mut message.name).into(),
        routes: each("routes", take(&mut message.routes), |message| {
            route(message, &defaults, context).map(Arc::new)
        })?,
        require_tls,
        request_headers: operations(
            "request",
            take(&mut message.request_headers_to_add),
            take(&mut message.request_headers_to_remove),
        )?,
        response_headers: operations(
            "response",
            take(&mut message.response_headers_to_add),
            take(&mut message.response_headers_to_remove),
        )?,
        include_attempt_count: take(&mut message.include_request_attempt_count),
    };
    let domains = take(&mut message.domains);
    exhausted(&message)?;
    match domains.is_empty() {
        true => Err(CompileError::missing("domains")),
        false => Ok((host, domains)),
    }
}

/// Who answers to which name.
#[derive(Default)]
struct Domains {
    exact: crate::config::route::Domains,
    suffixes: Vec<(Box<str>, usize)>,
    prefixes: Vec<(Box<str>, usize)>,
    default: Option<usize>,
}

impl Domains {
    fn add_all(&mut self, domains: &[String], host: usize) -> Compiled<()> {
        domains.iter().try_for_each(|domain| self.add(domain, host))
    }

    fn add(&mut self, domain: &str, host: usize) -> Compiled<()> {
        let domain = domain.to_ascii_lowercase();
        let added = match (domain.as_str(), domain.strip_prefix('*'), domain.strip_suffix('*')) {
            ("*", ..) => self.default.replace(host).is_none(),
            (_, Some(suffix), _) => add_unique(&mut self.suffixes, suffix, host),
            (_, None, Some(prefix)) => add_unique(&mut self.prefixes, prefix, host),
            (_, None, None) => self.exact.insert(domain.clone().into_boxed_str(), host).is_none(),
        };
        match added {
            true => Ok(()),
            false => Err(CompileError::new(
                "domains",
                format!("`{domain}` belongs to another virtual host already"),
            )),
        }
    }

    fn move_into(mut self, table: &mut RouteTable) {
        let longest_first =
            |list: &mut Vec<(Box<str>, usize)>| list.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        longest_first(&mut self.suffixes);
        longest_first(&mut self.prefixes);
        table.exact = ExactDomains(Arc::new(self.exact));
        table.suffixes = self.suffixes;
        table.prefixes = self.prefixes;
        table.default = self.default;
    }
}

fn add_unique(list: &mut Vec<(Box<str>, usize)>, text: &str, host: usize) -> bool {
    let known = list.iter().any(|(known, _)| **known == *text);
    list.push((text.into(), host));
    !known
}
