//! What a scenario file says: configuration, and questions with the answers that every data plane must give.
//!
//! `tests/scenarios/README.md` explains the form to those who write them. Unknown fields are refused, so that a misspelt expectation
//! cannot pass for one that holds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The first document of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Head {
    pub about: String,
    /// Servers of this file, by name; `v1` and `v2` unless it says otherwise.
    #[serde(default = "two_versions")]
    pub backends: Vec<Backend>,
    /// A client of this file's own, where its place or its labels matter.
    pub client: Option<Workload>,
    /// A sidecar before a server of this file's own; asked by `from: server`.
    pub server: Option<Workload>,
    /// A gateway of this file's own; asked by `from: own-gateway`.
    pub gateway: Option<Workload>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Backend {
    pub name: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Workload {
    /// The file's own, unless it says otherwise.
    pub namespace: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    pub locality: Option<String>,
    /// Of a client or server: what it dials and who dials it comes through its sidecar unasked; see `to` of a question.
    #[serde(default)]
    pub captured: bool,
}

fn two_versions() -> Vec<Backend> {
    let version = |name: &str| Backend {
        name: name.to_owned(),
        labels: BTreeMap::from([("version".to_owned(), name.to_owned())]),
    };
    vec![version("v1"), version("v2")]
}

/// One behaviour, under one title.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    pub title: String,
    /// The fields and features that it is about.
    pub of: OneOrMany,
    pub ask: Vec<Ask>,
    /// Differences between the data planes that are meant to be: what differs, and why.
    #[serde(default)]
    pub explained: BTreeMap<String, String>,
    /// A defect that is known: the scenario fails, and when it does not any more this line goes.
    pub known: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// An application, through its sidecar.
    #[default]
    Client,
    /// The world, through the gateway that all files share.
    Gateway,
    OwnGateway,
    /// Somebody who dials a server's sidecar.
    Server,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    #[serde(rename = "HTTP/1.1")]
    Http11,
    #[serde(rename = "HTTP/1.0")]
    Http10,
    #[serde(rename = "HTTP/2")]
    Http2,
    /// `text` is sent as it is, and what comes back is the body.
    #[serde(rename = "bytes")]
    Bytes,
}

/// One request, or many of a kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ask {
    pub from: From,
    pub protocol: Protocol,
    /// Of the request; `GET` if it says nothing.
    pub method: Option<String>,
    /// `http`, or `https` in what is told to an HTTP proxy.
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub headers: BTreeMap<String, OneOrMany>,
    pub body: Option<String>,
    pub body_bytes: usize,
    /// Pieces of a chunked body.
    pub chunks: Vec<String>,
    pub trailers: BTreeMap<String, String>,
    /// What the server is to do: see `instruction.rs`.
    pub echo: Option<String>,
    /// From a client: the service (`name:port` or `name.namespace:port`) whose own port is dialled, instead of the HTTP proxy. Else: the port.
    pub connect: Option<String>,
    pub port: Option<u16>,
    /// To a proxy that captures: where the connection was going.
    pub to: Option<SocketAddr>,
    /// Objects to put in place of those that the file has, before anything else.
    pub put: Option<String>,
    pub tls: Option<Tls>,
    /// For `bytes`, and after a switch of protocols.
    pub text: Option<String>,
    pub times: Option<u32>,
    /// All at the same time,
    pub at_once: bool,
    /// or so many seconds after each other.
    pub every: f64,
    /// Seconds to wait before.
    pub after: f64,
    pub expect: Expect,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    /// Identity of the client's certificate: a SPIFFE name or `other-ca`.
    pub identity: Option<String>,
    /// Highest version the client speaks: `1.2`, else 1.3.
    pub version: Option<String>,
    /// Suites of TLS 1.2 it offers; empty: all.
    pub ciphers: Vec<String>,
}

