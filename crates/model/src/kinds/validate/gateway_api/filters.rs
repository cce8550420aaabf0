//! Rules of filters: each has the field that its type names, and those that exclude one another are not together.

use super::super::Issues;
use super::super::common::optional_port;
use crate::kinds::gateway_api::{
    GrpcRouteFilter, HeaderFilter, HttpRouteFilter, HttpRouteRule, PathMatchType, PathModifier, PathModifierType,
    RequestMirrorFilter, RequestRedirectFilter,
};

/// With which the API can redirect.
const REDIRECT_CODES: &[u32] = &[301, 302, 303, 307, 308];

pub(super) fn of_rule(path: &str, rule: &HttpRouteRule, issues: &mut Issues) {
    list(path, &rule.filters, issues);
    let has = |name: &str| rule.filters.iter().any(|filter| filter.type_ == name);
    if has("RequestRedirect") && has("URLRewrite") {
        let text = "a request is redirected or rewritten, not both";
        issues.error(
            format!("{path}.filters"),
            text,
            "keep one of RequestRedirect and URLRewrite",
        );
    }
    if has("RequestRedirect") && !rule.backend_refs.is_empty() {
        let text = "what is redirected is sent nowhere";
        issues.error(
            format!("{path}.backendRefs"),
            text,
            "remove them, or the RequestRedirect filter",
        );
    }
    for (index, filter) in rule.filters.iter().enumerate() {
        let modified = filter
            .request_redirect
            .iter()
            .filter_map(|redirect| redirect.path.as_ref());
        let rewritten = filter.url_rewrite.iter().filter_map(|rewrite| rewrite.path.as_ref());
        let prefix = modified
            .chain(rewritten)
            .any(|path| path.type_ == PathModifierType::ReplacePrefixMatch);
        let only_prefixes = rule
            .matches
            .iter()
            .all(|wanted| wanted.path.type_ == PathMatchType::PathPrefix);
        if prefix && !only_prefixes {
            let text = "ReplacePrefixMatch needs a PathPrefix in every match of its rule";
            let way_out = "match by PathPrefix, or use ReplaceFullPath";
            issues.error(format!("{path}.filters[{index}]"), text, way_out);
        }
    }
}

pub(super) fn list(path: &str, filters: &[HttpRouteFilter], issues: &mut Issues) {
    for (index, filter) in filters.iter().enumerate() {
        let at = format!("{path}.filters[{index}]");
        let given = [
            ("RequestHeaderModifier", filter.request_header_modifier.is_some()),
            ("ResponseHeaderModifier", filter.response_header_modifier.is_some()),
            ("RequestMirror", filter.request_mirror.is_some()),
            ("RequestRedirect", filter.request_redirect.is_some()),
            ("URLRewrite", filter.url_rewrite.is_some()),
            ("CORS", filter.cors.is_some()),
            ("ExternalAuth", filter.external_auth.is_some()),
            ("ExtensionRef", filter.extension_ref.is_some()),
        ];
        of_type(&at, &filter.type_, &given, issues);
        let repeats = filters[..index].iter().any(|other| other.type_ == filter.type_);
        if repeats && !["RequestMirror", "ExtensionRef"].contains(&filter.type_.as_str()) {
            let rule = format!("there are two {} filters", filter.type_);
            issues.error(&at, rule, "join them");
        }
        let modifiers = [&filter.request_header_modifier, &filter.response_header_modifier];
        of_every_protocol(&at, modifiers, filter.request_mirror.as_ref(), issues);
        if let Some(target) = &filter.request_redirect {
            redirect(&format!("{at}.requestRedirect"), target, issues);
        }
        if let Some(path) = filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()) {
            path_modifier(&format!("{at}.urlRewrite.path"), path, issues);
        }
    }
}

pub(super) fn grpc_list(path: &str, filters: &[GrpcRouteFilter], issues: &mut Issues) {
    for (index, filter) in filters.iter().enumerate() {
        let at = format!("{path}.filters[{index}]");
        let given = [
            ("RequestHeaderModifier", filter.request_header_modifier.is_some()),
            ("ResponseHeaderModifier", filter.response_header_modifier.is_some()),
            ("RequestMirror", filter.request_mirror.is_some()),
            ("ExtensionRef", filter.extension_ref.is_some()),
        ];
        of_type(&at, &filter.type_, &given, issues);
        let modifiers = [&filter.request_header_modifier, &filter.response_header_modifier];
        of_every_protocol(&at, modifiers, filter.request_mirror.as_ref(), issues);
    }
}

