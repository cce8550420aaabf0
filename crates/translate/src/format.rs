//! Format strings: text in which `%COMMAND(parameter):length%` is replaced.
//!
//! Envoy refuses a whole listener or route configuration for one command it does not know, so commands are checked here
//! against what a stock Envoy understands.

/// Whether a command takes a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
    Never,
    May,
    Must,
}

/// Length of a known command with what follows it, up to and including the closing `%`; `text` begins after the opening one.
pub(crate) fn command(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
    let (_, parameter) = COMMANDS.iter().find(|(name, _)| *name == &text[..end])?;
    let mut at = end;
    let given = text[at..].strip_prefix('(').and_then(|rest| rest.find(')'));
    match (parameter, given) {
        (Parameter::Never, Some(_)) | (Parameter::Must, None | Some(0)) => return None,
        (_, Some(length)) => at += length + 2,
        (_, None) => {}
    }
    end_of(text, at)
}

/// Where the command ends whose name and parameter end at `at`: after a length, if there is one, and the closing `%`.
fn end_of(text: &str, mut at: usize) -> Option<usize> {
    if text[at..].starts_with(':') {
        at += 1 + text[at + 1..]
            .find(|c: char| !c.is_ascii_digit())
            .filter(|digits| *digits > 0)?;
    }
    text[at..].starts_with('%').then_some(at + 1)
}

/// The metadata that resources carry and both data planes can log.
const METADATA: [&str; 4] = [
    "METADATA(ROUTE:istio:config)",
    "METADATA(ROUTE:istio:rule)",
    "METADATA(CLUSTER:istio:config)",
    "METADATA(CLUSTER:istio:subset)",
];

/// As [`command`], of `METADATA`, which is offered to logs alone.
fn metadata(text: &str) -> Option<usize> {
    let known = METADATA.iter().find(|known| text.starts_with(**known))?;
    end_of(text, known.len())
}

/// The first thing in a log's format that begins like a command and is none.
pub(crate) fn first_mistake(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        let length = if rest.starts_with('%') {
            Some(1)
        } else {
            command(rest).or_else(|| metadata(rest))
        };
        match length {
            Some(length) => rest = &rest[length..],
            None => return Some(rest.split(['%', ' ', '"']).next().unwrap_or_default()),
        }
    }
    None
}

