//! The application's own probes, made from inside the pod: the kubelet could not get past mutual TLS, and in local mode it
//! does not know where the application listens.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::address::HostPort;
use crate::grpc;
use crate::http_client::{self, Call};

/// Probes by the path under which they are asked for: `/app-health/<container>/{livez,readyz,startupz}`.
pub type Probes = BTreeMap<String, Probe>;

/// One probe of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    check: Check,
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Http {
        port: u16,
        path: String,
        tls: bool,
        headers: Vec<(String, String)>,
    },
    Tcp {
        port: u16,
    },
    Grpc {
        port: u16,
        service: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("not a JSON map of probes: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{0}`: the path of a probe is /app-health/<container>/livez, readyz or startupz")]
    Path(String),
    #[error("`{0}`: one of httpGet, tcpSocket and grpc is expected")]
    Kind(String),
    #[error("`{0}`: the port must be a number from 1 to 65535; a named port is resolved by whoever writes this map")]
    Port(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProbe {
    http_get: Option<RawHttp>,
    tcp_socket: Option<RawPort>,
    grpc: Option<RawGrpc>,
    timeout_seconds: Option<u64>,
    /// The original's first form is an HTTP action without a frame around it.
    #[serde(flatten)]
    bare: Option<RawHttp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttp {
    port: serde_json::Value,
    path: Option<String>,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<RawHeader>,
}

#[derive(Deserialize)]
struct RawHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct RawPort {
    port: serde_json::Value,
}

#[derive(Deserialize)]
struct RawGrpc {
    port: serde_json::Value,
    service: Option<String>,
}

/// Reads the map that injection writes into `ISTIO_KUBE_APP_PROBERS`.
pub fn parse(json: &str) -> Result<Probes, ProbeError> {
    let raw: BTreeMap<String, RawProbe> = serde_json::from_str(json)?;
    raw.into_iter()
        .map(|(path, probe)| {
            check_path(&path)?;
            Ok((path.clone(), Probe::new(&path, probe)?))
        })
        .collect()
}

fn check_path(path: &str) -> Result<(), ProbeError> {
    let parts: Vec<_> = path.split('/').collect();
    match parts[..] {
        ["", "app-health", container, "livez" | "readyz" | "startupz"] if !container.is_empty() => Ok(()),
        _ => Err(ProbeError::Path(path.to_owned())),
    }
}

impl Probe {
    fn new(name: &str, raw: RawProbe) -> Result<Self, ProbeError> {
        let port = |value: &serde_json::Value| {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let number = number
                .and_then(|number| u16::try_from(number).ok())
                .filter(|port| *port > 0);
            number.ok_or_else(|| ProbeError::Port(name.to_owned()))
        };
        let check = match (raw.http_get.or(raw.bare), raw.tcp_socket, raw.grpc) {
            (Some(http), None, None) => Check::Http {
                port: port(&http.port)?,
                path: rooted(http.path.as_deref().unwrap_or("/")),
                tls: http.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
                headers: http
                    .http_headers
                    .into_iter()
                    .map(|header| (header.name, header.value))
                    .collect(),
            },
            (None, Some(tcp), None) => Check::Tcp { port: port(&tcp.port)? },
            (None, None, Some(grpc)) => Check::Grpc {
                port: port(&grpc.port)?,
                service: grpc.service.unwrap_or_default(),
            },
            _ => return Err(ProbeError::Kind(name.to_owned())),
        };
        // 10 s in the original; Kubernetes' own default of 1 s comes with the map when it is meant.
        let timeout = Duration::from_secs(raw.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(10));
        Ok(Probe { check, timeout })
    }

    /// Asks the application at `address`. An HTTP probe gives the application's own status; the error is the reason for people.
    pub async fn run(&self, address: IpAddr, user_agent: Option<&str>) -> Result<StatusCode, String> {
        match &self.check {
            Check::Http {
                port,
                path,
                tls,
                headers,
            } => {
                let mut headers = headers.clone();
                let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
                headers.extend(
                    user_agent
                        .filter(|_| !named)
                        .map(|agent| ("user-agent".to_owned(), agent.to_owned())),
                );
                let target = target(address, *port);
                let call = Call {
                    headers: &headers,
                    tls: *tls,
                    timeout: self.timeout,
                    ..Call::get(&target, path)
                };
                call.send()
                    .await
                    .map(|response| response.status())
                    .map_err(|error| error.to_string())
            }
            Check::Tcp { port } => self
                .bounded(http_client::connect(&target(address, *port)))
                .await
                .map(|_| StatusCode::OK),
            Check::Grpc { port, service } => self
                .bounded(health(&target(address, *port), service))
                .await
                .map(|()| StatusCode::OK),
        }
    }

    async fn bounded<T, E: ToString>(&self, attempt: impl Future<Output = Result<T, E>>) -> Result<T, String> {
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

fn target(address: IpAddr, port: u16) -> HostPort {
    std::net::SocketAddr::new(address, port).into()
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn health(target: &HostPort, service: &str) -> Result<(), String> {
    let stream = http_client::connect(target).await.map_err(|error| error.to_string())?;
    let channel = grpc::channel(stream).await.map_err(|error| error.to_string())?;
    let origin = http::Uri::builder()
        .scheme("http")
        .authority(target.to_string())
        .path_and_query("/")
        .build();
    let mut client = Grpc::with_origin(channel, origin.map_err(|error| error.to_string())?);
    client.ready().await.map_err(|error| error.to_string())?;
    let request = tonic::Request::new(HealthRequest {
        service: service.to_owned(),
    });
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthRequest, HealthResponse>::default();
    let answer = client
        .unary(request, path, codec)
        .await
        .map_err(|status| status.to_string())?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        other => Err(format!("the health service answers {other}, not SERVING")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::server::tests::fake_server;

    #[test]
    fn both_forms_of_the_map_are_read() {
        let probes = parse(
            r#"{"/app-health/a/livez": {"httpGet": {"path": "health", "port": 9080, "scheme": "HTTPS",
                 "httpHeaders": [{"name": "X-A", "value": "1"}]}, "timeoutSeconds": 3},
                "/app-health/a/readyz": {"path": "/ready", "port": 80},
                "/app-health/b/startupz": {"tcpSocket": {"port": "5432"}},
                "/app-health/c/livez": {"grpc": {"port": 50051, "service": "x"}}}"#,
        )
        .unwrap();
        let headers = vec![("X-A".to_owned(), "1".to_owned())];
        let https = Check::Http {
            port: 9080,
            path: "/health".into(),
            tls: true,
            headers,
        };
        assert_eq!(
            probes["/app-health/a/livez"],
            Probe {
                check: https,
                timeout: Duration::from_secs(3)
            }
        );
        let plain = Check::Http {
            port: 80,
            path: "/ready".into(),
            tls: false,
            headers: vec![],
        };
        assert_eq!(probes["/app-health/a/readyz"].check, plain);
        assert_eq!(probes["/app-health/b/startupz"].check, Check::Tcp { port: 5432 });
        assert_eq!(
            probes["/app-health/c/livez"].check,
            Check::Grpc {
                port: 50051,
                service: "x".into()
            }
        );
    }

    #[test]
    fn what_cannot_be_probed_is_refused_by_name() {
        let cases = [
            ("[]", "JSON"),
            (r#"{"/health": {"httpGet": {"port": 1}}}"#, "/health"),
            (r#"{"/app-health/a/livez": {}}"#, "httpGet"),
            (
                r#"{"/app-health/a/livez": {"httpGet": {"port": "http"}}}"#,
                "named port",
            ),
            (r#"{"/app-health/a/livez": {"tcpSocket": {"port": 70000}}}"#, "65535"),
        ];
        for (json, expected) in cases {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn an_http_probe_gives_the_applications_own_status() {
        let app = fake_server(|path| {
            if path == "/ready" {
                (204, String::new())
            } else {
                (500, "x".repeat(10))
            }
        })
        .await;
        for (path, status) in [("/ready", 204), ("/other", 500)] {
            let json = format!(
                r#"{{"/app-health/a/livez": {{"path": "{path}", "port": {}}}}}"#,
                app.address.port()
            );
            let probe = &parse(&json).unwrap()["/app-health/a/livez"];
            assert_eq!(probe.run(app.address.ip(), None).await.unwrap(), status);
        }
    }

    #[tokio::test]
    async fn a_tcp_probe_only_connects() {
        let app = fake_server(|_| (200, String::new())).await;
        let probe = |port: u16| Probe {
            check: Check::Tcp { port },
            timeout: Duration::from_secs(5),
        };
        assert!(probe(app.address.port()).run(app.address.ip(), None).await.is_ok());
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let reason = probe(closed).run(app.address.ip(), None).await.unwrap_err();
        assert!(reason.contains("cannot connect"), "{reason}");
    }
}
