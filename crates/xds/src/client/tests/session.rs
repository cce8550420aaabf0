//! A session against a scripted control plane on a real socket.

use std::time::Duration;

use proto::type_url::SECRET;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};

use discovery::aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer};

use super::*;
use crate::client::grpc::{Event, Options, Service, Session, tcp};

type Responses<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers the first request of each stream with one cluster, and ends the stream after its acknowledgement.
struct Scripted(mpsc::UnboundedSender<String>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream = Responses<discovery::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<discovery::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: tonic::Request<Streaming<discovery::DiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only delta here"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: tonic::Request<Streaming<discovery::DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        let heard = self.0.clone();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for turn in 0..2 {
                let Some(Ok(request)) = requests.next().await else {
                    return;
                };
                let _ = heard.send(line(&Request::Delta(request)));
                if turn == 0 {
                    let Response::Delta(response) = delta(CLUSTER, "n", vec![("a", "1", cluster("a", ""))], &[]) else {
                        return;
                    };
                    let _ = sender.send(Ok(response));
                }
            }
        });
        Ok(tonic::Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}

fn options() -> Options {
    Options {
        service: Service::Aggregated,
        authority: "xds-grpc".into(),
        connect_timeout: Duration::from_secs(5),
        keep_alive: None,
        retry: (Duration::from_millis(1), Duration::from_millis(10)),
    }
}

#[tokio::test]
async fn comes_back_with_what_it_holds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, mut hears) = mpsc::unbounded_channel();
    let server =
        tonic::transport::Server::builder().add_service(AggregatedDiscoveryServiceServer::new(Scripted(heard)));
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let mut c = client(Dialect::Delta);
    c.subscribe(CLUSTER, Interest::Everything);
    let mut session = Session::new(c, tcp(address), options());
    let (mut opened, mut closed) = (0, 0);
    while closed < 2 {
        match session.next().await {
            Event::Opened => opened += 1,
            Event::Response(response) => {
                let update = session.client().receive(response).unwrap();
                session.client().settle(update, Vec::new());
            }
            Event::Closed { reason, .. } => {
                assert!(reason.contains("ended the stream"), "{reason}");
                closed += 1;
            }
        }
    }
    assert_eq!(opened, 2);
    let mut dialogue = Vec::new();
    while let Ok(line) = hears.try_recv() {
        dialogue.push(line);
    }
    assert_eq!(
        dialogue,
        [
            "Cluster node=me",
            "Cluster ack=n",
            "Cluster node=me held=a@1",
            "Cluster ack=n"
        ]
    );
    serving.abort();
}

#[tokio::test]
async fn failures_say_where_they_happened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let mut c = client(Dialect::Sotw);
    c.subscribe(SECRET, names(["default"]));
    let mut session = Session::new(c, tcp(closed), options());
    for _ in 0..2 {
        let Event::Closed { reason, .. } = session.next().await else {
            panic!("nobody listens there")
        };
        assert!(
            reason.contains(&closed.to_string()) && reason.contains("refused"),
            "{reason}"
        );
    }
}
