//! Route tables and virtual hosts.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use proto::envoy::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost as HostMessage, virtual_host::TlsRequirementType,
};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::headers::operations;
use super::per_filter::{self, PerFilter, legacy_cors};
use super::route::{Defaults, route};
use super::{Context, retry};
use crate::config::{RouteTable, VirtualHost};

/// Compiles a route configuration; `version` is the hash of its bytes.
///
/// # Errors
/// Names the field that cannot be used.
pub fn routes(mut message: RouteConfiguration, version: u64, context: &Context) -> Compiled<RouteTable> {
    harmless!(message: validate_clusters, max_direct_response_body_size_bytes, metadata);
    let filters = per_filter::compile(take(&mut message.typed_per_filter_config))?;
    let mut table = RouteTable {
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
    for (index, host) in take(&mut message.virtual_hosts).into_iter().enumerate() {
        let name = host.name.clone();
        let place = format!("virtual_hosts[{index}]({name})");
        let (host, domains) = virtual_host(host, &filters, context).within(&place)?;
        table.virtual_hosts.push(host);
        domains
            .iter()
            .try_for_each(|domain| table.add_domain(domain, index))
            .within(&place)?;
    }
    exhausted(&message)?;
    let longest_first = |list: &mut Vec<(Box<str>, usize)>| list.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    longest_first(&mut table.suffixes);
    longest_first(&mut table.prefixes);
    Ok(table)
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

impl RouteTable {
    fn add_domain(&mut self, domain: &str, host: usize) -> Compiled<()> {
        let domain = domain.to_ascii_lowercase();
        let added = match (domain.as_str(), domain.strip_prefix('*'), domain.strip_suffix('*')) {
            ("*", ..) => self.default.replace(host).is_none(),
            (_, Some(suffix), _) => add_unique(&mut self.suffixes, suffix, host),
            (_, None, Some(prefix)) => add_unique(&mut self.prefixes, prefix, host),
            (exact, None, None) => add_exact(&mut self.exact, exact, host),
        };
        match added {
            true => Ok(()),
            false => Err(CompileError::new(
                "domains",
                format!("`{domain}` belongs to another virtual host already"),
            )),
        }
    }
}

fn add_exact(exact: &mut HashMap<Box<str>, usize>, domain: &str, host: usize) -> bool {
    exact.insert(domain.into(), host).is_none()
}

fn add_unique(list: &mut Vec<(Box<str>, usize)>, text: &str, host: usize) -> bool {
    let known = list.iter().any(|(known, _)| **known == *text);
    list.push((text.into(), host));
    !known
}
