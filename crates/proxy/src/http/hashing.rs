//! The hash by which consistent balancers choose an endpoint for a request.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::HashPolicy;
use crate::head::{OwnedValue, RequestHead};

/// What hash policies make of a request.
#[derive(Default)]
pub(super) struct Hash {
    pub(super) value: Option<u64>,
    /// A cookie made now, so that this client's next request finds the same endpoint.
    pub(super) cookie: Option<OwnedValue>,
}

/// Each policy that finds something mixes in; a terminal one ends.
pub(super) fn hash_of(policies: &[HashPolicy], request: &RequestHead, client: SocketAddr) -> Hash {
    let mut hash = Hash::default();
    for policy in policies {
        let (found, terminal) = match policy {
            HashPolicy::Header { name, terminal } => (request.field(name).map(hash_text), *terminal),
            HashPolicy::SourceIp { terminal } => (Some(hash_text(&client.ip().to_string())), *terminal),
            HashPolicy::Query { name, terminal } => (query_value(request.query(), name).map(hash_text), *terminal),
            HashPolicy::Cookie {
                name,
                ttl,
                path,
                attributes,
                terminal,
            } => {
                let found = cookie(request, name).map(hash_text).or_else(|| {
                    let value = format!("{:016x}", fastrand::u64(..));
                    hash.cookie = Some(set_cookie(name, &value, (*ttl)?, path, attributes)?);
                    Some(hash_text(&value))
                });
                (found, *terminal)
            }
        };
        if let Some(found) = found {
            hash.value = Some(hash.value.map_or(found, |old| old.rotate_left(1) ^ found));
            if terminal {
                break;
            }
        }
    }
    hash
}

/// The hash of a request that somebody wonders about; `None` where chance has a part in it, or what is not known: the client's
/// address, or a field that the headers' operations change.
pub(crate) fn hash_of_question(
    policies: &[HashPolicy],
    request: &RequestHead,
    client: Option<SocketAddr>,
    changed: &[String],
) -> Option<u64> {
    let unknown = |policy: &HashPolicy| match policy {
        HashPolicy::Header { name, .. } => changed.iter().any(|one| one.trim_start_matches('-') == &**name),
        HashPolicy::SourceIp { .. } => client.is_none(),
        HashPolicy::Query { .. } | HashPolicy::Cookie { .. } => false,
    };
    if policies.iter().any(unknown) {
        return None;
    }
    let nobody = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
    let hash = hash_of(policies, request, client.unwrap_or(nobody));
    hash.value.filter(|_| hash.cookie.is_none())
}

fn hash_text(text: &str) -> u64 {
    xxhash_rust::xxh64::xxh64(text.as_bytes(), 0)
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
}

fn cookie<'a>(request: &'a RequestHead, name: &str) -> Option<&'a str> {
    let cookies = request
        .headers
        .all("cookie")
        .filter_map(|value| value.to_str())
        .flat_map(|line| line.split(';'));
    cookies
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value.trim_matches('"'))
}

/// A time to live of zero makes a session cookie.
fn set_cookie(name: &str, value: &str, ttl: Duration, path: &str, attributes: &str) -> Option<OwnedValue> {
    let age = if ttl.is_zero() {
        String::new()
    } else {
        format!("; Max-Age={}", ttl.as_secs())
    };
    let path = if path.is_empty() {
        String::new()
    } else {
        format!("; Path={path}")
    };
    OwnedValue::new(format!("{name}=\"{value}\"{age}{path}{attributes}; HttpOnly").into_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Headers, Method, Name, Text, Value};
    use crate::telemetry::HttpVersion;

    fn request(path: &str, cookie: Option<&str>) -> RequestHead {
        let mut headers = Headers::default();
        headers.append(Name::from_static("x-user"), Value::from_static("ann"));
        if let Some(cookie) = cookie {
            headers.append(
                Name::from_static("cookie"),
                Value::new(cookie.as_bytes()).expect("a value"),
            );
        }
        let (path, authority) = (Text::from(path), Text::from("a"));
        RequestHead {
            method: Method::GET,
            scheme: "http",
            authority,
            path,
            version: HttpVersion::Http11,
            headers,
        }
    }

    fn client() -> SocketAddr {
        "10.0.0.1:1".parse().expect("an address")
    }

    #[test]
    fn the_same_request_hashes_the_same_and_a_terminal_policy_ends() {
        let header = |terminal| HashPolicy::Header {
            name: "x-user".into(),
            terminal,
        };
        let query = || HashPolicy::Query {
            name: "q".into(),
            terminal: false,
        };
        let hash = |policies: &[HashPolicy], path: &str| hash_of(policies, &request(path, None), client()).value;
        assert_eq!(hash(&[header(false)], "/a"), hash(&[header(false)], "/b"));
        assert_eq!(hash(&[query()], "/a"), None);
        assert_ne!(
            hash(&[header(false), query()], "/?q=1"),
            hash(&[header(false), query()], "/?q=2")
        );
        assert_eq!(
            hash(&[header(true), query()], "/?q=1"),
            hash(&[header(true), query()], "/?q=2")
        );
    }

    #[test]
    fn a_missing_cookie_is_made_where_it_has_a_time_to_live() {
        let policy = |ttl| {
            [HashPolicy::Cookie {
                name: "sess".into(),
                ttl,
                path: "/p".into(),
                attributes: "; SameSite=Lax; Secure".into(),
                terminal: false,
            }]
        };
        let none = hash_of(&policy(None), &request("/", None), client());
        assert!(none.value.is_none() && none.cookie.is_none());
        let made = hash_of(&policy(Some(Duration::from_secs(60))), &request("/", None), client());
        let cookie = made
            .cookie
            .clone()
            .expect("a cookie")
            .as_value()
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            cookie.starts_with("sess=\"")
                && cookie.ends_with("\"; Max-Age=60; Path=/p; SameSite=Lax; Secure; HttpOnly"),
            "{cookie}"
        );
        // What the client sends back leads to the same endpoint.
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        let again = hash_of(
            &policy(Some(Duration::from_secs(60))),
            &request("/", Some(&format!("x=y; {pair}"))),
            client(),
        );
        assert_eq!((again.value, again.cookie), (made.value, None));
    }
}
