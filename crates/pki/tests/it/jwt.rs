use std::time::Duration;

use pki::csr;
use pki::jwt::{TokenError, TokenIssuer, TokenVerifier};

use crate::support::*;

const ISSUER: &str = "https://meltemi.local";

fn issuer() -> TokenIssuer {
    TokenIssuer::new(ISSUER, &csr::generate()).unwrap()
}

#[test]
fn which_tokens_are_accepted() {
    let ours = issuer();
    let token = |audience: &str| {
        ours.issue("default", "reviews", "reviews-v1-0", audience, HOUR, now())
            .unwrap()
    };
    let verifier = |iss: &str| TokenVerifier::new(&ours.jwks(), iss, "istio-ca").unwrap();
    let good = token("istio-ca");

    let account = verifier(ISSUER).verify(&good, now()).unwrap();
    assert_eq!(
        (account.namespace.as_str(), account.name.as_str()),
        ("default", "reviews")
    );
    assert_eq!(account.pod.as_deref(), Some("reviews-v1-0"));
    assert_eq!(
        account.spiffe_id("cluster.local").unwrap().to_string(),
        "spiffe://cluster.local/ns/default/sa/reviews"
    );

    let minute = Duration::from_secs(60);
    assert!(
        verifier(ISSUER)
            .verify(&good, now() + HOUR + minute - Duration::from_secs(1))
            .is_ok()
    );
    let expired = verifier(ISSUER).verify(&good, now() + HOUR + minute).unwrap_err();
    assert_eq!(expired, TokenError::Expired(60));
    assert!(matches!(
        verifier(ISSUER).verify(&good, now() - 2 * minute),
        Err(TokenError::NotYetValid(120))
    ));
    assert!(matches!(
        verifier("https://other").verify(&good, now()),
        Err(TokenError::Issuer { .. })
    ));
    assert!(matches!(
        verifier(ISSUER).verify(&token("vault"), now()),
        Err(TokenError::Audience { .. })
    ));

    let foreign = issuer()
        .issue("default", "reviews", "p", "istio-ca", HOUR, now())
        .unwrap();
    assert!(matches!(
        verifier(ISSUER).verify(&foreign, now()),
        Err(TokenError::Signature { .. })
    ));
}

#[test]
fn altered_tokens_are_refused() {
    let ours = issuer();
    let verifier = TokenVerifier::new(&ours.jwks(), ISSUER, "istio-ca").unwrap();
    let good = ours.issue("default", "reviews", "p", "istio-ca", HOUR, now()).unwrap();
    let other = ours
        .issue("istio-system", "pilot", "p", "istio-ca", HOUR, now())
        .unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let payload = other.split('.').nth(1).unwrap();
    let unsigned_header = "eyJhbGciOiJub25lIn0";
    let hmac_header = "eyJhbGciOiJIUzI1NiJ9";
    for token in [
        String::new(),
        "a.b.c".to_owned(),
        format!("{}.{payload}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{unsigned_header}.{}.", parts[1]),
        format!("{hmac_header}.{}.{}", parts[1], parts[2]),
        "x".repeat(100_000),
    ] {
        assert!(verifier.verify(&token, now()).is_err(), "accepted: {token:.80}");
    }
}

#[test]
fn unusable_key_sets_are_named() {
    for (jwks, words) in [
        ("", "not a JSON web key set"),
        ("{}", "keys"),
        (r#"{"keys":[]}"#, "no usable key"),
        (r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, "no usable key"),
    ] {
        let error = TokenVerifier::new(jwks, ISSUER, "istio-ca").unwrap_err().to_string();
        assert!(error.contains(words), "{jwks}: {error}");
    }
}
