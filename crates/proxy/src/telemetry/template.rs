//! Envoy's `%COMMAND(ARGUMENT):LENGTH%` substitution, parsed once and evaluated per request.
//!
//! Used by access log formats and by values of added headers. Times are UTC.

use std::cell::RefCell;
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::SystemTime;

use time::OffsetDateTime;

use super::record::Record;
use super::wall_clock;
use crate::head::{Headers, RequestHead, ResponseHead};

#[derive(Clone, Debug, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Command { command: Command, limit: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    DownstreamLocal,
    DownstreamRemote,
    UpstreamHost,
    UpstreamLocal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    WithoutPort,
    PortOnly,
}

#[derive(Clone, Debug)]
enum Command {
    StartTime(Option<Box<str>>),
    Request {
        name: RequestField,
        alternative: Option<RequestField>,
    },
    Response {
        name: Box<str>,
        alternative: Option<Box<str>>,
    },
    Address(Address, Shape),
    Word(Word),
    Metadata(Metadata),
    Constant(Box<str>),
}

/// `%METADATA(SOURCE:istio:KEY)%`: which object of a user decided. Of metadata this is all that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metadata {
    /// Reference of the object that made the route, and the rule in it.
    RouteConfig,
    RouteRule,
    /// Reference of the DestinationRule that shaped the cluster, and the subset.
    ClusterConfig,
    ClusterSubset,
}

#[derive(Clone, Debug)]
enum RequestField {
    Method,
    Path,
    Authority,
    Scheme,
    Named(Box<str>),
}

macro_rules! words {
    ($($name:ident $text:literal,)*) => {
        /// Commands without arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Word { $($name,)* }

        impl Word {
            fn parse(text: &str) -> Option<Word> {
                match text { $($text => Some(Word::$name),)* _ => None }
            }
        }
    };
}

words! {
    Protocol "PROTOCOL",
    ResponseCode "RESPONSE_CODE",
    ResponseCodeDetails "RESPONSE_CODE_DETAILS",
    ResponseFlags "RESPONSE_FLAGS",
    ConnectionTermination "CONNECTION_TERMINATION_DETAILS",
    TransportFailure "UPSTREAM_TRANSPORT_FAILURE_REASON",
    BytesReceived "BYTES_RECEIVED",
    BytesSent "BYTES_SENT",
    Duration "DURATION",
    ResponseDuration "RESPONSE_DURATION",
    UpstreamCluster "UPSTREAM_CLUSTER",
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW",
    ServerName "REQUESTED_SERVER_NAME",
    RouteName "ROUTE_NAME",
    FilterChainName "FILTER_CHAIN_NAME",
    GrpcStatus "GRPC_STATUS",
    GrpcStatusNumber "GRPC_STATUS_NUMBER",
    DownstreamPeerUri "DOWNSTREAM_PEER_URI_SAN",
    DownstreamPeerSubject "DOWNSTREAM_PEER_SUBJECT",
    DownstreamLocalUri "DOWNSTREAM_LOCAL_URI_SAN",
    DownstreamTlsVersion "DOWNSTREAM_TLS_VERSION",
    UpstreamPeerUri "UPSTREAM_PEER_URI_SAN",
    ConnectionId "CONNECTION_ID",
    AttemptCount "UPSTREAM_REQUEST_ATTEMPT_COUNT",
}

/// What a template is evaluated on. Parts that do not exist (yet) print as `-`.
pub struct Subject<'a> {
    pub record: &'a Record,
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
}

