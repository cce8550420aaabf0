//! The certificate as files, for an operator who asks (`--output-certs`): the names the original mounts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Secrets;

/// Writes what is known. Each file is replaced by a rename; the key before the chain, so that whoever watches the chain finds
/// the key that belongs to it.
pub(super) fn write(dir: &Path, secrets: &Secrets) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if let Some(identity) = &secrets.identity {
        replace(dir, "key.pem", identity.key_pem(), 0o600)?;
        replace(dir, "cert-chain.pem", &identity.chain_pem, 0o644)?;
    }
    if let Some(roots) = &secrets.roots {
        replace(dir, "root-cert.pem", &roots.pem, 0o644)?;
    }
    Ok(())
}

fn replace(dir: &Path, name: &str, content: &str, mode: u32) -> io::Result<()> {
    let fresh = dir.join(format!(".{name}.new"));
    let _ = fs::remove_file(&fresh); // left by a crash, perhaps with another mode
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)?;
    file.write_all(content.as_bytes())?;
    fs::rename(fresh, dir.join(name))
}
