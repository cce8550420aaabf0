//! Listening sockets: one per worker on the same address, after a probe that finds out whether the address is free.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::MatchConflict;
use super::owner::owner_of;
use crate::pacing;

/// Connections the kernel completes for us before we accept them, per worker: enough for a burst, few enough to be served in time.
const BACKLOG: i32 = 1024;

/// Why a listener cannot be served; names the listener, the address, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listener `{listener}`: {address} is in use{}; stop that process or give the listener another address", .owner.as_ref().map(|o| format!(" by {o}")).unwrap_or_default())]
    InUse {
        listener: Arc<str>,
        address: SocketAddr,
        owner: Option<String>,
    },
    #[error("listener `{listener}`: {address} belongs to listener `{other}` of this proxy")]
    Duplicate {
        listener: Arc<str>,
        address: SocketAddr,
        other: Arc<str>,
    },
    #[error(
        "listener `{listener}`: no right to bind {address}; ports below 1024 need CAP_NET_BIND_SERVICE (or a lower net.ipv4.ip_unprivileged_port_start)"
    )]
    Denied { listener: Arc<str>, address: SocketAddr },
    #[error("listener `{listener}`: {address} is no address of this machine")]
    NotLocal { listener: Arc<str>, address: SocketAddr },
    #[error("listener `{listener}`: transparent sockets need CAP_NET_ADMIN ({source})")]
    Transparent { listener: Arc<str>, source: io::Error },
    #[error("listener `{listener}`: {address} cannot be bound: {source}")]
    Other {
        listener: Arc<str>,
        address: SocketAddr,
        source: io::Error,
    },
    #[error("listener `{listener}`: {conflict}")]
    Conflict {
        listener: Arc<str>,
        conflict: MatchConflict,
    },
}

/// What to bind, and for whom.
pub(super) struct Request<'a> {
    pub(super) listener: &'a Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) transparent: bool,
    /// Its clients are on this machine for certain.
    pub(super) local: bool,
    /// Our own sockets are on this address still, so the probe would meet nobody but us.
    pub(super) skip_probe: bool,
}

/// `count` sockets on one address. Port 0 is chosen once, for all.
pub(super) fn bind(request: &Request<'_>, count: usize) -> Result<Vec<TcpListener>, BindError> {
    if !request.skip_probe && request.address.port() != 0 {
        let probe = socket(request, request.address, false)?;
        drop(probe);
    }
    let mut address = request.address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = socket(request, address, true)?;
        socket
            .listen(BACKLOG)
            .map_err(|error| explain(request, address, error))?;
        let socket: TcpListener = socket.into();
        address = socket.local_addr().map_err(|error| explain(request, address, error))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn socket(request: &Request<'_>, address: SocketAddr, reuse_port: bool) -> Result<Socket, BindError> {
    let failed = |error| explain(request, address, error);
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP)).map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    socket.set_tcp_nodelay(true).map_err(failed)?; // accepted sockets have it from here
    if request.local {
        pacing::switch_off(&socket);
    }
    if reuse_port {
        socket.set_reuse_port(true).map_err(failed)?;
    }
    if request.transparent {
        let set = if address.is_ipv4() {
            Socket::set_ip_transparent_v4
        } else {
            Socket::set_ip_transparent_v6
        };
        let listener = request.listener.clone();
        set(&socket, true).map_err(|source| BindError::Transparent { listener, source })?;
    }
    socket.bind(&address.into()).map_err(failed)?;
    Ok(socket)
}

fn explain(request: &Request<'_>, address: SocketAddr, source: io::Error) -> BindError {
    let listener = request.listener.clone();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            listener,
            address,
            owner: owner_of(address),
        },
        io::ErrorKind::PermissionDenied => BindError::Denied { listener, address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { listener, address },
        _ => BindError::Other {
            listener,
            address,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_its_owner_even_if_that_one_shares_it() {
        let name: Arc<str> = "virtualInbound".into();
        let request = |address| Request {
            listener: &name,
            address,
            transparent: false,
            local: true,
            skip_probe: false,
        };
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        let ours = bind(&request(any), 2).expect("two sockets on one port");
        let address = ours[0].local_addr().expect("bound");
        assert_eq!(address, ours[1].local_addr().expect("bound"));
        let error = bind(&request(address), 1).expect_err("in use").to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(
            error.contains("virtualInbound") && error.contains(&address.to_string()) && error.contains(&pid),
            "{error}"
        );
        let again = Request {
            skip_probe: true,
            ..request(address)
        };
        assert!(bind(&again, 1).is_ok());
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let name: Arc<str> = "x".into();
        let address = "192.0.2.1:9".parse().expect("address");
        let request = Request {
            listener: &name,
            address,
            transparent: false,
            local: false,
            skip_probe: false,
        };
        assert!(matches!(bind(&request, 1), Err(BindError::NotLocal { .. })));
    }
}
