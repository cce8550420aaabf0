//! Connections of the control thread itself: to the control plane and to the secret service, through static clusters.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::watch;
use xds::client::grpc::{Connector, Io};

use crate::config::{Cluster, ClusterSlot, Endpoint, EndpointAddress, Transport, UpstreamTls};

/// How often a cluster without endpoints is asked for them: its name is being resolved.
const RESOLVING: Duration = Duration::from_millis(20);

/// A connector to the endpoints of a cluster, one after the other; `secrets` changes when a secret arrives that TLS may wait for.
pub fn connector(slot: Arc<ClusterSlot>, secrets: watch::Receiver<u64>) -> Connector {
    let mut turn = 0_usize;
    Box::new(move || {
        let (slot, secrets, this_turn) = (slot.clone(), secrets.clone(), turn);
        turn = turn.wrapping_add(1);
        Box::pin(async move {
            let (cluster, endpoint) = endpoint(&slot, this_turn).await;
            cluster.stats.upstream_cx_total.inc();
            let connected = dial(&cluster, &endpoint, secrets).await;
            connected.map_err(|reason| {
                cluster.stats.upstream_cx_connect_fail.inc();
                format!("{} ({}): {reason}", cluster.name, endpoint.address_text)
            })
        })
    })
}

async fn endpoint(slot: &ClusterSlot, turn: usize) -> (Arc<Cluster>, Arc<Endpoint>) {
    loop {
        let endpoints = slot.endpoints.load_full();
        let all: Vec<_> = endpoints.priorities.iter().flatten().collect();
        if let (Some(cluster), false) = (slot.cluster.load_full(), all.is_empty()) {
            return (cluster, all[turn % all.len()].clone());
        }
        tokio::time::sleep(RESOLVING).await;
    }
}

async fn dial(cluster: &Cluster, endpoint: &Endpoint, secrets: watch::Receiver<u64>) -> Result<Box<dyn Io>, String> {
    match &endpoint.address {
        EndpointAddress::Pipe(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
            Ok(Box::new(stream))
        }
        EndpointAddress::Socket(address) => {
            let connect = async || tcp(*address, cluster.source).await.map_err(|error| error.to_string());
            match cluster.transports.get(endpoint.transport) {
                Transport::Plain => Ok(Box::new(connect().await?)),
                Transport::Tls(context) => {
                    // Before the connection: no server waits long for a handshake.
                    let config = configuration(context, secrets, patience(cluster)).await?;
                    tls(connect().await?, *address, context, config).await
                }
            }
        }
    }
}

async fn tcp(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tls(
    stream: TcpStream,
    address: SocketAddr,
    context: &UpstreamTls,
    config: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Io>, String> {
    let name = match &context.sni {
        Some(name) => ServerName::try_from(name.to_string()).map_err(|error| format!("SNI `{name}`: {error}"))?,
        None => ServerName::from(address.ip()),
    };
    let connecting = tokio_rustls::TlsConnector::from(config).connect(name, stream);
    let stream = connecting.await.map_err(|error| explain(&error))?;
    Ok(Box::new(stream))
}

/// Waits until every secret is there.
async fn configuration(
    context: &UpstreamTls,
    mut secrets: watch::Receiver<u64>,
    patience: Duration,
) -> Result<Arc<rustls::ClientConfig>, String> {
    let complete = async {
        loop {
            secrets.borrow_and_update();
            if let Some(config) = context.config.load_full() {
                return config;
            }
            if secrets.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::time::timeout(patience, complete).await.map_err(|_| {
        let secrets = context.secrets.join("`, `");
        format!("the secrets `{secrets}` have not come within {patience:?}; is the agent running?")
    })
}

/// A little less than the whole attempt may take, so that the reason is told.
fn patience(cluster: &Cluster) -> Duration {
    cluster.connect_timeout.mul_f32(0.9)
}

fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.map_or_else(
        || format!("TLS: {error}"),
        |error| format!("TLS: {}", pki::tls::explain(error)),
    )
}
