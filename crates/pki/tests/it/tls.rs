use std::time::Duration;

use pki::tls::rustls::{HandshakeKind, NamedGroup};
use pki::tls::{
    ClientAuth, Groups, Refusal, ServerVerify, TlsOptions, Version, client_config_with, config_for_client, explain,
    refusal, server_config,
};
use pki::{PeerCertificate, San, SanMatch};

use crate::support::*;

/// The kind of refusal and the words of its explanation.
type Refused = (fn(&Refusal) -> bool, &'static [&'static str]);

/// A refusal and the words that its explanation must hold.
struct Case {
    name: &'static str,
    server: pki::tls::Identity,
    expected: Vec<SanMatch>,
    clock: Duration,
    refused: Option<Refused>,
}

#[test]
fn what_a_client_accepts() {
    let (ours, foreign) = (ca(), ca());
    let reviews = [spiffe("reviews")];
    let exactly = |name: &str| vec![SanMatch::Exact(spiffe(name).text())];
    let cases = [
        Case {
            name: "expected name",
            server: identity(&ours, &reviews, HOUR, now()),
            expected: exactly("reviews"),
            clock: Duration::ZERO,
            refused: None,
        },
        Case {
            name: "any name",
            server: identity(&ours, &reviews, HOUR, now()),
            expected: vec![],
            clock: Duration::ZERO,
            refused: None,
        },
        Case {
            name: "other root of the same name",
            server: identity(&foreign, &reviews, HOUR, now()),
            expected: exactly("reviews"),
            clock: Duration::ZERO,
            refused: Some((
                |r| matches!(r, Refusal::UntrustedRoot { .. }),
                &[
                    "spiffe://cluster.local/ns/default/sa/reviews",
                    "not signed by a trusted root",
                    "O=cluster.local",
                ],
            )),
        },
        Case {
            name: "other SPIFFE name",
            server: identity(&ours, &[spiffe("ratings")], HOUR, now()),
            expected: exactly("reviews"),
            clock: Duration::ZERO,
            refused: Some((
                |r| matches!(r, Refusal::NameMismatch { .. }),
                &[
                    "sa/ratings",
                    "expected is `spiffe://cluster.local/ns/default/sa/reviews`",
                ],
            )),
        },
        Case {
            name: "expired",
            server: identity(&ours, &reviews, HOUR, now()),
            expected: exactly("reviews"),
            clock: HOUR + Duration::from_secs(1),
            refused: Some((
                |r| matches!(r, Refusal::Expired { .. }),
                &[
                    "sa/reviews",
                    "expired at 2026-11-24T01:00:00Z",
                    "2026-11-24T01:00:01Z now",
                ],
            )),
        },
        Case {
            name: "not yet valid",
            server: identity(&ours, &reviews, HOUR, now() + DAY),
            expected: exactly("reviews"),
            clock: Duration::ZERO,
            refused: Some((
                |r| matches!(r, Refusal::NotYetValid { .. }),
                &["valid from 2026-11-24T23:58:00Z", "clocks"],
            )),
        },
    ];
    for case in cases {
        let verify = ServerVerify::Spiffe {
            roots: roots(&ours),
            sans: case.expected,
        };
        let client = client_config_with(None, verify, &[], at(now() + case.clock)).unwrap();
        let server = server_config(&case.server, ClientAuth::None, &[], &[], at(now())).unwrap();
        match (handshake(client, server), case.refused) {
            (Handshake::Done(..), None) => {}
            (Handshake::ClientRefused(error), Some((kind, words))) => {
                assert!(refusal(&error).is_some_and(kind), "{}: {error:?}", case.name);
                let text = explain(&error);
                words
                    .iter()
                    .for_each(|word| assert!(text.contains(word), "{}: {word:?} is not in {text:?}", case.name));
            }
            (Handshake::ClientRefused(error) | Handshake::ServerRefused(error), _) => {
                panic!("{}: {error:?}", case.name)
            }
            (Handshake::Done(..), Some(_)) => panic!("{}: accepted", case.name),
        }
    }
}

#[test]
fn what_a_server_accepts() {
    let (ours, foreign) = (ca(), ca());
    let server_identity = identity(&ours, &[spiffe("reviews")], HOUR, now());
    let allowed = [SanMatch::Prefix("spiffe://cluster.local/".into())];
    let good = identity(&ours, &[spiffe("productpage")], HOUR, now());
    let stranger = identity(&ours, &[San::from_text("spiffe://elsewhere/ns/a/sa/b")], HOUR, now());
    let wrong_root = identity(&foreign, &[spiffe("productpage")], HOUR, now());
    let old = identity(&ours, &[spiffe("productpage")], HOUR, now() - DAY);
    for (name, client, must_present, words) in [
        ("good", Some(&good), true, None),
        ("none, optional", None, false, None),
        ("none, required", None, true, Some("presented no certificate")),
        ("stranger", Some(&stranger), true, Some("spiffe://elsewhere/ns/a/sa/b")),
        (
            "stranger, optional",
            Some(&stranger),
            false,
            Some("expected is `spiffe://cluster.local/*`"),
        ),
        (
            "wrong root",
            Some(&wrong_root),
            true,
            Some("not signed by a trusted root"),
        ),
        ("expired", Some(&old), true, Some("expired at")),
    ] {
        let auth = if must_present {
            ClientAuth::Require(roots(&ours))
        } else {
            ClientAuth::Optional(roots(&ours))
        };
        let server = server_config(&server_identity, auth, &allowed, &[b"h2"], at(now())).unwrap();
        let verify = ServerVerify::Spiffe {
            roots: roots(&ours),
            sans: vec![],
        };
        let client = client_config_with(client, verify, &[b"h2", b"http/1.1"], at(now())).unwrap();
        match (handshake(client, server), words) {
            (Handshake::Done(_, server), None) => {
                assert_eq!(server.alpn_protocol(), Some(&b"h2"[..]), "{name}");
            }
            (Handshake::ServerRefused(error), Some(words)) => {
                assert!(explain(&error).contains(words), "{name}: {}", explain(&error));
            }
            (Handshake::ServerRefused(error) | Handshake::ClientRefused(error), _) => panic!("{name}: {error:?}"),
            (Handshake::Done(..), Some(_)) => panic!("{name}: accepted"),
        }
    }
}