/// Those whose parameter is a language of its own (CEL, filter state) are not among them: a mistake in it could not be seen.
const COMMANDS: [(&str, Parameter); 73] = [
    ("ACCESS_LOG_TYPE", Parameter::Never),
    ("BYTES_RECEIVED", Parameter::Never),
    ("BYTES_RETRANSMITTED", Parameter::Never),
    ("BYTES_SENT", Parameter::Never),
    ("CONNECTION_ID", Parameter::Never),
    ("CONNECTION_TERMINATION_DETAILS", Parameter::Never),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Parameter::Never),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Parameter::Never),
    ("DOWNSTREAM_HEADER_BYTES_RECEIVED", Parameter::Never),
    ("DOWNSTREAM_HEADER_BYTES_SENT", Parameter::Never),
    ("DOWNSTREAM_LOCAL_ADDRESS", Parameter::Never),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Parameter::Never),
    ("DOWNSTREAM_LOCAL_DNS_SAN", Parameter::Never),
    ("DOWNSTREAM_LOCAL_PORT", Parameter::Never),
    ("DOWNSTREAM_LOCAL_SUBJECT", Parameter::Never),
    ("DOWNSTREAM_LOCAL_URI_SAN", Parameter::Never),
    ("DOWNSTREAM_PEER_CERT", Parameter::Never),
    ("DOWNSTREAM_PEER_CERT_V_END", Parameter::May),
    ("DOWNSTREAM_PEER_CERT_V_START", Parameter::May),
    ("DOWNSTREAM_PEER_DNS_SAN", Parameter::Never),
    ("DOWNSTREAM_PEER_FINGERPRINT_1", Parameter::Never),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", Parameter::Never),
    ("DOWNSTREAM_PEER_ISSUER", Parameter::Never),
    ("DOWNSTREAM_PEER_SERIAL", Parameter::Never),
    ("DOWNSTREAM_PEER_SUBJECT", Parameter::Never),
    ("DOWNSTREAM_PEER_URI_SAN", Parameter::Never),
    ("DOWNSTREAM_REMOTE_ADDRESS", Parameter::Never),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Parameter::Never),
    ("DOWNSTREAM_REMOTE_PORT", Parameter::Never),
    ("DOWNSTREAM_TLS_CIPHER", Parameter::Never),
    ("DOWNSTREAM_TLS_SESSION_ID", Parameter::Never),
    ("DOWNSTREAM_TLS_VERSION", Parameter::Never),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", Parameter::Never),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", Parameter::Never),
    ("DOWNSTREAM_WIRE_BYTES_SENT", Parameter::Never),
    ("DURATION", Parameter::Never),
    ("DYNAMIC_METADATA", Parameter::Must),
    ("ENVIRONMENT", Parameter::Must),
    ("FILTER_CHAIN_NAME", Parameter::Never),
    ("HOSTNAME", Parameter::Never),
    ("LOCAL_REPLY_BODY", Parameter::Never),
    ("PROTOCOL", Parameter::Never),
    ("REQ", Parameter::Must),
    ("REQUESTED_SERVER_NAME", Parameter::Never),
    ("REQUEST_DURATION", Parameter::Never),
    ("REQUEST_HEADERS_BYTES", Parameter::Never),
    ("REQUEST_TX_DURATION", Parameter::Never),
    ("RESP", Parameter::Must),
    ("RESPONSE_CODE", Parameter::Never),
    ("RESPONSE_CODE_DETAILS", Parameter::Never),
    ("RESPONSE_DURATION", Parameter::Never),
    ("RESPONSE_FLAGS", Parameter::Never),
    ("RESPONSE_FLAGS_LONG", Parameter::Never),
    ("RESPONSE_HEADERS_BYTES", Parameter::Never),
    ("RESPONSE_TRAILERS_BYTES", Parameter::Never),
    ("RESPONSE_TX_DURATION", Parameter::Never),
    ("ROUTE_NAME", Parameter::Never),
    ("START_TIME", Parameter::May),
    ("STREAM_ID", Parameter::Never),
    ("TRACE_ID", Parameter::Never),
    ("TRAILER", Parameter::Must),
    ("UPSTREAM_CLUSTER", Parameter::Never),
    ("UPSTREAM_CLUSTER_RAW", Parameter::Never),
    ("UPSTREAM_CONNECTION_ID", Parameter::Never),
    ("UPSTREAM_HOST", Parameter::Never),
    ("UPSTREAM_LOCAL_ADDRESS", Parameter::Never),
    ("UPSTREAM_PEER_SUBJECT", Parameter::Never),
    ("UPSTREAM_PROTOCOL", Parameter::Never),
    ("UPSTREAM_REMOTE_ADDRESS", Parameter::Never),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Parameter::Never),
    ("UPSTREAM_TLS_VERSION", Parameter::Never),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Parameter::Never),
    ("VIRTUAL_CLUSTER_NAME", Parameter::Never),
];

/// A text with every command in it.
#[cfg(test)]
pub(crate) fn every_command() -> String {
    let command = |(name, parameter): &(&str, Parameter)| match parameter {
        Parameter::Must => format!("%{name}(x)%"),
        _ => format!("%{name}%"),
    };
    COMMANDS.iter().map(command).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_found() {
        let cases = [
            ("plain 100%% %DURATION% %REQ(a?b):9% %START_TIME(%Y-%m)%", None),
            ("%FOO% x", Some("FOO")),
            ("a %REQ% x", Some("REQ")),
            ("%DURATION(x)%", Some("DURATION(x)")),
            ("%DURATION", Some("DURATION")),
            ("50% off", Some("")),
            ("%METADATA(ROUTE:istio:rule)% %METADATA(CLUSTER:istio:subset):9%", None),
            ("%METADATA(ROUTE:istio)%", Some("METADATA(ROUTE:istio)")),
            ("%METADATA(ROUTE:istio:rule):%", Some("METADATA(ROUTE:istio:rule):")),
            ("%METADATA(HOST:istio:rule)%", Some("METADATA(HOST:istio:rule)")),
            ("%METADATA(ROUTE:other:rule)%", Some("METADATA(ROUTE:other:rule)")),
        ];
        for (text, expected) in cases {
            assert_eq!(first_mistake(text), expected, "{text}");
        }
    }
}
