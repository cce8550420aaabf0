//! One suite of requests through both data planes, on identical xDS, delta and state of the world: the answers agree.
//!
//! A scenario says how to ask, and what every data plane must answer; beyond that the whole visible answer of our proxy is compared with Envoy's.
//! What may differ is listed in [`TOLERATED`], each with its reason.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use mesh_tests::client::eventually;
use mesh_tests::mesh::{Pod, root};
use mesh_tests::{DataPlane, Mesh, Reply, Request};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Differences that are meant to be, by what is compared.
const TOLERATED: &[(&str, &str)] = &[
    ("header date", "a clock"),
    ("header x-envoy-upstream-service-time", "a duration"),
    ("request header x-request-id", "random where the caller gives none"),
    (
        "request header x-envoy-peer-metadata(-id)",
        "workload labels are exchanged by our proxy only: they feed the istio_* metrics, which are ours alone",
    ),
    (
        "request header x-forwarded-client-cert, `Hash=`",
        "of a certificate that is made for each start; the rest is compared",
    ),
    (
        "request header content-length",
        "Envoy sends `content-length: 0` with OPTIONS; RFC 9110 leaves it out, and so do we",
    ),
    (
        "log upstream_cluster with NC",
        "our log names the cluster that is missing: it is what the reader has to look for",
    ),
    (
        "transport failure text",
        "words of another TLS library or another errno text; the flag and the reason before it are compared",
    ),
];

struct Scenario {
    name: &'static str,
    request: Request,
    expect: Expect,
}

/// What must hold on both data planes.
#[derive(Default)]
struct Expect {
    status: u16,
    /// `v1` or `v2`, of the application that answered.
    version: Option<&'static str>,
    body: Option<&'static str>,
    /// Response flags in the client sidecar's log.
    flags: &'static str,
    trailers: &'static [(&'static str, &'static str)],
}

fn ok(version: &'static str) -> Expect {
    Expect {
        status: 200,
        version: Some(version),
        flags: "-",
        ..Expect::default()
    }
}

fn local(status: u16, flags: &'static str, body: &'static str) -> Expect {
    Expect {
        status,
        flags,
        body: Some(body),
        ..Expect::default()
    }
}

