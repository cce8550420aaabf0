//! Route tables: plain data, compiled from a `RouteConfiguration`. How they are matched is in `http::routing`.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use regex::Regex;

use super::ClusterSlot;
use crate::head::OwnedName;
use crate::trace::Operation;

/// All virtual hosts of one RDS name.
#[derive(Default)]
pub struct RouteTable {
    pub name: Arc<str>,
    pub virtual_hosts: Vec<VirtualHost>,
    pub exact: ExactDomains,
    /// `*.example.com` as `.example.com`, longest first.
    pub suffixes: Vec<(Box<str>, usize)>,
    /// `example.*` as `example.`, longest first.
    pub prefixes: Vec<(Box<str>, usize)>,
    /// The virtual host of `*`.
    pub default: Option<usize>,
    pub ignore_port_in_host: bool,
    pub request_headers: HeaderOperations,
    pub response_headers: HeaderOperations,
    /// Apply the most specific header operations last, so that they win.
    pub most_specific_wins: bool,
    /// Hash of the resource.
    pub version: u64,
}

/// Exact domains, lower case, to an index into [`RouteTable::virtual_hosts`]. Shared by versions of a table that have the same ones.
#[derive(Clone, Debug, Default)]
pub struct ExactDomains(pub(in crate::config) Arc<Domains>);

/// Looked into by each request, filled by configuration alone: a client that tries names meets a seed that it does not know.
pub(in crate::config) type Domains = HashMap<Box<str>, usize, RandomState>;

impl Deref for ExactDomains {
    type Target = HashMap<Box<str>, usize, RandomState>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<const N: usize> From<[(Box<str>, usize); N]> for ExactDomains {
    fn from(domains: [(Box<str>, usize); N]) -> Self {
        ExactDomains(Arc::new(domains.into_iter().collect()))
    }
}

#[derive(Clone)]
pub struct VirtualHost {
    pub name: Arc<str>,
    pub routes: Vec<Arc<Route>>,
    pub require_tls: bool,
    pub request_headers: HeaderOperations,
    pub response_headers: HeaderOperations,
    pub include_attempt_count: bool,
}

pub struct Route {
    pub name: Arc<str>,
    pub matches: RouteMatch,
    pub action: Action,
    pub request_headers: HeaderOperations,
    pub response_headers: HeaderOperations,
    /// `istio.config` metadata: which object, and which of its rules, made this route. Empty if the control plane says nothing.
    pub origin: Arc<str>,
    pub rule: Arc<str>,
    /// Of the route, else of its virtual host.
    pub cors: Option<Arc<CorsPolicy>>,
    pub fault: Option<Arc<FaultPolicy>>,
    /// What spans of its requests are called.
    pub operation: Option<Operation>,
}

pub struct RouteMatch {
    pub path: PathMatch,
    pub ignore_case: bool,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub grpc_only: bool,
    /// Runtime fraction in millionths; `None`: always.
    pub fraction: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum PathMatch {
    Prefix(Box<str>),
    /// `path_separated_prefix`: whole segments.
    SegmentPrefix(Box<str>),
    Exact(Box<str>),
    /// Anchored at both ends.
    Regex(Regex),
    /// CONNECT requests.
    Connect,
}

#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Lower case; `:method`, `:authority`, `:scheme` and `:path` are pseudo headers.
    pub name: Box<str>,
    pub rule: HeaderRule,
    pub invert: bool,
    pub treat_missing_as_empty: bool,
}

#[derive(Clone, Debug)]
pub enum HeaderRule {
    Present(bool),
    Text(TextMatch),
    /// A decimal number in `[start, end)`.
    Range(i64, i64),
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Prefix(text) => write!(f, "{text}*"),
            PathMatch::SegmentPrefix(text) => write!(f, "{text} or below {text}/"),
            PathMatch::Exact(text) => f.write_str(text),
            PathMatch::Regex(regex) => write!(f, "like {}", regex.as_str()),
            PathMatch::Connect => f.write_str("that of a CONNECT request"),
        }
    }
}

