//! Our own certificate, read from files that others renew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pki::tls::{ClientAuth, Identity, Roots, TlsOptions, server_config};
use tokio::sync::watch::{self, Receiver};
use tokio_rustls::rustls::ServerConfig;

/// How often the files are looked at, once they are there. They are small, and are replaced a few times a day.
const INTERVAL: Duration = Duration::from_millis(500);
/// The same while the mesh waits for them.
const WAITING: Duration = Duration::from_millis(25);

const FILES: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];

type Contents = [Vec<u8>; 3];

/// Keeps the server's TLS configuration as the files in `dir` have it; `None` until they exist. The future runs for ever.
pub(crate) fn watch(dir: &Path) -> (Receiver<Option<Arc<ServerConfig>>>, impl Future<Output = ()> + use<>) {
    let (sender, receiver) = watch::channel(None);
    let files = FILES.map(|name| dir.join(name));
    let keep = async move {
        let mut last: Option<Contents> = None;
        let mut waiting = false;
        loop {
            match read(&files) {
                Err(missing) if last.is_none() => {
                    if !waiting {
                        tracing::info!(files = missing, "waiting for certificates of the secure port");
                        waiting = true;
                    }
                }
                // Files are being replaced one by one: the next look sees all of them.
                Err(_) => {}
                Ok(contents) if last.as_ref() == Some(&contents) => {}
                Ok(contents) => {
                    match load(&contents) {
                        Ok((config, subject)) => {
                            tracing::info!(%subject, dir = ?files[0].parent(), "certificates loaded");
                            sender.send_replace(Some(config));
                        }
                        Err(error) => {
                            tracing::warn!(dir = ?files[0].parent(), error, "certificates not usable; keeping those before");
                        }
                    }
                    last = Some(contents);
                }
            }
            tokio::time::sleep(if last.is_some() { INTERVAL } else { WAITING }).await;
        }
    };
    (receiver, keep)
}

/// The files that cannot be read, if there are any.
fn read(files: &[PathBuf; 3]) -> Result<Contents, String> {
    let contents = files.each_ref().map(std::fs::read);
    let missing: Vec<String> = contents
        .iter()
        .zip(files)
        .filter_map(|(content, file)| Some(format!("{} ({})", file.display(), content.as_ref().err()?)))
        .collect();
    if !missing.is_empty() {
        return Err(missing.join(", "));
    }
    Ok(contents.map(Result::unwrap_or_default))
}

fn load([chain, key, roots]: &Contents) -> Result<(Arc<ServerConfig>, String), String> {
    let identity = Identity::from_pem(chain, key).map_err(|error| error.to_string())?;
    let roots = Roots::from_pem(roots).map_err(|error| format!("root-cert.pem: {error}"))?;
    let auth = ClientAuth::Require(roots);
    let config =
        server_config(&identity, auth, &[], &[b"h2"], TlsOptions::default()).map_err(|error| error.to_string())?;
    let certificate = identity.certificate();
    Ok((
        config,
        certificate.uri_sans.first().unwrap_or(&certificate.subject).clone(),
    ))
}
