//! What our own proxy cannot do yet, taken out of what it is sent.
//!
//! It refuses a resource with a field it does not know, so that nothing is silently without effect. Users are told of these
//! fields where they write them (`model::kinds::status`); sending them all the same would cost the whole route.

use crate::pb::route;
use crate::pb::route::route::Action;

/// Retries in other localities.
pub(crate) fn route(made: &mut route::Route) {
    if let Some(Action::Route(action)) = &mut made.action
        && let Some(policy) = &mut action.retry_policy
    {
        policy.retry_priority = None;
    }
}
