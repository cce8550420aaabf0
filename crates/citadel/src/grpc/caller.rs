//! Who is asking: the first credential that is accepted decides, the client certificate before the token.

use std::time::SystemTime;

use pki::San;
use tonic::metadata::MetadataMap;

use super::listener::Peer;
use super::tokens::TokenFile;

/// Decides who asks.
#[derive(Debug)]
pub struct Callers {
    trust_domain: String,
    tokens: Option<TokenFile>,
}

/// A caller that proved its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The names to certify.
    pub identities: Vec<San>,
    /// How it proved them, for the log.
    pub proof: &'static str,
}

impl Callers {
    /// Accepts certificates of ours, and tokens if they can be verified.
    pub fn new(trust_domain: String, tokens: Option<TokenFile>) -> Self {
        Self { trust_domain, tokens }
    }

    /// The caller, or for each kind of credential why it does not do.
    pub fn authenticate(&self, peer: Option<&Peer>, metadata: &MetadataMap, now: SystemTime) -> Result<Caller, String> {
        let certificate = match certificate(peer, now) {
            Ok(caller) => return Ok(caller),
            Err(reason) => reason,
        };
        self.token(metadata, now)
            .map_err(|token| format!("client certificate: {certificate}; token: {token}"))
    }

    fn token(&self, metadata: &MetadataMap, now: SystemTime) -> Result<Caller, String> {
        let mut values = metadata.get_all("authorization").iter();
        let value = values
            .next()
            .ok_or("none presented (metadata `authorization: Bearer <token>`)")?;
        if values.next().is_some() {
            return Err("several presented".to_owned());
        }
        let text = value.to_str().map_err(|_| "not ASCII")?;
        let token = strip_bearer(text).ok_or("the `authorization` metadata is not of the form `Bearer <token>`")?;
        let tokens = self
            .tokens
            .as_ref()
            .ok_or("this CA accepts none (--token-jwks is not set)")?;
        let account = tokens.verify(token, now)?;
        let id = account.spiffe_id(&self.trust_domain).map_err(|e| e.to_string())?;
        Ok(Caller {
            identities: vec![San::from(&id)],
            proof: "token",
        })
    }
}

/// The chain was verified in the handshake; a long-lived connection may have outlasted it.
fn certificate(peer: Option<&Peer>, now: SystemTime) -> Result<Caller, String> {
    let certificate = peer
        .and_then(|peer| peer.certificate.as_ref())
        .ok_or("none presented")?;
    if certificate.not_after < now {
        return Err("expired since the connection was opened".to_owned());
    }
    let identities = certificate.sans();
    if identities.is_empty() {
        return Err("it has no subject alternative name".to_owned());
    }
    Ok(Caller {
        identities,
        proof: "client certificate",
    })
}

fn strip_bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
