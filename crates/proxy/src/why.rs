//! Why a request gets the answer it gets: the decisions of listener, filter chain, virtual host, route, filters and cluster, one after the
//! other, each with the object that made it.
//!
//! What is told is found out by the matcher that serves traffic, over the configuration in force, on the control thread: no request
//! pays for it. What chance or the moment decides (weights, percentages, the balancer's next pick, an upstream's mood) is told as
//! what may happen and how often, never drawn.

mod cluster;
mod entry;
mod filters;
mod origin;
mod question;
mod route;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;

use crate::config::{ClusterChoice, DownstreamTransport, NetworkFilter, TcpProxy};
use crate::control::State;
use entry::Entry;
pub(crate) use origin::Place;
use origin::Places;
pub(crate) use question::Question;

/// An answer to a [`Question`].
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// In the order in which they are taken.
    pub(crate) steps: Vec<Step>,
    /// What may come of it. The shares add up to 100 where anything can be said at all.
    pub(crate) outcomes: Vec<Likely>,
}

/// One decision.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// `listener`, `filter chain`, `tls`, `request`, `virtual host`, `passed over`, `route`, `filter`, `cluster`, `endpoints`, `answer`.
    pub(crate) about: &'static str,
    /// A sentence.
    pub(crate) text: String,
    /// The object that wanted it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Place>,
}

/// An outcome, and how often it is to be expected.
#[derive(Debug, Serialize)]
pub(crate) struct Likely {
    /// Percent.
    pub(crate) share: f64,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub(crate) enum Outcome {
    /// The proxy answers by itself.
    Answered {
        status: u16,
        /// `%RESPONSE_CODE_DETAILS%` of the access log.
        details: String,
        /// `%RESPONSE_FLAGS%` of the access log.
        #[serde(skip_serializing_if = "str::is_empty")]
        flags: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// An upstream gets it.
    #[serde(rename_all = "camelCase")]
    Forwarded {
        cluster: Arc<str>,
        /// As the upstream sees them; empty for opaque connections.
        #[serde(skip_serializing_if = "str::is_empty")]
        authority: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        path: String,
        /// Those that may be picked; empty: where the client wanted to go.
        endpoints: Vec<Target>,
    },
    /// The connection ends without a word.
    Closed,
}

/// An endpoint, and what it is told before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub(crate) address: Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) workload: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Hello>,
}

/// What a TLS client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hello {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<Arc<str>>,
    /// ALPN.
    pub(crate) protocols: Vec<String>,
}

/// What is told while the way is walked.
pub(crate) struct Story<'a> {
    state: &'a State,
    places: Places<'a>,
    told: Explanation,
}

/// Walks the way that such a request takes.
pub(crate) fn explain(state: &State, question: &Question) -> Explanation {
    let mut story = Story {
        state,
        places: Places::new(&state.origins),
        told: Explanation {
            steps: Vec::new(),
            outcomes: Vec::new(),
        },
    };
    let Some(Entry { compiled, facts }) = entry::find(&mut story, question) else {
        return story.told;
    };
    let Some(chain) = compiled.matcher.select(&facts) else {
        story.tell("filter chain", entry::no_chain(&compiled, &facts), None);
        story.conclude(100.0, Outcome::Closed);
        return story.told;
    };
    story.tell(
        "filter chain",
        entry::chain_text(chain, &facts),
        Some((&chain.origin, "")),
    );
    if let DownstreamTransport::Tls(tls) = &chain.transport {
        story.tell("tls", entry::tls_text(tls), None);
    }
    match &chain.filter {
        NetworkFilter::Http(manager) => route::follow(&mut story, question, manager, &facts),
        NetworkFilter::Tcp(proxy) => connection(&mut story, proxy, facts.server_name.as_deref()),
    }
    story.told
}

/// Opaque bytes: no request is ever seen, a cluster gets them all.
fn connection(story: &mut Story<'_>, proxy: &TcpProxy, server_name: Option<&str>) {
    let text = "its bytes are passed on unread: nothing that looks at requests applies";
    story.tell("route", text.to_owned(), None);
    let named = server_name.filter(|_| proxy.cluster_from_sni);
    if let Some(slot) = named.and_then(|name| story.state.shared.slots.known_cluster(name)) {
        return cluster::follow(story, &slot, 100.0, None);
    }
    match &proxy.cluster {
        ClusterChoice::One(slot) => cluster::follow(story, slot, 100.0, None),
        ClusterChoice::Weighted(clusters) => {
            for (slot, share) in cluster::shares(clusters, 100.0) {
                cluster::follow(story, slot, share, None);
            }
        }
        ClusterChoice::Header(_) => story.conclude(100.0, Outcome::Closed),
    }
}

// === impl Story ===

impl Story<'_> {
    /// `origin`: reference of an object (`istio.config` metadata), and which of its rules.
    fn tell(&mut self, about: &'static str, text: String, origin: Option<(&str, &str)>) {
        let origin = origin.and_then(|(object, rule)| self.places.find(object, rule));
        self.told.steps.push(Step { about, text, origin });
    }

    fn conclude(&mut self, share: f64, outcome: Outcome) {
        let known = self.told.outcomes.iter_mut().find(|likely| likely.outcome == outcome);
        match known {
            Some(likely) => likely.share += share,
            None => self.told.outcomes.push(Likely { share, outcome }),
        }
    }

    fn answered(&mut self, share: f64, status: u16, details: &str, flags: &'static str) {
        self.conclude(
            share,
            Outcome::Answered {
                status,
                details: details.to_owned(),
                flags,
                location: None,
            },
        );
    }
}
