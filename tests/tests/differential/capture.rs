//! Captured connections, without the kernel's help: what redirection would tell a proxy, a line of the PROXY protocol tells it instead.
//!
//! Redirection needs an administrator's rights and a network of its own. What it changes is one thing: the address that a connection was
//! going to is known beside the one where it arrived. An EnvoyFilter lets the two virtual listeners of a captured proxy read that
//! address from the connection; all that follows from it (the listener that is meant, the chain, the cluster of original destinations) is
//! as it would be.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use serde_json::{Value, json};
use socket2::SockRef;

/// Where what a workload dials arrives, and who dials it.
pub const OUTBOUND: u16 = 15001;
pub const INBOUND: u16 = 15006;
/// From where a sidecar speaks to its application.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Where the kernel follows connections it knows of each where it was going, and Envoy asks it last: what the connection itself told is lost.
///
/// # Errors
/// No socket of the loopback can be had.
pub fn is_possible() -> Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let _dialled = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    Ok(SockRef::from(&accepted).original_dst_v4().is_err())
}

/// What stands before the bytes of a connection that was going `to`.
pub fn header(from: SocketAddr, to: SocketAddr) -> String {
    format!("PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
}

/// Virtual listeners at the proxy's own address, that read where a connection was going.
pub fn filter(namespace: &str, name: &str, labels: &Value, address: Ipv4Addr) -> Value {
    let matched = |listener: &str| json!({ "listener": { "name": listener } });
    let place = |listener: &str, port: u16| {
        json!({
            "applyTo": "LISTENER",
            "match": matched(listener),
            "patch": { "operation": "MERGE", "value": {
                "address": { "socket_address": { "address": address.to_string(), "port_value": port } },
            } },
        })
    };
    let read = |listener: &str| {
        json!({
            "applyTo": "LISTENER_FILTER",
            "match": matched(listener),
            "patch": { "operation": "INSERT_FIRST", "value": {
                "name": "envoy.filters.listener.proxy_protocol",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol" },
            } },
        })
    };
    let patches: Vec<Value> = [("virtualOutbound", OUTBOUND), ("virtualInbound", INBOUND)]
        .into_iter()
        .flat_map(|(listener, port)| [place(listener, port), read(listener)])
        .collect();
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": { "name": format!("captured-{name}"), "namespace": namespace },
        "spec": {
            "workloadSelector": { "labels": labels },
            "configPatches": patches,
        },
    })
}
