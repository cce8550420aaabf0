//! HTTP: serving a connection, and the life of a request from its head to its record.
//!
//! The phases of a request are told in [`exchange`], in order. [`codec`] is the only place that knows the codec's types; everything
//! else works on our own heads and on bodies.

mod activity;
mod attempts;
pub(crate) mod codec;
mod exchange;
mod forward;
mod hashing;
mod header_operations;
mod identity;
mod local_reply;
mod messages;
mod mirror;
mod pool;
mod redirect;
mod request_body;
mod request_headers;
mod response_body;
mod retry;
pub(crate) mod routing;
mod serve;
mod sniff;
mod upgrade;

#[cfg(test)]
mod tests;

pub use local_reply::LocalReply;
pub use pool::WorkerState;
pub use serve::serve;
