//! One resource type on one stream: what is wanted, what is held, what has to be said.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use proto::envoy::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::envoy::google::rpc::Status;
use proto::type_url::{CLUSTER, LISTENER, NAME_TABLE, ORIGINS};
use xxhash_rust::xxh3::xxh3_64;

use super::machine::{Interest, Rejection, Resource, Update};
use super::message::{Dialect, Parts, RawResource, Request, check_name, name_of};

#[derive(Debug)]
pub(super) struct ResourceType {
    pub(super) url: &'static str,
    interest: Interest,
    held: HashMap<Arc<str>, Held>,
    /// Of the last state-of-the-world response that was taken whole.
    version: String,
    stream: Stream,
}

#[derive(Debug)]
struct Held {
    version: Arc<str>,
    hash: u64,
}

/// What only this stream knows.
#[derive(Debug, Default)]
struct Stream {
    /// The first request has been sent.
    begun: bool,
    /// The names that the control plane knows we want.
    told: BTreeSet<Arc<str>>,
    /// Names may be wanted that the control plane does not know of, or the other way round. To compare the sets each time something
    /// is said would make one endpoint cost as much as there are services.
    untold: bool,
    /// Told, then given up: must be said before they may be asked for again, or the control plane would think that we still
    /// hold them.
    given_up: BTreeSet<Arc<str>>,
    /// Of the last response.
    nonce: String,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    nonce: String,
    error: Option<Status>,
}

/// `INVALID_ARGUMENT` of google.rpc.
const INVALID_ARGUMENT: i32 = 3;
/// The error text says the reason of so many refused resources; the rest are only named.
const MAX_REASONS: usize = 20;
const MAX_REASON_CHARS: usize = 600;

// === impl ResourceType ===

impl ResourceType {
    pub(super) fn new(url: &'static str, interest: Interest) -> Self {
        ResourceType {
            url,
            interest,
            held: HashMap::new(),
            version: String::new(),
            stream: Stream {
                untold: true,
                ..Stream::default()
            },
        }
    }

    pub(super) fn set_interest(&mut self, interest: Interest) {
        if interest == self.interest {
            return;
        }
        self.stream.untold = true;
        if let Interest::Names(names) = &interest {
            self.held.retain(|name, _| names.contains(name));
            self.stream.given_up.extend(self.stream.told.difference(names).cloned());
        }
        self.interest = interest;
    }

    pub(super) fn begin_stream(&mut self) {
        self.stream = Stream {
            untold: true,
            ..Stream::default()
        };
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.held.iter().map(|(name, held)| (name, &*held.version))
    }

    pub(super) fn receive(&mut self, dialect: Dialect, parts: Parts) -> Update {
        self.stream.nonce.clone_from(&parts.nonce);
        let mut update = Update {
            type_url: self.url,
            version: parts.version,
            changed: Vec::new(),
            removed: Vec::new(),
            nonce: parts.nonce,
            unchanged: Vec::new(),
            refused: Vec::new(),
        };
        let mut present = HashSet::new();
        for raw in parts.resources {
            self.read(raw, &mut present, &mut update);
        }
        update.removed = match dialect {
            Dialect::Delta => parts.removed.into_iter().filter(|name| self.wants(name)).collect(),
            Dialect::Sotw if self.is_whole_set() => self.absent(&present),
            Dialect::Sotw => Vec::new(),
        };
        update
    }

    fn read(&self, raw: RawResource, present: &mut HashSet<Arc<str>>, update: &mut Update) {
        let Some(body) = raw.body else { return };
        let name = match self.name(&raw.name, &body.value) {
            Ok(name) => name,
            Err(reason) => {
                return update.refused.push(Rejection {
                    name: raw.name.into(),
                    reason,
                });
            }
        };
        if !self.wants(&name) {
            return;
        }
        if !present.insert(name.clone()) {
            return update.refused.push(Rejection {
                name,
                reason: "it is there twice".to_owned(),
            });
        }
        if body.type_url != self.url {
            let reason = format!("it is a `{}`, expected is `{}`", body.type_url, self.url);
            return update.refused.push(Rejection { name, reason });
        }
        let hash = xxh3_64(&body.value);
        if self.held.get(&name).is_some_and(|held| held.hash == hash) {
            return update.unchanged.push((name, raw.version));
        }
        update.changed.push(Resource {
            name,
            version: raw.version,
            body,
            hash,
        });
    }

    /// A name that is wanted or held already is not stored once more.
    fn name(&self, given: &str, body: &[u8]) -> Result<Arc<str>, String> {
        let inside;
        let name = if given.is_empty() {
            inside = name_of(self.url, body)?;
            &inside
        } else {
            given
        };
        check_name(name)?;
        let wanted = match &self.interest {
            Interest::Everything => None,
            Interest::Names(names) => names.get(name),
        };
        let held = || self.held.get_key_value(name).map(|(name, _)| name);
        Ok(wanted.or_else(held).cloned().unwrap_or_else(|| name.into()))
    }

