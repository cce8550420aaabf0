//! HTTPRoute: what its rules ask of a request and what they do with it.

use std::borrow::Cow;

use model::kinds::gateway_api::{
    HttpBackendRef, HttpPathMatch, HttpRouteMatch, HttpRouteRule, PathMatchType, PathModifier, PathModifierType,
    RequestRedirectFilter, UrlRewriteFilter, ValueMatchType,
};
use model::kinds::{
    Headers, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    HttpRouteDestination, RegexRewrite, RuleOrigin, StringMatch,
};

use super::Input;
use super::backend;
use super::filters::{self, Filters};
use super::index::Index;
use super::order::Order;
use super::route::{Problem, Route};
use super::status::Reports;

/// What a request gets that leads nowhere.
const FAILURE: u16 = 500;
const DEFAULT_REDIRECT: u32 = 302;
/// What is tried again besides the statuses that a rule lists.
const RETRY_ON: &str = "connect-failure,refused-stream,reset-before-request,unavailable,cancelled";
const DEFAULT_ATTEMPTS: u32 = 2;

/// An HTTPRoute, or a GRPCRoute in its words.
#[derive(Debug)]
pub(super) struct HttpLike<'a> {
    pub(super) route: Route<'a>,
    pub(super) rules: Cow<'a, [HttpRouteRule]>,
    /// The status of what leads nowhere.
    pub(super) failure: u16,
}

/// Where the rules will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Of the listener; redirects may name it.
    pub(super) port: u32,
    pub(super) tls: bool,
    /// The only port of a Service that is meant; none: all.
    pub(super) only: Option<u32>,
}

/// A rule of one condition, with its place among others.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) order: Order,
    pub(super) rule: HttpRoute,
}

pub(super) fn all(input: &Input) -> impl Iterator<Item = HttpLike<'_>> {
    input.http_routes.iter().map(|object| HttpLike {
        route: Route {
            object: &object.reference,
            created: object.created,
            kind: "HTTPRoute",
            parents: &object.spec.parent_refs,
            hostnames: &object.spec.hostnames,
        },
        rules: Cow::Borrowed(&object.spec.rules),
        failure: FAILURE,
    })
}

impl HttpLike<'_> {
    /// Every rule, once for each of its conditions.
    pub(super) fn candidates(&self, index: &Index<'_>, place: Place) -> Vec<Candidate> {
        let everything = [HttpRouteMatch::default()];
        let mut made = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let base = self.action(index, rule, at);
            let filters = Filters::of(&rule.filters);
            let conditions = if rule.matches.is_empty() {
                &everything[..]
            } else {
                &rule.matches[..]
            };
            for (number, wanted) in conditions.iter().enumerate() {
                let order = Order::of(wanted, &self.route, at, number);
                for mut rule in variants(&base, &filters, wanted, place) {
                    rule.match_[0].port = place.only.unwrap_or(0);
                    made.push(Candidate {
                        order: order.clone(),
                        rule,
                    });
                }
            }
        }
        made
    }

    /// What a rule does, whatever the condition.
    fn action(&self, index: &Index<'_>, rule: &HttpRouteRule, at: usize) -> HttpRoute {
        let filters = Filters::of(&rule.filters);
        let object = self.route.object;
        let mut made = HttpRoute {
            name: format!("{}.{}.{at}", object.namespace, object.name),
            origin: Some(RuleOrigin {
                object: object.clone(),
                rule: if rule.name.is_empty() {
                    at.to_string()
                } else {
                    rule.name.clone()
                },
            }),
            headers: filters.headers.clone(),
            ..HttpRoute::default()
        };
        if filters.unknown.is_some() {
            made.headers = None;
            made.direct_response = Some(self.answer());
            return made;
        }
        made.cors_policy = filters.cors.clone();
        if filters.redirect.is_some() {
            return made;
        }
        made.route = self.destinations(index, &rule.backend_refs);
        if made.route.is_empty() {
            made.direct_response = Some(self.answer());
            return made;
        }
        made.mirrors = filters::mirrors(index, &self.route, &filters.mirrors);
        limits(index, rule, &mut made);
        made
    }

    fn answer(&self) -> HttpDirectResponse {
        HttpDirectResponse {
            status: u32::from(self.failure),
            body: None,
        }
    }

    /// None, if no request gets anywhere.
    fn destinations(&self, index: &Index<'_>, backends: &[HttpBackendRef]) -> Vec<HttpRouteDestination> {
        let mut made: Vec<HttpRouteDestination> = Vec::new();
        for backend in backends {
            let weight = backend.weight.unwrap_or(1);
            if weight == 0 {
                continue;
            }
            let (destination, headers) = match self.backend(index, backend) {
                Ok((destination, headers)) => (destination, headers),
                Err(_) => (backend::missing(self.failure), None),
            };
            made.push(HttpRouteDestination {
                destination,
                weight,
                headers,
                ..HttpRouteDestination::default()
            });
        }
        if made.iter().all(|one| one.destination.missing.is_some()) {
            made.clear();
        }
        made
    }

    fn backend(
        &self,
        index: &Index<'_>,
        backend: &HttpBackendRef,
    ) -> Result<(model::kinds::Destination, Option<Headers>), Problem> {
        let destination = backend::resolve(index, &self.route, &backend.object())?;
        Ok((destination, Filters::of_backend(&backend.filters)?))
    }

    /// What its rules ask for and cannot have.
    pub(super) fn report(&self, index: &Index<'_>, reports: &mut Reports) {
        for rule in self.rules.iter() {
            let filters = Filters::of(&rule.filters);
            let of_backends = rule.backend_refs.iter().map(|backend| &backend.filters);
            let unknown = of_backends.filter_map(|list| Filters::of_backend(list).err());
            for problem in filters.unknown.clone().into_iter().chain(unknown) {
                reports.unsupported(&self.route, problem);
            }
            let backends = rule.backend_refs.iter().map(HttpBackendRef::object);
            let mirrors = filters.mirrors.iter().map(|mirror| mirror.backend_ref.clone());
            for object in backends.chain(mirrors) {
                if let Err(problem) = backend::resolve(index, &self.route, &object) {
                    reports.unresolved(&self.route, problem);
                }
            }
        }
    }
}

