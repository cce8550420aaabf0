//! Listeners as rows: one for each filter chain.

use serde_json::Value;

use super::dump::Dump;
use crate::flags::ListenerFilter;

pub(super) const HEADER: [&str; 5] = ["ADDRESS", "PORT", "TYPE", "MATCH", "DESTINATION"];

pub(super) fn select<'a>(dump: &'a Dump, filter: &ListenerFilter) -> Vec<&'a Value> {
    let matches = |listener: &&Value| {
        let (address, port) = address(listener);
        filter.address.as_ref().is_none_or(|wanted| *wanted == address)
            && filter.port.is_none_or(|wanted| wanted.to_string() == port)
            && filter
                .kind
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind(listener)))
    };
    let mut found: Vec<&Value> = dump.listeners().into_iter().filter(matches).collect();
    found.sort_by_key(|listener| {
        let (address, port) = address(listener);
        (port.parse::<u16>().unwrap_or(0), address)
    });
    found
}

pub(super) fn rows(listeners: &[&Value]) -> Vec<[String; 5]> {
    let mut rows = Vec::new();
    for listener in listeners {
        let (address, port) = address(listener);
        for chain in chains(listener) {
            rows.push([
                address.clone(),
                port.clone(),
                kind(listener).to_owned(),
                conditions(&chain["filter_chain_match"]),
                destination(chain),
            ]);
        }
    }
    rows
}

fn address(listener: &Value) -> (String, String) {
    let socket = &listener["address"]["socket_address"];
    match socket["address"].as_str() {
        Some(address) => (
            address.to_owned(),
            socket["port_value"].as_u64().unwrap_or_default().to_string(),
        ),
        None => (
            listener["address"]["pipe"]["path"].as_str().unwrap_or("-").to_owned(),
            "-".into(),
        ),
    }
}

fn chains(listener: &Value) -> impl Iterator<Item = &Value> {
    let all = listener["filter_chains"].as_array().into_iter().flatten();
    all.chain(listener.get("default_filter_chain").filter(|chain| chain.is_object()))
}

fn kind(listener: &Value) -> &'static str {
    let has = |word: &str| {
        chains(listener)
            .flat_map(filters)
            .any(|filter| filter["name"].as_str().is_some_and(|name| name.contains(word)))
    };
    match (has("http_connection_manager"), has("tcp_proxy")) {
        (true, true) => "HTTP+TCP",
        (true, false) => "HTTP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

fn filters(chain: &Value) -> impl Iterator<Item = &Value> {
    chain["filters"].as_array().into_iter().flatten()
}

/// What a connection must be like for this chain: `ALL` where nothing is asked.
fn conditions(rule: &Value) -> String {
    let words = |field: &str| {
        let list: Vec<&str> = rule[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        list.join(",")
    };
    let mut parts = Vec::new();
    for (name, value) in [
        (
            "Trans",
            rule["transport_protocol"].as_str().unwrap_or_default().to_owned(),
        ),
        ("App", words("application_protocols")),
        ("SNI", words("server_names")),
    ] {
        if !value.is_empty() {
            parts.push(format!("{name}: {value}"));
        }
    }
    let ranges = rule["prefix_ranges"].as_array().into_iter().flatten();
    let ranges: Vec<String> = ranges
        .map(|range| {
            format!(
                "{}/{}",
                range["address_prefix"].as_str().unwrap_or("?"),
                range["prefix_len"].as_u64().unwrap_or(0)
            )
        })
        .collect();
    if !ranges.is_empty() {
        parts.push(format!("Addr: {}", ranges.join(",")));
    }
    if let Some(port) = rule["destination_port"].as_u64() {
        parts.push(format!("Port: {port}"));
    }
    if parts.is_empty() {
        "ALL".into()
    } else {
        parts.join("; ")
    }
}

fn destination(chain: &Value) -> String {
    for filter in filters(chain) {
        let config = &filter["typed_config"];
        if let Some(name) = config["rds"]["route_config_name"].as_str() {
            return format!("Route: {name}");
        }
        if let Some(inline) = config.get("route_config") {
            return inline_destination(inline);
        }
        if let Some(cluster) = config["cluster"].as_str() {
            return format!("Cluster: {cluster}");
        }
        if let Some(clusters) = config["weighted_clusters"]["clusters"].as_array() {
            let names: Vec<String> = clusters
                .iter()
                .map(|c| {
                    format!(
                        "{} ({})",
                        c["name"].as_str().unwrap_or("?"),
                        c["weight"].as_u64().unwrap_or(0)
                    )
                })
                .collect();
            return format!("Cluster: {}", names.join(", "));
        }
    }
    "-".into()
}

/// The clusters of a route configuration that is written into the listener.
fn inline_destination(routes: &Value) -> String {
    let hosts = routes["virtual_hosts"].as_array().into_iter().flatten();
    let routes_of = hosts.flat_map(|host| host["routes"].as_array().into_iter().flatten());
    let mut clusters: Vec<&str> = routes_of
        .filter_map(|route| route["route"]["cluster"].as_str())
        .collect();
    clusters.dedup();
    if clusters.is_empty() {
        "Inline Route".into()
    } else {
        format!("Cluster: {}", clusters.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::sample;
    use super::*;

    #[test]
    fn each_filter_chain_is_a_row() {
        let dump = sample();
        let text: Vec<String> = rows(&select(&dump, &ListenerFilter::default()))
            .iter()
            .map(|row| row.join(" "))
            .collect();
        let expected = [
            "0.0.0.0 9080 HTTP+TCP ALL Route: 9080",
            "0.0.0.0 9080 HTTP+TCP ALL Cluster: PassthroughCluster",
            "127.64.1.0 15090 HTTP ALL Inline Route",
        ];
        assert_eq!(text, expected);
        let only = |filter| select(&dump, &filter).len();
        assert_eq!(
            only(ListenerFilter {
                kind: Some("http".into()),
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            only(ListenerFilter {
                port: Some(9080),
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            only(ListenerFilter {
                address: Some("9.9.9.9".into()),
                ..Default::default()
            }),
            0
        );
    }

    #[test]
    fn conditions_are_named() {
        let rule = serde_json::json!({"transport_protocol": "tls", "application_protocols": ["istio", "h2"], "server_names": ["a.b"],
            "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "destination_port": 80});
        assert_eq!(
            conditions(&rule),
            "Trans: tls; App: istio,h2; SNI: a.b; Addr: 10.0.0.0/8; Port: 80"
        );
    }
}
