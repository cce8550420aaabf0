//! Probes: what is asked of a container, when, and what the answers mean.
//!
//! Kubelet's rules hold for what a probe *does*: thresholds, periods, who restarts. Only the period before the first success
//! is shorter than asked for: on a laptop somebody is waiting.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::manifest::{PodSpec, Probe as Spec, seconds};

/// Between attempts while nothing has succeeded yet.
const EAGER: Duration = Duration::from_millis(40);
const EAGER_MAX: Duration = Duration::from_millis(250);

/// An answer longer than this is cut off.
const MAX_BODY: u64 = 16 << 20;

/// Answers in a row that may be asked for.
const MAX_THRESHOLD: u32 = 10_000;

/// A status line longer than this is no HTTP.
const MAX_STATUS_LINE: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Probe {
    pub(crate) check: Check,
    pub(crate) initial_delay: Duration,
    period: Duration,
    pub(crate) timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Http { port: u16, request: String },
    Tcp { port: u16 },
    Exec { command: Vec<String> },
}

/// Counts answers. What they add up to is [`Tally::verdict`].
#[derive(Debug)]
pub(crate) struct Tally {
    probe: Probe,
    began: Instant,
    successes: u32,
    failures: u32,
    verdict: Option<bool>,
    wait: Duration,
}

impl Probe {
    /// Reads a probe; the error names what it lacks.
    pub(crate) fn new(spec: &Spec, pod: &PodSpec) -> Result<Self, String> {
        Ok(Probe {
            check: Check::new(spec, pod)?,
            initial_delay: seconds(spec.initial_delay_seconds),
            period: seconds(spec.period_seconds.unwrap_or(10).max(1)),
            timeout: seconds(spec.timeout_seconds.unwrap_or(1).max(1)),
            success_threshold: spec.success_threshold.unwrap_or(1).clamp(1, MAX_THRESHOLD),
            failure_threshold: spec.failure_threshold.unwrap_or(3).clamp(1, MAX_THRESHOLD),
        })
    }
}

impl Check {
    fn new(spec: &Spec, pod: &PodSpec) -> Result<Self, String> {
        let number = |port| {
            pod.port(port)
                .ok_or_else(|| format!("port {port:?} is not among the containers' ports"))
        };
        if let Some(get) = &spec.http_get {
            let port = number(&get.port)?;
            // The certificate of an application is not checked by kubelet either; here that it listens is enough.
            if get.scheme.eq_ignore_ascii_case("HTTPS") {
                return Ok(Check::Tcp { port });
            }
            let path = if get.path.starts_with('/') {
                get.path.clone()
            } else {
                format!("/{}", get.path)
            };
            let mut request =
                format!("GET {path} HTTP/1.1\r\nUser-Agent: kube-probe/1.0\r\nAccept: */*\r\nConnection: close\r\n");
            let mut host = get.host.clone();
            for header in &get.http_headers {
                if [&header.name, &header.value]
                    .iter()
                    .any(|text| text.contains(['\r', '\n']))
                {
                    return Err(format!("header {:?} spans lines", header.name));
                }
                if header.name.eq_ignore_ascii_case("host") {
                    host.clone_from(&header.value);
                } else {
                    request.push_str(&format!("{}: {}\r\n", header.name, header.value));
                }
            }
            if host.is_empty() {
                host = format!("localhost:{port}");
            }
            return Ok(Check::Http {
                port,
                request: format!("{request}Host: {host}\r\n\r\n"),
            });
        }
        if let Some(exec) = &spec.exec {
            return Ok(Check::Exec {
                command: exec.command.clone(),
            });
        }
        match spec.tcp_socket.as_ref().or(spec.grpc.as_ref()) {
            Some(socket) => Ok(Check::Tcp {
                port: number(&socket.port)?,
            }),
            None => Err("names no check; use httpGet, tcpSocket or exec".into()),
        }
    }
}

/// Asks over the network. `Exec` checks are the caller's.
pub(crate) async fn ask(check: &Check, address: Ipv4Addr, timeout: Duration) -> Result<(), String> {
    let asked = tokio::time::timeout(timeout, async {
        match check {
            Check::Http { port, request } => http(address, *port, request).await,
            Check::Tcp { port } => connect(address, *port).await.map(drop),
            Check::Exec { .. } => Err("an exec check has no address".into()),
        }
    });
    asked
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {}", runtime::duration::format(timeout))))
}

/// The status of `GET path`, or why there is none. `host` is the name asked for, by default the address.
pub(crate) async fn get_status(
    address: Ipv4Addr,
    port: u16,
    path: &str,
    host: Option<&str>,
    timeout: Duration,
) -> Result<u16, String> {
    let host = host.map_or_else(|| format!("{address}:{port}"), str::to_owned);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: meltemi-up\r\nConnection: close\r\n\r\n");
    let asked = tokio::time::timeout(timeout, status(address, port, &request));
    asked.await.unwrap_or_else(|_| Err("no answer in time".into()))
}

/// The body of a 200 answer to `GET path`. HTTP/1.0, so that the body ends with the connection and needs no decoding.
pub(crate) async fn get_body(address: Ipv4Addr, port: u16, path: &str, timeout: Duration) -> Result<String, String> {
    let asked = tokio::time::timeout(timeout, async {
        let mut stream = connect(address, port).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream
            .take(MAX_BODY)
            .read_to_string(&mut answer)
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
        let ok = head.split_whitespace().nth(1) == Some("200");
        if ok {
            Ok(body.to_owned())
        } else {
            Err(head.lines().next().unwrap_or_default().to_owned())
        }
    });
    asked.await.unwrap_or_else(|_| Err("no answer in time".into()))
}

async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((address, port))
        .await
        .map_err(|error| format!("connecting to {address}:{port}: {error}"))
}

