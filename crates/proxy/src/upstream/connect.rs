//! From an endpoint to an open connection: limits, socket, handshake, and what there is to say if it fails.

use std::net::SocketAddr;
use std::sync::Arc;

use pki::PeerCertificate;

use super::dial::dial;
use super::failure::{ConnectError, ConnectFailure, log_failure};
use super::proxy_header::{self, Origin};
use super::stream::{Counted, Stream};
use super::tls;
use crate::clock;
use crate::config::{Cluster, Endpoint, EndpointAddress, Transport};

/// What is known of a new connection.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// `None` for unix sockets, and where nobody asked: see [`connect`].
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    /// What ALPN agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The server's certificate, checked.
    pub peer: Option<Arc<PeerCertificate>>,
    /// `TLSv1.3`
    pub tls_version: Option<&'static str>,
}

impl StreamInfo {
    /// The server's SPIFFE identity.
    pub fn peer_principal(&self) -> Option<&str> {
        self.peer.as_ref()?.principal()
    }
}

/// Connects within the cluster's connect timeout, which the handshake is part of. Counts, and logs a failure.
///
/// `origin` is the client's connection, for clusters whose servers are told of it. `alpn` replaces the protocols of the cluster's TLS context. Outlier detection is told by the caller ([`report`](super::report)): only
/// it knows whether this was an attempt or the request's end. The local address is not asked for, which is a system call for each
/// connection: [`Stream::local_addr`] knows it.
pub async fn connect(
    cluster: &Cluster,
    endpoint: &Endpoint,
    alpn: Option<&[Vec<u8>]>,
    origin: Option<Origin>,
) -> Result<(Stream, StreamInfo), ConnectError> {
    let active = cluster.stats.upstream_cx_active.get();
    if active >= i64::from(cluster.breakers.max_connections) {
        cluster.stats.upstream_cx_overflow.inc();
        return Err(ConnectError::new(ConnectFailure::Overflow, "overflow"));
    }
    attempt(cluster, endpoint, alpn, origin).await
}

/// As [`connect`], for a caller that has looked at `max_connections` itself: a pool without any connection may always have one. Its
/// connections serve many requests, so the local address is asked for at once.
pub async fn connect_admitted(
    cluster: &Cluster,
    endpoint: &Endpoint,
    alpn: Option<&[Vec<u8>]>,
    origin: Option<Origin>,
) -> Result<(Stream, StreamInfo), ConnectError> {
    let (stream, mut info) = attempt(cluster, endpoint, alpn, origin).await?;
    info.local = stream.local_addr();
    Ok((stream, info))
}

async fn attempt(
    cluster: &Cluster,
    endpoint: &Endpoint,
    alpn: Option<&[Vec<u8>]>,
    origin: Option<Origin>,
) -> Result<(Stream, StreamInfo), ConnectError> {
    let counted = Counted::new(cluster.stats.clone(), endpoint.stats.clone());
    let attempt = clock::timeout(
        cluster.connect_timeout,
        establish(cluster, endpoint, (alpn, origin), counted),
    );
    let result = attempt.await.unwrap_or_else(|_| Err(timed_out(cluster)));
    result.inspect_err(|error| {
        cluster.stats.upstream_cx_connect_fail.inc();
        endpoint.stats.cx_connect_fail.inc();
        if error.kind == ConnectFailure::Timeout {
            cluster.stats.upstream_cx_connect_timeout.inc();
        }
        log_failure(&cluster.name, &endpoint.address_text, error);
    })
}

fn timed_out(cluster: &Cluster) -> ConnectError {
    let limit = runtime::duration::format(cluster.connect_timeout);
    ConnectError::new(ConnectFailure::Timeout, format!("connect timeout after {limit}"))
}

async fn establish(
    cluster: &Cluster,
    endpoint: &Endpoint,
    (alpn, origin): (Option<&[Vec<u8>]>, Option<Origin>),
    counted: Counted,
) -> Result<(Stream, StreamInfo), ConnectError> {
    let transport = cluster.transports.get(endpoint.transport);
    if let Transport::Tls(context) = transport
        && context.config.load_full().is_none()
    {
        return Err(tls::waiting(context)); // before the peer sees a connection that comes to nothing
    }
    let mut raw = dial(cluster, &endpoint.address)
        .await
        .map_err(|error| ConnectError::dial(&error))?;
    if let Some(version) = cluster.proxy_protocol {
        let written = proxy_header::write(version, origin, &mut raw).await;
        written.map_err(|error| ConnectError::dial(&error))?;
    }
    let mut info = StreamInfo {
        remote: match endpoint.address {
            EndpointAddress::Socket(address) => Some(address),
            EndpointAddress::Pipe(_) => None,
        },
        ..Default::default()
    };
    match transport {
        Transport::Plain => Ok((Stream::plain(raw, counted), info)),
        Transport::Tls(context) => {
            let stream = tls::handshake(cluster, context, &endpoint.address, alpn, raw).await?;
            let connection = stream.state();
            info.alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
            info.peer = pki::tls::peer_certificate(connection);
            if let Some(reason) = tls::expired(info.peer.as_deref()) {
                return Err(ConnectError::new(ConnectFailure::Tls, format!("TLS_error: {reason}")));
            }
            info.tls_version = Some(tls::version_text(connection));
            Ok((Stream::tls(stream, counted), info))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::LbPolicy;
    use crate::upstream::balance::tests::{cluster_with, endpoint};

    #[tokio::test]
    async fn connects_from_the_source_and_counts() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("bound");
        let mut cluster = cluster_with(LbPolicy::RoundRobin);
        cluster.source = Some("127.0.0.7".parse().expect("address"));
        cluster.keepalive = Some((
            std::time::Duration::from_secs(60),
            std::time::Duration::from_secs(10),
            3,
        ));
        let endpoint = endpoint(&address.to_string(), 1);
        let (mut stream, _) = connect(&cluster, &endpoint, None, None).await.expect("connected");
        let (mut peer, from) = server.accept().await.expect("accepted");
        assert_eq!(
            (from.ip().to_string(), Some(from)),
            ("127.0.0.7".to_owned(), stream.local_addr())
        );
        stream.write_all(b"hello").await.expect("written");
        let mut received = [0; 5];
        peer.read_exact(&mut received).await.expect("read");
        assert_eq!(
            (cluster.stats.upstream_cx_active.get(), endpoint.stats.cx_active.get()),
            (1, 1)
        );
        drop(stream);
        assert_eq!(
            (
                cluster.stats.upstream_cx_active.get(),
                cluster.stats.upstream_cx_tx_bytes_total.get()
            ),
            (0, 5)
        );
    }

    #[tokio::test]
    async fn failures_are_named_and_leave_no_gauge_behind() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port");
        let mut cluster = cluster_with(LbPolicy::RoundRobin);
        let endpoint = endpoint(&free.to_string(), 1);
        let error = connect(&cluster, &endpoint, None, None).await.err().expect("refused");
        assert_eq!(
            (error.kind, &*error.text),
            (ConnectFailure::Refused, "delayed connect error: Connection refused")
        );
        assert_eq!(
            (
                cluster.stats.upstream_cx_active.get(),
                cluster.stats.upstream_cx_connect_fail.get()
            ),
            (0, 1)
        );
        cluster.breakers.max_connections = 0;
        let error = connect(&cluster, &endpoint, None, None).await.err().expect("overflow");
        assert_eq!(
            (error.kind, cluster.stats.upstream_cx_overflow.get()),
            (ConnectFailure::Overflow, 1)
        );
    }
}
