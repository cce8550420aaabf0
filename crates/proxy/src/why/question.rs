//! What is asked: a request, and where it comes in.

use std::net::{IpAddr, SocketAddr};

use crate::config::Direction;
use crate::head::{Headers, HttpVersion, Method, Name, RequestHead, Text, Value};

/// A request that somebody wonders about.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) head: RequestHead,
    /// The server that a TLS client names. A client that names none and has no `protocols` speaks no TLS.
    pub(crate) server_name: Option<String>,
    /// ALPN of a TLS client; empty for one that names a server: what browsers offer.
    pub(crate) protocols: Vec<String>,
    pub(crate) way_in: WayIn,
    /// Whether the request comes to this workload or leaves it; `Unspecified`: leaves it, or whatever the way in is for.
    pub(crate) direction: Direction,
    /// Of the client.
    pub(crate) source: Option<IpAddr>,
    /// What the client speaks is no HTTP.
    pub(crate) opaque: bool,
    /// The client's certificate; `None`: whatever is asked for.
    pub(crate) certificate: Option<Certificate>,
}

/// What a TLS client has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    None,
    /// One of the mesh.
    Mesh,
}

/// Where the request meets the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WayIn {
    /// Whatever fits the URL.
    Url,
    Listener(String),
    Destination(SocketAddr),
    Port(u16),
}

/// A header line, and the longest URL: what a proxy would take from a client.
const MAX_TEXT: usize = 60 << 10;

