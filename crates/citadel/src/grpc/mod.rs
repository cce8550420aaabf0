//! The certificate services: the life of a request.
//!
//! 1. [`listener`] accepts a connection, shakes hands within a deadline, and verifies a client certificate if there is one.
//! 2. [`caller`] decides who is asking: the certificate's names, else the service account of the token.
//! 3. [`service`] has the CA sign for exactly that identity and answers in the words of the called service.
//!
//! [`server_cert`] keeps the certificate we present, [`tokens`] the keys that tokens are verified with.

pub mod caller;
pub mod listener;
pub mod server_cert;
pub mod service;
pub mod tokens;

use std::sync::Arc;
use std::time::Duration;

use pki::ca::{CertificateAuthority, Profile};
use proto::istio::auth::v1::istio_ca_service_server::IstioCaServiceServer;
use proto::istio::auth::v1::istio_certificate_service_server::IstioCertificateServiceServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::Clock;
use crate::metrics::Metrics;
use caller::Callers;
use server_cert::ServerCertificate;
use service::Service;

/// What both services need.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Signs.
    pub ca: Arc<CertificateAuthority>,
    /// What kind of certificates.
    pub profile: Profile,
    /// Decides who asks.
    pub callers: Arc<Callers>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

const MAX_REQUEST_BYTES: usize = 256 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(60);
const MAX_STREAMS: u32 = 128;

/// Serves until `stop` completes; requests that are under way are answered.
pub async fn serve(
    listener: TcpListener,
    certificate: ServerCertificate,
    shared: Shared,
    clock: Clock,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = Arc::new(Service::new(shared, clock.clone()));
    Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(
            IstioCertificateServiceServer::from_arc(service.clone()).max_decoding_message_size(MAX_REQUEST_BYTES),
        )
        .add_service(IstioCaServiceServer::from_arc(service).max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(listener::incoming(listener, Arc::new(certificate), clock), stop)
        .await
}
