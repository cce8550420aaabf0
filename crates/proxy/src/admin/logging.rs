//! The log level, read and set while the process runs.

use std::cell::RefCell;
use std::rc::Rc;

use super::Pages;
use super::page::{Page, Query};

/// The hook into the process's logger.
pub struct LogLevels {
    current: RefCell<String>,
    set: Setter,
}

type Setter = Box<dyn Fn(&str) -> Result<(), String>>;

// === impl LogLevels ===

impl LogLevels {
    /// `set` puts a level (`debug`) or a list (`info,proxy=debug`) into force, or says what is wrong with it.
    pub fn new(current: &str, set: impl Fn(&str) -> Result<(), String> + 'static) -> Self {
        LogLevels {
            current: RefCell::new(current.to_owned()),
            set: Box::new(set),
        }
    }

    /// A logger whose level stays as it is.
    pub fn fixed(current: &str) -> Self {
        Self::new(current, |_| {
            Err("this logger's level cannot be changed while it runs".to_owned())
        })
    }

    fn set(&self, level: &str) -> Result<(), String> {
        (self.set)(level)?;
        level.clone_into(&mut self.current.borrow_mut());
        Ok(())
    }

    pub(super) fn current(&self) -> String {
        self.current.borrow().clone()
    }
}

pub(super) fn show(pages: &Rc<Pages>, query: &Query) -> Page {
    match query.names().next() {
        Some(_) => Page::text(405, "Method GET not allowed, POST required.\n"),
        None => Page::text(
            200,
            format!("active loggers:\n  proxy: {}\n", pages.options.log.current()),
        ),
    }
}

/// `?level=debug`; Envoy's `?LOGGER=debug` sets one part.
pub(super) fn set(pages: &Rc<Pages>, query: &Query) -> Page {
    let level = match (query.get("level"), query.names().next()) {
        (Some(level), _) => level.to_owned(),
        (None, Some("paths")) => query.get("paths").unwrap_or_default().replace(':', "="),
        (None, Some(logger)) => format!(
            "{},{logger}={}",
            pages.options.log.current(),
            query.get(logger).unwrap_or_default()
        ),
        (None, None) => return show(pages, query),
    };
    match pages.options.log.set(&level) {
        Ok(()) => show(pages, &Query::default()),
        Err(fault) => Page::text(
            400,
            format!("`{level}`: {fault}\nusage: /logging?level=trace|debug|info|warning|error|off\n"),
        ),
    }
}
