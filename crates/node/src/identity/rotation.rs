//! The life of a certificate: the first is fetched as soon as it can be, the next when half of the life is over, at once when somebody
//! asks, and again and again when the CA does not answer, for the old one still has the other half.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use pki::San;
use pki::rotation::Schedule;
use runtime::backoff::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::citadel::{Citadel, SignError};
use super::roots::{RootFile, union};
use super::{Roots, Secrets, WorkloadIdentity, files};

/// While nothing works yet the files and the CA are looked for often: a pod waits for this.
const POLL_FIRST: Duration = Duration::from_millis(50);
const POLL_LATER: Duration = Duration::from_secs(2);
/// The first attempts fail because the CA is still starting.
const RETRY_FIRST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
const RETRY_LATER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Counted for the agent's metrics.
#[derive(Debug, Default)]
pub struct RotationMetrics {
    pub issued: AtomicU64,
    pub failed: AtomicU64,
}

/// Keeps [`Secrets`] fresh. [`Rotation::run`] never ends.
#[derive(Debug)]
pub struct Rotation {
    citadel: Citadel,
    ttl: Duration,
    /// Written into requests for whoever reads the CA's log; the CA decides by the token alone.
    names: Vec<San>,
    output: Option<PathBuf>,
    publish: watch::Sender<Secrets>,
    rotate: Arc<Notify>,
    metrics: Arc<RotationMetrics>,
    now: fn() -> SystemTime,
    roots: RootFile,
    issued_roots: Option<String>,
    backoff: Backoff,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("what the CA at {0} issued cannot be used: {1}")]
    Unusable(String, String),
}

impl Rotation {
    /// `rotate` asks for a renewal now; `now` is the wall clock that certificates are judged by.
    pub fn new(
        citadel: Citadel,
        ttl: Duration,
        publish: watch::Sender<Secrets>,
        rotate: Arc<Notify>,
        now: fn() -> SystemTime,
    ) -> Self {
        let roots = RootFile::new(citadel.root_file.clone());
        let backoff = Backoff::new(RETRY_FIRST.0, RETRY_FIRST.1);
        let metrics = Arc::default();
        Rotation {
            citadel,
            ttl,
            names: Vec::new(),
            output: None,
            publish,
            rotate,
            metrics,
            now,
            roots,
            issued_roots: None,
            backoff,
        }
    }

    pub fn names(mut self, names: Vec<San>) -> Self {
        self.names = names;
        self
    }

    /// Also writes every new certificate to files of this folder.
    pub fn output(mut self, dir: Option<PathBuf>) -> Self {
        self.output = dir;
        self
    }

    pub fn metrics(&self) -> Arc<RotationMetrics> {
        self.metrics.clone()
    }

    pub async fn run(mut self) {
        let mut due = Instant::now();
        let mut failing = false;
        loop {
            let poll = if self.has_identity() { POLL_LATER } else { POLL_FIRST };
            let asked = tokio::select! {
                () = self.rotate.notified() => true,
                () = sleep_until(due.min(Instant::now() + poll)) => false,
            };
            let new_roots = self.roots.poll();
            if new_roots {
                self.publish_roots();
            }
            // A clock that was set, or a machine that slept, is noticed by the certificate itself.
            let wanted = asked || Instant::now() >= due || (failing && new_roots) || (!failing && self.overdue());
            if wanted {
                due = Instant::now() + self.renew(&mut failing).await;
            }
        }
    }

    fn has_identity(&self) -> bool {
        self.publish.borrow().identity.is_some()
    }

    /// Half of the life is over by the wall clock, which a timer may have missed.
    fn overdue(&self) -> bool {
        let now = (self.now)();
        self.publish.borrow().identity.as_ref().is_some_and(|identity| {
            let (from, until) = identity.validity();
            Schedule::default().is_due(from, until, now)
        })
    }

