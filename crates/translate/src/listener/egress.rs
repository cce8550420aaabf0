//! Listeners that the `egress` of a Sidecar asks for: a port with an address of its own, or one that is not captured.
//!
//! An entry with a port imports services; where it says no address and leaves its traffic to be captured, the listeners that there
//! are anyway serve it. What an entry serves is what the proxy sees of services with its port: plaintext HTTP by its `Host`, TLS
//! by the name it asks for, and one other service. With protocol HTTP_PROXY it is an HTTP proxy instead. Where a socket has no
//! captured traffic there is no place that an unknown connection meant: it ends.
//!
//! In local mode the pods share one loopback address, so what is to be bound there, or everywhere, is bound at the pod's own.

use std::net::{IpAddr, Ipv4Addr};

use model::kinds::{CaptureMode, IstioEgressListener};

use crate::scope::Scope;
use crate::sidecar::Egress;

use super::shared::SharedPort;
use super::{Plan, Plans};

const HTTP_PROXY: &str = "HTTP_PROXY";

/// Where an entry listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    bind: IpAddr,
    port: u16,
    /// A socket, even where traffic is captured.
    bound: bool,
}

pub(super) fn plan<'a>(scope: &Scope<'a>, plans: &mut Plans<'a>) {
    let Some(sidecar) = scope.sidecar else { return };
    for entry in &sidecar.spec.egress {
        let Some(place) = place(scope, entry) else { continue };
        let name = format!("{}_{}", place.bind, place.port);
        if plans.contains_key(&name) {
            continue; // a port of the workload itself, or the entry before
        }
        let is_proxy = entry
            .port
            .as_ref()
            .is_some_and(|port| port.protocol.eq_ignore_ascii_case(HTTP_PROXY));
        if is_proxy {
            let Place { bind, port, .. } = place;
            plans.insert(name, Plan::HttpProxy { bind, port });
            continue;
        }
        let imports = Egress::of_entry(sidecar, entry);
        let mut group = SharedPort::at(place.bind, place.port, place.bound);
        for visible in scope.services().iter() {
            let service = visible.service;
            if imports.imports(&service.namespace, &service.hostname)
                && let Some(port) = visible.port(place.port)
            {
                group.add(service, port, || place.port.to_string());
            }
        }
        if !group.is_empty() {
            plans.insert(name, Plan::SharedPort(group));
        }
    }
}

/// `None`: the entry has no listener of its own.
fn place(scope: &Scope<'_>, entry: &IstioEgressListener) -> Option<Place> {
    let port = u16::try_from(entry.port.as_ref()?.number)
        .ok()
        .filter(|port| *port != 0)?;
    let given = entry.bind.parse::<IpAddr>().ok();
    let captured = scope.captures() && entry.capture_mode != CaptureMode::None;
    if given.is_none() && entry.capture_mode != CaptureMode::None {
        return None;
    }
    if !scope.captures() && entry.capture_mode == CaptureMode::Iptables {
        return None;
    }
    let is_local = scope.proxy.app_address.is_some();
    let own = || scope.proxy.ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let bind = match given {
        Some(bind) if is_local && (bind.is_unspecified() || bind == IpAddr::V4(Ipv4Addr::LOCALHOST)) => own(),
        Some(bind) => bind,
        None if is_local => own(),
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Some(Place {
        bind,
        port,
        bound: !captured,
    })
}
