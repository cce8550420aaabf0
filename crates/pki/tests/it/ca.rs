use std::time::Duration;

use pki::ca::{BACKDATE, CaError, CertificateAuthority, PluggedIn, SignError, TtlPolicy};
use pki::csr::{self, CertificateRequest, CsrError};
use pki::{PeerCertificate, San};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::support::*;

/// An RSA request as a 1.1 agent makes it.
fn rsa_csr() -> String {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "somebody");
    params.subject_alt_names = vec![rcgen::SanType::URI(
        "spiffe://cluster.local/ns/kube-system/sa/admin".try_into().unwrap(),
    )];
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn identities_come_from_the_caller_and_never_from_the_request() {
    let ca = ca();
    for request in [
        rsa_csr(),
        csr::request(
            &csr::generate(),
            &[San::from_text("spiffe://cluster.local/ns/kube-system/sa/admin")],
        )
        .unwrap(),
    ] {
        let made = ca
            .sign_csr(request.as_bytes(), &[spiffe("reviews")], HOUR, now())
            .unwrap();
        let leaf = &PeerCertificate::from_pem(made.leaf_pem.as_bytes()).unwrap()[0];
        assert_eq!(leaf.sans(), [spiffe("reviews")]);
        assert_eq!(leaf.subject, "");
        assert_eq!(leaf.not_before, now() - BACKDATE);
        assert_eq!(leaf.not_after, now() + HOUR);
        assert!(!leaf.is_ca);
        assert_eq!(leaf.authority_key_id, ca.certificate().subject_key_id);
    }
}

#[test]
fn extensions_of_a_workload_certificate() {
    let ca = ca();
    let names = [
        spiffe("a"),
        San::from_text("istio-pilot.istio-system.svc"),
        San::from_text("127.64.0.2"),
    ];
    let made = ca.sign_key(&csr::generate(), &names, HOUR, now()).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(made.leaf_pem.as_bytes()).unwrap();
    let cert = pem.parse_x509().unwrap();
    let san = cert.subject_alternative_name().unwrap().unwrap();
    assert!(san.critical, "an empty subject makes the names critical");
    assert_eq!(san.value.general_names.len(), 3);
    let usage = cert.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any);
    assert!(cert.raw_serial().len() == 16 && cert.raw_serial()[0] < 0x80);
}

#[test]
fn lifetimes() {
    let ca = ca().with_ttl(TtlPolicy {
        default: HOUR,
        max: DAY,
    });
    let sign = |ttl| ca.sign_key(&csr::generate(), &[spiffe("a")], ttl, now());
    assert_eq!(sign(Duration::ZERO).unwrap().not_after, now() + HOUR);
    assert_eq!(sign(DAY).unwrap().not_after, now() + DAY);
    let refused = sign(DAY + Duration::from_secs(1)).unwrap_err();
    assert_eq!(
        (refused.code(), refused),
        (
            "TTL_ERROR",
            SignError::Ttl {
                requested: 86_401,
                max: 86_400
            }
        )
    );

    let short = sign(Duration::from_secs(8)).unwrap();
    assert_eq!(
        short.not_before,
        now() - Duration::from_secs(2),
        "the backdating of a short life is short too"
    );
    let renewal = pki::rotation::Schedule::default().renew_at(short.not_before, short.not_after, 1.0);
    assert!(renewal > now() + Duration::from_secs(2));

    let old = CertificateAuthority::self_signed("cluster.local", HOUR, now()).unwrap();
    let made = old.sign_key(&csr::generate(), &[spiffe("a")], DAY, now()).unwrap();
    assert_eq!(made.not_after, now() + HOUR, "a leaf does not outlive its issuer");
    let dead = old
        .sign_key(&csr::generate(), &[spiffe("a")], DAY, now() + HOUR)
        .unwrap_err();
    assert_eq!(dead.code(), "CA_NOT_READY");
}

#[test]
fn requests_that_are_refused() {
    let good = csr::request(&csr::generate(), &[spiffe("a")]).unwrap();
    let der = {
        use rustls_pki_types::pem::PemObject;
        rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(good.as_bytes())
            .unwrap()
            .to_vec()
    };
    assert!(CertificateRequest::from_der(&der).unwrap().has_san_extension);
    let signed = {
        use x509_parser::prelude::FromDer;
        let (_, csr) = x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        let start = csr.certification_request_info.raw.as_ptr() as usize - der.as_ptr() as usize;
        start..start + csr.certification_request_info.raw.len()
    };
    for index in signed {
        let mut altered = der.clone();
        altered[index] ^= 1;
        assert!(
            CertificateRequest::from_der(&altered).is_err(),
            "a request altered at byte {index} was accepted"
        );
    }
    let mut tampered = der.clone();
    let name = tampered.windows(10).position(|w| w == b"ns/default").unwrap();
    tampered[name + 3] = b'x';
    assert_eq!(
        CertificateRequest::from_der(&tampered).unwrap_err(),
        CsrError::BadSignature
    );

    for (request, words) in [
        (String::new(), "not a PEM certificate request"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".to_owned(),
            "not a PEM certificate request",
        ),
        (csr::generate().to_pem(), "not a PEM certificate request"),
        ("x".repeat(100_000), "at most 65536"),
    ] {
        let error = ca()
            .sign_csr(request.as_bytes(), &[spiffe("a")], HOUR, now())
            .unwrap_err();
        assert_eq!(error.code(), "CSR_ERROR");
        assert!(error.to_string().contains(words), "{error}");
    }
    for cut in 1..der.len() {
        assert!(CertificateRequest::from_der(&der[..cut]).is_err());
    }
}

