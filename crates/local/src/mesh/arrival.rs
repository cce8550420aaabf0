//! Whether what runs has become known: to the control plane, and by it to every proxy.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Mesh;
use crate::control_plane::PILOT_HTTP_PORT;
use crate::probe::get_body;

const ASK: Duration = Duration::from_millis(15);
const ANSWER: Duration = Duration::from_secs(1);

impl Mesh {
    /// Addresses that somebody can be sent to: of ready pods behind a Service.
    pub(super) fn destinations(&self) -> BTreeSet<Ipv4Addr> {
        let desired = self.world.desired.borrow();
        let ready = self.pods.iter().filter(|record| record.ready() && !record.terminating);
        ready
            .filter(|record| {
                let (namespace, labels) = (&record.key().namespace, &record.pod.identity.workload.template.labels);
                let selects =
                    |service: &crate::manifest::Service| !service.external && service.selects(namespace, labels);
                desired.services.iter().any(selects)
            })
            .map(|record| record.pod.identity.addresses.pod)
            .collect()
    }
}

/// Waits until every proxy has acknowledged a configuration that holds these endpoints, at most as long as `patience`.
pub(super) async fn everybody_knows(pilot: Ipv4Addr, destinations: &BTreeSet<Ipv4Addr>, patience: Duration) {
    let began = Instant::now();
    while began.elapsed() < patience {
        if has_read(pilot, destinations).await && has_told(pilot).await {
            return;
        }
        sleep(ASK).await;
    }
}

async fn has_read(pilot: Ipv4Addr, destinations: &BTreeSet<Ipv4Addr>) -> bool {
    match get_body(pilot, PILOT_HTTP_PORT, "/debug/endpointz?brief=1", ANSWER).await {
        Ok(body) => destinations.is_subset(&healthy(&body)),
        Err(_) => false,
    }
}

async fn has_told(pilot: Ipv4Addr) -> bool {
    match get_body(pilot, PILOT_HTTP_PORT, "/debug/syncz", ANSWER).await {
        Ok(body) => all_synced(&body),
        Err(_) => false,
    }
}

/// Of lines like `web.default.svc.cluster.local:80 127.64.1.0:8080 Healthy`.
fn healthy(body: &str) -> BTreeSet<Ipv4Addr> {
    let address = |line: &str| {
        let mut words = line.split(' ');
        let (_, endpoint, health) = (words.next()?, words.next()?, words.next()?);
        let (address, _) = endpoint.rsplit_once(':')?;
        (health == "Healthy").then(|| address.parse().ok()).flatten()
    };
    body.lines().filter_map(address).collect()
}

fn all_synced(body: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let proxies = value.as_array().map(Vec::as_slice).unwrap_or_default();
    !proxies.is_empty() && proxies.iter().all(|proxy| proxy["synced"] == true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_endpoints_are_read_from_the_brief_list() {
        let body = "web.default.svc.cluster.local:80 127.64.1.0:8080 Healthy\nweb.default.svc.cluster.local:80 127.64.1.1:8080 Unhealthy\n\n?\n";
        assert_eq!(healthy(body), BTreeSet::from([Ipv4Addr::new(127, 64, 1, 0)]));
    }

    #[test]
    fn one_proxy_behind_is_not_all() {
        for (body, all) in [
            (r#"[{"synced": true}, {"synced": true}]"#, true),
            (r#"[{"synced": true}, {"synced": false}]"#, false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(all_synced(body), all, "{body}");
        }
    }
}
