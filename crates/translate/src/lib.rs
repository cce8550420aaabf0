//! From the mesh as users configured it to the configuration of one proxy.
//!
//! A pure function: a [`Snapshot`](model::mesh::Snapshot), a [`Proxy`](model::mesh::Proxy), a resource type and a name give
//! one encoded Envoy v3 resource. No sockets, no clock, no randomness; equal input gives equal bytes, so whoever serves the
//! result may compare, cache and share it. A [`Scope`] is the view of one proxy; its [`Scope::key`] says which other proxies
//! have the same view.
//!
//! Where to look:
//!
//! | question | module |
//! |---|---|
//! | which services, routes and rules a proxy sees | `scope`, `visibility`, `sidecar`, `destination` |
//! | which Secrets can be used | `credential` |
//! | which ports a workload serves, and with what security | `inbound`, `authn`, `tls` |
//! | clusters and endpoints | `cluster`, `endpoint` |
//! | which endpoints are near, and who steps in for them | `locality` |
//! | names that an application may resolve | `name_table` |
//! | which requests are traced, and where spans go | `tracing` |
//! | listeners of sidecars and gateways | `listener`, `gateway` |
//! | virtual hosts and routes | `route` |
//! | what EnvoyFilters change in all of it | `envoy_filter` |
//! | what the Gateway API and Ingress mean, in those terms | [`gateway_api`] |
//! | whether client and server agree about mutual TLS | `tls_check` |
//! | why two encodings of the same thing are the same | `canonical`, `key` |
//!
//! Bad configuration never blanks a proxy: what cannot be translated is left out alone and reported in
//! [`Resource::issues`]; a route to something that does not exist stays and answers 503.

mod authn;
mod canonical;
mod cluster;
mod credential;
mod destination;
mod endpoint;
mod envoy_filter;
mod error;
mod format;
mod gateway;
pub mod gateway_api;
mod inbound;
mod key;
mod listener;
mod locality;
mod name_table;
mod names;
mod native;
mod pb;
mod route;
mod scope;
mod sidecar;
mod tls;
mod tls_check;
mod tracing;
mod visibility;

#[cfg(test)]
mod envoy_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod sharing_tests;

use std::collections::BTreeSet;

use model::mesh::ConfigRef;

pub use error::TranslateError;
pub use scope::Scope;
pub use tls_check::{TlsCheck, TlsSide};

/// The types that are generated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    Cluster,
    Endpoint,
    Listener,
    Route,
    /// Names for the agent's DNS server, one resource for all of them.
    NameTable,
}

impl ResourceType {
    /// In the order in which a change must be applied so that nothing refers to what is not there yet.
    pub const ALL: [ResourceType; 5] = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::NameTable,
    ];

    /// Whether a patch of an EnvoyFilter can change resources of this type.
    pub fn is_touched_by(self, apply_to: model::kinds::ApplyTo) -> bool {
        envoy_filter::touches(apply_to, self)
    }

    pub fn type_url(self) -> &'static str {
        match self {
            ResourceType::Cluster => proto::type_url::CLUSTER,
            ResourceType::Endpoint => proto::type_url::ENDPOINT,
            ResourceType::Listener => proto::type_url::LISTENER,
            ResourceType::Route => proto::type_url::ROUTE,
            ResourceType::NameTable => proto::type_url::NAME_TABLE,
        }
    }
}

/// One encoded resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    pub name: String,
    /// Encoded once; equal configuration has equal bytes.
    pub any: proto::envoy::google::protobuf::Any,
    /// The objects it was made from, sorted.
    pub origins: Vec<ConfigRef>,
    /// What of those objects had to be left out, sorted.
    pub issues: Vec<TranslateError>,
}

impl Resource {
    /// A message that users have changed.
    pub(crate) fn patched<M: prost::Message + prost::Name>(name: &str, message: &M, notes: Notes) -> Self {
        Resource {
            name: name.to_owned(),
            any: proto::envoy::google::protobuf::Any {
                type_url: M::type_url(),
                value: envoy_filter::encode(message),
            },
            origins: notes.origins.into_iter().collect(),
            issues: notes.issues.into_iter().collect(),
        }
    }

    pub(crate) fn new<M: canonical::Shaped>(name: &str, message: &M, notes: Notes) -> Self {
        Resource::of_any(name, canonical::any(message), notes)
    }

    /// Of a message without maps in an order of chance.
    pub(crate) fn of_any(name: &str, any: proto::envoy::google::protobuf::Any, notes: Notes) -> Self {
        Resource {
            name: name.to_owned(),
            any,
            origins: notes.origins.into_iter().collect(),
            issues: notes.issues.into_iter().collect(),
        }
    }
}

/// What is learned on the side while a resource is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    origins: BTreeSet<ConfigRef>,
    issues: BTreeSet<TranslateError>,
}

impl Notes {
    pub(crate) fn origin(&mut self, object: &ConfigRef) {
        if !self.origins.contains(object) {
            self.origins.insert(object.clone());
        }
    }

    pub(crate) fn issue(&mut self, issue: TranslateError) {
        self.issues.insert(issue);
    }
}
