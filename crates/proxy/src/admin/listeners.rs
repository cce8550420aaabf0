//! `/listeners`

use std::fmt::Write;
use std::rc::Rc;

use serde_json::{Value, json};

use super::Pages;
use super::page::{Page, Query};

pub(super) fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    let state = pages.state.borrow();
    let listeners = || {
        state.listeners.active().map(|listener| {
            (
                &listener.name,
                state.listeners.address(&listener.name).unwrap_or(listener.address),
            )
        })
    };
    if query.is_json() {
        let status = |(name, address): (_, std::net::SocketAddr)| json!({ "name": name, "local_address": { "socket_address": { "address": address.ip(), "port_value": address.port() } } });
        let statuses: Vec<Value> = listeners().map(status).collect();
        return Page::json(&json!({ "listener_statuses": statuses }));
    }
    let text = listeners().fold(String::new(), |mut text, (name, address)| {
        let _ = writeln!(text, "{name}::{address}");
        text
    });
    Page::text(200, text)
}
