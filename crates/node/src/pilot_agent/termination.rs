//! The end of a pod: nobody is sent here any more, those who are here finish, then the proxy goes.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::admin::Admin;

/// How often open connections are counted.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// How long a drain takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminationSettings {
    /// The longest.
    pub drain: Duration,
    /// The shortest: endpoints need this long to forget the pod, connections or not.
    pub minimum: Duration,
    /// End before `drain` once no connection is left.
    pub until_idle: bool,
}

/// Tells the proxy to turn new work away and to let go of what it has. False when it cannot be told: then it serves nobody, and there is
/// nothing to wait for.
pub(super) async fn begin_drain(admin: &Admin) -> bool {
    let mut told = false;
    for path in ["/healthcheck/fail", "/drain_listeners?graceful"] {
        match admin.post(path).await {
            Ok(_) => told = true,
            Err(error) => tracing::warn!(%error, path, "the proxy was not told to drain"),
        }
    }
    told
}

/// Waits until the drain is over.
pub(super) async fn drained(admin: &Admin, settings: &TerminationSettings) {
    let end = Instant::now() + settings.drain;
    tracing::info!(drain = ?settings.drain, minimum = ?settings.minimum, until_idle = settings.until_idle, "draining");
    if settings.until_idle {
        sleep(settings.minimum).await;
        tokio::select! {
            () = sleep_until(end) => {}
            () = idle(admin) => return,
        }
    }
    sleep_until(end).await;
}

/// Completes when no client is connected. Never does so if the proxy does not count its clients.
async fn idle(admin: &Admin) {
    loop {
        match admin.active_connections().await {
            Ok(Some(0)) => return,
            Ok(active) => tracing::debug!(?active, "connections left"),
            Err(error) => tracing::debug!(%error, "connections cannot be counted"),
        }
        sleep(COUNT_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::fake_server;

    async fn drain_of(stats: &'static str, longest: Duration) -> Duration {
        let proxy = fake_server(move |_| (200, stats.to_owned())).await;
        let admin = Admin::new(proxy.address.into());
        let settings = TerminationSettings {
            drain: longest,
            minimum: Duration::from_millis(1),
            until_idle: true,
        };
        let started = Instant::now();
        drained(&admin, &settings).await;
        started.elapsed()
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_there_need_not_be_waited_for() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!begin_drain(&Admin::new(closed.into())).await);
        let proxy = fake_server(|_| (200, "OK\n".to_owned())).await;
        assert!(begin_drain(&Admin::new(proxy.address.into())).await);
    }

    #[tokio::test]
    async fn an_idle_proxy_need_not_wait_for_the_end_of_its_drain() {
        let stats = "listener.127.64.1.1_9080.downstream_cx_active: 0\nlistener.admin.downstream_cx_active: 1\n";
        assert!(drain_of(stats, Duration::from_secs(60)).await < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_busy_proxy_and_one_that_does_not_count_use_all_of_it() {
        for stats in ["listener.127.64.1.1_9080.downstream_cx_active: 2\n", ""] {
            let longest = Duration::from_millis(30);
            assert!(drain_of(stats, longest).await >= longest);
        }
    }
}
