//! Clients and servers that do next to nothing themselves: they send what was written beforehand, and look only for the end of what comes.

pub mod http1;
pub mod http2;

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

/// Serves each connection as a task of this thread.
async fn listen<F: Future<Output = ()> + 'static>(serve: fn(TcpStream) -> F) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            tokio::task::spawn_local(serve(stream));
        }
    });
    address
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}
