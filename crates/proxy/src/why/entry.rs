//! Which listener a request meets, and which of its filter chains.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Story;
use super::question::{Certificate, Question, WayIn};
use crate::config::{ConnectionFacts, Direction, DownstreamTls, FilterChain, Listener, NetworkFilter, RouteSource};
use crate::head::HttpVersion;
use crate::listener::Compiled;

/// The way in that was found.
pub(super) struct Entry {
    pub(super) compiled: Arc<Compiled>,
    pub(super) facts: ConnectionFacts,
}

/// The route table of the listener that applications use as their HTTP proxy.
const HTTP_PROXY: &str = "http_proxy";
/// What browsers and most libraries offer.
const BROWSER: [&str; 2] = ["h2", "http/1.1"];

/// Tells what it found, or why there is nothing.
pub(super) fn find(story: &mut Story<'_>, question: &Question) -> Option<Entry> {
    let listeners: Vec<Arc<Compiled>> = story.state.listeners.compiled().cloned().collect();
    let found = match &question.way_in {
        WayIn::Listener(name) => listeners.iter().find(|one| *one.listener.name == **name),
        WayIn::Destination(address) => by_destination(&listeners, *address, question.direction),
        WayIn::Port(port) => by_port(&listeners, *port, question.direction),
        WayIn::Url => by_url(&listeners, question),
    };
    let Some(compiled) = found.cloned() else {
        story.tell("listener", nothing(&listeners, question), None);
        return None;
    };
    let listener = &compiled.listener;
    let address = story
        .state
        .listeners
        .address(&listener.name)
        .unwrap_or(listener.address);
    let text = format!(
        "{} at {address} accepts the connection ({})",
        listener.name,
        direction(listener)
    );
    story.tell("listener", text, Some((&listener.origin, "")));
    let facts = facts(question, listener, address);
    Some(Entry { compiled, facts })
}

/// As the kernel and a redirecting listener choose: the very address, then the port on any address, then whoever takes what is left.
/// What comes in meets no listener for what goes out.
fn by_destination(listeners: &[Arc<Compiled>], address: SocketAddr, direction: Direction) -> Option<&Arc<Compiled>> {
    let inbound = direction == Direction::Inbound;
    let fitting = || {
        listeners
            .iter()
            .filter(move |one| !inbound || one.listener.direction == Direction::Inbound)
    };
    let bound = |one: &Arc<Compiled>| one.listener.address;
    let exact = fitting().find(|one| bound(one) == address);
    let any = |one: &&Arc<Compiled>| bound(one).port() == address.port() && bound(one).ip().is_unspecified();
    let takes_rest = |one: &&Arc<Compiled>| match inbound {
        true => one.listener.filters.original_dst,
        false => one.listener.use_original_dst && is_outbound(&one.listener),
    };
    exact
        .or_else(|| fitting().find(any))
        .or_else(|| fitting().find(takes_rest))
}

fn by_port(listeners: &[Arc<Compiled>], port: u16, direction: Direction) -> Option<&Arc<Compiled>> {
    let fits = |one: &&Arc<Compiled>| {
        one.listener.address.port() == port
            && (direction == Direction::Unspecified || one.listener.direction == direction)
    };
    // A workload's port stands in a chain of the listener that takes all that comes in.
    let has_chain = |one: &&Arc<Compiled>| {
        one.listener.direction == Direction::Inbound
            && direction == Direction::Inbound
            && one
                .listener
                .chains
                .iter()
                .any(|chain| chain.matches.destination_port == Some(port))
    };
    listeners.iter().find(fits).or_else(|| listeners.iter().find(has_chain))
}

fn by_url<'a>(listeners: &'a [Arc<Compiled>], question: &Question) -> Option<&'a Arc<Compiled>> {
    let port = question.port();
    if question.direction == Direction::Inbound {
        return by_port(listeners, port, Direction::Inbound);
    }
    let outbound = || listeners.iter().filter(|one| is_outbound(&one.listener));
    let proxy = outbound().find(|one| is_http_proxy(&one.listener));
    let plain = question.head.scheme == "http";
    let of_port = || outbound().filter(move |one| one.listener.address.port() == port);
    proxy
        .filter(|_| plain)
        .or_else(|| of_port().find(|one| one.listener.address.ip().is_unspecified()))
        .or_else(|| of_port().next())
        // A gateway's listener has the port of its container; its route table is called by the port of the service.
        .or_else(|| outbound().find(|one| is_table_of(&one.listener, question.head.scheme, port)))
        .or_else(|| outbound().find(|one| one.listener.use_original_dst))
}

fn is_outbound(listener: &Listener) -> bool {
    listener.direction == Direction::Outbound
}

fn route_names(listener: &Listener) -> impl Iterator<Item = &str> {
    let chains = listener.chains.iter().chain(&listener.default_chain);
    chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(manager) => match &manager.routes {
            RouteSource::Rds(slot) => Some(&*slot.name),
            RouteSource::Inline(_) => None,
        },
        NetworkFilter::Tcp(_) => None,
    })
}

