//! TCP sockets on the loopback, as a proxy's clients and servers make them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::SocketFlags;
use socket2::{Domain, SockRef, Socket, Type};

/// Connections the kernel holds for a server that has not accepted them yet.
const BACKLOG: i32 = 4096;

/// An address of this machine.
pub fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A listener that does not block. Accepted sockets inherit `congestion`.
pub fn listen(port: u16, congestion: Option<&str>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    if let Some(name) = congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    socket.bind(&local(port).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The next waiting connection, or none.
pub fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(socket) => {
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if is_transient(error.kind()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Nobody there now, or gone before it was accepted.
fn is_transient(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// Starts to connect; the socket becomes writable when that has ended, well or not.
pub fn connect(port: u16, congestion: Option<&str>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    match socket.connect(&local(port).into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

/// Makes the coming close a reset, which leaves no port in TIME_WAIT behind.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
