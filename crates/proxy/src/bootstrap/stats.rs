//! Which statistics are shown.

use serde::Deserialize;
use serde_json::Value;

/// `stats_config.stats_matcher.inclusion_list`: what `/stats/prometheus` shows. Empty: everything.
#[derive(Clone, Debug, Default)]
pub struct Inclusion {
    pub prefixes: Vec<String>,
    pub suffixes: Vec<String>,
    pub regexes: Vec<regex::Regex>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct StatsJson {
    stats_matcher: MatcherJson,
    /// Labels are cut out of names by code here, not by expressions.
    stats_tags: Option<Value>,
    use_all_default_tags: Option<Value>,
    histogram_bucket_settings: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MatcherJson {
    inclusion_list: ListJson,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListJson {
    patterns: Vec<PatternJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PatternJson {
    prefix: Option<String>,
    suffix: Option<String>,
    exact: Option<String>,
    safe_regex: Option<RegexJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RegexJson {
    regex: String,
    google_re2: Option<Value>,
}

impl From<StatsJson> for Inclusion {
    fn from(json: StatsJson) -> Self {
        let _ = (
            &json.stats_tags,
            &json.use_all_default_tags,
            &json.histogram_bucket_settings,
        );
        let mut inclusion = Inclusion::default();
        for pattern in json.stats_matcher.inclusion_list.patterns {
            inclusion.prefixes.extend(pattern.prefix.or(pattern.exact));
            inclusion.suffixes.extend(pattern.suffix);
            let Some(RegexJson { regex, google_re2: _ }) = pattern.safe_regex else {
                continue;
            };
            match regex::Regex::new(&format!("^(?:{regex})$")) {
                Ok(regex) => inclusion.regexes.push(regex),
                Err(error) => {
                    tracing::warn!(%regex, %error, "statistics pattern is no regular expression, it has no effect")
                }
            }
        }
        inclusion
    }
}

// === impl Inclusion ===

impl Inclusion {
    /// Whether a statistic is to be shown, by Envoy's dotted name.
    pub fn includes(&self, name: &str) -> bool {
        let all = self.prefixes.is_empty() && self.suffixes.is_empty() && self.regexes.is_empty();
        all || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
            || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()))
            || self.regexes.iter().any(|regex| regex.is_match(name))
    }
}
