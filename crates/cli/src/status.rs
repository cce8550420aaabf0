//! `proxy-status`: pilot's account of who is connected and what each has answered.

use serde_json::Value;

use crate::flags::{ProxyStatus, StatusFormat};
use crate::http::get;
use crate::output;
use crate::place::Mesh;

const HEADER: [&str; 8] = ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "PILOT", "VERSION"];

pub(crate) async fn run(flags: ProxyStatus) -> Result<String, String> {
    let pilot = match &flags.pilot_address {
        Some(address) => address.clone(),
        None => Mesh::find(&flags.mesh)?.pilot,
    };
    let body = get(&pilot, "/debug/syncz", "pilot").await?;
    let value: Value =
        serde_json::from_slice(&body).map_err(|error| format!("pilot at {pilot}: the answer is not JSON: {error}"))?;
    let rows: Vec<&Value> = value
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| wanted(row, &flags))
        .collect();
    if rows.is_empty() && flags.pod.is_some() {
        return Err(format!(
            "no proxy `{}` is connected to pilot at {pilot}; without a name, all that are will be listed",
            flags.pod.unwrap_or_default()
        ));
    }
    Ok(match flags.output {
        StatusFormat::Table => table(&rows, &pilot),
        StatusFormat::Json => output::json(&list(&rows)),
        StatusFormat::Yaml => output::yaml(&list(&rows)),
    })
}

fn list(rows: &[&Value]) -> Value {
    rows.iter().map(|row| (*row).clone()).collect::<Vec<_>>().into()
}

fn wanted(row: &Value, flags: &ProxyStatus) -> bool {
    let proxy = name(row);
    let (pod, namespace) = proxy.rsplit_once('.').unwrap_or((proxy, ""));
    let begins = |asked: &str| match asked.rsplit_once('.') {
        Some((asked, place)) if place == namespace => pod.starts_with(asked),
        _ => pod.starts_with(asked),
    };
    flags.pod.as_deref().is_none_or(begins) && flags.mesh.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
}

fn table(rows: &[&Value], pilot: &str) -> String {
    let mut cells: Vec<[String; 8]> = rows.iter().map(|row| cells(row, pilot)).collect();
    cells.sort();
    let reasons: Vec<String> = rows.iter().flat_map(|row| refusals(row)).collect();
    output::table(HEADER, &cells) + &reasons.concat()
}

fn cells(row: &Value, pilot: &str) -> [String; 8] {
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let version = [text("istio_version"), text("proxy_version")]
        .into_iter()
        .find(|version| !version.is_empty());
    [
        name(row).to_owned(),
        text("cluster_id"),
        state(row, "cluster", "CDS"),
        state(row, "listener", "LDS"),
        state(row, "endpoint", "EDS"),
        state(row, "route", "RDS"),
        pilot.to_owned(),
        version.unwrap_or_default(),
    ]
}

fn name(row: &Value) -> &str {
    row["proxy"].as_str().unwrap_or_default()
}

/// `sent` and `acked` are the nonces of the last push and of the last answer that accepted it.
fn state(row: &Value, kind: &str, short: &str) -> String {
    let text = |suffix: &str| row[format!("{kind}_{suffix}")].as_str().unwrap_or_default();
    if rejected(row).any(|refusal| refusal["type"] == *short) {
        return "ERROR".into();
    }
    match (text("sent"), text("acked")) {
        ("", _) => "NOT SENT",
        (sent, acked) if sent == acked => "SYNCED",
        (_, "") => "STALE (Never Acknowledged)",
        _ => "STALE",
    }
    .to_owned()
}

fn rejected(row: &Value) -> impl Iterator<Item = &Value> {
    row["rejected"].as_array().into_iter().flatten()
}

/// Below the table: what was refused, why, and the objects to look at.
fn refusals(row: &Value) -> Vec<String> {
    let line = |refusal: &Value| {
        let text = |field: &str| refusal[field].as_str().unwrap_or_default();
        let objects: Vec<&str> = refusal["objects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let from = if objects.is_empty() {
            String::new()
        } else {
            format!("\n  made from {}", objects.join(", "))
        };
        let resource = text("resource");
        let resource = if resource.is_empty() {
            String::new()
        } else {
            format!(" `{resource}`")
        };
        format!(
            "{}: {}{resource} refused: {}{from}\n",
            name(row),
            text("type"),
            text("reason")
        )
    };
    rejected(row).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_type_has_its_state() {
        let row = json!({
            "proxy": "web-1.default", "cluster_id": "Kubernetes", "istio_version": "0.1.0",
            "cluster_sent": "n1", "cluster_acked": "n1",
            "listener_sent": "n2", "listener_acked": "n1",
            "endpoint_sent": "n3",
            "route_sent": "n4", "route_acked": "n4",
            "rejected": [{"type": "RDS", "resource": "80", "reason": "no cluster x", "objects": ["VirtualService default/a (a.yaml:3)"]}],
        });
        let expected = [
            "web-1.default",
            "Kubernetes",
            "SYNCED",
            "STALE",
            "STALE (Never Acknowledged)",
            "ERROR",
            "p:8080",
            "0.1.0",
        ];
        assert_eq!(cells(&row, "p:8080"), expected.map(str::to_owned));
        assert_eq!(state(&json!({}), "cluster", "CDS"), "NOT SENT");
        let text = "web-1.default: RDS `80` refused: no cluster x\n  made from VirtualService default/a (a.yaml:3)\n";
        assert_eq!(refusals(&row), [text]);
        assert!(table(&[&row], "p").ends_with(text));
    }

    #[test]
    fn one_proxy_can_be_asked_for() {
        use clap::Parser;
        let row = json!({"proxy": "web-1.default"});
        let cases = [
            ("ps", true),
            ("ps web-1", true),
            ("ps web-1.default", true),
            ("ps web", true),
            ("ps web.default", true),
            ("ps web.other", false),
            ("ps web-2", false),
            ("ps -n other", false),
        ];
        for (line, expected) in cases {
            assert_eq!(
                wanted(&row, &ProxyStatus::try_parse_from(line.split(' ')).unwrap()),
                expected,
                "{line}"
            );
        }
    }
}
