use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::SystemTime;

use citadel::run::start;
use pki::csr;

use crate::support::*;

async fn fails(flags: &str) -> String {
    match start(settings(flags), Arc::new(SystemTime::now)).await {
        Ok(_) => panic!("started with {flags}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn the_root_is_kept_over_a_restart() {
    let first = TestCa::start("").await;
    let root = first.root();
    let dir = first.stop().await;
    let mode = fs::metadata(dir.path().join("ca-key.pem"))
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o600);
    let flags = format!("--self-signed-ca --storage-dir {}", dir.path().display());
    let again = TestCa::start_with(dir, settings(&flags)).await;
    assert_eq!(again.root(), root);
    assert!(get(again.monitoring, "/version").await.contains("meltemi"));
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let stored = format!("--self-signed-ca --storage-dir {path}");
    TestCa::start_with(tempfile::tempdir().unwrap(), settings(&stored))
        .await
        .stop()
        .await;

    fs::write(dir.path().join("ca-key.pem"), csr::generate().to_pem()).unwrap();
    let error = fails(&stored).await;
    assert!(
        error.contains("ca-cert.pem and ") && error.contains("does not belong to the signing certificate"),
        "{error}"
    );

    fs::remove_file(dir.path().join("ca-key.pem")).unwrap();
    let error = fails(&stored).await;
    assert!(
        error.contains("ca-cert.pem exists") && error.contains("ca-key.pem does not"),
        "{error}"
    );

    let error = fails(&format!(
        "--signing-cert {path}/ca-cert.pem --signing-key {path}/nowhere.pem --root-cert {path}/ca-cert.pem"
    ))
    .await;
    assert!(error.contains(&format!("cannot read {path}/nowhere.pem")), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings("--self-signed-ca");
    settings.grpc = taken.local_addr().ok();
    let error = start(settings, Arc::new(SystemTime::now))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("another program has it") && error.contains("--grpc-port"),
        "{error}"
    );
}
