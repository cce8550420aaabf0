//! Whether the pod may receive traffic.
//!
//! A proxy is ready when pilot's first clusters and listeners were *accepted*, its workers run, and it calls itself live. With application
//! ports given, one of them must have its listener too: otherwise a pod whose endpoints pilot has not seen yet would be sent traffic that nobody accepts.
//! Once that held it holds for as long as this proxy process lives, and pilot's absence later changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::admin::{Admin, AdminError};
use crate::supervise::ProxyState;

const CDS: &str = "cluster_manager.cds.update_";
const LDS: &str = "listener_manager.lds.update_";
const WORKERS: &str = "listener_manager.workers_started";
const FILTER: &str = r"^(cluster_manager\.cds\.update_(success|rejected)|listener_manager\.lds\.update_(success|rejected)|listener_manager\.workers_started)$";
/// The listener of all inbound traffic where iptables captures it: it stands for every port.
const CAPTURE_LISTENER: &str = "virtualInbound";

/// Decides readiness. Remembers the proxy for which it was shown.
#[derive(Debug)]
pub struct Ready {
    admin: Admin,
    application_ports: Vec<u16>,
    proxy: watch::Receiver<ProxyState>,
    draining: watch::Receiver<bool>,
    proven: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("draining: the pod is about to end")]
    Draining,
    #[error("the proxy is not running")]
    NoProxy,
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the proxy refuses what pilot sends: {0}; its log names the resource")]
    Rejected(String),
    #[error("no configuration from pilot yet: {0}")]
    NoConfiguration(String),
    #[error("the proxy's workers have not started")]
    Workers,
    #[error("the proxy does not call itself live")]
    NotLive,
    #[error("no listener yet for any application port of {0:?}; does a Service select this pod?")]
    NoListener(Vec<u16>),
}

impl Ready {
    pub fn new(
        admin: Admin,
        application_ports: Vec<u16>,
        proxy: watch::Receiver<ProxyState>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Ready {
            admin,
            application_ports,
            proxy,
            draining,
            proven: AtomicU64::new(0),
        }
    }

    pub async fn check(&self) -> Result<(), NotReady> {
        if *self.draining.borrow() {
            return Err(NotReady::Draining);
        }
        let ProxyState { epoch, pid } = *self.proxy.borrow();
        if pid.is_none() {
            return Err(NotReady::NoProxy);
        }
        if self.proven.load(Ordering::Relaxed) == epoch {
            return Ok(());
        }
        self.prove().await?;
        tracing::info!(epoch, "the proxy is ready");
        self.proven.store(epoch, Ordering::Relaxed);
        tokio::spawn(runtime::resident::release_code_when_settled());
        Ok(())
    }

    async fn prove(&self) -> Result<(), NotReady> {
        let stats = self.admin.stats(FILTER).await?;
        let count = |name: String| stats.get(&name).copied().unwrap_or_default();
        for (what, prefix) in [("clusters", CDS), ("listeners", LDS)] {
            if count(format!("{prefix}success")) > 0 {
                continue;
            }
            let (what, rejected) = (what.to_owned(), count(format!("{prefix}rejected")));
            return Err(if rejected > 0 {
                NotReady::Rejected(what)
            } else {
                NotReady::NoConfiguration(what)
            });
        }
        // A proxy that does not count its workers has them from the start.
        if stats.get(WORKERS) == Some(&0) {
            return Err(NotReady::Workers);
        }
        if !self.admin.is_live().await? {
            return Err(NotReady::NotLive);
        }
        self.has_listener().await
    }

    async fn has_listener(&self) -> Result<(), NotReady> {
        if self.application_ports.is_empty() {
            return Ok(());
        }
        let listeners = self.admin.listeners().await?;
        let bound = listeners
            .iter()
            .any(|(name, port)| name == CAPTURE_LISTENER || self.application_ports.contains(port));
        if bound {
            Ok(())
        } else {
            Err(NotReady::NoListener(self.application_ports.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::status::server::tests::{FakeServer, fake_server};

    const UP: &str = "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\n";

    struct Proxy {
        stats: Arc<Mutex<String>>,
        server: FakeServer,
    }

    async fn proxy(stats: &str, listeners: &'static str) -> Proxy {
        let stats = Arc::new(Mutex::new(stats.to_owned()));
        let shared = stats.clone();
        let server = fake_server(move |path| match path {
            "/ready" => (200, "LIVE\n".to_owned()),
            "/listeners" => (200, listeners.to_owned()),
            path if path.starts_with("/stats?filter=") => (200, shared.lock().unwrap().clone()),
            _ => (404, String::new()),
        })
        .await;
        Proxy { stats, server }
    }

    fn ready(proxy: &Proxy, ports: &[u16]) -> (Ready, watch::Sender<ProxyState>, watch::Sender<bool>) {
        let (state, watching) = watch::channel(ProxyState { epoch: 1, pid: Some(1) });
        let (drain, draining) = watch::channel(false);
        (
            Ready::new(
                Admin::new(proxy.server.address.into()),
                ports.to_vec(),
                watching,
                draining,
            ),
            state,
            drain,
        )
    }

    #[tokio::test]
    async fn each_missing_part_is_named() {
        let cases = [
            ("", "x::0.0.0.0:1", &[][..], "clusters"),
            ("cluster_manager.cds.update_success: 1\n", "", &[], "listeners"),
            (
                "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_rejected: 2\n",
                "",
                &[],
                "refuses",
            ),
            (
                "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 0\n",
                "",
                &[],
                "workers",
            ),
            (UP, "a::1.2.3.4:9081\n", &[9080], "[9080]"),
        ];
        for (stats, listeners, ports, expected) in cases {
            let proxy = proxy(stats, listeners).await;
            let (ready, _state, _drain) = ready(&proxy, ports);
            let reason = ready.check().await.unwrap_err().to_string();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[tokio::test]
    async fn ready_stays_ready_until_the_proxy_is_another_or_drains() {
        let proxy = proxy(UP, "virtualInbound::0.0.0.0:15006\n").await;
        let (ready, state, drain) = ready(&proxy, &[9080]);
        ready.check().await.unwrap();
        proxy.stats.lock().unwrap().clear();
        ready.check().await.unwrap();
        state.send_replace(ProxyState { epoch: 1, pid: None });
        assert!(matches!(ready.check().await, Err(NotReady::NoProxy)));
        state.send_replace(ProxyState { epoch: 2, pid: Some(2) });
        assert!(matches!(ready.check().await, Err(NotReady::NoConfiguration(_))));
        drain.send_replace(true);
        assert!(matches!(ready.check().await, Err(NotReady::Draining)));
    }
}
