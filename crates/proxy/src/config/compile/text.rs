//! String matchers and regular expressions.

use proto::envoy::envoy::r#type::matcher::v3::{
    RegexMatchAndSubstitute, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use regex::Regex;

use super::error::{CompileError, Compiled};
use crate::config::TextMatch;

/// Compiled size above which an expression is refused.
const MAX_REGEX: usize = 1 << 20;

pub(super) fn text_match(matcher: StringMatcher) -> Compiled<TextMatch> {
    let ignore_case = matcher.ignore_case;
    let fold = |text: String| if ignore_case { text.to_ascii_lowercase() } else { text }.into_boxed_str();
    Ok(match matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => TextMatch::Exact {
            text: fold(text),
            ignore_case,
        },
        Some(MatchPattern::Prefix(text)) => TextMatch::Prefix {
            text: fold(text),
            ignore_case,
        },
        Some(MatchPattern::Suffix(text)) => TextMatch::Suffix {
            text: fold(text),
            ignore_case,
        },
        Some(MatchPattern::Contains(text)) => TextMatch::Contains {
            text: fold(text),
            ignore_case,
        },
        Some(MatchPattern::SafeRegex(regex)) => TextMatch::Regex(whole(&regex)?),
        Some(MatchPattern::Custom(_)) => return Err(CompileError::unsupported("custom")),
        None => return Err(CompileError::missing("match_pattern")),
    })
}

/// An expression that has to match the whole text.
pub(super) fn whole(matcher: &RegexMatcher) -> Compiled<Regex> {
    regex(&matcher.regex, &format!("^(?:{})$", matcher.regex))
}

/// An expression to find, with its replacement in the syntax of the `regex` crate.
pub(super) fn substitution(rewrite: RegexMatchAndSubstitute) -> Compiled<(Regex, Box<str>)> {
    let pattern = rewrite.pattern.ok_or_else(|| CompileError::missing("pattern"))?;
    Ok((regex(&pattern.regex, &pattern.regex)?, dollars(&rewrite.substitution)))
}

fn regex(given: &str, anchored: &str) -> Compiled<Regex> {
    regex::RegexBuilder::new(anchored)
        .size_limit(MAX_REGEX)
        .build()
        .map_err(|error| CompileError::new("regex", format!("`{given}`: {}", last_line(&error.to_string()))))
}

/// The explanation of a syntax error ends with the reason, below a drawing.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

/// RE2 writes groups as `\1`, we as `${1}`; a `$` of theirs is only a dollar.
fn dollars(re2: &str) -> Box<str> {
    let mut ours = String::with_capacity(re2.len() + 4);
    let mut chars = re2.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                ours.extend(["${", digit.to_string().as_str(), "}"]);
                chars.next();
            }
            ('\\', Some('\\')) => {
                ours.push('\\');
                chars.next();
            }
            ('$', _) => ours.push_str("$$"),
            (other, _) => ours.push(other),
        }
    }
    ours.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_change_their_syntax() {
        for (theirs, ours) in [(r"/\1/x\2", "/${1}/x${2}"), ("$1", "$$1"), (r"a\\b", r"a\b")] {
            assert_eq!(&*dollars(theirs), ours);
        }
    }

    #[test]
    fn expressions_are_anchored_and_faults_named() {
        let of = |regex: &str| {
            whole(&RegexMatcher {
                regex: regex.into(),
                ..Default::default()
            })
        };
        let found = of("a|b").unwrap();
        assert!(found.is_match("a") && !found.is_match("ab"));
        assert!(of("(").unwrap_err().to_string().contains("`(`"));
    }
}
