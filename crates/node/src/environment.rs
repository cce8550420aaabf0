//! The process's environment, read once: what follows is a function of it and can be tested as one.

use std::collections::BTreeMap;

/// Environment variables by name. One that is set to nothing counts as not set, as templates often write it.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A flag if it was given, else the variable, else `otherwise`.
    pub fn choose<'a>(&'a self, flag: Option<&'a str>, variable: &str, otherwise: &'a str) -> &'a str {
        flag.or_else(|| self.get(variable)).unwrap_or(otherwise)
    }

    /// Variables whose names begin with `prefix`, as (rest of the name, value), in order of name.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(move |(name, value)| (&name[prefix.len()..], value.as_str()))
            .filter(|(rest, _)| !rest.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Environment(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_unset_and_prefixes_are_cut() {
        let env: Environment = [("A", ""), ("P_", "x"), ("P_B", "1"), ("P_C", ""), ("Q", "2")]
            .into_iter()
            .collect();
        assert_eq!(env.get("A"), None);
        assert_eq!(env.get("Q"), Some("2"));
        assert_eq!(
            [
                env.choose(Some("f"), "Q", "d"),
                env.choose(None, "Q", "d"),
                env.choose(None, "A", "d")
            ],
            ["f", "2", "d"]
        );
        assert_eq!(env.with_prefix("P_").collect::<Vec<_>>(), [("B", "1"), ("C", "")]);
    }
}
