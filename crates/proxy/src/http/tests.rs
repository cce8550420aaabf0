//! Conversations through a whole connection manager: a client, this worker, and upstreams that follow a script, over real sockets.

mod bodies;
mod bulk;
mod connections;
mod endings;
mod filters;
pub(super) mod harness;
mod http2;
mod observed;
mod retries;
mod routes;
mod traced;
mod traced_otlp;
mod upgrades;