#[test]
fn the_peer_is_readable_after_the_handshake() {
    let ours = ca();
    let client = identity(&ours, &[spiffe("productpage")], HOUR, now());
    let server = identity(&ours, &[spiffe("reviews")], HOUR, now());
    let server = server_config(&server, ClientAuth::Require(roots(&ours)), &[], &[], at(now())).unwrap();
    let verify = ServerVerify::Spiffe {
        roots: roots(&ours),
        sans: vec![],
    };
    let config = client_config_with(Some(&client), verify, &[], at(now())).unwrap();
    let Handshake::Done(client_end, server_end) = handshake(config.clone(), server.clone()) else {
        panic!("refused")
    };
    let leaf = &server_end.peer_certificates().unwrap()[0];
    let peer = PeerCertificate::from_der(leaf).unwrap();
    assert_eq!(peer, *client.certificate());
    assert_eq!(
        peer.principal(),
        Some("spiffe://cluster.local/ns/default/sa/productpage")
    );
    assert_eq!(peer.sha256_hex.len(), 64);
    assert_eq!(
        client_end.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );

    let Handshake::Done(_, resumed) = handshake(config, server) else {
        panic!("refused")
    };
    assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
    let leaf = &resumed.peer_certificates().unwrap()[0];
    assert_eq!(
        PeerCertificate::from_der(leaf).unwrap(),
        peer,
        "a resumed session keeps its peer"
    );
}

#[test]
fn post_quantum_and_old_versions_can_be_switched_off() {
    let ours = ca();
    let id = identity(&ours, &[spiffe("a")], HOUR, now());
    let classical = TlsOptions {
        groups: Groups::named(&["X25519"]).unwrap(),
        min_version: Version::Tls13,
        ..at(now())
    };
    let server = server_config(&id, ClientAuth::None, &[], &[], classical).unwrap();
    let client = client_config_with(None, ServerVerify::Insecure, &[], at(now())).unwrap();
    let Handshake::Done(client, _) = handshake(client, server) else {
        panic!("refused")
    };
    assert_eq!(
        client.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519
    );
}

#[test]
fn host_names_are_checked_where_a_host_is_expected() {
    let ours = ca();
    let names = ["istio-ca", "istio-citadel", "*.example.org", "127.0.0.1"].map(San::from_text);
    let id = identity(&ours, &names, HOUR, now());
    for (name, good) in [
        ("istio-citadel", true),
        ("ISTIO-CITADEL", true),
        ("www.example.org", true),
        ("127.0.0.1", true),
        ("istio-pilot", false),
    ] {
        let server = server_config(&id, ClientAuth::None, &[], &[], at(now())).unwrap();
        let verify = ServerVerify::WebPki {
            roots: roots(&ours),
            name: name.into(),
        };
        let client = client_config_with(None, verify, &[], at(now())).unwrap();
        match handshake(client, server) {
            Handshake::Done(..) => assert!(good, "{name}"),
            Handshake::ClientRefused(error) => {
                assert!(
                    !good && explain(&error).contains("expected is `istio-pilot`"),
                    "{name}: {}",
                    explain(&error)
                );
            }
            Handshake::ServerRefused(error) => panic!("{name}: {error:?}"),
        }
    }
}

#[test]
fn a_key_of_another_pair_is_refused() {
    let ours = ca();
    let key = pki::csr::generate();
    let made = ours.sign_key(&key, &[spiffe("a")], HOUR, now()).unwrap();
    let other = pki::csr::generate();
    let error = pki::tls::Identity::from_pem(made.chain_pem.as_bytes(), other.to_pem().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("sa/a"), "{error}");
    let good = pki::tls::Identity::from_pem(made.chain_pem.as_bytes(), key.to_pem().as_bytes()).unwrap();
    assert_eq!(good.spiffe_id().unwrap().service_account(), "a");
    assert!(
        !format!("{good:?} {key:?} {ours:?}")
            .to_lowercase()
            .contains("private key")
    );
}

#[test]
fn foreign_protocols_are_no_obstacle_where_that_is_wanted() {
    let ours = ca();
    let id = identity(&ours, &[spiffe("a")], HOUR, now());
    let server = server_config(&id, ClientAuth::None, &[], &[b"h2", b"http/1.1"], at(now())).unwrap();
    let client = |alpn: &[&[u8]]| client_config_with(None, ServerVerify::Insecure, alpn, at(now())).unwrap();
    assert!(matches!(
        handshake(client(&[b"istio"]), server.clone()),
        Handshake::ServerRefused(_)
    ));
    for (offered, agreed) in [
        (vec![&b"istio"[..]], None),
        (vec![&b"istio"[..], b"http/1.1"], Some(&b"http/1.1"[..])),
        (vec![], None),
    ] {
        let config = config_for_client(&server, offered.iter().copied());
        let Handshake::Done(_, end) = handshake(client(&offered), config) else {
            panic!("refused {offered:?}")
        };
        assert_eq!(end.alpn_protocol(), agreed);
    }
}