impl Template {
    /// # Errors
    /// Names the command that is unknown or not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('%') {
            push_text(&mut parts, &rest[..start]);
            rest = &rest[start + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                push_text(&mut parts, "%");
                rest = after;
                continue;
            }
            let end = command_end(rest).ok_or_else(|| format!("`%{rest}` has no closing `%`"))?;
            parts.push(parse_command(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        push_text(&mut parts, rest);
        Ok(Template { parts })
    }

    /// Text without commands, as it stands.
    pub fn literal(text: &str) -> Self {
        Template {
            parts: vec![Part::Text(text.into())],
        }
    }

    /// The text, if there are no commands in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is `%RESPONSE_FLAGS%` alone, whose `-` is a value: no flag.
    pub(super) fn is_flags(&self) -> bool {
        matches!(
            self.parts.as_slice(),
            [Part::Command {
                command: Command::Word(Word::ResponseFlags),
                ..
            }]
        )
    }

    /// Whether it renders as a number (or as `-`) and as nothing else.
    pub(super) fn is_number(&self) -> bool {
        use Word::{
            AttemptCount, BytesReceived, BytesSent, ConnectionId, Duration, GrpcStatusNumber, ResponseCode,
            ResponseDuration,
        };
        let [
            Part::Command {
                command: Command::Word(word),
                limit: None,
            },
        ] = self.parts.as_slice()
        else {
            return false;
        };
        let numbers = [
            AttemptCount,
            BytesReceived,
            BytesSent,
            ConnectionId,
            Duration,
            GrpcStatusNumber,
            ResponseCode,
            ResponseDuration,
        ];
        numbers.contains(word)
    }

    pub fn render(&self, subject: &Subject<'_>, out: &mut Vec<u8>) {
        self.render_with(subject, false, out);
    }

    /// For the value of a header field: what does not exist is nothing there.
    pub fn render_field(&self, subject: &Subject<'_>, out: &mut Vec<u8>) {
        self.render_with(subject, true, out);
    }

    fn render_with(&self, subject: &Subject<'_>, omit: bool, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                // Most are the space or the quotation mark between two commands.
                Part::Text(text) => match text.as_bytes() {
                    [byte] => out.push(*byte),
                    bytes => out.extend_from_slice(bytes),
                },
                Part::Command { command, limit } => {
                    let start = out.len();
                    command.render(subject, out);
                    if omit && out[start..] == *b"-" && !command.can_be_a_dash(subject) {
                        out.truncate(start);
                    }
                    if let Some(limit) = limit {
                        out.truncate(out.len().min(start + limit));
                    }
                }
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => *last = format!("{last}{text}").into(),
        _ => parts.push(Part::Text(text.into())),
    }
}

/// Where the `%` that closes a command is: one inside parentheses (a time format) does not close it.
fn command_end(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    })
}

fn parse_command(text: &str) -> Result<Part, String> {
    let unknown = || format!("`%{text}%` is no command this proxy knows");
    let (name, argument, limit) = match text.split_once('(') {
        Some((name, rest)) => {
            let (argument, tail) = rest.rsplit_once(')').ok_or_else(unknown)?;
            (name, Some(argument), tail.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((name, limit)) => (name, None, Some(limit)),
            None => (text, None, None),
        },
    };
    let limit = limit.map(|n| n.parse::<usize>().map_err(|_| unknown())).transpose()?;
    let command = command(name, argument).ok_or_else(unknown)?;
    Ok(Part::Command { command, limit })
}

fn command(name: &str, argument: Option<&str>) -> Option<Command> {
    let header = |argument: &str| {
        let (name, alternative) = match argument.split_once('?') {
            Some((name, alternative)) => (name, Some(alternative)),
            None => (argument, None),
        };
        (
            name.to_ascii_lowercase().into_boxed_str(),
            alternative.map(|a| a.to_ascii_lowercase().into_boxed_str()),
        )
    };
    match (name, argument) {
        ("START_TIME", format) => Some(Command::StartTime(format.filter(|f| !f.is_empty()).map(Into::into))),
        ("REQ", Some(argument)) => {
            let (name, alternative) = header(argument);
            Some(Command::Request {
                name: name.into(),
                alternative: alternative.map(RequestField::from),
            })
        }
        ("RESP", Some(argument)) => {
            let (name, alternative) = header(argument);
            Some(Command::Response { name, alternative })
        }
        ("METADATA", Some(path)) => Metadata::parse(path).map(Command::Metadata),
        ("HOSTNAME", None) => Some(Command::Constant(hostname().into())),
        ("ENVIRONMENT", Some(name)) => Some(Command::Constant(
            std::env::var(name).unwrap_or_else(|_| "-".into()).into(),
        )),
        (name, None) => address(name).or_else(|| Word::parse(name).map(Command::Word)),
        _ => None,
    }
}

fn address(name: &str) -> Option<Command> {
    let shapes = [("_WITHOUT_PORT", Shape::WithoutPort), ("_PORT", Shape::PortOnly)];
    let (base, shape) = shapes
        .iter()
        .find_map(|(end, shape)| Some((name.strip_suffix(end)?, *shape)))
        .unwrap_or((name, Shape::Whole));
    let address = match base {
        "DOWNSTREAM_LOCAL_ADDRESS" | "DOWNSTREAM_LOCAL" => Address::DownstreamLocal,
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" | "DOWNSTREAM_REMOTE" => {
            Address::DownstreamRemote
        }
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Address::UpstreamHost,
        "UPSTREAM_LOCAL_ADDRESS" => Address::UpstreamLocal,
        _ => return None,
    };
    Some(Command::Address(address, shape))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "-".into(), |name| name.trim().to_owned())
}

