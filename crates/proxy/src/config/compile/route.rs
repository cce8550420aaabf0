//! One route.

use std::mem::take;
use std::sync::Arc;

use proto::envoy::envoy::config::route::v3::{
    Decorator, DirectResponseAction, RedirectAction, Route as Message, redirect_action as redirect,
    route::Action as ActionMessage,
};

use super::error::{CompileError, Compiled, Within, exhausted, harmless};
use super::headers::operations;
use super::matching::route_match;
use super::per_filter::{self, PerFilter};
use super::route_action::route_action;
use super::text::substitution;
use super::value::{data, flag, port_number};
use super::{Context, mesh_metadata};
use crate::config::{Action, DirectResponse, PathRewrite, Redirect, RetryPolicy, Route};
use crate::trace::Operation;

/// What a virtual host lays down for its routes.
pub(super) struct Defaults {
    pub(super) filters: PerFilter,
    pub(super) retry: Option<Arc<RetryPolicy>>,
}

/// Larger answers belong to a server.
const MAX_BODY: usize = 64 << 10;

pub(super) fn route(mut message: Message, defaults: &Defaults, context: &Context) -> Compiled<Route> {
    harmless!(message: stat_prefix, per_request_buffer_limit_bytes, request_body_buffer_limit);
    let mut filters = per_filter::compile(take(&mut message.typed_per_filter_config))?;
    let matches = take(&mut message.r#match).ok_or_else(|| CompileError::missing("match"))?;
    let action = match take(&mut message.action) {
        Some(ActionMessage::Route(action)) => {
            let (action, cors) = route_action(action, defaults, context).within("route")?;
            filters.cors = filters.cors.or(cors);
            Action::Forward(Box::new(action))
        }
        Some(ActionMessage::Redirect(message)) => Action::Redirect(redirect(message).within("redirect")?),
        Some(ActionMessage::DirectResponse(message)) => Action::Direct(direct(message).within("direct_response")?),
        Some(ActionMessage::FilterAction(_)) => return Err(CompileError::unsupported("filter_action")),
        Some(ActionMessage::NonForwardingAction(_)) => return Err(CompileError::unsupported("non_forwarding_action")),
        None => return Err(CompileError::missing("action")),
    };
    let filters = filters.or(&defaults.filters);
    let metadata = take(&mut message.metadata);
    let (origin, rule) = mesh_metadata::origin(metadata.as_ref());
    let compiled = Route {
        name: context.texts.get(&take(&mut message.name)),
        matches: route_match(matches).within("match")?,
        action,
        request_headers: operations(
            "request",
            take(&mut message.request_headers_to_add),
            take(&mut message.request_headers_to_remove),
        )?,
        response_headers: operations(
            "response",
            take(&mut message.response_headers_to_add),
            take(&mut message.response_headers_to_remove),
        )?,
        origin: context.texts.get(origin),
        rule: context.texts.get(rule),
        cors: filters.cors,
        fault: filters.fault,
        operation: take(&mut message.decorator).map(|decorator| operation(decorator, context)),
    };
    exhausted(&message)?;
    Ok(compiled)
}

fn operation(decorator: Decorator, context: &Context) -> Operation {
    Operation {
        name: context.texts.get(&decorator.operation),
        propagate: flag(decorator.propagate, true),
    }
}

fn redirect(mut message: RedirectAction) -> Compiled<Redirect> {
    use redirect::{PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier};
    let host = take(&mut message.host_redirect);
    let port = take(&mut message.port_redirect);
    let (https, scheme) = match take(&mut message.scheme_rewrite_specifier) {
        Some(SchemeRewriteSpecifier::HttpsRedirect(https)) => (https, None),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => (false, Some(scheme.into())),
        None => (false, None),
    };
    let (path, rewrite) = match take(&mut message.path_rewrite_specifier) {
        Some(PathRewriteSpecifier::PathRedirect(path)) => (Some(path.into()), PathRewrite::None),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => (None, PathRewrite::Prefix(prefix.into())),
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            let (pattern, substitution) = substitution(regex).within("regex_rewrite")?;
            (None, PathRewrite::Regex { pattern, substitution })
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => return Err(CompileError::unsupported("path_rewrite")),
        None => (None, PathRewrite::None),
    };
    let status = match Code::try_from(take(&mut message.response_code)) {
        Ok(Code::MovedPermanently) => 301,
        Ok(Code::Found) => 302,
        Ok(Code::SeeOther) => 303,
        Ok(Code::TemporaryRedirect) => 307,
        Ok(Code::PermanentRedirect) => 308,
        Err(_) => return Err(CompileError::unsupported("response_code")),
    };
    let strip_query = take(&mut message.strip_query);
    exhausted(&message)?;
    Ok(Redirect {
        https,
        scheme,
        host: (!host.is_empty()).then(|| host.into()),
        port: (port != 0).then(|| port_number(port)).transpose()?,
        path,
        rewrite,
        strip_query,
        status,
    })
}

fn direct(mut message: DirectResponseAction) -> Compiled<DirectResponse> {
    let status = take(&mut message.status);
    let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    let status = status.ok_or_else(|| CompileError::new("status", "is no status from 200 to 599"))?;
    let body = data(take(&mut message.body).unwrap_or_default()).within("body")?;
    if body.len() > MAX_BODY {
        return Err(CompileError::new(
            "body",
            format!("{} bytes; the limit is {MAX_BODY}", body.len()),
        ));
    }
    exhausted(&message)?;
    Ok(DirectResponse {
        status,
        body: body.into(),
    })
}
