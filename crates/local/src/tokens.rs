//! Service-account tokens, as a cluster's API server would issue them: for one audience, bound to the pod, short-lived and
//! renewed on disk. The signing key exists only in our memory; its public half is what Citadel checks against.

use std::path::Path;
use std::time::{Duration, SystemTime};

use pki::jwt::TokenIssuer;

use crate::state::write_atomic;

pub(crate) const ISSUER: &str = "https://local.meltemi.io";
pub(crate) const AUDIENCE: &str = "istio-ca";

const LIFETIME: Duration = Duration::from_secs(3600);
/// Half a lifetime: whoever reads the file always finds one that lasts.
pub(crate) const RENEW_AFTER: Duration = Duration::from_secs(1800);

pub(crate) struct Tokens {
    issuer: TokenIssuer,
}

impl Tokens {
    /// Makes a new key; tokens of an earlier run are worthless from then on.
    pub(crate) fn new() -> Result<Self, String> {
        let key = pki::csr::generate();
        let issuer = TokenIssuer::new(ISSUER, &key).map_err(|error| error.to_string())?;
        Ok(Tokens { issuer })
    }

    pub(crate) fn jwks(&self) -> String {
        self.issuer.jwks()
    }

    /// Writes a pod's token.
    pub(crate) fn write(
        &self,
        path: &Path,
        namespace: &str,
        account: &str,
        pod: &str,
        now: SystemTime,
    ) -> Result<(), String> {
        let token = self
            .issuer
            .issue(namespace, account, pod, AUDIENCE, LIFETIME, now)
            .map_err(|error| error.to_string())?;
        write_atomic(path, token.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
    }
}
