//! The status port's server and its routes.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Actions, Metrics, Probes, Ready};

/// A kubelet, a scraper and a person need a handful.
const MAX_CONNECTIONS: usize = 256;
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// Everything the status port answers from.
#[derive(Debug)]
pub struct Status {
    pub ready: Ready,
    pub probes: Probes,
    /// Where the application listens.
    pub application: IpAddr,
    pub metrics: Metrics,
    pub actions: Actions,
}

/// Binds the port; the error says which and what to do.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let way_out = match error.kind() {
            io::ErrorKind::AddrInUse => "another process has it; choose another --statusPort or --statusAddress",
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address of --statusAddress",
            _ => "see --statusPort and --statusAddress",
        };
        io::Error::new(error.kind(), format!("status port {address}: {error}; {way_out}"))
    })
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, status: Arc<Status>) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the status port");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let status = status.clone();
        tokio::spawn(async move {
            connection(stream, peer, status).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, status: Arc<Status>) {
    // A caller of this very machine dials an address that is the machine's own.
    let near = peer.ip().is_loopback() || stream.local_addr().is_ok_and(|local| local.ip() == peer.ip());
    let service = service_fn(|request| {
        let status = status.clone();
        async move { Ok::<_, Infallible>(status.answer(&request, near).await) }
    });
    let mut http1 = hyper::server::conn::http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    if let Err(error) = http1.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, %peer, "status connection ended");
    }
}

type Answer = Response<Full<Bytes>>;

impl Status {
    async fn answer(&self, request: &Request<Incoming>, near: bool) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/healthz/ready") => match self.ready.check().await {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            (&Method::GET | &Method::HEAD, path) if path.starts_with("/app-health/") => self.probe(request).await,
            (&Method::GET, "/stats/prometheus") => {
                typed("text/plain; version=0.0.4; charset=utf-8", self.metrics.page().await)
            }
            (&Method::GET, "/debug/sds") => typed("application/json", self.metrics.agent.debug().to_string()),
            (&Method::GET, "/version") => text(StatusCode::OK, runtime::version::istio_style() + "\n"),
            (method, "/rotate" | "/drain" | "/quitquitquit") => self.act(method, path, near),
            _ => text(StatusCode::NOT_FOUND, INDEX),
        }
    }

    fn act(&self, method: &Method, path: &str, near: bool) -> Answer {
        if method != Method::POST {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{path} changes something: use POST\n"),
            );
        }
        if !near {
            return text(
                StatusCode::FORBIDDEN,
                format!("{path} is for callers on this machine only\n"),
            );
        }
        tracing::info!(path, "asked on the status port");
        match path {
            "/rotate" => self.actions.rotate.notify_one(),
            "/drain" => self.actions.drain.notify_one(),
            _ => self.actions.quit.notify_one(),
        }
        text(StatusCode::OK, "OK\n")
    }

    async fn probe(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let Some(probe) = self.probes.get(path) else {
            return text(
                StatusCode::BAD_REQUEST,
                format!("no probe is known for {path} (ISTIO_KUBE_APP_PROBERS)\n"),
            );
        };
        let agent = request
            .headers()
            .get("user-agent")
            .and_then(|value| value.to_str().ok());
        match probe.run(self.application, agent).await {
            Ok(status) => text(status, ""),
            Err(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")),
        }
    }
}

const INDEX: &str = "not found; this port has /healthz/ready /app-health/ /stats/prometheus /debug/sds /version, \
                     and by POST /rotate /drain /quitquitquit\n";

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::admin::Admin;
    use crate::http_client::Call;
    use crate::identity::{self, RotationMetrics};
    use crate::status::{AgentMetrics, Scrape};
    use crate::supervise::ProxyState;

    pub(crate) struct FakeServer {
        pub(crate) address: SocketAddr,
        task: tokio::task::JoinHandle<()>,
    }

    impl Drop for FakeServer {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    /// Answers each path (with its query) by a function.
    pub(crate) async fn fake_server(
        answer: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (status, body) = answer(request.uri().path_and_query().unwrap().as_str());
                    let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                    async move { response }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        FakeServer { address, task }
    }

    struct Agent {
        address: crate::address::HostPort,
        actions: Actions,
        _channels: (
            watch::Sender<ProxyState>,
            watch::Sender<bool>,
            watch::Sender<identity::Secrets>,
        ),
    }

    async fn agent(admin: SocketAddr, application: Option<Scrape>) -> Agent {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let (state, proxy) = watch::channel(ProxyState { epoch: 1, pid: Some(1) });
        let (drain, draining) = watch::channel(false);
        let (publish, secrets) = identity::channel();
        let admin = Admin::new(admin.into());
        let actions = Actions::default();
        let agent = AgentMetrics {
            secrets,
            rotation: Arc::new(RotationMetrics::default()),
            sds: Arc::default(),
            proxy: proxy.clone(),
            dns: None,
            failed_scrapes: Default::default(),
        };
        let status = Status {
            ready: Ready::new(admin.clone(), vec![], proxy, draining),
            probes: Probes::new(),
            application: "127.0.0.1".parse().unwrap(),
            metrics: Metrics {
                admin,
                application,
                agent,
            },
            actions: actions.clone(),
        };
        tokio::spawn(serve(listener, Arc::new(status)));
        Agent {
            address,
            actions,
            _channels: (state, drain, publish),
        }
    }

    #[tokio::test]
    async fn the_page_of_metrics_holds_all_three() {
        let proxy = fake_server(|_| (200, "envoy_server_live 1\n".into())).await;
        let app = fake_server(|path| (200, format!("app{{path=\"{path}\"}} 1\n# EOF\n"))).await;
        let scrape = Scrape {
            target: app.address.into(),
            path: "/metrics".into(),
        };
        let agent = agent(proxy.address, Some(scrape)).await;
        let page = Call::get(&agent.address, "/stats/prometheus").send().await.unwrap();
        let page = String::from_utf8(page.into_body().to_vec()).unwrap();
        for line in [
            "envoy_server_live 1\n",
            "app{path=\"/metrics\"} 1\n",
            "istio_agent_proxy_starts_total 1\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(!page.contains("EOF"));
    }

    #[tokio::test]
    async fn actions_take_a_post() {
        let proxy = fake_server(|_| (200, String::new())).await;
        let agent = agent(proxy.address, None).await;
        for (call, status) in [
            (Call::get(&agent.address, "/quitquitquit"), 405),
            (Call::post(&agent.address, "/rotate"), 200),
            (Call::get(&agent.address, "/app-health/x/livez"), 400),
            (Call::get(&agent.address, "/nothing"), 404),
        ] {
            assert_eq!(call.send().await.unwrap().status(), status, "{}", call.path);
        }
        agent.actions.rotate.notified().await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = bind(taken.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(
            error.contains("status port 127.0.0.1") && error.contains("--statusPort"),
            "{error}"
        );
    }
}
