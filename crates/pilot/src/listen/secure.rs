//! Connections with mutual TLS.
//!
//! Handshakes run beside each other and never hold up the listener; each has a deadline and their number a limit, so that
//! silent clients cost little. Until there is a certificate, clients wait in the listener's queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pki::PeerCertificate;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use super::incoming::{Io, Transport, accept};
use crate::discovery::{Identity, Peer};
use crate::metrics::Metrics;

const HANDSHAKES: usize = 256;
const DEADLINE: Duration = Duration::from_secs(10);

type Configs = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Connections whose client has proved its identity. The future accepts them, and runs for ever.
pub(crate) fn secure(
    listener: TcpListener,
    mut configs: Configs,
    metrics: Arc<Metrics>,
) -> (impl Stream<Item = io::Result<Io>>, impl Future<Output = ()>) {
    let (ready, accepted) = mpsc::channel(16);
    let accepting = async move {
        let slots = Arc::new(Semaphore::new(HANDSHAKES));
        let mut handshakes = JoinSet::new();
        if configs.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            let (stream, address) = accept(&listener).await;
            let Some(config) = configs.borrow().clone() else {
                continue;
            };
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            while handshakes.try_join_next().is_some() {}
            let (ready, metrics) = (ready.clone(), metrics.clone());
            handshakes.spawn(async move {
                match handshake(stream, address, config).await {
                    // The server is gone when nobody receives: then so are we.
                    Ok(io) => drop(ready.send(Ok(io)).await),
                    Err(reason) => {
                        metrics.handshake_failed();
                        tracing::warn!(peer = %address, reason, "TLS handshake failed on the secure port");
                    }
                }
                drop(slot);
            });
        }
    };
    (ReceiverStream::new(accepted), accepting)
}

async fn handshake(stream: TcpStream, address: SocketAddr, config: Arc<ServerConfig>) -> Result<Io, String> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = match tokio::time::timeout(DEADLINE, handshake).await {
        Err(_) => return Err(format!("not complete within {} s", DEADLINE.as_secs())),
        Ok(Err(error)) => return Err(explain(&error)),
        Ok(Ok(stream)) => stream,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.ok_or("the client presented no certificate")?;
    let certificate = PeerCertificate::from_der(certificate).map_err(|error| error.to_string())?;
    // A resumed session does not verify the certificate again.
    if certificate.not_after <= SystemTime::now() {
        return Err("the client's certificate has expired".to_owned());
    }
    let identity = Some(Identity {
        names: certificate.uri_sans,
    });
    Ok(Io::new(Transport::Tls(Box::new(stream)), Peer { address, identity }))
}

fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => pki::tls::explain(error),
        None => error.to_string(),
    }
}
