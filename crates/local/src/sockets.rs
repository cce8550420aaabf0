//! Who listens where, from `/proc`: whether an application has opened its port, on which address, and who holds a port that
//! the mesh needs. Reading the table disturbs nobody, unlike a test connection.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// A listening TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    inode: u64,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// `TCP_LISTEN` as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";

/// All listening TCP sockets of this network namespace. Empty where `/proc` is not there.
pub(crate) fn listeners() -> Vec<Listener> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = parse(&read("/proc/net/tcp"));
    all.extend(parse(&read("/proc/net/tcp6")));
    all
}

/// Whether somebody accepts connections to exactly this address and port.
pub(crate) fn listening(table: &[Listener], address: Ipv4Addr, port: u16) -> bool {
    table.iter().any(|l| l.port == port && l.address == IpAddr::V4(address))
}

/// The process that listens on `port` at an address which covers `address`, if it may be seen.
pub(crate) fn holder(address: Ipv4Addr, port: u16) -> Option<Holder> {
    let covering = listeners()
        .into_iter()
        .filter(|l| l.port == port && covers(l.address, address));
    let inodes: HashSet<u64> = covering.map(|l| l.inode).collect();
    processes()
        .find(|pid| inodes_of(*pid).any(|inode| inodes.contains(&inode)))
        .map(|pid| Holder { pid, name: name(pid) })
}

/// Whether a process is on its way out: a zombie, or marked by the kernel as exiting.
pub(crate) fn is_ending(pid: u32) -> bool {
    const EXITING: u64 = 0x4;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return true;
    };
    let words: Vec<&str> = rest.split_whitespace().take(7).collect();
    let flags = words.get(6).and_then(|flags| flags.parse::<u64>().ok()).unwrap_or(0);
    matches!(words.first(), Some(&("Z" | "X" | "x"))) || flags & EXITING != 0
}

/// The listeners that processes of a process group hold.
pub(crate) fn of_group(table: &[Listener], group: u32) -> Vec<Listener> {
    let members = processes().filter(|pid| group_of(*pid) == Some(group));
    let inodes: HashSet<u64> = members.flat_map(inodes_of).collect();
    table.iter().filter(|l| inodes.contains(&l.inode)).copied().collect()
}

fn covers(bound: IpAddr, address: Ipv4Addr) -> bool {
    bound.is_unspecified() || bound == IpAddr::V4(address)
}

/// Reads the text of `/proc/net/tcp` or `/proc/net/tcp6`; lines that are not understood are passed over.
fn parse(text: &str) -> Vec<Listener> {
    text.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().take(10).collect();
    let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
    if *state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some(Listener {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

/// The kernel prints addresses as 32-bit words in its own byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |part: &str| u32::from_str_radix(part, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(hex)?))),
        32 if hex.is_ascii() => {
            let mut bytes = [0; 16];
            for (n, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(&hex[n * 8..n * 8 + 8])?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The sockets a process has open; none if it belongs to somebody else.
fn inodes_of(pid: u32) -> impl Iterator<Item = u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| socket_inode(&std::fs::read_link(entry.path()).ok()?))
}

fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The fifth field of `/proc/<pid>/stat`, counted after the name in parentheses (which may contain anything).
fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100407F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n\
             1: 0100407F:2383 0200407F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 0\n\
             2: broken\n";
        let v6 = "header\n\
             0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7 1\n\
             1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 8 1\n";
        let found: Vec<String> = [parse(v4), parse(v6)]
            .concat()
            .iter()
            .map(|l| format!("{} {}", l.address, l.port))
            .collect();
        assert_eq!(found, ["127.64.0.1 9090", ":: 8080", "127.0.0.1 80"]);
    }

    #[test]
    fn a_process_that_has_ended_is_ending() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_ending(child.id()));
        child.kill().unwrap();
        while !is_ending(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_ending(child.id()));
    }

    #[test]
    fn finds_our_own_listener_and_its_holder() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let table = listeners();
        assert!(listening(&table, Ipv4Addr::LOCALHOST, port));
        assert!(!listening(&table, Ipv4Addr::new(127, 0, 0, 9), port));
        assert_eq!(
            holder(Ipv4Addr::LOCALHOST, port).map(|h| h.pid),
            Some(std::process::id())
        );
        let group = group_of(std::process::id()).unwrap();
        assert!(of_group(&table, group).iter().any(|l| l.port == port));
    }
}
