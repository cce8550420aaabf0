//! Issuing tokens.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::{Audience, Bound, Claims, Named};
use crate::csr::KeyPair;

/// Issues tokens in the name of a local cluster. `Debug` shows no key.
pub struct TokenIssuer {
    issuer: String,
    key: EncodingKey,
    jwk: Jwk,
    key_id: String,
}

/// Why no token can be issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token can be issued: {0}")]
pub struct IssueError(String);

// === impl TokenIssuer ===

impl TokenIssuer {
    /// Signs with this P-256 key; `issuer` becomes the `iss` claim.
    pub fn new(issuer: &str, key: &KeyPair) -> Result<Self, IssueError> {
        let wrong =
            |e: jsonwebtoken::errors::Error| IssueError(format!("the signing key must be P-256 in PKCS#8 form ({e})"));
        let key = EncodingKey::from_ec_der(key.0.serialized_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).map_err(wrong)?;
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(wrong)?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            issuer: issuer.to_owned(),
            key,
            jwk,
            key_id,
        })
    }

    /// A token for the service account, bound to the pod, valid for one audience from `now` on for `ttl`.
    pub fn issue(
        &self,
        namespace: &str,
        service_account: &str,
        pod: &str,
        audience: &str,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<String, IssueError> {
        let start = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        let life = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: format!("system:serviceaccount:{namespace}:{service_account}"),
            aud: Audience::Several(vec![audience.to_owned()]),
            exp: Some(start.saturating_add(life)),
            nbf: Some(start),
            iat: Some(start),
            kubernetes: Some(Bound {
                namespace: namespace.to_owned(),
                serviceaccount: Named {
                    name: service_account.to_owned(),
                },
                pod: Some(Named { name: pod.to_owned() }),
            }),
        };
        let header = Header {
            kid: Some(self.key_id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|e| IssueError(e.to_string()))
    }

    /// The public key as a JSON web key set.
    pub fn jwks(&self) -> String {
        let set = JwkSet {
            keys: vec![self.jwk.clone()],
        };
        serde_json::to_string_pretty(&set).expect("a key set is plain data")
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
