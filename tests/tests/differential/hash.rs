//! A key leads to the same server on both data planes: ten thousand keys, by ring hash and by maglev, over servers of different weights.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use tokio::net::TcpStream;

use crate::http1::{Framing, Wire};
use crate::proxy::{PLANES, Plane};
use crate::scenario::From;
use crate::world::World;

const KEYS: usize = 10_000;
const CONNECTIONS: usize = 8;
const SERVERS: usize = 7;

/// Keys as they come: numbers, names, something long.
fn key(n: usize) -> String {
    match n % 3 {
        0 => n.to_string(),
        1 => format!("user-{n:x}@example.com"),
        _ => format!("{n}/{}", "long ".repeat(n % 20).trim_end()),
    }
}

/// The server of each key of one share.
async fn ask(proxy: SocketAddr, host: &str, share: usize) -> Result<Vec<(usize, String)>> {
    let mut wire = Wire::new(TcpStream::connect(proxy).await?);
    let mut owners = Vec::new();
    for n in (share..KEYS).step_by(CONNECTIONS) {
        let key = key(n);
        let request = format!("GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\nx-key: {key}\r\nx-echo: who\r\n\r\n");
        wire.write(request.as_bytes()).await?;
        let head = wire.head().await?.context("the connection ended")?;
        let _ = wire.body(head.framing(Framing::None)).await;
        let owner = head
            .get("x-backend")
            .with_context(|| format!("{key:?}: {}", head.line))?;
        owners.push((n, owner.to_owned()));
    }
    Ok(owners)
}

async fn owners(world: &World, plane: Plane, host: &str) -> Result<BTreeMap<usize, String>> {
    let proxy = world.proxy(&world.files[0], From::Client, plane)?;
    let address = SocketAddr::new(proxy.address.into(), 15002);
    let shares = (0..CONNECTIONS).map(|share| ask(address, host, share));
    let all = try_join_all(shares)
        .await
        .with_context(|| format!("{plane:?}: {host}"))?;
    Ok(all.into_iter().flatten().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_leads_to_the_same_server() -> Result<()> {
    let group = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/hash");
    let world = World::start(&group, &|_| true).await?.context("the group has a file")?;
    for host in ["ring.hash.test", "maglev.hash.test"] {
        let [ours, theirs] = PLANES.map(|plane| owners(&world, plane, host));
        let (ours, theirs) = tokio::try_join!(ours, theirs)?;
        ensure!(
            ours.len() == KEYS && theirs.len() == KEYS,
            "{host}: not all keys were asked"
        );
        let differing: Vec<_> = ours
            .iter()
            .filter(|(n, owner)| theirs.get(n) != Some(owner))
            .map(|(n, owner)| format!("{:?}: ours {owner}, Envoy's {:?}", key(*n), theirs.get(n)))
            .collect();
        ensure!(
            differing.is_empty(),
            "{host}: {} of {KEYS} keys differ, as {:?}",
            differing.len(),
            &differing[..differing.len().min(5)]
        );
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for owner in ours.values() {
            *counts.entry(owner).or_default() += 1;
        }
        let least = counts.values().min().copied().unwrap_or_default();
        ensure!(
            counts.len() == SERVERS && least > KEYS / 100,
            "{host}: keys are spread badly: {counts:?}"
        );
    }
    Ok(())
}
