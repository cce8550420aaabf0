//! TLS of the mesh on rustls: configurations whose verifiers check chain and SAN by policy and never a host name.
//!
//! - A server either asks for no client certificate, accepts one, or insists on one ([`ClientAuth`]). A client expects a workload
//!   ([`ServerVerify::Spiffe`]), a public-web style server ([`ServerVerify::WebPki`]) or anyone.
//! - A refusal is a typed [`Refusal`] naming what was presented and what was expected; [`explain`] finds it in the rustls error.
//! - A server names no acceptable CAs in its request: a client of another root then still sends its certificate, and the refusal can name it.
//! - Sessions are resumed on both sides. A configuration has its own ticket keys, so replacing it (new certificate, new roots) ends resumption
//!   of what the old one admitted.
//! - Key exchange prefers X25519MLKEM768; [`TlsOptions::groups`] chooses otherwise where middleboxes or audits demand that.

mod ciphers;
mod config;
mod groups;
mod identity;
mod peer;
mod pins;
mod refusal;
mod roots;
mod several;
mod verified;
mod verify;

pub use ciphers::Ciphers;
pub use config::{
    ClientAuth, Clock, ServerVerify, TlsError, TlsOptions, Version, client_config, client_config_with,
    config_for_client, server_config, server_config_of,
};
pub use groups::{Groups, UnknownGroups};
pub use identity::{Identity, IdentityError};
pub use peer::peer_certificate;
pub use pins::{BadPin, Pins};
pub use refusal::{Presented, Refusal, explain, explain_io, refusal, time_text};
pub use roots::Roots;

pub use rustls;
