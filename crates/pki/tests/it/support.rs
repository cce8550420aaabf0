//! A fixed moment, certificates of every kind, and a handshake in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::ca::CertificateAuthority;
use pki::csr;
use pki::tls::rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use pki::tls::{Clock, Identity, Roots, TlsOptions};
use pki::{San, SpiffeId};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The moment of all tests: 2026-11-24 00:00:00 UTC.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_478_400)
}

pub(crate) fn at(moment: SystemTime) -> TlsOptions {
    TlsOptions {
        clock: Some(Clock(Arc::new(moment))),
        ..TlsOptions::default()
    }
}

pub(crate) fn ca() -> CertificateAuthority {
    CertificateAuthority::self_signed("cluster.local", 3650 * DAY, now()).unwrap()
}

pub(crate) fn spiffe(name: &str) -> San {
    San::from(&SpiffeId::new("cluster.local", "default", name).unwrap())
}

pub(crate) fn identity(ca: &CertificateAuthority, names: &[San], ttl: Duration, from: SystemTime) -> Identity {
    let key = csr::generate();
    let made = ca.sign_key(&key, names, ttl, from).unwrap();
    Identity::from_pem(made.chain_pem.as_bytes(), key.to_pem().as_bytes()).unwrap()
}

pub(crate) fn roots(ca: &CertificateAuthority) -> Roots {
    Roots::from_pem(ca.root_pem().as_bytes()).unwrap()
}

/// How a handshake went: both ends, or the side that refused and why.
pub(crate) enum Handshake {
    Done(Box<ClientConnection>, Box<ServerConnection>),
    ClientRefused(pki::tls::rustls::Error),
    ServerRefused(pki::tls::rustls::Error),
}

pub(crate) fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Handshake {
    let name = "outbound_.9080_._.reviews.default.svc.cluster.local"
        .try_into()
        .unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            if let Err(error) = server.process_new_packets() {
                return Handshake::ServerRefused(error);
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            if let Err(error) = client.process_new_packets() {
                return Handshake::ClientRefused(error);
            }
        }
    }
    assert!(
        !client.is_handshaking() && !server.is_handshaking(),
        "the handshake stalls"
    );
    Handshake::Done(Box::new(client), Box::new(server))
}
