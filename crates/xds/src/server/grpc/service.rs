//! The gRPC service, written by hand because the generated one fixes the codec.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Response, Status, Streaming};

use super::codec::FrameCodec;
use super::request::Request;
use super::stream::{self, Opening};
use super::{Options, Source};
use crate::server::Frame;

/// Serves a [`Source`]; add it to a tonic server.
pub struct AdsServer<S> {
    shared: Arc<Shared<S>>,
}

pub(super) struct Shared<S> {
    pub(super) source: S,
    pub(super) identifier: Arc<str>,
    pub(super) options: Options,
    pub(super) slots: Arc<Semaphore>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

// === impl AdsServer ===

impl<S: Source> AdsServer<S> {
    /// `identifier` is what clients show as the control plane they are connected to.
    pub fn new(source: S, identifier: &str, options: Options) -> Self {
        let shared = Shared {
            source,
            identifier: identifier.into(),
            options,
            slots: Arc::new(Semaphore::new(options.max_streams)),
        };
        AdsServer {
            shared: Arc::new(shared),
        }
    }
}

impl<S> Clone for AdsServer<S> {
    fn clone(&self) -> Self {
        AdsServer {
            shared: self.shared.clone(),
        }
    }
}

impl<S> NamedService for AdsServer<S> {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<S, B> Service<http::Request<B>> for AdsServer<S>
where
    S: Source,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        match request.uri().path() {
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources" => {
                Box::pin(serve::<S, DiscoveryRequest, B>(shared, request))
            }
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources" => {
                Box::pin(serve::<S, DeltaDiscoveryRequest, B>(shared, request))
            }
            path => {
                let status = Status::unimplemented(format!("no such method: {path}"));
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

async fn serve<S, R, B>(
    shared: Arc<Shared<S>>,
    request: http::Request<B>,
) -> Result<http::Response<tonic::body::Body>, Infallible>
where
    S: Source,
    R: Request,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let limit = shared.options.max_request;
    let mut grpc = Grpc::new(FrameCodec::<R>::default()).max_decoding_message_size(limit);
    Ok(grpc.streaming(Method(shared), request).await)
}

struct Method<S>(Arc<Shared<S>>);

impl<S: Source, R: Request> StreamingService<R> for Method<S> {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = Ready<Result<Response<Frames>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<R>>) -> Self::Future {
        let Ok(slot) = self.0.slots.clone().try_acquire_owned() else {
            let limit = self.0.options.max_streams;
            let message = format!("{limit} streams are open already; connect to another replica or raise the limit");
            return ready(Err(Status::resource_exhausted(message)));
        };
        let (_, extensions, requests) = request.into_parts();
        let opening = Opening {
            shared: self.0.clone(),
            extensions,
            requests,
            slot,
        };
        ready(Ok(Response::new(Box::pin(stream::frames(opening)))))
    }
}
