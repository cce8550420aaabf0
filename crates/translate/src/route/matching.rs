//! Conditions on a request.

use model::kinds::{HttpMatchRequest, StringMatch};

use crate::pb::matcher::string_matcher::MatchPattern;
use crate::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::pb::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::{self, route};

use super::rules::Refused;

pub(super) fn request(request: &HttpMatchRequest) -> Result<route::RouteMatch, Refused> {
    Ok(route::RouteMatch {
        path_specifier: Some(path(request.uri.as_ref())?),
        case_sensitive: request.ignore_uri_case.then(|| pb::bool(false)).flatten(),
        headers: headers(request)?,
        query_parameters: query(request)?,
        ..Default::default()
    })
}

fn path(uri: Option<&StringMatch>) -> Result<PathSpecifier, Refused> {
    Ok(match uri {
        None | Some(StringMatch::Present) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(path)) => PathSpecifier::Prefix(path.clone()),
        Some(StringMatch::PathPrefix(path)) => segments(path)?,
        Some(StringMatch::Regex(regex)) if regex == "*" => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(checked_regex(regex)?),
    })
}

/// Envoy wants the prefix without its last slash, which adds nothing.
fn segments(path: &str) -> Result<PathSpecifier, Refused> {
    if path.contains(['?', '#']) || !(path.is_empty() || path.starts_with('/')) {
        let rule = format!("no path begins with {path:?}");
        return Err(Refused::new(rule, "begin it with /, without query and fragment"));
    }
    Ok(match path.trim_end_matches('/') {
        "" => PathSpecifier::Prefix("/".to_owned()),
        path => PathSpecifier::PathSeparatedPrefix(path.to_owned()),
    })
}

/// By name, conditions of absence after those of presence, the request line last.
fn headers(request: &HttpMatchRequest) -> Result<Vec<route::HeaderMatcher>, Refused> {
    let mut matchers = Vec::new();
    for (name, value) in &request.headers {
        matchers.push(header(name, value)?);
    }
    for (name, value) in &request.without_headers {
        let mut matcher = header(name, value)?;
        matcher.invert_match = true;
        // A request that lacks the header lacks the value, too.
        matcher.treat_missing_header_as_empty = *value != StringMatch::Present;
        matchers.push(matcher);
    }
    let line = [
        (":method", &request.method),
        (":authority", &request.authority),
        (":scheme", &request.scheme),
    ];
    for (name, value) in line {
        if let Some(value) = value {
            matchers.push(header(name, value)?);
        }
    }
    Ok(matchers)
}

fn header(name: &str, value: &StringMatch) -> Result<route::HeaderMatcher, Refused> {
    let name = name.to_ascii_lowercase();
    super::headers::check_name(&name)?;
    Ok(route::HeaderMatcher {
        header_match_specifier: Some(match text(value)? {
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        name,
        ..Default::default()
    })
}

fn query(request: &HttpMatchRequest) -> Result<Vec<route::QueryParameterMatcher>, Refused> {
    let mut matchers = Vec::new();
    for (name, value) in &request.query_params {
        if name.is_empty() {
            return Err(Refused::new("a query parameter has no name", "name it"));
        }
        matchers.push(route::QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(match text(value)? {
                Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
                None => QueryParameterMatchSpecifier::PresentMatch(true),
            }),
        });
    }
    Ok(matchers)
}

/// `None`: present, whatever the value.
pub(super) fn text(value: &StringMatch) -> Result<Option<pb::matcher::StringMatcher>, Refused> {
    let pattern = match value {
        StringMatch::Present => return Ok(None),
        StringMatch::Regex(regex) if regex == "*" => return Ok(None),
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        // An empty prefix is no condition, and Envoy refuses it.
        StringMatch::Prefix(text) if text.is_empty() => return Ok(None),
        StringMatch::Prefix(text) | StringMatch::PathPrefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(regex) => MatchPattern::SafeRegex(checked_regex(regex)?),
    };
    Ok(Some(pb::string_matcher(pattern)))
}

/// In bytes of our own compiler; about the 32,768 steps at which our bootstrap tells Envoy to refuse an expression.
const REGEX_SIZE: usize = 1 << 20;

/// One bad expression would make Envoy refuse the whole route configuration.
pub(super) fn checked_regex(text: &str) -> Result<pb::matcher::RegexMatcher, Refused> {
    if text.is_empty() {
        return Err(Refused::new(
            "its regular expression is empty",
            "write one, or remove the condition",
        ));
    }
    match regex::RegexBuilder::new(text).size_limit(REGEX_SIZE).build() {
        Ok(_) => Ok(pb::regex(text)),
        Err(error) => {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim().to_owned();
            let rule = format!("regular expression {text:?} is not valid ({last})");
            Err(Refused::new(rule, "use RE2 syntax: no look-around, no back references"))
        }
    }
}

/// Whether no request can get past this route.
pub(super) fn matches_everything(made: &route::Route) -> bool {
    let Some(conditions) = &made.r#match else {
        return false;
    };
    let path = match &conditions.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    path && conditions.headers.is_empty() && conditions.query_parameters.is_empty()
}
