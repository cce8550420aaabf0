//! What each field does today, in one place.
//!
//! The tables are data: a field whose effect is built moves from one list to another, and the compatibility page, the
//! warnings users see and the tests follow. A field is named by the message that holds it. Below a field without effect
//! nothing has one, so messages that only occur there need no entry. Tests hold that every other field of every kind is in
//! exactly one list, and that no list names a field that is gone.

mod envoy_filter;
mod gateway_api;
mod mesh;
mod page;
mod proxy_config;
mod security;
mod traffic;

pub use page::compatibility_page;

/// What a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// With our own proxy and with Envoy.
    Works,
    /// Only with Envoy as the data plane.
    EnvoyOnly,
    /// Read, checked and reported; without effect.
    Unsupported,
}

/// The fields of one message by their status.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub name: &'static str,
    pub works: &'static [&'static str],
    pub envoy_only: &'static [&'static str],
    pub unsupported: &'static [&'static str],
    /// What a status alone does not say, by field.
    pub notes: &'static [(&'static str, &'static str)],
}

impl Message {
    const EMPTY: Message = Message {
        name: "",
        works: &[],
        envoy_only: &[],
        unsupported: &[],
        notes: &[],
    };

    fn status(&self, field: &str) -> Option<Status> {
        if self.works.contains(&field) {
            Some(Status::Works)
        } else if self.envoy_only.contains(&field) {
            Some(Status::EnvoyOnly)
        } else if self.unsupported.contains(&field) {
            Some(Status::Unsupported)
        } else {
            None
        }
    }
}

/// Every table.
pub fn messages() -> impl Iterator<Item = &'static Message> {
    [
        traffic::MESSAGES,
        envoy_filter::MESSAGES,
        proxy_config::MESSAGES,
        security::MESSAGES,
        mesh::MESSAGES,
        gateway_api::MESSAGES,
    ]
    .into_iter()
    .flatten()
}

/// Status and note of a field; `None` only where a table is incomplete (which a test forbids) or below a field that is
/// unsupported as a whole.
pub fn of(message: &str, field: &str) -> Option<(Status, &'static str)> {
    let entry = messages().find(|entry| entry.name == message)?;
    let note = entry
        .notes
        .iter()
        .find(|(name, _)| *name == field)
        .map_or("", |(_, note)| *note);
    entry.status(field).map(|status| (status, note))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::kinds::catalog;

    /// Every (message, field) of every kind.
    fn all_fields() -> BTreeMap<(&'static str, &'static str), Vec<String>> {
        let mut fields: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (kind, shape) in catalog::shapes() {
            shape.fields(&mut |path, message, field, _| {
                fields
                    .entry((message, field))
                    .or_default()
                    .push(format!("{kind} {path}"));
                true
            });
        }
        fields
    }

    #[test]
    fn every_field_has_a_status() {
        let mut missing = Vec::new();
        let whole = |kind: &&str| catalog::by_kind(kind).is_some_and(|entry| entry.effect != catalog::Effect::Works);
        for (kind, shape) in catalog::shapes().into_iter().filter(|(kind, _)| !whole(kind)) {
            shape.fields(&mut |path, message, field, _| match of(message, field) {
                Some((status, _)) => status != Status::Unsupported,
                None => {
                    missing.push(format!("{kind} {path} ({message}.{field})"));
                    false
                }
            });
        }
        assert!(missing.is_empty(), "without a status in kinds/status: {missing:#?}");
    }

    #[test]
    fn no_table_names_a_field_twice_or_one_that_is_gone() {
        let known = all_fields();
        let mut names = BTreeSet::new();
        for message in messages() {
            assert!(names.insert(message.name), "{} has two tables", message.name);
            let mut seen = BTreeSet::new();
            for field in message
                .works
                .iter()
                .chain(message.envoy_only)
                .chain(message.unsupported)
            {
                assert!(seen.insert(field), "{}.{field} has two statuses", message.name);
                assert!(
                    known.contains_key(&(message.name, field)),
                    "{}.{field} does not exist",
                    message.name
                );
            }
            for (field, _) in message.notes {
                assert!(
                    seen.contains(field),
                    "{}.{field} has a note and no status",
                    message.name
                );
            }
        }
    }
}
