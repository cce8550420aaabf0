//! Endpoints as rows: from `/clusters`, which knows their health, or from a dump, which knows what was sent.

use serde_json::Value;

use super::dump::Dump;
use crate::flags::EndpointFilter;

pub(super) const HEADER: [&str; 4] = ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"];

#[derive(Debug)]
pub(super) struct Endpoint {
    address: String,
    port: u64,
    status: &'static str,
    ejected: bool,
    cluster: String,
    pub(super) value: Value,
}

impl Endpoint {
    fn new(cluster: &str, address: &Value, health: &str, ejected: bool, value: &Value) -> Self {
        let socket = &address["socket_address"];
        let pipe = || address["pipe"]["path"].as_str().map(|path| format!("unix://{path}"));
        Endpoint {
            address: socket["address"]
                .as_str()
                .map(str::to_owned)
                .or_else(pipe)
                .unwrap_or_default(),
            port: socket["port_value"].as_u64().unwrap_or_default(),
            status: match health {
                "" | "HEALTHY" | "UNKNOWN" => "HEALTHY",
                "DRAINING" => "DRAINING",
                "DEGRADED" => "DEGRADED",
                _ => "UNHEALTHY",
            },
            ejected,
            cluster: cluster.to_owned(),
            value: value.clone(),
        }
    }

    pub(super) fn matches(&self, filter: &EndpointFilter) -> bool {
        filter.address.as_ref().is_none_or(|wanted| *wanted == self.address)
            && filter.port.is_none_or(|wanted| u64::from(wanted) == self.port)
            && filter.cluster.as_ref().is_none_or(|wanted| *wanted == self.cluster)
            && filter
                .status
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(self.status))
    }
}

/// Of the admin's `/clusters?format=json`.
pub(super) fn of_clusters(value: &Value) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for cluster in value["cluster_statuses"].as_array().into_iter().flatten() {
        let name = cluster["name"].as_str().unwrap_or_default();
        for host in cluster["host_statuses"].as_array().into_iter().flatten() {
            let status = &host["health_status"];
            let failed = |field: &str| status[field].as_bool().unwrap_or(false);
            let mut health = status["eds_health_status"].as_str().unwrap_or_default();
            if failed("failed_active_health_check") {
                health = "UNHEALTHY";
            }
            found.push(Endpoint::new(
                name,
                &host["address"],
                health,
                failed("failed_outlier_check"),
                host,
            ));
        }
    }
    found
}

/// Of a config dump.
pub(super) fn of_dump(dump: &Dump) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for assignment in dump.endpoints() {
        let name = assignment["cluster_name"].as_str().unwrap_or_default();
        let localities = assignment["endpoints"].as_array().into_iter().flatten();
        for endpoint in localities.flat_map(|locality| locality["lb_endpoints"].as_array().into_iter().flatten()) {
            let health = endpoint["health_status"].as_str().unwrap_or_default();
            found.push(Endpoint::new(
                name,
                &endpoint["endpoint"]["address"],
                health,
                false,
                endpoint,
            ));
        }
    }
    found
}

pub(super) fn rows(endpoints: &[Endpoint]) -> Vec<[String; 4]> {
    let row = |endpoint: &Endpoint| {
        let address = if endpoint.port == 0 {
            endpoint.address.clone()
        } else {
            format!("{}:{}", endpoint.address, endpoint.port)
        };
        let outlier = if endpoint.ejected { "FAILED" } else { "OK" };
        [
            address,
            endpoint.status.to_owned(),
            outlier.to_owned(),
            endpoint.cluster.clone(),
        ]
    };
    let mut rows: Vec<_> = endpoints.iter().map(row).collect();
    rows.sort_by(|a, b| (&a[3], &a[0]).cmp(&(&b[3], &b[0])));
    rows
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::sample;
    use super::*;
    use serde_json::json;

    #[test]
    fn health_comes_from_whoever_knows_it() {
        let host = |port: u16, status: Value| json!({"address": {"socket_address": {"address": "127.64.1.2", "port_value": port}}, "health_status": status});
        let clusters = json!({"cluster_statuses": [{"name": "c", "host_statuses": [
            host(1, json!({"eds_health_status": "HEALTHY"})),
            host(2, json!({"eds_health_status": "HEALTHY", "failed_outlier_check": true})),
            host(3, json!({"eds_health_status": "UNHEALTHY"})),
            {"address": {"pipe": {"path": "./sds"}}, "health_status": {}},
        ]}]});
        let all = of_clusters(&clusters);
        let text: Vec<String> = rows(&all).iter().map(|row| row.join(" ")).collect();
        let expected = [
            "127.64.1.2:1 HEALTHY OK c",
            "127.64.1.2:2 HEALTHY FAILED c",
            "127.64.1.2:3 UNHEALTHY OK c",
            "unix://./sds HEALTHY OK c",
        ];
        assert_eq!(text, expected);
        let count = |filter: EndpointFilter| all.iter().filter(|endpoint| endpoint.matches(&filter)).count();
        assert_eq!(
            count(EndpointFilter {
                status: Some("unhealthy".into()),
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            count(EndpointFilter {
                port: Some(2),
                cluster: Some("c".into()),
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            count(EndpointFilter {
                address: Some("127.64.1.2".into()),
                ..Default::default()
            }),
            3
        );

        let dumped = rows(&of_dump(&sample()));
        assert_eq!(
            dumped[0].join(" "),
            "127.64.1.2:9080 DRAINING OK outbound|9080||reviews"
        );
    }
}
