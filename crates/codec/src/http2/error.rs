//! What can be wrong with a connection or a stream, and how the peer is told.

use std::fmt;

/// An error code of RFC 9113 §7. Codes that it does not name are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    pub const NO_ERROR: Self = ErrorCode(0);
    pub const PROTOCOL_ERROR: Self = ErrorCode(1);
    pub const INTERNAL_ERROR: Self = ErrorCode(2);
    pub const FLOW_CONTROL_ERROR: Self = ErrorCode(3);
    pub const SETTINGS_TIMEOUT: Self = ErrorCode(4);
    pub const STREAM_CLOSED: Self = ErrorCode(5);
    pub const FRAME_SIZE_ERROR: Self = ErrorCode(6);
    pub const REFUSED_STREAM: Self = ErrorCode(7);
    pub const CANCEL: Self = ErrorCode(8);
    pub const COMPRESSION_ERROR: Self = ErrorCode(9);
    pub const CONNECT_ERROR: Self = ErrorCode(10);
    pub const ENHANCE_YOUR_CALM: Self = ErrorCode(11);
    pub const INADEQUATE_SECURITY: Self = ErrorCode(12);
    pub const HTTP_1_1_REQUIRED: Self = ErrorCode(13);

    const NAMES: [&'static str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ends a connection: it was told to the peer by GOAWAY, which waits in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ConnectionError {
    pub code: ErrorCode,
    pub reason: &'static str,
}

impl ConnectionError {
    pub(super) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        ConnectionError { code, reason }
    }

    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(super) const fn size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    pub(super) const fn compression(reason: &'static str) -> Self {
        Self::new(ErrorCode::COMPRESSION_ERROR, reason)
    }

    pub(super) const fn flow(reason: &'static str) -> Self {
        Self::new(ErrorCode::FLOW_CONTROL_ERROR, reason)
    }

    pub(super) const fn calm(reason: &'static str) -> Self {
        Self::new(ErrorCode::ENHANCE_YOUR_CALM, reason)
    }
}

/// Why a stream ended before its messages did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reset {
    /// The peer sent RST_STREAM.
    #[error("the peer reset the stream: {0}")]
    Peer(ErrorCode),
    /// The peer says that it has not looked at the request (GOAWAY, REFUSED_STREAM): it can be sent again elsewhere.
    #[error("the peer refused the stream")]
    Refused,
    /// What the peer sent is no HTTP message.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// We reset it ourselves.
    #[error("reset by us: {0}")]
    Ours(ErrorCode),
    /// The connection broke.
    #[error("the connection ended: {0}")]
    Connection(ErrorCode),
}