/// What holds on both data planes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    pub status: Option<u16>,
    /// Who answered.
    pub backend: Option<OneOrMany>,
    /// How often servers were asked, mirrors aside.
    pub attempts: Option<usize>,
    /// Who got a copy.
    pub mirrored: Option<Vec<String>>,
    /// What the last server saw.
    pub request: Option<SeenRequest>,
    /// Header fields of the answer: exact text, `*` for any, null for none.
    pub headers: BTreeMap<String, Option<String>>,
    pub trailers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub body_contains: Option<String>,
    /// Response flags in the access log, `-` for none.
    pub flags: Option<String>,
    /// Response code details in the access log.
    pub details: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    pub cluster: Option<String>,
    /// Seconds, at least and at most.
    pub took: Option<(f64, f64)>,
    /// For many: percent of each server, at least and at most.
    pub share: BTreeMap<String, (f64, f64)>,
    /// For many: how many got each status.
    pub statuses: BTreeMap<String, u32>,
    /// No answer at all: the connection ends.
    pub refused: bool,
    /// The first name in the certificate of whoever ended TLS.
    pub certificate: Option<String>,
    /// In the access log of the file's own server, where the question came through a client or a gateway.
    pub at_server: Option<AtServer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AtServer {
    pub flags: Option<String>,
    pub details: Option<String>,
    pub status: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SeenRequest {
    pub method: Option<String>,
    pub path: Option<String>,
    pub host: Option<String>,
    pub protocol: Option<String>,
    pub headers: BTreeMap<String, Option<String>>,
    pub trailers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub body_bytes: Option<usize>,
    /// `plain`, or what TLS the server ended.
    pub sni: Option<String>,
    pub alpn: Option<String>,
    /// First URI SAN of the certificate that the server was shown.
    pub peer: Option<String>,
}

/// A file: one namespace.
#[derive(Clone, Debug)]
pub struct File {
    pub path: PathBuf,
    /// Also its namespace.
    pub name: String,
    pub head: Head,
    /// The documents between the first and the last, as written.
    pub config: String,
    pub scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    scenarios: Vec<Scenario>,
}

/// What may stand for something that is known only when the harness runs: `$NAME` in any text of a file.
pub type Words = BTreeMap<String, String>;

pub fn fill(text: &str, words: &Words) -> String {
    // The longest first: one name may begin with another.
    let mut all: Vec<_> = words.iter().collect();
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    all.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${name}"), value)
    })
}

impl OneOrMany {
    pub fn all(&self) -> Vec<&str> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many.iter().map(String::as_str).collect(),
        }
    }
}

impl File {
    /// Reads a file; `words` for what its name alone does not tell.
    pub fn read(path: &Path, words: &dyn Fn(&str, &Head) -> Words) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(path, &text, words).with_context(|| path.display().to_string())
    }

    fn parse(path: &Path, text: &str, words: &dyn Fn(&str, &Head) -> Words) -> Result<Self> {
        let name = path
            .file_stem()
            .context("a file has a name")?
            .to_string_lossy()
            .into_owned();
        let documents = documents(text);
        ensure!(
            documents.len() >= 2,
            "a file begins with `about` and ends with `scenarios`"
        );
        let head: Head = read(path, documents[0]).context("the first document (`about`)")?;
        let words = words(&name, &head);
        let last = documents[documents.len() - 1];
        let foot: Foot = read(path, &fill(last, &words)).context("the last document (`scenarios`)")?;
        ensure!(!head.about.is_empty(), "`about` says nothing");
        ensure!(!foot.scenarios.is_empty(), "no scenario");
        let mut titles: Vec<&str> = foot.scenarios.iter().map(|scenario| scenario.title.as_str()).collect();
        titles.sort_unstable();
        if let Some(twice) = titles.windows(2).find(|two| two[0] == two[1]) {
            anyhow::bail!("two scenarios have the title {:?}", twice[0]);
        }
        let between = &documents[1..documents.len() - 1];
        Ok(File {
            path: path.to_owned(),
            name,
            head,
            config: fill(&between.join("\n---\n"), &words),
            scenarios: foot.scenarios,
        })
    }
}

/// Documents of a file: lines of three dashes stand between.
fn documents(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text.split("\n---\n").collect();
    if let Some(first) = found.first_mut() {
        *first = first.strip_prefix("---\n").unwrap_or(first);
    }
    found
}

/// A YAML file of the harness; an error names the field.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let (value, _) = store::yaml::parse_plain(path, text)?.context("nothing there")?;
    serde_path_to_error::deserialize(value).map_err(|error| anyhow::anyhow!("{}: {}", error.path(), error.inner()))
}
