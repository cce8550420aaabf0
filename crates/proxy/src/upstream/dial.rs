//! A socket to an endpoint: source address, options, connect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::stream::Raw;
use crate::config::{Cluster, EndpointAddress};
use crate::pacing;

pub(super) async fn dial(cluster: &Cluster, address: &EndpointAddress) -> io::Result<Raw> {
    match address {
        EndpointAddress::Socket(remote) => Ok(Raw::Tcp(tcp(cluster, *remote).await?)),
        EndpointAddress::Pipe(path) => Ok(Raw::Unix(unix(path).await?)),
    }
}

async fn tcp(cluster: &Cluster, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if let Some(source) = cluster.source.filter(|source| source.is_ipv4() == remote.is_ipv4()) {
        bind(&socket, source)?;
    }
    if pacing::stays_here(remote.ip(), cluster.source) {
        pacing::switch_off(&socket);
    }
    socket.set_tcp_nodelay(true)?;
    let stream = connect(socket, remote).await?;
    if let Some((time, interval, probes)) = cluster.keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(time)
            .with_interval(interval)
            .with_retries(probes);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(stream)
}

/// The socket is asked for its fault only if the event that ends the attempt tells of one.
async fn connect(socket: Socket, remote: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => return Err(error),
        _ => {}
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if (ready.is_error() || ready.is_write_closed())
        && let Some(error) = stream.take_error()?
    {
        return Err(error);
    }
    Ok(stream)
}

/// The port is left to `connect`: chosen at bind it would have to be free for every destination, and a busy proxy would run out of them.
fn bind(socket: &Socket, source: IpAddr) -> io::Result<()> {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
