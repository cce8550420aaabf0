//! A scripted CA: real TLS, real certificates, and a memory of who asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use pki::San;
use pki::ca::CertificateAuthority;
use proto::istio::auth::v1::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use proto::istio::auth::v1::{IstioCertificateRequest, IstioCertificateResponse};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub(crate) struct FakeCitadel(Arc<Inner>);

struct Inner {
    authority: CertificateAuthority,
    name: San,
    refuse: Mutex<Option<Status>>,
    tokens: Mutex<Vec<String>>,
}

impl FakeCitadel {
    /// Certifies everybody as `name`.
    pub(crate) fn new(name: &str) -> Self {
        let authority =
            CertificateAuthority::self_signed("cluster.local", Duration::from_secs(86_400), SystemTime::now());
        FakeCitadel(Arc::new(Inner {
            authority: authority.unwrap(),
            name: San::from_text(name),
            refuse: Mutex::default(),
            tokens: Mutex::default(),
        }))
    }

    pub(crate) fn root_pem(&self) -> String {
        self.0.authority.root_pem().to_owned()
    }

    /// What callers presented, in order.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.0.tokens.lock().unwrap().clone()
    }

    pub(crate) fn refuse(&self, status: Option<Status>) {
        *self.0.refuse.lock().unwrap() = status;
    }

    /// A certificate of this CA under `name`, as (chain, key).
    pub(crate) fn certify(&self, name: &str) -> (String, String) {
        let key = pki::csr::generate();
        let signed = self.0.authority.sign_key(
            &key,
            &[San::from_text(name)],
            Duration::from_secs(3600),
            SystemTime::now(),
        );
        (signed.unwrap().chain_pem, key.to_pem())
    }

    /// Listens, proving `server_name`.
    pub(crate) async fn listen(&self, server_name: &str) -> SocketAddr {
        let (chain, key) = self.certify(server_name);
        let identity = pki::tls::Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let tls =
            pki::tls::server_config(&identity, pki::tls::ClientAuth::None, &[], &[b"h2"], Default::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = IstioCertificateServiceServer::new(self.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, service) = (tls.clone(), service.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await else {
                        return;
                    };
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = http2
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                        .await;
                });
            }
        });
        address
    }
}

#[tonic::async_trait]
impl IstioCertificateService for FakeCitadel {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .map(|value| value.to_str().unwrap().to_owned());
        self.0.tokens.lock().unwrap().push(token.unwrap_or_default());
        if let Some(status) = self.0.refuse.lock().unwrap().clone() {
            return Err(status);
        }
        let asked = request.into_inner();
        let ttl = Duration::from_secs(asked.validity_duration.try_into().unwrap());
        let names = [self.0.name.clone()];
        let signed = self
            .0
            .authority
            .sign_csr(asked.csr.as_bytes(), &names, ttl, SystemTime::now());
        let signed = signed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: vec![signed.leaf_pem, self.root_pem()],
        }))
    }
}
