//! Connections that do not leave the machine are not paced.
//!
//! A congestion control like BBR spreads over time what is sent, with a timer for every few packets. On a network that keeps the queues
//! short; between a sidecar and its application there is no queue but the receiver's buffer, and with long messages the timers cost as much
//! as the copying. So where the system's default paces, sockets whose two ends are here use Reno, which every kernel has and nobody is denied. It has to be
//! chosen before the connection begins: a socket that was paced once stays so.

use std::net::IpAddr;
use std::sync::LazyLock;

use socket2::Socket;

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const UNPACED: &[u8] = b"reno";

static SYSTEM_PACES: LazyLock<bool> = LazyLock::new(|| std::fs::read_to_string(DEFAULT).is_ok_and(|name| paces(&name)));

/// Names of the algorithms of Linux that ask the socket to be paced: `bbr` and its successors.
fn paces(name: &str) -> bool {
    name.trim_start().starts_with("bbr")
}

/// For a socket that is not connected yet, and will be within the machine only, or that listens to such. A wish: without it all works as well.
pub(crate) fn switch_off(socket: &Socket) {
    if *SYSTEM_PACES {
        let _ = socket.set_tcp_congestion(UNPACED);
    }
}

/// A connection between these stays on the machine for certain.
pub(crate) fn stays_here(remote: IpAddr, local: Option<IpAddr>) -> bool {
    remote.is_loopback() || local.is_some_and(|local| local.is_loopback() || local == remote)
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn only_what_certainly_stays_is_local() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let cases = [
            ("127.0.0.1", None, true),
            ("::1", None, true),
            ("10.0.0.1", Some("127.0.0.6"), true),
            ("10.0.0.1", Some("10.0.0.1"), true),
            ("10.0.0.1", Some("10.0.0.2"), false),
            ("10.0.0.1", None, false),
        ];
        for (remote, local, stays) in cases {
            assert_eq!(stays_here(ip(remote), local.map(ip)), stays, "{remote} {local:?}");
        }
    }

    #[test]
    fn what_the_system_paces_is_switched_to_what_everybody_may_use() {
        for (name, expected) in [("bbr\n", true), ("bbr2\n", true), ("cubic\n", false), ("", false)] {
            assert_eq!(paces(name), expected, "{name}");
        }
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_tcp_congestion(UNPACED).expect("allowed to everybody");
        assert!(socket.tcp_congestion().expect("asked").starts_with(UNPACED));
    }
}
