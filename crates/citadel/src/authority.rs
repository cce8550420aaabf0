//! Where the CA's own key comes from, and where its root goes.
//!
//! A root of our own is made once and kept in `--storage-dir` (`ca-cert.pem`, `ca-key.pem`: the entries of the original's secret
//! `istio-ca-secret`). What is found there but cannot be used is an error and never replaced: a new root would cut off every workload that trusts the
//! old one. The root for agents is written beside it, whatever its source.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pki::ca::{CaError, CertificateAuthority, PluggedIn};

use crate::Clock;
use crate::files::{self, FileError};
use crate::settings::{CaFiles, Settings, Source};

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Half of what was stored.
    #[error("{} exists, {} does not: put back the missing file, or remove both for a new root (every workload must then be restarted)", .present.display(), .missing.display())]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// Unusable content.
    #[error("the CA in {origin} cannot be used: {error}")]
    Unusable {
        /// Where it was read.
        origin: String,
        /// What is wrong.
        error: CaError,
    },
    /// Nobody made the root we were to wait for.
    #[error("no root appeared in {} within {} minutes; one istio_ca without --read-signing-cert-only must make it", .dir.display(), .waited.as_secs() / 60)]
    NeverMade {
        /// Where we looked.
        dir: PathBuf,
        /// For how long.
        waited: Duration,
    },
}

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const ROOT: &str = "root-cert.pem";
const POLL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Loads or makes the CA, and publishes its root.
pub async fn open(settings: &Settings, clock: &Clock) -> Result<CertificateAuthority, AuthorityError> {
    let ca = match &settings.source {
        Source::PluggedIn(paths) => plugged_in(paths, clock())?,
        Source::SelfSigned { ttl, wait_only } => {
            if let Some(dir) = settings.storage_dir.as_deref().filter(|_| *wait_only) {
                wait_for_root(dir).await?;
            }
            self_signed(settings, *ttl, clock())?
        }
    };
    if let Some(dir) = &settings.storage_dir {
        files::create_dir(dir, false)?;
        files::write(&dir.join(ROOT), ca.root_pem().as_bytes(), files::PUBLIC)?;
    }
    Ok(ca.with_ttl(settings.ttl))
}

fn self_signed(settings: &Settings, ttl: Duration, now: SystemTime) -> Result<CertificateAuthority, AuthorityError> {
    let make = |origin: String| {
        CertificateAuthority::self_signed(&settings.trust_domain, ttl, now)
            .map_err(|error| AuthorityError::Unusable { origin, error })
    };
    let Some(dir) = &settings.storage_dir else {
        tracing::warn!(
            "no --storage-dir: the root lives in memory, and a restart makes a new one that no running workload trusts"
        );
        return make("memory".to_owned());
    };
    let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    match (certificate.exists(), key.exists()) {
        (true, true) => stored(&certificate, &key, now),
        (true, false) => Err(AuthorityError::Half {
            present: certificate,
            missing: key,
        }),
        (false, true) => Err(AuthorityError::Half {
            present: key,
            missing: certificate,
        }),
        (false, false) => {
            let ca = make(dir.display().to_string())?;
            files::create_dir(dir, false)?;
            files::write(&key, ca.key_pem().as_bytes(), files::SECRET)?;
            files::write(&certificate, ca.certificate_pem().as_bytes(), files::PUBLIC)?;
            tracing::info!(folder = %dir.display(), "made a new root certificate");
            Ok(ca)
        }
    }
}

fn stored(certificate: &Path, key: &Path, now: SystemTime) -> Result<CertificateAuthority, AuthorityError> {
    let (certificate_pem, key_pem) = (files::read(certificate)?, files::read(key)?);
    let origin = format!("{} and {}", certificate.display(), key.display());
    CertificateAuthority::stored(&certificate_pem, &key_pem, now)
        .map_err(|error| AuthorityError::Unusable { origin, error })
}

fn plugged_in(paths: &CaFiles, now: SystemTime) -> Result<CertificateAuthority, AuthorityError> {
    let CaFiles {
        signing_cert,
        signing_key,
        root_cert,
        cert_chain,
    } = paths;
    let (certificate, key, root) = (
        files::read(signing_cert)?,
        files::read(signing_key)?,
        files::read(root_cert)?,
    );
    let chain = cert_chain.as_deref().map(files::read).transpose()?;
    let pems = PluggedIn {
        signing_cert: &certificate,
        signing_key: &key,
        root_cert: &root,
        cert_chain: chain.as_deref(),
    };
    CertificateAuthority::plugged_in(&pems, now).map_err(|error| {
        let mut origin = format!(
            "{}, {}, {}",
            signing_cert.display(),
            signing_key.display(),
            root_cert.display()
        );
        if let Some(chain) = cert_chain {
            origin += &format!(", {}", chain.display());
        }
        AuthorityError::Unusable { origin, error }
    })
}

async fn wait_for_root(dir: &Path) -> Result<(), AuthorityError> {
    let mut waited = Duration::ZERO;
    while !(dir.join(CERTIFICATE).exists() && dir.join(KEY).exists()) {
        if waited >= PATIENCE {
            return Err(AuthorityError::NeverMade {
                dir: dir.to_owned(),
                waited,
            });
        }
        if waited.is_zero() {
            tracing::info!(folder = %dir.display(), "waiting for a root certificate");
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
    Ok(())
}
