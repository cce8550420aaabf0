//! The unix socket of the secret service.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use proto::envoy::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use tokio::net::UnixListener;

use super::SecretService;

/// A proxy asks for a secret on one stream per cluster and listener.
const MAX_STREAMS: u32 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{}: another agent serves this socket; two agents need two --configPath folders", .0.display())]
    InUse(PathBuf),
    #[error("{}: cannot listen: {source}", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// Binds the socket with mode 0600, in the place of one that a dead agent left.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    listen(path).map_err(failed)
}

/// The mode is set before the bind, and on the socket itself: after a bind anybody could connect before a chmod, and a umask would
/// be everybody's.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&socket, Backlog::MAXCONN)?;
    UnixListener::from_std(socket.into())
}

/// Serves until the process ends.
pub async fn serve(listener: UnixListener, service: SecretService) {
    let service = SecretDiscoveryServiceServer::new(service);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the secret socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http2.max_concurrent_streams(MAX_STREAMS);
            if let Err(error) = http2.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection on the secret socket ended");
            }
        });
    }
}
