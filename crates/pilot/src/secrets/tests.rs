//! Secrets in, resources out.

use std::time::{Duration, SystemTime};

use pki::ca::CertificateAuthority;
use pki::{San, csr};
use prost::Message;
use proto::envoy::google::protobuf::Any;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Chain, key and root, PEM.
fn material() -> [String; 3] {
    let authority = CertificateAuthority::self_signed("cluster.local", 24 * HOUR, SystemTime::now()).unwrap();
    let key = csr::generate();
    let signed = authority
        .sign_key(&key, &[San::Dns("a.io".into())], HOUR, SystemTime::now())
        .unwrap();
    [signed.chain_pem, key.to_pem(), authority.root_pem().to_owned()]
}

fn secret(namespace: &str, name: &str, data: &[(&str, &str)]) -> Arc<Config<Material>> {
    let strings: serde_json::Map<String, serde_json::Value> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), serde_json::json!(value)))
        .collect();
    let read: KubeSecret = catalog::read(&serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": strings,
    }))
    .unwrap()
    .value;
    Arc::new(Config {
        reference: ConfigRef {
            kind: "Secret".into(),
            namespace: namespace.into(),
            name: name.into(),
        },
        labels: Default::default(),
        annotations: Default::default(),
        created: 0,
        spec: material_of(&read).unwrap(),
    })
}

/// What a lookup gives, in a word.
fn found(secrets: &Secrets, resource: &str, namespace: &str) -> String {
    let Lookup::Found(encoded) = secrets.lookup(resource, namespace, |granted| granted.name == "granted") else {
        return "nothing".to_owned();
    };
    let any = Any::decode(encoded.bytes).unwrap();
    let message = tls::Secret::decode(&*any.value).unwrap();
    assert_eq!(message.name, resource);
    match message.r#type {
        Some(tls::secret::Type::TlsCertificate(certificate)) => {
            assert!(certificate.certificate_chain.is_some() && certificate.private_key.is_some());
            "certificate".to_owned()
        }
        Some(tls::secret::Type::ValidationContext(context)) => if context.crl.is_some() {
            "roots and list"
        } else {
            "roots"
        }
        .to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_spellings_of_keys_and_only_the_proxys_namespace() {
    let [chain, key, root] = material();
    let list = [
        secret(
            "gw",
            "tls",
            &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &root)],
        ),
        secret("gw", "generic", &[("cert", &chain), ("key", &key)]),
        secret("gw", "generic-cacert", &[("cacert", &root)]),
        secret("other", "away", &[("tls.crt", &chain), ("tls.key", &key)]),
        secret("other", "granted", &[("tls.crt", &chain), ("tls.key", &key)]),
        secret("gw", "unrelated", &[("password", "x")]),
    ];
    let (secrets, credentials) = Secrets::next(&Arc::default(), &list);
    let cases = [
        ("kubernetes://tls", "certificate"),
        ("kubernetes://tls-cacert", "roots"),
        ("kubernetes://gw/tls", "certificate"),
        ("kubernetes://generic", "certificate"),
        ("kubernetes://generic-cacert", "roots"),
        ("kubernetes://away", "nothing"),
        ("kubernetes://other/away", "nothing"),
        ("kubernetes-gateway://other/away", "nothing"),
        ("kubernetes-gateway://other/granted", "certificate"),
        ("kubernetes://unrelated", "nothing"),
        ("kubernetes://absent", "nothing"),
        ("default", "nothing"),
    ];
    for (resource, expected) in cases {
        assert_eq!(found(&secrets, resource, "gw"), expected, "{resource}");
    }
    assert_eq!(found(&secrets, "kubernetes://away", "other"), "certificate");
    let unrelated = credentials.get("gw", "unrelated").unwrap();
    assert_eq!(
        (&unrelated.identity, &unrelated.roots),
        (&Fitness::Missing, &Fitness::Missing)
    );
}

#[test]
fn mistakes_are_told_and_what_was_good_stays() {
    let [chain, key, root] = material();
    let [_, foreign, _] = material();
    let good = secret(
        "gw",
        "web",
        &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &root)],
    );
    let (first, _) = Secrets::next(&Arc::default(), std::slice::from_ref(&good));
    let mistakes: [(&[(&str, &str)], &str); 5] = [
        (&[("tls.crt", &chain)], "no key"),
        (&[("tls.key", &key)], "no certificate"),
        (&[("tls.crt", &chain), ("tls.key", &foreign)], "key"),
        (&[("tls.crt", "nonsense"), ("tls.key", &key)], "CERTIFICATE"),
        (
            &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", "nonsense")],
            "ca.crt",
        ),
    ];
    for (data, reason) in mistakes {
        let broken = secret("gw", "web", data);
        let told = |credentials: &Credentials| {
            let credential = credentials.get("gw", "web").unwrap().clone();
            [credential.identity, credential.roots]
                .map(|fitness| format!("{fitness:?}"))
                .join(" ")
        };
        let (fresh, credentials) = Secrets::next(&Arc::default(), std::slice::from_ref(&broken));
        let text = told(&credentials);
        assert!(text.contains("Broken") && text.contains(reason), "{data:?}: {text}");
        assert!(!text.contains("PRIVATE"), "{text}");
        let part = if reason == "ca.crt" {
            "kubernetes://web-cacert"
        } else {
            "kubernetes://web"
        };
        assert_eq!(found(&fresh, part, "gw"), "nothing");
        let (after, credentials) = Secrets::next(&first, &[broken]);
        assert!(told(&credentials).contains("Outdated"), "{data:?}");
        assert_ne!(found(&after, part, "gw"), "nothing", "the last good one is served on");
    }
    let (same, _) = Secrets::next(&first, &[good]);
    assert!(Arc::ptr_eq(&same, &first), "nothing changed");
    let (gone, credentials) = Secrets::next(&first, &[]);
    assert_eq!(found(&gone, "kubernetes://web", "gw"), "nothing");
    assert_eq!(credentials, Credentials::default());
    assert!(gone.version() > first.version());
    assert!(!format!("{first:?}").contains("BEGIN"), "keys are shown to nobody");
}

#[test]
fn a_secret_of_files_names_them() {
    let content = |name: &str| {
        let Lookup::Found(encoded) = of_files(name)? else {
            return None;
        };
        let any = proto::envoy::google::protobuf::Any::decode(encoded.bytes.clone()).unwrap();
        tls::Secret::decode(&*any.value).unwrap().r#type
    };
    let file = |source: Option<DataSource>| match source.and_then(|source| source.specifier) {
        Some(Specifier::Filename(name)) => name,
        _ => String::new(),
    };
    match content("file-cert:/c~/k") {
        Some(tls::secret::Type::TlsCertificate(one)) => {
            assert_eq!(
                (file(one.certificate_chain), file(one.private_key)),
                ("/c".into(), "/k".into())
            );
        }
        other => panic!("{other:?}"),
    }
    for (name, crl) in [("file-root:/r", ""), ("file-root:/r~/l", "/l")] {
        match content(name) {
            Some(tls::secret::Type::ValidationContext(one)) => {
                assert_eq!((file(one.trusted_ca), file(one.crl)), ("/r".into(), crl.to_owned()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(of_files("kubernetes://web").is_none() && of_files("default").is_none());
}
