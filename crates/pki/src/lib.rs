//! Keys, certificates, tokens and TLS of the mesh.
//!
//! This crate decides and never dials: it opens no socket, reads no clock and writes no file. The moment is always an
//! argument, so a table can test what happens the second before and after an expiry. (The one exception is the clock
//! inside rustls, which [`tls::TlsOptions::clock`] replaces.)
//!
//! An identity is a [`SpiffeId`]. A workload makes a [`csr::KeyPair`] and a request, a [`ca::CertificateAuthority`] signs it
//! for the identities that its caller *proved* (never for those the request asks for), and [`tls`] turns chain, key
//! and roots into rustls configurations that check chain and SAN, not host names. [`rotation`] says when to renew, [`jwt`] issues
//! and verifies service-account tokens, [`peer`] reads a certificate for logs, headers and admin pages.
//!
//! No type that holds a private key prints it.

pub mod ca;
pub mod csr;
pub mod jwt;
pub mod peer;
mod pem;
pub mod rotation;
mod san;
mod spiffe;
pub mod tls;

pub use peer::PeerCertificate;
pub use pem::{PemError, split_certificates};
pub use san::{San, SanMatch, SanMatchError};
pub use spiffe::{SpiffeId, SpiffeIdError};