fn is_http_proxy(listener: &Listener) -> bool {
    route_names(listener).any(|name| name == HTTP_PROXY)
}

fn is_table_of(listener: &Listener, scheme: &str, port: u16) -> bool {
    let name = format!("{scheme}.{port}");
    route_names(listener).any(|known| known == name || known.starts_with(&format!("{name}.")))
}

fn facts(question: &Question, listener: &Listener, address: SocketAddr) -> ConnectionFacts {
    let destination = match question.way_in {
        WayIn::Destination(address) => address,
        WayIn::Port(port) => SocketAddr::new(address.ip(), port),
        WayIn::Url if question.direction == Direction::Inbound => SocketAddr::new(address.ip(), question.port()),
        WayIn::Url | WayIn::Listener(_) => address,
    };
    let tls = question.server_name.is_some() || !question.protocols.is_empty() || question.certificate.is_some();
    let offered = match (tls, question.protocols.is_empty()) {
        // Who says what it shows says what it offers, too.
        (true, true) if question.certificate.is_none() => BROWSER.map(str::to_owned).into(),
        (true, _) => question.protocols.clone(),
        (false, _) if listener.filters.http_inspector && !question.opaque => vec![inspected(question).to_owned()],
        (false, _) => Vec::new(),
    };
    ConnectionFacts {
        destination: Some(destination),
        source: question.source.map(|ip| SocketAddr::new(ip, 0)),
        server_name: question.server_name.clone(),
        tls,
        application_protocols: offered,
    }
}

/// What the HTTP inspector calls it.
fn inspected(question: &Question) -> &'static str {
    match question.head.version {
        HttpVersion::Http10 => "http/1.0",
        HttpVersion::Http11 => "http/1.1",
        HttpVersion::Http2 => "h2c",
    }
}

/// Why the handshake fails, if that is certain.
pub(super) fn handshake_refusal(
    tls: &DownstreamTls,
    facts: &ConnectionFacts,
    question: &Question,
) -> Option<&'static str> {
    if !facts.tls {
        return Some("the connection is plain, so its bytes are no handshake");
    }
    if tls.config.load().is_none() {
        return Some("the handshake fails");
    }
    let bare = question.certificate == Some(Certificate::None);
    (bare && tls.require_client_certificate).then_some("the client shows no certificate: the handshake fails")
}

fn direction(listener: &Listener) -> &'static str {
    match listener.direction {
        Direction::Inbound => "to this workload",
        Direction::Outbound => "from here outwards",
        Direction::Unspecified => "for no direction in particular",
    }
}

fn nothing(listeners: &[Arc<Compiled>], question: &Question) -> String {
    let wanted = match &question.way_in {
        WayIn::Listener(name) => format!("there is no listener `{name}`"),
        WayIn::Destination(address) => format!("no listener takes connections to {address}"),
        WayIn::Port(port) => format!("no listener takes connections to port {port}"),
        WayIn::Url => format!("no listener takes requests for {}", question.head.authority.as_str()),
    };
    let names: Vec<&str> = listeners.iter().map(|one| &*one.listener.name).collect();
    format!("{wanted}; there are: {}", names.join(", "))
}

pub(super) fn chain_text(chain: &FilterChain, facts: &ConnectionFacts) -> String {
    let serves = match &chain.filter {
        NetworkFilter::Http(_) => "HTTP",
        NetworkFilter::Tcp(_) => "opaque TCP",
    };
    let name = match &*chain.name {
        "" => "the chain without a name",
        name => name,
    };
    format!("{name} serves {} as {serves}", seen(facts))
}

pub(super) fn no_chain(compiled: &Compiled, facts: &ConnectionFacts) -> String {
    let plain_only = if compiled.matcher.is_tls_only(facts.destination) && !facts.tls {
        ": each wants TLS here (mutual TLS is STRICT), and this is plain"
    } else {
        ""
    };
    format!("none fits {}{plain_only}", seen(facts))
}

fn seen(facts: &ConnectionFacts) -> String {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let mut text = match (facts.tls, &facts.server_name) {
        (true, Some(name)) => format!("TLS to {name}"),
        (true, None) => "TLS without a server name".to_owned(),
        (false, _) => "a plain connection".to_owned(),
    };
    text += &format!(" for {}", facts.destination.unwrap_or(any));
    if !facts.application_protocols.is_empty() {
        text += &format!(" speaking {}", facts.application_protocols.join(", "));
    }
    text
}

pub(super) fn tls_text(tls: &DownstreamTls) -> String {
    let client = if tls.require_client_certificate {
        "a client without a certificate of the mesh is refused"
    } else {
        "a client needs no certificate"
    };
    let secrets: Vec<&str> = tls.secrets.iter().map(|secret| &**secret).collect();
    let waiting = if tls.config.load().is_none() {
        "; a secret has not arrived yet, so every handshake fails"
    } else {
        ""
    };
    format!("TLS ends here, with {}; {client}{waiting}", secrets.join(", "))
}
