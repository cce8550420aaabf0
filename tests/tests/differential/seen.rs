//! An answer, what servers saw and what the log says, as lines that can be compared; what can never be equal is made so here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::answer::Answer;
use crate::backend::Record;
use crate::http1::Fields;

/// Differences that are meant to be, wherever they appear.
pub const TOLERATED: &[(&str, &str)] = &[
    ("header date", "a clock"),
    (
        "header x-envoy-upstream-service-time",
        "a duration; that it is there is compared",
    ),
    (
        "x-request-id",
        "random where the caller gives none; that it is there is compared",
    ),
    (
        "x-envoy-peer-metadata, x-envoy-peer-metadata-id",
        "workload labels are exchanged by our proxy only: they feed the istio_* metrics, which are ours alone",
    ),
    (
        "XFCC `Hash=`",
        "of a certificate that is made for each start; the rest is compared",
    ),
    (
        "order of fields",
        "fields of different names have no order (RFC 9110 5.3); values of one name keep theirs, which is compared",
    ),
    (
        "request header content-length: 0",
        "Envoy sends it with methods that have no body (RFC 9110 8.6 leaves it out), ours where the caller did",
    ),
    (
        "copies: x-envoy-internal, x-forwarded-for, x-envoy-attempt-count, framing",
        "Envoy's own client signs copies with its node's address and sends them in chunks; ours sends what the first server got",
    ),
    ("reason phrase", "has no meaning (RFC 9110 15.1)"),
    (
        "log upstream_cluster with NC",
        "our log names the cluster that is missing: it is what the reader has to look for",
    ),
    (
        "text of transport failures",
        "words of another TLS library; the flag and the reason before it are compared",
    ),
    (
        "addresses of the proxies, ephemeral ports",
        "the two stand in different places",
    ),
];

/// What is compared: by what it is called.
pub type Seen = BTreeMap<String, String>;

const DROPPED: [&str; 2] = ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"];
const OF_COPIES: [&str; 5] = [
    "x-envoy-internal",
    "x-forwarded-for",
    "x-envoy-attempt-count",
    "content-length",
    "transfer-encoding",
];
const VARYING: [&str; 2] = ["date", "x-envoy-upstream-service-time"];

/// Fields of the access log that are compared.
pub const LOG_FIELDS: [&str; 16] = [
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "x_forwarded_for",
    "authority",
    "upstream_cluster",
    "requested_server_name",
    "route_name",
    "filter_chain",
    "rule",
];

/// Makes texts of the two planes comparable.
pub struct Normal {
    /// Addresses of this plane's proxies.
    pub own: BTreeSet<String>,
    /// The name of the question.
    pub question: String,
}

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(127\.\d+\.\d+\.\d+)(:\d+)?").expect("a good expression"));
static HASH: LazyLock<Regex> = LazyLock::new(|| Regex::new("Hash=[0-9a-f]+").expect("a good expression"));
static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a good expression")
});
/// In answers that are compared as bytes.
static CLOCKS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"((?:date|x-envoy-upstream-service-time): )[^\r]*").expect("a good expression"));
static FAILURE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(transport failure reason: )[^|}]*").expect("a good expression"));

