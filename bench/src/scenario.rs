//! What is measured: the traffic, which way TLS is spoken, and who takes part.

use crate::peers::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    Tcp,
}

/// What stands behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Http,
    /// Responses of 1 MiB.
    Big,
    Sink,
    Echo,
    /// An echo server that closes after the first answer. It closes first so that the ports in TIME_WAIT are its own: were they the
    /// proxy's, most of the cost of a connection would be the search for a free port.
    Once,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Request,
    Connection,
    Megabyte,
}

impl Unit {
    pub fn word(self) -> &'static str {
        match self {
            Unit::Request => "request",
            Unit::Connection => "connection",
            Unit::Megabyte => "MB",
        }
    }
}

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub protocol: Protocol,
    pub upstream: Upstream,
    pub tls_in: bool,
    pub tls_out: bool,
    /// The rig's mode and its options.
    pub load: &'static [&'static str],
    pub unit: Unit,
    pub peers: &'static [Peer],
    /// Post-quantum key exchange on both sides.
    pub post_quantum: bool,
    /// Tickets are offered and used.
    pub resumption: bool,
}

use Peer::{
    Direct, Envoy, EnvoyLog, Floor, Haproxy, HaproxySplice, Hypermin, Meltemi, MeltemiLog, MeltemiTwo, Nginx, Relay,
    RelaySplice,
};

const HTTP: &[Peer] = &[
    Direct, Relay, Floor, Haproxy, Nginx, Hypermin, Envoy, EnvoyLog, Meltemi, MeltemiLog, MeltemiTwo,
];
const HTTP_FIXED: &[Peer] = &[
    Direct, Relay, Floor, Haproxy, Nginx, Hypermin, Envoy, EnvoyLog, Meltemi, MeltemiLog,
];
const HTTP_BODIES: &[Peer] = &[
    Direct,
    Relay,
    RelaySplice,
    Floor,
    Haproxy,
    Nginx,
    Hypermin,
    Envoy,
    Meltemi,
];
const HTTP_TLS: &[Peer] = &[Floor, Haproxy, Nginx, Hypermin, Envoy, Meltemi];
const HTTP2: &[Peer] = &[
    Direct, Relay, Haproxy, Nginx, Hypermin, Envoy, EnvoyLog, Meltemi, MeltemiLog, MeltemiTwo,
];
const HTTP2_TLS: &[Peer] = &[Haproxy, Nginx, Hypermin, Envoy, Meltemi];
const TCP: &[Peer] = &[
    Direct,
    Relay,
    RelaySplice,
    Haproxy,
    HaproxySplice,
    Nginx,
    Envoy,
    Meltemi,
];
const TCP_TLS: &[Peer] = &[Haproxy, Nginx, Envoy, Meltemi];
const TCP_MESH: &[Peer] = &[Envoy, Meltemi];

const LOAD: &[&str] = &["load", "--connections", "64"];
const LOAD_5K: &[&str] = &["load", "--connections", "64", "--rate", "5000"];
const LOAD_H2: &[&str] = &["load", "--h2", "--connections", "4", "--streams", "32"];
const LOAD_H2_5K: &[&str] = &[
    "load",
    "--h2",
    "--connections",
    "4",
    "--streams",
    "32",
    "--rate",
    "5000",
];
const DOWN: &[&str] = &["load", "--connections", "8"];
const UP: &[&str] = &["load", "--connections", "8", "--request", "1048576"];
const RR: &[&str] = &["rr", "--connections", "64"];
const CPS: &[&str] = &["cps", "--connections", "32"];
const BULK: &[&str] = &["bulk", "--connections", "4"];

