//! Logs go to standard error, structured and quiet: standard output belongs to commands and access logs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// The level of a running process.
#[derive(Clone)]
pub struct Levels {
    /// `None` if somebody else installed the logger first (in tests).
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    current: Arc<Mutex<String>>,
}

/// Installs the process's logger. `level` is a level (`warning` is read as `warn`) or a filter list such as `info,pilot=debug`;
/// one that does not parse is replaced by `info`, and said so. A second call has no effect, so tests may call it freely.
pub fn init(component: &'static str, level: &str, json: bool) -> Levels {
    let level = translate(level);
    let (filter, current, fault) = match EnvFilter::try_new(&level) {
        Ok(filter) => (filter, level, None),
        Err(error) => (EnvFilter::new("info"), "info".to_owned(), Some(error)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(true)
        .with_ansi(false);
    let installed = if json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer).try_init()
    };
    if let (Ok(()), Some(error)) = (&installed, fault) {
        tracing::warn!(component, %error, "log level not understood, using info");
    }
    Levels {
        handle: installed.is_ok().then_some(handle),
        current: Arc::new(Mutex::new(current)),
    }
}

impl Levels {
    /// What is in force, in our spelling.
    pub fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes effect at once.
    ///
    /// # Errors
    /// If `level` is neither a level nor a filter list; then nothing changes.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let level = translate(level);
        let filter = EnvFilter::try_new(&level).map_err(|error| format!("`{level}` is no log level: {error}"))?;
        if let Some(handle) = &self.handle {
            handle.reload(filter).map_err(|error| error.to_string())?;
        }
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = level;
        Ok(())
    }
}

/// The original's and Envoy's level names in ours: `critical`, `fatal`, `none`, and `default:info`, `scope:debug` lists.
fn translate(level: &str) -> String {
    let word = |w: &str| {
        match w {
            "warning" => "warn",
            "critical" | "fatal" => "error",
            "none" => "off",
            other => other,
        }
        .to_owned()
    };
    let part = |part: &str| match part.split_once(':') {
        Some(("default", level)) => word(level),
        Some((scope, level)) => format!("{scope}={}", word(level)),
        None => word(part),
    };
    level.split(',').map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_names_of_all_three_worlds_are_understood() {
        let cases = [
            ("warning", "warn"),
            ("default:info", "info"),
            ("default:none,ads:debug", "off,ads=debug"),
            ("info", "info"),
        ];
        for (given, expected) in cases {
            assert_eq!(translate(given), expected);
        }
    }
}
