//! `describe request`: the proxies on a request's way tell what they would do with it.
//!
//! The proxy at the client is asked first; then, for each workload that may get the request, the proxy there, about the request as
//! it would arrive.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::flags::{Describe, DescribeFormat, DescribeRequest, Subject};
use crate::http::get;
use crate::output;
use crate::place::{Mesh, Pod};

/// Workloads that are asked about one request.
const MAX_ARRIVALS: usize = 8;

/// One proxy's account.
struct Hop {
    proxy: String,
    told: Value,
}

pub(crate) async fn run(flags: Describe) -> Result<String, String> {
    let Subject::Request(flags) = flags.what;
    let hops = hops(&flags).await?;
    Ok(match flags.output {
        DescribeFormat::Text => hops.iter().map(text).collect::<Vec<_>>().join("\n"),
        DescribeFormat::Json => output::json(&value(&hops)),
        DescribeFormat::Yaml => output::yaml(&value(&hops)),
    })
}

fn value(hops: &[Hop]) -> Value {
    let hop = |hop: &Hop| json!({ "proxy": hop.proxy, "steps": hop.told["steps"], "outcomes": hop.told["outcomes"] });
    json!({ "hops": hops.iter().map(hop).collect::<Vec<_>>() })
}

async fn hops(flags: &DescribeRequest) -> Result<Vec<Hop>, String> {
    let (method, url) = match &flags.request[..] {
        [method, url] => (method.as_str(), url.as_str()),
        [url] => ("GET", url.as_str()),
        _ => return Err("one request is described at a time: [METHOD] URL".to_owned()),
    };
    let mesh = match &flags.proxy_admin_address {
        Some(_) => None,
        None => Some(Mesh::find(&flags.mesh)?),
    };
    let (proxy, admin) = match (&mesh, &flags.proxy_admin_address) {
        (Some(mesh), _) => {
            let pod = mesh.pod(
                flags.from.as_deref().unwrap_or_default(),
                flags.mesh.namespace.as_deref(),
            )?;
            (title(pod), admin_of(pod)?)
        }
        (None, address) => ("the proxy".to_owned(), address.clone().unwrap_or_default()),
    };
    let mut common = vec![("method", method.to_owned())];
    common.extend(flags.headers.iter().map(|header| ("header", header.clone())));
    let mut first = common.clone();
    first.push(("url", url.to_owned()));
    first.extend(flags.to.iter().map(|to| ("to", to.clone())));
    let departure = Hop {
        told: ask(&admin, &first, &proxy).await?,
        proxy,
    };
    let mut hops = vec![departure];
    let Some(mesh) = mesh else { return Ok(hops) };
    for arrival in arrivals(&hops[0].told) {
        let Some(pod) = arrival
            .address
            .parse::<SocketAddr>()
            .ok()
            .and_then(|address| mesh.pod_at(address.ip()))
        else {
            continue;
        };
        let mut parameters = common.clone();
        parameters.extend(arrival.parameters());
        let proxy = title(pod);
        let told = ask(&admin_of(pod)?, &parameters, &proxy).await?;
        hops.push(Hop { proxy, told });
    }
    Ok(hops)
}

fn title(pod: &Pod) -> String {
    format!("{}.{}", pod.name, pod.namespace)
}

fn admin_of(pod: &Pod) -> Result<String, String> {
    pod.admin.clone().ok_or_else(|| {
        format!(
            "{} has no proxy, so nothing of the mesh decides about its requests",
            title(pod)
        )
    })
}

async fn ask(admin: &str, parameters: &[(&str, String)], proxy: &str) -> Result<Value, String> {
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let path = format!("/why?format=json&{}", pairs.join("&"));
    let body = get(admin, &path, &format!("the proxy of {proxy}"))
        .await
        .map_err(|error| match error.contains("was answered 404") {
            true => {
                format!("{proxy} has a stock Envoy, which does not tell why; `proxy-config route` shows its routes")
            }
            false => error,
        })?;
    serde_json::from_slice(&body).map_err(|error| format!("{proxy}: the answer to /why is not JSON: {error}"))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            other => drop(write!(encoded, "%{other:02X}")),
        }
        encoded
    })
}

/// The request as it arrives at an endpoint.
#[derive(Debug, PartialEq, Eq)]
struct Arrival {
    address: String,
    authority: String,
    path: String,
    server_name: Option<String>,
    protocols: Vec<String>,
}

impl Arrival {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("url", format!("http://{}{}", self.authority, self.path)),
            ("to", self.address.clone()),
            ("direction", "inbound".to_owned()),
        ];
        parameters.extend(self.server_name.iter().map(|name| ("sni", name.clone())));
        if !self.protocols.is_empty() {
            parameters.push(("alpn", self.protocols.join(",")));
        }
        parameters
    }
}

