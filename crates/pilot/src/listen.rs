//! Sockets: bound before anything else starts, so that a port in use ends the process with a message and not half a mesh.

mod certificates;
mod incoming;
mod secure;

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub(crate) use certificates::watch as watch_certificates;
pub(crate) use incoming::{Io, plain};
pub(crate) use secure::secure;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("--{flag} {address}: {}", reason(.error, *address))]
pub(crate) struct BindError {
    flag: &'static str,
    address: SocketAddr,
    error: io::Error,
}

fn reason(error: &io::Error, address: SocketAddr) -> String {
    let way_out = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "something listens on port {} already: end it (`ss -ltnp` shows who it is) or choose another address",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need rights that this process lacks; choose a higher one".to_owned()
        }
        _ => "cannot listen there".to_owned(),
    };
    format!("{way_out} ({error})")
}

pub(crate) fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| BindError { flag, address, error })
}