impl fmt::Display for HeaderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderRule::Present(true) => f.write_str("present"),
            HeaderRule::Present(false) => f.write_str("absent"),
            HeaderRule::Text(text) => text.fmt(f),
            HeaderRule::Range(start, end) => write!(f, "a number from {start} to below {end}"),
        }
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextMatch::Exact { text, .. } => write!(f, "{text:?}"),
            TextMatch::Prefix { text, .. } => write!(f, "{text:?}*"),
            TextMatch::Suffix { text, .. } => write!(f, "*{text:?}"),
            TextMatch::Contains { text, .. } => write!(f, "*{text:?}*"),
            TextMatch::Regex(regex) => write!(f, "like {}", regex.as_str()),
        }
    }
}

/// A string matcher; with `ignore_case` the pattern is stored in lower case.
#[derive(Clone, Debug)]
pub enum TextMatch {
    Exact {
        text: Box<str>,
        ignore_case: bool,
    },
    Prefix {
        text: Box<str>,
        ignore_case: bool,
    },
    Suffix {
        text: Box<str>,
        ignore_case: bool,
    },
    Contains {
        text: Box<str>,
        ignore_case: bool,
    },
    /// Anchored at both ends.
    Regex(Regex),
}

#[derive(Clone, Debug)]
pub struct QueryMatch {
    pub name: Box<str>,
    /// `None`: present is enough.
    pub value: Option<TextMatch>,
}

pub enum Action {
    Forward(Box<RouteAction>),
    Redirect(Redirect),
    Direct(DirectResponse),
}

pub struct RouteAction {
    pub cluster: ClusterChoice,
    pub rewrite: PathRewrite,
    /// Replaces `:authority`.
    pub host_rewrite: Option<Box<str>>,
    pub auto_host_rewrite: bool,
    pub append_x_forwarded_host: bool,
    /// Whole request; `None`: no limit. (Envoy's default of 15 s is filled in when compiling.)
    pub timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    /// Upper bound taken from a `grpc-timeout` header; `None`: the header is ignored. Zero: no bound.
    pub max_grpc_timeout: Option<Duration>,
    pub retry: Option<Arc<RetryPolicy>>,
    pub mirrors: Vec<MirrorPolicy>,
    pub hash: Vec<HashPolicy>,
    /// A CONNECT ends here: its bytes go on to the cluster without it.
    pub terminates_connect: bool,
    /// Per route; `None`: as the connection manager says. Lower case types to enabled.
    pub upgrades: Vec<(Arc<str>, bool)>,
    pub cluster_not_found_status: u16,
}

pub enum ClusterChoice {
    One(Arc<ClusterSlot>),
    Weighted(Vec<WeightedCluster>),
    /// By the value of a request header.
    Header(Box<str>),
}

pub struct WeightedCluster {
    pub slot: Arc<ClusterSlot>,
    pub weight: u32,
    pub request_headers: HeaderOperations,
    pub response_headers: HeaderOperations,
    pub host_rewrite: Option<Box<str>>,
}

#[derive(Clone, Debug, Default)]
pub enum PathRewrite {
    #[default]
    None,
    /// The matched prefix (or the whole matched path) is replaced.
    Prefix(Box<str>),
    Regex {
        pattern: Regex,
        substitution: Box<str>,
    },
}

pub struct Redirect {
    pub https: bool,
    pub scheme: Option<Box<str>>,
    pub host: Option<Box<str>>,
    pub port: Option<u16>,
    pub path: Option<Box<str>>,
    pub rewrite: PathRewrite,
    pub strip_query: bool,
    pub status: u16,
}

pub struct DirectResponse {
    pub status: u16,
    pub body: bytes::Bytes,
}

/// Operations on one direction's headers, in order: remove first, then set and append.
#[derive(Clone, Debug, Default)]
pub struct HeaderOperations {
    pub remove: Vec<OwnedName>,
    pub set: Vec<HeaderOperation>,
}

impl HeaderOperations {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// What they touch, in the words of people: `-name` is removed.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let removed = self.remove.iter().map(|name| format!("-{}", name.as_str()));
        let set = self.set.iter().map(|operation| match &operation.target {
            HeaderTarget::Authority => ":authority".to_owned(),
            HeaderTarget::Path => ":path".to_owned(),
            HeaderTarget::Field(name) => name.as_str().to_owned(),
        });
        removed.chain(set)
    }
}

#[derive(Clone, Debug)]
pub struct HeaderOperation {
    pub target: HeaderTarget,
    /// With Envoy's `%COMMAND%` operators parsed.
    pub value: crate::telemetry::Template,
    pub action: HeaderAction,
    pub keep_empty: bool,
}