async fn http(address: Ipv4Addr, port: u16, request: &str) -> Result<(), String> {
    match status(address, port, request).await? {
        200..=399 => Ok(()),
        other => Err(format!("status {other}")),
    }
}

async fn status(address: Ipv4Addr, port: u16, request: &str) -> Result<u16, String> {
    let mut stream = connect(address, port).await?;
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut line = Vec::new();
    while !line.contains(&b'\n') && line.len() < MAX_STATUS_LINE {
        let read = stream.read_buf(&mut line).await.map_err(|error| error.to_string())?;
        if read == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&line);
    let code = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    code.ok_or_else(|| "the answer is not HTTP".into())
}

impl Tally {
    pub(crate) fn new(probe: Probe, now: Instant) -> Self {
        Tally {
            probe,
            began: now,
            successes: 0,
            failures: 0,
            verdict: None,
            wait: EAGER,
        }
    }

    /// Counts one answer and returns the verdict: `Some(true)` after enough successes in a row, `Some(false)` after enough
    /// failures, before either what it was. Before the first success, failures count by time, not by number.
    pub(crate) fn record(&mut self, success: bool, now: Instant) -> Option<bool> {
        if success {
            self.successes += 1;
            self.failures = 0;
            if self.successes >= self.probe.success_threshold {
                self.verdict = Some(true);
            }
        } else {
            self.successes = 0;
            self.failures += 1;
            let allowed = self.probe.initial_delay + self.probe.period * self.probe.failure_threshold;
            let failed = match self.verdict {
                Some(true) => self.failures >= self.probe.failure_threshold,
                _ => now.duration_since(self.began) >= allowed,
            };
            if failed {
                self.verdict = Some(false);
            }
        }
        self.verdict
    }

    /// How long until the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        if self.verdict == Some(true) {
            return self.probe.period;
        }
        let wait = self.wait.min(self.probe.period);
        self.wait = (self.wait * 2).min(EAGER_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn probe(value: serde_json::Value) -> Result<Probe, String> {
        let pod = serde_json::from_value(json!({"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}));
        Probe::new(&serde_json::from_value(value).unwrap(), &pod.unwrap())
    }

    #[test]
    fn checks_are_read_with_named_ports() {
        let http = probe(
            json!({"httpGet": {"path": "health", "port": "web", "httpHeaders": [{"name": "X-A", "value": "b"}]}}),
        );
        let Check::Http { port, request } = http.unwrap().check else {
            panic!("not HTTP")
        };
        assert_eq!(port, 8080);
        assert!(
            request.starts_with("GET /health HTTP/1.1\r\n") && request.contains("X-A: b\r\n"),
            "{request}"
        );
        assert!(request.ends_with("Host: localhost:8080\r\n\r\n"), "{request}");
        assert_eq!(
            probe(json!({"tcpSocket": {"port": 9}})).unwrap().check,
            Check::Tcp { port: 9 }
        );
        assert!(
            probe(json!({"tcpSocket": {"port": "nope"}}))
                .unwrap_err()
                .contains("nope")
        );
        assert!(probe(json!({})).unwrap_err().contains("use httpGet"));
        assert!(probe(json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "a\r\nb", "value": ""}]}})).is_err());
    }

    #[test]
    fn thresholds_decide() {
        let now = Instant::now();
        let probe =
            probe(json!({"tcpSocket": {"port": 9}, "periodSeconds": 2, "failureThreshold": 2, "successThreshold": 2}))
                .unwrap();
        let mut tally = Tally::new(probe, now);
        let steps = [
            (0, false, None),
            (3, false, None),
            (4, false, Some(false)),
            (5, true, Some(false)),
            (6, true, Some(true)),
            (7, false, Some(true)),
            (8, true, Some(true)),
            (9, false, Some(true)),
            (10, false, Some(false)),
        ];
        for (second, success, expected) in steps {
            assert_eq!(
                tally.record(success, now + Duration::from_secs(second)),
                expected,
                "second {second}"
            );
        }
    }

    #[test]
    fn numbers_beyond_measure_are_bounded() {
        let most = u64::MAX;
        let probe = probe(
            json!({"tcpSocket": {"port": 9}, "initialDelaySeconds": most, "periodSeconds": most,
            "timeoutSeconds": most, "failureThreshold": u32::MAX, "successThreshold": u32::MAX}),
        );
        let probe = probe.unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!((probe.initial_delay, probe.period, probe.timeout), (day, day, day));
        let mut tally = Tally::new(probe, Instant::now());
        assert_eq!(tally.record(false, Instant::now()), None);

        let pod: PodSpec = serde_json::from_value(json!({"terminationGracePeriodSeconds": most})).unwrap();
        assert_eq!(pod.grace(), day);
    }

    #[test]
    fn attempts_are_eager_until_the_first_success() {
        let mut tally = Tally::new(probe(json!({"tcpSocket": {"port": 9}})).unwrap(), Instant::now());
        let pauses: Vec<u128> = (0..5).map(|_| tally.pause().as_millis()).collect();
        assert_eq!(pauses, [40, 80, 160, 250, 250]);
        tally.record(true, Instant::now());
        assert_eq!(tally.pause(), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn an_http_check_reads_the_status() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 500 X\r\n\r\n", "hello"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 512]).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let check = probe(json!({"httpGet": {"port": port}})).unwrap().check;
        let ask = || ask(&check, Ipv4Addr::LOCALHOST, Duration::from_secs(5));
        assert_eq!(ask().await, Ok(()));
        assert_eq!(ask().await, Err("status 500".into()));
        assert_eq!(ask().await, Err("the answer is not HTTP".into()));
        assert!(ask().await.unwrap_err().contains("connecting"));
    }
}
