//! The mesh as one immutable value: what the registry makes of Kubernetes objects, and what translation reads.

mod conditions;
mod credential;
mod endpoint;
mod envoy_patches;
mod host;
mod port;
mod proxy;
mod service;
mod snapshot;

pub use conditions::{Condition, ObjectStatus};
pub use credential::{Credential, CredentialName, Credentials, FileResource, Fitness, SecretResource};
pub use endpoint::{Endpoint, Health, Locality, TlsMode};
pub use envoy_patches::{EnvoyOperation, EnvoyPatch, EnvoyPatches, EnvoyTarget, Lack, ListenerTarget, NativeEffect};
pub use host::Host;
pub use port::Protocol;
pub use proxy::{InterceptionMode, Proxy, ProxyKind};
pub use service::{AddressBlock, Resolution, Service, ServicePort, Visibility};
pub use snapshot::{Config, ConfigRef, Snapshot};
