//! Servers of gateways: their certificates, and what they ask of clients.

use model::mesh::Fitness::{self, Broken, Missing, Outdated, Usable};
use prost::Message;
use serde_json::{Value, json};

use crate::ResourceType::Listener;
use crate::fixture::{self, Mesh, listener, router};
use crate::pb::core::transport_socket::ConfigType;
use crate::pb::tls::common_tls_context::ValidationContextType;
use crate::pb::{self, tls};

/// A Gateway with a file server for `file.io`, and one for `a.io` with these settings.
fn mesh(settings: &Value) -> Mesh {
    let server = |name: &str, tls: &Value| {
        let port = json!({ "number": 443, "name": name, "protocol": "HTTPS" });
        json!({ "port": port, "hosts": [format!("{name}.io")], "tls": tls })
    };
    let files = json!({ "mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k" });
    let spec = json!({ "selector": { "istio": "ingressgateway" }, "servers": [server("file", &files), server("a", settings)] });
    Mesh::bookinfo().apply("Gateway", "default", "gw", spec)
}

fn secret(mesh: Mesh, name: &str, identity: Fitness, roots: Fitness) -> Mesh {
    mesh.secret("istio-system", name, identity, roots)
}

/// The TLS of the server for `a.io`, if it is there; `file.io` always is.
fn context(mesh: &Mesh, native: bool) -> Option<tls::DownstreamTlsContext> {
    let mut proxy = router();
    proxy.native = native;
    let made = listener(mesh, &proxy, "0.0.0.0_8443");
    let named = |name: &str| {
        let is = |chain: &&pb::listener::FilterChain| {
            chain
                .filter_chain_match
                .as_ref()
                .is_some_and(|m| m.server_names == [name])
        };
        made.filter_chains.iter().find(is)
    };
    assert!(named("file.io").is_some(), "another server's fault costs nothing");
    let Some(ConfigType::TypedConfig(config)) = named("a.io")?.transport_socket.clone()?.config_type else {
        panic!("no settings");
    };
    Some(tls::DownstreamTlsContext::decode(config.value.as_slice()).expect("valid"))
}

/// The certificates and roots it takes from Secrets.
fn secrets(context: &tls::DownstreamTlsContext) -> (Vec<&str>, Option<&str>) {
    let common = context.common_tls_context.as_ref().expect("common");
    let certificates = common
        .tls_certificate_sds_secret_configs
        .iter()
        .map(|config| config.name.as_str());
    let roots = match &common.validation_context_type {
        Some(ValidationContextType::CombinedValidationContext(combined)) => combined
            .validation_context_sds_secret_config
            .as_ref()
            .map(|config| config.name.as_str()),
        _ => None,
    };
    (certificates.collect(), roots)
}

#[test]
fn certificates_of_secrets() {
    let simple = json!({ "mode": "SIMPLE", "credentialName": "web" });
    let mutual = |mode: &str| json!({ "mode": mode, "credentialName": "web" });
    let several = json!({ "mode": "SIMPLE", "credentialNames": ["web", "ec"] });
    let separate = json!({ "mode": "MUTUAL", "credentialName": "web", "caCertCredentialName": "clients" });
    let whole = |mesh: Mesh| secret(mesh, "web", Usable, Usable);
    let both = |mesh: Mesh| secret(secret(mesh, "web", Usable, Missing), "web-cacert", Missing, Usable);
    let web = "kubernetes://web";
    let cases: [(Mesh, bool, &[&str], Option<&str>); 8] = [
        (whole(mesh(&simple)), false, &[web], None),
        (
            whole(mesh(&mutual("MUTUAL"))),
            true,
            &[web],
            Some("kubernetes://web-cacert"),
        ),
        (
            both(mesh(&mutual("MUTUAL"))),
            true,
            &[web],
            Some("kubernetes://web-cacert"),
        ),
        (
            whole(mesh(&mutual("OPTIONAL_MUTUAL"))),
            false,
            &[web],
            Some("kubernetes://web-cacert"),
        ),
        (
            secret(whole(mesh(&separate)), "clients", Missing, Usable),
            true,
            &[web],
            Some("kubernetes://clients-cacert"),
        ),
        (
            secret(whole(mesh(&several)), "ec", Usable, Missing),
            false,
            &[web, "kubernetes://ec"],
            None,
        ),
        (
            secret(mesh(&simple), "web", Outdated("x".to_owned()), Missing),
            false,
            &[web],
            None,
        ),
        (
            whole(mesh(
                &json!({ "mode": "SIMPLE", "credentialName": "kubernetes://istio-system/web" }),
            )),
            false,
            &[web],
            None,
        ),
    ];
    for (index, (mesh, require, certificates, roots)) in cases.into_iter().enumerate() {
        let made = context(&mesh, false).unwrap_or_else(|| panic!("case {index}"));
        assert_eq!(secrets(&made), (certificates.to_vec(), roots), "case {index}");
        assert_eq!(made.require_client_certificate, pb::bool(require), "case {index}");
        let native = context(&mesh, true).expect("there as well");
        assert_eq!(secrets(&native).0, certificates, "case {index}");
    }
}

