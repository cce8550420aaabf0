//! `/stats`

use std::fmt::Write;
use std::rc::Rc;

use serde_json::{Value, json};

use super::page::{Page, Query};
use super::{Pages, prometheus, statistics};

pub(super) fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    if query.get("format") == Some("prometheus") {
        return prometheus::page(pages, query);
    }
    let filter = match query.regex("filter") {
        Ok(filter) => filter,
        Err(page) => return page,
    };
    let used_only = query.has("usedonly");
    let shared = pages.state.borrow().shared.clone();
    let mut lines: Vec<_> = statistics::all(&shared)
        .into_iter()
        .filter(|statistic| !used_only || statistic.value != 0)
        .map(|statistic| (statistic.dotted(), statistic.value))
        .filter(|(name, _)| filter.as_ref().is_none_or(|filter| filter.is_match(name)))
        .collect();
    lines.sort();
    if query.is_json() {
        let stats: Vec<Value> = lines
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        return Page::json(&json!({ "stats": stats }));
    }
    let text = lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}: {value}");
        text
    });
    Page::text(200, text)
}
