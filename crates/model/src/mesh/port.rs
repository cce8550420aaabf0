//! Protocols, as a port declares them.

/// The protocol of a service port. Declared by `appProtocol` or by the port's name; [`Protocol::Auto`] where neither says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    MySql,
    Udp,
    /// Undeclared: HTTP or opaque TCP, told apart by the first bytes of each connection.
    Auto,
}

impl Protocol {
    /// Reads one declared word (`http`, `grpc`, `tls` …), ignoring case; `None` for a word that declares nothing.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Protocol::Http,
            "http2" | "kubernetes.io/h2c" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "grpc-web" => Protocol::GrpcWeb,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "redis" => Protocol::Redis,
            "mysql" => Protocol::MySql,
            "udp" => Protocol::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes service port: `UDP` by its transport, else `appProtocol`, else the name up to its first `-`
    /// (`grpc-web` whole), else [`Protocol::Auto`]. Port 3306 and other server-first protocols need declaring.
    pub fn of_port(transport: &str, app_protocol: Option<&str>, name: &str) -> Self {
        if transport.eq_ignore_ascii_case("UDP") {
            return Protocol::Udp;
        }
        if let Some(protocol) = app_protocol.and_then(Protocol::parse) {
            return protocol;
        }
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Protocol::GrpcWeb;
        }
        let word = name.split('-').next().unwrap_or_default();
        match Protocol::parse(word) {
            Some(Protocol::Udp) | None => Protocol::Auto,
            Some(protocol) => protocol,
        }
    }

    pub fn is_http(self) -> bool {
        matches!(
            self,
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb
        )
    }

    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Encrypted by the application itself, routed by SNI.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_declares_its_protocol_by_transport_app_protocol_then_name() {
        let cases = [
            ("TCP", None, "http", Protocol::Http),
            ("TCP", None, "HTTP-web", Protocol::Http),
            ("TCP", None, "grpc-web-x", Protocol::GrpcWeb),
            ("TCP", None, "grpc-stuff", Protocol::Grpc),
            ("TCP", None, "udp-x", Protocol::Auto),
            ("TCP", None, "", Protocol::Auto),
            ("TCP", None, "metrics", Protocol::Auto),
            ("TCP", Some("tcp"), "http", Protocol::Tcp),
            ("TCP", Some("kubernetes.io/h2c"), "x", Protocol::Http2),
            ("TCP", Some("unheard-of"), "http", Protocol::Http),
            ("UDP", None, "http", Protocol::Udp),
        ];
        for (transport, app, name, expected) in cases {
            assert_eq!(
                Protocol::of_port(transport, app, name),
                expected,
                "{transport} {app:?} {name}"
            );
        }
    }
}