impl Command {
    /// Whether `-` is a value of it, and does not stand for what is missing.
    fn can_be_a_dash(&self, subject: &Subject<'_>) -> bool {
        match self {
            Command::Request { name, alternative } => {
                let value = |name: &RequestField| name.of(subject.request?);
                value(name).or_else(|| value(alternative.as_ref()?)).is_some()
            }
            Command::Response { name, alternative } => {
                let response = |name: &str| subject.response.and_then(|head| head.headers.text(name));
                response(name).or_else(|| response(alternative.as_deref()?)).is_some()
            }
            Command::Word(word) => *word == Word::ResponseFlags,
            Command::StartTime(_) | Command::Constant(_) => true,
            Command::Address(..) | Command::Metadata(_) => false,
        }
    }

    fn render(&self, subject: &Subject<'_>, out: &mut Vec<u8>) {
        match self {
            Command::StartTime(format) => start_time(subject.record, format.as_deref(), out),
            Command::Request { name, alternative } => {
                let value = |name: &RequestField| name.of(subject.request?);
                put(value(name).or_else(|| value(alternative.as_ref()?)), out);
            }
            Command::Response { name, alternative } => {
                let value = |name: &str| printable(&subject.response?.headers, name);
                put(value(name).or_else(|| value(alternative.as_deref()?)), out);
            }
            Command::Address(which, shape) => address_text(subject.record, *which, *shape, out),
            Command::Word(word) => word.render(subject.record, out),
            Command::Metadata(which) => text(which.of(subject.record), out),
            Command::Constant(value) => out.extend_from_slice(value.as_bytes()),
        }
    }
}

impl From<Box<str>> for RequestField {
    /// From its name in lower case.
    fn from(name: Box<str>) -> Self {
        match &*name {
            ":method" => RequestField::Method,
            ":path" => RequestField::Path,
            ":authority" | "host" => RequestField::Authority,
            ":scheme" => RequestField::Scheme,
            _ => RequestField::Named(name),
        }
    }
}

impl RequestField {
    fn of<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        match self {
            RequestField::Method => Some(head.method.as_str().as_bytes()),
            RequestField::Path => Some(head.path.as_bytes()).filter(|path| !path.is_empty()),
            RequestField::Authority => Some(head.authority.as_bytes()).filter(|authority| !authority.is_empty()),
            RequestField::Scheme => Some(head.scheme.as_bytes()),
            RequestField::Named(name) => printable(&head.headers, name),
        }
    }
}

/// What can be printed as it is: the first value of that name, if it is ASCII.
fn printable<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let value = headers.get(name)?.as_bytes();
    value.is_ascii().then_some(value)
}

impl Metadata {
    fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "ROUTE:istio:config" => Metadata::RouteConfig,
            "ROUTE:istio:rule" => Metadata::RouteRule,
            "CLUSTER:istio:config" => Metadata::ClusterConfig,
            "CLUSTER:istio:subset" => Metadata::ClusterSubset,
            _ => return None,
        })
    }

    fn of(self, record: &Record) -> Option<&str> {
        let (route, cluster) = (record.route.as_ref(), record.upstream.cluster.as_ref());
        let text = match self {
            Metadata::RouteConfig => &route?.origin,
            Metadata::RouteRule => &route?.rule,
            Metadata::ClusterConfig => &cluster?.origin,
            Metadata::ClusterSubset => &cluster?.subset,
        };
        non_empty(text)
    }
}

impl Word {
    fn render(self, record: &Record, out: &mut Vec<u8>) {
        let connection = &record.connection;
        let peer = connection.tls.as_ref().and_then(|tls| tls.peer.as_ref());
        match self {
            Word::Protocol => text(record.protocol.map(|p| p.text()), out),
            Word::ResponseCode => number(record.status.into(), out),
            Word::ResponseCodeDetails => text(non_empty(&record.details), out),
            Word::ResponseFlags => text(Some(&record.flags.text()), out),
            Word::ConnectionTermination => text(record.termination_details.as_deref(), out),
            Word::TransportFailure => text(record.upstream.transport_failure.as_deref(), out),
            Word::BytesReceived => number(record.bytes_received, out),
            Word::BytesSent => number(record.bytes_sent, out),
            Word::Duration => number(millis(record.duration), out),
            Word::ResponseDuration => match record.upstream_service_time {
                Some(time) => number(millis(time), out),
                None => out.push(b'-'),
            },
            Word::UpstreamCluster | Word::UpstreamClusterRaw => text(record.upstream.cluster_name(), out),
            Word::ServerName => text(connection.server_name.as_deref(), out),
            Word::RouteName => text(record.route.as_ref().and_then(|route| non_empty(&route.name)), out),
            Word::FilterChainName => text(connection.chain.as_ref().and_then(|chain| non_empty(&chain.name)), out),
            Word::GrpcStatus | Word::GrpcStatusNumber => match record.grpc_status {
                Some(code) => number(code.into(), out),
                None => out.push(b'-'),
            },
            Word::DownstreamPeerUri => text(connection.peer_principal(), out),
            Word::DownstreamPeerSubject => text(peer.and_then(|p| non_empty(&p.subject)), out),
            Word::DownstreamLocalUri => text(connection.tls.as_ref().and_then(|tls| tls.local_uri.as_deref()), out),
            Word::DownstreamTlsVersion => text(connection.tls.as_ref().map(|tls| tls.version), out),
            Word::UpstreamPeerUri => text(record.upstream.peer_principal.as_deref(), out),
            Word::ConnectionId => number(connection.id, out),
            Word::AttemptCount => number(record.upstream.attempts.into(), out),
        }
    }
}

