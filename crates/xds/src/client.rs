//! The asking end of xDS: what a proxy wants to know, and what it makes of the answers.
//!
//! [`Client`] is a synchronous state machine for one stream, in either dialect: subscriptions and responses go in, requests come
//! out. It opens no socket and reads no clock, so that every rule of the protocol is tested as a written dialogue. [`grpc`] puts it
//! on the wire and reconnects.
//!
//! - **Level-triggered.** A subscription is a set of names; whatever changed since the last request goes into the next one.
//! - **A refusal concerns one resource.** The good resources of a response are in force although it is answered by a NACK; the error
//!   text names each refused resource with its reason. A refused name is remembered with the version that is still in force, or not at all,
//!   so that a reconnect asks for it again.
//! - **A reconnect costs nothing.** Delta names the versions it holds; and in both dialects a resource whose bytes are those that are held
//!   is not handed out a second time, so a control plane that has lost its memory disturbs nobody.
//! - **Names are read before messages.** A resource that does not decode is still refused by its name.

pub mod grpc;
mod machine;
mod message;
mod resource_type;

#[cfg(test)]
mod tests;

pub use machine::{Client, Interest, Rejection, Resource, Update};
pub use message::{Dialect, Request, Response, decode};
