//! Rules of the HTTP rules of a VirtualService.

use std::time::Duration;

use super::Issues;
use super::common::{
    duration, duration_or_zero, labels, optional_port, percent, port, presence_match, regex, string_match,
};
use super::virtual_service::{destination, weights};
use crate::kinds::{
    Abort, CorsPolicy, Delay, Headers, HttpDirectResponse, HttpFaultInjection, HttpMatchRequest, HttpRedirect,
    HttpRetry, HttpRewrite, HttpRoute, Percent, StringMatch,
};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

/// Codes with which a proxy can redirect.
const REDIRECT_CODES: &[u32] = &[0, 301, 302, 303, 307, 308];

pub(super) fn route(path: &str, route: &HttpRoute, issues: &mut Issues) {
    action(path, route, issues);
    for (index, condition) in route.match_.iter().enumerate() {
        match_request(&format!("{path}.match[{index}]"), condition, issues);
    }
    for (index, target) in route.route.iter().enumerate() {
        let path = format!("{path}.route[{index}]");
        destination(&format!("{path}.destination"), &target.destination, issues);
        headers(&format!("{path}.headers"), target.headers.as_ref(), issues);
    }
    weights(path, route.route.iter().map(|target| target.weight), issues);
    headers(&format!("{path}.headers"), route.headers.as_ref(), issues);
    duration_or_zero(&format!("{path}.timeout"), route.timeout, issues);
    if let Some(retries) = &route.retries {
        retry(&format!("{path}.retries"), retries, issues);
    }
    if let Some(injection) = &route.fault {
        fault(&format!("{path}.fault"), injection, issues);
    }
    if let Some(policy) = &route.cors_policy {
        cors(&format!("{path}.corsPolicy"), policy, issues);
    }
    mirrors(path, route, issues);
}

