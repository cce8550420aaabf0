//! The status port: what the kubelet, the scraper and an operator ask of a pod (15020 by custom).
//!
//! | Path | Answer |
//! |---|---|
//! | `GET /healthz/ready` | 200 once the proxy serves what pilot sent; 503 with the reason before, while it is down and while it drains |
//! | `GET /app-health/<container>/{livez,readyz,startupz}` | the application's own probe, made from inside the pod |
//! | `GET /stats/prometheus` | metrics of proxy, application and agent in one page |
//! | `GET /debug/sds`, `GET /version` | certificates and streams as JSON; the build |
//! | `POST /rotate`, `/drain`, `/quitquitquit` | a new certificate, a drain, an orderly end: for callers on this machine only |

mod metrics;
mod probes;
mod ready;
mod server;
#[cfg(test)]
pub(crate) use server::tests;

use std::sync::Arc;

use tokio::sync::Notify;

pub use metrics::{AgentMetrics, Metrics, Scrape};
pub use probes::{Probe, ProbeError, Probes, parse as parse_probes};
pub use ready::{NotReady, Ready};
pub use server::{Status, bind, serve};

/// What a caller may ask the agent to do.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    pub rotate: Arc<Notify>,
    pub drain: Arc<Notify>,
    pub quit: Arc<Notify>,
}