    /// Tries once; says how long to wait before the next time.
    async fn renew(&mut self, failing: &mut bool) -> Duration {
        match self.obtain().await {
            Ok(identity) => {
                *failing = false;
                self.backoff = Backoff::new(RETRY_LATER.0, RETRY_LATER.1);
                self.metrics.issued.fetch_add(1, Ordering::Relaxed);
                let (from, until) = identity.validity();
                let wait = Schedule::default()
                    .wait(from, until, (self.now)(), fastrand::f64())
                    .max(Duration::from_secs(1));
                tracing::info!(
                    names = identity.names(), serial = identity.leaf.serial, ca = %self.citadel.address,
                    renew_in = runtime::duration::format(Duration::from_secs(wait.as_secs())), "certificate issued"
                );
                self.publish_identity(identity);
                wait
            }
            Err(failure) => {
                let wait = self.backoff.next();
                self.metrics.failed.fetch_add(1, Ordering::Relaxed);
                self.report(&failure, wait, std::mem::replace(failing, true));
                wait
            }
        }
    }

    /// The first failure of a row is a warning. While the CA merely starts the repetition is no news; a certificate that ends soon is.
    fn report(&self, failure: &Failure, wait: Duration, again: bool) {
        let left = self
            .publish
            .borrow()
            .identity
            .as_ref()
            .map(|identity| identity.leaf.not_after.duration_since((self.now)()).unwrap_or_default());
        let retry = format!("{wait:.1?}");
        match left {
            Some(left) if left < self.ttl / 4 => {
                let left = runtime::duration::format(Duration::from_secs(left.as_secs()));
                tracing::error!(%failure, retry, left, "certificate not renewed: connections will fail when it expires");
            }
            Some(_) => tracing::warn!(%failure, retry, "certificate not renewed"),
            None if again && wait < RETRY_FIRST.1 / 2 => tracing::debug!(%failure, retry, "no certificate yet"),
            None => tracing::warn!(%failure, retry, "no certificate yet"),
        }
    }

    async fn obtain(&mut self) -> Result<WorkloadIdentity, Failure> {
        self.roots.poll();
        let roots = self.roots.pem().ok_or_else(|| SignError::Roots {
            file: self.roots.path().to_owned(),
            reason: self.roots.fault().unwrap_or("not read yet").to_owned(),
        })?;
        let unusable = |reason: String| Failure::Unusable(self.citadel.address.to_string(), reason);
        let key = pki::csr::generate();
        let csr = pki::csr::request(&key, &self.names).map_err(|error| unusable(error.to_string()))?;
        let signed = self.citadel.sign(&csr, self.ttl, roots).await?;
        pki::tls::Roots::from_pem(signed.root_pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let identity =
            WorkloadIdentity::new(signed.chain_pem, key.to_pem()).map_err(|error| unusable(error.to_string()))?;
        self.issued_roots = Some(signed.root_pem);
        Ok(identity)
    }

    fn bundle(&self) -> Option<Arc<Roots>> {
        let bundles = [self.roots.pem(), self.issued_roots.as_deref()];
        union(bundles.into_iter().flatten()).map(Arc::new)
    }

    fn publish_roots(&self) {
        let roots = self.bundle();
        let changed = self.publish.send_if_modified(|secrets| {
            let changed = secrets.roots != roots;
            secrets.roots.clone_from(&roots);
            changed
        });
        if changed {
            tracing::info!(file = %self.roots.path().display(), "root certificates read");
            self.write_files();
        }
    }

    fn publish_identity(&self, identity: WorkloadIdentity) {
        let roots = self.bundle();
        self.publish.send_replace(Secrets {
            identity: Some(Arc::new(identity)),
            roots,
        });
        self.write_files();
    }

    fn write_files(&self) {
        let Some(dir) = &self.output else { return };
        if let Err(error) = files::write(dir, &self.publish.borrow()) {
            tracing::error!(dir = %dir.display(), %error, "cannot write the certificate files (--output-certs)");
        }
    }
}
