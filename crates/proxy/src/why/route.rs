//! Virtual host and route of a request, and what the route does with it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::cluster::{self, Sent};
use super::filters;
use super::question::Question;
use super::{Outcome, Story};
use crate::config::{
    Action, ClusterChoice, ConnectionFacts, HttpConnectionManager, Route, RouteAction, RouteTable, VirtualHost,
};
use crate::head::{HttpVersion, RequestHead, Text};
use crate::http::routing::{Mismatch, mismatch, rewritten_path};
use crate::http::{Upgrade, as_routed, direct_location, hash_of_question, https_location, redirect_location};

/// Routes that do not match are told one by one up to so many; a table can have thousands.
const MAX_TOLD: usize = 20;

/// What stays the same for all routes of a request.
struct Way<'a> {
    question: &'a Question,
    manager: &'a HttpConnectionManager,
    table: &'a RouteTable,
    host: &'a VirtualHost,
    source: Option<SocketAddr>,
}

impl Way<'_> {
    fn sent<'s>(&self, route: &Route, action: &'s RouteAction, head: &'s RequestHead) -> Sent<'s> {
        let levels = [
            &route.request_headers,
            &self.host.request_headers,
            &self.table.request_headers,
        ];
        let changed = levels
            .iter()
            .flat_map(|level| level.names())
            .map(|name| name.to_string());
        Sent {
            head,
            action,
            hash: hash_of_question(&action.hash, head, self.source, &changed.collect::<Vec<_>>()),
        }
    }
}

pub(super) fn follow(
    story: &mut Story<'_>,
    question: &Question,
    manager: &HttpConnectionManager,
    facts: &ConnectionFacts,
) {
    let mut head = question.head.clone();
    story.grpc = head.is_grpc();
    // HTTP/1 says nothing of its scheme.
    if story.over_tls && head.version != HttpVersion::Http2 {
        head.scheme = "https";
    }
    if let Some((text, status, details, flags)) = not_understood(manager, &head) {
        story.tell("request", text.to_owned(), None);
        return story.answered(100.0, status, details, flags);
    }
    if let (true, Some(host)) = (head.authority.is_empty(), &manager.default_host_for_http_10) {
        head.authority = Text::from(&**host);
    }
    if as_routed(manager, facts, &mut head).is_err() {
        let text = format!("its path {:?} holds a NUL and cannot be normalized", head.path.as_str());
        story.tell("request", text, None);
        return story.answered(100.0, 400, "path_normalization_failed", "");
    }
    if head.path != question.head.path || head.authority != question.head.authority {
        let text = format!("it is routed as {}{}", head.authority.as_str(), head.path.as_str());
        story.tell("request", text, None);
    }
    let Some(table) = manager.routes.load() else {
        story.tell(
            "virtual host",
            "the route table has not come from the control plane".to_owned(),
            None,
        );
        return story.answered(100.0, 404, "route_not_found", "NR");
    };
    let Some(host) = table.virtual_host(&head.authority) else {
        let text = format!("none in table {} is for {:?}", table.name, head.authority.as_str());
        story.tell("virtual host", text, None);
        return no_route(story, manager, question, &head, 100.0);
    };
    let text = format!(
        "{} in table {} is for {:?}",
        host.name,
        table.name,
        head.authority.as_str()
    );
    story.tell("virtual host", text, None);
    let way = Way {
        question,
        manager,
        table: &table,
        host,
        source: facts.source,
    };
    routes(story, &way, &head);
}

