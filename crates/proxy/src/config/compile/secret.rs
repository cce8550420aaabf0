//! Secrets: keys with certificates, and roots.

use std::mem::take;
use std::sync::Arc;

use pki::tls::{Identity, Pins, Roots};
use proto::envoy::envoy::extensions::transport_sockets::tls::v3::{self as tls, secret::Type};

use super::error::{CompileError, Compiled, Within, each, exhausted, harmless};
use super::value::data;
use pki::SanMatch;

/// What a secret holds, checked.
#[derive(Clone)]
pub enum SecretContent {
    Identity(Identity),
    Validation(Validation),
}

/// What peers are judged by.
#[derive(Clone, Default)]
pub struct Validation {
    pub(super) roots: Option<Roots>,
    /// PEM; empty: there are no revocation lists.
    revocations: Arc<[u8]>,
    pub(super) pins: Pins,
    pub(super) sans: Vec<SanMatch>,
    pub(super) accept_untrusted: bool,
}

/// Compiles a secret.
///
/// # Errors
/// A key or certificate that cannot be used, or a kind of secret that is unknown here. Never says a word of the content.
pub fn secret(message: tls::Secret) -> Compiled<SecretContent> {
    match message.r#type {
        Some(Type::TlsCertificate(certificate)) => identity(certificate)
            .map(SecretContent::Identity)
            .within("tls_certificate"),
        Some(Type::ValidationContext(context)) => validation(context)
            .map(SecretContent::Validation)
            .within("validation_context"),
        Some(Type::SessionTicketKeys(_)) => Err(CompileError::unsupported("session_ticket_keys")),
        Some(Type::GenericSecret(_)) => Err(CompileError::unsupported("generic_secret")),
        None => Err(CompileError::missing("type")),
    }
}

pub(super) fn identity(mut message: tls::TlsCertificate) -> Compiled<Identity> {
    harmless!(message: watched_directory);
    let chain = data(take(&mut message.certificate_chain).unwrap_or_default()).within("certificate_chain")?;
    let key = data(take(&mut message.private_key).unwrap_or_default()).within("private_key")?;
    exhausted_secret(message)?;
    Identity::from_pem(&chain, &key).map_err(|error| CompileError::new("", error.to_string()))
}

/// As [`exhausted`], but no field's content may get into a message.
fn exhausted_secret(message: tls::TlsCertificate) -> Compiled<()> {
    match message == tls::TlsCertificate::default() {
        true => Ok(()),
        false => Err(CompileError::unsupported(
            "anything but certificate_chain and private_key",
        )),
    }
}

pub(super) fn validation(mut message: tls::CertificateValidationContext) -> Compiled<Validation> {
    harmless!(message: watched_directory, max_verify_depth, suppress_client_ca_list);
    use tls::certificate_validation_context::TrustChainVerification;
    let roots = match take(&mut message.trusted_ca) {
        None => None,
        Some(source) => {
            let pem = data(source).within("trusted_ca")?;
            Some(Roots::from_pem(&pem).map_err(|error| CompileError::new("trusted_ca", error.to_string()))?)
        }
    };
    let revocations = data(take(&mut message.crl).unwrap_or_default()).within("crl")?;
    let certificates = take(&mut message.verify_certificate_hash);
    let keys = take(&mut message.verify_certificate_spki);
    let pins = Pins::new(&certificates, &keys)
        .map_err(|error| CompileError::new("verify_certificate_hash or verify_certificate_spki", error.to_string()))?;
    let mut sans = each(
        "match_typed_subject_alt_names",
        take(&mut message.match_typed_subject_alt_names),
        |matcher| san(matcher.matcher.ok_or_else(|| CompileError::missing("matcher"))?),
    )?;
    sans.extend(each(
        "match_subject_alt_names",
        take(&mut message.match_subject_alt_names),
        san,
    )?);
    let trust = take(&mut message.trust_chain_verification);
    exhausted(&message)?;
    let validation = Validation {
        roots,
        revocations: revocations.into(),
        pins,
        sans,
        accept_untrusted: trust == TrustChainVerification::AcceptUntrusted as i32,
    };
    validation.checked_roots()?;
    Ok(validation)
}

fn san(matcher: proto::envoy::envoy::r#type::matcher::v3::StringMatcher) -> Compiled<SanMatch> {
    use proto::envoy::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
    if matcher.ignore_case {
        return Err(CompileError::unsupported("ignore_case"));
    }
    Ok(match matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => SanMatch::Exact(text),
        Some(MatchPattern::Prefix(text)) => SanMatch::Prefix(text),
        Some(MatchPattern::Suffix(text)) => SanMatch::Suffix(text),
        Some(MatchPattern::Contains(text)) => SanMatch::Contains(text),
        Some(MatchPattern::SafeRegex(regex)) => {
            SanMatch::regex(&regex.regex).map_err(|error| CompileError::new("safe_regex", error.to_string()))?
        }
        Some(MatchPattern::Custom(_)) => return Err(CompileError::unsupported("custom")),
        None => return Err(CompileError::missing("match_pattern")),
    })
}

// === impl Validation ===

impl Validation {
    /// Both must be fulfilled; roots of `other` replace ours.
    pub(super) fn merged(&self, other: &Validation) -> Validation {
        Validation {
            roots: other.roots.clone().or_else(|| self.roots.clone()),
            revocations: [&other.revocations, &self.revocations]
                .into_iter()
                .find(|lists| !lists.is_empty())
                .cloned()
                .unwrap_or_default(),
            pins: self.pins.with(&other.pins),
            sans: self.sans.iter().chain(&other.sans).cloned().collect(),
            accept_untrusted: self.accept_untrusted || other.accept_untrusted,
        }
    }

    /// The roots, which ask the revocation lists if there are any.
    pub(super) fn checked_roots(&self) -> Compiled<Option<Roots>> {
        let Some(roots) = self.roots.as_ref().filter(|_| !self.revocations.is_empty()) else {
            return Ok(self.roots.clone());
        };
        let checked = roots.with_revocations(&self.revocations);
        checked
            .map(Some)
            .map_err(|error| CompileError::new("crl", error.to_string()))
    }

    pub fn roots(&self) -> Option<&Roots> {
        self.roots.as_ref()
    }
}
