//! Counters and gauges, in the text form that Prometheus scrapes.
//!
//! The names are the original's; several end in `_count` although they are counters, and client libraries would append `_total` to them.
//! A dozen atomics and their rendering are simpler than working around that.

mod grpc;
mod process;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pki::ca::CertificateAuthority;

pub use grpc::{Call, GrpcMetrics, Method};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// Counters by the value of one label.
#[derive(Debug, Default)]
pub struct CountersBy(Mutex<BTreeMap<&'static str, u64>>);

/// All that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests to `HandleCSR`.
    pub csrs: Counter,
    /// Callers refused, both services.
    pub authentication_failures: Counter,
    /// Requests that do not parse (`HandleCSR`).
    pub csr_parsing_errors: Counter,
    /// Requests without a name (`HandleCSR`).
    pub id_extraction_errors: Counter,
    /// Certificates refused, by reason, both services.
    pub sign_errors: CountersBy,
    /// Certificates issued (`HandleCSR`).
    pub issued: Counter,
    /// Secrets written for the first time.
    pub secrets_created: Counter,
    /// Secrets written again after they vanished.
    pub secrets_recreated: Counter,
    /// Requests that could not be made for a secret.
    pub secret_csr_errors: Counter,
    /// Certificates refused for a secret, by reason.
    pub secret_sign_errors: CountersBy,
    /// Calls of the services.
    pub grpc: GrpcMetrics,
}

const LABEL: &str = "error";

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl CountersBy {
    /// One more with this label.
    pub fn increment(&self, label: &'static str) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(label)
            .or_default() += 1;
    }

    /// The number of this label.
    pub fn get(&self, label: &str) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(label)
            .copied()
            .unwrap_or_default()
    }
}

// === impl Metrics ===

impl Metrics {
    /// The page.
    pub fn render(&self, ca: &CertificateAuthority, now: SystemTime) -> String {
        let mut page = Page::default();
        page.counter(
            "citadel_server_csr_count",
            "Certificate requests to HandleCSR.",
            &self.csrs,
        );
        page.counter(
            "citadel_server_authentication_failure_count",
            "Callers whose credentials were refused.",
            &self.authentication_failures,
        );
        page.counter(
            "citadel_server_csr_parsing_err_count",
            "Certificate requests that do not parse.",
            &self.csr_parsing_errors,
        );
        page.counter(
            "citadel_server_id_extraction_err_count",
            "Certificate requests without an identity.",
            &self.id_extraction_errors,
        );
        page.counters(
            "citadel_server_csr_sign_err_count",
            "Certificate requests that were not signed.",
            &self.sign_errors,
        );
        page.counter(
            "citadel_server_success_cert_issuance_count",
            "Certificates issued by HandleCSR.",
            &self.issued,
        );
        page.counter(
            "citadel_secret_controller_svc_acc_created_cert_count",
            "Secrets created for service accounts.",
            &self.secrets_created,
        );
        page.counter(
            "citadel_secret_controller_svc_acc_deleted_cert_count",
            "Secrets deleted with their service account.",
            &Counter::default(),
        );
        page.counter(
            "citadel_secret_controller_secret_deleted_cert_count",
            "Secrets created again after their deletion.",
            &self.secrets_recreated,
        );
        page.counter(
            "citadel_secret_controller_csr_err_count",
            "Errors while making a request for a secret.",
            &self.secret_csr_errors,
        );
        page.counters(
            "citadel_secret_controller_csr_sign_err_count",
            "Errors while signing for a secret.",
            &self.secret_sign_errors,
        );
        self.expiry(&mut page, ca, now);
        self.grpc.render(&mut page);
        process::render(&mut page);
        page.0
    }

    fn expiry(&self, page: &mut Page, ca: &CertificateAuthority, now: SystemTime) {
        let root = ca.roots().iter().map(|root| root.not_after).min();
        for (what, help, end) in [
            ("root_cert", "the root certificate", root),
            (
                "cert_chain",
                "the signing certificate",
                Some(ca.certificate().not_after),
            ),
        ] {
            let end = end.map_or(0.0, seconds);
            page.gauge(
                &format!("citadel_server_{what}_expiry_timestamp"),
                &format!("When {help} expires, Unix time."),
                end,
            );
            page.gauge(
                &format!("citadel_server_{what}_expiry_seconds"),
                &format!("Time until {help} expires."),
                end - seconds(now),
            );
        }
    }
}

fn seconds(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The text that is being written.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, help, "counter");
        self.line(name, "", counter.get());
    }

    fn counters(&mut self, name: &str, help: &str, counters: &CountersBy) {
        self.head(name, help, "counter");
        for (label, value) in counters.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.line(name, &format!("{{{LABEL}=\"{label}\"}}"), value);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, "", value);
    }
}
