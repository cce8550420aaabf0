use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use pki::ca::CertificateAuthority;
use pki::csr;
use pki::tls::Identity;
use pki::{PeerCertificate, San};
use proto::istio::auth::v1::istio_ca_service_client::IstioCaServiceClient;
use proto::istio::auth::v1::istio_certificate_service_client::IstioCertificateServiceClient;
use proto::istio::auth::v1::{CsrRequest, IstioCertificateRequest};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::*;

fn request(csr: String, seconds: i64, token: Option<&str>) -> Request<IstioCertificateRequest> {
    let message = IstioCertificateRequest {
        csr,
        validity_duration: seconds,
        subject_id: "spiffe://cluster.local/ns/x/sa/y".into(),
        ..Default::default()
    };
    let mut request = Request::new(message);
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn csr_for(key: &csr::KeyPair, name: &str) -> String {
    csr::request(key, &[San::from_text(name)]).unwrap()
}

fn any_csr() -> String {
    csr_for(&csr::generate(), "spiffe://cluster.local/ns/kube-system/sa/admin")
}

async fn create(channel: &Channel, request: Request<IstioCertificateRequest>) -> Result<Vec<String>, Status> {
    let answer = IstioCertificateServiceClient::new(channel.clone())
        .create_certificate(request)
        .await?;
    Ok(answer.into_inner().cert_chain)
}

async fn handle(
    channel: &Channel,
    csr: String,
    minutes: i32,
    token: Option<&str>,
) -> Result<(Vec<u8>, Vec<u8>), Status> {
    let mut request = Request::new(CsrRequest {
        csr_pem: csr.into_bytes(),
        requested_ttl_minutes: minutes,
        ..Default::default()
    });
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let answer = IstioCaServiceClient::new(channel.clone())
        .handle_csr(request)
        .await?
        .into_inner();
    assert!(answer.is_approved && answer.status.is_none());
    Ok((answer.signed_cert, answer.cert_chain))
}

fn leaf(pem: &[u8]) -> PeerCertificate {
    PeerCertificate::from_pem(pem).unwrap().swap_remove(0)
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_certificate_and_that_for_the_next() {
    let ca = TestCa::start("").await;
    let token = ca.token("default", "reviews", "istio-ca");
    let key = csr::generate();
    let channel = ca.connect(None).await.unwrap();
    let chain = create(
        &channel,
        request(
            csr_for(&key, "spiffe://cluster.local/ns/kube-system/sa/admin"),
            3600,
            Some(&token),
        ),
    )
    .await
    .unwrap();
    assert_eq!(chain.len(), 2, "leaf and root");
    assert_eq!(chain[1].as_bytes(), ca.root());
    assert_eq!(
        leaf(chain[0].as_bytes()).sans(),
        [spiffe("default", "reviews")],
        "what the token proves, not what the request asks for"
    );
    let lifetime = leaf(chain[0].as_bytes())
        .not_after
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(lifetime <= HOUR && lifetime > HOUR - Duration::from_secs(60));

    let identity = Identity::from_pem(chain[0].as_bytes(), key.to_pem().as_bytes()).unwrap();
    let channel = ca.connect(Some(&identity)).await.unwrap();
    let renewed = create(&channel, request(any_csr(), 0, None)).await.unwrap();
    assert_eq!(leaf(renewed[0].as_bytes()).sans(), [spiffe("default", "reviews")]);

    let (signed, chain) = handle(&channel, any_csr(), 60, None).await.unwrap();
    assert_eq!(leaf(&signed).sans(), [spiffe("default", "reviews")]);
    assert!(chain.is_empty(), "no chain and never the root");
    let metrics = ca.metrics().await;
    for line in [
        "citadel_server_csr_count 1",
        "citadel_server_success_cert_issuance_count 1",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"CreateCertificate\",grpc_service=\"istio.v1.auth.IstioCertificateService\",grpc_type=\"unary\"} 2",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in {metrics}");
    }
}

#[tokio::test]
async fn callers_without_an_acceptable_credential_are_refused() {
    let ca = TestCa::start("").await;
    let channel = ca.connect(None).await.unwrap();
    let old = ca
        .issuer
        .issue(
            "default",
            "reviews",
            "p",
            "istio-ca",
            HOUR,
            SystemTime::now() - 2 * HOUR,
        )
        .unwrap();
    let stranger = pki::jwt::TokenIssuer::new(ISSUER, &csr::generate()).unwrap();
    let forged = stranger
        .issue("default", "reviews", "p", "istio-ca", HOUR, SystemTime::now())
        .unwrap();
    let wrong_audience = ca.token("default", "reviews", "vault");
    for (name, token, words) in [
        ("nothing", None, "token: none presented"),
        ("expired", Some(old.as_str()), "expired"),
        ("forged", Some(forged.as_str()), "not signed by a key of the key set"),
        ("wrong audience", Some(wrong_audience.as_str()), "audience `vault`"),
        ("nonsense", Some("x"), "not a signed JSON web token"),
    ] {
        for status in [
            create(&channel, request(any_csr(), 0, token)).await.unwrap_err(),
            handle(&channel, any_csr(), 0, token).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::Unauthenticated, "{name}");
            assert!(status.message().contains(words), "{name}: {}", status.message());
        }
    }
    assert!(
        ca.metrics()
            .await
            .contains("citadel_server_authentication_failure_count 10")
    );
}

#[tokio::test]
async fn tokens_of_another_issuer_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let flags = format!(
        "--self-signed-ca --storage-dir {0} --token-jwks {0}/jwks.json --token-issuer https://another",
        dir.path().display()
    );
    let ca = TestCa::start_with(dir, settings(&flags)).await;
    let channel = ca.connect(None).await.unwrap();
    let status = create(
        &channel,
        request(any_csr(), 0, Some(&ca.token("default", "reviews", "istio-ca"))),
    )
    .await
    .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().contains("expected is `https://another`"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn a_rotated_key_set_is_read_again_and_a_broken_one_ignored() {
    let ca = TestCa::start("").await;
    let channel = ca.connect(None).await.unwrap();
    let file = ca.dir.path().join("jwks.json");
    fs::write(&file, "{ broken").unwrap();
    let old = ca.token("default", "reviews", "istio-ca");
    assert!(create(&channel, request(any_csr(), 0, Some(&old))).await.is_ok());

    let next = pki::jwt::TokenIssuer::new(ISSUER, &csr::generate()).unwrap();
    fs::write(&file, next.jwks()).unwrap();
    let new = next
        .issue("default", "reviews", "p", "istio-ca", HOUR, SystemTime::now())
        .unwrap();
    assert!(create(&channel, request(any_csr(), 0, Some(&new))).await.is_ok());
    assert!(create(&channel, request(any_csr(), 0, Some(&old))).await.is_err());
}

#[tokio::test]
async fn statuses_of_refused_requests() {
    let ca = TestCa::start("--workload-cert-ttl 1h --max-workload-cert-ttl 24h").await;
    let channel = ca.connect(None).await.unwrap();
    let token = ca.token("default", "reviews", "istio-ca");
    let no_names = csr::request(&csr::generate(), &[]).unwrap();
    for (name, csr, minutes, on_create, on_handle) in [
        ("default lifetime", any_csr(), 0, Code::Ok, Code::Ok),
        ("negative lifetime", any_csr(), -5, Code::Ok, Code::Ok),
        ("longest lifetime", any_csr(), 24 * 60, Code::Ok, Code::Ok),
        (
            "too long",
            any_csr(),
            24 * 60 + 1,
            Code::InvalidArgument,
            Code::Internal,
        ),
        (
            "no request",
            String::new(),
            0,
            Code::InvalidArgument,
            Code::InvalidArgument,
        ),
        ("no names", no_names, 0, Code::Ok, Code::InvalidArgument),
    ] {
        let code = |status: Option<Status>| status.map_or(Code::Ok, |s| s.code());
        let created = create(&channel, request(csr.clone(), i64::from(minutes) * 60, Some(&token))).await;
        assert_eq!(code(created.err()), on_create, "CreateCertificate: {name}");
        let handled = handle(&channel, csr, minutes, Some(&token)).await;
        assert_eq!(code(handled.err()), on_handle, "HandleCSR: {name}");
    }
    let metrics = ca.metrics().await;
    for line in [
        "citadel_server_csr_sign_err_count{error=\"TTL_ERROR\"} 2",
        "citadel_server_csr_sign_err_count{error=\"CSR_ERROR\"} 1",
        "citadel_server_csr_parsing_err_count 1",
        "citadel_server_id_extraction_err_count 1",
    ] {
        assert!(metrics.contains(line), "{line:?} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_root_ends_the_handshake() {
    let ca = TestCa::start("").await;
    let foreign = CertificateAuthority::self_signed("cluster.local", 24 * HOUR, SystemTime::now()).unwrap();
    let key = csr::generate();
    let made = foreign
        .sign_key(&key, &[spiffe("default", "reviews")], HOUR, SystemTime::now())
        .unwrap();
    let identity = Identity::from_pem(made.chain_pem.as_bytes(), key.to_pem().as_bytes()).unwrap();
    let refused = match ca.connect(Some(&identity)).await {
        Err(_) => true, // the alert arrived while connecting
        Ok(channel) => create(&channel, request(any_csr(), 0, None)).await.is_err(),
    };
    assert!(refused);
}

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_no_longer_counts() {
    let ca = TestCa::start("").await;
    let key = csr::generate();
    let token = ca.token("default", "reviews", "istio-ca");
    let channel = ca.connect(None).await.unwrap();
    let chain = create(&channel, request(csr_for(&key, "x"), 3600, Some(&token)))
        .await
        .unwrap();
    let identity = Identity::from_pem(chain[0].as_bytes(), key.to_pem().as_bytes()).unwrap();
    let channel = ca.connect(Some(&identity)).await.unwrap();
    assert!(create(&channel, request(any_csr(), 0, None)).await.is_ok());
    ca.later.store(3700, Ordering::Relaxed);
    let status = create(&channel, request(any_csr(), 0, None)).await.unwrap_err();
    assert!(
        status.message().contains("expired since the connection was opened"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn the_server_certificate_is_kept_and_names_the_service() {
    let ca = TestCa::start("").await;
    for name in [
        "istio-ca",
        "istio-citadel",
        "istio-citadel.istio-system.svc.cluster.local",
    ] {
        assert!(connect(ca.address, &ca.root(), None, name).await.is_ok(), "{name}");
    }
    assert!(connect(ca.address, &ca.root(), None, "istio-pilot").await.is_err());
}

#[tokio::test]
async fn a_plugged_in_ca_answers_with_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let root = CertificateAuthority::self_signed("corp", 1000 * HOUR, now).unwrap();
    let issuing_key = csr::generate();
    let request_pem = csr::request(&issuing_key, &[San::from_text("issuing.corp")]).unwrap();
    let request_read = csr::CertificateRequest::from_pem(request_pem.as_bytes()).unwrap();
    let profile = pki::ca::Profile {
        authority: true,
        dual_use: true,
    };
    let issuing = root
        .sign_request(
            &request_read,
            &[San::from_text("issuing.corp")],
            900 * HOUR,
            profile,
            now,
        )
        .unwrap();
    for (file, content) in [
        ("ca.pem", &issuing.leaf_pem),
        ("key.pem", &issuing_key.to_pem()),
        ("root.pem", &root.root_pem().to_owned()),
    ] {
        fs::write(dir.path().join(file), content).unwrap();
    }
    let flags = format!(
        "--signing-cert {0}/ca.pem --signing-key {0}/key.pem --root-cert {0}/root.pem --cert-chain {0}/ca.pem --storage-dir {0} \
         --token-jwks {0}/jwks.json --token-issuer {ISSUER} --trust-domain corp",
        dir.path().display()
    );
    let ca = TestCa::start_with(dir, settings(&flags)).await;
    let channel = ca.connect(None).await.unwrap();
    let token = ca.token("default", "reviews", "istio-ca");
    let chain = create(&channel, request(any_csr(), 0, Some(&token))).await.unwrap();
    assert_eq!(chain.len(), 3, "leaf, issuing certificate, root");
    assert_eq!((&chain[1], &chain[2]), (&issuing.leaf_pem, &root.root_pem().to_owned()));
    assert_eq!(
        leaf(chain[0].as_bytes()).uri_sans,
        ["spiffe://corp/ns/default/sa/reviews"],
        "the trust domain holds here too"
    );
    let (_, handled) = handle(&channel, any_csr(), 0, Some(&token)).await.unwrap();
    assert_eq!(handled, issuing.leaf_pem.as_bytes());
}
