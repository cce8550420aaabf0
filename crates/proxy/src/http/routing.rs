//! Matching: host → virtual host → route, as Envoy orders it.
//!
//! Pure and public within the crate: traffic, `GET /why` and tests run the same matcher.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::config::{
    HeaderMatch, HeaderRule, PathMatch, PathRewrite, QueryMatch, Route, RouteMatch, RouteTable, TextMatch, VirtualHost,
};
use crate::head::{Method, RequestHead};

impl RouteTable {
    /// The virtual host for a `:authority`: exact, then the longest `*.suffix`, the longest `prefix.*`, then `*`.
    pub fn virtual_host(&self, authority: &str) -> Option<&VirtualHost> {
        self.virtual_hosts.get(self.virtual_host_index(authority)?)
    }

    /// Where it stands in `virtual_hosts`.
    fn virtual_host_index(&self, authority: &str) -> Option<usize> {
        let host = if self.ignore_port_in_host {
            without_port(authority)
        } else {
            authority
        };
        let host = lower(host);
        let host: &str = &host;
        let index = self.exact.get(host).copied();
        let index = index.or_else(|| {
            let fits = |suffix: &str| host.len() > suffix.len() && host.ends_with(suffix);
            self.suffixes
                .iter()
                .find(|(suffix, _)| fits(suffix))
                .map(|(_, index)| *index)
        });
        let index = index.or_else(|| {
            let fits = |prefix: &str| host.len() > prefix.len() && host.starts_with(prefix);
            self.prefixes
                .iter()
                .find(|(prefix, _)| fits(prefix))
                .map(|(_, index)| *index)
        });
        index.or(self.default)
    }
}

impl VirtualHost {
    /// The first route that matches.
    pub fn route(&self, head: &RequestHead) -> Option<&Arc<Route>> {
        // What every rule asks for is found out once.
        let path = path_of(head);
        self.routes
            .iter()
            .find(|route| route_matches(&route.matches, head, path))
    }
}

/// `host:port` without the port; IPv6 literals keep their brackets.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn lower(text: &str) -> Cow<'_, str> {
    // Without a way out in the middle: many bytes at once.
    let upper = text
        .bytes()
        .fold(false, |upper, byte| upper | byte.is_ascii_uppercase());
    if upper {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

/// Without its query; `None`: the request is a CONNECT, which has none.
fn path_of(head: &RequestHead) -> Option<&str> {
    (head.method != Method::CONNECT).then(|| head.path_only())
}

/// `path` is that of the head: see [`path_of`].
fn route_matches(rule: &RouteMatch, head: &RequestHead, path: Option<&str>) -> bool {
    path_matches(&rule.path, rule.ignore_case, path)
        && (!rule.grpc_only || head.is_grpc())
        && rule.headers.iter().all(|header| header_matches(header, head))
        && rule.query.iter().all(|query| query_matches(query, head.query()))
        && rule
            .fraction
            .is_none_or(|millionths| fastrand::u32(0..1_000_000) < millionths)
}

/// The first condition of a rule that a request does not fulfil, whatever its fraction; `None`: it fulfils all. Apart from what routes requests
/// ([`route_matches`]), which would pay for the reason; a test holds the two together.
pub(crate) fn mismatch<'a>(rule: &'a RouteMatch, head: &RequestHead) -> Option<Mismatch<'a>> {
    if !path_matches(&rule.path, rule.ignore_case, path_of(head)) {
        return Some(Mismatch::Path(&rule.path));
    }
    if rule.grpc_only && !head.is_grpc() {
        return Some(Mismatch::NotGrpc);
    }
    let header = rule.headers.iter().find(|header| !header_matches(header, head));
    let query = || rule.query.iter().find(|query| !query_matches(query, head.query()));
    header.map(Mismatch::Header).or_else(|| query().map(Mismatch::Query))
}

/// A condition that is not fulfilled.
#[derive(Debug)]
pub(crate) enum Mismatch<'a> {
    Path(&'a PathMatch),
    NotGrpc,
    Header(&'a HeaderMatch),
    Query(&'a QueryMatch),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Path(rule) => write!(f, "the path is not {rule}"),
            Mismatch::NotGrpc => f.write_str("it is not gRPC"),
            Mismatch::Header(rule) => write!(f, "header {} is not {}{}", rule.name, not(rule.invert), rule.rule),
            Mismatch::Query(rule) => match &rule.value {
                Some(value) => write!(f, "query parameter {} is not {value}", rule.name),
                None => write!(f, "there is no query parameter {}", rule.name),
            },
        }
    }
}

