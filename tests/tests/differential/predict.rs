//! What our proxy says beforehand of a question (`GET /why`), against what then happened to it.
//!
//! `describe request` shows that page to people, so each scenario tests it too: just before a question the proxy that gets it is asked
//! about the same request; `foretold.rs` compares.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use mesh_tests::client;
use node::admin::percent_encode;
use serde_json::Value;

use crate::ask::Question;
use crate::scenario::{From, Protocol};

/// What /why said; `Err`: why it could not be asked.
pub type Prediction = Result<Value, String>;

/// Asks the proxy that the question goes to.
pub async fn ask(question: &Question) -> Prediction {
    let admin = SocketAddr::new(question.target.ip(), 15000);
    let path = format!("/why?format=json&{}", parameters(question));
    let told = async {
        let reply = client::get(admin, &path).await?;
        reply.json().context("the answer of /why")
    };
    told.await.map_err(|error: anyhow::Error| format!("{path}: {error:#}"))
}

fn parameters(question: &Question) -> String {
    let ask = &question.ask;
    let mut all: Vec<(&str, String)> = Vec::new();
    // Where a captured connection was going is where it goes.
    all.push(("to", ask.to.unwrap_or(question.target).to_string()));
    if ask.to.is_some() && ask.from == From::Server {
        all.push(("direction", "inbound".to_owned()));
    }
    all.push(("source", question.source().to_string()));
    let opaque = ask.protocol == Protocol::Bytes && !written_as_http(question);
    let protocol = match ask.protocol {
        Protocol::Http10 => "HTTP/1.0",
        Protocol::Http2 => "HTTP/2",
        Protocol::Bytes if opaque => "bytes",
        Protocol::Http11 | Protocol::Bytes => "HTTP/1.1",
    };
    all.push(("protocol", protocol.to_owned()));
    if let Some(tls) = &ask.tls {
        all.extend(tls.sni.iter().map(|name| ("sni", name.clone())));
        if !tls.alpn.is_empty() {
            all.push(("alpn", tls.alpn.join(",")));
        }
        let certificate = if tls.identity.is_some() { "mesh" } else { "none" };
        all.push(("certificate", certificate.to_owned()));
    }
    if !opaque {
        let to_proxy = question.is_to_proxy();
        let http2 = ask.protocol == Protocol::Http2;
        let scheme = match &ask.scheme {
            Some(scheme) if to_proxy || http2 => scheme,
            None if ask.tls.is_some() && http2 => "https",
            _ => "http",
        };
        all.push(("method", question.method().to_owned()));
        let path = ask.path.clone().unwrap_or_else(|| "/".to_owned());
        let whole = path.starts_with("http://") && !http2;
        let absolute = to_proxy && !http2 || whole;
        if whole {
            all.push(("url", path));
        } else {
            all.push(("url", format!("{scheme}://unnamed.invalid/")));
            all.push(("path", path));
        }
        // The host in a URL is the one that counts.
        if !whole && (absolute || !question.gives("host")) {
            all.push(("header", format!("host:{}", question.host)));
        }
        for (name, value) in question.fields() {
            if !(absolute && name.eq_ignore_ascii_case("host")) {
                all.push(("header", format!("{name}:{value}")));
            }
        }
    }
    let pairs: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}={}", percent_encode(value)))
        .collect();
    pairs.join("&")
}

/// Text that begins as a request does.
fn written_as_http(question: &Question) -> bool {
    let text = question.ask.text.as_deref().unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    line.contains(" HTTP/1.") && line.split(' ').count() == 3
}
