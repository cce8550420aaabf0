//! Cross-origin requests (`envoy.filters.http.cors`): preflights are answered here, other answers get the allowing headers.

use std::sync::Arc;

use super::{Filter, FilterContext, Flow};
use crate::config::CorsPolicy;
use crate::head::{Headers, Method, Name, OwnedValue, RequestHead, ResponseHead, Value};
use crate::http::LocalReply;
use crate::http::routing::text_matches;

pub struct Cors;

/// Remembered from the request: this origin may read the answer.
struct Allowed {
    origin: OwnedValue,
    policy: Arc<CorsPolicy>,
}

impl Filter for Cors {
    fn request(&self, cx: &mut FilterContext<'_>, head: &mut RequestHead) -> Flow {
        let Some(policy) = cx
            .route
            .and_then(|route| route.cors.clone())
            .filter(|policy| policy.enabled)
        else {
            return Flow::Continue;
        };
        let verdict = judge(&policy, head);
        let Some(origin) = head.headers.get("origin") else {
            return Flow::Continue;
        };
        match verdict {
            Verdict::Preflight => Flow::Respond(preflight_answer(&policy, origin)),
            Verdict::ForeignPreflight => Flow::Respond(LocalReply::new(200, "cors_response")),
            Verdict::Allowed => {
                cx.state.put(Allowed {
                    origin: origin.to_owned(),
                    policy,
                });
                Flow::Continue
            }
            Verdict::NotCrossOrigin | Verdict::Foreign => Flow::Continue,
        }
    }

    fn response(&self, cx: &mut FilterContext<'_>, head: &mut ResponseHead) {
        let Some(allowed) = cx.state.get::<Allowed>() else {
            return;
        };
        allow(&mut head.headers, &allowed.policy, allowed.origin.as_value());
        put(
            &mut head.headers,
            "access-control-expose-headers",
            &allowed.policy.expose_headers,
        );
    }
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NotCrossOrigin,
    /// Answered here, with what is allowed.
    Preflight,
    /// Answered here, with nothing.
    ForeignPreflight,
    Allowed,
    /// Passes, and its answer says nothing to the browser.
    Foreign,
}

pub(crate) fn judge(policy: &CorsPolicy, head: &RequestHead) -> Verdict {
    let Some(origin) = head.headers.get("origin") else {
        return Verdict::NotCrossOrigin;
    };
    let allowed = origin
        .to_str()
        .is_some_and(|text| policy.allow_origins.iter().any(|rule| text_matches(rule, text)));
    let preflight = head.method == Method::OPTIONS && head.headers.contains("access-control-request-method");
    match (preflight, allowed) {
        (true, true) => Verdict::Preflight,
        (true, false) if !policy.forward_not_matching_preflights => Verdict::ForeignPreflight,
        (false, true) => Verdict::Allowed,
        (_, false) => Verdict::Foreign,
    }
}

fn preflight_answer(policy: &CorsPolicy, origin: Value<'_>) -> LocalReply {
    let mut headers = Headers::default();
    allow(&mut headers, policy, origin);
    put(&mut headers, "access-control-allow-methods", &policy.allow_methods);
    put(&mut headers, "access-control-allow-headers", &policy.allow_headers);
    put(&mut headers, "access-control-max-age", &policy.max_age);
    put(&mut headers, "access-control-expose-headers", &policy.expose_headers);
    LocalReply::new(200, "cors_response").headers(headers)
}

fn allow(headers: &mut Headers, policy: &CorsPolicy, origin: Value<'_>) {
    headers.set(Name::from_static("access-control-allow-origin"), origin);
    if policy.allow_credentials {
        headers.set(
            Name::from_static("access-control-allow-credentials"),
            Value::from_static("true"),
        );
    }
}

fn put(headers: &mut Headers, name: &'static str, text: &str) {
    if let (false, Ok(value)) = (text.is_empty(), Value::new(text.as_bytes())) {
        headers.set(Name::from_static(name), value);
    }
}
