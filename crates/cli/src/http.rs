//! One GET over plain HTTP, to an admin or debug port.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A dump of a large mesh is some tens of megabytes.
const MAX_BODY: usize = 512 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// The body of a 200 answer. `whom` names the peer in errors.
pub(crate) async fn get(address: &str, path: &str, whom: &str) -> Result<Bytes, String> {
    let failed = |what: &str| format!("{whom} at {address}: {what}");
    match timeout(PATIENCE, ask(address, path)).await {
        Ok(Ok((200, body))) => Ok(body),
        Ok(Ok((status, body))) => {
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            Err(failed(&format!("GET {path} was answered {status}: {}", text.trim())))
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format!(
            "no answer to GET {path} within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

async fn ask(address: &str, path: &str) -> Result<(u16, Bytes), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = http::Request::get(path)
        .header(http::header::HOST, address)
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        Ok::<_, String>((status, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    // The connection must be driven beside the exchange; it may end first, once everything is read.
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            ended = &mut connection, if open => {
                open = false;
                if let Err(error) = ended {
                    return Err(error.to_string());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_get_returns_the_body_or_names_the_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let answers = [
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope",
            ];
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(get(&address, "/x", "pilot").await.unwrap(), "abc");
        let error = get(&address, "/x", "pilot").await.unwrap_err();
        assert_eq!(error, format!("pilot at {address}: GET /x was answered 404: nope"));
        assert!(
            get(&address, "/x", "pilot")
                .await
                .unwrap_err()
                .starts_with(&format!("pilot at {address}: "))
        );
    }
}