/// What an operation sets. Authority and path are no fields of a head, though a configuration may name them like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTarget {
    Authority,
    Path,
    Field(OwnedName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfPresent,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    pub on: RetryOn,
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    pub per_try_idle_timeout: Option<Duration>,
    /// Never the same host twice while others are left (`previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often another host is drawn for that.
    pub host_selection_attempts: u32,
    pub statuses: Vec<u16>,
    pub base_interval: Duration,
    pub max_interval: Duration,
}

/// The conditions of `retry_on`, one flag each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryOn {
    pub server_error: bool,
    pub gateway_error: bool,
    pub reset: bool,
    pub reset_before_request: bool,
    pub connect_failure: bool,
    pub refused_stream: bool,
    pub retriable_4xx: bool,
    pub retriable_status_codes: bool,
    pub retriable_headers: bool,
    pub envoy_ratelimited: bool,
    pub http3_post_connect_failure: bool,
    pub grpc_cancelled: bool,
    pub grpc_deadline_exceeded: bool,
    pub grpc_internal: bool,
    pub grpc_resource_exhausted: bool,
    pub grpc_unavailable: bool,
}

impl RetryOn {
    /// Adds one word of a `retry_on` list; false if the word is unknown.
    pub fn add(&mut self, word: &str) -> bool {
        let known = self.flags().into_iter().find(|(name, _)| *name == word);
        known.map(|(_, flag)| *flag = true).is_some()
    }

    fn flags(&mut self) -> [(&'static str, &mut bool); 16] {
        [
            ("5xx", &mut self.server_error),
            ("gateway-error", &mut self.gateway_error),
            ("reset", &mut self.reset),
            ("reset-before-request", &mut self.reset_before_request),
            ("connect-failure", &mut self.connect_failure),
            ("refused-stream", &mut self.refused_stream),
            ("retriable-4xx", &mut self.retriable_4xx),
            ("retriable-status-codes", &mut self.retriable_status_codes),
            ("retriable-headers", &mut self.retriable_headers),
            ("envoy-ratelimited", &mut self.envoy_ratelimited),
            ("http3-post-connect-failure", &mut self.http3_post_connect_failure),
            ("cancelled", &mut self.grpc_cancelled),
            ("deadline-exceeded", &mut self.grpc_deadline_exceeded),
            ("internal", &mut self.grpc_internal),
            ("resource-exhausted", &mut self.grpc_resource_exhausted),
            ("unavailable", &mut self.grpc_unavailable),
        ]
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut flags = *self;
        let words = flags
            .flags()
            .into_iter()
            .filter(|(_, flag)| **flag)
            .map(|(word, _)| word);
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

pub struct MirrorPolicy {
    pub slot: Arc<ClusterSlot>,
    /// Millionths.
    pub fraction: u32,
    /// `disable_shadow_host_suffix_append`.
    pub keep_host: bool,
}

#[derive(Clone, Debug)]
pub enum HashPolicy {
    Header {
        name: Box<str>,
        terminal: bool,
    },
    Cookie {
        name: Box<str>,
        ttl: Option<Duration>,
        path: Box<str>,
        /// As they stand in the cookie that is set: `; SameSite=Strict`.
        attributes: Box<str>,
        terminal: bool,
    },
    SourceIp {
        terminal: bool,
    },
    Query {
        name: Box<str>,
        terminal: bool,
    },
}

pub struct CorsPolicy {
    pub allow_origins: Vec<TextMatch>,
    pub allow_methods: Box<str>,
    pub allow_headers: Box<str>,
    pub expose_headers: Box<str>,
    pub max_age: Box<str>,
    pub allow_credentials: bool,
    /// `false` forwards preflights whose origin is not allowed.
    pub forward_not_matching_preflights: bool,
    pub enabled: bool,
}

/// Fractions are millionths.
pub struct FaultPolicy {
    pub delay: Option<(Duration, u32)>,
    pub abort: Option<(FaultAbort, u32)>,
    pub headers: Vec<HeaderMatch>,
    /// Only for these upstream clusters; empty: all.
    pub upstream_cluster: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAbort {
    Http(u16),
    Grpc(u32),
}