/// What routes of HTTP and of gRPC have alike. `modifiers`: of requests, of responses.
fn of_every_protocol(
    at: &str,
    modifiers: [&Option<HeaderFilter>; 2],
    target: Option<&RequestMirrorFilter>,
    issues: &mut Issues,
) {
    let [request, response] = modifiers.map(Option::as_ref);
    headers(&format!("{at}.requestHeaderModifier"), request, issues);
    headers(&format!("{at}.responseHeaderModifier"), response, issues);
    if let Some(target) = target {
        mirror(&format!("{at}.requestMirror"), target, issues);
    }
}

/// The field of the type is there, and no other.
fn of_type(path: &str, type_: &str, given: &[(&str, bool)], issues: &mut Issues) {
    let known = given.iter().any(|(name, _)| *name == type_);
    if !known {
        let names: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        let rule = format!("{type_:?} is no type of a filter");
        issues.error(format!("{path}.type"), rule, format!("use one of {}", names.join(", ")));
    }
    for (name, is_given) in given.iter().filter(|_| known) {
        match (*name == type_, *is_given) {
            (true, false) => {
                let rule = format!("a filter of type {name} needs the field of that name");
                issues.error(path, rule, "add it");
            }
            (false, true) => {
                let rule = format!("a filter of type {type_} has no settings of {name}");
                issues.error(path, rule, "make two filters of it");
            }
            _ => {}
        }
    }
}

fn headers(path: &str, filter: Option<&HeaderFilter>, issues: &mut Issues) {
    let Some(filter) = filter else { return };
    for (list, pairs) in [("set", &filter.set), ("add", &filter.add)] {
        for (index, pair) in pairs.iter().enumerate() {
            let at = format!("{path}.{list}[{index}].name");
            if pair.name.is_empty() {
                issues.error(&at, "a header has a name", "name it");
            }
            if pairs[..index]
                .iter()
                .any(|other| other.name.eq_ignore_ascii_case(&pair.name))
            {
                let rule = format!("{} is listed twice", pair.name);
                issues.error(at, rule, "keep one of the two");
            }
        }
    }
}

fn mirror(path: &str, mirror: &RequestMirrorFilter, issues: &mut Issues) {
    super::routes::backend(
        &format!("{path}.backendRef"),
        &mirror.backend_ref.name,
        mirror.backend_ref.port,
        None,
        issues,
    );
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        issues.error(path, "percent and fraction exclude one another", "keep one of them");
    }
    if mirror.percent.is_some_and(|percent| percent > 100) {
        issues.error(format!("{path}.percent"), "a share is at most 100", "write 0 to 100");
    }
    if let Some(fraction) = mirror.fraction
        && (fraction.denominator == 0 || fraction.numerator > fraction.denominator)
    {
        let rule = "a share is at most the whole";
        issues.error(
            format!("{path}.fraction"),
            rule,
            "make numerator at most denominator, and that not 0",
        );
    }
}

fn redirect(path: &str, redirect: &RequestRedirectFilter, issues: &mut Issues) {
    if !["", "http", "https"].contains(&redirect.scheme.as_str()) {
        let rule = format!("{:?} is no scheme to redirect to", redirect.scheme);
        issues.error(format!("{path}.scheme"), rule, "use http or https");
    }
    if let Some(code) = redirect.status_code.filter(|code| !REDIRECT_CODES.contains(code)) {
        let rule = format!("{code} is no redirect");
        issues.error(format!("{path}.statusCode"), rule, "use 301, 302, 303, 307 or 308");
    }
    optional_port(&format!("{path}.port"), redirect.port.unwrap_or(0), issues);
    if let Some(modifier) = &redirect.path {
        path_modifier(&format!("{path}.path"), modifier, issues);
    }
}

fn path_modifier(path: &str, modifier: &PathModifier, issues: &mut Issues) {
    let (full, prefix) = (&modifier.replace_full_path, &modifier.replace_prefix_match);
    let right = match modifier.type_ {
        PathModifierType::ReplaceFullPath => full.is_some() && prefix.is_none(),
        PathModifierType::ReplacePrefixMatch => prefix.is_some() && full.is_none(),
    };
    if !right {
        let rule = "it has one field: replaceFullPath or replacePrefixMatch, as its type says";
        issues.error(path, rule, "add that one, remove the other");
    }
}
