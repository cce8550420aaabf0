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

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::config::{
    Action, ClusterChoice, ConnectionFacts, DownstreamTransport, Listener, NetworkFilter, Route, TcpProxy,
};
use crate::control::State;
use entry::Entry;
pub(crate) use origin::Place;
use origin::Places;
pub(crate) use question::Question;

/// An answer to a [`Question`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    /// `%FILTER_CHAIN_NAME%` of the access log; `None`: the connection is refused before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter_chain: Option<Arc<str>>,
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
    /// `%ROUTE_NAME%` of the access log.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) route: Arc<str>,
    /// Name or number of the rule that made the route: `%METADATA(ROUTE:istio:rule)%` of the access log.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) rule: Arc<str>,
    /// The cluster that gets the request, or would have got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<Arc<str>>,
    /// `%RESPONSE_FLAGS%` of the access log, as far as they are settled before an upstream is asked.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) flags: Cow<'static, str>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// An upstream gets it.
    #[serde(rename_all = "camelCase")]
    Forwarded {
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
    /// The route whose consequences are told.
    route: Option<Arc<Route>>,
    /// Percent of its requests that an injected delay holds.
    delayed: f64,
    /// The client dialled somebody else, and was redirected to here.
    redirected: bool,
    /// TLS ends at this proxy.
    over_tls: bool,
    /// A call of gRPC: what the proxy answers by itself has status 200, and the error in its trailers.
    grpc: bool,
}

/// Walks the way that such a request takes.
pub(crate) fn explain(state: &State, question: &Question) -> Explanation {
    let mut story = Story {
        state,
        places: Places::new(&state.origins),
        told: Explanation {
            filter_chain: None,
            steps: Vec::new(),
            outcomes: Vec::new(),
        },
        route: None,
        delayed: 0.0,
        redirected: false,
        over_tls: false,
        grpc: false,
    };
    let Some(Entry { compiled, facts }) = entry::find(&mut story, question) else {
        return story.told;
    };
    story.redirected = is_redirected(&compiled.listener, &facts);
    let Some(chain) = compiled.matcher.select(&facts) else {
        story.tell("filter chain", entry::no_chain(&compiled, &facts), None);
        story.closed(100.0, None, "NR");
        return story.told;
    };
    story.told.filter_chain = Some(chain.name.clone());
    story.tell(
        "filter chain",
        entry::chain_text(chain, &facts),
        Some((&chain.origin, &chain.rule)),
    );
    if let DownstreamTransport::Tls(tls) = &chain.transport {
        story.over_tls = true;
        story.tell("tls", entry::tls_text(tls), None);
        if let Some(refusal) = entry::handshake_refusal(tls, &facts, question) {
            story.tell("tls", refusal.to_owned(), None);
            story.closed(100.0, None, "");
            return story.told;
        }
    }
    match &chain.filter {
        NetworkFilter::Http(_) if question.opaque => {
            let text =
                "HTTP is read from the connection: bytes that are none are answered 400, and the connection ends";
            story.tell("request", text.to_owned(), None);
            story.answered(100.0, 400, "http1.codec_error", "DPE");
        }
        NetworkFilter::Http(manager) => route::follow(&mut story, question, manager, &facts),
        NetworkFilter::Tcp(proxy) => connection(&mut story, proxy, &facts),
    }
    story.told
}

/// What no listener is bound to can only have been dialled elsewhere, as the kernel or a PROXY header tells.
fn is_redirected(listener: &Listener, facts: &ConnectionFacts) -> bool {
    let filters = &listener.filters;
    let takes_all = listener.use_original_dst || filters.original_dst || filters.proxy_protocol || listener.transparent;
    !listener.bind_to_port || (takes_all && facts.destination != Some(listener.address))
}

