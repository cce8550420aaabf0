//! Service-account tokens: issued by the local runner, verified by the CA with a JWKS.
//!
//! The claims are those of Kubernetes, so that a token of a cluster's issuer is verified by the same code. Accepted are ES256 and RS256,
//! chosen by the *key* (never by the token's own header alone). Times are compared with the moment given, with 60 seconds of tolerance for clocks that
//! differ.

mod issue;
mod verify;

pub use issue::{IssueError, TokenIssuer};
pub use verify::{JwksError, ServiceAccount, TokenError, TokenVerifier};

use serde::{Deserialize, Serialize};

/// What every token of ours and of Kubernetes says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    aud: Audience,
    exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(default, rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Bound>,
}

/// One audience or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// What the token is bound to.
#[derive(Debug, Serialize, Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Named {
    name: String,
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Audience {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}
