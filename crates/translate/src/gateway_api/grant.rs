//! Whether a reference into another namespace is allowed: by a ReferenceGrant there, and only by one.

use model::kinds::gateway_api::GROUP;

use super::index::Index;

/// The object that is referred to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// `from_kind` is a kind of the API's group.
pub(super) fn allows(index: &Index<'_>, from_kind: &str, from_namespace: &str, to: Target<'_>) -> bool {
    if from_namespace == to.namespace {
        return true;
    }
    let there = index
        .input
        .grants
        .iter()
        .filter(|grant| grant.namespace() == to.namespace);
    there.map(|grant| &grant.spec).any(|grant| {
        let from = grant
            .from
            .iter()
            .any(|from| (&*from.group, &*from.kind, &*from.namespace) == (GROUP, from_kind, from_namespace));
        let target = grant.to.iter().any(|allowed| {
            (&*allowed.group, &*allowed.kind) == (to.group, to.kind)
                && (allowed.name.is_empty() || allowed.name == to.name)
        });
        from && target
    })
}
