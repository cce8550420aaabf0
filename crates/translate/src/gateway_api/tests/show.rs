//! Route configurations as lines that can be read.

use std::fmt::Write;

use crate::pb::matcher::string_matcher::MatchPattern;
use crate::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::pb::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::pb::route::redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier};
use crate::pb::route::route::Action;
use crate::pb::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::{matcher, route};

/// A line for each virtual host, with its first domain, and one for each of its routes.
pub(super) fn show(made: &route::RouteConfiguration) -> Vec<String> {
    let mut lines = Vec::new();
    for host in &made.virtual_hosts {
        lines.push(host.domains.first().cloned().unwrap_or_default());
        lines.extend(host.routes.iter().map(|route| format!("  {}", line(route))));
    }
    lines
}

pub(super) fn line(made: &route::Route) -> String {
    let mut text = made.r#match.as_ref().map(conditions).unwrap_or_default();
    text += " -> ";
    match &made.action {
        Some(Action::Route(action)) => forward(&mut text, action),
        Some(Action::Redirect(target)) => redirect(&mut text, target),
        Some(Action::DirectResponse(answer)) => text += &answer.status.to_string(),
        other => panic!("{other:?}"),
    }
    for header in &made.request_headers_to_add {
        let header_value = header.header.as_ref().expect("a header");
        let sign = if header.append_action == 2 { "=" } else { "+=" };
        let _ = write!(text, " {}{sign}{}", header_value.key, header_value.value);
    }
    for name in &made.request_headers_to_remove {
        let _ = write!(text, " -{name}");
    }
    text
}

fn conditions(wanted: &route::RouteMatch) -> String {
    let mut text = match wanted.path_specifier.as_ref().expect("a path") {
        PathSpecifier::Path(path) => format!("={path}"),
        PathSpecifier::Prefix(path) => format!("{path}*"),
        PathSpecifier::PathSeparatedPrefix(path) => format!("{path}/**"),
        PathSpecifier::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    };
    for header in &wanted.headers {
        let value = match &header.header_match_specifier {
            Some(HeaderMatchSpecifier::StringMatch(value)) => pattern(value),
            other => format!("{other:?}"),
        };
        let _ = write!(text, " {}{value}", header.name);
    }
    for param in &wanted.query_parameters {
        let value = match &param.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(value)) => pattern(value),
            other => format!("{other:?}"),
        };
        let _ = write!(text, " ?{}{value}", param.name);
    }
    text
}

fn pattern(value: &matcher::StringMatcher) -> String {
    match value.match_pattern.as_ref().expect("a pattern") {
        MatchPattern::Exact(text) => format!("={text}"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    }
}

fn forward(text: &mut String, action: &route::RouteAction) {
    match action.cluster_specifier.as_ref().expect("a cluster") {
        ClusterSpecifier::Cluster(cluster) => *text += short(cluster),
        ClusterSpecifier::WeightedClusters(weighted) => {
            let parts = weighted
                .clusters
                .iter()
                .map(|part| format!("{}:{}", short(&part.name), part.weight.map_or(0, |weight| weight.value)));
            *text += &parts.collect::<Vec<_>>().join("+");
            if action.cluster_not_found_response_code == 2 {
                *text += " else 500";
            }
        }
        other => panic!("{other:?}"),
    }
    if !action.prefix_rewrite.is_empty() {
        let _ = write!(text, " as {}", action.prefix_rewrite);
    }
    if let Some(rewrite) = &action.regex_rewrite {
        let pattern = rewrite.pattern.as_ref().expect("a pattern");
        let _ = write!(text, " s|{}|{}|", pattern.regex, rewrite.substitution);
    }
    if let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) = &action.host_rewrite_specifier {
        let _ = write!(text, " host {host}");
    }
    for mirror in &action.request_mirror_policies {
        let share = mirror
            .runtime_fraction
            .as_ref()
            .and_then(|fraction| fraction.default_value);
        let share = share.map_or(0, |share| share.numerator);
        let _ = write!(text, " mirror {}:{share}", short(&mirror.cluster));
    }
    if let Some(timeout) = action.timeout.filter(|timeout| timeout.seconds != 0) {
        let _ = write!(text, " in {}s", timeout.seconds);
    }
    if let Some(each) = action.retry_policy.as_ref().and_then(|policy| policy.per_try_timeout) {
        let _ = write!(text, " each {}s", each.seconds);
    }
}

/// Services of bookinfo by their names.
fn short(cluster: &str) -> &str {
    cluster
        .strip_prefix("outbound|9080||")
        .and_then(|host| host.strip_suffix(".default.svc.cluster.local"))
        .unwrap_or(cluster)
}

fn redirect(text: &mut String, target: &route::RedirectAction) {
    const CODES: [u32; 5] = [301, 302, 303, 307, 308];
    let _ = write!(text, "{} ", CODES[target.response_code as usize]);
    match &target.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => *text += scheme,
        _ => *text += "-",
    }
    let host = if target.host_redirect.is_empty() {
        "-"
    } else {
        &target.host_redirect
    };
    let _ = write!(text, "://{host}:{}", target.port_redirect);
    match &target.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => *text += path,
        Some(PathRewriteSpecifier::PrefixRewrite(path)) => {
            let _ = write!(text, " as {path}");
        }
        _ => {}
    }
}
