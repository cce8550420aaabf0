//! Upgraded connections (WebSocket): after the switch, bytes pass both ways until one side ends.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::body::{End, ResponseBody};
use super::exchange::Finish;
use super::pool::Lease;
use crate::config::HttpConnectionManager;

/// The client's side of an upgrade that it asks for and the connection manager allows. Others lose their `upgrade` header and go on as
/// plain requests, as RFC 9110 lets an intermediary do.
pub(super) fn requested<B>(manager: &HttpConnectionManager, request: &mut http::Request<B>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let connection = headers.get_all(http::header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = connection.flat_map(|list| list.split(','));
    let protocol = headers.get(http::header::UPGRADE)?.to_str().ok()?;
    let allowed = manager.upgrades.iter().any(|known| known.eq_ignore_ascii_case(protocol));
    let wanted = request.version() == http::Version::HTTP_11 && tokens.any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    (allowed && wanted).then(|| hyper::upgrade::on(request))
}

/// Ties both sides together once the 101 is out. The request's record ends with the tunnel.
pub(super) fn tunnel(mut exchange: Box<Finish>, client: OnUpgrade, upstream: OnUpgrade, lease: Lease) -> ResponseBody {
    let manager = exchange.connection.manager.clone();
    tokio::task::spawn_local(async move {
        manager.stats.downstream_cx_upgrades_total.inc();
        let _open = crate::stats::Held::new(&manager.stats.downstream_cx_upgrades_active);
        let _lease = lease;
        let outcome = match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => pump(&mut exchange, client, upstream).await,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was agreed on but did not happen");
                End::UpstreamReset
            }
        };
        exchange.end(outcome);
    });
    ResponseBody::empty()
}

async fn pump(exchange: &mut Finish, client: Upgraded, upstream: Upgraded) -> End {
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    match tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        Ok((received, sent)) => {
            exchange.record.bytes_received = received;
            exchange.record.bytes_sent = sent;
            End::Complete
        }
        Err(error) => {
            tracing::debug!(%error, "an upgraded connection broke");
            End::UpstreamReset
        }
    }
}
