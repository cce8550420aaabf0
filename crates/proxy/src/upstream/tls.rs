//! The client's side of a handshake with an endpoint.

use std::net::{IpAddr, Ipv4Addr};

use pki::PeerCertificate;
use rustls::CommonState;
use rustls_pki_types::ServerName;

use super::failure::{ConnectError, ConnectFailure};
use super::stream::Raw;
use crate::config::{Cluster, EndpointAddress, UpstreamTls};
use crate::tls::ClientStream;

pub(super) async fn handshake(
    cluster: &Cluster,
    tls: &UpstreamTls,
    address: &EndpointAddress,
    alpn: Option<&[Vec<u8>]>,
    raw: Raw,
) -> Result<Box<ClientStream<Raw>>, ConnectError> {
    let Some(config) = tls.config.load_full() else {
        return Err(waiting(tls));
    };
    let name = server_name(tls, address)?;
    match ClientStream::connect(config, name, alpn, raw).await {
        Ok(stream) => {
            cluster.stats.ssl_handshake.inc();
            Ok(stream)
        }
        Err(error) => {
            count(cluster, &error);
            Err(ConnectError::tls(&error))
        }
    }
}

/// Without secrets there is no identity to present and no root to trust: said by name, since the cause lies with whoever gives them.
pub(super) fn waiting(tls: &UpstreamTls) -> ConnectError {
    let names: Vec<&str> = tls.secrets.iter().map(|name| &**name).collect();
    let text = format!(
        "TLS_error: waiting for secret {} (not received over SDS yet)",
        names.join(", ")
    );
    ConnectError::new(ConnectFailure::Tls, text)
}

/// An address as name sends no SNI; identities are checked by SAN in either case.
fn server_name(tls: &UpstreamTls, address: &EndpointAddress) -> Result<ServerName<'static>, ConnectError> {
    if let Some(sni) = &tls.sni {
        let invalid = |_| {
            ConnectError::new(
                ConnectFailure::Tls,
                format!("TLS_error: `{sni}` cannot be sent as server name (SNI)"),
            )
        };
        return ServerName::try_from(sni.to_string()).map_err(invalid);
    }
    let ip = match address {
        EndpointAddress::Socket(address) => address.ip(),
        EndpointAddress::Pipe(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    Ok(ServerName::IpAddress(ip.into()))
}

fn count(cluster: &Cluster, error: &std::io::Error) {
    use pki::tls::Refusal;
    cluster.stats.ssl_connection_error.inc();
    let refusal = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
        .and_then(pki::tls::refusal);
    match refusal {
        Some(Refusal::NameMismatch { .. }) => cluster.stats.ssl_fail_verify_san.inc(),
        Some(_) => cluster.stats.ssl_fail_verify_error.inc(),
        None => {}
    }
}

/// As access logs name it.
pub(crate) fn version_text(state: &CommonState) -> &'static str {
    match state.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// The cipher suite by its IANA name (rustls has names of its own for those of TLS 1.3).
pub(crate) fn cipher_text(state: &CommonState) -> &'static str {
    match state.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()) {
        Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
        Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
        Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.unwrap_or_default(),
    }
}

/// A resumed session is not verified again, so a certificate could outlive itself by the life of a ticket. It must not.
pub(crate) fn expired(peer: Option<&PeerCertificate>) -> Option<String> {
    let peer = peer.filter(|peer| peer.not_after <= std::time::SystemTime::now())?;
    let names = peer.principal().unwrap_or("nobody");
    Some(format!(
        "the certificate of `{names}` expired at {} (the session was resumed)",
        pki::tls::time_text(peer.not_after)
    ))
}
