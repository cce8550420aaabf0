//! One page of metrics for the whole pod: a scraper knows one port per pod, and cannot reach the application past mutual TLS.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;

use crate::address::HostPort;
use crate::admin::Admin;
use crate::http_client::Call;
use crate::identity::{RotationMetrics, Secrets};
use crate::sds::Counters;
use crate::supervise::ProxyState;

/// An application with more than this is not scraped through its agent.
const MAX_APPLICATION_BYTES: usize = 32 << 20;

/// Where the application serves its own metrics: the `prometheus.io/` annotations as injection writes them down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrape {
    pub target: HostPort,
    pub path: String,
}

#[derive(Deserialize)]
struct RawScrape {
    scrape: Option<String>,
    path: Option<String>,
    port: Option<String>,
}

/// Where the numbers come from.
#[derive(Debug)]
pub struct Metrics {
    pub admin: Admin,
    pub application: Option<Scrape>,
    pub agent: AgentMetrics,
}

/// The agent's own numbers.
#[derive(Debug)]
pub struct AgentMetrics {
    pub secrets: watch::Receiver<Secrets>,
    pub rotation: Arc<RotationMetrics>,
    pub sds: Arc<Counters>,
    pub proxy: watch::Receiver<ProxyState>,
    /// None: DNS is not served.
    pub dns: Option<Arc<crate::dns::Counters>>,
    pub failed_scrapes: AtomicU64,
}

impl Scrape {
    /// Reads `ISTIO_PROMETHEUS_ANNOTATIONS`; nothing when the application is not to be scraped.
    pub fn parse(json: &str, application: std::net::IpAddr) -> Result<Option<Self>, String> {
        let raw: RawScrape = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if raw.scrape.as_deref() != Some("true") {
            return Ok(None);
        }
        let port = raw.port.as_deref().filter(|port| !port.is_empty()).unwrap_or("80");
        let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port"))?;
        let path = raw
            .path
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "/metrics".into());
        Ok(Some(Scrape {
            target: std::net::SocketAddr::new(application, port).into(),
            path,
        }))
    }
}

impl Metrics {
    /// The page. A part that cannot be had is left out and counted.
    pub async fn page(&self) -> Bytes {
        let (proxy, application) = tokio::join!(self.proxy(), self.application());
        let mut page = Vec::new();
        for part in [proxy, application].into_iter().flatten() {
            append(&mut page, &part);
        }
        page.extend_from_slice(self.agent.render().as_bytes());
        page.into()
    }

    async fn proxy(&self) -> Option<Bytes> {
        self.heard(
            self.admin
                .get("/stats/prometheus")
                .await
                .map_err(|error| error.to_string()),
            "proxy",
        )
    }

    async fn application(&self) -> Option<Bytes> {
        let scrape = self.application.as_ref()?;
        let call = Call {
            timeout: Duration::from_secs(10),
            limit: MAX_APPLICATION_BYTES,
            ..Call::get(&scrape.target, &scrape.path)
        };
        let answer = call
            .send()
            .await
            .map_err(|error| error.to_string())
            .and_then(|answer| match answer.status() {
                status if status.is_success() => Ok(answer.into_body()),
                status => Err(format!("{} answers {status} to {}", scrape.target, scrape.path)),
            });
        self.heard(answer, "application")
    }

    fn heard(&self, part: Result<Bytes, String>, of: &'static str) -> Option<Bytes> {
        part.inspect_err(|reason| {
            self.agent.failed_scrapes.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(of, reason, "metrics are missing from the pod's page");
        })
        .ok()
    }
}

/// Adds a page to the page: the end mark of OpenMetrics may only stand at the end of all.
fn append(page: &mut Vec<u8>, part: &[u8]) {
    let part = part.trim_ascii_end();
    let part = part.strip_suffix(b"# EOF").unwrap_or(part).trim_ascii_end();
    page.extend_from_slice(part);
    page.push(b'\n');
}