/// The first that matches; those with a percentage take their part of what comes to them.
fn routes(story: &mut Story<'_>, way: &Way<'_>, head: &RequestHead) {
    let host = way.host;
    let mut left = 100.0;
    let mut told = 0;
    for (index, route) in host.routes.iter().enumerate() {
        if let Some(reason) = mismatch(&route.matches, head) {
            told += 1;
            if told <= MAX_TOLD {
                story.tell(
                    "passed over",
                    passed_over(route, index, &reason),
                    Some((&route.origin, &route.rule)),
                );
            }
            continue;
        }
        let percent = route
            .matches
            .fraction
            .map_or(100.0, |millionths| f64::from(millionths) / 10_000.0);
        let share = left * percent / 100.0;
        let often = if percent < 100.0 {
            format!(" for {percent} % of such requests")
        } else {
            String::new()
        };
        let text = format!("{} matches{often}", title(route, index));
        story.tell("route", text, Some((&route.origin, &route.rule)));
        story.route = Some(route.clone());
        take(story, way, route, head, share);
        (story.route, story.delayed) = (None, 0.0);
        left -= share;
        if left <= f64::EPSILON {
            break;
        }
    }
    if told > MAX_TOLD {
        story.tell(
            "passed over",
            format!("{} more routes do not match", told - MAX_TOLD),
            None,
        );
    }
    if left > f64::EPSILON {
        story.tell("route", format!("none of {} matches", host.name), None);
        no_route(story, way.manager, way.question, head, left);
    }
}

/// The filters come first, and they may answer without a route, too.
fn no_route(
    story: &mut Story<'_>,
    manager: &HttpConnectionManager,
    question: &Question,
    head: &RequestHead,
    share: f64,
) {
    if refused_upgrade(story, manager, question, None, share) {
        return;
    }
    let left = filters::follow(story, manager, None, head, share);
    story.answered(left, 404, "route_not_found", "NR");
    story.delayed = 0.0;
}

/// What no route can mend: why, status, details and flags.
fn not_understood(
    manager: &HttpConnectionManager,
    head: &RequestHead,
) -> Option<(&'static str, u16, &'static str, &'static str)> {
    let old = head.version == HttpVersion::Http10;
    if old && !manager.accept_http_10 {
        return Some(("HTTP/1.0 is not accepted here", 426, "low_version", "DPE"));
    }
    let nameless = head.authority.is_empty() && head.version == HttpVersion::Http11;
    nameless.then_some(("it names no host", 400, "missing_host_header", ""))
}

/// Tells of a switch of protocols that is not allowed.
fn refused_upgrade(
    story: &mut Story<'_>,
    manager: &HttpConnectionManager,
    question: &Question,
    route: Option<&Route>,
    share: f64,
) -> bool {
    let head = &question.head;
    let asks = head.version == HttpVersion::Http11 && head.headers.has_token("connection", "upgrade");
    let Some(upgrade) = Upgrade::requested(head, asks).filter(|upgrade| !upgrade.is_allowed(manager, route)) else {
        return false;
    };
    let name = String::from_utf8_lossy(upgrade.protocol());
    story.tell("answer", format!("a switch to {name} is not allowed here: 403"), None);
    story.answered(share, 403, "upgrade_failed", "");
    true
}

fn title(route: &Route, index: usize) -> String {
    match (&*route.name, &*route.rule) {
        ("", "") => format!("route {index}"),
        ("", rule) => format!("route {index} (rule {rule})"),
        (name, _) => format!("route {name}"),
    }
}

fn passed_over(route: &Route, index: usize, reason: &Mismatch<'_>) -> String {
    format!("{} does not match: {reason}", title(route, index))
}

fn take(story: &mut Story<'_>, way: &Way<'_>, route: &Arc<Route>, head: &RequestHead, share: f64) {
    if refused_upgrade(story, way.manager, way.question, Some(route), share) {
        return;
    }
    let share = filters::follow(story, way.manager, Some(route), head, share);
    if share <= f64::EPSILON {
        return;
    }
    if way.host.require_tls && head.scheme != "https" {
        story.tell(
            "answer",
            "the virtual host wants HTTPS: 301 to the same place".to_owned(),
            None,
        );
        let location = https_location(head);
        let cluster = story.certain_cluster();
        // Not the route has decided.
        story.route = None;
        return redirected(story, share, cluster, 301, location);
    }
    match &route.action {
        Action::Redirect(redirect) => {
            let location = redirect_location(redirect, &route.matches, head);
            story.tell("answer", format!("{} to {location}", redirect.status), None);
            redirected(story, share, None, redirect.status, location);
        }
        Action::Direct(direct) => {
            let text = format!(
                "{} with {} bytes, from the route itself",
                direct.status,
                direct.body.len()
            );
            story.tell("answer", text, None);
            match direct_location(direct.status, head) {
                Some(location) => redirected(story, share, None, direct.status, location),
                None => story.answered(share, direct.status, "direct_response", ""),
            }
        }
        Action::Forward(action) => forward(story, way, route, action, head, share),
    }
}

