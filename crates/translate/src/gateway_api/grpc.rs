//! GRPCRoute in the words of HTTPRoute: a call is a POST to `/<service>/<method>`.

use std::borrow::Cow;

use model::kinds::gateway_api::{
    GrpcMethodMatch, GrpcRouteFilter, GrpcRouteMatch, GrpcRouteRule, HttpBackendRef, HttpHeaderMatch, HttpPathMatch,
    HttpRouteFilter, HttpRouteMatch, HttpRouteRule, PathMatchType, ValueMatchType,
};

use super::Input;
use super::http::HttpLike;
use super::route::Route;

/// What a call gets that leads nowhere: gRPC's UNAVAILABLE.
const FAILURE: u16 = 503;

pub(super) fn all(input: &Input) -> impl Iterator<Item = HttpLike<'_>> {
    input.grpc_routes.iter().map(|object| HttpLike {
        route: Route {
            object: &object.reference,
            created: object.created,
            kind: "GRPCRoute",
            parents: &object.spec.parent_refs,
            hostnames: &object.spec.hostnames,
        },
        rules: Cow::Owned(object.spec.rules.iter().map(rule).collect()),
        failure: FAILURE,
    })
}

fn rule(rule: &GrpcRouteRule) -> HttpRouteRule {
    HttpRouteRule {
        name: rule.name.clone(),
        matches: rule.matches.iter().map(condition).collect(),
        filters: rule.filters.iter().map(filter).collect(),
        backend_refs: rule
            .backend_refs
            .iter()
            .map(|backend| HttpBackendRef {
                group: backend.group.clone(),
                kind: backend.kind.clone(),
                name: backend.name.clone(),
                namespace: backend.namespace.clone(),
                port: backend.port,
                weight: backend.weight,
                filters: backend.filters.iter().map(filter).collect(),
            })
            .collect(),
        ..HttpRouteRule::default()
    }
}

fn condition(wanted: &GrpcRouteMatch) -> HttpRouteMatch {
    HttpRouteMatch {
        path: wanted.method.as_ref().map(path).unwrap_or_default(),
        headers: wanted
            .headers
            .iter()
            .map(|header| HttpHeaderMatch {
                type_: header.type_,
                name: header.name.clone(),
                value: header.value.clone(),
            })
            .collect(),
        ..HttpRouteMatch::default()
    }
}

fn path(wanted: &GrpcMethodMatch) -> HttpPathMatch {
    let (service, method) = (wanted.service.as_str(), wanted.method.as_str());
    let regular = wanted.type_ == ValueMatchType::RegularExpression;
    let (type_, value) = match (service, method, regular) {
        ("", "", _) => return HttpPathMatch::default(),
        (service, "", false) => (PathMatchType::PathPrefix, format!("/{service}")),
        ("", method, false) => (
            PathMatchType::RegularExpression,
            format!("/[^/]+/{}", regex::escape(method)),
        ),
        (service, method, false) => (PathMatchType::Exact, format!("/{service}/{method}")),
        (service, method, true) => {
            let any = |text: &str| {
                if text.is_empty() {
                    "[^/]+".to_owned()
                } else {
                    format!("(?:{text})")
                }
            };
            (
                PathMatchType::RegularExpression,
                format!("/{}/{}", any(service), any(method)),
            )
        }
    };
    HttpPathMatch { type_, value }
}

fn filter(filter: &GrpcRouteFilter) -> HttpRouteFilter {
    HttpRouteFilter {
        type_: filter.type_.clone(),
        request_header_modifier: filter.request_header_modifier.clone(),
        response_header_modifier: filter.response_header_modifier.clone(),
        request_mirror: filter.request_mirror.clone(),
        extension_ref: filter.extension_ref.clone(),
        ..HttpRouteFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_paths() {
        let exact = ValueMatchType::Exact;
        let regular = ValueMatchType::RegularExpression;
        let cases = [
            (exact, "a.B", "C", PathMatchType::Exact, "/a.B/C"),
            (exact, "a.B", "", PathMatchType::PathPrefix, "/a.B"),
            (exact, "", "C", PathMatchType::RegularExpression, "/[^/]+/C"),
            (regular, "a|b", "C", PathMatchType::RegularExpression, "/(?:a|b)/(?:C)"),
            (regular, "a.*", "", PathMatchType::RegularExpression, "/(?:a.*)/[^/]+"),
        ];
        for (type_, service, method, expected, value) in cases {
            let wanted = GrpcMethodMatch {
                type_,
                service: service.to_owned(),
                method: method.to_owned(),
            };
            let made = path(&wanted);
            assert_eq!((made.type_, made.value.as_str()), (expected, value), "{wanted:?}");
        }
    }
}
