//! What is asked of a certificate beside its chain and its names: that it is one of those pinned, and not one of those revoked.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::tls::{
    ClientAuth, Identity, Pins, Refusal, Roots, ServerVerify, TlsOptions, client_config_with, refusal, server_config,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

use crate::support::*;

/// An authority that also signs revocation lists.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
}

struct Leaf {
    identity: Identity,
    der: Vec<u8>,
    /// Of the public key (SubjectPublicKeyInfo).
    key_der: Vec<u8>,
}

fn moment(days: i64) -> OffsetDateTime {
    OffsetDateTime::from(now()) + time::Duration::days(days)
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (moment(-1), moment(100));
    let key = KeyPair::generate().unwrap();
    let root_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    Authority { issuer, root_pem }
}

impl Authority {
    fn roots(&self) -> Roots {
        Roots::from_pem(self.root_pem.as_bytes()).unwrap()
    }

    fn leaf(&self, serial: u64) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.io".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (moment(-1), moment(10));
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            identity: Identity::from_pem(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap(),
            der: made.der().to_vec(),
            key_der: rcgen::PublicKeyData::subject_public_key_info(&key),
        }
    }

    /// A list that revokes these, in force for so many days from now.
    fn revokes(&self, serials: &[u64], days: i64) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: moment(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: moment(-2),
            next_update: moment(days),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Why the client refuses this server.
fn verdict(server: &Leaf, roots: Roots, pins: Pins) -> Option<Refusal> {
    let options = TlsOptions { pins, ..at(now()) };
    let verify = ServerVerify::Spiffe { roots, sans: vec![] };
    let client = client_config_with(None, verify, &[], options).unwrap();
    let server = server_config(&server.identity, ClientAuth::None, &[], &[], at(now())).unwrap();
    match handshake(client, server) {
        Handshake::Done(..) => None,
        Handshake::ClientRefused(error) => Some(refusal(&error).expect("ours").clone()),
        Handshake::ServerRefused(error) => panic!("{error:?}"),
    }
}

#[test]
fn one_of_the_pins_must_fit() {
    let authority = authority("ours");
    let (good, other) = (authority.leaf(1), authority.leaf(2));
    let sha = |bytes: &[u8]| digest(&SHA256, bytes);
    let hex: Vec<String> = sha(&good.der)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let (certificates, keys) = ([hex.join(":")], [STANDARD.encode(sha(&good.key_der))]);
    let stranger = ["0".repeat(64)];
    let none: [String; 0] = [];
    for pins in [
        Pins::new(&certificates, &none).unwrap(),
        Pins::new(&none, &keys).unwrap(),
        Pins::new(&stranger, &keys).unwrap(),
    ] {
        assert_eq!(
            verdict(&good, authority.roots(), pins.clone()).map(|r| r.to_string()),
            None
        );
        let refused = verdict(&other, authority.roots(), pins);
        assert!(matches!(refused, Some(Refusal::NotPinned(_))), "{refused:?}");
    }
    let pins = Pins::new(&stranger, &none).unwrap();
    assert!(matches!(
        verdict(&good, authority.roots(), pins),
        Some(Refusal::NotPinned(_))
    ));
    assert!(verdict(&other, authority.roots(), Pins::default()).is_none());
}

#[test]
fn revoked_certificates_are_refused() {
    let (authority, stranger) = (authority("ours"), authority("theirs"));
    let leaf = authority.leaf(7);
    let cases = [
        (authority.revokes(&[], 10), None),
        (authority.revokes(&[8], 10), None),
        (authority.revokes(&[7, 8], 10), Some("CertRevoked")),
        (authority.revokes(&[], -1), Some("CrlExpired")),
        (stranger.revokes(&[], 10), Some("UnknownRevocationStatus")),
    ];
    for (list, expected) in cases {
        let roots = authority.roots().with_revocations(list.as_bytes()).unwrap();
        let refused = verdict(&leaf, roots, Pins::default()).map(|refusal| refusal.to_string());
        match expected {
            None => assert_eq!(refused, None),
            Some(reason) => assert!(
                refused.as_ref().is_some_and(|text| text.contains(reason)),
                "{reason}: {refused:?}"
            ),
        }
    }
    for bad in [
        "",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        &authority.root_pem,
    ] {
        assert!(authority.roots().with_revocations(bad.as_bytes()).is_err(), "{bad}");
    }
}
