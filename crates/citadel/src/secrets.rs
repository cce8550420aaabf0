//! Certificates for those who read files: what the original's controller does with Kubernetes secrets.
//!
//! A secret is written when it is missing, when it cannot be read, when its names or its root are not the current ones, or when its time has
//! come. It is looked at once a minute and whenever the next renewal is due.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pki::ca::CertificateAuthority;
use pki::tls::Identity;
use pki::{San, SpiffeId, csr};

use crate::Clock;
use crate::files::{self, FileError};
use crate::metrics::Metrics;
use crate::settings::Secrets;

/// Keeps the secrets of a folder.
#[derive(Debug)]
pub struct SecretKeeper {
    ca: Arc<CertificateAuthority>,
    metrics: Arc<Metrics>,
    settings: Secrets,
    written_before: Vec<SpiffeId>,
}

const RESYNC: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(200);
const CHAIN: &str = "cert-chain.pem";
const KEY: &str = "key.pem";
const ROOT: &str = "root-cert.pem";

/// What one look found.
enum State {
    Good(SystemTime),
    Write(&'static str),
}

impl SecretKeeper {
    /// Keeps these secrets.
    pub fn new(ca: Arc<CertificateAuthority>, metrics: Arc<Metrics>, settings: Secrets) -> Self {
        Self {
            ca,
            metrics,
            settings,
            written_before: Vec::new(),
        }
    }

    /// Looks at every secret once and writes what has to be written. Answers when to look again.
    pub fn sync(&mut self, now: SystemTime) -> Result<Duration, FileError> {
        let mut next = RESYNC;
        let mut first_error = None;
        for (id, names) in self.settings.accounts.clone() {
            let renew_at = match self.look(&id, &names, now) {
                State::Good(renew_at) => Ok(Some(renew_at)),
                State::Write(reason) => self.write(&id, &names, reason, now),
            };
            match renew_at {
                Ok(Some(at)) => next = next.min(at.duration_since(now).unwrap_or_default().max(SOON)),
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(next), Err)
    }

    /// Syncs for ever.
    pub async fn run(mut self, clock: Clock) {
        loop {
            let wait = self.sync(clock()).unwrap_or_else(|error| {
                tracing::error!(%error, "a secret is not written");
                RESYNC
            });
            tokio::time::sleep(wait).await;
        }
    }

    fn dir(&self, id: &SpiffeId) -> PathBuf {
        self.settings
            .dir
            .join(format!("{}.{}", id.namespace(), id.service_account()))
    }

    fn look(&self, id: &SpiffeId, names: &[San], now: SystemTime) -> State {
        let dir = self.dir(id);
        let (Ok(chain), Ok(key), Ok(root)) = (
            files::read(&dir.join(CHAIN)),
            files::read(&dir.join(KEY)),
            files::read(&dir.join(ROOT)),
        ) else {
            return State::Write("missing");
        };
        let Ok(identity) = Identity::from_pem(&chain, &key) else {
            return State::Write("unreadable");
        };
        let certificate = identity.certificate();
        let (start, end) = (certificate.not_before, certificate.not_after);
        if root != self.ca.root_pem().as_bytes() {
            return State::Write("of another root");
        }
        if certificate.sans() != names {
            return State::Write("for other names");
        }
        if self.settings.schedule.is_due(start, end, now) {
            return State::Write("due for renewal");
        }
        State::Good(self.settings.schedule.renew_at(start, end, 0.0))
    }

    /// Writes a secret. A certificate that the CA refuses is reported and tried again later.
    fn write(
        &mut self,
        id: &SpiffeId,
        names: &[San],
        reason: &'static str,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, FileError> {
        let key = csr::generate();
        let made = match self.ca.sign_key(&key, names, Duration::ZERO, now) {
            Ok(made) => made,
            Err(error) => {
                self.metrics.secret_sign_errors.increment(error.code());
                tracing::error!(identity = %id, %error, "no certificate for a secret");
                return Ok(None);
            }
        };
        let key_pem = key.to_pem();
        let set = [
            (CHAIN, made.chain_pem.as_bytes(), files::PUBLIC),
            (KEY, key_pem.as_bytes(), files::SECRET),
            (ROOT, self.ca.root_pem().as_bytes(), files::PUBLIC),
        ];
        let stamp = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos()
            .to_string();
        files::write_set(&self.dir(id), &set, &stamp)?;
        if !self.written_before.contains(id) {
            self.written_before.push(id.clone());
            self.metrics.secrets_created.increment();
        } else if reason == "missing" {
            self.metrics.secrets_recreated.increment();
        }
        tracing::info!(identity = %id, folder = %self.dir(id).display(), "wrote a secret that was {reason}");
        Ok(Some(self.settings.schedule.renew_at(
            made.not_before,
            made.not_after,
            0.0,
        )))
    }
}
