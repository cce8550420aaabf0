//! How requests are told apart when a destination is chosen by hash.

use model::kinds::ConsistentHashLb;

use crate::pb;
use crate::pb::route::route_action::HashPolicy;
use crate::pb::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};

/// `None`: nothing to go by, so requests are balanced without.
pub(super) fn policy(hash: &ConsistentHashLb) -> Option<HashPolicy> {
    let specifier = if let Some(name) = named(&hash.http_header_name) {
        PolicySpecifier::Header(Header {
            header_name: name,
            ..Default::default()
        })
    } else if let Some(cookie) = hash.http_cookie.as_ref().filter(|cookie| !cookie.name.is_empty()) {
        PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            // Without a lifetime Envoy never sets the cookie; zero makes it one for the session.
            ttl: cookie.ttl.and_then(pb::duration),
            attributes: cookie
                .attributes
                .iter()
                .map(|attribute| CookieAttribute {
                    name: attribute.name.clone(),
                    value: attribute.value.clone(),
                })
                .collect(),
        })
    } else if hash.use_source_ip == Some(true) {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
    } else {
        PolicySpecifier::QueryParameter(QueryParameter {
            name: named(&hash.http_query_parameter_name)?,
        })
    };
    Some(HashPolicy {
        terminal: false,
        policy_specifier: Some(specifier),
    })
}

fn named(name: &Option<String>) -> Option<String> {
    name.clone().filter(|name| !name.is_empty())
}
