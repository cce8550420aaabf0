//! Every message that crosses a process border, and how Envoy's are written as JSON.
//!
//! Envoy's come from the `envoy-types` package; the original's own and ours are compiled from `proto/` by a build script that
//! needs no `protoc`. The modules `schema` and `json` (feature `schema`) read JSON as Envoy's messages. Configuration kinds are not here: users write them as YAML, and `model::kinds` reads them with better
//! errors than a protobuf JSON mapping could give.

#[cfg(feature = "descriptors")]
pub mod descriptors;
#[cfg(feature = "schema")]
pub mod json;
pub mod reference;
#[cfg(feature = "schema")]
pub mod schema;
pub mod type_url;
pub mod wire;

pub use envoy_types::pb as envoy;
pub use type_url::{TypeUrl, any};

/// What the original's processes say to each other.
pub mod istio {
    /// Citadel's certificate services.
    pub mod auth {
        #[allow(clippy::all, unreachable_pub)]
        pub mod v1 {
            tonic::include_proto!("istio.v1.auth");
        }
    }
    /// Names for the agent's DNS server.
    pub mod nds {
        #[allow(clippy::all, unreachable_pub)]
        pub mod v1 {
            tonic::include_proto!("istio.networking.nds.v1");
        }
    }
}

/// What only our own processes say to each other.
pub mod meltemi {
    pub mod origins {
        #[allow(clippy::all, unreachable_pub)]
        pub mod v1 {
            tonic::include_proto!("meltemi.origins.v1");
        }
    }
}