#[test]
fn a_stored_root_signs_on() {
    let first = ca();
    let again =
        CertificateAuthority::stored(first.certificate_pem().as_bytes(), first.key_pem().as_bytes(), now()).unwrap();
    assert_eq!(first.root_pem(), again.root_pem());
    assert_eq!(first.certificate().subject, "O=cluster.local");
    let id = identity(&again, &[spiffe("a")], HOUR, now());
    assert_eq!(id.certificate().authority_key_id, first.certificate().subject_key_id);

    let other = CertificateAuthority::stored(first.certificate_pem().as_bytes(), ca().key_pem().as_bytes(), now());
    assert!(matches!(other, Err(CaError::KeyMismatch { .. })));
    let late = CertificateAuthority::stored(
        first.certificate_pem().as_bytes(),
        first.key_pem().as_bytes(),
        now() + 4000 * DAY,
    );
    assert!(matches!(late, Err(CaError::NotValidNow { .. })));
}

/// A root and an intermediate of an operator.
struct Operator<K> {
    root_pem: String,
    issuing_pem: String,
    issuing_key: K,
}

fn operator(root: KeyPair, issuing: KeyPair) -> Operator<KeyPair> {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root_params = authority("root");
    let root_pem = root_params.self_signed(&root).unwrap().pem();
    let root = Issuer::new(root_params, root);
    let issuing_pem = authority("issuing").signed_by(&issuing, &root).unwrap().pem();
    Operator {
        root_pem,
        issuing_pem,
        issuing_key: issuing,
    }
}

#[test]
fn plugged_in_keys_of_both_kinds() {
    let rsa = || KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let p384 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (root, issuing) in [(rsa(), rsa()), (p384(), KeyPair::generate().unwrap())] {
        let op = operator(root, issuing);
        let key = op.issuing_key.serialize_pem();
        for cert_chain in [None, Some(op.issuing_pem.as_bytes())] {
            let files = PluggedIn {
                signing_cert: op.issuing_pem.as_bytes(),
                signing_key: key.as_bytes(),
                root_cert: op.root_pem.as_bytes(),
                cert_chain,
            };
            let ca = CertificateAuthority::plugged_in(&files, now()).unwrap();
            assert_eq!(
                ca.chain_pem(),
                op.issuing_pem.replace("\r", ""),
                "the issuing certificate goes behind the leaf, once"
            );
            let made = ca.sign_csr(rsa_csr().as_bytes(), &[spiffe("a")], HOUR, now()).unwrap();
            assert_eq!(PeerCertificate::from_pem(made.chain_pem.as_bytes()).unwrap().len(), 2);
        }
    }
}

#[test]
fn plugged_in_material_that_does_not_fit_is_named() {
    let p256 = || KeyPair::generate().unwrap();
    let op = operator(p256(), p256());
    let foreign = operator(p256(), p256());
    let key = op.issuing_key.serialize_pem();
    let leaf = ca()
        .sign_key(
            &csr::KeyPair::from_pem(key.as_bytes()).unwrap(),
            &[spiffe("a")],
            HOUR,
            now(),
        )
        .unwrap();
    for (name, cert, key, root, words) in [
        (
            "foreign key",
            &op.issuing_pem,
            &foreign.issuing_key.serialize_pem(),
            &op.root_pem,
            "does not belong to the signing certificate",
        ),
        (
            "foreign root",
            &op.issuing_pem,
            &key,
            &foreign.root_pem,
            "does not lead to a root certificate",
        ),
        ("no CA", &leaf.leaf_pem, &key, &op.root_pem, "is not a CA certificate"),
        (
            "no key",
            &op.issuing_pem,
            &op.root_pem,
            &op.root_pem,
            "no `PRIVATE KEY` block",
        ),
        (
            "no root",
            &op.issuing_pem,
            &key,
            &key,
            "root certificate: no `CERTIFICATE` block",
        ),
    ] {
        let files = PluggedIn {
            signing_cert: cert.as_bytes(),
            signing_key: key.as_bytes(),
            root_cert: root.as_bytes(),
            cert_chain: None,
        };
        let error = CertificateAuthority::plugged_in(&files, now()).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn altered_certificates_are_read_or_refused_but_never_a_panic() {
    use rustls_pki_types::pem::PemObject;
    let made = ca()
        .sign_key(
            &csr::generate(),
            &[spiffe("a"), San::from_text("10.0.0.1")],
            HOUR,
            now(),
        )
        .unwrap();
    let der = rustls_pki_types::CertificateDer::from_pem_slice(made.leaf_pem.as_bytes())
        .unwrap()
        .to_vec();
    let roots = roots(&ca());
    for index in 0..der.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut altered = der.clone();
            altered[index] ^= bit;
            let _ = PeerCertificate::from_der(&altered);
            assert!(roots.verify_chain(&altered.into(), &[], now()).is_err());
        }
        assert!(PeerCertificate::from_der(&der[..index]).is_err());
    }
}

#[test]
fn a_key_survives_its_pem() {
    for pem in [
        csr::generate().to_pem(),
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            .unwrap()
            .serialize_pem(),
    ] {
        let key = csr::KeyPair::from_pem(pem.as_bytes()).unwrap();
        let again = csr::KeyPair::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(key.public_key_der(), again.public_key_der());
    }
    assert!(csr::KeyPair::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
}