fn not(inverted: bool) -> &'static str {
    if inverted { "other than " } else { "" }
}

fn path_matches(rule: &PathMatch, ignore_case: bool, path: Option<&str>) -> bool {
    let Some(path) = path else {
        return matches!(rule, PathMatch::Connect);
    };
    match rule {
        PathMatch::Prefix(prefix) => starts_with(path, prefix, ignore_case),
        PathMatch::SegmentPrefix(prefix) => {
            starts_with(path, prefix, ignore_case) && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
        }
        PathMatch::Exact(exact) if ignore_case => path.eq_ignore_ascii_case(exact),
        PathMatch::Exact(exact) => path == &**exact,
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::Connect => false,
    }
}

fn starts_with(text: &str, prefix: &str, ignore_case: bool) -> bool {
    let (text, prefix) = (text.as_bytes(), prefix.as_bytes());
    match text.get(..prefix.len()) {
        Some(start) if ignore_case => start.eq_ignore_ascii_case(prefix),
        // Most rules are told apart by their first bytes: a call that compares them all costs more.
        Some(start) => start.iter().zip(prefix).all(|(one, other)| one == other),
        None => false,
    }
}

/// Whether a request fulfils one header rule. Of several values of one name one is enough, and an inverted rule wants none: values are never
/// joined, or a second one would hide the first.
pub(crate) fn header_matches(rule: &HeaderMatch, head: &RequestHead) -> bool {
    if rule.name.starts_with(':') || &*rule.name == "host" {
        return values_match(rule, head.field(&rule.name).into_iter());
    }
    values_match(rule, head.headers.all(&rule.name).filter_map(|value| value.to_str()))
}

fn values_match<'a>(rule: &HeaderMatch, values: impl Iterator<Item = &'a str>) -> bool {
    let mut values = values.peekable();
    let matched = match &rule.rule {
        HeaderRule::Present(wanted) => (values.peek().is_some() || rule.treat_missing_as_empty) == *wanted,
        _ if values.peek().is_none() => {
            // A missing header matches nothing, not even by inversion (Envoy's rule), except where presence is asked.
            if !rule.treat_missing_as_empty {
                return false;
            }
            value_matches(&rule.rule, "")
        }
        wanted => values.any(|value| value_matches(wanted, value)),
    };
    matched != rule.invert
}

fn value_matches(rule: &HeaderRule, value: &str) -> bool {
    match rule {
        HeaderRule::Present(_) => true,
        HeaderRule::Text(text) => text_matches(text, value),
        HeaderRule::Range(start, end) => value.parse::<i64>().is_ok_and(|n| (*start..*end).contains(&n)),
    }
}

pub(crate) fn text_matches(rule: &TextMatch, value: &str) -> bool {
    let fold = |ignore: bool| if ignore { lower(value) } else { value.into() };
    match rule {
        TextMatch::Exact { text, ignore_case } => fold(*ignore_case) == **text,
        TextMatch::Prefix { text, ignore_case } => fold(*ignore_case).starts_with(&**text),
        TextMatch::Suffix { text, ignore_case } => fold(*ignore_case).ends_with(&**text),
        TextMatch::Contains { text, ignore_case } => fold(*ignore_case).contains(&**text),
        TextMatch::Regex(regex) => regex.is_match(value),
    }
}

/// The first parameter of that name decides.
fn query_matches(rule: &QueryMatch, query: &str) -> bool {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.into_iter().find(|(name, _)| *name == &*rule.name) else {
        return false;
    };
    rule.value.as_ref().is_none_or(|text| text_matches(text, value))
}