impl AgentMetrics {
    fn render(&self) -> String {
        let secrets = self.secrets.borrow();
        let expiry = secrets
            .identity
            .as_ref()
            .and_then(|identity| identity.leaf.not_after.duration_since(UNIX_EPOCH).ok());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let starts = self.proxy.borrow().epoch;
        let rows = [
            (
                "cert_expiry_timestamp_seconds",
                "gauge",
                "When the workload certificate ends, in Unix time",
                expiry.map(|at| at.as_secs_f64()),
            ),
            (
                "certificates_issued_total",
                "counter",
                "Certificates obtained from the CA",
                Some(count(&self.rotation.issued)),
            ),
            (
                "certificate_failures_total",
                "counter",
                "Attempts to obtain a certificate that failed",
                Some(count(&self.rotation.failed)),
            ),
            (
                "sds_streams",
                "gauge",
                "Secret streams that the proxy holds open",
                Some(count(&self.sds.streams)),
            ),
            (
                "sds_pushes_total",
                "counter",
                "Secrets sent to the proxy",
                Some(count(&self.sds.sent)),
            ),
            (
                "sds_rejections_total",
                "counter",
                "Secrets that the proxy refused",
                Some(count(&self.sds.refused)),
            ),
            (
                "proxy_starts_total",
                "counter",
                "Starts of the proxy, the first included",
                Some(starts as f64),
            ),
            (
                "dns_requests_total",
                "counter",
                "DNS queries of the application",
                self.dns.as_ref().map(|dns| count(&dns.requests)),
            ),
            (
                "dns_upstream_requests_total",
                "counter",
                "DNS queries passed on to the resolvers of the pod",
                self.dns.as_ref().map(|dns| count(&dns.upstream_requests)),
            ),
            (
                "dns_upstream_failures_total",
                "counter",
                "DNS queries that no resolver answered",
                self.dns.as_ref().map(|dns| count(&dns.upstream_failures)),
            ),
            (
                "scrape_failures_total",
                "counter",
                "Parts that were missing from this page",
                Some(count(&self.failed_scrapes)),
            ),
        ];
        let mut page = String::new();
        for (name, kind, help, value) in rows {
            let Some(value) = value else { continue };
            let _ = write!(
                page,
                "# HELP istio_agent_{name} {help}\n# TYPE istio_agent_{name} {kind}\nistio_agent_{name} {value}\n"
            );
        }
        page
    }

    /// The same for people and scripts, with the certificates' names.
    pub fn debug(&self) -> serde_json::Value {
        let secrets = self.secrets.borrow();
        let identity = secrets.identity.as_ref().map(|identity| {
            serde_json::json!({
                "names": identity.names(),
                "serial": identity.leaf.serial,
                "notBefore": pki::tls::time_text(identity.leaf.not_before),
                "notAfter": pki::tls::time_text(identity.leaf.not_after),
                "version": identity.version(),
            })
        });
        let roots = secrets.roots.as_ref().map(|roots| {
            serde_json::json!({ "version": roots.version(), "certificates": roots.pem.matches("BEGIN CERTIFICATE").count() })
        });
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "default": identity,
            "ROOTCA": roots,
            "streams": count(&self.sds.streams),
            "sent": count(&self.sds.sent),
            "accepted": count(&self.sds.accepted),
            "refused": count(&self.sds.refused),
            "issued": count(&self.rotation.issued),
            "failed": count(&self.rotation.failed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_where_to_scrape() {
        let ip = "127.64.1.2".parse().unwrap();
        let scrape = Scrape::parse(r#"{"scrape":"true","path":"","port":"9080"}"#, ip)
            .unwrap()
            .unwrap();
        assert_eq!(
            (scrape.target.to_string().as_str(), scrape.path.as_str()),
            ("127.64.1.2:9080", "/metrics")
        );
        assert_eq!(Scrape::parse(r#"{"scrape":"false"}"#, ip).unwrap(), None);
        assert!(Scrape::parse(r#"{"scrape":"true","port":"http"}"#, ip).is_err());
    }

    #[test]
    fn pages_join_without_an_end_in_the_middle() {
        let mut page = Vec::new();
        append(&mut page, b"a 1\n# EOF\n");
        append(&mut page, b"b 2");
        assert_eq!(page, b"a 1\nb 2\n");
    }
}
