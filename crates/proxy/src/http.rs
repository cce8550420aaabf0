//! HTTP: serving a connection, and the life of a request from its head to its record.
//!
//! The phases of a request are told in [`exchange`], in order, for both protocols: the two [`side`]s of an exchange have one interface.
//! [`http1`] puts sockets under the codec; what is above it knows heads, pieces of bodies and ends.

mod attempts;
mod call;
mod connection;
mod date;
mod deadlines;
mod exchange;
mod forward;
mod grpc_web;
mod hashing;
mod header_operations;
mod http1;
mod http2;
mod identity;
mod local_reply;
mod messages;
mod mirror;
mod pool;
mod redirect;
mod request_body;
mod request_headers;
mod retry;
pub(crate) mod routing;
mod serve;
mod side;
mod timer;
mod transfer;
pub(crate) mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

pub(crate) use call::send_report;
pub(crate) use hashing::hash_of_question;
pub use local_reply::LocalReply;
pub use pool::WorkerState;
pub(crate) use redirect::{direct_location, https_location, location as redirect_location};
pub(crate) use request_headers::as_routed;
pub use serve::{Served, serve};
pub(crate) use upgrade::Upgrade;
