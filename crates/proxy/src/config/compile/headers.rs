//! Operations on headers, and matches of headers and query parameters.

use proto::envoy::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};
use proto::envoy::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier,
};

use super::error::{CompileError, Compiled, Within, each};
use super::text::{text_match, whole};
use crate::config::{
    HeaderAction, HeaderMatch, HeaderOperation, HeaderOperations, HeaderRule, HeaderTarget, QueryMatch, TextMatch,
};
use crate::head::OwnedName;
use crate::telemetry::Template;

pub(super) fn operations(
    direction: &str,
    add: Vec<HeaderValueOption>,
    remove: Vec<String>,
) -> Compiled<HeaderOperations> {
    Ok(HeaderOperations {
        remove: each(&format!("{direction}_headers_to_remove"), remove, field_name)?,
        set: each(&format!("{direction}_headers_to_add"), add, operation)?,
    })
}

/// The name of a field that may be removed: not the authority, without which there is no request.
fn field_name(name: String) -> Compiled<OwnedName> {
    match target(&name)? {
        HeaderTarget::Field(name) => Ok(name),
        HeaderTarget::Authority | HeaderTarget::Path => {
            Err(CompileError::new("", format!("`{name}` cannot be removed")))
        }
    }
}

fn target(name: &str) -> Compiled<HeaderTarget> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        ":authority" | "host" => Ok(HeaderTarget::Authority),
        ":path" => Ok(HeaderTarget::Path),
        _ => OwnedName::new(lower)
            .map(HeaderTarget::Field)
            .map_err(|_| CompileError::new("", format!("`{name}` is no name of a header"))),
    }
}

fn operation(option: HeaderValueOption) -> Compiled<HeaderOperation> {
    let header = option.header.ok_or_else(|| CompileError::missing("header"))?;
    let value = if header.raw_value.is_empty() {
        header.value
    } else {
        String::from_utf8(header.raw_value).map_err(|_| CompileError::new("header.raw_value", "is no text"))?
    };
    let action = match (option.append, HeaderAppendAction::try_from(option.append_action)) {
        // The older field wins where it is set.
        (Some(append), _) if !append.value => HeaderAction::Overwrite,
        (Some(_), _) => HeaderAction::Append,
        (None, Ok(HeaderAppendAction::AddIfAbsent)) => HeaderAction::AddIfAbsent,
        (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => HeaderAction::Overwrite,
        (None, Ok(HeaderAppendAction::OverwriteIfExists)) => HeaderAction::OverwriteIfPresent,
        (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd) | Err(_)) => HeaderAction::Append,
    };
    Ok(HeaderOperation {
        value: Template::parse(&value)
            .map_err(|fault| CompileError::new(format!("header({}).value", header.key), fault))?,
        target: target(&header.key).within("header.key")?,
        action,
        keep_empty: option.keep_empty_value,
    })
}

pub(super) fn header_match(matcher: HeaderMatcher) -> Compiled<HeaderMatch> {
    let name = matcher.name.to_ascii_lowercase();
    let rule = match matcher.header_match_specifier {
        None => HeaderRule::Present(true),
        Some(specifier) => rule(specifier).within(&format!("header({name})"))?,
    };
    Ok(HeaderMatch {
        rule,
        invert: matcher.invert_match,
        treat_missing_as_empty: matcher.treat_missing_header_as_empty,
        name: name.into(),
    })
}

fn rule(specifier: HeaderMatchSpecifier) -> Compiled<HeaderRule> {
    let text = |text: String| text.into_boxed_str();
    Ok(match specifier {
        HeaderMatchSpecifier::PresentMatch(present) => HeaderRule::Present(present),
        HeaderMatchSpecifier::RangeMatch(range) => HeaderRule::Range(range.start, range.end),
        HeaderMatchSpecifier::StringMatch(matcher) => HeaderRule::Text(text_match(matcher)?),
        HeaderMatchSpecifier::ExactMatch(exact) => HeaderRule::Text(TextMatch::Exact {
            text: text(exact),
            ignore_case: false,
        }),
        HeaderMatchSpecifier::PrefixMatch(prefix) => HeaderRule::Text(TextMatch::Prefix {
            text: text(prefix),
            ignore_case: false,
        }),
        HeaderMatchSpecifier::SuffixMatch(suffix) => HeaderRule::Text(TextMatch::Suffix {
            text: text(suffix),
            ignore_case: false,
        }),
        HeaderMatchSpecifier::ContainsMatch(part) => HeaderRule::Text(TextMatch::Contains {
            text: text(part),
            ignore_case: false,
        }),
        HeaderMatchSpecifier::SafeRegexMatch(regex) => HeaderRule::Text(TextMatch::Regex(whole(&regex)?)),
    })
}

pub(super) fn query_match(matcher: QueryParameterMatcher) -> Compiled<QueryMatch> {
    let value = match matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => Some(text_match(matcher)?),
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) | None => None,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(CompileError::unsupported("present_match: false"));
        }
    };
    Ok(QueryMatch {
        name: matcher.name.into(),
        value,
    })
}
