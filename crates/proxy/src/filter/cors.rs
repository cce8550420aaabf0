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
            Verdict::Preflight => Flow::Respond(preflight_answer(&policy, head, Some(origin))),
            Verdict::ForeignPreflight => Flow::Respond(preflight_answer(&policy, head, None)),
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
    /// Answered here, without leave for its origin.
    ForeignPreflight,
    Allowed,
    /// Passes, and its answer says nothing to the browser.
    Foreign,
}

pub(crate) fn judge(policy: &CorsPolicy, head: &RequestHead) -> Verdict {
    let Some(origin) = head
        .headers
        .get("origin")
        .filter(|origin| !origin.as_bytes().is_empty())
    else {
        return Verdict::NotCrossOrigin;
    };
    // A rule that `*` fulfils is for everybody.
    let fits = |text: &str| {
        policy
            .allow_origins
            .iter()
            .any(|rule| text_matches(rule, "*") || text_matches(rule, text))
    };
    let allowed = origin.to_str().is_some_and(fits);
    let asked = head.headers.text("access-control-request-method").unwrap_or_default();
    let preflight = head.method == Method::OPTIONS && !asked.is_empty();
    match (preflight, allowed) {
        (true, true) => Verdict::Preflight,
        (true, false) if !policy.forward_not_matching_preflights => Verdict::ForeignPreflight,
        (false, true) => Verdict::Allowed,
        (_, false) => Verdict::Foreign,
    }
}

/// `*` stands for what the browser asks for. `origin`: who may read the answer.
fn preflight_answer(policy: &CorsPolicy, request: &RequestHead, origin: Option<Value<'_>>) -> LocalReply {
    let asked = |allowed: &str, name: &str| match allowed {
        "*" => request.headers.text(name).unwrap_or_default().to_owned(),
        listed => listed.to_owned(),
    };
    let methods = asked(&policy.allow_methods, "access-control-request-method");
    let fields = asked(&policy.allow_headers, "access-control-request-headers");
    let mut headers = Headers::default();
    match origin {
        Some(origin) => {
            allow(&mut headers, policy, origin);
            put(&mut headers, "access-control-expose-headers", &policy.expose_headers);
        }
        None => allow_credentials(&mut headers, policy),
    }
    put(&mut headers, "access-control-allow-methods", &methods);
    put(&mut headers, "access-control-allow-headers", &fields);
    put(&mut headers, "access-control-max-age", &policy.max_age);
    LocalReply::new(200, "cors_response").headers(headers)
}

fn allow(headers: &mut Headers, policy: &CorsPolicy, origin: Value<'_>) {
    headers.set(Name::from_static("access-control-allow-origin"), origin);
    allow_credentials(headers, policy);
}

fn allow_credentials(headers: &mut Headers, policy: &CorsPolicy) {
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