impl Question {
    /// Reads the parameters of `/why`.
    ///
    /// # Errors
    /// Which one cannot be used, and what it may be.
    pub(crate) fn read<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut method = Method::GET;
        let mut url = None;
        let mut headers = Headers::default();
        let mut question = Question {
            head: RequestHead::blank(),
            server_name: None,
            protocols: Vec::new(),
            way_in: WayIn::Url,
            direction: Direction::Unspecified,
            source: None,
            opaque: false,
            certificate: None,
        };
        let mut host = None;
        let mut path = None;
        for (name, value) in parameters {
            if value.len() > MAX_TEXT {
                return Err(format!("`{name}` is longer than {MAX_TEXT} bytes"));
            }
            match name {
                "method" => {
                    method = Method::from_bytes(value.as_bytes())
                        .map_err(|_| format!("`method`: {value:?} is no HTTP method"))?;
                }
                "url" => url = Some(value),
                "header" => match header(value)? {
                    (name, value) if name == "host" => host = Some(value),
                    (name, value) => append(&mut headers, &name, &value)?,
                },
                "to" => question.way_in = way_in(value)?,
                "direction" => {
                    question.direction = match value {
                        "inbound" => Direction::Inbound,
                        "outbound" => Direction::Outbound,
                        _ => return Err(format!("`direction` is inbound or outbound, not {value:?}")),
                    }
                }
                "path" => path = Some(value),
                "protocol" => question.protocol(value)?,
                "certificate" => {
                    question.certificate = Some(match value {
                        "none" => Certificate::None,
                        "mesh" => Certificate::Mesh,
                        _ => return Err(format!("`certificate` is none or mesh, not {value:?}")),
                    });
                }
                "sni" => question.server_name = Some(value.to_ascii_lowercase()),
                "alpn" => question.protocols = value.split(',').map(str::to_owned).collect(),
                "source" => {
                    let address = value
                        .parse()
                        .map_err(|_| format!("`source`: {value:?} is no IP address"))?;
                    question.source = Some(address);
                }
                other => {
                    return Err(format!(
                        "there is no parameter {other:?}; there are method, url, path, protocol, header, to, direction, sni, alpn, certificate, source"
                    ));
                }
            }
        }
        let url = url
            .or_else(|| question.opaque.then_some("http://0.0.0.0/"))
            .ok_or("`url` is needed, such as http://reviews:9080/reviews/0")?;
        question.place(url, host)?;
        if let Some(path) = path {
            question.head.path = Text::from(path);
        }
        question.head.method = method;
        question.head.headers = headers;
        Ok(question)
    }

    fn protocol(&mut self, name: &str) -> Result<(), String> {
        match name {
            "HTTP/1.0" => self.head.version = HttpVersion::Http10,
            "HTTP/1.1" => self.head.version = HttpVersion::Http11,
            "HTTP/2" => self.head.version = HttpVersion::Http2,
            "bytes" => self.opaque = true,
            _ => {
                return Err(format!(
                    "`protocol` is HTTP/1.0, HTTP/1.1, HTTP/2 or bytes, not {name:?}"
                ));
            }
        }
        Ok(())
    }

    fn place(&mut self, url: &str, host: Option<String>) -> Result<(), String> {
        const FORM: &str = "write http://HOST[:PORT]/PATH";
        let uri: http::Uri = url
            .parse()
            .map_err(|error| format!("`url`: {url:?} has {error}; {FORM}"))?;
        let authority = uri
            .authority()
            .filter(|_| uri.scheme().is_some())
            .ok_or_else(|| format!("`url`: {url:?} has no host; {FORM}"))?;
        self.head.scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            other => return Err(format!("`url`: scheme {other:?} is neither http nor https")),
        };
        if self.head.scheme == "https" && self.server_name.is_none() {
            self.server_name = Some(authority.host().to_ascii_lowercase());
        }
        // As clients write it: without the port that the scheme has anyway.
        let default = if self.head.scheme == "https" { 443 } else { 80 };
        let written = match authority.port_u16() {
            Some(port) if port == default => authority.host().to_owned(),
            _ => authority.as_str().to_owned(),
        };
        self.head.authority = Text::from(host.unwrap_or(written));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        self.head.path = Text::from(path);
        // A host that is an address is where the client dials.
        if let (WayIn::Url, Ok(ip)) = (
            &self.way_in,
            authority.host().trim_matches(['[', ']']).parse::<IpAddr>(),
        ) {
            self.way_in = WayIn::Destination(SocketAddr::new(ip, authority.port_u16().unwrap_or(default)));
        }
        Ok(())
    }

    /// The port of the URL, written or not.
    pub(crate) fn port(&self) -> u16 {
        let bare = crate::http::routing::without_port(&self.head.authority);
        let written = self.head.authority.as_str()[bare.len()..]
            .trim_start_matches(':')
            .parse();
        written.unwrap_or(if self.head.scheme == "https" { 443 } else { 80 })
    }
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("`header`: {line:?} has no colon; write NAME:VALUE"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn append(headers: &mut Headers, name: &str, value: &str) -> Result<(), String> {
    match (Name::new(name), Value::new(value.as_bytes())) {
        (Ok(name), Ok(value)) => headers.append(name, value),
        _ => return Err(format!("`header`: {name:?} with {value:?} is no header")),
    }
    Ok(())
}

fn way_in(text: &str) -> Result<WayIn, String> {
    if let Ok(address) = text.parse() {
        return Ok(WayIn::Destination(address));
    }
    let digits = text.trim_start_matches(':');
    if let Ok(port) = digits.parse() {
        return Ok(WayIn::Port(port));
    }
    match digits.is_empty() || digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(format!(
            "`to`: {text:?} is neither IP:PORT, PORT, nor the name of a listener"
        )),
        false => Ok(WayIn::Listener(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[(&str, &str)]) -> Result<Question, String> {
        Question::read(text.iter().copied())
    }

    #[test]
    fn a_question_is_a_request() {
        let question = read(&[
            ("method", "POST"),
            ("url", "https://reviews:443/a?b"),
            ("header", "End-User: jason"),
            ("header", "host: other"),
            ("to", "10.0.0.1:443"),
            ("source", "10.0.0.9"),
        ])
        .unwrap();
        let head = &question.head;
        assert_eq!(
            (&head.method, head.scheme, head.path.as_str()),
            (&Method::POST, "https", "/a?b")
        );
        assert_eq!(
            (head.authority.as_str(), head.headers.text("end-user")),
            ("other", Some("jason"))
        );
        assert_eq!(question.server_name.as_deref(), Some("reviews"));
        assert_eq!(question.way_in, WayIn::Destination("10.0.0.1:443".parse().unwrap()));
        let ports = [
            ("http://a/", 80, "a"),
            ("https://a", 443, "a"),
            ("http://a:81/x", 81, "a:81"),
            ("http://a:80/", 80, "a"),
        ];
        for (url, port, authority) in ports {
            let question = read(&[("url", url)]).unwrap();
            assert_eq!(
                (question.port(), question.head.authority.as_str()),
                (port, authority),
                "{url}"
            );
        }
        assert_eq!(
            read(&[("url", "http://127.0.0.1:8080/")]).unwrap().way_in,
            WayIn::Destination("127.0.0.1:8080".parse().unwrap())
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[], "`url` is needed"),
            (&[("url", "reviews")], "has no host"),
            (&[("url", "ftp://a/")], "neither http nor https"),
            (&[("url", "http://a/"), ("method", "A B")], "no HTTP method"),
            (&[("url", "http://a/"), ("header", "x")], "has no colon"),
            (&[("url", "http://a/"), ("header", "a b:c")], "is no header"),
            (&[("url", "http://a/"), ("to", "999999")], "neither IP:PORT"),
            (&[("url", "http://a/"), ("protocol", "HTTP/3")], "`protocol` is"),
            (&[("url", "http://a/"), ("certificate", "x")], "`certificate` is"),
            (&[("url", "http://a/"), ("hedaer", "a:b")], "there is no parameter"),
        ];
        for (parameters, expected) in cases {
            let error = read(parameters).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