    pub(super) fn settle(&mut self, update: Update, rejections: Vec<Rejection>) -> Vec<Rejection> {
        let mut refused = update.refused;
        refused.extend(rejections);
        let bad: HashSet<&str> = refused.iter().map(|r| &*r.name).collect();
        for name in update.removed.iter().filter(|name| !bad.contains(&***name)) {
            self.held.remove(name);
        }
        for (name, version) in update.unchanged {
            if let Some(held) = self.held.get_mut(&name) {
                held.version = version;
            }
        }
        for resource in update.changed.into_iter().filter(|r| !bad.contains(&*r.name)) {
            // The subscription may have ended while the response was applied.
            if wants(&self.interest, &resource.name) {
                self.held.insert(
                    resource.name,
                    Held {
                        version: resource.version,
                        hash: resource.hash,
                    },
                );
            }
        }
        if refused.is_empty() {
            self.version = update.version;
        }
        let error = (!refused.is_empty()).then(|| self.error(&refused));
        self.stream.answers.push(Answer {
            nonce: update.nonce,
            error,
        });
        refused
    }

    fn error(&self, refused: &[Rejection]) -> Status {
        let mut message = format!("Error adding/updating {}(s) ", noun(self.url));
        for (index, rejection) in refused.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let name = if rejection.name.is_empty() {
                "(without a name)"
            } else {
                &rejection.name
            };
            message.push_str(separator);
            message.push_str(name);
            if index < MAX_REASONS {
                message.push_str(": ");
                message.extend(rejection.reason.chars().take(MAX_REASON_CHARS));
            }
        }
        Status {
            code: INVALID_ARGUMENT,
            message,
            details: Vec::new(),
        }
    }

    pub(super) fn next_request(&mut self, dialect: Dialect) -> Option<Request> {
        match dialect {
            Dialect::Sotw => self.next_sotw().map(Request::Sotw),
            Dialect::Delta => self.next_delta().map(Request::Delta),
        }
    }

    /// One request says it all: names, and the answer to the latest response.
    fn next_sotw(&mut self) -> Option<DiscoveryRequest> {
        if self.stream.answers.is_empty() && !self.stream.untold {
            return None;
        }
        let names = self.names_to_tell();
        let answer = (!self.stream.answers.is_empty()).then(|| self.stream.answers.remove(0));
        let changed = names != self.stream.told;
        let begin = !self.stream.begun && (!names.is_empty() || self.interest == Interest::Everything);
        if !(begin || answer.is_some() || changed && self.stream.begun) {
            self.stream.untold = false;
            return None;
        }
        self.tell(names);
        let (response_nonce, error_detail) = match answer {
            Some(answer) => (answer.nonce, answer.error),
            None => (self.stream.nonce.clone(), None),
        };
        Some(DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: self.stream.told.iter().map(|name| name.to_string()).collect(),
            type_url: self.url.to_owned(),
            response_nonce,
            error_detail,
            ..Default::default()
        })
    }

    /// Answers and changes of the subscription go in requests of their own: servers differ in how they read both at once.
    fn next_delta(&mut self) -> Option<DeltaDiscoveryRequest> {
        let mut request = DeltaDiscoveryRequest {
            type_url: self.url.to_owned(),
            ..Default::default()
        };
        if self.stream.begun && !self.stream.answers.is_empty() {
            let answer = self.stream.answers.remove(0);
            request.response_nonce = answer.nonce;
            request.error_detail = answer.error;
            return Some(request);
        }
        if !self.stream.untold {
            return None;
        }
        let names = self.names_to_tell();
        let begin = !self.stream.begun && (!names.is_empty() || self.interest == Interest::Everything);
        if !begin && (!self.stream.begun || names == self.stream.told) {
            self.stream.untold = false;
            return None;
        }
        let text = |name: &Arc<str>| name.to_string();
        request.resource_names_subscribe = names.difference(&self.stream.told).map(text).collect();
        request.resource_names_unsubscribe = self.stream.told.difference(&names).map(text).collect();
        if begin {
            request.initial_resource_versions = self
                .held
                .iter()
                .map(|(name, held)| (name.to_string(), held.version.to_string()))
                .collect();
        }
        self.tell(names);
        Some(request)
    }

    /// Whether a state-of-the-world response holds every resource, so that what is missing does not exist.
    fn is_whole_set(&self) -> bool {
        matches!(self.url, CLUSTER | LISTENER | ORIGINS | NAME_TABLE)
    }

    fn absent(&self, present: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
        let mut absent: Vec<_> = self
            .held
            .keys()
            .filter(|name| !present.contains(*name))
            .cloned()
            .collect();
        absent.sort();
        absent
    }

    fn wants(&self, name: &str) -> bool {
        wants(&self.interest, name)
    }

    fn names_to_tell(&self) -> BTreeSet<Arc<str>> {
        match &self.interest {
            Interest::Everything => BTreeSet::new(),
            Interest::Names(names) => names.difference(&self.stream.given_up).cloned().collect(),
        }
    }

    fn tell(&mut self, names: BTreeSet<Arc<str>>) {
        self.stream.begun = true;
        // Names given up and wanted again come with the next request.
        self.stream.untold = !self.stream.given_up.is_empty();
        self.stream.given_up.clear();
        self.stream.told = names;
    }
}

fn wants(interest: &Interest, name: &str) -> bool {
    match interest {
        Interest::Everything => true,
        Interest::Names(names) => names.contains(name),
    }
}

fn noun(url: &str) -> &'static str {
    match url {
        CLUSTER => "cluster",
        LISTENER => "listener",
        proto::type_url::ENDPOINT => "endpoint assignment",
        proto::type_url::ROUTE => "route configuration",
        proto::type_url::SECRET => "secret",
        _ => "resource",
    }
}
