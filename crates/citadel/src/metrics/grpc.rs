//! Calls of the services, under the names that Go's gRPC middleware gives them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::Page;

/// The methods we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `IstioCertificateService/CreateCertificate`.
    CreateCertificate,
    /// `IstioCAService/HandleCSR`.
    HandleCsr,
}

/// What is known of all calls.
#[derive(Debug, Default)]
pub struct GrpcMetrics(Mutex<BTreeMap<Method, Calls>>);

/// A call under way. Dropped without an end, it counts as cancelled.
#[derive(Debug)]
pub struct Call<'a> {
    metrics: &'a GrpcMetrics,
    method: Method,
    started: Instant,
    code: &'static str,
}

#[derive(Debug, Default)]
struct Calls {
    started: u64,
    by_code: BTreeMap<&'static str, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl GrpcMetrics {
    /// Counts a call that begins.
    pub fn start(&self, method: Method) -> Call<'_> {
        self.with(|calls| calls.entry(method).or_default().started += 1);
        Call {
            metrics: self,
            method,
            started: Instant::now(),
            code: "Canceled",
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<Method, Calls>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn render(&self, page: &mut Page) {
        self.with(|calls| {
            page.head("grpc_server_started_total", "Calls that began.", "counter");
            for (method, calls) in calls.iter() {
                page.line(
                    "grpc_server_started_total",
                    &format!("{{{}}}", labels(*method)),
                    calls.started,
                );
            }
            page.head("grpc_server_handled_total", "Calls that ended, by code.", "counter");
            for (method, calls) in calls.iter() {
                for (code, count) in &calls.by_code {
                    page.line(
                        "grpc_server_handled_total",
                        &format!("{{grpc_code=\"{code}\",{}}}", labels(*method)),
                        count,
                    );
                }
            }
            page.head("grpc_server_handling_seconds", "How long calls took.", "histogram");
            for (method, calls) in calls.iter() {
                calls.histogram(page, &labels(*method));
            }
        });
    }
}

impl Calls {
    fn histogram(&self, page: &mut Page, labels: &str) {
        let handled: u64 = self.by_code.values().sum();
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            page.line(
                "grpc_server_handling_seconds_bucket",
                &format!("{{{labels},le=\"{bound}\"}}"),
                count,
            );
        }
        page.line(
            "grpc_server_handling_seconds_bucket",
            &format!("{{{labels},le=\"+Inf\"}}"),
            handled,
        );
        page.line(
            "grpc_server_handling_seconds_sum",
            &format!("{{{labels}}}"),
            self.seconds,
        );
        page.line("grpc_server_handling_seconds_count", &format!("{{{labels}}}"), handled);
    }
}

impl Call<'_> {
    /// Counts the end.
    pub fn end(mut self, code: tonic::Code) {
        self.code = name(code);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed().as_secs_f64();
        self.metrics.with(|calls| {
            let calls = calls.entry(self.method).or_default();
            *calls.by_code.entry(self.code).or_default() += 1;
            calls.seconds += took;
            for (bound, count) in BUCKETS.iter().zip(&mut calls.buckets) {
                *count += u64::from(took <= *bound);
            }
        });
    }
}

fn labels(method: Method) -> String {
    let (service, method) = match method {
        Method::CreateCertificate => ("istio.v1.auth.IstioCertificateService", "CreateCertificate"),
        Method::HandleCsr => ("istio.v1.auth.IstioCAService", "HandleCSR"),
    };
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"unary\"")
}

fn name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Unauthenticated => "Unauthenticated",
        tonic::Code::InvalidArgument => "InvalidArgument",
        tonic::Code::Internal => "Internal",
        _ => "Unknown",
    }
}
