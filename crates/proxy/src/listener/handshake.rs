//! The server's side of a TLS handshake, and the log line of each that is refused.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pki::tls::Refusal;
use tokio::net::TcpStream;

use super::client_hello::{self, Peeked};
use crate::config::{DownstreamTls, FilterChain, Listener};
use crate::connection::DownstreamTlsInfo;
use crate::stats::ListenerStats;
use crate::tls::ServerStream;
use crate::upstream::{cipher_text, expired, tls_reason, version_text};
use crate::worker::quiet;

/// A finished handshake.
pub(super) struct Secured {
    pub(super) stream: Box<ServerStream<TcpStream>>,
    pub(super) info: DownstreamTlsInfo,
    pub(super) server_name: Option<String>,
}

/// `None` if the client was refused (or gave up): logged and counted here. `offered`: the protocols of the client's ALPN, where they are known
/// already; if none of them is ours the connection goes on without one, as with Envoy.
pub(super) async fn accept(
    listener: &Listener,
    chain: &FilterChain,
    tls: &DownstreamTls,
    offered: &[String],
    stream: TcpStream,
    remote: SocketAddr,
) -> Option<Secured> {
    let stats = &listener.stats;
    // Both before the handshake: a secret that changes meanwhile must not lend its name to the old certificate.
    let (config, local_uri) = (tls.config.load_full(), tls.local_uri.load_full());
    let Some(config) = config else {
        stats.ssl_connection_error.inc();
        let secrets: Vec<&str> = tls.secrets.iter().map(|name| &**name).collect();
        let reason = format!("waiting for secret {} (not received over SDS yet)", secrets.join(", "));
        refuse(listener, chain, remote, &reason, "no secret");
        return None;
    };
    let config = pki::tls::config_for_client(&config, offered.iter().map(String::as_bytes));
    let mut server_name = None;
    let handshake = ServerStream::accept(config, stream, |bytes| match client_hello::peek(bytes) {
        Peeked::Partial => false,
        Peeked::NotTls => true,
        Peeked::Tls(hello) => {
            server_name = hello.server_name;
            true
        }
    });
    let finished = within(chain.handshake_timeout, handshake).await;
    let stream = match finished {
        Ok(stream) => stream,
        Err(error) => {
            failed(listener, chain, remote, &error);
            return None;
        }
    };
    stats.ssl_handshake.inc();
    let connection = stream.state();
    let info = DownstreamTlsInfo {
        peer: pki::tls::peer_certificate(connection),
        local_uri: local_uri.map(|uri| Arc::clone(uri.as_ref())),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        version: version_text(connection),
        cipher: cipher_text(connection),
    };
    if let Some(reason) = expired(info.peer.as_deref()) {
        stats.ssl_connection_error.inc();
        stats.ssl_fail_verify_error.inc();
        refuse(listener, chain, remote, &reason, "expired");
        return None;
    }
    Some(Secured {
        stream,
        info,
        server_name,
    })
}

/// Zero: without limit.
async fn within<T>(limit: Duration, handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    if limit.is_zero() {
        return handshake.await;
    }
    let late = |_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not finish the handshake in time",
        ))
    };
    crate::clock::timeout(limit, handshake).await.unwrap_or_else(late)
}

fn failed(listener: &Listener, chain: &FilterChain, remote: SocketAddr, error: &io::Error) {
    count(&listener.stats, error);
    match tls_reason(error) {
        Some(reason) => refuse(listener, chain, remote, &reason, kind(error)),
        None if error.kind() == io::ErrorKind::TimedOut => {
            refuse(listener, chain, remote, &error.to_string(), "handshake timeout");
        }
        // A client that leaves in the middle: port scans and TCP health checks do that all day.
        None => {
            tracing::debug!(listener = %listener.name, chain = %chain.name, %remote, %error, "client left during the TLS handshake");
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What is alike is told once: a client that shows another certificate each time does not get a line for each.
fn kind(error: &io::Error) -> &'static str {
    let refusal = tls_error(error).and_then(pki::tls::refusal);
    refusal.map_or("handshake failure", Refusal::kind)
}

fn count(stats: &ListenerStats, error: &io::Error) {
    stats.ssl_connection_error.inc();
    let Some(error) = tls_error(error) else {
        return;
    };
    match (error, pki::tls::refusal(error)) {
        (rustls::Error::NoCertificatesPresented, _) => stats.ssl_fail_verify_no_cert.inc(),
        (_, Some(Refusal::NameMismatch { .. })) => stats.ssl_fail_verify_san.inc(),
        (_, Some(_)) => stats.ssl_fail_verify_error.inc(),
        _ => {}
    }
}

/// Once per client address and kind in a while: one client with a bad certificate may try a hundred times a second.
fn refuse(listener: &Listener, chain: &FilterChain, remote: SocketAddr, reason: &str, kind: &str) {
    let client: Arc<str> = remote.ip().to_string().into();
    if let Some(suppressed) = quiet::first(&client, &kind.into()) {
        tracing::warn!(listener = %listener.name, chain = %chain.name, %remote, suppressed, "TLS handshake refused: {reason}");
    }
}
