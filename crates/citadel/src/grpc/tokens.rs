//! The key set that tokens are verified with, read again when its file changes.
//!
//! The file may appear after us (who issues tokens starts at the same time), and a broken rewrite keeps the last good keys. Its state is compared
//! when a token arrives: no watcher, and a rotated key is accepted with the first token it signed.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pki::jwt::{ServiceAccount, TokenVerifier};

use crate::files;
use crate::settings::Tokens;

/// Verifies tokens by the keys in a file.
#[derive(Debug)]
pub struct TokenFile {
    settings: Tokens,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    verifier: Option<TokenVerifier>,
}

/// What tells one version of the file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl TokenFile {
    /// Reads the keys if the file is there already.
    pub fn new(settings: Tokens) -> Self {
        let file = Self {
            settings,
            state: Mutex::default(),
        };
        file.refreshed(&mut file.lock());
        file
    }

    /// Whom the token speaks for; the error is fit for the caller.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<ServiceAccount, String> {
        let mut state = self.lock();
        self.refreshed(&mut state);
        match &state.verifier {
            Some(verifier) => verifier.verify(token, now).map_err(|e| e.to_string()),
            None => Err("the CA has no keys to verify tokens with yet".to_owned()),
        }
    }

    fn refreshed(&self, state: &mut State) {
        let path = &self.settings.jwks;
        let seen = fs::metadata(path).map(|data| Seen {
            modified: data.modified().ok(),
            length: data.len(),
            inode: std::os::unix::fs::MetadataExt::ino(&data),
        });
        let seen = seen.ok();
        if seen == state.seen && (seen.is_some() || state.verifier.is_some()) {
            return;
        }
        state.seen = seen;
        let loaded = files::read(path).map_err(|e| e.to_string()).and_then(|bytes| {
            let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
            TokenVerifier::new(&text, &self.settings.issuer, &self.settings.audience).map_err(|e| e.to_string())
        });
        match loaded {
            Ok(verifier) => state.verifier = Some(verifier),
            Err(error) if state.verifier.is_some() => {
                tracing::warn!(file = %path.display(), %error, "the new key set cannot be used, the last good one stays");
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "no key set yet: service-account tokens are refused")
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
