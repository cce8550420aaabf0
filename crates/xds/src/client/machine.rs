//! The state of one stream: all its resource types.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto::envoy::envoy::config::core::v3::Node;
use proto::envoy::google::protobuf::Any;

use super::message::{Dialect, Request, Response};
use super::resource_type::ResourceType;

/// What a subscription is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Whatever the control plane has for us.
    Everything,
    /// These; none is no subscription at all.
    Names(BTreeSet<Arc<str>>),
}

/// A resource that is new, or differs from what is held.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub body: Any,
    pub(super) hash: u64,
}

/// What a response asks for. Apply it, then hand it to [`Client::settle`].
#[derive(Debug, PartialEq)]
pub struct Update {
    pub type_url: &'static str,
    pub version: String,
    pub changed: Vec<Resource>,
    /// Names that do not exist (any more), whether or not they were held.
    pub removed: Vec<Arc<str>>,
    /// Sent again with the bytes that are held: name, and the version they have from now on.
    pub unchanged: Vec<(Arc<str>, Arc<str>)>,
    pub(super) nonce: String,
    /// Refused here already: nameless, doubled, of another type.
    pub(super) refused: Vec<Rejection>,
}

/// A resource that is not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Empty if not even the name could be read.
    pub name: Arc<str>,
    pub reason: String,
}

/// One side of a stream. Survives its streams: what is held is told to the next one.
#[derive(Debug)]
pub struct Client {
    dialect: Dialect,
    node: Node,
    node_sent: bool,
    connected: bool,
    types: Vec<ResourceType>,
}

// === impl Resource ===

impl Resource {
    /// Of the bytes of its body, as it came.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

// === impl Client ===

impl Client {
    pub fn new(dialect: Dialect, node: Node) -> Self {
        Client {
            dialect,
            node,
            node_sent: false,
            connected: false,
            types: Vec::new(),
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Wants to know this from now on. Types are asked for in the order in which they were first subscribed to: what is
    /// referred to before what refers to it.
    pub fn subscribe(&mut self, type_url: &'static str, interest: Interest) {
        match self.types.iter_mut().find(|t| t.url == type_url) {
            Some(known) => known.set_interest(interest),
            None => self.types.push(ResourceType::new(type_url, interest)),
        }
    }

    /// A stream begins: everything subscribed to is asked for again.
    pub fn stream_opened(&mut self) {
        self.connected = true;
        self.node_sent = false;
        self.types.iter_mut().for_each(ResourceType::begin_stream);
    }

    /// The stream is gone. What is held stays in force.
    pub fn stream_closed(&mut self) {
        self.connected = false;
    }

    /// Reads a response. `None`: of a type that nobody subscribed to.
    pub fn receive(&mut self, response: Response) -> Option<Update> {
        let parts = response.into_parts();
        let known = self.types.iter_mut().find(|t| t.url == parts.type_url)?;
        Some(known.receive(self.dialect, parts))
    }

    /// Answers a response: an ACK, or a NACK if something was refused here or by the caller.
    pub fn settle(&mut self, update: Update, rejections: Vec<Rejection>) -> Vec<Rejection> {
        let Some(known) = self.types.iter_mut().find(|t| t.url == update.type_url) else {
            return rejections;
        };
        known.settle(update, rejections)
    }

    /// The next request to send, if there is one.
    pub fn next_request(&mut self) -> Option<Request> {
        if !self.connected {
            return None;
        }
        let dialect = self.dialect;
        let mut request = self.types.iter_mut().find_map(|t| t.next_request(dialect))?;
        if !std::mem::replace(&mut self.node_sent, true) {
            let node = Some(self.node.clone());
            match &mut request {
                Request::Sotw(request) => request.node = node,
                Request::Delta(request) => request.node = node,
            }
        }
        Some(request)
    }

    /// The name of a resource that is held, and its version.
    pub fn held(&self, type_url: &str) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.types
            .iter()
            .filter(move |t| t.url == type_url)
            .flat_map(ResourceType::held)
    }
}
