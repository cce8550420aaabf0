//! What the filters of a rule do.

use std::collections::BTreeMap;

use model::kinds::gateway_api::{
    CorsFilter, HeaderFilter, HeaderPair, HttpRouteFilter, RequestMirrorFilter, RequestRedirectFilter, UrlRewriteFilter,
};
use model::kinds::{
    CorsPolicy, HeaderOperations, Headers, HttpMirrorPolicy, Percent, StringMatch, UnmatchedPreflights,
};

use super::backend;
use super::index::Index;
use super::route::{Problem, Route};

/// Every method, for `*`: with credentials browsers do not take the asterisk for all.
const METHODS: &str = "GET,HEAD,POST,PUT,DELETE,CONNECT,OPTIONS,TRACE,PATCH";
/// Seconds that a preflight's answer is kept where nothing is said.
const CORS_MAX_AGE: u64 = 5;

/// The filters of a rule, sorted by what they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters<'a> {
    pub(super) headers: Option<Headers>,
    pub(super) redirect: Option<&'a RequestRedirectFilter>,
    pub(super) rewrite: Option<&'a UrlRewriteFilter>,
    pub(super) mirrors: Vec<&'a RequestMirrorFilter>,
    pub(super) cors: Option<CorsPolicy>,
    /// Asks for what is not known here: the rule must not be run without it.
    pub(super) unknown: Option<Problem>,
}

impl<'a> Filters<'a> {
    pub(super) fn of(list: &'a [HttpRouteFilter]) -> Filters<'a> {
        let mut filters = Filters::default();
        for filter in list {
            if let Some(operations) = &filter.request_header_modifier {
                filters.headers.get_or_insert_default().request = Some(self::headers(operations));
            }
            if let Some(operations) = &filter.response_header_modifier {
                filters.headers.get_or_insert_default().response = Some(self::headers(operations));
            }
            filters.redirect = filters.redirect.or(filter.request_redirect.as_ref());
            filters.rewrite = filters.rewrite.or(filter.url_rewrite.as_ref());
            filters.mirrors.extend(&filter.request_mirror);
            filters.cors = filters.cors.or_else(|| filter.cors.as_ref().map(cors));
            if filter.extension_ref.is_some() || filter.external_auth.is_some() {
                let message = format!("there is no filter of type {} here", filter.type_);
                let way_out = "remove it; until then requests of its rule fail";
                filters.unknown = Some(Problem::new("UnsupportedValue", message, way_out));
            }
        }
        filters
    }

    /// Those of one backend: only headers can be changed there.
    pub(super) fn of_backend(list: &'a [HttpRouteFilter]) -> Result<Option<Headers>, Problem> {
        let filters = Filters::of(list);
        let other = filters.redirect.is_some()
            || filters.rewrite.is_some()
            || filters.cors.is_some()
            || !filters.mirrors.is_empty();
        if let Some(unknown) = filters.unknown {
            return Err(unknown);
        }
        if other {
            let message = "a backend's filters can only change headers";
            let way_out = "give the filter to the rule; until then requests for the backend fail";
            return Err(Problem::new("UnsupportedValue", message, way_out));
        }
        Ok(filters.headers)
    }
}

/// Values are literal in this API; `%` begins a command where they go.
fn headers(filter: &HeaderFilter) -> HeaderOperations {
    let pairs = |list: &[HeaderPair]| -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        for pair in list {
            pairs
                .entry(pair.name.to_ascii_lowercase())
                .or_insert_with(|| pair.value.replace('%', "%%"));
        }
        pairs
    };
    HeaderOperations {
        set: pairs(&filter.set),
        add: pairs(&filter.add),
        remove: filter.remove.clone(),
    }
}

/// Mirrors whose backend is there.
pub(super) fn mirrors(index: &Index<'_>, route: &Route<'_>, list: &[&RequestMirrorFilter]) -> Vec<HttpMirrorPolicy> {
    list.iter()
        .filter_map(|mirror| {
            let fraction = mirror
                .fraction
                .map(|part| 100.0 * f64::from(part.numerator) / f64::from(part.denominator.max(1)));
            let percent = mirror.percent.map(f64::from).or(fraction);
            Some(HttpMirrorPolicy {
                destination: backend::resolve(index, route, &mirror.backend_ref).ok()?,
                percentage: percent.map(|value| Percent { value }),
            })
        })
        .collect()
}

fn cors(filter: &CorsFilter) -> CorsPolicy {
    let origins = filter.allow_origins.iter().map(|origin| match origin.split_once('*') {
        _ if origin == "*" => StringMatch::Present,
        None => StringMatch::Exact(origin.clone()),
        Some((before, after)) => StringMatch::Regex(format!("{}[^/]+{}", regex::escape(before), regex::escape(after))),
    });
    let every_method = filter.allow_methods.iter().any(|method| method == "*");
    CorsPolicy {
        allow_origins: origins.collect(),
        allow_methods: if every_method {
            vec![METHODS.to_owned()]
        } else {
            filter.allow_methods.clone()
        },
        allow_headers: filter.allow_headers.clone(),
        expose_headers: filter.expose_headers.clone(),
        max_age: Some(std::time::Duration::from_secs(
            filter.max_age.map_or(CORS_MAX_AGE, u64::from),
        )),
        allow_credentials: filter.allow_credentials.then_some(true),
        unmatched_preflights: UnmatchedPreflights::Unspecified,
        ..CorsPolicy::default()
    }
}
