//! Routes as rows.

use serde_json::Value;

use super::dump::{Dump, origin};
use crate::flags::RouteFilter;

pub(super) const HEADER: [&str; 5] = ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"];

pub(super) fn select<'a>(dump: &'a Dump, filter: &RouteFilter) -> Vec<&'a Value> {
    let matches = |config: &&Value| filter.name.as_ref().is_none_or(|wanted| config["name"] == **wanted);
    let mut found: Vec<&Value> = dump.routes().into_iter().filter(matches).collect();
    found.sort_by_key(|config| {
        let name = config["name"].as_str().unwrap_or_default();
        (name.parse::<u16>().unwrap_or(0), name.to_owned())
    });
    found
}

pub(super) fn rows(configs: &[&Value]) -> Vec<[String; 5]> {
    let mut rows = Vec::new();
    for config in configs {
        for host in config["virtual_hosts"].as_array().into_iter().flatten() {
            for route in host["routes"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let origin = if route.get("direct_response").is_some() && origin(route).is_empty() {
                    direct(route)
                } else {
                    origin(route)
                };
                rows.push([
                    text(&config["name"]),
                    text(&host["name"]),
                    domains(host),
                    rule(&route["match"]),
                    origin,
                ]);
            }
        }
    }
    rows
}

fn direct(route: &Value) -> String {
    format!("{}", route["direct_response"]["status"])
}

/// The first two, and how many more.
fn domains(host: &Value) -> String {
    let all: Vec<&str> = host["domains"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match all.len() {
        0..=2 => all.join(", "),
        more => format!("{}, {} + {} more...", all[0], all[1], more - 2),
    }
}

fn rule(rule: &Value) -> String {
    let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str);
    let path = None
        .or_else(|| text("/prefix").map(|path| format!("{path}*")))
        .or_else(|| text("/path").map(str::to_owned))
        .or_else(|| text("/path_separated_prefix").map(|path| format!("PathPrefix:{path}")))
        .or_else(|| text("/safe_regex/regex").map(|regex| format!("regex {regex}")))
        .unwrap_or_else(|| "*".into());
    let headers = rule["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|header| header["name"].as_str());
    let names: Vec<&str> = headers.collect();
    if names.is_empty() {
        path
    } else {
        format!("{path} (headers: {})", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::sample;
    use super::*;

    #[test]
    fn each_route_is_a_row_with_what_made_it() {
        let dump = sample();
        let text: Vec<String> = rows(&select(&dump, &RouteFilter::default()))
            .iter()
            .map(|row| row[2..].join(" | "))
            .collect();
        let domains = "reviews.default.svc.cluster.local, reviews";
        assert_eq!(
            text,
            [
                format!("{domains} | /x (headers: end-user) | reviews.default"),
                format!("{domains} | /* | 404")
            ]
        );
        assert!(
            select(
                &dump,
                &RouteFilter {
                    name: Some("80".into())
                }
            )
            .is_empty()
        );
    }
}