/// Opaque bytes: no request is ever seen, a cluster gets them all.
fn connection(story: &mut Story<'_>, proxy: &TcpProxy, facts: &ConnectionFacts) {
    let text = "its bytes are passed on unread: nothing that looks at requests applies";
    story.tell("route", text.to_owned(), None);
    let named = facts.server_name.as_deref().filter(|_| proxy.cluster_from_sni);
    if let Some(name) = named {
        return match story.state.shared.slots.known_cluster(name) {
            Some(slot) => cluster::follow(story, &slot, 100.0, None),
            None => {
                let text = format!("the server name is to name it, and {name:?} names none that is known");
                story.tell("cluster", text, None);
                story.closed(100.0, None, "NR");
            }
        };
    }
    match &proxy.cluster {
        ClusterChoice::One(slot) => cluster::follow(story, slot, 100.0, None),
        ClusterChoice::Weighted(clusters) => {
            for (slot, share) in cluster::shares(clusters, 100.0) {
                cluster::follow(story, slot, share, None);
            }
        }
        ClusterChoice::Header(_) => story.closed(100.0, None, "NR"),
    }
}

// === impl Story ===

impl Story<'_> {
    /// `origin`: reference of an object (`istio.config` metadata), and which of its rules.
    fn tell(&mut self, about: &'static str, text: String, origin: Option<(&str, &str)>) {
        let origin = origin.and_then(|(object, rule)| self.places.find(object, rule));
        self.told.steps.push(Step { about, text, origin });
    }

    /// A delay that hits some makes two outcomes of one: they differ in the access log.
    fn conclude(&mut self, share: f64, cluster: Option<Arc<str>>, flags: &'static str, outcome: Outcome) {
        let held = share * self.delayed / 100.0;
        let with_delay = match flags {
            "" => "DI".into(),
            flags => Cow::from(format!("DI,{flags}")),
        };
        for (share, flags) in [(held, with_delay), (share - held, flags.into())] {
            if share > f64::EPSILON {
                self.add(share, cluster.clone(), flags, outcome.clone());
            }
        }
    }

    fn add(&mut self, share: f64, cluster: Option<Arc<str>>, flags: Cow<'static, str>, outcome: Outcome) {
        let of_route = |name: fn(&Route) -> &Arc<str>| {
            self.route
                .as_ref()
                .map_or_else(Arc::default, |route| name(route).clone())
        };
        let (route, rule) = (of_route(|route| &route.name), of_route(|route| &route.rule));
        let known = self.told.outcomes.iter_mut().find(|likely| {
            likely.outcome == outcome
                && likely.route == route
                && likely.rule == rule
                && likely.cluster == cluster
                && likely.flags == flags
        });
        match known {
            Some(likely) => likely.share += share,
            None => self.told.outcomes.push(Likely {
                share,
                route,
                rule,
                cluster,
                flags,
                outcome,
            }),
        }
    }

    /// Answered before a cluster is drawn.
    fn answered(&mut self, share: f64, status: u16, details: &str, flags: &'static str) {
        let cluster = self.certain_cluster();
        self.answered_for(share, cluster, status, details, flags);
    }

    /// The cluster that the route has no choice about: it is logged even if it is not asked.
    fn certain_cluster(&self) -> Option<Arc<str>> {
        match self.route.as_ref().map(|route| &route.action) {
            Some(Action::Forward(action)) => match &action.cluster {
                ClusterChoice::One(slot) => Some(slot.name.clone()),
                ClusterChoice::Weighted(_) | ClusterChoice::Header(_) => None,
            },
            _ => None,
        }
    }

    fn answered_for(&mut self, share: f64, cluster: Option<Arc<str>>, status: u16, details: &str, flags: &'static str) {
        let outcome = Outcome::Answered {
            status: self.told_status(status),
            details: details.to_owned(),
            location: None,
        };
        self.conclude(share, cluster, flags, outcome);
    }

    fn told_status(&self, status: u16) -> u16 {
        if self.grpc { 200 } else { status }
    }

    fn closed(&mut self, share: f64, cluster: Option<Arc<str>>, flags: &'static str) {
        self.conclude(share, cluster, flags, Outcome::Closed);
    }
}
