//! Who holds a port: read from `/proc`, for the message of a bind that failed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// State `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// `bookinfo (pid 4711)` if a process that we may look into listens there; only a courtesy, so every failure is `None`.
pub fn owner_of(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, address))?;
    process_of(&format!("socket:[{inode}]"))
}

/// The inode of the socket that listens on `address` or on all addresses of its port.
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let local = parse_address(local)?;
        let same_ip = local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified();
        (*state == LISTEN && local.port() == address.port() && same_ip).then(|| inode.parse().ok())?
    })
}

/// `0100007F:1F90`: words of the address in the machine's byte order, port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| u32::from_str_radix(ip.get(8 * index..8 * index + 8)?, 16).ok();
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].map(u32::to_ne_bytes);
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn process_of(socket: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?;
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| holds(*pid, socket)).map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{} (pid {pid})", name.trim())
    })
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == Path::new(socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_listener_in_the_kernels_table() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2222 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3333 1 0 100 0 0 10 0
";
        let inode = |address: &str| listening_inode(table, address.parse().expect("address"));
        if cfg!(target_endian = "little") {
            assert_eq!(inode("127.0.0.1:8080"), Some(1111));
        }
        assert_eq!(inode("127.0.0.2:80"), Some(2222));
        assert_eq!(inode("127.0.0.1:8081"), None);
    }

    #[test]
    fn finds_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let owner = owner_of(listener.local_addr().expect("bound")).expect("this process");
        assert!(owner.contains(&format!("pid {}", std::process::id())), "{owner}");
    }
}
