//! Clusters as rows.

use serde_json::Value;

use super::dump::{Dump, origin};
use crate::flags::ClusterFilter;

pub(super) const HEADER: [&str; 6] = [
    "SERVICE FQDN",
    "PORT",
    "SUBSET",
    "DIRECTION",
    "TYPE",
    "DESTINATION RULE",
];

/// `<direction>|<port>|<subset>|<host>`; a cluster of another name is all host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Name<'a> {
    direction: &'a str,
    port: &'a str,
    subset: &'a str,
    host: &'a str,
}

impl<'a> Name<'a> {
    pub(super) fn parse(name: &'a str) -> Self {
        match name.split('|').collect::<Vec<_>>()[..] {
            [direction @ ("inbound" | "outbound"), port, subset, host] => Name {
                direction,
                port,
                subset,
                host,
            },
            _ => Name {
                host: name,
                ..Name::default()
            },
        }
    }

    fn matches(&self, filter: &ClusterFilter) -> bool {
        let equal = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        equal(&filter.fqdn, self.host)
            && equal(&filter.subset, self.subset)
            && equal(&filter.direction, self.direction)
            && filter.port.is_none_or(|port| self.port == port.to_string())
    }
}

pub(super) fn select<'a>(dump: &'a Dump, filter: &ClusterFilter) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = dump
        .clusters()
        .into_iter()
        .filter(|cluster| Name::parse(name(cluster)).matches(filter))
        .collect();
    let key = |cluster: &&Value| {
        let Name {
            direction,
            port,
            subset,
            host,
        } = Name::parse(name(cluster));
        (
            host.to_owned(),
            port.parse::<u16>().unwrap_or(0),
            subset.to_owned(),
            direction.to_owned(),
        )
    };
    found.sort_by_key(key);
    found
}

pub(super) fn rows(clusters: &[&Value]) -> Vec<[String; 6]> {
    let dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let row = |cluster: &&Value| {
        let Name {
            direction,
            port,
            subset,
            host,
        } = Name::parse(name(cluster));
        // Protocol JSON leaves out the first value of an enum.
        let kind = cluster["type"]
            .as_str()
            .unwrap_or(if cluster.get("cluster_type").is_some() {
                "CUSTOM"
            } else {
                "STATIC"
            });
        [
            host.to_owned(),
            dash(port),
            dash(subset),
            dash(direction),
            kind.to_owned(),
            origin(cluster),
        ]
    };
    clusters.iter().map(row).collect()
}

fn name(cluster: &Value) -> &str {
    cluster["name"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::dump::tests::sample;
    use super::*;

    #[test]
    fn rows_are_sorted_and_filtered_by_the_parts_of_the_name() {
        let dump = sample();
        let hosts = |filter: ClusterFilter| {
            rows(&select(&dump, &filter))
                .into_iter()
                .map(|row| row.join(" "))
                .collect::<Vec<_>>()
        };
        let reviews = "reviews.default.svc.cluster.local 9080 v1 outbound EDS reviews.default";
        assert_eq!(
            hosts(ClusterFilter::default()),
            [" 9080 - inbound ORIGINAL_DST ", reviews, "xds-grpc - - - STATIC "]
        );
        let cases = [
            ClusterFilter {
                subset: Some("v1".into()),
                ..Default::default()
            },
            ClusterFilter {
                direction: Some("outbound".into()),
                port: Some(9080),
                ..Default::default()
            },
            ClusterFilter {
                fqdn: Some("reviews.default.svc.cluster.local".into()),
                ..Default::default()
            },
        ];
        for filter in cases {
            assert_eq!(hosts(filter), [reviews]);
        }
    }
}
