//! The admin port: Envoy's pages, in Envoy's shapes, so that people, agents and dashboards need not learn new ones.
//!
//! Served on the control thread: a slow reader costs no request anything. Pages that change something want a POST. Nothing here may grow
//! the process for good: `/config_dump` needs the descriptors of every Envoy message, so a short-lived child renders it ([`render`]).

mod certs;
mod clusters;
mod config_dump;
mod listeners;
mod logging;
mod page;
mod prometheus;
pub mod render;
mod server;
mod server_info;
mod statistics;
mod stats;
mod why;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::bootstrap::Bootstrap;
use crate::control::{Lifecycle, Options, State};

pub use logging::LogLevels;
use page::{Page, Query};

/// What the pages show, and what they may change.
pub struct Pages {
    pub state: Rc<RefCell<State>>,
    pub lifecycle: Lifecycle,
    pub bootstrap: Bootstrap,
    pub options: Options,
}

/// Starts to serve the pages, on the current `LocalSet`.
///
/// # Errors
/// If the address cannot be had.
pub fn serve(address: SocketAddr, pages: Pages) -> anyhow::Result<()> {
    server::start(address, Rc::new(pages))
}

type Handler = fn(&Rc<Pages>, &Query) -> Page;

enum Answer {
    /// Looks only.
    Read(Handler),
    /// Changes something.
    Change(Handler),
    /// Looks with GET, changes with POST.
    Either(Handler, Handler),
    ConfigDump,
}

/// Every page with what it is for.
const PAGES: &[(&str, &str, Answer)] = &[
    ("/", "this list", Answer::Read(help)),
    ("/certs", "certificates in use", Answer::Read(certs::page)),
    (
        "/clusters",
        "clusters, endpoints and their counters (?format=json)",
        Answer::Read(clusters::page),
    ),
    (
        "/config_dump",
        "the configuration in force and what was refused (?resource= &name_regex= &include_eds)",
        Answer::ConfigDump,
    ),
    (
        "/drain_listeners",
        "let connections end (?graceful: go on accepting meanwhile)",
        Answer::Change(drain_listeners),
    ),
    (
        "/healthcheck/fail",
        "be no longer healthy",
        Answer::Change(healthcheck_fail),
    ),
    ("/healthcheck/ok", "be healthy again", Answer::Change(healthcheck_ok)),
    ("/help", "this list", Answer::Read(help)),
    (
        "/listeners",
        "listeners and their addresses (?format=json)",
        Answer::Read(listeners::page),
    ),
    (
        "/logging",
        "log level (POST ?level=debug)",
        Answer::Either(logging::show, logging::set),
    ),
    ("/memory", "memory in use", Answer::Read(server_info::memory)),
    ("/quitquitquit", "end the process", Answer::Change(quit)),
    ("/ready", "200 if this proxy is live", Answer::Read(ready)),
    (
        "/server_info",
        "version, state, uptime, command line, node",
        Answer::Read(server_info::page),
    ),
    (
        "/stats",
        "statistics (?filter=REGEX &usedonly &format=json|prometheus)",
        Answer::Read(stats::page),
    ),
    (
        "/stats/prometheus",
        "statistics for Prometheus (?all: also what the bootstrap leaves out)",
        Answer::Read(prometheus::page),
    ),
    (
        "/why",
        "why a request gets its answer (?url=http://HOST/PATH &method= &header=NAME:VALUE &to=IP:PORT|PORT|LISTENER &direction= &sni= &alpn= &source= &format=json)",
        Answer::Read(why::page),
    ),
];

/// The page of a request.
async fn answer(pages: &Rc<Pages>, is_post: bool, path: &str, query: &Query) -> Page {
    let path = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    let Some((_, _, answer)) = PAGES.iter().find(|(known, _, _)| *known == path) else {
        return Page::text(404, format!("invalid path. admin commands are:\n{}", list()));
    };
    match answer {
        Answer::Read(handler) => handler(pages, query),
        Answer::Change(handler) | Answer::Either(_, handler) if is_post => handler(pages, query),
        Answer::Either(handler, _) => handler(pages, query),
        Answer::Change(_) => Page::text(405, "Method GET not allowed, POST required."),
        Answer::ConfigDump => config_dump::page(pages, query).await,
    }
}

fn list() -> String {
    PAGES
        .iter()
        .map(|(path, what, _)| format!("  {path}: {what}\n"))
        .collect()
}

fn help(_: &Rc<Pages>, _: &Query) -> Page {
    Page::text(200, format!("admin commands are:\n{}", list()))
}

fn ready(pages: &Rc<Pages>, _: &Query) -> Page {
    let phase = pages.lifecycle.phase();
    let status = if phase == crate::control::Phase::Live { 200 } else { 503 };
    Page::text(status, format!("{}\n", phase.text()))
}

fn healthcheck_fail(pages: &Rc<Pages>, _: &Query) -> Page {
    pages.lifecycle.set_healthy(false);
    Page::ok()
}

fn healthcheck_ok(pages: &Rc<Pages>, _: &Query) -> Page {
    pages.lifecycle.set_healthy(true);
    Page::ok()
}

fn drain_listeners(pages: &Rc<Pages>, query: &Query) -> Page {
    if query.has("inboundonly") {
        tracing::warn!("/drain_listeners: `inboundonly` has no effect here, every listener drains");
    }
    pages.lifecycle.drain();
    let graceful = query.has("graceful");
    let drain = pages
        .state
        .borrow_mut()
        .listeners
        .drain_all(graceful, pages.options.drain_time);
    tokio::task::spawn_local(async move {
        drain.await;
        tracing::info!("all listeners have drained");
    });
    Page::ok()
}

fn quit(pages: &Rc<Pages>, _: &Query) -> Page {
    pages.lifecycle.quit();
    Page::ok()
}