#[test]
fn a_server_without_its_secret_is_left_out_alone_and_reported() {
    let simple = json!({ "mode": "SIMPLE", "credentialName": "web" });
    let mutual = json!({ "mode": "MUTUAL", "credentialName": "web" });
    let away = json!({ "mode": "SIMPLE", "credentialName": "kubernetes://default/web" });
    let cases = [
        (mesh(&simple), "Secret istio-system/web is not there"),
        (
            mesh(&simple).secret("default", "web", Usable, Usable),
            "Secret istio-system/web is not there",
        ),
        (
            secret(mesh(&simple), "web", Broken("no PEM".to_owned()), Missing),
            "Secret istio-system/web cannot be used: no PEM",
        ),
        (secret(mesh(&mutual), "web", Usable, Missing), "has no ca.crt"),
        (
            mesh(&away).secret("default", "web", Usable, Usable),
            "is not of namespace istio-system",
        ),
    ];
    for (mesh, reason) in cases {
        assert_eq!(context(&mesh, true), None, "{reason}");
        let reports = fixture::issues(&mesh, &router(), Listener, "0.0.0.0_8443");
        let told = reports
            .iter()
            .any(|report| report.starts_with("Gateway default/gw: server a is left out: ") && report.contains(reason));
        assert!(told, "{reason}: {reports:?}");
    }
    let outdated = secret(mesh(&simple), "web", Outdated("no PEM".to_owned()), Missing);
    let reports = fixture::issues(&outdated, &router(), Listener, "0.0.0.0_8443");
    assert!(
        reports.len() == 1 && reports[0].contains("is served as it was before: no PEM"),
        "{reports:?}"
    );
}

#[test]
fn what_clients_are_checked_by() {
    let settings = json!({
        "mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/ca", "caCrl": "/crl",
        "subjectAltNames": ["client.io"], "verifyCertificateHash": ["aa"], "verifyCertificateSpki": ["bb"],
    });
    let made = context(&mesh(&settings), true).expect("there");
    assert_eq!(secrets(&made), (vec!["file-cert:/c~/k"], Some("file-root:/ca~/crl")));
    let Some(ValidationContextType::CombinedValidationContext(check)) =
        made.common_tls_context.expect("common").validation_context_type
    else {
        panic!("no check");
    };
    let check = check.default_validation_context.expect("names");
    assert_eq!(check.verify_certificate_hash, ["aa"]);
    assert_eq!(check.verify_certificate_spki, ["bb"]);
    assert_eq!(check.match_typed_subject_alt_names.len(), 1);
    let nobody = json!({ "mode": "OPTIONAL_MUTUAL", "serverCertificate": "/c", "privateKey": "/k" });
    assert_eq!(context(&mesh(&nobody), true), None, "it would let everybody in");
}

#[test]
fn several_certificates_of_files_and_their_roots() {
    let settings = json!({ "mode": "MUTUAL", "tlsCertificates": [
        { "serverCertificate": "/rsa", "privateKey": "/rsa-key" },
        { "serverCertificate": "/ec", "privateKey": "/ec-key", "caCertificates": "/ca" },
    ] });
    for native in [false, true] {
        let made = context(&mesh(&settings), native).expect("there");
        let certificates = vec!["file-cert:/rsa~/rsa-key", "file-cert:/ec~/ec-key"];
        assert_eq!(secrets(&made), (certificates, Some("file-root:/ca")));
    }
}

