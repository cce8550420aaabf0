//! Which routes are attached to which listeners, and under which host names.

use model::kinds::gateway_api::ParentReference;
use model::mesh::{Condition, Host};

use super::http::HttpLike;
use super::index::Index;
use super::listener::{Listener, Parent};
use super::route::{Route, is_gateway};
use super::status::Reports;

/// A route at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) parent: usize,
    pub(super) listener: usize,
    /// What both name, without what a more exact listener of the port takes.
    pub(super) hosts: Vec<Host>,
    /// Position in the route's list of parents.
    pub(super) reference: usize,
}

/// The attachments of each HTTPRoute and GRPCRoute.
pub(super) fn http(
    index: &Index<'_>,
    parents: &mut [Parent<'_>],
    routes: &[HttpLike<'_>],
    reports: &mut Reports,
) -> Vec<Vec<Attachment>> {
    routes
        .iter()
        .map(|route| attach(index, parents, &route.route, reports))
        .collect()
}

/// Attaches a route wherever its parents let it, and says of each parent whether they did.
pub(super) fn attach(
    index: &Index<'_>,
    parents: &mut [Parent<'_>],
    route: &Route<'_>,
    reports: &mut Reports,
) -> Vec<Attachment> {
    let mut made: Vec<Attachment> = Vec::new();
    for (reference, wanted) in route
        .parents
        .iter()
        .enumerate()
        .filter(|(_, wanted)| is_gateway(wanted))
    {
        let namespace = route.namespace_of(wanted);
        let known = parents
            .iter()
            .position(|parent| (parent.object.namespace(), parent.object.name()) == (namespace, wanted.name.as_str()));
        let Some(at) = known else {
            unknown_gateway(index, route, wanted, namespace, reports);
            continue;
        };
        let found = at_listeners(index, &parents[at], route, wanted);
        let condition = match found {
            Ok(listeners) => {
                for (listener, hosts) in listeners {
                    let taker = &mut parents[at].listeners[listener];
                    taker.attached += 1;
                    if namespace != route.namespace() {
                        taker.namespaces.insert(route.namespace().to_owned());
                    }
                    // Two references may lead to one listener.
                    if !made
                        .iter()
                        .any(|other| (other.parent, other.listener) == (at, listener))
                    {
                        made.push(Attachment {
                            parent: at,
                            listener,
                            hosts,
                            reference,
                        });
                    }
                }
                Condition::holds("Accepted", "Accepted")
            }
            Err(refusal) => refusal,
        };
        reports.accepted(route, reference, condition);
    }
    made
}

/// A Gateway of another controller's is that one's to answer for.
fn unknown_gateway(
    index: &Index<'_>,
    route: &Route<'_>,
    wanted: &ParentReference,
    namespace: &str,
    reports: &mut Reports,
) {
    let all = &index.input.gateways;
    if !all
        .iter()
        .any(|gateway| (gateway.namespace(), gateway.name()) == (namespace, wanted.name.as_str()))
    {
        let message = format!("there is no Gateway {namespace}/{}", wanted.name);
        reports.problem(
            route.object,
            Condition::fails("Accepted", "NoMatchingParent", message, "add it, or correct the name"),
        );
    }
}

/// The listeners that take the route, with the hosts they share; or why none does.
fn at_listeners(
    index: &Index<'_>,
    parent: &Parent<'_>,
    route: &Route<'_>,
    wanted: &ParentReference,
) -> Result<Vec<(usize, Vec<Host>)>, Condition> {
    let gateway = format!("Gateway {}/{}", parent.object.namespace(), parent.object.name());
    let meant = |listener: &&(usize, &Listener<'_>)| {
        let spec = listener.1.spec;
        (wanted.section_name.is_empty() || wanted.section_name == spec.name)
            && wanted.port.is_none_or(|port| port == spec.port)
    };
    let named: Vec<_> = parent.listeners.iter().enumerate().filter(|one| meant(&one)).collect();
    if named.is_empty() {
        let message = format!("{gateway} has no listener of that name or port");
        return Err(refused("NoMatchingParent", message, "correct sectionName or port"));
    }
    let open: Vec<_> = named.into_iter().filter(|(_, listener)| listener.is_open()).collect();
    if open.is_empty() {
        let message = format!("the listener of {gateway} is not served");
        return Err(refused(
            "NoMatchingParent",
            message,
            "see the conditions of the Gateway",
        ));
    }
    let own = parent.object.namespace();
    let allowed = |listener: &Listener<'_>| {
        listener.kinds.contains(&route.kind)
            && index.allows(&listener.spec.allowed_routes.namespaces, own, route.namespace())
    };
    let allowing: Vec<_> = open.into_iter().filter(|(_, listener)| allowed(listener)).collect();
    if allowing.is_empty() {
        let message = format!("{gateway} takes no {} from namespace {}", route.kind, route.namespace());
        let way_out = "allow the namespace and the kind in allowedRoutes of its listener";
        return Err(refused("NotAllowedByListeners", message, way_out));
    }
    let shared: Vec<_> = allowing
        .into_iter()
        .map(|(at, listener)| (at, hosts(&parent.listeners, listener, route)))
        .filter(|(_, hosts)| !hosts.is_empty())
        .collect();
    if shared.is_empty() {
        let message = format!("no host name of the route is one of the listener of {gateway}");
        let way_out = "change hostnames of the route, or hostname of the listener";
        return Err(refused("NoMatchingListenerHostname", message, way_out));
    }
    Ok(shared)
}

fn refused(reason: &'static str, message: String, way_out: &str) -> Condition {
    Condition::fails("Accepted", reason, message, way_out)
}

/// The host names of a route at a listener. A request belongs to the most exact listener of its port, so that what one of
/// those takes whole is not this one's.
fn hosts(all: &[Listener<'_>], listener: &Listener<'_>, route: &Route<'_>) -> Vec<Host> {
    let any = [Host::new("*")];
    let own: Vec<Host> = route.hostnames.iter().map(|name| Host::new(name)).collect();
    let own = if own.is_empty() { &any[..] } else { &own[..] };
    let mut hosts: Vec<Host> = own
        .iter()
        .filter_map(|host| narrower(host, &listener.hostname))
        .filter(|host| {
            let rivals = all.iter().filter(|other| is_rival(listener, other));
            !rivals.map(|other| &other.hostname).any(|other| covers(other, host))
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Whether `other` is a more exact listener for some of the same requests.
fn is_rival(listener: &Listener<'_>, other: &Listener<'_>) -> bool {
    other.spec.port == listener.spec.port
        && other.is_open()
        && other.hostname != listener.hostname
        && covers(&listener.hostname, &other.hostname)
}

/// Whether every name that `narrow` stands for is one of `wide`.
pub(super) fn covers(wide: &Host, narrow: &Host) -> bool {
    wide == narrow || (wide.is_wildcard() && wide.matches(narrow) && wide.specificity() > narrow.specificity())
}

/// What two names have in common, which is always one of them.
fn narrower(a: &Host, b: &Host) -> Option<Host> {
    if covers(a, b) {
        Some(b.clone())
    } else {
        covers(b, a).then(|| a.clone())
    }
}

/// A host name of a listener belongs to HTTPRoutes or to GRPCRoutes: of two routes of different kinds the older has it, and
/// the other is not attached there.
pub(super) fn keep_one_kind_for_a_host(
    parents: &mut [Parent<'_>],
    routes: &[HttpLike<'_>],
    attached: &mut [Vec<Attachment>],
    reports: &mut Reports,
) {
    let mut by_age: Vec<usize> = (0..routes.len()).collect();
    by_age.sort_by_key(|at| routes[*at].route.age());
    let grpc = |at: usize| routes[at].route.kind == "GRPCRoute";
    if !by_age.iter().any(|at| grpc(*at)) {
        return;
    }
    let mut kept: Vec<(usize, Attachment)> = Vec::new();
    for at in by_age {
        let conflicts = |one: &Attachment| {
            kept.iter().find(|(other, theirs)| {
                grpc(*other) != grpc(at)
                    && (theirs.parent, theirs.listener) == (one.parent, one.listener)
                    && theirs
                        .hosts
                        .iter()
                        .any(|host| one.hosts.iter().any(|own| narrower(host, own).is_some()))
            })
        };
        let (lost, left): (Vec<_>, Vec<_>) = attached[at].drain(..).partition(|one| conflicts(one).is_some());
        for one in lost {
            let other = conflicts(&one).map(|(other, _)| routes[*other].route);
            let name = other.map_or_else(String::new, |other| {
                format!("{} {}/{}", other.kind, other.namespace(), other.object.name)
            });
            let message = format!("{name} is older and has a host name of this route at the listener");
            let way_out = "give the two kinds host names of their own";
            parents[one.parent].listeners[one.listener].attached -= 1;
            reports.accepted(
                &routes[at].route,
                one.reference,
                refused("NotAllowedByListeners", message, way_out),
            );
        }
        kept.extend(left.iter().map(|one| (at, one.clone())));
        attached[at] = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_have_the_narrower_in_common() {
        let cases = [
            ("*", "a.com", Some("a.com")),
            ("*.com", "a.com", Some("a.com")),
            ("*.a.com", "*.com", Some("*.a.com")),
            ("a.com", "a.com", Some("a.com")),
            ("*.a.com", "a.com", None),
            ("a.com", "b.com", None),
            ("*", "*", Some("*")),
        ];
        for (a, b, expected) in cases {
            for (a, b) in [(a, b), (b, a)] {
                let found = narrower(&Host::new(a), &Host::new(b));
                assert_eq!(found, expected.map(Host::new), "{a} and {b}");
            }
        }
    }
}
