//! Why a peer's certificate is refused: typed, and in words an operator can act on.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::roots::key_summary;
use crate::{PeerCertificate, SanMatch};

/// What the refused peer showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Subject alternative names, as many as are told and one more.
    pub names: Vec<String>,
    /// Who is said to have signed it, with the start of the signing key's identifier.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
}

/// Why a certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No root of ours signed it.
    #[error("the certificate of {presented} is not signed by a trusted root: its issuer is {issuer}, trusted is {trusted}", issuer = .presented.issuer, trusted = .trusted.join(", "))]
    UntrustedRoot {
        /// The certificate.
        presented: Presented,
        /// The roots we have.
        trusted: Vec<String>,
    },
    /// Another name than expected.
    #[error("the certificate is for {presented}, expected is {expected}", expected = .expected.iter().map(|m| format!("`{m}`")).collect::<Vec<_>>().join(" or "))]
    NameMismatch {
        /// The certificate.
        presented: Presented,
        /// The names that would do.
        expected: Vec<SanMatch>,
    },
    /// Too old.
    #[error("the certificate of {presented} expired at {not_after}, it is {now} now")]
    Expired {
        /// The certificate.
        presented: Presented,
        /// When it ended.
        not_after: String,
        /// Our clock.
        now: String,
    },
    /// Too new: usually a clock that is wrong.
    #[error(
        "the certificate of {presented} is valid from {not_before} only, it is {now} now; compare the clocks of both sides"
    )]
    NotYetValid {
        /// The certificate.
        presented: Presented,
        /// When it starts.
        not_before: String,
        /// Our clock.
        now: String,
    },
    /// Any other rule of certificate validation.
    #[error("the certificate of {presented} is not acceptable: {reason}")]
    Invalid {
        /// The certificate.
        presented: Presented,
        /// What validation says.
        reason: String,
    },
    /// Not one of those that were named one by one.
    #[error("the certificate of {0} has none of the hashes that are demanded")]
    NotPinned(Presented),
    /// Not a certificate.
    #[error("the peer's certificate cannot be read: {0}")]
    Unreadable(String),
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn of_chain(error: &webpki::Error, presented: Presented, trusted: Vec<String>) -> Self {
        match error {
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                Self::UntrustedRoot { presented, trusted }
            }
            webpki::Error::CertExpired { time, not_after } => Self::Expired {
                presented,
                not_after: unix_text(*not_after),
                now: unix_text(*time),
            },
            webpki::Error::CertNotValidYet { time, not_before } => Self::NotYetValid {
                presented,
                not_before: unix_text(*not_before),
                now: unix_text(*time),
            },
            other => Self::Invalid {
                presented,
                reason: format!("{other:?}"),
            },
        }
    }

    /// The same word for all refusals of one kind, whatever the peer has in its certificate.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UntrustedRoot { .. } => "untrusted root",
            Self::NameMismatch { .. } => "name mismatch",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not yet valid",
            Self::Invalid { .. } => "invalid",
            Self::NotPinned(_) => "not pinned",
            Self::Unreadable(_) => "unreadable",
        }
    }

    pub(super) fn into_error(self) -> rustls::Error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(Arc::new(self))))
    }
}

impl Presented {
    pub(super) fn of(certificate: &PeerCertificate) -> Self {
        Self {
            names: certificate
                .sans()
                .iter()
                .take(MOST_NAMES + 1)
                .map(|name| shown(&name.text()))
                .collect(),
            issuer: key_summary(&shown(&certificate.issuer), &certificate.authority_key_id),
            serial: shown(&certificate.serial),
        }
    }
}

impl std::fmt::Display for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: Vec<&str> = self.names.iter().take(MOST_NAMES).map(String::as_str).collect();
        match (shown.is_empty(), self.names.len() > shown.len()) {
            (true, _) => write!(f, "nobody (no subject alternative name, serial {})", self.serial),
            (_, more) => write!(f, "`{}`{}", shown.join("`, `"), if more { " and others" } else { "" }),
        }
    }
}

/// Most names told.
const MOST_NAMES: usize = 5;
/// Most characters of a text of the peer's that anybody gets to see.
const MOST_SHOWN: usize = 128;

/// A text that a peer chose, and nobody vouches for, as it may stand in a log: no control characters, no megabytes.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The typed refusal inside a rustls error, when our verifier was the one to refuse.
pub fn refusal(error: &rustls::Error) -> Option<&Refusal> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// A TLS failure in words: what was presented, what was expected, and on which side to look.
pub fn explain(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    if let Some(refusal) = refusal(error) {
        return refusal.to_string();
    }
    match error {
        rustls::Error::NoCertificatesPresented => {
            "the peer presented no certificate and one is required: it is not in the mesh, or speaks TLS without mutual TLS".to_owned()
        }
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired => "the peer requires a certificate and we presented none".to_owned(),
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied
            | Alert::UnsupportedCertificate => {
                format!("the peer refuses our certificate (alert {alert:?}); its own log names the reason")
            }
            Alert::NoApplicationProtocol => "the peer speaks none of the application protocols we offer (ALPN)".to_owned(),
            Alert::UnrecognisedName => "the peer does not know the server name we ask for (SNI)".to_owned(),
            Alert::ProtocolVersion => "the peer speaks no TLS version that we accept".to_owned(),
            other => format!("the peer ended the handshake (alert {other:?})"),
        },
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS (plaintext on a TLS port?)".to_owned(),
        rustls::Error::NoApplicationProtocol => "the peer offers none of our application protocols (ALPN)".to_owned(),
        rustls::Error::PeerIncompatible(reason) => format!("no common TLS parameters with the peer: {reason:?}"),
        other => other.to_string(),
    }
}

/// As [`explain`], for the error of a TLS stream.
pub fn explain_io(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => explain(error),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection during the TLS handshake; its own log names the reason".to_owned()
        }
        None => error.to_string(),
    }
}

/// A moment as RFC 3339, whole seconds.
pub fn time_text(moment: SystemTime) -> String {
    let moment = OffsetDateTime::from(moment).replace_nanosecond(0);
    moment
        .ok()
        .and_then(|m| m.format(&Rfc3339).ok())
        .unwrap_or_else(|| "an unprintable time".to_owned())
}

fn unix_text(moment: UnixTime) -> String {
    time_text(UNIX_EPOCH + Duration::from_secs(moment.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_wrote_is_escaped_and_bounded() {
        let cases = [
            ("spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b".to_owned()),
            ("a\nb\u{1b}[31m", "a\\nb\\u{1b}[31m".to_owned()),
            (&"x".repeat(1000), format!("{}…", "x".repeat(MOST_SHOWN))),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected);
        }
    }
}