#[test]
fn what_may_be_spoken() {
    use tls::tls_parameters::TlsProtocol::{TlSv12, TlSv13};
    let of = |more: Value, defaults: Value, native| {
        let mut settings = json!({ "mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k" });
        let settings_map = settings.as_object_mut().expect("a map");
        settings_map.extend(more.as_object().cloned().unwrap_or_default());
        let mut mesh = mesh(&settings);
        let config = std::sync::Arc::make_mut(&mut mesh.0.mesh);
        config.tls_defaults = serde_json::from_value(defaults).expect("valid");
        let made = context(&mesh, native)?.common_tls_context?.tls_params?;
        let versions = (made.tls_minimum_protocol_version, made.tls_maximum_protocol_version);
        Some((versions, made.cipher_suites, made.ecdh_curves))
    };
    const AES: &str = "ECDHE-RSA-AES128-GCM-SHA256";
    let both = (TlSv12 as i32, TlSv13 as i32);
    let older = (TlSv12 as i32, TlSv12 as i32);
    let newer = (TlSv13 as i32, TlSv13 as i32);
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        (json!({}), json!({}), Some((both, list(&[]), list(&[])))),
        (
            json!({ "minProtocolVersion": "TLSV1_3" }),
            json!({}),
            Some((newer, list(&[]), list(&[]))),
        ),
        (
            json!({ "maxProtocolVersion": "TLSV1_2", "cipherSuites": [AES, "NULL", AES] }),
            json!({ "ecdhCurves": ["P-256"] }),
            Some((older, list(&[AES]), list(&["P-256"]))),
        ),
        (
            json!({}),
            json!({ "minProtocolVersion": "TLSV1_3", "cipherSuites": [AES] }),
            Some((newer, list(&[AES]), list(&[]))),
        ),
        (
            json!({ "maxProtocolVersion": "TLSV1_2" }),
            json!({ "minProtocolVersion": "TLSV1_3" }),
            None,
        ),
    ];
    for (settings, defaults, expected) in cases {
        assert_eq!(
            of(settings.clone(), defaults.clone(), true),
            expected,
            "{settings} {defaults}"
        );
        assert_eq!(of(settings, defaults, false), expected);
    }
    let foreign = json!({ "maxProtocolVersion": "TLSV1_2", "cipherSuites": ["AES128-SHA"] });
    assert_eq!(
        of(foreign.clone(), json!({}), true),
        None,
        "our own proxy could speak with nobody"
    );
    assert!(of(foreign, json!({}), false).is_some());
}

#[test]
fn a_gateway_of_the_gateway_api_may_name_what_it_was_granted() {
    use std::sync::Arc;

    use model::kinds::DerivedGateway;
    use model::mesh::CredentialName;

    let foreign = json!({ "mode": "SIMPLE", "credentialName": "kubernetes-gateway://default/web" });
    let mut mesh = mesh(&foreign).secret("default", "web", Usable, Missing);
    assert_eq!(context(&mesh, true), None, "an Istio Gateway may not");
    let granted = |mesh: &Mesh, name: &str| {
        let secret = CredentialName {
            namespace: "default",
            name,
        };
        crate::Scope::new(&mesh.0, &router()).is_granted(secret)
    };
    assert!(!granted(&mesh, "web"));
    let gateway = Arc::make_mut(&mut mesh.0.gateways[0]);
    gateway.spec.derived = Some(DerivedGateway {
        name: "default/gw".to_owned(),
        workload_namespace: "istio-system".to_owned(),
    });
    let made = context(&mesh, true).expect("there");
    assert_eq!(secrets(&made).0, ["kubernetes-gateway://default/web"]);
    assert!(granted(&mesh, "web") && granted(&mesh, "web-cacert") && !granted(&mesh, "other"));
}

