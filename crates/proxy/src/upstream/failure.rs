//! Why an endpoint could not be reached, in Envoy's words where it has some.

use std::io;
use std::sync::Arc;

use crate::worker::quiet;

/// What failed, for response flags, retries and outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens, or the way is barred.
    Refused,
    Timeout,
    /// The handshake failed, or cannot even begin.
    Tls,
    /// The cluster's `max_connections` are in use: nothing is wrong with the endpoint.
    Overflow,
    /// Our own machine refused: no descriptors, no ports, no such source address.
    Local,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    pub kind: ConnectFailure,
    /// For the log and the response body: `delayed connect error: Connection refused`.
    pub text: Arc<str>,
}

// === impl ConnectError ===

impl ConnectError {
    pub fn new(kind: ConnectFailure, text: impl Into<Arc<str>>) -> Self {
        ConnectError {
            kind,
            text: text.into(),
        }
    }

    pub fn is_timeout(&self) -> bool {
        self.kind == ConnectFailure::Timeout
    }

    pub(super) fn dial(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::TimedOut => ConnectFailure::Timeout,
            Kind::AddrNotAvailable | Kind::AddrInUse | Kind::PermissionDenied | Kind::InvalidInput => {
                ConnectFailure::Local
            }
            _ if matches!(error.raw_os_error(), Some(code) if is_exhaustion(code)) => ConnectFailure::Local,
            _ => ConnectFailure::Refused,
        };
        ConnectError::new(kind, format!("delayed connect error: {}", reason(error)))
    }

    pub(super) fn tls(error: &io::Error) -> Self {
        let text = match tls_reason(error) {
            Some(reason) => format!("TLS_error: {reason}"),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "TLS_error: the peer closed the connection during the handshake (it may not speak TLS)".to_owned()
            }
            None => format!("TLS_error: {}", reason(error)),
        };
        ConnectError::new(ConnectFailure::Tls, text)
    }
}

/// The reason of a TLS failure inside an I/O error, in words. In TLS 1.3 a server's refusal of our certificate arrives only with the first
/// read, so whoever reads a [`Stream`](super::Stream) asks here before it blames the network.
pub fn tls_reason(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(pki::tls::explain(inner))
}

/// Out of descriptors, memory or buffers.
pub(crate) fn is_exhaustion(code: i32) -> bool {
    use nix::errno::Errno;
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]
        .iter()
        .any(|errno| *errno as i32 == code)
}

/// `Connection refused` without Rust's ` (os error 111)`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Logs a failure, at most once per endpoint, reason and half minute, saying how many were not logged.
pub(super) fn log_failure(cluster: &str, endpoint: &Arc<str>, error: &ConnectError) {
    if let Some(suppressed) = quiet::first(endpoint, &error.text) {
        tracing::warn!(cluster, %endpoint, kind = ?error.kind, suppressed, "cannot connect: {}", error.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_classified_and_told_as_envoy_tells_them() {
        let refused = io::Error::from_raw_os_error(nix::errno::Errno::ECONNREFUSED as i32);
        let error = ConnectError::dial(&refused);
        assert_eq!(
            (error.kind, &*error.text),
            (ConnectFailure::Refused, "delayed connect error: Connection refused")
        );
        let full = ConnectError::dial(&io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32));
        assert_eq!(full.kind, ConnectFailure::Local);
        let tls = ConnectError::tls(&io::Error::other(rustls::Error::NoCertificatesPresented));
        assert_eq!(tls.kind, ConnectFailure::Tls);
        assert!(tls.text.starts_with("TLS_error: "), "{}", tls.text);
    }
}
