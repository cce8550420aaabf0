//! The roots of trust: a file that may change under us, and what the CA itself hands out.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Roots;

/// A root bundle is a handful of certificates; anything larger is another file.
const MAX_BYTES: u64 = 1 << 20;

/// The file of roots, re-read when it changes. A file that is unreadable or broken keeps the last good content.
#[derive(Debug)]
pub(super) struct RootFile {
    path: PathBuf,
    seen: Option<Stamp>,
    good: Option<String>,
    fault: Option<String>,
}

/// What changes whenever a file is written or replaced (Kubernetes swaps a symbolic link: device and inode change).
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    modified: (i64, i64),
    length: u64,
}

impl RootFile {
    pub(super) fn new(path: PathBuf) -> Self {
        RootFile {
            path,
            seen: None,
            good: None,
            fault: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last good content.
    pub(super) fn pem(&self) -> Option<&str> {
        self.good.as_deref()
    }

    /// Why the file as it is now cannot be used.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Looks at the file; true when there is new good content.
    pub(super) fn poll(&mut self) -> bool {
        let stamp = match stamp(&self.path) {
            Ok(stamp) if self.seen.as_ref() == Some(&stamp) => return false,
            Ok(stamp) => stamp,
            Err(error) => {
                self.seen = None;
                self.fault = Some(error.to_string());
                return false;
            }
        };
        match read(&self.path, stamp.length) {
            Ok(pem) => {
                let changed = self.good.as_ref() != Some(&pem);
                (self.good, self.fault, self.seen) = (Some(pem), None, Some(stamp));
                changed
            }
            Err(fault) => {
                if self.good.is_some() && self.fault.as_ref() != Some(&fault) {
                    tracing::warn!(file = %self.path.display(), %fault, "root certificates cannot be read, keeping the last good ones");
                }
                self.fault = Some(fault);
                self.seen = Some(stamp);
                false
            }
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok(Stamp {
        inode: (meta.dev(), meta.ino()),
        modified: (meta.mtime(), meta.mtime_nsec()),
        length: meta.len(),
    })
}

fn read(path: &Path, length: u64) -> Result<String, String> {
    if length > MAX_BYTES {
        return Err(format!(
            "{length} bytes long; a root bundle of at most {MAX_BYTES} is read"
        ));
    }
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    Ok(pki::split_certificates(&pem)
        .map_err(|error| error.to_string())?
        .concat())
}

/// The union of several bundles, in their order, each certificate once.
pub(super) fn union<'a>(bundles: impl IntoIterator<Item = &'a str>) -> Option<Roots> {
    let mut certificates: Vec<String> = Vec::new();
    for pem in bundles {
        for certificate in pki::split_certificates(pem.as_bytes()).unwrap_or_default() {
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
    }
    (!certificates.is_empty()).then(|| Roots {
        pem: certificates.concat(),
    })
}