/// The path (with query) after a rewrite; `None` if the rewrite changes nothing.
pub(crate) fn rewritten_path(rule: &RouteMatch, rewrite: &PathRewrite, head: &RequestHead) -> Option<String> {
    let path = head.path_only();
    let rest = &head.path.as_str()[path.len()..];
    match rewrite {
        PathRewrite::None => None,
        PathRewrite::Prefix(replacement) => {
            let matched = match &rule.path {
                PathMatch::Prefix(prefix) | PathMatch::SegmentPrefix(prefix) => prefix.len(),
                PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => path.len(),
            };
            Some(format!(
                "{replacement}{}{rest}",
                path.get(matched..).unwrap_or_default()
            ))
        }
        PathRewrite::Regex { pattern, substitution } => {
            Some(format!("{}{rest}", pattern.replace_all(path, &**substitution)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Action, DirectResponse};
    use crate::head::{Headers, Name, Text, Value};
    use crate::telemetry::HttpVersion;

    fn request(method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> RequestHead {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.append(Name::from_static(name), Value::from_static(value));
        }
        RequestHead {
            method: method.parse().unwrap(),
            scheme: "http",
            authority: Text::from("reviews:9080"),
            path: Text::from(path),
            version: HttpVersion::Http11,
            headers: all,
        }
    }

    fn rule(path: PathMatch) -> RouteMatch {
        RouteMatch {
            path,
            ignore_case: false,
            headers: vec![],
            query: vec![],
            grpc_only: false,
            fraction: None,
        }
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.into())
    }

    #[test]
    fn domains_in_order_of_specificity() {
        let host = |name: &str| VirtualHost {
            name: name.into(),
            routes: vec![],
            require_tls: false,
            request_headers: Default::default(),
            response_headers: Default::default(),
            include_attempt_count: false,
        };
        let table = RouteTable {
            virtual_hosts: ["exact", "suffix", "short suffix", "prefix", "any"].map(host).into(),
            exact: [("a.example.com".into(), 0)].into(),
            suffixes: vec![(".example.com".into(), 1), (".com".into(), 2)],
            prefixes: vec![("www.".into(), 3)],
            default: Some(4),
            ..Default::default()
        };
        let cases = [
            ("a.example.com", "exact"),
            ("A.Example.COM", "exact"),
            ("b.example.com", "suffix"),
            (".example.com", "short suffix"),
            ("b.com", "short suffix"),
            ("www.org", "prefix"),
            ("www.", "any"),
            ("a.example.com:80", "any"),
        ];
        for (authority, expected) in cases {
            assert_eq!(&*table.virtual_host(authority).unwrap().name, expected, "{authority}");
        }
        let table = RouteTable {
            ignore_port_in_host: true,
            ..table
        };
        assert_eq!(&*table.virtual_host("a.example.com:80").unwrap().name, "exact");
    }

    #[test]
    fn paths_match_without_their_query() {
        let exact = |text: &str| PathMatch::Exact(text.into());
        let regex = |text: &str| PathMatch::Regex(regex::Regex::new(&format!("^(?:{text})$")).unwrap());
        let segment = |text: &str| PathMatch::SegmentPrefix(text.into());
        let cases = [
            (prefix("/a"), "/abc?x", true),
            (prefix("/a"), "/b", false),
            (segment("/a"), "/abc", false),
            (segment("/a"), "/a/bc", true),
            (segment("/a"), "/a?x=/b", true),
            (exact("/a"), "/a?b=c", true),
            (exact("/a"), "/a/", false),
            (regex("/[0-9]+"), "/42?x", true),
            (regex("/[0-9]+"), "/42x", false),
        ];
        for (path, target, expected) in cases {
            let head = request("GET", target, &[]);
            assert_eq!(
                route_matches(&rule(path.clone()), &head, path_of(&head)),
                expected,
                "{path:?} {target}"
            );
        }
    }

    #[test]
    fn what_does_not_match_has_a_reason_and_what_matches_has_none() {
        let exact = HeaderRule::Text(TextMatch::Exact {
            text: "jason".into(),
            ignore_case: false,
        });
        let header = HeaderMatch {
            name: "end-user".into(),
            rule: exact,
            invert: false,
            treat_missing_as_empty: false,
        };
        let query = QueryMatch {
            name: "q".into(),
            value: None,
        };
        let rules = (0..16).map(|bits: u8| RouteMatch {
            path: prefix(if bits & 1 == 0 { "/" } else { "/a" }),
            ignore_case: false,
            headers: (bits & 2 != 0).then(|| header.clone()).into_iter().collect(),
            query: (bits & 4 != 0).then(|| query.clone()).into_iter().collect(),
            grpc_only: bits & 8 != 0,
            fraction: None,
        });
        let user = ("end-user", "jason");
        let grpc = ("content-type", "application/grpc");
        let heads = [
            request("GET", "/", &[]),
            request("GET", "/a?q", &[user]),
            request("POST", "/a", &[grpc]),
            request("POST", "/a?q=1", &[user, grpc]),
            request("CONNECT", "", &[user, grpc]),
        ];
        for (number, rule) in rules.enumerate() {
            for head in &heads {
                let reason = mismatch(&rule, head);
                let matches = route_matches(&rule, head, path_of(head));
                assert_eq!(matches, reason.is_none(), "rule {number}, {head:?}: {reason:?}");
            }
        }
    }

    #[test]
    fn headers_match_by_any_value_and_inverted() {
        let exact = |text: &str| {
            HeaderRule::Text(TextMatch::Exact {
                text: text.into(),
                ignore_case: false,
            })
        };
        let header = |name: &str, rule, invert| HeaderMatch {
            name: name.into(),
            rule,
            invert,
            treat_missing_as_empty: false,
        };
        let head = request(
            "POST",
            "/",
            &[("end-user", "jason"), ("n", "7"), ("multi", "a"), ("multi", "b")],
        );
        let cases = [
            (header("end-user", exact("jason"), false), true),
            (header("end-user", exact("jason"), true), false),
            (header("missing", exact("x"), true), false),
            (header("missing", HeaderRule::Present(true), false), false),
            (header("missing", HeaderRule::Present(true), true), true),
            (header("missing", HeaderRule::Present(false), false), true),
            (header("n", HeaderRule::Range(5, 8), false), true),
            (header("n", HeaderRule::Range(5, 7), false), false),
            (header("multi", exact("a,b"), false), false),
            (header("multi", exact("b"), false), true),
            (header("multi", exact("b"), true), false),
            (header("multi", exact("c"), true), true),
            (header(":method", exact("POST"), false), true),
            (header(":authority", exact("reviews:9080"), false), true),
        ];
        for (matcher, expected) in cases {
            assert_eq!(header_matches(&matcher, &head), expected, "{matcher:?}");
        }
    }

    #[test]
    fn query_parameters() {
        let text = TextMatch::Exact {
            text: "v".into(),
            ignore_case: false,
        };
        let cases = [
            ("q", Some(text.clone()), "/?q=v", true),
            ("q", Some(text), "/?q=w&q=v", false),
            ("q", None, "/?a=b&q", true),
            ("q", None, "/", false),
        ];
        for (name, value, path, expected) in cases {
            let matcher = QueryMatch {
                name: name.into(),
                value,
            };
            assert_eq!(
                query_matches(&matcher, request("GET", path, &[]).query()),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn rewrites_keep_the_query() {
        let regex = PathRewrite::Regex {
            pattern: regex::Regex::new("^/v([0-9])/(.*)$").unwrap(),
            substitution: "/${2}/version${1}".into(),
        };
        let cases = [
            (
                prefix("/old"),
                PathRewrite::Prefix("/new".into()),
                "/old/x?q",
                Some("/new/x?q"),
            ),
            (
                PathMatch::Exact("/old".into()),
                PathRewrite::Prefix("/new".into()),
                "/old?q",
                Some("/new?q"),
            ),
            (prefix("/"), regex, "/v1/a?b", Some("/a/version1?b")),
            (prefix("/"), PathRewrite::None, "/a", None),
        ];
        for (path, rewrite, target, expected) in cases {
            let got = rewritten_path(&rule(path), &rewrite, &request("GET", target, &[]));
            assert_eq!(got.as_deref(), expected);
        }
    }

    #[test]
    fn the_first_matching_route_wins() {
        let route = |name: &str, path| {
            Arc::new(Route {
                name: name.into(),
                matches: rule(path),
                action: Action::Direct(DirectResponse {
                    status: 200,
                    body: Default::default(),
                }),
                request_headers: Default::default(),
                response_headers: Default::default(),
                origin: "".into(),
                rule: "".into(),
                cors: None,
                fault: None,
                operation: None,
            })
        };
        let host = VirtualHost {
            name: "h".into(),
            routes: vec![route("api", prefix("/api")), route("all", prefix("/"))],
            require_tls: false,
            request_headers: Default::default(),
            response_headers: Default::default(),
            include_attempt_count: false,
        };
        assert_eq!(&*host.route(&request("GET", "/api/x", &[])).unwrap().name, "api");
        assert_eq!(&*host.route(&request("GET", "/other", &[])).unwrap().name, "all");
    }
}
