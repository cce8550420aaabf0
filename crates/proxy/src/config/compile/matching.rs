//! What a route matches.

use std::mem::take;

use proto::envoy::envoy::config::route::v3::{RouteMatch as Message, route_match::PathSpecifier};

use super::error::{CompileError, Compiled, Within, each, exhausted};
use super::headers::{header_match, query_match};
use super::text::whole;
use super::value::{flag, runtime_fraction};
use crate::config::{PathMatch, RouteMatch};

pub(super) fn route_match(mut message: Message) -> Compiled<RouteMatch> {
    let path = match take(&mut message.path_specifier) {
        Some(PathSpecifier::Prefix(prefix)) => PathMatch::Prefix(prefix.into()),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path.into()),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => PathMatch::SegmentPrefix(prefix.into()),
        Some(PathSpecifier::SafeRegex(regex)) => PathMatch::Regex(whole(&regex).within("safe_regex")?),
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatch::Connect,
        Some(PathSpecifier::PathMatchPolicy(_)) => return Err(CompileError::unsupported("path_match_policy")),
        None => return Err(CompileError::missing("path_specifier")),
    };
    let compiled = RouteMatch {
        path,
        ignore_case: !flag(take(&mut message.case_sensitive), true),
        headers: each("headers", take(&mut message.headers), header_match)?,
        query: each("query_parameters", take(&mut message.query_parameters), query_match)?,
        grpc_only: take(&mut message.grpc).is_some(),
        fraction: runtime_fraction(take(&mut message.runtime_fraction)),
    };
    exhausted(&message)?;
    Ok(compiled)
}
