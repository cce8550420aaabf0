//! The serving end of xDS: what to send to one proxy, and when.
//!
//! [`Conversation`] is a synchronous state machine: a request or a new [`View`] goes in, frames to send come out. It opens no
//! socket and reads no clock, so that every rule of the protocol is tested as a written dialogue. [`grpc`] puts it on the wire.
//!
//! The machine is level-triggered. Per resource type it keeps what the proxy has been told; whatever happens, it compares that
//! with what the view holds and what the proxy subscribed to, and sends the difference. Delta, reconnects with known versions,
//! refusals and merged pushes are then the same comparison, and a lost event cannot leave a proxy behind for good.
//!
//! - **One response at a time per type.** While one is unanswered, further changes merge into the next: a slow proxy costs its
//!   own freshness and nobody's memory. After [`PATIENCE`] the next goes out regardless, because Envoy holds back its
//!   acknowledgement of clusters while one of them is warming.
//! - **Make before break.** Clusters and endpoints first; listeners and routes when the clusters have been acknowledged, which
//!   Envoy does when they are warm; removals last, those that refer first, when everything added has been acknowledged.
//!   State-of-the-world responses keep what is doomed until then. Whatever a proxy explicitly waits for is sent at once.
//! - **A refusal concerns one resource.** The names in the error text, or else bisection of the refused response, tell which.
//!   That version is never offered again; all others go on, and the proxy keeps its last good one.
//! - **Bytes are shared.** [`Encoded`] holds the `Any` as it goes on the wire; a frame refers to it and the codec copies it out.

mod channel;
mod conversation;
mod frame;
pub mod grpc;
mod kind;
mod refusal;
mod subscription;
mod view;

#[cfg(test)]
mod tests;

pub use channel::{PATIENCE, Status};
pub use conversation::{Conversation, DeltaRequest, Event, Limits, SotwRequest, Step, Violation};
pub use frame::{Dialect, Frame};
pub use kind::Kind;
pub use refusal::Refusal;
pub use view::{Encoded, Lookup, View};
