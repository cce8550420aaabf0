//! `/why`

use std::fmt::Write;
use std::rc::Rc;

use super::Pages;
use super::page::{Page, Query};
use crate::why::{Explanation, Outcome, Question, explain};

pub(super) fn page(pages: &Rc<Pages>, query: &Query) -> Page {
    let question = match Question::read(query.iter().filter(|(name, _)| *name != "format")) {
        Ok(question) => question,
        Err(reason) => return Page::text(400, reason + "\n"),
    };
    let explanation = explain(&pages.state.borrow(), &question);
    if query.is_json() {
        return match serde_json::to_value(&explanation) {
            Ok(value) => Page::json(&value),
            Err(error) => Page::text(500, format!("{error}\n")),
        };
    }
    Page::text(200, text(&explanation))
}

fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    for (number, step) in explanation.steps.iter().enumerate() {
        let _ = write!(text, "{:>2}. {}: {}", number + 1, step.about, step.text);
        if let Some(origin) = &step.origin {
            let _ = write!(text, "\n    <- {origin}");
        }
        text.push('\n');
    }
    for likely in &explanation.outcomes {
        let _ = write!(text, "=> {:.4} %: ", likely.share);
        let _ = match &likely.outcome {
            Outcome::Answered {
                status,
                details,
                location,
                ..
            } => {
                let to = location
                    .as_ref()
                    .map_or(String::new(), |location| format!(" to {location}"));
                writeln!(text, "{status}{to} ({details})")
            }
            Outcome::Forwarded { endpoints, .. } => {
                let addresses: Vec<&str> = endpoints.iter().map(|target| &*target.address).collect();
                let cluster = likely.cluster.as_deref().unwrap_or_default();
                writeln!(text, "{cluster}: {}", addresses.join(", "))
            }
            Outcome::Closed => writeln!(text, "the connection is closed"),
        };
    }
    text
}
