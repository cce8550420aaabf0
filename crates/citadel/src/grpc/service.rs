//! The two services: the same signing, two vocabularies.

use std::time::{Duration, SystemTime};

use pki::ca::{SignError, SignedCertificate};
use pki::csr::CertificateRequest;
use proto::istio::auth::v1::istio_ca_service_server::IstioCaService;
use proto::istio::auth::v1::istio_certificate_service_server::IstioCertificateService;
use proto::istio::auth::v1::{CsrRequest, CsrResponse, IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};

use super::Shared;
use super::caller::Caller;
use super::listener::Peer;
use crate::Clock;
use crate::metrics::Method;

/// Answers both services.
pub struct Service {
    shared: Shared,
    clock: Clock,
}

// === impl Service ===

impl Service {
    pub(super) fn new(shared: Shared, clock: Clock) -> Self {
        Self { shared, clock }
    }

    fn authenticate<T>(&self, request: &Request<T>, now: SystemTime) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>();
        self.shared
            .callers
            .authenticate(peer, request.metadata(), now)
            .map_err(|reason| {
                self.shared.metrics.authentication_failures.increment();
                let peer = peer.map(|peer| peer.address.to_string()).unwrap_or_default();
                tracing::warn!(%peer, "caller refused: {reason}");
                Status::unauthenticated(format!("no credential is accepted ({reason})"))
            })
    }

    fn sign(
        &self,
        csr: &CertificateRequest,
        caller: &Caller,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<SignedCertificate, SignError> {
        let signed = self
            .shared
            .ca
            .sign_request(csr, &caller.identities, ttl, self.shared.profile, now);
        let identity = caller
            .identities
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        match &signed {
            Ok(made) => tracing::info!(
                %identity,
                proof = caller.proof,
                key = %csr.key_kind,
                serial = %made.serial,
                until = %pki::tls::time_text(made.not_after),
                "certificate signed"
            ),
            Err(error) => {
                self.shared.metrics.sign_errors.increment(error.code());
                tracing::warn!(%identity, "certificate refused: {error}");
            }
        }
        signed
    }

    /// Parts that [`IstioCertificateService`] answers with: leaf, each certificate of the chain, root bundle.
    fn certificates(&self, made: SignedCertificate) -> Vec<String> {
        let chain = self.shared.ca.chain_pem();
        let chain = if chain.is_empty() {
            Vec::new()
        } else {
            pki::split_certificates(chain.as_bytes()).unwrap_or_default()
        };
        let mut all = vec![made.leaf_pem];
        all.extend(chain);
        all.push(self.shared.ca.root_pem().to_owned());
        all
    }

    fn create(&self, request: &Request<IstioCertificateRequest>) -> Result<IstioCertificateResponse, Status> {
        let now = (self.clock)();
        let caller = self.authenticate(request, now)?;
        let message = request.get_ref();
        let refused = |error: SignError| match &error {
            SignError::Csr(_) | SignError::Ttl { .. } => Status::invalid_argument(error.to_string()),
            SignError::AuthorityExpired(_) | SignError::Generate(_) => Status::internal(error.to_string()),
        };
        let csr = CertificateRequest::from_pem(message.csr.as_bytes()).map_err(|error| {
            let error = SignError::from(error);
            self.shared.metrics.sign_errors.increment(error.code());
            refused(error)
        })?;
        let ttl = Duration::from_secs(u64::try_from(message.validity_duration).unwrap_or(0));
        let made = self.sign(&csr, &caller, ttl, now).map_err(refused)?;
        Ok(IstioCertificateResponse {
            cert_chain: self.certificates(made),
        })
    }

    fn handle(&self, request: &Request<CsrRequest>) -> Result<CsrResponse, Status> {
        self.shared.metrics.csrs.increment();
        let now = (self.clock)();
        let caller = self.authenticate(request, now)?;
        let message = request.get_ref();
        let csr = CertificateRequest::from_pem(&message.csr_pem).map_err(|error| {
            self.shared.metrics.csr_parsing_errors.increment();
            Status::invalid_argument(error.to_string())
        })?;
        if !csr.has_san_extension {
            self.shared.metrics.id_extraction_errors.increment();
            return Err(Status::invalid_argument(
                "the certificate request names no identity: it has no SAN extension",
            ));
        }
        let minutes = u64::try_from(message.requested_ttl_minutes).unwrap_or(0);
        let made = self.sign(&csr, &caller, Duration::from_secs(60 * minutes), now);
        let made = made.map_err(|error| Status::internal(error.to_string()))?;
        self.shared.metrics.issued.increment();
        let cert_chain = self.shared.ca.chain_pem().as_bytes().to_vec();
        Ok(CsrResponse {
            is_approved: true,
            status: None,
            signed_cert: made.leaf_pem.into_bytes(),
            cert_chain,
        })
    }
}

#[tonic::async_trait]
impl IstioCertificateService for Service {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let call = self.shared.metrics.grpc.start(Method::CreateCertificate);
        let answer = self.create(&request);
        call.end(answer.as_ref().err().map_or(tonic::Code::Ok, Status::code));
        answer.map(Response::new)
    }
}

#[tonic::async_trait]
impl IstioCaService for Service {
    async fn handle_csr(&self, request: Request<CsrRequest>) -> Result<Response<CsrResponse>, Status> {
        let call = self.shared.metrics.grpc.start(Method::HandleCsr);
        let answer = self.handle(&request);
        call.end(answer.as_ref().err().map_or(tonic::Code::Ok, Status::code));
        answer.map(Response::new)
    }
}
