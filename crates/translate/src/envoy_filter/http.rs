//! Patches inside a connection manager: of its filters, and of routes that are part of it.

use model::kinds::{ApplyTo, FilterClass};
use model::mesh::{EnvoyOperation, ListenerTarget};
use prost::Message;
use proto::envoy::google::protobuf::Any;

use super::filters::{self, Named, type_of};
use super::listener::Work;
use super::matching::network_filter;
use super::{Applied, order, route};
use crate::Notes;
use crate::pb::core::TypedExtensionConfig;
use crate::pb::hcm::http_connection_manager::RouteSpecifier;
use crate::pb::hcm::{HttpConnectionManager, HttpFilter, http_filter};
use crate::pb::listener::{Filter, filter};

type Wanted<'s, 'a> = (&'s Applied<'a>, Option<&'s ListenerTarget>);

/// Whether anything changed.
pub(super) fn manager(work: &Work<'_, '_>, patches: &[Wanted<'_, '_>], filter: &mut Filter, notes: &mut Notes) -> bool {
    let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        return false;
    };
    let Ok(mut manager) = HttpConnectionManager::decode(any.value.as_slice()) else {
        return false;
    };
    let meant = |wanted: Option<&ListenerTarget>| {
        wanted
            .and_then(network_filter)
            .is_none_or(|wanted| wanted.name.is_empty() || wanted.name == filter.name)
    };
    let patches: Vec<_> = patches.iter().filter(|(_, wanted)| meant(*wanted)).collect();
    let mut changed = false;
    for (applied, wanted) in patches
        .iter()
        .filter(|(applied, _)| !applied.patch.operation.is_merge())
    {
        changed |= change(work, &mut manager.http_filters, applied, sub_filter(*wanted), notes);
    }
    for (applied, wanted) in patches
        .iter()
        .filter(|(applied, _)| applied.patch.operation == EnvoyOperation::Merge)
    {
        let name = sub_filter(*wanted);
        for target in manager
            .http_filters
            .iter_mut()
            .filter(|filter| name.is_none_or(|name| filter.name == name))
        {
            // A merge without settings may be meant for all; one with settings is for those of its type.
            if name.is_some() || has_type_of(target, applied) {
                changed |= filters::merge(target, applied, notes);
            }
        }
    }
    if let Some(RouteSpecifier::RouteConfig(routes)) = &mut manager.route_specifier {
        changed |= route::patch_on(work.scope, work.context, routes, notes);
    }
    if changed {
        any.value = order::encode(&manager);
    }
    changed
}

fn sub_filter(wanted: Option<&ListenerTarget>) -> Option<&str> {
    network_filter(wanted?)?
        .sub_filter
        .as_ref()
        .map(|sub| sub.name.as_str())
}

fn has_type_of(target: &HttpFilter, applied: &Applied<'_>) -> bool {
    let value = HttpFilter::decode(applied.patch.value.as_slice()).unwrap_or_default();
    value.config_type.is_none() || type_of(value.settings()) == type_of(target.settings())
}

fn change(
    work: &Work<'_, '_>,
    list: &mut Vec<HttpFilter>,
    applied: &Applied<'_>,
    wanted: Option<&str>,
    notes: &mut Notes,
) -> bool {
    let Ok(mut value) = HttpFilter::decode(applied.patch.value.as_slice()) else {
        return false;
    };
    if matches!(value.config_type, Some(http_filter::ConfigType::ConfigDiscovery(_))) {
        match extension(work, &value.name) {
            Some(config) => value.config_type = Some(http_filter::ConfigType::TypedConfig(config)),
            None => {
                let rule = format!(
                    "filter {:?} is not added: no EXTENSION_CONFIG of this name is for the proxy",
                    value.name
                );
                applied.report(
                    notes,
                    &rule,
                    "ADD one with applyTo: EXTENSION_CONFIG, or write typed_config",
                );
                return false;
            }
        }
    }
    match applied.patch.class {
        class if class != FilterClass::Unspecified && applied.patch.operation == EnvoyOperation::Add => {
            if !applied.starts(notes) {
                return false;
            }
            let index = place_of(class, list);
            list.insert(index, value);
            true
        }
        _ => filters::place(list, applied, value, wanted, notes),
    }
}

/// The configuration that an EXTENSION_CONFIG gives to this name.
fn extension(work: &Work<'_, '_>, name: &str) -> Option<Any> {
    let adding = work
        .scope
        .patches()
        .to(ApplyTo::ExtensionConfig)
        .filter(|applied| applied.fits(work.context));
    let configs = adding.filter_map(|applied| TypedExtensionConfig::decode(applied.patch.value.as_slice()).ok());
    configs.filter(|config| config.name == name).last()?.typed_config
}

const AUTHENTICATES: &[&str] = &["envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"];
const AUTHORIZES: &[&str] = &[
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
];

/// First it is known who asks, then whether he may, then it is counted.
fn place_of(class: FilterClass, list: &[HttpFilter]) -> usize {
    let end = list.iter().position(Named::is_last).unwrap_or(list.len());
    let is = |types: &'static [&'static str]| move |filter: &HttpFilter| types.contains(&type_of(filter.settings()));
    match class {
        FilterClass::Authn => list
            .iter()
            .position(is(AUTHORIZES))
            .unwrap_or_else(|| after(list, is(AUTHENTICATES)).min(end)),
        FilterClass::Authz => after(list, is(AUTHORIZES)).max(after(list, is(AUTHENTICATES))).min(end),
        FilterClass::Stats | FilterClass::Unspecified => end,
    }
}

/// The place after the last filter of a kind; the first if there is none.
fn after(list: &[HttpFilter], is: impl FnMut(&HttpFilter) -> bool) -> usize {
    list.iter().rposition(is).map_or(0, |index| index + 1)
}
