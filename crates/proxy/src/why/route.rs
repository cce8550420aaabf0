//! Virtual host and route of a request, and what the route does with it.

use std::sync::Arc;

use super::cluster;
use super::filters;
use super::question::Question;
use super::{Outcome, Story};
use crate::config::{
    Action, ClusterChoice, ConnectionFacts, HttpConnectionManager, Route, RouteAction, RouteTable, VirtualHost,
};
use crate::head::{RequestHead, Text};
use crate::http::routing::{Mismatch, mismatch, rewritten_path};
use crate::http::{as_routed, direct_location, https_location, redirect_location};

/// Routes that do not match are told one by one up to so many; a table can have thousands.
const MAX_TOLD: usize = 20;

pub(super) fn follow(
    story: &mut Story<'_>,
    question: &Question,
    manager: &HttpConnectionManager,
    facts: &ConnectionFacts,
) {
    let mut head = question.head.clone();
    if as_routed(manager, facts.destination, &mut head).is_err() {
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
        filters::follow(story, manager, None, &head, 100.0);
        return story.answered(100.0, 404, "route_not_found", "NR");
    };
    let text = format!(
        "{} in table {} is for {:?}",
        host.name,
        table.name,
        head.authority.as_str()
    );
    story.tell("virtual host", text, None);
    routes(story, manager, &table, host, &head);
}

/// The first that matches; those with a percentage take their part of what comes to them.
fn routes(
    story: &mut Story<'_>,
    manager: &HttpConnectionManager,
    table: &RouteTable,
    host: &VirtualHost,
    head: &RequestHead,
) {
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
        take(story, manager, table, host, route, head, share);
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
        let left = filters::follow(story, manager, None, head, left);
        story.answered(left, 404, "route_not_found", "NR");
    }
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

fn take(
    story: &mut Story<'_>,
    manager: &HttpConnectionManager,
    table: &RouteTable,
    host: &VirtualHost,
    route: &Arc<Route>,
    head: &RequestHead,
    share: f64,
) {
    let share = filters::follow(story, manager, Some(route), head, share);
    if share <= f64::EPSILON {
        return;
    }
    if host.require_tls && head.scheme != "https" {
        story.tell(
            "answer",
            "the virtual host wants HTTPS: 301 to the same place".to_owned(),
            None,
        );
        let location = https_location(head);
        return redirected(story, share, 301, location);
    }
    match &route.action {
        Action::Redirect(redirect) => {
            let location = redirect_location(redirect, &route.matches, head);
            story.tell("answer", format!("{} to {location}", redirect.status), None);
            redirected(story, share, redirect.status, location);
        }
        Action::Direct(direct) => {
            let text = format!(
                "{} with {} bytes, from the route itself",
                direct.status,
                direct.body.len()
            );
            story.tell("answer", text, None);
            match direct_location(direct.status, head) {
                Some(location) => redirected(story, share, direct.status, location),
                None => story.answered(share, direct.status, "direct_response", ""),
            }
        }
        Action::Forward(action) => forward(story, table, host, route, action, head, share),
    }
}

fn redirected(story: &mut Story<'_>, share: f64, status: u16, location: String) {
    story.conclude(
        share,
        Outcome::Answered {
            status,
            details: "direct_response".to_owned(),
            flags: "",
            location: Some(location),
        },
    );
}

fn forward(
    story: &mut Story<'_>,
    table: &RouteTable,
    host: &VirtualHost,
    route: &Route,
    action: &RouteAction,
    head: &RequestHead,
    share: f64,
) {
    for text in conduct(table, host, route, action) {
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
            cluster::follow(story, slot, share, Some((&sent, action)));
        }
        ClusterChoice::Weighted(clusters) => {
            for (weighted, (slot, share)) in clusters.iter().zip(cluster::shares(clusters, share)) {
                let mut sent = sent.clone();
                sent.authority = rewritten(weighted.host_rewrite.as_deref()).unwrap_or(sent.authority);
                cluster::follow(story, slot, share, Some((&sent, action)));
            }
        }
        ClusterChoice::Header(name) => {
            let slot = head
                .field(name)
                .and_then(|value| story.state.shared.slots.known_cluster(value));
            match slot {
                Some(slot) => cluster::follow(story, &slot, share, Some((&sent, action))),
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
