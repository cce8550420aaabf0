//! What a proxy asked for, of one type.

use std::collections::BTreeSet;
use std::sync::Arc;

const WILDCARD: &str = "*";

/// A set of names, a wildcard, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<Arc<str>>,
    /// A name was given at some time: from then on an empty list means "nothing" and no longer "everything".
    named: bool,
}

/// The difference that a request makes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Names asked for that were not asked for before, or (delta) asked for once more.
    pub(super) added: Vec<Arc<str>>,
    pub(super) dropped: Vec<Arc<str>>,
    /// The wildcard was newly asked for.
    pub(super) wildcard: bool,
    /// The wildcard is no longer asked for.
    pub(super) narrowed: bool,
}

impl Subscription {
    /// A state-of-the-world request always carries the complete list.
    pub(super) fn replace(&mut self, names: &[String], whole_set: bool) -> Changes {
        let had_wildcard = self.wildcard;
        self.named |= !names.is_empty();
        self.wildcard = names.iter().any(|n| n == WILDCARD) || (whole_set && !self.named);
        let wanted: BTreeSet<Arc<str>> = plain(names).collect();
        let changes = Changes {
            added: wanted.difference(&self.names).cloned().collect(),
            dropped: self.names.difference(&wanted).cloned().collect(),
            wildcard: self.wildcard && !had_wildcard,
            narrowed: had_wildcard && !self.wildcard,
        };
        self.names = wanted;
        changes
    }

    /// A delta request carries what to add and what to drop. The first one of a whole-set type without names is a wildcard.
    pub(super) fn amend(
        &mut self,
        subscribe: &[String],
        unsubscribe: &[String],
        first: bool,
        whole_set: bool,
    ) -> Changes {
        let had_wildcard = self.wildcard;
        if subscribe.iter().any(|n| n == WILDCARD) || (first && whole_set && subscribe.is_empty()) {
            self.wildcard = true;
        }
        if unsubscribe.iter().any(|n| n == WILDCARD) {
            self.wildcard = false;
        }
        let dropped = plain(unsubscribe).filter(|name| self.names.remove(name)).collect();
        let added: Vec<Arc<str>> = plain(subscribe).collect();
        self.names.extend(added.iter().cloned());
        self.named |= !self.names.is_empty();
        Changes {
            added,
            dropped,
            wildcard: self.wildcard && !had_wildcard,
            narrowed: had_wildcard && !self.wildcard,
        }
    }
}

// === impl Changes ===

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty() && !self.wildcard && !self.narrowed
    }
}

fn plain(names: &[String]) -> impl Iterator<Item = Arc<str>> + '_ {
    names.iter().filter(|n| *n != WILDCARD).map(|n| n.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn show(subscription: &Subscription) -> String {
        let mut names: Vec<&str> = subscription.names.iter().map(|n| &**n).collect();
        names.sort_unstable();
        if subscription.wildcard {
            names.insert(0, "*");
        }
        names.join(" ")
    }

    #[test]
    fn complete_lists() {
        // Successive requests of one type, and what is then subscribed.
        let cases: &[(bool, &[(&str, &str)])] = &[
            (true, &[("", "*"), ("", "*"), ("a", "a"), ("", "")]),
            (true, &[("* a", "* a"), ("a", "a")]),
            (true, &[("a", "a"), ("*", "*")]),
            (false, &[("", ""), ("a b", "a b"), ("b", "b")]),
        ];
        for (whole_set, requests) in cases {
            let mut subscription = Subscription::default();
            for (names, expected) in *requests {
                subscription.replace(&list(names), *whole_set);
                assert_eq!(show(&subscription), *expected, "{requests:?}");
            }
        }
    }

    #[test]
    fn amendments() {
        type Amendment = (&'static str, &'static str, &'static str);
        let cases: &[(bool, &[Amendment])] = &[
            (true, &[("", "", "*"), ("a", "", "* a"), ("", "*", "a"), ("", "a", "")]),
            (true, &[("a", "", "a"), ("*", "", "* a")]),
            (false, &[("", "", ""), ("a b", "", "a b"), ("c", "a", "b c")]),
        ];
        for (whole_set, requests) in cases {
            let mut subscription = Subscription::default();
            for (i, (subscribe, unsubscribe, expected)) in requests.iter().enumerate() {
                subscription.amend(&list(subscribe), &list(unsubscribe), i == 0, *whole_set);
                assert_eq!(show(&subscription), *expected, "{requests:?}");
            }
        }
    }
}
