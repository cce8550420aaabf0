//! A way in that turns clear bytes into a TLS connection which has agreed on HTTP/2.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::arena::Arena;

/// It ends with its runtime.
pub struct Tunnel {
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Tunnel {
    pub fn open(arena: &Arena) -> Result<Self> {
        let config = arena.authority.client(Some(&arena.authority), &[b"h2", b"http/1.1"])?;
        let (connector, to) = (TlsConnector::from(config), arena.secure);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connector = connector.clone();
                tokio::spawn(async move {
                    if let Err(error) = carry(client, &connector, to).await {
                        eprintln!("tunnel: {error:#}");
                    }
                });
            }
        });
        Ok(Tunnel {
            address,
            _runtime: runtime,
        })
    }
}

async fn carry(client: TcpStream, connector: &TlsConnector, to: SocketAddr) -> Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let server = connector.connect(ServerName::try_from("proxy")?, server).await?;
    ensure!(
        server.get_ref().1.alpn_protocol() == Some(b"h2"),
        "the proxy agreed on another protocol"
    );
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let out = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        let mut open = true;
        // What the proxy does not take any more is still read, or a reset would overtake what it has said.
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            open = open && to_server.write_all(&buffer[..length]).await.is_ok() && to_server.flush().await.is_ok();
        }
        let _ = to_server.shutdown().await;
    });
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
        to_client.write_all(&buffer[..length]).await?;
    }
    to_client.shutdown().await?;
    out.await?;
    Ok(())
}
