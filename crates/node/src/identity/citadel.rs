//! One conversation with the CA: connect, verify, prove who we are, have a key certified.
//!
//! Each attempt uses a fresh connection and reads the token and the roots again, for all three change under a running pod. Every failure names
//! the address or the file and what is most likely wrong with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pki::tls::{self, ServerVerify};
use proto::istio::auth::v1::IstioCertificateRequest;
use proto::istio::auth::v1::istio_certificate_service_client::IstioCertificateServiceClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};

use crate::address::HostPort;
use crate::{grpc, http_client};

/// Tokens are a kilobyte or two.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// How to reach the CA and be believed.
#[derive(Clone, Debug)]
pub struct Citadel {
    pub address: HostPort,
    /// Whom the CA must prove to be: a DNS name (sent as SNI too) or a SPIFFE id.
    pub server_name: String,
    pub root_file: PathBuf,
    pub token_file: PathBuf,
    /// For one attempt.
    pub timeout: Duration,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("no root certificate to verify the CA with: {}: {reason}; it is given by --caRootCert and written by the CA beside its own key", file.display())]
    Roots { file: PathBuf, reason: String },
    #[error("no token to show to the CA: {}: {reason}; the token file is given by --tokenPath (in a cluster: a projected token with audience istio-ca)", file.display())]
    Token { file: PathBuf, reason: String },
    #[error("{source}; is istio_ca running there, and is --caAddress right?")]
    Connect { source: http_client::CallError },
    #[error("no trust in the CA at {address}: {reason}; it must prove the name {expected} (--caSAN) by a root of {} (--caRootCert)", file.display())]
    Tls {
        address: HostPort,
        expected: String,
        file: PathBuf,
        reason: String,
    },
    #[error("the CA at {address} refuses: {reason}; {hint}")]
    Refused {
        address: HostPort,
        reason: String,
        hint: String,
    },
    #[error("the CA at {address} answers with {elements} elements; a leaf and a root are expected")]
    Answer { address: HostPort, elements: usize },
    #[error("the CA at {address} did not answer within {timeout:?}")]
    Timeout { address: HostPort, timeout: Duration },
}

/// What the CA answers.
#[derive(Debug)]
pub struct Signed {
    /// Leaf and intermediates.
    pub chain_pem: String,
    /// The CA's own root bundle.
    pub root_pem: String,
}

// === impl Citadel ===

impl Citadel {
    /// Has `csr` certified. `roots` is the good content of the root file.
    pub async fn sign(&self, csr: &str, ttl: Duration, roots: &str) -> Result<Signed, SignError> {
        match tokio::time::timeout(self.timeout, self.exchange(csr, ttl, roots)).await {
            Ok(result) => result,
            Err(_) => Err(SignError::Timeout {
                address: self.address.clone(),
                timeout: self.timeout,
            }),
        }
    }

    async fn exchange(&self, csr: &str, ttl: Duration, roots: &str) -> Result<Signed, SignError> {
        let config = self.tls_config(roots)?;
        let mut request = Request::new(IstioCertificateRequest {
            csr: csr.to_owned(),
            validity_duration: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            ..Default::default()
        });
        request.metadata_mut().insert("authorization", self.bearer()?);

        let stream = http_client::connect(&self.address)
            .await
            .map_err(|source| SignError::Connect { source })?;
        let name = if self.server_name.contains("://") {
            &self.address.host
        } else {
            &self.server_name
        };
        let stream = grpc::tls(stream, config, name)
            .await
            .map_err(|error| self.untrusted(&error))?;
        let channel = grpc::channel(stream)
            .await
            .map_err(|error| self.untrusted(&io::Error::other(error)))?;
        let origin = http::Uri::builder()
            .scheme("https")
            .authority(self.address.to_string())
            .path_and_query("/")
            .build();
        let mut client = IstioCertificateServiceClient::with_origin(channel, origin.unwrap_or_default());
        let answer = client
            .create_certificate(request)
            .await
            .map_err(|status| self.refused(&status))?
            .into_inner();
        self.read(answer.cert_chain)
    }

    fn tls_config(&self, roots: &str) -> Result<std::sync::Arc<pki::tls::rustls::ClientConfig>, SignError> {
        let unusable = |reason: String| SignError::Roots {
            file: self.root_file.clone(),
            reason,
        };
        let roots = tls::Roots::from_pem(roots.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let verify = ServerVerify::Spiffe {
            roots,
            sans: vec![pki::SanMatch::Exact(self.server_name.clone())],
        };
        tls::client_config(None, verify, &[b"h2"]).map_err(|error| unusable(error.to_string()))
    }

    fn bearer(&self) -> Result<AsciiMetadataValue, SignError> {
        let fault = |reason: String| SignError::Token {
            file: self.token_file.clone(),
            reason,
        };
        let length = std::fs::metadata(&self.token_file)
            .map_err(|error| fault(error.to_string()))?
            .len();
        if length > MAX_TOKEN_BYTES {
            return Err(fault(format!("{length} bytes long, no token")));
        }
        let token = std::fs::read_to_string(&self.token_file).map_err(|error| fault(error.to_string()))?;
        if token.trim().is_empty() {
            return Err(fault("the file is empty".into()));
        }
        let mut value: AsciiMetadataValue = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| fault("not a token: it has characters no header can hold".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn untrusted(&self, error: &io::Error) -> SignError {
        let rustls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<pki::tls::rustls::Error>());
        SignError::Tls {
            address: self.address.clone(),
            expected: self.server_name.clone(),
            file: self.root_file.clone(),
            reason: rustls.map_or_else(|| error.to_string(), tls::explain),
        }
    }

    fn refused(&self, status: &Status) -> SignError {
        let hint = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => format!(
                "the token in {} is expired, of another cluster, or not made for audience istio-ca",
                self.token_file.display()
            ),
            Code::InvalidArgument => "a lifetime beyond the CA's maximum (--csr-ttl) is one such reason".into(),
            Code::Unimplemented => "whoever listens there is no istio_ca (--caAddress)".into(),
            _ => "its log says more".into(),
        };
        SignError::Refused {
            address: self.address.clone(),
            reason: format!("{}: {}", status.code(), status.message()),
            hint,
        }
    }

    /// Leaf first, root bundle last, whatever lies between belongs to the chain.
    fn read(&self, mut elements: Vec<String>) -> Result<Signed, SignError> {
        let malformed = SignError::Answer {
            address: self.address.clone(),
            elements: elements.len(),
        };
        match elements.pop() {
            Some(root_pem) if !elements.is_empty() => {
                let mut chain_pem = String::new();
                for element in elements {
                    chain_pem.push_str(element.trim_end());
                    chain_pem.push('\n');
                }
                Ok(Signed { chain_pem, root_pem })
            }
            _ => Err(malformed),
        }
    }
}