fn text(value: Option<&str>, out: &mut Vec<u8>) {
    put(value.map(str::as_bytes), out);
}

fn put(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => out.extend_from_slice(value),
        None => out.push(b'-'),
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn number(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn address_text(record: &Record, which: Address, shape: Shape, out: &mut Vec<u8>) {
    let socket = match which {
        Address::DownstreamLocal => Some(record.connection.local),
        Address::DownstreamRemote => Some(record.connection.remote),
        Address::UpstreamLocal => record.upstream.local,
        Address::UpstreamHost => {
            return match (&record.upstream.endpoint, shape) {
                (Some(endpoint), Shape::Whole) => out.extend_from_slice(endpoint.address_text.as_bytes()),
                (Some(endpoint), _) => socket_text(endpoint.address_text.parse().ok(), shape, out),
                (None, _) => out.push(b'-'),
            };
        }
    };
    socket_text(socket, shape, out);
}

fn socket_text(socket: Option<SocketAddr>, shape: Shape, out: &mut Vec<u8>) {
    // Writing into a vector cannot fail.
    let _ = match (socket, shape) {
        (None, _) => out.write_all(b"-"),
        (Some(SocketAddr::V4(socket)), Shape::Whole) => {
            whole_v4(socket, out);
            Ok(())
        }
        (Some(socket), Shape::Whole) => write!(out, "{socket}"),
        (Some(socket), Shape::WithoutPort) => write!(out, "{}", socket.ip()),
        (Some(socket), Shape::PortOnly) => write!(out, "{}", socket.port()),
    };
}

/// As long as any address and port.
const V4_TEXT: usize = "255.255.255.255:65535".len();
/// Addresses whose text is kept: by their ports, which tell connections apart.
const V4_KEPT: usize = 64;

thread_local! {
    /// The addresses that were written last, and how: a connection's requests all have the same.
    static V4: RefCell<[Option<(SocketAddrV4, ArrayText)>; V4_KEPT]> = const { RefCell::new([None; V4_KEPT]) };
}

/// Text and its length.
type ArrayText = ([u8; V4_TEXT], usize);

fn whole_v4(socket: SocketAddrV4, out: &mut Vec<u8>) {
    V4.with_borrow_mut(|kept| {
        let place = &mut kept[usize::from(socket.port()) % V4_KEPT];
        let (text, length) = match place {
            Some((known, text)) if *known == socket => *text,
            _ => place.insert((socket, v4_text(socket))).1,
        };
        out.extend_from_slice(&text[..length]);
    });
}

fn v4_text(socket: SocketAddrV4) -> ArrayText {
    let mut text = [0; V4_TEXT];
    let mut rest = text.as_mut_slice();
    // There is room for the longest.
    let _ = write!(rest, "{socket}");
    let length = V4_TEXT - rest.len();
    (text, length)
}

/// RFC 3339 with milliseconds, or the common `strftime` letters.
fn start_time(record: &Record, format: Option<&str>, out: &mut Vec<u8>) {
    let Some(format) = format else {
        return wall_clock::write(record.started_at(), out);
    };
    let time = OffsetDateTime::from(SystemTime::UNIX_EPOCH + record.started_at());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        let letter = if c == '%' { chars.next() } else { None };
        let _ = match letter {
            None => write!(out, "{c}"),
            Some('Y') => write!(out, "{}", time.year()),
            Some('m') => write!(out, "{:02}", u8::from(time.month())),
            Some('d') => write!(out, "{:02}", time.day()),
            Some('H') => write!(out, "{:02}", time.hour()),
            Some('M') => write!(out, "{:02}", time.minute()),
            Some('S') => write!(out, "{:02}", time.second()),
            Some('s') => write!(out, "{}", time.unix_timestamp()),
            Some('f' | '3') => write!(out, "{:03}", time.millisecond()),
            Some('T') => write!(out, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
            Some('F') => write!(out, "{}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day()),
            Some('%') => write!(out, "%"),
            Some(other) => write!(out, "%{other}"),
        };
    }
}

#[cfg(test)]
mod tests;
