//! The certificate we present: signed by the CA itself, kept, and replaced at half its life.
//!
//! With it goes the whole TLS configuration, whose ticket keys are thereby replaced too.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pki::ca::CertificateAuthority;
use pki::rotation::Schedule;
use pki::tls::{self, ClientAuth, Identity, Roots, TlsOptions};
use pki::{San, csr};
use rustls::ServerConfig;

/// Gives the TLS configuration for the next handshake.
pub struct ServerCertificate {
    ca: Arc<CertificateAuthority>,
    names: Vec<San>,
    current: Mutex<Option<Current>>,
}

struct Current {
    config: Arc<ServerConfig>,
    renew_at: SystemTime,
}

/// Why we cannot present a certificate.
#[derive(Debug, thiserror::Error)]
#[error("no server certificate: {0}")]
pub struct ServerCertificateError(String);

impl ServerCertificate {
    /// A certificate for these names.
    pub fn new(ca: Arc<CertificateAuthority>, names: Vec<San>) -> Self {
        Self {
            ca,
            names,
            current: Mutex::new(None),
        }
    }

    /// The configuration to use now. When renewal fails, the old one serves on.
    pub fn config(&self, now: SystemTime) -> Result<Arc<ServerConfig>, ServerCertificateError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(valid) = current.as_ref().filter(|current| now < current.renew_at) {
            return Ok(valid.config.clone());
        }
        match (self.make(now), current.as_ref()) {
            (Ok(made), _) => Ok(current.insert(made).config.clone()),
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "the server certificate is not renewed");
                Ok(old.config.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self, now: SystemTime) -> Result<Current, ServerCertificateError> {
        let failed = |error: &dyn fmt::Display| ServerCertificateError(error.to_string());
        let key = csr::generate();
        let made = self
            .ca
            .sign_key(&key, &self.names, self.ca.ttl().max, now)
            .map_err(|e| failed(&e))?;
        let identity =
            Identity::from_pem(made.chain_pem.as_bytes(), key.to_pem().as_bytes()).map_err(|e| failed(&e))?;
        let roots = Roots::from_pem(self.ca.root_pem().as_bytes()).map_err(|e| failed(&e))?;
        let config = tls::server_config(
            &identity,
            ClientAuth::Optional(roots),
            &[],
            &[b"h2"],
            TlsOptions::default(),
        );
        let renew_at = Schedule::default().renew_at(made.not_before, made.not_after, 0.0);
        Ok(Current {
            config: config.map_err(|e| failed(&e))?,
            renew_at,
        })
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