/// One endpoint of each workload that may get it: its siblings have the same configuration.
fn arrivals(told: &Value) -> Vec<Arrival> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut seen = Vec::new();
    let mut arrivals = Vec::new();
    for outcome in list(&told["outcomes"]) {
        for endpoint in list(&outcome["endpoints"]) {
            let (address, workload) = (text(&endpoint["address"]), text(&endpoint["workload"]));
            let who = (
                text(&outcome["cluster"]),
                if workload.is_empty() { address.clone() } else { workload },
            );
            if seen.contains(&who) || arrivals.len() == MAX_ARRIVALS || text(&outcome["authority"]).is_empty() {
                continue;
            }
            seen.push(who);
            arrivals.push(Arrival {
                address,
                authority: text(&outcome["authority"]),
                path: text(&outcome["path"]),
                server_name: endpoint["tls"]["serverName"].as_str().map(str::to_owned),
                protocols: list(&endpoint["tls"]["protocols"]).iter().map(text).collect(),
            });
        }
    }
    arrivals
}

fn text(hop: &Hop) -> String {
    let mut text = format!("{}\n", hop.proxy);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for step in hop.told["steps"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {:<13} {}", word(&step["about"]), word(&step["text"]));
        if step["origin"].is_object() {
            let _ = writeln!(text, "  {:<13} <- {}", "", place(&step["origin"]));
        }
    }
    for outcome in hop.told["outcomes"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  => {}", conclusion(outcome));
    }
    text
}

fn place(origin: &Value) -> String {
    let word = |name: &str| origin[name].as_str().unwrap_or_default();
    let mut text = format!("{} {}/{}", word("kind"), word("namespace"), word("name"));
    if !word("rule").is_empty() {
        let _ = write!(text, " [{}]", word("rule"));
    }
    if !word("file").is_empty() {
        let _ = write!(text, "  {}:{}", word("file"), origin["line"]);
    }
    text
}

fn conclusion(outcome: &Value) -> String {
    let word = |name: &str| outcome[name].as_str().unwrap_or_default();
    let share = outcome["share"].as_f64().unwrap_or_default();
    let often = if share < 100.0 {
        format!("{} %: ", (share * 100.0).round() / 100.0)
    } else {
        String::new()
    };
    let what = match word("outcome") {
        "answered" => {
            let flags = if word("flags").is_empty() {
                String::new()
            } else {
                format!(", {}", word("flags"))
            };
            let to = if word("location").is_empty() {
                String::new()
            } else {
                format!(" to {}", word("location"))
            };
            format!("{}{to} ({}{flags})", outcome["status"], word("details"))
        }
        "forwarded" => {
            let endpoints = outcome["endpoints"].as_array().into_iter().flatten();
            let addresses: Vec<&str> = endpoints.filter_map(|endpoint| endpoint["address"].as_str()).collect();
            match addresses.is_empty() {
                true => format!("{}, where the client wanted to go", word("cluster")),
                false => format!("{}: {}", word("cluster"), addresses.join(", ")),
            }
        }
        _ => "the connection is closed".to_owned(),
    };
    format!("{often}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Value {
        json!({
            "steps": [
                {"about": "listener", "text": "http at 127.64.1.2:15002 accepts the connection"},
                {"about": "route", "text": "route 0 matches",
                 "origin": {"kind": "VirtualService", "namespace": "default", "name": "reviews", "rule": "canary", "file": "r.yaml", "line": 7}},
            ],
            "outcomes": [
                {"share": 10.0, "outcome": "answered", "status": 418, "details": "fault_filter_abort", "flags": "FI"},
                {"share": 90.0, "outcome": "forwarded", "cluster": "outbound|80|v1|reviews", "authority": "reviews", "path": "/a b",
                 "endpoints": [
                    {"address": "127.64.1.4:80", "workload": "reviews-v1", "tls": {"serverName": "s", "protocols": ["istio"]}},
                    {"address": "127.64.1.6:80", "workload": "reviews-v1"}]},
            ],
        })
    }

    #[test]
    fn an_account_is_read_from_top_to_bottom() {
        let hop = Hop {
            proxy: "web-1.default".into(),
            told: told(),
        };
        let expected = "\
web-1.default
  listener      http at 127.64.1.2:15002 accepts the connection
  route         route 0 matches
                <- VirtualService default/reviews [canary]  r.yaml:7
  => 10 %: 418 (fault_filter_abort, FI)
  => 90 %: outbound|80|v1|reviews: 127.64.1.4:80, 127.64.1.6:80
";
        assert_eq!(text(&hop), expected);
    }

    #[test]
    fn each_workload_is_asked_once() {
        let arrivals = arrivals(&told());
        assert_eq!(arrivals.len(), 1);
        let expected = [
            ("url", "http://reviews/a b"),
            ("to", "127.64.1.4:80"),
            ("direction", "inbound"),
            ("sni", "s"),
            ("alpn", "istio"),
        ];
        assert_eq!(
            arrivals[0].parameters(),
            expected.map(|(name, value)| (name, value.to_owned()))
        );
        assert_eq!(encoded("a b/ü&"), "a%20b%2F%C3%BC%26");
    }
}
