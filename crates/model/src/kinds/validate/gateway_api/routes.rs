//! Rules of routes.

use super::super::Issues;
use super::super::common::{optional_port, regex};
use super::filters;
use crate::kinds::gateway_api::{
    BackendRef, GrpcMethodMatch, GrpcRouteRule, HttpPathMatch, HttpRouteRule, ParentReference, PathMatchType,
    ValueMatchType,
};

/// Of one backend.
const MAX_WEIGHT: u32 = 1_000_000;

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

pub(super) fn parents(list: &[ParentReference], issues: &mut Issues) {
    for (index, parent) in list.iter().enumerate() {
        let path = format!("spec.parentRefs[{index}]");
        if parent.name.is_empty() {
            issues.error(format!("{path}.name"), "a parent is named", "name the Gateway");
        }
        optional_port(&format!("{path}.port"), parent.port.unwrap_or(0), issues);
        if list[..index].contains(parent) {
            issues.error(path, "this parent is listed twice", "remove one of the two");
        }
    }
}

pub(super) fn one_rule(rules: usize, issues: &mut Issues) {
    if rules != 1 {
        let rule = format!("the route has {rules} rules, and the first is all there can be");
        issues.error("spec.rules", rule, "give it one rule; weights share connections out");
    }
}

pub(super) fn backends(path: &str, list: &[BackendRef], issues: &mut Issues) {
    for (index, backend) in list.iter().enumerate() {
        let path = format!("{path}.backendRefs[{index}]");
        self::backend(&path, &backend.name, backend.port, backend.weight, issues);
    }
}

pub(super) fn backend(path: &str, name: &str, port: Option<u32>, weight: Option<u32>, issues: &mut Issues) {
    if name.is_empty() {
        issues.error(format!("{path}.name"), "a backend is named", "name the Service");
    }
    optional_port(&format!("{path}.port"), port.unwrap_or(0), issues);
    if weight.is_some_and(|weight| weight > MAX_WEIGHT) {
        let rule = format!("a weight is at most {MAX_WEIGHT}");
        issues.error(format!("{path}.weight"), rule, "scale the weights down");
    }
}

pub(super) fn http_rule(path: &str, rule: &HttpRouteRule, issues: &mut Issues) {
    for (index, wanted) in rule.matches.iter().enumerate() {
        let path = format!("{path}.matches[{index}]");
        http_path(&format!("{path}.path"), &wanted.path, issues);
        if !wanted.method.is_empty() && !METHODS.contains(&wanted.method.as_str()) {
            let rule = format!("{:?} is not an HTTP method", wanted.method);
            issues.error(
                format!("{path}.method"),
                rule,
                format!("use one of {}", METHODS.join(", ")),
            );
        }
        for (index, header) in wanted.headers.iter().enumerate() {
            value(
                &format!("{path}.headers[{index}]"),
                &header.name,
                header.type_,
                &header.value,
                issues,
            );
        }
        for (index, param) in wanted.query_params.iter().enumerate() {
            value(
                &format!("{path}.queryParams[{index}]"),
                &param.name,
                param.type_,
                &param.value,
                issues,
            );
        }
    }
    filters::of_rule(path, rule, issues);
    for (index, backend) in rule.backend_refs.iter().enumerate() {
        let path = format!("{path}.backendRefs[{index}]");
        self::backend(&path, &backend.name, backend.port, backend.weight, issues);
        filters::list(&path, &backend.filters, issues);
    }
    if let Some(timeouts) = &rule.timeouts
        && let (Some(request), Some(each)) = (timeouts.request, timeouts.backend_request)
        && !request.is_zero()
        && each > request
    {
        let rule = "an attempt cannot take longer than the whole request may";
        issues.error(
            format!("{path}.timeouts.backendRequest"),
            rule,
            "make it at most timeouts.request",
        );
    }
    for (index, code) in rule.retry.iter().flat_map(|retry| &retry.codes).enumerate() {
        if !(400..600).contains(code) {
            let rule = format!("{code} is no status of an error");
            issues.error(format!("{path}.retry.codes[{index}]"), rule, "use 400 to 599");
        }
    }
}

fn http_path(path: &str, wanted: &HttpPathMatch, issues: &mut Issues) {
    let value_path = format!("{path}.value");
    if wanted.type_ == PathMatchType::RegularExpression {
        return regex(&value_path, &wanted.value, issues);
    }
    if !wanted.value.starts_with('/') {
        issues.error(value_path, "a path begins with /", "write it so");
        return;
    }
    let odd = ["//", "/./", "/../", "%2f", "%2F", "#", "?"];
    let odd = odd.iter().find(|part| wanted.value.contains(**part));
    let odd = odd.or(["/..", "/."].iter().find(|end| wanted.value.ends_with(**end)));
    if let Some(odd) = odd {
        let rule = format!("no request has {odd:?} in its path when it is matched");
        issues.error(value_path, rule, "write the path as it is after normalisation");
    }
}

fn value(path: &str, name: &str, type_: ValueMatchType, value: &str, issues: &mut Issues) {
    if name.is_empty() {
        issues.error(
            format!("{path}.name"),
            "a condition needs a name",
            "name the header or parameter",
        );
    }
    if type_ == ValueMatchType::RegularExpression {
        regex(&format!("{path}.value"), value, issues);
    } else if value.is_empty() {
        issues.error(format!("{path}.value"), "a condition needs a value", "write it");
    }
}

pub(super) fn grpc_rule(path: &str, rule: &GrpcRouteRule, issues: &mut Issues) {
    for (index, wanted) in rule.matches.iter().enumerate() {
        let path = format!("{path}.matches[{index}]");
        if let Some(method) = &wanted.method {
            grpc_method(&format!("{path}.method"), method, issues);
        }
        for (index, header) in wanted.headers.iter().enumerate() {
            value(
                &format!("{path}.headers[{index}]"),
                &header.name,
                header.type_,
                &header.value,
                issues,
            );
        }
    }
    filters::grpc_list(path, &rule.filters, issues);
    for (index, backend) in rule.backend_refs.iter().enumerate() {
        let path = format!("{path}.backendRefs[{index}]");
        self::backend(&path, &backend.name, backend.port, backend.weight, issues);
        filters::grpc_list(&path, &backend.filters, issues);
    }
}

fn grpc_method(path: &str, method: &GrpcMethodMatch, issues: &mut Issues) {
    if method.service.is_empty() && method.method.is_empty() {
        issues.error(
            path,
            "neither service nor method is given",
            "give one of them, or remove method",
        );
    }
    for (field, text) in [("service", &method.service), ("method", &method.method)] {
        let path = format!("{path}.{field}");
        if method.type_ == ValueMatchType::RegularExpression && !text.is_empty() {
            regex(&path, text, issues);
        } else if text.contains('/') {
            issues.error(path, format!("{text:?} has a slash"), "name service and method apart");
        }
    }
}
