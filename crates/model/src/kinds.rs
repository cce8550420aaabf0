//! What users write: one Rust type for each configuration kind, in the API's own words.
//!
//! The types hold every field of every supported API version at once (v1alpha3, v1beta1, v1 and what only 1.1 had), so each
//! version is read into one type once and nothing later asks which it was. Absent fields take the API's default; whether a
//! field already has an effect is said in one place, [`status`], never here.

pub mod authentication;
pub mod catalog;
pub mod cipher;
mod destination_rule;
pub mod duration;
mod envoy_filter;
mod gateway;
pub mod gateway_api;
pub mod ingress;
pub mod k8s;
pub mod mesh_config;
mod proxy_config;
mod security;
mod service_entry;
pub mod shape;
mod sidecar;
pub mod status;
mod string_match;
pub mod validate;
mod virtual_service;
mod workload;

pub use authentication::{MeshPolicy, Policy, PolicyMtlsMode, PolicyMutualTls};
pub use destination_rule::*;
pub use envoy_filter::*;
pub use gateway::*;
pub use mesh_config::{MeshConfig, MeshProxyConfig};
pub use proxy_config::*;
pub use security::*;
pub use service_entry::*;
pub use sidecar::*;
pub use string_match::StringMatch;
pub use virtual_service::*;
pub use workload::*;