const BASE: Scenario = Scenario {
    name: "",
    what: "",
    protocol: Protocol::Http1,
    upstream: Upstream::Http,
    tls_in: false,
    tls_out: false,
    load: LOAD,
    unit: Unit::Request,
    peers: HTTP_TLS,
    post_quantum: false,
    resumption: false,
};
const H2: Scenario = Scenario {
    protocol: Protocol::Http2,
    load: LOAD_H2,
    peers: HTTP2_TLS,
    ..BASE
};
const BYTES: Scenario = Scenario {
    protocol: Protocol::Tcp,
    upstream: Upstream::Echo,
    load: RR,
    peers: TCP_TLS,
    ..BASE
};

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "h1-plain",
        what: "HTTP/1.1, 64 connections, as fast as it goes",
        peers: HTTP,
        ..BASE
    },
    Scenario {
        name: "h1-plain-5k",
        what: "HTTP/1.1, 64 connections, 5,000 requests a second",
        load: LOAD_5K,
        peers: HTTP_FIXED,
        ..BASE
    },
    Scenario {
        name: "h1-mtls-out",
        what: "HTTP/1.1 in, mutual TLS out",
        tls_out: true,
        ..BASE
    },
    Scenario {
        name: "h1-mtls-in",
        what: "mutual TLS in, HTTP/1.1 out",
        tls_in: true,
        ..BASE
    },
    Scenario {
        name: "h1-mtls-out-5k",
        what: "HTTP/1.1 in, mutual TLS out, 5,000 requests a second",
        tls_out: true,
        load: LOAD_5K,
        ..BASE
    },
    Scenario {
        name: "h1-mtls-in-5k",
        what: "mutual TLS in, HTTP/1.1 out, 5,000 requests a second",
        tls_in: true,
        load: LOAD_5K,
        ..BASE
    },
    Scenario {
        name: "h2-plain",
        what: "HTTP/2, gRPC-like, 4 connections with 32 streams each",
        peers: HTTP2,
        ..H2
    },
    Scenario {
        name: "h2-plain-5k",
        what: "HTTP/2, gRPC-like, 5,000 requests a second",
        load: LOAD_H2_5K,
        peers: HTTP2,
        ..H2
    },
    Scenario {
        name: "h2-mtls-out",
        what: "HTTP/2 in, HTTP/2 over mutual TLS out",
        tls_out: true,
        ..H2
    },
    Scenario {
        name: "h2-mtls-in",
        what: "HTTP/2 over mutual TLS in, HTTP/2 out",
        tls_in: true,
        ..H2
    },
    Scenario {
        name: "h1-1MiB-down",
        what: "HTTP/1.1, responses of 1 MiB, 8 connections",
        upstream: Upstream::Big,
        load: DOWN,
        peers: HTTP_BODIES,
        ..BASE
    },
    Scenario {
        name: "h1-1MiB-up",
        what: "HTTP/1.1, requests of 1 MiB, 8 connections",
        load: UP,
        peers: HTTP_BODIES,
        ..BASE
    },
    Scenario {
        name: "h1-1MiB-mtls-out",
        what: "HTTP/1.1, responses of 1 MiB over mutual TLS out",
        upstream: Upstream::Big,
        tls_out: true,
        load: DOWN,
        ..BASE
    },
    Scenario {
        name: "tcp-rr",
        what: "TCP, 128 bytes there and back, 64 connections",
        peers: TCP,
        ..BYTES
    },
    Scenario {
        name: "tcp-cps",
        what: "TCP: connect, one byte there and back, close",
        upstream: Upstream::Once,
        load: CPS,
        unit: Unit::Connection,
        peers: TCP,
        ..BYTES
    },
    Scenario {
        name: "tcp-bulk",
        what: "TCP, bytes as fast as they go, 4 connections",
        upstream: Upstream::Sink,
        load: BULK,
        unit: Unit::Megabyte,
        peers: TCP,
        ..BYTES
    },
    Scenario {
        name: "mtls-rr-out",
        what: "TCP in, mutual TLS out: 128 bytes there and back",
        tls_out: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-rr-in",
        what: "mutual TLS in, TCP out: 128 bytes there and back",
        tls_in: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-out",
        what: "mutual TLS out: connect, one byte there and back, close",
        upstream: Upstream::Once,
        tls_out: true,
        load: CPS,
        unit: Unit::Connection,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-in",
        what: "mutual TLS in: connect, one byte there and back, close",
        upstream: Upstream::Once,
        tls_in: true,
        load: CPS,
        unit: Unit::Connection,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-out-pq",
        what: "the same out, with the post-quantum key exchange",
        upstream: Upstream::Once,
        tls_out: true,
        load: CPS,
        unit: Unit::Connection,
        peers: TCP_MESH,
        post_quantum: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-in-pq",
        what: "the same in, with the post-quantum key exchange",
        upstream: Upstream::Once,
        tls_in: true,
        load: CPS,
        unit: Unit::Connection,
        peers: TCP_MESH,
        post_quantum: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-out-resumed",
        what: "the same out, X25519, where the server gives tickets",
        upstream: Upstream::Once,
        tls_out: true,
        load: CPS,
        unit: Unit::Connection,
        peers: TCP_MESH,
        resumption: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-cps-in-resumed",
        what: "the same in, X25519, where the client uses tickets if it gets any",
        upstream: Upstream::Once,
        tls_in: true,
        load: CPS,
        unit: Unit::Connection,
        peers: TCP_MESH,
        resumption: true,
        ..BYTES
    },
    Scenario {
        name: "mtls-bulk-out",
        what: "TCP in, mutual TLS out, 4 connections",
        upstream: Upstream::Sink,
        tls_out: true,
        load: BULK,
        unit: Unit::Megabyte,
        ..BYTES
    },
    Scenario {
        name: "mtls-bulk-in",
        what: "mutual TLS in, TCP out, 4 connections",
        upstream: Upstream::Sink,
        tls_in: true,
        load: BULK,
        unit: Unit::Megabyte,
        ..BYTES
    },
];

pub fn find(name: &str) -> anyhow::Result<&'static Scenario> {
    let found = ALL.iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        anyhow::anyhow!("no scenario `{name}`; there are {}", names.join(", "))
    })
}