/// Timeouts and retries.
fn limits(index: &Index<'_>, rule: &HttpRouteRule, made: &mut HttpRoute) {
    let (request, each) = rule
        .timeouts
        .as_ref()
        .map_or((None, None), |timeouts| (timeouts.request, timeouts.backend_request));
    made.timeout = request;
    let mesh = index.input.mesh.default_http_retry_policy.as_ref();
    let retries = rule.retry.as_ref().map(|retry| HttpRetry {
        attempts: retry.attempts.unwrap_or(DEFAULT_ATTEMPTS),
        retry_on: retry
            .codes
            .iter()
            .fold(RETRY_ON.to_owned(), |text, code| format!("{text},{code}")),
        backoff: retry.backoff,
        ..HttpRetry::default()
    });
    let each = each.filter(|each| !each.is_zero());
    let default = || {
        mesh.cloned().unwrap_or(HttpRetry {
            attempts: DEFAULT_ATTEMPTS,
            ..HttpRetry::default()
        })
    };
    made.retries = retries.or_else(|| each.map(|_| default()));
    match (&mut made.retries, each) {
        // The only attempt is the whole of the request.
        (Some(retries), Some(each)) if retries.attempts == 0 => {
            let whole = request.filter(|request| !request.is_zero());
            made.timeout = Some(whole.map_or(each, |whole| whole.min(each)));
        }
        (Some(retries), Some(each)) => retries.per_try_timeout = Some(each),
        _ => {}
    }
}

/// The rule for one condition: one rule, or two where a prefix is to be replaced by nothing.
fn variants(base: &HttpRoute, filters: &Filters<'_>, wanted: &HttpRouteMatch, place: Place) -> Vec<HttpRoute> {
    let modifier = match (filters.redirect, filters.rewrite) {
        (Some(redirect), _) => redirect.path.as_ref(),
        (None, Some(rewrite)) => rewrite.path.as_ref(),
        (None, None) => None,
    };
    changes(modifier, &wanted.path)
        .into_iter()
        .map(|(uri, change)| {
            let mut rule = base.clone();
            rule.match_ = vec![condition(wanted, uri)];
            if let Some(redirect) = filters.redirect.filter(|_| rule.direct_response.is_none()) {
                rule.redirect = Some(self::redirect(redirect, change, place));
            } else if let Some(rewrite) = filters.rewrite.filter(|_| !rule.route.is_empty()) {
                rule.rewrite = Some(self::rewrite(rewrite, change));
            }
            rule
        })
        .collect()
}

/// What is to become of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    /// All of it, whatever it was; the flag says that the whole of it was matched.
    Whole(String, bool),
    /// The matched prefix.
    Prefix(String),
}

