//! What `/etc/resolv.conf` says (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::{fs, io};

/// Longest file that is read.
const MAX_BYTES: u64 = 64 << 10;
/// As in the system's own resolver.
const MAX_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// In order of preference.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
}

impl ResolvConf {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.len() > MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("longer than {MAX_BYTES} bytes"),
            ));
        }
        Ok(ResolvConf::parse(&String::from_utf8_lossy(&fs::read(path)?)))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                // The last of them counts, and `domain` is a search list of one.
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                _ => {}
            }
        }
        conf.servers.truncate(MAX_SERVERS);
        conf
    }
}

/// An address; one with a port is an extension for tests and for people who run a resolver elsewhere. A zone (`%eth0`) is left out.
fn server(word: &str) -> Option<SocketAddr> {
    let plain = word.split('%').next().unwrap_or_default();
    let ip = plain.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    ip.or_else(|| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_domains_are_read() {
        let text = "# a comment\nsearch old.example\n  nameserver 10.0.0.10\nnameserver fe80::1%eth0\nnameserver x\n\
                    search default.svc.cluster.local svc.cluster.local\noptions ndots:5\nnameserver 127.0.0.1:5353\nnameserver 1.1.1.1\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.10:53", "[fe80::1]:53", "127.0.0.1:5353"]);
        assert_eq!(conf.search, ["default.svc.cluster.local", "svc.cluster.local"]);
        assert_eq!(ResolvConf::parse("domain a.b c.d\n").search, ["a.b"]);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
    }
}
