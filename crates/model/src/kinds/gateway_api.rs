//! Kubernetes' Gateway API (group `gateway.networking.k8s.io`): gateways and routes as the cluster's own API knows them.
//!
//! These types are what users write and no more. What they mean for proxies is worked out once, by `translate::gateway_api`,
//! which turns them into the Gateways and VirtualServices that everything else is made from. Fields of the standard and of
//! the experimental channel are read alike.

mod gateway;
mod grant;
mod grpc;
mod http;
mod layer4;
mod route;

pub use gateway::*;
pub use grant::*;
pub use grpc::*;
pub use http::*;
pub use layer4::*;
pub use route::*;

/// The API's group.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// What ConfigRefs and the store call the API's Gateway: the bare name is networking.istio.io's.
pub const GATEWAY_KIND: &str = "Gateway.gateway.networking.k8s.io";
