//! `http_proxy` and `no_proxy`, read as curl reads them.

use std::net::IpAddr;

/// Through which proxy to call whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProxyEnv {
    proxy: Option<String>,
    exceptions: Vec<String>,
}

impl ProxyEnv {
    /// Reads the variables; lower case wins.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str, upper: &str| {
            variable(lower)
                .or_else(|| variable(upper))
                .filter(|text| !text.is_empty())
        };
        let proxy = either("http_proxy", "HTTP_PROXY").map(|text| authority(&text));
        let exceptions = either("no_proxy", "NO_PROXY").unwrap_or_default();
        let exceptions = exceptions
            .split([',', ' '])
            .map(|text| text.trim().trim_start_matches('.').to_ascii_lowercase());
        Self {
            proxy,
            exceptions: exceptions.filter(|text| !text.is_empty()).collect(),
        }
    }

    /// `host:port` of the proxy for calls of this host; `None`: directly.
    pub(crate) fn for_host(&self, host: &str) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        let excepted = self
            .exceptions
            .iter()
            .any(|exception| exception == "*" || covers(exception, &host));
        self.proxy.as_deref().filter(|_| !excepted)
    }
}

/// A name covers itself and what is below it; an address only itself.
fn covers(exception: &str, host: &str) -> bool {
    if exception == host {
        return true;
    }
    host.parse::<IpAddr>().is_err() && host.strip_suffix(exception).is_some_and(|rest| rest.ends_with('.'))
}

/// `http://user@host:port/` without what is around `host:port`.
fn authority(proxy: &str) -> String {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let has_port = rest
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        rest.to_owned()
    } else {
        format!("{rest}:1080")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_curl_reads_them() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
        let cases: [Case<'_>; 12] = [
            (&[], "details", None),
            (
                &[("http_proxy", "http://127.64.0.5:15002")],
                "details",
                Some("127.64.0.5:15002"),
            ),
            (
                &[("HTTP_PROXY", "127.64.0.5:15002/")],
                "details",
                Some("127.64.0.5:15002"),
            ),
            (
                &[("HTTP_PROXY", "http://b:2"), ("http_proxy", "http://a:1")],
                "details",
                Some("a:1"),
            ),
            (&[("http_proxy", "http://me:secret@a")], "details", Some("a:1080")),
            (&[("http_proxy", "")], "details", None),
            (
                &[("http_proxy", "a:1"), ("no_proxy", "localhost, 127.0.0.1")],
                "details",
                Some("a:1"),
            ),
            (
                &[("http_proxy", "a:1"), ("no_proxy", "localhost,127.0.0.1")],
                "127.0.0.1",
                None,
            ),
            (
                &[("http_proxy", "a:1"), ("no_proxy", ".example.org")],
                "www.EXAMPLE.org",
                None,
            ),
            (
                &[("http_proxy", "a:1"), ("no_proxy", "example.org")],
                "myexample.org",
                Some("a:1"),
            ),
            (&[("http_proxy", "a:1"), ("NO_PROXY", "*")], "details", None),
            (
                &[("http_proxy", "a:1"), ("no_proxy", "0.0.1")],
                "127.0.0.1",
                Some("a:1"),
            ),
        ];
        for (variables, host, expected) in cases {
            let env = ProxyEnv::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()));
            assert_eq!(env.for_host(host), expected, "{variables:?} {host}");
        }
    }
}
