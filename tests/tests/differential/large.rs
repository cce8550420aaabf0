//! A thousand services with three subsets each: both data planes take all of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mesh_tests::client;
use mesh_tests::processes::resident;
use node::bootstrap::XdsMode;
use serde_json::{Value, json};

use crate::objects;
use crate::proxy::PLANES;
use crate::small::Small;
use crate::world::write_objects;

const SERVICES: usize = 1000;
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
/// What a sidecar has of each service: the service and its subsets.
const CLUSTERS: u64 = (SERVICES * (1 + VERSIONS.len())) as u64;

/// One service: with a server of each version, its subsets, and routes that share requests among them.
fn service(n: usize) -> Vec<Value> {
    let (name, namespace) = (format!("s{n}"), "large");
    let address = |version: usize| {
        let byte = |n: usize| u8::try_from(n % 256).expect("a byte");
        Ipv4Addr::new(10, byte(version + 1), byte(n / 250), byte(n % 250 + 1))
    };
    let pod = |version: usize| format!("{name}-{}", VERSIONS[version]);
    let mut all: Vec<Value> = (0..VERSIONS.len())
        .map(|version| {
            let labels = json!({ "app": name, "version": VERSIONS[version] });
            objects::running(namespace, &pod(version), labels, address(version), "backend")
        })
        .collect();
    let pods: Vec<_> = (0..VERSIONS.len())
        .map(|version| (pod(version), address(version)))
        .collect();
    let subset = |version: &&str| json!({ "name": version, "labels": { "version": version } });
    let share = |(version, weight): (&&str, u32)| json!({ "destination": { "host": name, "subset": version }, "weight": weight });
    let metadata = json!({ "name": name, "namespace": namespace });
    all.extend([
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        }),
        objects::slice(namespace, &name, &pods, &[("http", 80, 8080)]),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata,
            "spec": {
                "host": name, "subsets": VERSIONS.iter().map(subset).collect::<Vec<_>>(),
                "trafficPolicy": { "connectionPool": { "http": { "http1MaxPendingRequests": 100 + n } } },
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": { "hosts": [name], "http": [
                { "match": [{ "headers": { "x-test": { "exact": "yes" } } }],
                  "route": [{ "destination": { "host": name, "subset": "v3" } }] },
                { "route": VERSIONS.iter().zip([60, 30, 10]).map(share).collect::<Vec<_>>(), "timeout": "5s" },
            ] },
        }),
    ]);
    all
}

fn megabytes(pid: u32) -> f64 {
    resident(pid).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_services_are_taken_by_both_data_planes() -> Result<()> {
    let mut mesh = Small::new()?;
    for n in 0..SERVICES {
        write_objects(&mesh.config(), &format!("s{n}"), &service(n))?;
    }
    let begun = Instant::now();
    let pilot = mesh.start_pilot()?;
    let mut proxies = Vec::new();
    for plane in PLANES {
        // One after the other, so that times are their own.
        let started = Instant::now();
        let proxy = mesh.proxy(plane, XdsMode::Delta, false)?;
        proxy.ready().await.with_context(|| mesh.pilot_log())?;
        eprintln!(
            "{plane:?}: ready after {:.1?}, {:.0} MB",
            started.elapsed(),
            megabytes(proxy.pid())
        );
        proxies.push((plane, proxy));
    }
    eprintln!("pilot: {:.0} MB; {:.1?} in all", megabytes(pilot), begun.elapsed());
    for (plane, proxy) in &proxies {
        proxy.accepts_all().await?;
        let admin = SocketAddr::new(proxy.address.into(), 15000);
        let page = client::get(admin, "/clusters").await?.text();
        let all: std::collections::BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.split("::").next())
            .filter(|name| name.contains(".large.svc.cluster.local"))
            .collect();
        ensure!(all.len() as u64 == CLUSTERS, "{plane:?}: {} clusters", all.len());
    }
    Ok(())
}