fn redirected(story: &mut Story<'_>, share: f64, cluster: Option<Arc<str>>, status: u16, location: String) {
    let outcome = Outcome::Answered {
        status: story.told_status(status),
        details: "direct_response".to_owned(),
        location: Some(location),
    };
    story.conclude(share, cluster, "", outcome);
}

fn forward(story: &mut Story<'_>, way: &Way<'_>, route: &Route, action: &RouteAction, head: &RequestHead, share: f64) {
    for text in conduct(way.table, way.host, route, action) {
        story.tell("route", text, Some((&route.origin, &route.rule)));
    }
    let mut sent = head.clone();
    if let Some(path) = rewritten_path(&route.matches, &action.rewrite, head) {
        story.tell(
            "route",
            format!("the path becomes {path}"),
            Some((&route.origin, &route.rule)),
        );
        sent.path = Text::from(path);
    }
    let rewritten = |host: Option<&str>| host.or(action.host_rewrite.as_deref()).map(Text::from);
    match &action.cluster {
        ClusterChoice::One(slot) => {
            sent.authority = rewritten(None).unwrap_or(sent.authority);
            cluster::follow(story, slot, share, Some(&way.sent(route, action, &sent)));
        }
        ClusterChoice::Weighted(clusters) => {
            for (weighted, (slot, share)) in clusters.iter().zip(cluster::shares(clusters, share)) {
                let mut sent = sent.clone();
                sent.authority = rewritten(weighted.host_rewrite.as_deref()).unwrap_or(sent.authority);
                cluster::follow(story, slot, share, Some(&way.sent(route, action, &sent)));
            }
        }
        ClusterChoice::Header(name) => {
            let slot = head
                .field(name)
                .and_then(|value| story.state.shared.slots.known_cluster(value));
            match slot {
                Some(slot) => cluster::follow(story, &slot, share, Some(&way.sent(route, action, &sent))),
                None => {
                    let text = format!("header {name} is to name it, and names none that is known");
                    story.tell("cluster", text, None);
                    story.answered(share, action.cluster_not_found_status, "cluster_not_found", "NC");
                }
            }
        }
    }
}

/// What the route asks for besides the destination.
fn conduct(table: &RouteTable, host: &VirtualHost, route: &Route, action: &RouteAction) -> Vec<String> {
    let mut told = Vec::new();
    match action.timeout.filter(|timeout| !timeout.is_zero()) {
        Some(timeout) => told.push(format!("it may take {timeout:?}, then the answer is 504")),
        None => told.push("there is no limit on its time".to_owned()),
    }
    if let Some(retry) = &action.retry {
        let per_try = retry
            .per_try_timeout
            .map_or(String::new(), |limit| format!(", each {limit:?} at most"));
        told.push(format!(
            "it is tried up to {} times more{per_try}, on {}",
            retry.attempts, retry.on
        ));
    }
    for mirror in &action.mirrors {
        let percent = f64::from(mirror.fraction) / 10_000.0;
        told.push(format!("{percent} % are copied to {}", mirror.slot.name));
    }
    let operations = [&route.request_headers, &host.request_headers, &table.request_headers];
    let changed = operations.iter().flat_map(|level| level.names()).collect::<Vec<_>>();
    if !changed.is_empty() {
        told.push(format!("request headers are changed: {}", changed.join(", ")));
    }
    told
}
