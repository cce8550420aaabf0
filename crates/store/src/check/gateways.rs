//! Servers of Gateways that want the same port for different things.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::kinds::{Gateway, Server};

use super::Messages;
use crate::message::reference_text;
use crate::object::Object;
use crate::state::Store;

/// A server with the object that it stands in.
struct Placed {
    object: Arc<Object>,
    selector: BTreeMap<String, String>,
    index: usize,
    server: Server,
}

/// The oldest Gateway counts; what another one wants of its port otherwise is lost.
pub(super) fn check(store: &Store, messages: &mut Messages) {
    let mut seen: Vec<Placed> = Vec::new();
    for object in store.list("Gateway") {
        let Ok(parsed) = object.parse::<Gateway>() else {
            continue;
        };
        for (index, server) in parsed.value.servers.into_iter().enumerate() {
            let placed = Placed {
                object: Arc::clone(&object),
                selector: parsed.value.selector.clone(),
                index,
                server,
            };
            if let Some((other, reason)) = seen.iter().find_map(|other| Some((other, conflict(other, &placed)?))) {
                let whose = reference_text(&other.object.reference());
                messages.warn(
                    &placed.object,
                    "gateway-conflict",
                    &format!("spec.servers[{}]", placed.index),
                    format!(
                        "{reason} with server {} of {whose}, which is older and counts",
                        other.index
                    ),
                    "use another port, other hosts, or one Gateway for both".to_owned(),
                );
            }
            seen.push(placed);
        }
    }
}

fn conflict(first: &Placed, second: &Placed) -> Option<String> {
    let (a, b) = (&first.server, &second.server);
    if first.selector != second.selector || a.port.number != b.port.number || a.bind != b.bind {
        return None;
    }
    let port = a.port.number;
    let (speaks_a, speaks_b) = (speaks(a), speaks(b));
    if speaks_a != speaks_b {
        return Some(format!("port {port} is {speaks_b} here and in conflict ({speaks_a})"));
    }
    let shared = b.hosts.iter().find(|host| a.hosts.contains(host))?;
    // HTTP servers of one port share their hosts gladly; TLS servers need one certificate for each name.
    (speaks_b == "TLS" && a.tls != b.tls)
        .then(|| format!("host {shared:?} on port {port} has other TLS settings, in conflict"))
}

/// What a listener has to know before it reads: the rest can share a port.
fn speaks(server: &Server) -> &'static str {
    match server.port.protocol.to_ascii_uppercase().as_str() {
        "HTTPS" | "TLS" => "TLS",
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => "plain HTTP",
        _ if server.tls.is_some() => "TLS",
        _ => "plain TCP",
    }
}
