//! Lists of named filters: of a listener, of a chain, of a connection manager.

use model::mesh::EnvoyOperation;
use prost::Message;
use proto::envoy::google::protobuf::Any;

use super::{Applied, merge};
use crate::Notes;
use crate::pb::hcm::{HttpFilter, http_filter};
use crate::pb::listener::{Filter, ListenerFilter, filter, listener_filter};

/// A filter with a name and settings.
pub(super) trait Named: Message + Default + Clone {
    fn name(&self) -> &str;
    fn settings(&self) -> Option<&Any>;
    /// Takes over a value: its name, its settings merged into those that are there. `false`: they are of another type.
    fn merge_with(&mut self, value: Self) -> bool;
    /// Whether nothing may come after it.
    fn is_last(&self) -> bool;
}

/// Types that end a chain of network filters.
const ENDS: &[&str] = &[
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
    "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
    "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy",
    "envoy.extensions.filters.network.direct_response.v3.Config",
    "envoy.extensions.filters.network.echo.v3.Echo",
];
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

pub(super) fn type_of(settings: Option<&Any>) -> &str {
    settings
        .and_then(|any| any.type_url.rsplit('/').next())
        .unwrap_or_default()
}

/// Applies a patch that is not a merge. `wanted`: the name by which filters are matched, if they are.
pub(super) fn apply<F: Named>(
    list: &mut Vec<F>,
    applied: &Applied<'_>,
    wanted: Option<&str>,
    notes: &mut Notes,
) -> bool {
    let Ok(value) = F::decode(applied.patch.value.as_slice()) else {
        return false;
    };
    place(list, applied, value, wanted, notes)
}

/// The same with a value that has been decoded.
pub(super) fn place<F: Named>(
    list: &mut Vec<F>,
    applied: &Applied<'_>,
    value: F,
    wanted: Option<&str>,
    notes: &mut Notes,
) -> bool {
    let end = list
        .iter()
        .position(Named::is_last)
        .filter(|_| !value.is_last())
        .unwrap_or(list.len());
    let found = |list: &[F]| wanted.and_then(|name| list.iter().position(|filter| filter.name() == name));
    let index = match (applied.patch.operation, wanted) {
        (EnvoyOperation::Add | EnvoyOperation::Last, _) | (EnvoyOperation::After, None) => Some(end),
        (EnvoyOperation::First, _) | (EnvoyOperation::Before, None) => Some(0),
        (EnvoyOperation::Before, Some(_)) => found(list),
        (EnvoyOperation::After, Some(_)) => found(list).map(|index| index + 1),
        (EnvoyOperation::Replace, Some(_)) => {
            let index = found(list);
            return replace(list, applied, value, index, notes);
        }
        (EnvoyOperation::Remove, Some(name)) => return remove(list, applied, name, notes),
        _ => None,
    };
    let Some(index) = index else { return false };
    if !applied.starts(notes) {
        return false;
    }
    list.insert(index.min(end), value);
    true
}

fn replace<F: Named>(list: &mut [F], applied: &Applied<'_>, value: F, index: Option<usize>, notes: &mut Notes) -> bool {
    let Some(index) = index else { return false };
    if !applied.starts(notes) {
        return false;
    }
    list[index] = value;
    true
}

fn remove<F: Named>(list: &mut Vec<F>, applied: &Applied<'_>, name: &str, notes: &mut Notes) -> bool {
    if !list.iter().any(|filter| filter.name() == name) || !applied.starts(notes) {
        return false;
    }
    let ends = list.iter().any(|filter| filter.is_last() && filter.name() == name);
    if ends && list.iter().any(|filter| filter.name() != name) {
        let rule = format!("{name} is not removed: without it the others would lead nowhere");
        applied.report(notes, &rule, "use REPLACE, or REMOVE the chain");
        return false;
    }
    list.retain(|filter| filter.name() != name);
    true
}

/// Applies a merge to one filter.
pub(super) fn merge<F: Named>(target: &mut F, applied: &Applied<'_>, notes: &mut Notes) -> bool {
    let Ok(value) = F::decode(applied.patch.value.as_slice()) else {
        return false;
    };
    if !applied.starts(notes) {
        return false;
    }
    let (has, given) = (
        type_of(target.settings()).to_owned(),
        type_of(value.settings()).to_owned(),
    );
    let done = target.merge_with(value);
    if !done {
        let rule = format!("{} is a {has}, and a {given} cannot be merged into it", target.name());
        applied.report(notes, &rule, "give settings of the same type, or use REPLACE");
    }
    done
}

/// Settings merged where both are given.
fn settle(target: Option<&mut Any>, value: Option<&Any>) -> bool {
    match (target, value) {
        (_, None) => true,
        (Some(target), Some(value)) => merge::any(target, value),
        (None, Some(_)) => false,
    }
}

macro_rules! named {
    ($filter:ty, $kind:path, |$target:ident, $value:ident| $rest:expr, $is_last:expr) => {
        impl Named for $filter {
            fn name(&self) -> &str {
                &self.name
            }

            fn settings(&self) -> Option<&Any> {
                match &self.config_type {
                    Some($kind(any)) => Some(any),
                    _ => None,
                }
            }

            fn merge_with(&mut self, $value: Self) -> bool {
                let target = match &mut self.config_type {
                    Some($kind(any)) => Some(any),
                    _ => None,
                };
                if !settle(target, $value.settings()) {
                    return false;
                }
                let $target = self;
                $rest;
                if !$value.name.is_empty() {
                    $target.name = $value.name;
                }
                true
            }

            fn is_last(&self) -> bool {
                $is_last(type_of(self.settings()))
            }
        }
    };
}

named!(Filter, filter::ConfigType::TypedConfig, |target, value| {}, |name| ENDS
    .contains(&name));
named!(
    ListenerFilter,
    listener_filter::ConfigType::TypedConfig,
    |target, value| {
        if value.filter_disabled.is_some() {
            target.filter_disabled = value.filter_disabled.clone();
        }
    },
    |_| false
);
named!(
    HttpFilter,
    http_filter::ConfigType::TypedConfig,
    |target, value| {
        target.disabled |= value.disabled;
        target.is_optional |= value.is_optional;
    },
    |name| name == ROUTER
);
