//! Why a resource is refused.

use std::fmt::{self, Debug};

/// A fault, and where in the resource it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    path: String,
    message: String,
}

pub(super) type Compiled<T> = Result<T, CompileError>;

// === impl CompileError ===

impl CompileError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        CompileError {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The field asks for something that this proxy does not do.
    pub(super) fn unsupported(path: impl Into<String>) -> Self {
        CompileError::new(path, "not supported by this proxy")
    }

    pub(super) fn missing(path: impl Into<String>) -> Self {
        CompileError::new(path, "is needed")
    }

    pub(super) fn within(self, outer: &str) -> Self {
        let path = match (outer, self.path.as_str()) {
            ("", _) => self.path,
            (_, "") => outer.to_owned(),
            (_, path) => format!("{outer}.{path}"),
        };
        CompileError {
            path,
            message: self.message,
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for CompileError {}

/// Puts the place of the fault in front.
pub(super) trait Within<T> {
    fn within(self, outer: &str) -> Compiled<T>;
    fn at(self, list: &str, index: usize) -> Compiled<T>;
}

impl<T> Within<T> for Compiled<T> {
    fn within(self, outer: &str) -> Compiled<T> {
        self.map_err(|error| error.within(outer))
    }

    fn at(self, list: &str, index: usize) -> Compiled<T> {
        self.map_err(|error| error.within(&format!("{list}[{index}]")))
    }
}

/// Compiles the items of a repeated field.
pub(super) fn each<A, B>(list: &str, items: Vec<A>, mut compile: impl FnMut(A) -> Compiled<B>) -> Compiled<Vec<B>> {
    // Not collected: that would keep the allocation of the messages, which are larger by far.
    let mut compiled = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        compiled.push(compile(item).at(list, index)?);
    }
    Ok(compiled)
}

/// Refuses a message in which a field is left that nobody has taken.
pub(super) fn exhausted<M: Default + PartialEq + Debug>(rest: &M) -> Compiled<()> {
    match left(rest) {
        None => Ok(()),
        Some(fields) => Err(CompileError::unsupported(fields)),
    }
}

/// The names of the fields that nobody has taken.
pub(super) fn left<M: Default + PartialEq + Debug>(rest: &M) -> Option<String> {
    let untouched = M::default();
    if *rest == untouched {
        return None;
    }
    let fields = fields_of(rest);
    let default = fields_of(&untouched);
    let left: Vec<_> = fields
        .iter()
        .filter(|field| !default.contains(field))
        .map(|(name, _)| name.as_str())
        .collect();
    Some(left.join(", "))
}

/// Name and text of each field, from the pretty form of `Debug`: only ever made for what is refused or complained of.
fn fields_of(message: &impl Debug) -> Vec<(String, String)> {
    const INDENT: &str = "    ";
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in format!("{message:#?}").lines() {
        let top = line
            .strip_prefix(INDENT)
            .filter(|rest| rest.starts_with(|c: char| c.is_alphabetic()));
        match (top.and_then(|rest| rest.split_once(": ")), fields.last_mut()) {
            (Some((name, value)), _) => fields.push((name.trim_start_matches("r#").to_owned(), value.to_owned())),
            (None, Some((_, value))) => value.push_str(line),
            (None, None) => {}
        }
    }
    fields
}

/// Takes fields that change nothing here.
macro_rules! harmless {
    ($message:ident: $($field:ident),+ $(,)?) => {
        $(let _ = std::mem::take(&mut $message.$field);)+
    };
}
pub(super) use harmless;

#[cfg(test)]
mod tests {
    use super::*;
    use proto::envoy::envoy::config::cluster::v3::Cluster;
    use proto::envoy::envoy::config::core::v3::HealthCheck;

    #[test]
    fn what_is_left_over_is_named() {
        let mut cluster = Cluster {
            name: "a".into(),
            alt_stat_name: "b".into(),
            ..Default::default()
        };
        harmless!(cluster: name, alt_stat_name);
        assert_eq!(exhausted(&cluster), Ok(()));
        cluster.health_checks.push(HealthCheck::default());
        cluster.connection_pool_per_downstream_connection = true;
        let error = exhausted(&cluster).unwrap_err().within("x");
        assert_eq!(
            error.to_string(),
            "x.health_checks, connection_pool_per_downstream_connection: not supported by this proxy"
        );
    }
}
