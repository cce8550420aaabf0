//! What lives beside a workload and is not its proxy: the `pilot-agent`.
//!
//! The agent is the parent of the proxy. It gives it a bootstrap ([`bootstrap`]), a certificate that never expires
//! ([`identity`] obtains and renews it, [`sds`] hands it over), a life ([`supervise`] starts and restarts it) and a face to the
//! outside ([`status`] answers the kubelet and the scraper). [`pilot_agent`] is the command that ties them together.
//!
//! The agent never touches traffic, so it may be small and single-threaded: one event loop on the main thread, which also keeps
//! the kernel's parent-death signal of the proxy tied to the process and not to a pool thread.

pub mod address;
pub mod admin;
pub mod bootstrap;
pub mod dns;
pub mod environment;
pub mod grpc;
pub mod http_client;
pub mod identity;
pub mod pilot_agent;
pub mod sds;
pub mod status;
pub mod supervise;

pub use pilot_agent::main as pilot_agent_main;
