//! The file the proxy starts from: the part of Envoy's v3 bootstrap, in JSON, that means something to us.
//!
//! One file serves Envoy and this proxy, so its static clusters and listeners are turned into the very messages that xDS delivers, and are
//! compiled by the same code. That takes a small model of the fields a bootstrap uses rather than a descriptor pool, which would
//! cost more memory than everything else in the proxy. Nothing is swallowed: a field that is not understood is named, with its
//! place in the file, in [`Bootstrap::warnings`]; a value that cannot be used is an error that names file and field.

mod address;
mod cluster;
mod dynamic;
mod json;
mod listener;
mod node;
mod stats;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use proto::envoy::envoy::config::cluster::v3::Cluster;
use proto::envoy::envoy::config::listener::v3::Listener;

pub use dynamic::{AdsSource, ClusterSource};
pub use node::{Locality, Node, USER_AGENT};
pub use stats::Inclusion;

/// A bootstrap that can be used.
pub struct Bootstrap {
    pub node: Node,
    /// Where the admin pages are served; none without it.
    pub admin: Option<SocketAddr>,
    /// The stream that configuration comes from; none: static resources only.
    pub ads: Option<AdsSource>,
    pub clusters: Vec<Cluster>,
    pub listeners: Vec<Listener>,
    /// The address to dial from where a cluster says nothing else.
    pub source: Option<IpAddr>,
    /// Which statistics `/stats/prometheus` shows.
    pub stats: Inclusion,
    /// Fields that have no effect here.
    pub warnings: Vec<String>,
    /// The file's text, for `/config_dump`.
    pub text: String,
}

/// Why a bootstrap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("bootstrap {}: {error}", file.display())]
    Read { file: PathBuf, error: std::io::Error },
    #[error("bootstrap {}: {} bytes; the limit is {limit}", file.display(), size)]
    Size { file: PathBuf, size: u64, limit: u64 },
    #[error("bootstrap {}:{line}: not JSON: {message}", file.display())]
    Syntax {
        file: PathBuf,
        line: usize,
        message: String,
    },
    #[error("bootstrap {}: field `{field}`: {message}", file.display())]
    Field {
        file: PathBuf,
        field: String,
        message: String,
    },
}

/// A bootstrap is a few kilobytes; whatever is larger is something else.
const MAX_BYTES: u64 = 4 << 20;

/// Reads and checks the whole file.
///
/// # Errors
/// The first fault, with file and field.
pub fn load(path: &Path) -> Result<Bootstrap, BootstrapError> {
    let read = |error| BootstrapError::Read {
        file: path.to_owned(),
        error,
    };
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > MAX_BYTES {
        return Err(BootstrapError::Size {
            file: path.to_owned(),
            size,
            limit: MAX_BYTES,
        });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    parse(path, text)
}

/// As [`load`], from a text; `path` is for messages.
///
/// # Errors
/// The first fault, with file and field.
pub fn parse(path: &Path, text: String) -> Result<Bootstrap, BootstrapError> {
    let (file, mut warnings) = json::read::<json::File>(path, &text)?;
    let field = |error: json::FieldError| BootstrapError::Field {
        file: path.to_owned(),
        field: error.field,
        message: error.message,
    };
    warnings.extend(file.without_effect());
    let statics = file.static_resources;
    Ok(Bootstrap {
        node: file.node.into(),
        admin: file
            .admin
            .map(|admin| admin.address.socket("admin.address"))
            .transpose()
            .map_err(field)?,
        ads: dynamic::compile(file.dynamic_resources).map_err(field)?,
        clusters: json::each("static_resources.clusters", statics.clusters, cluster::compile).map_err(field)?,
        listeners: json::each("static_resources.listeners", statics.listeners, listener::compile).map_err(field)?,
        source: file.cluster_manager.source().map_err(field)?,
        stats: file.stats_config.into(),
        warnings,
        text,
    })
}

#[cfg(test)]
mod tests;
