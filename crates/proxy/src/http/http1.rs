//! HTTP/1 connections, to clients and to upstreams: the [`codec`] with a socket under it.
//!
//! A connection is a value with poll functions: it has no task, no channel and no timer of its own. Whoever runs an exchange polls both of
//! its connections on one task, so a message crosses the proxy without waking anybody. Buffers are lent ([`buffers`]) while
//! there are bytes in them; a connection that waits holds none.

mod buffers;
mod bulk;
mod client;
mod input;
mod output;
mod upstream;

pub(super) use buffers::{lend_headers, return_headers};
pub(super) use bulk::{Bulk, BulkFault, LEAST};
pub(super) use client::{ClientConnection, Incoming};
pub(super) use input::Input;
pub(super) use upstream::{UpstreamConnection, fault};