fn scenarios() -> Vec<Scenario> {
    let get = |path: &str| Request::get("echo", path);
    let scenario = |name, request, expect| Scenario { name, request, expect };
    let retry_key = |path: &str| path.replace('*', &format!("{:x}", std::process::id()));
    vec![
        scenario("plain", get("/"), ok("v1")),
        scenario("path and query pass", get("/a/b?c=d&e"), ok("v1")),
        scenario("by header", get("/").header("x-to", "v2"), ok("v2")),
        scenario("by cookie regex", get("/").header("cookie", "a=b;user=test"), ok("v2")),
        scenario("without header", get("/without"), ok("v2")),
        scenario(
            "without header, but it is there",
            get("/without").header("x-not", "1"),
            ok("v1"),
        ),
        scenario("by query", get("/query?user=test"), ok("v2")),
        scenario("by query, other value", get("/query?user=other"), ok("v1")),
        scenario("by method", get("/method").method("PUT").body("x"), ok("v2")),
        scenario("ignoring case", get("/cAsE"), ok("v2")),
        scenario("by regex", get("/regex/42"), ok("v2")),
        scenario("regex is anchored", get("/regex/42x"), ok("v1")),
        scenario("all weight on one", get("/weighted"), ok("v2")),
        scenario("rewrite", get("/old/page?q=1"), ok("v1")),
        scenario("rewrite by regex", get("/items/7/name"), ok("v1")),
        scenario(
            "redirect",
            get("/moved/x?q=1"),
            Expect {
                status: 302,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario("direct response", get("/direct"), local(418, "-", "a teapot\n")),
        scenario(
            "header operations",
            get("/headers").header("x-remove", "1").header("x-add", "one"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario("post", get("/post").method("POST").body("hello"), ok("v1")),
        scenario(
            "large post",
            get("/post").method("POST").body(vec![b'x'; 300_000]),
            ok("v1"),
        ),
        scenario(
            "head",
            get("/").method("HEAD"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario("options", get("/").method("OPTIONS"), ok("v1")),
        scenario(
            "long response",
            get("/bytes/2000000"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "streamed response",
            get("/stream/100"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "status passes",
            get("/status/503"),
            Expect {
                status: 503,
                body: Some("as asked"),
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "no content",
            get("/status/204"),
            Expect {
                status: 204,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "not modified",
            get("/status/304"),
            Expect {
                status: 304,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario("in time", get("/delay/10"), ok("v1")),
        scenario(
            "timeout",
            get("/delay/2000"),
            local(504, "UT", "upstream request timeout"),
        ),
        scenario(
            "retries until it works",
            get(&retry_key("/flaky/once-*/2")),
            Expect {
                status: 200,
                body: Some("attempt 3"),
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "retries run out",
            get(&retry_key("/flaky/ever-*/99")),
            Expect {
                status: 503,
                body: Some("not yet"),
                flags: "URX",
                ..Expect::default()
            },
        ),
        scenario(
            "attempts are counted by the application",
            get(&retry_key("/attempts/ever-*")),
            Expect {
                status: 200,
                body: Some("4"),
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "reset",
            get("/reset/once"),
            Expect {
                status: 503,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario("no endpoint", get("/v3"), local(503, "UH", "no healthy upstream")),
        scenario("no subset", get("/missing-subset"), local(503, "NC", "")),
        scenario("no host", get("/missing-host"), local(503, "NC", "")),
        scenario("nobody", get("/nobody"), local(503, "UH", "no healthy upstream")),
        scenario(
            "refused",
            get("/refused"),
            Expect {
                status: 503,
                ..Expect::default()
            },
        ),
        scenario("fault abort", get("/abort"), local(555, "FI", "fault filter abort")),
        scenario(
            "fault delay",
            get("/slow"),
            Expect {
                status: 200,
                version: Some("v1"),
                flags: "DI",
                ..Expect::default()
            },
        ),
        scenario(
            "cors",
            get("/cors").header("origin", "https://shop.example.com"),
            ok("v1"),
        ),
        scenario(
            "cors, other origin",
            get("/cors").header("origin", "https://evil.example.com"),
            ok("v1"),
        ),
        scenario(
            "cors preflight",
            get("/cors")
                .method("OPTIONS")
                .header("origin", "https://shop.example.com")
                .header("access-control-request-method", "PUT"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "unknown host passes through to nowhere",
            Request::get("no.such.host.invalid", "/"),
            Expect::default(),
        ),
        scenario(
            "a service of another name",
            Request::get("nobody.default", "/"),
            local(503, "UH", "no healthy upstream"),
        ),
        scenario(
            "full name",
            Request::get("echo.default.svc.cluster.local", "/"),
            ok("v1"),
        ),
        scenario("name in capitals", Request::get("ECHO.default", "/"), ok("v1")),
        scenario("http/2", get("/").http2(), ok("v1")),
        scenario(
            "http/2 post",
            get("/post").http2().method("POST").body("hello"),
            ok("v1"),
        ),
        scenario(
            "grpc unary",
            grpc("Unary", b"\0\0\0\0\x02hi"),
            Expect {
                status: 200,
                flags: "-",
                trailers: &[("grpc-status", "0")],
                ..Expect::default()
            },
        ),
        scenario(
            "grpc stream",
            grpc("Stream", b"\0\0\0\0\x02hi"),
            Expect {
                status: 200,
                flags: "-",
                trailers: &[("grpc-status", "0")],
                ..Expect::default()
            },
        ),
        scenario(
            "grpc trailers only",
            grpc("Fail", b"").header("x-grpc-status", "7"),
            Expect {
                status: 200,
                flags: "-",
                ..Expect::default()
            },
        ),
        scenario(
            "grpc to nobody",
            nobody_grpc(),
            Expect {
                status: 200,
                flags: "UH",
                ..Expect::default()
            },
        ),
        scenario(
            "hop-by-hop fields stay",
            get("/")
                .header("connection", "x-private, keep-alive")
                .header("x-private", "1")
                .header("te", "trailers"),
            ok("v1"),
        ),
        scenario("dots in the path", get("/a/../b/./c"), ok("v1")),
        scenario("leaving the root", get("/../x"), Expect::default()),
        scenario("double slashes", get("//a//b"), ok("v1")),
        scenario("escapes", get("/%41/%2F/%2e%2e/x"), Expect::default()),
        scenario("needless escapes", get("/%61dmin"), ok("v1")),
        scenario("long header", get("/").header("x-long", &"y".repeat(20_000)), ok("v1")),
    ]
}

fn grpc(method: &str, message: &'static [u8]) -> Request {
    let request = Request::get("echo:81", &format!("/echo.Echo/{method}"))
        .http2()
        .method("POST");
    request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(message)
}

fn nobody_grpc() -> Request {
    let request = Request::get("nobody", "/echo.Echo/Unary").http2().method("POST");
    request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A scenario's answer in comparable form.
type Seen = BTreeMap<String, String>;

/// Response headers that are compared; the rest is in [`TOLERATED`] or the codec's own (`content-length`, `transfer-encoding`).
const COMPARED_HEADERS: &[&str] = &[
    "server",
    "location",
    "content-type",
    "x-version",
    "x-answer",
    "grpc-status",
    "grpc-message",
    "x-envoy-overloaded",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-allow-credentials",
];

/// Request headers that differ for the reasons in [`TOLERATED`].
const DIFFERING_REQUEST_HEADERS: &[&str] = &[
    "content-length",
    "x-request-id",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
];

fn describe(reply: &Reply) -> Seen {
    let mut seen = Seen::new();
    seen.insert("status".into(), reply.status.to_string());
    for name in COMPARED_HEADERS {
        if let Some(values) = reply.headers.get(*name) {
            seen.insert(format!("header {name}"), values.join(" | "));
        }
    }
    for (name, value) in &reply.trailers {
        seen.insert(format!("trailer {name}"), value.clone());
    }
    match reply.json() {
        Ok(echo) if echo.is_object() => describe_request(&echo, &mut seen),
        _ => {
            let text = reply.text();
            let text = text.split(", transport failure reason").next().unwrap_or_default();
            seen.insert(
                "body".into(),
                if text.len() > 300 {
                    format!("{} bytes", text.len())
                } else {
                    text.to_owned()
                },
            );
        }
    }
    seen
}

/// What the application received.
fn describe_request(echo: &serde_json::Value, seen: &mut Seen) {
    for field in ["service", "version", "method", "path", "protocol", "body_bytes"] {
        seen.insert(format!("request {field}"), echo[field].to_string());
    }
    for (name, values) in echo["headers"].as_object().into_iter().flatten() {
        if !DIFFERING_REQUEST_HEADERS.contains(&name.as_str()) {
            seen.insert(format!("request header {name}"), without_hashes(&values.to_string()));
        }
    }
}

/// XFCC with each certificate's hash left out.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split("Hash=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        all + "Hash=*" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit())
    })
}

struct Under {
    mesh: Mesh,
    client: Pod,
    _directory: tempfile::TempDir,
}

impl Under {
    fn start(plane: DataPlane, mode: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for file in ["apps.yaml", "routes.yaml"] {
            let text = std::fs::read_to_string(root().join("tests/meshes/agreement").join(file))?;
            std::fs::write(
                directory.path().join(file),
                text.replace("@ECHO@", env!("CARGO_BIN_EXE_mesh-echo")),
            )?;
        }
        let mesh = Mesh::up(directory.path(), plane, &["--xds-mode", mode])?;
        let client = mesh.pod("client")?;
        Ok(Under {
            mesh,
            client,
            _directory: directory,
        })
    }

    /// The client sidecar's HTTP proxy port.
    fn proxy(&self) -> SocketAddr {
        SocketAddr::new(self.client.address, 15002)
    }

    fn port(&self, service: &str, port: u16) -> Result<SocketAddr> {
        Ok(SocketAddr::new(
            self.client.address,
            self.mesh.local_port(service, "default", port)?,
        ))
    }

    /// Runs a scenario.
    async fn run(&self, scenario: &Scenario) -> Result<Seen> {
        let request = scenario
            .request
            .clone()
            .header("x-request-id", &request_id(scenario))
            .through_proxy();
        Ok(describe(&request.send(self.proxy()).await?))
    }

    /// Adds what the access log says of a scenario; its line is found by the request id.
    async fn add_log(&self, scenario: &Scenario, seen: &mut Seen) -> Result<()> {
        let line = self
            .log_line(&request_id(scenario))
            .await
            .with_context(|| format!("{}: its line in the access log", scenario.name))?;
        for field in [
            "response_code",
            "response_flags",
            "response_code_details",
            "upstream_cluster",
            "route_name",
            "bytes_received",
        ] {
            if field == "upstream_cluster" && line["response_flags"] == "NC" {
                continue;
            }
            let text = line[field].to_string();
            let text = text
                .split("|delayed")
                .next()
                .unwrap_or_default()
                .split("{")
                .next()
                .unwrap_or_default();
            seen.insert(format!("log {field}"), text.trim_matches('"').to_owned());
        }
        Ok(())
    }

    async fn log_line(&self, id: &str) -> Result<serde_json::Value> {
        let log = self
            .mesh
            .state_dir()
            .join("logs")
            .join(format!("{}.istio-proxy.log", self.client.name));
        eventually("a line with this request id", Duration::from_secs(15), || async {
            let text = std::fs::read_to_string(&log)?;
            let line = text
                .lines()
                .find(|line| line.contains(id) && line.contains("response_flags"));
            let line = line.with_context(|| format!("no line with {id} in {}", log.display()))?;
            Ok(serde_json::from_str(line.find('{').map_or(line, |at| &line[at..]))?)
        })
        .await
    }

    /// TCP, WebSocket and the ingress, which are not one request and one answer.
    async fn run_others(&self) -> Result<Seen> {
        let mut seen = Seen::new();
        seen.insert("tcp".into(), self.tcp().await?);
        seen.insert("websocket".into(), self.websocket().await?);
        let ingress = self.mesh.ingress()?;
        for (name, host, path) in [
            ("route", "echo", "/"),
            ("no route", "plain.example.com", "/"),
            ("no host", "other.example.com", "/"),
        ] {
            let reply = Request::get(host, path).send(ingress).await?;
            for (key, value) in describe(&reply) {
                // The gateway's clients are told apart by their address: both run on this machine.
                seen.insert(format!("ingress {name}: {key}"), value);
            }
        }
        Ok(seen)
    }

    /// Lines through an opaque port, both versions asked, and the end of the client's side passed on.
    async fn tcp(&self) -> Result<String> {
        let address = self.port("echo", 90)?;
        let mut versions = BTreeMap::new();
        for _ in 0..20 {
            let mut stream = BufReader::new(TcpStream::connect(address).await?);
            stream.write_all(b"one\ntwo\n").await?;
            stream.get_mut().shutdown().await?;
            let mut lines = Vec::new();
            let mut line = String::new();
            while stream.read_line(&mut line).await? > 0 {
                lines.push(std::mem::take(&mut line));
            }
            ensure!(lines.len() == 2, "two lines, not {lines:?}");
            *versions.entry(lines[0][..2].to_owned()).or_insert(0) += 1;
        }
        Ok(versions.into_keys().collect::<Vec<_>>().join(" "))
    }

    async fn websocket(&self) -> Result<String> {
        let address = self.port("echo", 80)?;
        let stream = TcpStream::connect(address).await?;
        let (mut socket, response) = tokio_tungstenite::client_async("ws://echo/ws", stream).await?;
        socket.send("over the switch".into()).await?;
        let answer = socket.next().await.context("the socket ended")??;
        socket.close(None).await?;
        Ok(format!("{} {answer}", response.status()))
    }
}

fn request_id(scenario: &Scenario) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", std::process::id(), fnv(scenario.name))
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    }) & 0xffff_ffff_ffff
}

/// Runs everything on one data plane, checking what each scenario expects.
async fn observe(plane: DataPlane, mode: &str, faults: &mut Vec<String>) -> Result<BTreeMap<&'static str, Seen>> {
    let under = Under::start(plane, mode)?;
    let mut all = BTreeMap::new();
    for scenario in scenarios() {
        let seen = under
            .run(&scenario)
            .await
            .with_context(|| format!("{plane:?} {mode}: {}", scenario.name))?;
        all.insert(scenario.name, seen);
    }
    for scenario in scenarios() {
        let seen = all.entry(scenario.name).or_default();
        under
            .add_log(&scenario, seen)
            .await
            .with_context(|| format!("{plane:?} {mode}"))?;
        check(&scenario, seen, &format!("{plane:?} {mode}"), faults);
    }
    all.insert(
        "others",
        under.run_others().await.with_context(|| format!("{plane:?} {mode}"))?,
    );
    Ok(all)
}

fn check(scenario: &Scenario, seen: &Seen, who: &str, faults: &mut Vec<String>) {
    let expect = &scenario.expect;
    let mut wanted = vec![];
    if expect.status != 0 {
        wanted.push(("status".to_owned(), expect.status.to_string()));
    }
    if let Some(version) = expect.version {
        wanted.push(("request version".into(), format!("\"{version}\"")));
    }
    if let Some(body) = expect.body {
        wanted.push(("body".into(), body.to_owned()));
    }
    if !expect.flags.is_empty() {
        let shown = if expect.flags == "-" { "null" } else { expect.flags };
        wanted.push(("log response_flags".into(), shown.to_owned()));
    }
    wanted.extend(
        expect
            .trailers
            .iter()
            .map(|(name, value)| (format!("trailer {name}"), (*value).to_owned())),
    );
    for (key, value) in wanted {
        let got = seen.get(&key).map_or("(nothing)", String::as_str);
        let same = got == value || (value == "null" && got == "-");
        if !same {
            faults.push(format!("{who}: {}: {key} is {got:?}, not {value:?}", scenario.name));
        }
    }
}

fn compare(name: &str, ours: &Seen, theirs: &Seen, faults: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        let (a, b) = (ours.get(key), theirs.get(key));
        if a != b {
            faults.push(format!("{name}: {key}: ours {a:?}, Envoy's {b:?}"));
        }
    }
}

#[tokio::test]
async fn both_data_planes_answer_alike() -> Result<()> {
    assert!(TOLERATED.iter().all(|(what, why)| !what.is_empty() && !why.is_empty()));
    let mut faults = Vec::new();
    for mode in ["delta", "sotw"] {
        let ours = observe(DataPlane::Native, mode, &mut faults).await?;
        let theirs = observe(DataPlane::Envoy, mode, &mut faults).await?;
        for (name, seen) in &ours {
            compare(
                &format!("{mode}: {name}"),
                seen,
                theirs.get(name).unwrap_or(&Seen::new()),
                &mut faults,
            );
        }
    }
    ensure!(
        faults.is_empty(),
        "{} differences:\n{}",
        faults.len(),
        faults.join("\n")
    );
    Ok(())
}
