//! Liveness by a file: a healthy CA touches it, `istio_ca probe` looks at its age.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pki::ca::CertificateAuthority;
use pki::{San, csr};

use crate::Clock;
use crate::args::Probe;
use crate::files;

const CHECK_TTL: Duration = Duration::from_secs(60);

/// `istio_ca probe`.
pub(crate) fn main(probe: &Probe) -> ExitCode {
    match age(probe) {
        Ok(age) if age <= probe.interval => {
            crate::println_line("OK");
            ExitCode::SUCCESS
        }
        Ok(age) => failed(&format!(
            "{} was touched {}s ago, allowed are {}s",
            probe.path.display(),
            age.as_secs(),
            probe.interval.as_secs()
        )),
        Err(error) => failed(&format!("cannot look at {}: {error}", probe.path.display())),
    }
}

fn age(probe: &Probe) -> std::io::Result<Duration> {
    let touched = std::fs::metadata(&probe.path)?.modified()?;
    Ok(SystemTime::now().duration_since(touched).unwrap_or_default())
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("istio_ca probe: {reason}");
    ExitCode::from(crate::FATAL)
}

/// Signs a request of our own at every interval and touches the file when that works.
pub(crate) async fn keep_alive(ca: Arc<CertificateAuthority>, path: PathBuf, interval: Duration, clock: Clock) {
    let name = [San::from_text("k8s.cluster.local")];
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let signed = csr::request(&csr::generate(), &name)
            .map_err(|e| e.to_string())
            .and_then(|request| {
                ca.sign_csr(request.as_bytes(), &name, CHECK_TTL.min(ca.ttl().max), clock())
                    .map_err(|e| e.to_string())
            })
            .and_then(|_| files::write(&path, b"", files::PUBLIC).map_err(|e| e.to_string()));
        if let Err(error) = signed {
            tracing::error!(%error, "the CA is not healthy: the liveness file is not touched");
        }
    }
}
