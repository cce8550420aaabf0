//! The four services behind a proxy that plays the mesh: who answers for a name is the test's choice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bookinfo::{Options, start};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Where names lead, and what was asked.
#[derive(Clone, Default)]
struct Mesh {
    routes: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    asked: Arc<Mutex<Vec<String>>>,
    delay: Arc<Mutex<Duration>>,
    connections: Arc<AtomicUsize>,
}

impl Mesh {
    async fn start() -> (Self, SocketAddr) {
        let mesh = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = mesh.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(this.clone().connection(stream));
            }
        });
        (mesh, address)
    }

    /// Requests of one kept-alive connection.
    async fn connection(self, mut stream: TcpStream) {
        while let Some(head) = read_head(&mut stream).await {
            self.asked.lock().unwrap().push(head.clone());
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            let url = head.split(' ').nth(1).unwrap().to_owned();
            let rest = url
                .strip_prefix("http://")
                .expect("the request line holds the whole URL");
            let (authority, path) = rest.split_once('/').unwrap();
            let target = self.routes.lock().unwrap().get(authority).copied();
            let answer = match target {
                Some(target) => send(target, &head.replacen(&url, &format!("/{path}"), 1)).await,
                None => b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
            };
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn route(&self, name: &str, to: Option<SocketAddr>) {
        let mut routes = self.routes.lock().unwrap();
        match to {
            Some(to) => routes.insert(name.to_owned(), to),
            None => routes.remove(name),
        };
    }

    fn asked(&self, start: &str) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|head| head.starts_with(start))
            .cloned()
            .collect()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// One exchange: the answer up to the end of its body.
async fn exchange(stream: &mut TcpStream, request: &str) -> Vec<u8> {
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(stream).await.expect("an answer");
    let length = head
        .to_lowercase()
        .lines()
        .find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    [head.into_bytes(), body].concat()
}

async fn send(target: SocketAddr, request: &str) -> Vec<u8> {
    exchange(&mut TcpStream::connect(target).await.unwrap(), request).await
}

async fn get(target: SocketAddr, path: &str, headers: &str) -> String {
    String::from_utf8(
        send(
            target,
            &format!("GET {path} HTTP/1.1\r\nhost: bookinfo\r\n{headers}\r\n"),
        )
        .await,
    )
    .unwrap()
}

/// A service of its own and the handle that ends it.
struct Part {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn service(name: &str, version: &str, proxy: SocketAddr) -> Part {
    let options = Options::try_parse_from(["bookinfo", name, "--version", version, "--bind", "127.0.0.1"]).unwrap();
    let variables = |variable: &str| match variable {
        "http_proxy" => Some(format!("http://{proxy}")),
        "POD_NAME" => Some(format!("{name}-{version}-pod")),
        _ => None,
    };
    let running = start(&options, "127.0.0.1:0".parse().unwrap(), variables)
        .await
        .unwrap();
    let address = running.address().unwrap();
    let (stop, stopped) = oneshot::channel();
    Part {
        address,
        stop,
        ended: tokio::spawn(running.until(async { drop(stopped.await) })),
    }
}

/// All services, with reviews of a version.
async fn bookinfo(reviews: &str) -> (Mesh, Part) {
    let (mesh, proxy) = Mesh::start().await;
    for (name, version) in [("details", "v1"), ("reviews", reviews), ("ratings", "v1")] {
        let part = service(name, version, proxy).await;
        mesh.route(&format!("{name}:9080"), Some(part.address));
        std::mem::forget(part.stop);
    }
    (mesh, service("productpage", "v1", proxy).await)
}

#[tokio::test]
async fn each_version_of_reviews_shows_in_the_page() {
    for (version, stars) in [("v1", None), ("v2", Some("black")), ("v3", Some("red"))] {
        let (mesh, page) = bookinfo(version).await;
        let html = get(
            page.address,
            "/productpage",
            "x-request-id: 4711\r\nend-user: forged\r\n",
        )
        .await;
        assert!(html.starts_with("HTTP/1.1 200 OK\r\n"), "{html}");
        assert!(
            html.contains("William Shakespeare") && html.contains(&format!("reviews-{version}-pod")),
            "{html}"
        );
        assert_eq!(html.contains('★'), stars.is_some(), "{version}");
        if let Some(color) = stars {
            assert!(html.contains(&format!("color:{color}")), "{version}");
            let ratings = mesh.asked("GET http://ratings:9080/ratings/0 ");
            assert!(ratings[0].contains("x-request-id: 4711\r\n"), "{ratings:?}");
            assert!(ratings[0].contains("host: ratings:9080\r\n"), "{ratings:?}");
            assert!(
                !ratings[0].contains("end-user"),
                "only a session names the user: {ratings:?}"
            );
        }
        let html = get(page.address, "/productpage", "cookie: session=jason\r\n").await;
        assert!(html.contains("jason") && html.contains("/logout"), "{html}");
        assert!(
            mesh.asked("GET http://reviews:9080/")
                .last()
                .unwrap()
                .contains("end-user: jason\r\n")
        );
    }
}

#[tokio::test]
async fn what_is_down_is_said_and_the_page_still_comes() {
    let (mesh, page) = bookinfo("v2").await;
    mesh.route("ratings:9080", None);
    let html = get(page.address, "/productpage", "").await;
    assert!(
        html.contains("200 OK") && html.contains("Ratings service is currently unavailable"),
        "{html}"
    );

    mesh.route("reviews:9080", None);
    mesh.route("details:9080", None);
    mesh.asked.lock().unwrap().clear();
    let html = get(page.address, "/productpage", "").await;
    assert!(html.contains("200 OK"), "{html}");
    assert!(
        html.contains("Sorry, product reviews are currently unavailable for this book."),
        "{html}"
    );
    assert!(
        html.contains("Sorry, product details are currently unavailable for this book."),
        "{html}"
    );
    assert_eq!(
        (
            mesh.asked("GET http://reviews").len(),
            mesh.asked("GET http://details").len()
        ),
        (2, 1),
        "reviews are asked twice"
    );

    let api = get(page.address, "/api/v1/products/0/reviews", "").await;
    assert!(
        api.starts_with("HTTP/1.1 500") && api.contains(r#"{"error":"Sorry, product reviews"#),
        "{api}"
    );
}

#[tokio::test]
async fn paths_and_methods() {
    let (mesh, page) = bookinfo("v2").await;
    let address = |name: &str| mesh.routes.lock().unwrap()[&format!("{name}:9080")];
    let (details, reviews, ratings) = (address("details"), address("reviews"), address("ratings"));
    for (target, method, path, status, words) in [
        (page.address, "GET", "/", 200, "Bookinfo"),
        (page.address, "GET", "/health", 200, "healthy"),
        (
            page.address,
            "GET",
            "/api/v1/products",
            200,
            r#"[{"id":0,"title":"The Comedy of Errors""#,
        ),
        (
            page.address,
            "GET",
            "/api/v1/products/0",
            200,
            r#""publisher":"PublisherA""#,
        ),
        (
            page.address,
            "GET",
            "/api/v1/products/0/reviews",
            200,
            r#""rating":{"stars":5,"color":"black"}"#,
        ),
        (
            page.address,
            "GET",
            "/api/v1/products/0/ratings",
            200,
            r#"{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}"#,
        ),
        (page.address, "GET", "/api/v1/products/x", 400, "error"),
        (page.address, "GET", "/nothing", 404, ""),
        (page.address, "POST", "/productpage", 405, ""),
        (page.address, "GET", "/login", 405, ""),
        (page.address, "GET", "/logout", 302, "Max-Age=0"),
        (details, "GET", "/health", 200, "Details is healthy"),
        (details, "GET", "/details/0", 200, r#""ISBN-10":"1234567890""#),
        (details, "GET", "/details/x", 400, "error"),
        (details, "GET", "/", 404, ""),
        (reviews, "GET", "/health", 200, "Reviews is healthy"),
        (reviews, "DELETE", "/reviews/0", 405, "GET, HEAD"),
        (ratings, "GET", "/health", 200, "Ratings is healthy"),
        (ratings, "PUT", "/ratings/0", 405, "POST"),
    ] {
        let answer = send(
            target,
            &format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"),
        )
        .await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(words),
            "{method} {path}: {answer}"
        );
    }
    let form = "username=jason&passwd=x";
    let login = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = String::from_utf8(send(page.address, &login).await).unwrap();
    assert!(
        answer.contains("302 Found") && answer.contains("location: /productpage"),
        "{answer}"
    );
    assert!(
        answer.contains("set-cookie: session=jason; Path=/; HttpOnly"),
        "{answer}"
    );
    let posted = r#"{"Reviewer1":1}"#;
    let post = format!(
        "POST /ratings/0 HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{posted}",
        posted.len()
    );
    assert!(
        String::from_utf8(send(ratings, &post).await)
            .unwrap()
            .contains("200 OK")
    );
    assert!(get(ratings, "/ratings/0", "").await.contains(posted));
}

#[tokio::test]
async fn connections_to_the_proxy_are_kept() {
    let (mesh, proxy) = Mesh::start().await;
    let ratings = service("ratings", "v1", proxy).await;
    mesh.route("ratings:9080", Some(ratings.address));
    let reviews = service("reviews", "v3", proxy).await;
    let mut kept = TcpStream::connect(reviews.address).await.unwrap();
    for _ in 0..5 {
        let answer = exchange(&mut kept, "GET /reviews/0 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(String::from_utf8(answer).unwrap().contains(r#""color":"red""#));
    }
    assert_eq!(mesh.asked("GET http://ratings").len(), 5);
    assert_eq!(mesh.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_end_is_orderly_and_quick() {
    let (mesh, proxy) = Mesh::start().await;
    *mesh.delay.lock().unwrap() = Duration::from_millis(600);
    let reviews = service("reviews", "v2", proxy).await;
    let idle = TcpStream::connect(reviews.address).await.unwrap();
    let address = reviews.address;
    let under_way = tokio::spawn(async move { get(address, "/reviews/0", "").await });
    while mesh.asked("GET http://ratings").is_empty() {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    reviews.stop.send(()).unwrap();
    let answer = under_way.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"),
        "{answer}"
    );
    reviews.ended.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    drop(idle);
}

#[tokio::test]
async fn faults_at_the_start_are_named() {
    let (_, proxy) = Mesh::start().await;
    let parse = |words: &[&str]| Options::try_parse_from([&["bookinfo"], words].concat()).unwrap();
    let no_variables = |_: &str| None;
    let error = start(
        &parse(&["reviews", "--version", "v9"]),
        "127.0.0.1:0".parse().unwrap(),
        no_variables,
    )
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "reviews has no version `v9`; there are v1, v2 and v3"
    );
    let error = start(&parse(&["details"]), proxy, no_variables).await.unwrap_err();
    assert!(error.to_string().contains("another program has it"), "{error}");
}
