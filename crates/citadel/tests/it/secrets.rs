use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use citadel::metrics::Metrics;
use citadel::secrets::SecretKeeper;
use pki::ca::{CertificateAuthority, TtlPolicy};
use pki::tls::Identity;

use crate::support::*;

fn ca(now: SystemTime) -> Arc<CertificateAuthority> {
    let ca = CertificateAuthority::self_signed("cluster.local", 10_000 * HOUR, now).unwrap();
    Arc::new(ca.with_ttl(TtlPolicy {
        default: 100 * HOUR,
        max: 100 * HOUR,
    }))
}

#[test]
fn secrets_are_written_kept_and_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let flags = format!(
        "--self-signed-ca --secret-dir {} --secret-service-accounts istio-system/istio-pilot-service-account \
         --custom-dns-names istio-pilot-service-account.istio-system:istio-pilot.istio-system",
        dir.path().display()
    );
    let secrets = settings(&flags).secrets.unwrap();
    let now = SystemTime::now();
    let (ours, metrics) = (ca(now), Arc::new(Metrics::default()));
    let mut keeper = SecretKeeper::new(ours.clone(), metrics.clone(), secrets.clone());
    let folder = dir.path().join("istio-system.istio-pilot-service-account");
    let serial = || {
        let identity =
            Identity::from_pem(&read(&folder.join("cert-chain.pem")), &read(&folder.join("key.pem"))).unwrap();
        identity.certificate().serial.clone()
    };

    assert_eq!(
        keeper.sync(now).unwrap(),
        Duration::from_secs(60),
        "looked at once a minute at least"
    );
    let first = serial();
    let identity = Identity::from_pem(&read(&folder.join("cert-chain.pem")), &read(&folder.join("key.pem"))).unwrap();
    assert_eq!(identity.certificate().dns_sans, ["istio-pilot.istio-system"]);
    assert_eq!(
        identity.spiffe_id().unwrap().service_account(),
        "istio-pilot-service-account"
    );
    assert_eq!(read(&folder.join("root-cert.pem")), ours.root_pem().as_bytes());

    let mut last = first;
    // What happens to the folder, when we look, and whether the certificate is a new one.
    type Edit<'a> = (&'a str, Box<dyn Fn() + 'a>, Duration, bool);
    let edits: [Edit<'_>; 6] = [
        ("nothing", Box::new(|| ()), Duration::ZERO, false),
        ("before half life", Box::new(|| ()), 49 * HOUR, false),
        ("half life", Box::new(|| ()), 50 * HOUR, true),
        (
            "key gone",
            Box::new(|| fs::remove_file(folder.join("key.pem")).unwrap()),
            50 * HOUR,
            true,
        ),
        (
            "folder gone",
            Box::new(|| fs::remove_dir_all(&folder).unwrap()),
            50 * HOUR,
            true,
        ),
        (
            "other root",
            Box::new(|| fs::write(folder.join("root-cert.pem"), "x").unwrap()),
            50 * HOUR,
            true,
        ),
    ];
    for (name, edit, later, renewed) in edits {
        edit();
        keeper.sync(now + later).unwrap();
        assert_eq!(serial() != last, renewed, "{name}");
        last = serial();
    }
    assert_eq!((metrics.secrets_created.get(), metrics.secrets_recreated.get()), (1, 2));

    let mut after_restart = SecretKeeper::new(ours, metrics.clone(), secrets.clone());
    after_restart.sync(now + 50 * HOUR).unwrap();
    assert_eq!(serial(), last, "a restart keeps what is good");
    let mut of_another_root = SecretKeeper::new(ca(now), metrics, secrets);
    of_another_root.sync(now + 50 * HOUR).unwrap();
    assert_ne!(serial(), last);
}
