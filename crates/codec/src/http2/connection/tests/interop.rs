//! Conversations with the `h2` crate, in either role.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const BODY: usize = 300_000;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Moves bytes between a connection and its socket once: all that waits out, whatever is there in.
async fn turn(connection: &mut Connection, socket: &mut DuplexStream) -> bool {
    let out = drain(connection);
    if !out.is_empty() && socket.write_all(&out).await.is_err() {
        return false;
    }
    let mut buffer = [0; 10_000];
    tokio::select! {
        biased;
        read = socket.read(&mut buffer) => {
            let n = read.expect("a socket");
            connection.receive(&buffer[..n]).expect("what h2 sends");
            n > 0
        }
        () = tokio::task::yield_now() => true,
    }
}

/// Reads a whole body of h2's, giving back what it took.
async fn all(mut body: h2::RecvStream) -> (Vec<u8>, Option<http::HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("no reset");
        body.flow_control().release_capacity(data.len()).expect("capacity");
        bytes.extend_from_slice(&data);
    }
    (bytes, body.trailers().await.expect("no reset"))
}

/// Sends a whole body by h2, as its windows allow.
async fn send_all(mut stream: h2::SendStream<Bytes>, body: Vec<u8>) {
    let mut body = Bytes::from(body);
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let n = std::future::poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .expect("open")
            .expect("no reset");
        stream
            .send_data(body.split_to(n.min(body.len())), false)
            .expect("no reset");
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers).expect("no reset");
}

#[tokio::test]
async fn as_a_server() {
    let (ours, theirs) = tokio::io::duplex(5_000);
    let client = async move {
        let (mut send, connection) = h2::client::handshake(theirs).await.expect("a handshake");
        let driver = tokio::spawn(connection);
        let mut answers = Vec::new();
        for number in 0..20 {
            send = send.ready().await.expect("a stream");
            let request = http::Request::post(format!("http://example.com/{}", number % 3))
                .header("user-agent", "h2")
                .header("x-number", number)
                .header("authorization", "Bearer secret")
                .header("x-long", "y".repeat(20_000))
                .body(())
                .expect("a request");
            let (answer, stream) = send.send_request(request, false).expect("a stream");
            let sent = tokio::spawn(send_all(stream, pattern(BODY / (number + 1))));
            // All at once: those that are not read would take the connection's window from the others.
            answers.push(tokio::spawn(async move {
                let answer = answer.await.expect("an answer");
                assert_eq!(answer.status(), 207);
                assert_eq!(answer.headers()["x-number"], number.to_string());
                let (body, trailers) = all(answer.into_body()).await;
                assert!(body == pattern(BODY / (number + 1)) && trailers.expect("trailers")["x-end"] == "yes");
                sent.await.expect("a body that was sent");
            }));
        }
        for answer in answers {
            answer.await.expect("a whole exchange");
        }
        drop(send);
        driver.await.expect("no panic").expect("a good end");
    };
    let server = async move {
        let mut socket = ours;
        let mut server = Connection::new(Role::Server, Config::default());
        let mut streams: Vec<(StreamKey, Vec<u8>, bool, usize)> = Vec::new();
        let mut served = 0;
        while turn(&mut server, &mut socket).await {
            while let Some(event) = server.next_event() {
                let Event::Request(key) = event else { continue };
                let got = server.take_request(key).expect("a head");
                assert_eq!(got.head.headers.text("x-long").map(str::len), Some(20_000));
                let number = got.head.headers.text("x-number").expect("a number").to_owned();
                server
                    .send_response(
                        key,
                        &response(207, &[("x-number", &number), ("server", "ours")]),
                        Framing::Chunked,
                    )
                    .expect("an open stream");
                streams.push((key, Vec::new(), false, 0));
            }
            for (key, body, over, sent) in &mut streams {
                let (more, trailers) = read(&mut server, *key);
                body.extend(more);
                *over |= trailers
                    .expect("no reset")
                    .is_some_and(|t| t.text("grpc-status") == Some("0"));
                *sent += server.send_data(*key, &body[*sent..], false).expect("an open stream");
                if *over && *sent == body.len() {
                    server
                        .send_trailers(*key, &headers(&[("x-end", "yes")]))
                        .expect("an open stream");
                    server.release(*key);
                    served += 1;
                }
            }
            streams.retain(|(key, ..)| server.reset_of(*key).is_none());
            if served == 20 && !server.is_draining() {
                server.begin_drain();
            }
            if server.is_finished() {
                break;
            }
        }
        assert_eq!((served, server.open_streams()), (20, 0));
    };
    let both = async { tokio::join!(client, server) };
    tokio::time::timeout(LIMIT, both).await.expect("an end");
}

#[tokio::test]
async fn as_a_client() {
    let (ours, theirs) = tokio::io::duplex(5_000);
    let server = async move {
        let mut connection = h2::server::Builder::new()
            .max_concurrent_streams(4)
            .handshake::<_, Bytes>(theirs)
            .await
            .expect("a handshake");
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted.expect("a request");
            tokio::spawn(async move {
                assert_eq!(request.uri().host(), Some("example.com"));
                let number = request.headers()["x-number"].clone();
                let (body, trailers) = all(request.into_body()).await;
                assert_eq!(trailers.expect("trailers")["x-end"], "yes");
                let answer = http::Response::builder().status(200).header("x-number", number);
                let stream = respond
                    .send_response(answer.body(()).expect("an answer"), false)
                    .expect("no reset");
                send_all(stream, body).await;
            });
        }
    };
    let client = async move {
        let mut socket = ours;
        let mut client = Connection::new(Role::Client, Config::default());
        let mut streams: Vec<(StreamKey, usize, usize, Vec<u8>)> = Vec::new();
        let (mut opened, mut answered) = (0, 0);
        while answered < 20 {
            assert!(turn(&mut client, &mut socket).await);
            while client.next_event().is_some() {}
            if opened < 20 && client.can_open() {
                let number = opened.to_string();
                let head = request(Method::POST, "/a", &[("x-number", &number), ("te", "trailers")]);
                let key = client
                    .send_request(&head, Overrides::default(), Framing::Chunked)
                    .expect("a stream");
                streams.push((key, opened, 0, Vec::new()));
                opened += 1;
                assert!(client.open_streams() <= 4);
            }
            streams.retain_mut(|(key, number, sent, got)| {
                let body = pattern(BODY / (*number + 1));
                if !client.is_sent(*key) {
                    *sent += client.send_data(*key, &body[*sent..], false).expect("no reset");
                    if *sent == body.len() {
                        client
                            .send_trailers(*key, &headers(&[("x-end", "yes")]))
                            .expect("no reset");
                    }
                }
                if let Some(answer) = client.take_response(*key).expect("no reset") {
                    assert_eq!(answer.head.headers.text("x-number"), Some(number.to_string().as_str()));
                }
                let (more, trailers) = read(&mut client, *key);
                got.extend(more);
                let Some(trailers) = trailers.expect("no reset") else {
                    return true;
                };
                assert!(trailers.text("grpc-status") == Some("0") && *got == body);
                client.release(*key);
                answered += 1;
                false
            });
        }
        assert_eq!(client.open_streams(), 0);
    };
    let both = async { tokio::join!(server, client) };
    tokio::time::timeout(LIMIT, both).await.expect("an end");
}
