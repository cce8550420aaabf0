//! The servers on their sockets.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::transport::Server;
use xds::server::grpc::{AdsServer, Options};

use super::Sockets;
use crate::discovery::Ads;
use crate::flags::Flags;
use crate::listen::{self, Io};
use crate::metrics::Metrics;
use crate::web::{self, Web};

/// Streams that one connection may open; a proxy needs one.
const STREAMS_PER_CONNECTION: u32 = 100;

/// Ends of servers: with a reason if something failed.
pub(super) type Servers = JoinSet<anyhow::Result<()>>;

pub(super) fn start(
    flags: &Flags,
    sockets: Sockets,
    ads: Ads,
    web: Web,
    leaving: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) -> Servers {
    let mut servers = Servers::new();
    let router = web::router(web);
    for listener in [sockets.http, sockets.monitoring] {
        let served = axum::serve(listener, router.clone()).with_graceful_shutdown(left(leaving.clone()));
        servers.spawn(async move { Ok(served.await?) });
    }
    let identifier = format!("meltemi-pilot-{}", runtime::version::VERSION);
    let ads = AdsServer::new(ads, &identifier, Options::default());
    servers.spawn(grpc(flags, ads.clone(), listen::plain(sockets.grpc), leaving.clone()));
    if let Some(listener) = sockets.secure {
        let (certificates, keep) = listen::watch_certificates(&flags.cert_dir);
        tasks.spawn(keep);
        let (incoming, accept) = listen::secure(listener, certificates, metrics);
        tasks.spawn(accept);
        servers.spawn(grpc(flags, ads, incoming, leaving));
    }
    servers
}

fn grpc(
    flags: &Flags,
    ads: AdsServer<Ads>,
    incoming: impl Stream<Item = std::io::Result<Io>> + Send + 'static,
    leaving: watch::Receiver<bool>,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(flags.keepalive_interval))
        .http2_keepalive_timeout(Some(flags.keepalive_timeout))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION));
    if let Some(age) = flags.max_connection_age {
        server = server.max_connection_age(age);
    }
    let server = server.add_service(ads);
    async move { Ok(server.serve_with_incoming_shutdown(incoming, left(leaving)).await?) }
}

/// Completes when the process is about to end.
async fn left(mut leaving: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the process.
    let _ = leaving.wait_for(|leaving| *leaving).await;
}
