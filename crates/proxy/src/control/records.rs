//! Every resource as it was received: for `/config_dump`, and to compile endpoints anew when their cluster changes.
//!
//! Kept as the bytes that came, which are a fraction of what they decode to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use proto::envoy::google::protobuf::Any;
use proto::type_url;

/// The types of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
}

/// A resource in force, or waiting for what it refers to.
pub struct Accepted {
    pub version: Arc<str>,
    /// What the `Any` holds; its type is the kind's.
    pub body: Box<[u8]>,
    pub updated: SystemTime,
}

/// The last version of a resource that was not taken; the last good one, if any, stays in force.
pub struct Refused {
    pub version: String,
    /// Nothing if it is too large to keep.
    pub body: Option<Any>,
    pub attempted: SystemTime,
    pub reason: String,
}

#[derive(Default)]
struct Book {
    accepted: BTreeMap<Arc<str>, Accepted>,
    refused: BTreeMap<Arc<str>, Refused>,
    /// Of the last response.
    version: String,
}

/// All resources, by kind and name.
#[derive(Default)]
pub struct Records {
    books: [Book; 5],
}

/// Refused resources above this size are remembered by name only.
const MAX_REFUSED_BYTES: usize = 256 << 10;

// === impl Kind ===

impl Kind {
    pub fn of(url: &str) -> Option<Kind> {
        Some(match url {
            type_url::CLUSTER => Kind::Cluster,
            type_url::ENDPOINT => Kind::Endpoint,
            type_url::LISTENER => Kind::Listener,
            type_url::ROUTE => Kind::Route,
            type_url::SECRET => Kind::Secret,
            _ => return None,
        })
    }

    /// As `Any` names the message.
    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => type_url::CLUSTER,
            Kind::Endpoint => type_url::ENDPOINT,
            Kind::Listener => type_url::LISTENER,
            Kind::Route => type_url::ROUTE,
            Kind::Secret => type_url::SECRET,
        }
    }

    /// As people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Cluster => "cluster",
            Kind::Endpoint => "endpoint assignment",
            Kind::Listener => "listener",
            Kind::Route => "route configuration",
            Kind::Secret => "secret",
        }
    }
}

// === impl Records ===

impl Records {
    pub fn accept(&mut self, kind: Kind, name: &Arc<str>, version: &Arc<str>, body: Vec<u8>) {
        let book = self.book_mut(kind);
        book.refused.remove(name);
        let accepted = Accepted {
            version: version.clone(),
            body: body.into(),
            updated: SystemTime::now(),
        };
        match book.accepted.get_mut(name) {
            Some(known) => *known = accepted,
            None => drop(book.accepted.insert(name.clone(), accepted)),
        }
    }

    /// What is in force has come again: a version of it that was refused meanwhile is no longer what the control plane wants.
    pub fn confirm(&mut self, kind: Kind, name: &Arc<str>, version: &Arc<str>) {
        let book = self.book_mut(kind);
        book.refused.remove(name);
        if let Some(known) = book.accepted.get_mut(name) {
            known.version = version.clone();
        }
    }

    /// What was in the way of a resource that has been accepted is gone.
    pub fn settled(&mut self, kind: Kind, name: &str) {
        self.book_mut(kind).refused.remove(name);
    }

    pub fn refuse(&mut self, kind: Kind, name: &Arc<str>, version: &str, body: Option<&Any>, reason: String) {
        tracing::warn!(
            kind = kind.noun(),
            name = &**name,
            reason,
            "refused; the last good one, if any, stays in force"
        );
        let body = body.filter(|body| body.value.len() <= MAX_REFUSED_BYTES).cloned();
        let refused = Refused {
            version: version.to_owned(),
            body,
            attempted: SystemTime::now(),
            reason,
        };
        self.book_mut(kind).refused.insert(name.clone(), refused);
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        let book = self.book_mut(kind);
        book.accepted.remove(name);
        book.refused.remove(name);
    }

    pub fn set_version(&mut self, kind: Kind, version: &str) {
        version.clone_into(&mut self.book_mut(kind).version);
    }

    pub fn version(&self, kind: Kind) -> &str {
        &self.book(kind).version
    }

    pub fn get(&self, kind: Kind, name: &str) -> Option<&Accepted> {
        self.book(kind).accepted.get(name)
    }

    pub fn accepted(&self, kind: Kind) -> impl Iterator<Item = (&Arc<str>, &Accepted)> {
        self.book(kind).accepted.iter()
    }

    pub fn refused(&self, kind: Kind) -> &BTreeMap<Arc<str>, Refused> {
        &self.book(kind).refused
    }

    fn book(&self, kind: Kind) -> &Book {
        &self.books[kind as usize]
    }

    fn book_mut(&mut self, kind: Kind) -> &mut Book {
        &mut self.books[kind as usize]
    }
}
