//! The peer of a finished handshake.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::CommonState;

use crate::PeerCertificate;

/// Certificates remembered by each thread; beyond, its memory starts afresh.
const MOST: usize = 256;
/// Larger ones are no workload's, and are not remembered.
const MOST_BYTES: usize = 4096;

thread_local! {
    static READ: RefCell<HashMap<Box<[u8]>, Arc<PeerCertificate>>> = RefCell::default();
}

/// The peer's leaf certificate, read; all connections with one peer share what was read of it. `None`: it presented none, or none
/// that can be read.
pub fn peer_certificate(state: &CommonState) -> Option<Arc<PeerCertificate>> {
    read(state.peer_certificates()?.first()?)
}

fn read(der: &[u8]) -> Option<Arc<PeerCertificate>> {
    READ.with_borrow_mut(|known| {
        if let Some(certificate) = known.get(der) {
            return Some(certificate.clone());
        }
        let certificate = PeerCertificate::from_der(der).ok().map(Arc::new)?;
        if der.len() <= MOST_BYTES {
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(der.into(), certificate.clone());
        }
        Some(certificate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_once_is_shared() {
        let now = std::time::SystemTime::now();
        let hour = std::time::Duration::from_secs(3600);
        let ca = crate::ca::CertificateAuthority::self_signed("cluster.local", hour, now).unwrap();
        let ders = crate::pem::certificates(ca.root_pem().as_bytes()).unwrap();
        let (one, two) = (read(&ders[0]).unwrap(), read(&ders[0]).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        assert!(read(b"no certificate").is_none());
    }
}
