//! Verifying tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::Claims;
use crate::{SpiffeId, SpiffeIdError};

/// Verifies tokens of one issuer for one audience.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    keys: Vec<Key>,
    issuer: String,
    audience: String,
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pod the token is bound to, when it says so.
    pub pod: Option<String>,
}

/// An unusable key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not a key set.
    #[error("not a JSON web key set: {0}")]
    Malformed(String),
    /// Nothing to verify with.
    #[error("the key set holds no usable key: ES256 (P-256) and RS256 (RSA) keys are used")]
    NoKey,
}

/// Why a token is refused. None of these repeats the token itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token.
    #[error("the token is not a signed JSON web token: {0}")]
    Malformed(String),
    /// No key of ours signed it.
    #[error("the token is not signed by a key of the key set{}", .key_id.as_ref().map(|k| format!(" (its key id is `{k}`)")).unwrap_or_default())]
    Signature {
        /// The key it names.
        key_id: Option<String>,
    },
    /// Another issuer.
    #[error("the token was issued by `{presented}`, expected is `{expected}`")]
    Issuer {
        /// The token's.
        presented: String,
        /// Ours.
        expected: String,
    },
    /// For somebody else.
    #[error("the token is for the audience `{}`, expected is `{expected}`", .presented.join("`, `"))]
    Audience {
        /// The token's.
        presented: Vec<String>,
        /// Ours.
        expected: String,
    },
    /// Too old.
    #[error("the token expired {0}s ago")]
    Expired(i64),
    /// Too new.
    #[error("the token is valid in {0}s only; compare the clocks of issuer and CA")]
    NotYetValid(i64),
    /// Without an end.
    #[error("the token never expires; only tokens with an expiry are accepted")]
    NoExpiry,
    /// Not a service account's.
    #[error("the token's subject `{0}` is not a service account (system:serviceaccount:<namespace>:<name>)")]
    Subject(String),
}

#[derive(Debug, Clone)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

const MAX_TOKEN_BYTES: usize = 16 * 1024;
const TOLERANCE_SECONDS: i64 = 60;

// === impl TokenVerifier ===

impl TokenVerifier {
    /// Takes the usable keys of a JSON web key set; keys of other kinds are passed over.
    pub fn new(jwks: &str, issuer: &str, audience: &str) -> Result<Self, JwksError> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(jwks).map_err(|e| JwksError::Malformed(e.to_string()))?;
        let keys: Vec<Key> = set
            .keys
            .into_iter()
            .filter_map(|value| Key::of(&serde_json::from_value(value).ok()?))
            .collect();
        if keys.is_empty() {
            return Err(JwksError::NoKey);
        }
        Ok(Self {
            keys,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// Checks signature, issuer, audience and times.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<ServiceAccount, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed(format!(
                "it is longer than {MAX_TOKEN_BYTES} bytes"
            )));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|e| TokenError::Malformed(e.to_string()))?;
        let claims = self.signed_claims(token, header.alg, header.kid.as_deref())?;
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer {
                presented: claims.iss,
                expected: self.issuer.clone(),
            });
        }
        if !claims.aud.as_slice().contains(&self.audience) {
            let presented = claims.aud.as_slice().to_vec();
            return Err(TokenError::Audience {
                presented,
                expected: self.audience.clone(),
            });
        }
        in_time(&claims, now)?;
        service_account(claims)
    }

    /// Tries the keys that the token may be signed with: those of its key id, or all when either side names none.
    fn signed_claims(&self, token: &str, algorithm: Algorithm, key_id: Option<&str>) -> Result<Claims, TokenError> {
        let fits = |key: &&Key| {
            key.algorithm == algorithm && (key_id.is_none() || key.id.is_none() || key.id.as_deref() == key_id)
        };
        for key in self.keys.iter().filter(fits) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, &signature_only(algorithm)) {
                Ok(data) => return Ok(data.claims),
                Err(e) if matches!(e.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature) => {}
                Err(e) => return Err(TokenError::Malformed(e.to_string())),
            }
        }
        Err(TokenError::Signature {
            key_id: key_id.map(|id| id.chars().take(100).collect()),
        })
    }
}

impl ServiceAccount {
    /// The identity in a trust domain.
    pub fn spiffe_id(&self, trust_domain: &str) -> Result<SpiffeId, SpiffeIdError> {
        SpiffeId::new(trust_domain, &self.namespace, &self.name)
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Algorithm::ES256,
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            _ => return None,
        };
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}

/// The library's own checks of claims read the system's clock; ours are given the moment.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn in_time(claims: &Claims, now: SystemTime) -> Result<(), TokenError> {
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let end = claims.exp.ok_or(TokenError::NoExpiry)?;
    if now >= end.saturating_add(TOLERANCE_SECONDS) {
        return Err(TokenError::Expired(now.saturating_sub(end)));
    }
    match claims.nbf {
        Some(start) if start > now.saturating_add(TOLERANCE_SECONDS) => {
            Err(TokenError::NotYetValid(start.saturating_sub(now)))
        }
        _ => Ok(()),
    }
}

fn service_account(claims: Claims) -> Result<ServiceAccount, TokenError> {
    let parts: Vec<&str> = claims.sub.split(':').collect();
    let ["system", "serviceaccount", namespace, name] = parts[..] else {
        return Err(TokenError::Subject(claims.sub));
    };
    if namespace.is_empty() || name.is_empty() {
        return Err(TokenError::Subject(claims.sub));
    }
    let pod = claims.kubernetes.and_then(|bound| bound.pod).map(|pod| pod.name);
    Ok(ServiceAccount {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        pod,
    })
}