impl Normal {
    pub fn text(&self, text: &str) -> String {
        let text = ADDRESS.replace_all(text, |found: &regex::Captures<'_>| {
            let address = if self.own.contains(&found[1]) {
                "$PROXY"
            } else {
                &found[1]
            };
            match found.get(2) {
                Some(port) if port.as_str().len() > 5 => format!("{address}:*"),
                Some(port) => format!("{address}{}", port.as_str()),
                None => address.to_owned(),
            }
        });
        let text = HASH.replace_all(&text, "Hash=*");
        let text = UUID.replace_all(&text, "<uuid>");
        let text = FAILURE.replace_all(&text, "${1}*");
        let text = CLOCKS.replace_all(&text, "${1}*");
        text.replace(&self.question, "<question>")
    }

    fn fields(&self, prefix: &str, fields: &Fields, seen: &mut Seen) {
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in fields {
            let name = name.to_ascii_lowercase();
            if DROPPED.contains(&name.as_str()) {
                continue;
            }
            let value = if VARYING.contains(&name.as_str()) {
                "*".to_owned()
            } else {
                self.text(value)
            };
            by_name.entry(name).or_default().push(value);
        }
        for (name, values) in by_name {
            seen.insert(format!("{prefix} {name}"), values.join(" | "));
        }
    }

    fn body(&self, bytes: &[u8]) -> String {
        if bytes.len() > 400 {
            return format!("{} bytes", bytes.len());
        }
        self.text(&String::from_utf8_lossy(bytes))
    }

    pub fn answer(&self, answer: &Answer) -> Seen {
        let mut seen = Seen::new();
        let mut add = |key: &str, value: String| {
            seen.insert(key.to_owned(), value);
        };
        add(
            "status",
            answer
                .status
                .map_or_else(|| "none".to_owned(), |status| status.to_string()),
        );
        if answer.failure.is_some() {
            // How a connection ends is for the client's stack to say; that there was no answer is what counts.
            add("answer", "none".to_owned());
            return seen;
        }
        add("version", answer.version.to_owned());
        add("body", self.body(&answer.body));
        add("body broken off", answer.broken.to_string());
        add("interim answers", format!("{:?}", answer.interim));
        if !answer.switched.is_empty() {
            add("after the switch", self.body(&answer.switched));
        }
        if let Some(alpn) = &answer.alpn {
            add("alpn", alpn.clone());
        }
        if let Some(certificate) = &answer.certificate {
            add("certificate", certificate.clone());
        }
        self.fields("header", &answer.fields, &mut seen);
        self.fields("trailer", &answer.trailers, &mut seen);
        seen
    }

    /// What servers saw, the first asked first, copies last.
    pub fn records(&self, records: &[Record], names: bool, seen: &mut Seen) {
        seen.insert("servers asked".to_owned(), records.len().to_string());
        for (n, record) in records.iter().enumerate() {
            let who = format!("request {}", n + 1);
            let mut add = |key: &str, value: String| {
                seen.insert(format!("{who} {key}"), value);
            };
            if names {
                add("server", record.backend.clone());
            }
            add(
                "line",
                format!("{} {} {}", record.method, self.text(&record.path), record.protocol),
            );
            add("host", self.text(&record.host));
            add("body", self.body(&record.body));
            add("broken off", record.broken.to_string());
            if let Some(tls) = &record.tls {
                add("tls", format!("sni {} alpn {} peer {}", tls.sni, tls.alpn, tls.peer));
            }
            let copy = is_copy(record);
            let fields = record
                .fields
                .iter()
                .filter(|(name, value)| {
                    let empty = name.eq_ignore_ascii_case("content-length") && value == "0";
                    let own = copy && OF_COPIES.iter().any(|own| name.eq_ignore_ascii_case(own));
                    !empty && !own && !name.eq_ignore_ascii_case("host")
                })
                .cloned()
                .collect();
            self.fields(&format!("{who} header"), &fields, seen);
            self.fields(&format!("{who} trailer"), &record.trailers, seen);
        }
    }

    pub fn log(&self, who: &str, line: &Value, seen: &mut Seen) {
        let plain = |field: &str| match &line[field] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        for field in LOG_FIELDS {
            if field == "upstream_cluster" && plain("response_flags") == "NC" {
                continue;
            }
            let value = self.text(&plain(field));
            // The transport's own words stand in braces.
            let value = value.split('{').next().unwrap_or_default().to_owned();
            seen.insert(format!("{who} {field}"), value);
        }
    }
}

/// Copies go to a host with this ending, or are last.
pub fn is_copy(record: &Record) -> bool {
    let host = record.host.split(':').next().unwrap_or_default();
    host.ends_with("-shadow")
}
