//! Answers the proxy gives itself: redirects and direct responses.

use base64::Engine;
use model::kinds::{HttpDirectResponse, HttpRedirect, RedirectPort};

use crate::pb::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use crate::pb::{core, route};

use super::MAX_DIRECT_BODY;
use super::rules::Refused;

pub(super) fn redirect(target: &HttpRedirect) -> Result<route::RedirectAction, Refused> {
    let response_code = match target.redirect_code {
        0 | 301 => RedirectResponseCode::MovedPermanently,
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        code => {
            return Err(Refused::new(
                format!("redirectCode {code} is no redirect"),
                "use 301, 302, 303, 307 or 308",
            ));
        }
    };
    for part in [&target.authority, &target.uri, &target.scheme] {
        super::headers::check_value(part)?;
    }
    let scheme = (!target.scheme.is_empty()).then(|| SchemeRewriteSpecifier::SchemeRedirect(target.scheme.clone()));
    Ok(route::RedirectAction {
        host_redirect: target.authority.clone(),
        port_redirect: port(target),
        response_code: response_code.into(),
        scheme_rewrite_specifier: scheme,
        path_rewrite_specifier: path(&target.uri),
        ..Default::default()
    })
}

/// 0: the request's own.
fn port(target: &HttpRedirect) -> u32 {
    match (target.port, target.derive_port, target.scheme.as_str()) {
        (Some(port), _, _) => port,
        (None, Some(RedirectPort::FromProtocolDefault), "https") => 443,
        (None, Some(RedirectPort::FromProtocolDefault), "http") => 80,
        _ => 0,
    }
}

/// `%PREFIX()%/new` replaces the matched prefix, anything else the whole path.
fn path(uri: &str) -> Option<PathRewriteSpecifier> {
    match uri.strip_prefix("%PREFIX()%") {
        _ if uri.is_empty() => None,
        Some(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_owned())),
        None => Some(PathRewriteSpecifier::PathRedirect(uri.to_owned())),
    }
}

pub(super) fn direct_response(answer: &HttpDirectResponse) -> Result<route::DirectResponseAction, Refused> {
    if !(200..600).contains(&answer.status) {
        let rule = format!("directResponse.status {} is not an HTTP status", answer.status);
        return Err(Refused::new(rule, "use 200 to 599"));
    }
    let body = match &answer.body {
        None => None,
        Some(body) => match (&body.string, &body.bytes) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(encoded)) => Some(decode(encoded)?),
            (None, None) => None,
        },
    };
    if body.as_ref().is_some_and(|body| body.len() > MAX_DIRECT_BODY as usize) {
        return Err(Refused::new(
            "the body of directResponse is larger than 1 MiB",
            "serve it from a workload",
        ));
    }
    Ok(route::DirectResponseAction {
        status: answer.status,
        body: body.map(|body| core::DataSource {
            specifier: Some(match String::from_utf8(body) {
                Ok(text) => core::data_source::Specifier::InlineString(text),
                Err(bytes) => core::data_source::Specifier::InlineBytes(bytes.into_bytes()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn decode(encoded: &str) -> Result<Vec<u8>, Refused> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
    decoded.map_err(|_| Refused::new("directResponse.body.bytes is not base64", "encode it, or use string"))
}