#[test]
fn connections_of_the_mesh_pass_by_the_name_of_their_cluster() {
    let server = json!({ "port": { "number": 443, "name": "tls", "protocol": "TLS" }, "hosts": ["*.local"], "tls": { "mode": "AUTO_PASSTHROUGH" } });
    let mesh = Mesh::bookinfo()
        .reviews_subsets()
        .service("default", "away", Some([10, 0, 4, 4].into()), &[("tcp", 443, 443)])
        .change("away", |service| service.mesh_external = true)
        .apply(
            "Gateway",
            "default",
            "sni",
            json!({ "selector": { "istio": "ingressgateway" }, "servers": [server] }),
        );
    let made = listener(&mesh, &router(), "0.0.0.0_8443");
    let cases = [
        ("outbound_.9080_._.reviews.default.svc.cluster.local", true),
        ("outbound_.9080_.v2_.reviews.default.svc.cluster.local", true),
        ("outbound_.9080_.v9_.reviews.default.svc.cluster.local", false),
        ("outbound_.443_._.away.default.svc.cluster.local", false),
        ("outbound|9080||reviews.default.svc.cluster.local", false),
        ("BlackHoleCluster", false),
    ];
    for (name, passes) in cases {
        let to = super::taken(&made, 8443, "tls", &["istio"], name);
        assert_eq!(to, passes.then(|| format!("tcp {name}")), "{name}");
        let cluster = fixture::resource(&mesh, &router(), crate::ResourceType::Cluster, name).is_some();
        let listed = fixture::names(&mesh, &router(), crate::ResourceType::Cluster).contains(&name.to_owned());
        assert!(!passes || (cluster && listed), "{name}");
    }
    let name = "outbound_.9080_.v2_.reviews.default.svc.cluster.local";
    let cluster = fixture::cluster(&mesh, &router(), name);
    assert!(
        cluster.transport_socket.is_none() && cluster.transport_socket_matches.is_empty(),
        "it is encrypted already"
    );
    let endpoints = fixture::endpoints(&mesh, &router(), name);
    assert_eq!(
        (
            endpoints.cluster_name.as_str(),
            endpoints.endpoints[0].lb_endpoints.len()
        ),
        (name, 1)
    );
    // Other gateways have no such clusters.
    assert!(
        fixture::resource(
            &Mesh::bookinfo().reviews_subsets(),
            &router(),
            crate::ResourceType::Cluster,
            name
        )
        .is_none()
    );
}

#[test]
fn a_chain_names_the_server_that_wanted_it() {
    let wanted_by = |chain: &pb::listener::FilterChain| {
        let istio = chain.metadata.as_ref()?.filter_metadata.get("istio")?;
        let word = |name: &str| match istio.fields.get(name)?.kind.as_ref()? {
            pb::google::value::Kind::StringValue(text) => Some(text.clone()),
            _ => None,
        };
        Some((word("config")?, word("rule")))
    };
    let gateway = |name: &str| format!("/apis/networking.istio.io/v1/namespaces/default/gateway/{name}");
    let plain = |name: &str, host: &str| json!({ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "name": name, "hosts": [host] });
    let spec = |servers: Value| json!({ "selector": { "istio": "ingressgateway" }, "servers": servers });
    let secure = mesh(&json!({ "mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k" }));
    let one = |servers| Mesh::bookinfo().apply("Gateway", "default", "a", spec(servers));
    let two = one(json!([plain("", "a.io")])).apply("Gateway", "default", "b", spec(json!([plain("", "b.io")])));
    let rule = |name: &str| Some(name.to_owned());
    let cases = [
        (
            secure,
            "0.0.0.0_8443",
            vec![Some((gateway("gw"), rule("0"))), Some((gateway("gw"), rule("1")))],
        ),
        (
            one(json!([plain("", "a.io")])),
            "0.0.0.0_8080",
            vec![Some((gateway("a"), rule("0")))],
        ),
        (
            one(json!([plain("front", "a.io")])),
            "0.0.0.0_8080",
            vec![Some((gateway("a"), rule("front")))],
        ),
        // One chain for two servers, and for two Gateways.
        (
            one(json!([plain("", "a.io"), plain("", "b.io")])),
            "0.0.0.0_8080",
            vec![Some((gateway("a"), None))],
        ),
        (two, "0.0.0.0_8080", vec![None]),
    ];
    for (mesh, name, expected) in cases {
        let route = json!({ "hosts": ["*"], "gateways": ["a", "b", "gw"], "http": [{ "route": [{ "destination": { "host": "reviews" } }] }] });
        let mesh = mesh.apply("VirtualService", "default", "routes", route);
        let made = listener(&mesh, &router(), name);
        let told: Vec<_> = made.filter_chains.iter().map(wanted_by).collect();
        assert_eq!(told, expected, "{name}");
    }
}