/// The path condition with the change, each time it has to be written down.
fn changes(modifier: Option<&PathModifier>, wanted: &HttpPathMatch) -> Vec<(StringMatch, Change)> {
    let value = wanted.value.clone();
    let uri = match wanted.type_ {
        PathMatchType::Exact => StringMatch::Exact(value),
        PathMatchType::PathPrefix => StringMatch::PathPrefix(value),
        PathMatchType::RegularExpression => StringMatch::Regex(value),
    };
    let Some(modifier) = modifier else {
        return vec![(uri, Change::Nothing)];
    };
    match modifier.type_ {
        PathModifierType::ReplaceFullPath => {
            let path = modifier.replace_full_path.clone().unwrap_or_default();
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let whole = wanted.type_ != PathMatchType::PathPrefix;
            vec![(uri, Change::Whole(path, whole))]
        }
        PathModifierType::ReplacePrefixMatch => {
            let prefix = wanted.value.trim_end_matches('/');
            let replacement = modifier.replace_prefix_match.as_deref().unwrap_or_default();
            let replacement = replacement.trim_end_matches('/');
            match (prefix, replacement) {
                ("", "") => vec![(uri, Change::Nothing)],
                // The prefix is `/`, whose slash has to stay.
                ("", replacement) => vec![(uri, Change::Prefix(format!("{replacement}/")))],
                // `/a` becomes `/`, and `/a/b` becomes `/b`: one slash goes in one case and not in the other.
                (prefix, "") => vec![
                    (StringMatch::Exact(prefix.to_owned()), Change::Prefix("/".to_owned())),
                    (
                        StringMatch::Prefix(format!("{prefix}/")),
                        Change::Prefix("/".to_owned()),
                    ),
                ],
                (_, replacement) => vec![(uri, Change::Prefix(replacement.to_owned()))],
            }
        }
    }
}

fn condition(wanted: &HttpRouteMatch, uri: StringMatch) -> HttpMatchRequest {
    let value = |type_: ValueMatchType, value: &str| match type_ {
        ValueMatchType::Exact => StringMatch::Exact(value.to_owned()),
        ValueMatchType::RegularExpression => StringMatch::Regex(value.to_owned()),
    };
    let mut made = HttpMatchRequest {
        uri: Some(uri),
        method: (!wanted.method.is_empty()).then(|| StringMatch::Exact(wanted.method.clone())),
        ..HttpMatchRequest::default()
    };
    // Of conditions on one name the first counts.
    for header in &wanted.headers {
        made.headers
            .entry(header.name.to_ascii_lowercase())
            .or_insert_with(|| value(header.type_, &header.value));
    }
    for param in &wanted.query_params {
        made.query_params
            .entry(param.name.clone())
            .or_insert_with(|| value(param.type_, &param.value));
    }
    made
}

fn rewrite(filter: &UrlRewriteFilter, change: Change) -> HttpRewrite {
    let mut made = HttpRewrite {
        authority: filter.hostname.clone(),
        ..HttpRewrite::default()
    };
    match change {
        Change::Nothing => {}
        Change::Whole(path, true) | Change::Prefix(path) => made.uri = path,
        Change::Whole(path, false) => {
            made.uri_regex_rewrite = Some(RegexRewrite {
                match_: "^/.*$".to_owned(),
                rewrite: path.replace('\\', "\\\\"),
            });
        }
    }
    made
}

fn redirect(filter: &RequestRedirectFilter, change: Change, place: Place) -> HttpRedirect {
    HttpRedirect {
        uri: match change {
            Change::Nothing => String::new(),
            Change::Whole(path, _) => path,
            Change::Prefix(path) => format!("%PREFIX()%{path}"),
        },
        authority: filter.hostname.clone(),
        port: redirect_port(filter, place),
        scheme: filter.scheme.clone(),
        redirect_code: filter.status_code.unwrap_or(DEFAULT_REDIRECT),
        ..HttpRedirect::default()
    }
}

/// None where it goes without saying: the answer's port is its scheme's own, and the request came without one, too.
fn redirect_port(filter: &RequestRedirectFilter, place: Place) -> Option<u32> {
    let own = |tls: bool| if tls { 443 } else { 80 };
    let tls = match filter.scheme.as_str() {
        "https" => true,
        "http" => false,
        _ => place.tls,
    };
    let port = filter
        .port
        .unwrap_or(if filter.scheme.is_empty() { place.port } else { own(tls) });
    let implied = port == own(tls) && place.port == own(place.tls);
    (!implied).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_its_port_where_the_scheme_does_not() {
        let cases = [
            // scheme, port, listener's port, listener's TLS
            ("", None, 80, false, None),
            ("", None, 8080, false, Some(8080)),
            ("", None, 443, true, None),
            ("https", None, 80, false, None),
            ("https", None, 8080, false, Some(443)),
            ("https", Some(443), 80, false, None),
            ("https", Some(8443), 80, false, Some(8443)),
            ("http", None, 443, true, None),
            ("", Some(80), 80, false, None),
            ("", Some(8080), 80, false, Some(8080)),
            ("", Some(443), 80, false, Some(443)),
        ];
        for (scheme, port, listener, tls, expected) in cases {
            let filter = RequestRedirectFilter {
                scheme: scheme.to_owned(),
                port,
                ..RequestRedirectFilter::default()
            };
            let place = Place {
                port: listener,
                tls,
                only: None,
            };
            assert_eq!(redirect_port(&filter, place), expected, "{filter:?} at {place:?}");
        }
    }
}