/// Every rule does one thing: route, redirect or answer.
fn action(path: &str, route: &HttpRoute, issues: &mut Issues) {
    let given = [
        ("route", !route.route.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("delegate", route.delegate.is_some()),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    match given.as_slice() {
        [_] => {}
        [] => issues.error(path, "the rule does nothing", "add route, redirect or directResponse"),
        several => issues.error(
            path,
            format!("{} exclude one another", several.join(" and ")),
            "keep one of them",
        ),
    }
    if route.rewrite.is_some() && (route.redirect.is_some() || route.direct_response.is_some()) {
        issues.error(
            format!("{path}.rewrite"),
            "only what is routed can be rewritten",
            "remove rewrite",
        );
    }
    if let Some(target) = &route.redirect {
        redirect(&format!("{path}.redirect"), target, issues);
    }
    if let Some(response) = &route.direct_response {
        direct_response(&format!("{path}.directResponse"), response, issues);
    }
    if let Some(change) = &route.rewrite {
        rewrite(&format!("{path}.rewrite"), change, issues);
    }
}

fn match_request(path: &str, condition: &HttpMatchRequest, issues: &mut Issues) {
    let texts = [
        ("uri", &condition.uri),
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            string_match(&format!("{path}.{field}"), text, issues);
        }
    }
    for (name, text) in &condition.headers {
        header_name(&format!("{path}.headers.{name}"), name, issues);
        presence_match(&format!("{path}.headers.{name}"), text, issues);
    }
    for (name, text) in &condition.without_headers {
        header_name(&format!("{path}.withoutHeaders.{name}"), name, issues);
        presence_match(&format!("{path}.withoutHeaders.{name}"), text, issues);
    }
    for (name, text) in &condition.query_params {
        let path = format!("{path}.queryParams.{name}");
        if matches!(text, StringMatch::Prefix(_)) {
            issues.error(
                &path,
                "query parameters cannot be matched by prefix",
                "use exact, or regex such as \"value.*\"",
            );
        }
        presence_match(&path, text, issues);
    }
    optional_port(&format!("{path}.port"), condition.port, issues);
    labels(&format!("{path}.sourceLabels"), &condition.source_labels, issues);
}

fn header_name(path: &str, name: &str, issues: &mut Issues) {
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    // Pseudo headers are matched by their own fields, and `:authority` and the like are let through for what Envoy allows.
    let body = name.strip_prefix(':').unwrap_or(name);
    if body.is_empty() || !body.bytes().all(token) {
        issues.error(
            path,
            format!("{name:?} is not the name of a header"),
            "write it as HTTP has it, such as x-user",
        );
    }
}

fn headers(path: &str, headers: Option<&Headers>, issues: &mut Issues) {
    let Some(headers) = headers else { return };
    for (side, operations) in [("request", &headers.request), ("response", &headers.response)] {
        let Some(operations) = operations else { continue };
        let names = operations.set.keys().map(|n| ("set", n));
        let names = names.chain(operations.add.keys().map(|n| ("add", n)));
        for (operation, name) in names.chain(operations.remove.iter().map(|n| ("remove", n))) {
            header_name(&format!("{path}.{side}.{operation}.{name}"), name, issues);
        }
    }
}

fn redirect(path: &str, target: &HttpRedirect, issues: &mut Issues) {
    if !REDIRECT_CODES.contains(&target.redirect_code) {
        issues.error(
            format!("{path}.redirectCode"),
            format!("{} is not a code to redirect with", target.redirect_code),
            "write 301, 302, 303, 307 or 308",
        );
    }
    if !matches!(target.scheme.as_str(), "" | "http" | "https") {
        issues.error(
            format!("{path}.scheme"),
            format!("{:?} is not a scheme", target.scheme),
            "write http or https",
        );
    }
    if target.port.is_some() && target.derive_port.is_some() {
        issues.error(path, "port and derivePort exclude one another", "keep one of them");
    }
    if let Some(number) = target.port {
        port(&format!("{path}.port"), number, issues);
    }
}

fn direct_response(path: &str, response: &HttpDirectResponse, issues: &mut Issues) {
    if !(200..600).contains(&response.status) {
        issues.error(
            format!("{path}.status"),
            format!("{} is not a status to answer with", response.status),
            "write a number from 200 to 599",
        );
    }
    if let Some(body) = &response.body {
        if body.string.is_some() == body.bytes.is_some() {
            issues.error(
                format!("{path}.body"),
                "a body is either a string or bytes",
                "give one of string, bytes",
            );
        }
        let length = body.string.as_ref().or(body.bytes.as_ref()).map_or(0, String::len);
        if length > 1 << 20 {
            issues.error(
                format!("{path}.body"),
                "a body may have at most 1 MiB",
                "serve it from a service",
            );
        }
    }
}

fn rewrite(path: &str, change: &HttpRewrite, issues: &mut Issues) {
    match &change.uri_regex_rewrite {
        Some(_) if !change.uri.is_empty() => {
            issues.error(path, "uri and uriRegexRewrite exclude one another", "keep one of them");
        }
        Some(pattern) if pattern.match_.is_empty() => {
            issues.error(
                format!("{path}.uriRegexRewrite.match"),
                "there is nothing to match",
                "write the expression to replace",
            );
        }
        Some(pattern) => regex(&format!("{path}.uriRegexRewrite.match"), &pattern.match_, issues),
        None if change.uri.is_empty() && change.authority.is_empty() => {
            issues.error(
                path,
                "the rewrite changes nothing",
                "give uri, uriRegexRewrite or authority",
            );
        }
        None => {}
    }
}

fn retry(path: &str, retries: &HttpRetry, issues: &mut Issues) {
    duration_or_zero(&format!("{path}.perTryTimeout"), retries.per_try_timeout, issues);
    duration(&format!("{path}.backoff"), retries.backoff, issues);
    if retries.attempts == 0 && (retries.per_try_timeout.is_some() || !retries.retry_on.is_empty()) {
        issues.warn(
            path,
            "attempts is 0, which switches retries off: the other settings mean nothing",
            "set attempts",
        );
    }
    for condition in retries
        .retry_on
        .split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
    {
        let status = condition.parse::<u16>().is_ok_and(|code| (100..600).contains(&code));
        if !status && !HttpRetry::CONDITIONS.contains(&condition) {
            let nearest = crate::spelling::nearest(condition, HttpRetry::CONDITIONS.iter().copied());
            let way_out = nearest.map_or_else(
                || format!("write status codes or some of {}", HttpRetry::CONDITIONS.join(", ")),
                |nearest| format!("{nearest:?} was probably meant"),
            );
            issues.error(
                format!("{path}.retryOn"),
                format!("{condition:?} is not a condition to retry on"),
                way_out,
            );
        }
    }
}

fn fault(path: &str, injection: &HttpFaultInjection, issues: &mut Issues) {
    if injection.delay.is_none() && injection.abort.is_none() {
        issues.error(path, "the fault does nothing", "give delay or abort");
    }
    if let Some(delay) = &injection.delay {
        fault_delay(&format!("{path}.delay"), delay, issues);
    }
    if let Some(abort) = &injection.abort {
        fault_abort(&format!("{path}.abort"), abort, issues);
    }
}

fn fault_delay(path: &str, delay: &Delay, issues: &mut Issues) {
    share(path, delay.percentage, delay.percent, issues);
    if delay.fixed_delay.is_none() && delay.exponential_delay.is_none() {
        issues.error(path, "a delay needs its length", "give fixedDelay");
    }
    duration(&format!("{path}.fixedDelay"), delay.fixed_delay, issues);
}

fn fault_abort(path: &str, abort: &Abort, issues: &mut Issues) {
    share(path, abort.percentage, abort.percent, issues);
    let given = [
        abort.http_status.is_some(),
        abort.grpc_status.is_some(),
        abort.http2_error.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        issues.error(
            path,
            "an abort answers with one status",
            "give httpStatus (or grpcStatus)",
        );
    }
    if let Some(status) = abort.http_status
        && !(200..600).contains(&status)
    {
        let rule = format!("{status} is not a status to answer with");
        issues.error(format!("{path}.httpStatus"), rule, "write a number from 200 to 599");
    }
}

/// The share of requests, in its new and its old form.
fn share(path: &str, percentage: Option<Percent>, old: Option<u32>, issues: &mut Issues) {
    if let Some(share) = percentage {
        percent(&format!("{path}.percentage.value"), share.value, issues);
    }
    if let Some(share) = old {
        percent(&format!("{path}.percent"), f64::from(share), issues);
    }
}

fn mirrors(path: &str, route: &HttpRoute, issues: &mut Issues) {
    if let Some(target) = &route.mirror {
        destination(&format!("{path}.mirror"), target, issues);
        if !route.mirrors.is_empty() {
            issues.error(
                format!("{path}.mirrors"),
                "mirror and mirrors exclude one another",
                "keep one of them",
            );
        }
    }
    for (index, mirror) in route.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{index}]");
        destination(&format!("{path}.destination"), &mirror.destination, issues);
        if let Some(share) = mirror.percentage {
            percent(&format!("{path}.percentage.value"), share.value, issues);
        }
    }
    if let Some(share) = route.mirror_percentage {
        percent(&format!("{path}.mirrorPercentage.value"), share.value, issues);
    }
    if let Some(share) = route.mirror_percent {
        percent(&format!("{path}.mirrorPercent"), f64::from(share), issues);
    }
}

fn cors(path: &str, policy: &CorsPolicy, issues: &mut Issues) {
    for (index, origin) in policy.allow_origins.iter().enumerate() {
        string_match(&format!("{path}.allowOrigins[{index}]"), origin, issues);
    }
    for (index, method) in policy.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            issues.error(
                format!("{path}.allowMethods[{index}]"),
                format!("{method:?} is not a method"),
                "write for example GET",
            );
        }
    }
    if policy
        .max_age
        .is_some_and(|age| age.subsec_nanos() != 0 || age == Duration::ZERO)
    {
        issues.error(
            format!("{path}.maxAge"),
            "maxAge is a whole number of seconds",
            "write for example 24h",
        );
    }
}
