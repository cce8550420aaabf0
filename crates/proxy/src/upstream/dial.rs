//! A socket to an endpoint: source address, options, connect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::stream::Raw;
use crate::config::{Cluster, EndpointAddress};

/// The two ends of a new socket; unknown for unix sockets.
pub(super) struct Ends {
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
}

pub(super) async fn dial(cluster: &Cluster, address: &EndpointAddress) -> io::Result<(Raw, Ends)> {
    match address {
        EndpointAddress::Socket(remote) => {
            let stream = tcp(cluster, *remote).await?;
            let local = stream.local_addr().ok();
            Ok((
                Raw::Tcp(stream),
                Ends {
                    local,
                    remote: Some(*remote),
                },
            ))
        }
        EndpointAddress::Pipe(path) => Ok((
            Raw::Unix(unix(path).await?),
            Ends {
                local: None,
                remote: None,
            },
        )),
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
    let stream = TcpSocket::from_std_stream(socket.into()).connect(remote).await?;
    stream.set_nodelay(true)?;
    if let Some((time, interval, probes)) = cluster.keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(time)
            .with_interval(interval)
            .with_retries(probes);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
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
