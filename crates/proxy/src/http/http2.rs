//! HTTP/2 connections, to clients and to upstreams: the [`codec`] with a socket under it.
//!
//! A connection has one task that moves its bytes ([`driver`]). Each stream is worked on by a task of its own, which reads and writes by a
//! [`stream::Handle`]: what it sends goes straight into the connection's output. The connection's task, before it writes, lets every
//! task run that can, so that whatever a turn of the event loop brings forth leaves in one write. Nothing is sent over channels, and
//! what streams share (output, windows, the timer) belongs to the connection.

mod client;
mod crew;
mod driver;
mod serve;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;

pub(super) use client::ClientStream;
pub(super) use serve::Serving;
pub(super) use shared::StreamTimer;
pub(super) use upstream::{UpstreamConnection, UpstreamStream};
