//! Which of two rules goes first, where both fit a request.
//!
//! The API's order: the exact path, then the longest prefix, then a method, the most headers, the most query parameters; then
//! the oldest route, the first in the alphabet, the first rule in it. Regular expressions, whose place the API leaves open,
//! come after prefixes, as in Istio; only what matches everything comes after them.

use std::cmp::Reverse;
use std::sync::Arc;

use model::kinds::gateway_api::{HttpRouteMatch, PathMatchType};

use super::route::Route;

/// The lesser goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    path_type: u8,
    path_length: Reverse<usize>,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: i64,
    namespace: Arc<str>,
    name: Arc<str>,
    rule: usize,
    condition: usize,
}

impl Order {
    /// Of condition number `condition` of rule number `rule` of a route.
    pub(super) fn of(wanted: &HttpRouteMatch, route: &Route<'_>, rule: usize, condition: usize) -> Order {
        let (path_type, length) = match wanted.path.type_ {
            PathMatchType::Exact => (0, wanted.path.value.len()),
            PathMatchType::PathPrefix => (1, wanted.path.value.trim_end_matches('/').len()),
            PathMatchType::RegularExpression => (2, wanted.path.value.len()),
        };
        let other = !wanted.method.is_empty() || !wanted.headers.is_empty() || !wanted.query_params.is_empty();
        let everything = path_type == 1 && length == 0 && !other;
        Order {
            path_type: if everything { 3 } else { path_type },
            path_length: Reverse(length),
            method: Reverse(!wanted.method.is_empty()),
            headers: Reverse(wanted.headers.len()),
            query: Reverse(wanted.query_params.len()),
            created: route.created,
            namespace: Arc::clone(&route.object.namespace),
            name: Arc::clone(&route.object.name),
            rule,
            condition,
        }
    }
}
