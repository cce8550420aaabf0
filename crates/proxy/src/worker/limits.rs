//! How many connections a worker takes.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors kept back for logs, xDS, admin, listeners and idle upstream connections.
const RESERVED: u64 = 256;
/// A proxied connection is two sockets.
const PER_CONNECTION: u64 = 2;
/// At a few tens of kilobytes each, more would be gigabytes: a flood must meet a limit of ours before it meets the machine's.
const MOST: u64 = 65_536;

/// Raises the soft limit of open files to the hard one. Desktop systems start at 1024, which a mesh's ingress outgrows in seconds.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(soft, hard, %error, "the limit of open files cannot be raised");
    }
}

/// An equal share of the descriptors this process may have.
pub(super) fn connections_per_worker(workers: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    share(files, workers)
}

fn share(files: u64, workers: usize) -> usize {
    let workers = u64::try_from(workers.max(1)).unwrap_or(1);
    let connections = files.saturating_sub(RESERVED) / PER_CONNECTION / workers;
    usize::try_from(connections.clamp(64, MOST)).unwrap_or(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out() {
        let cases = [
            (1024, 1, 384),
            (1024, 2, 192),
            (1_048_576, 2, 65_536),
            (100, 4, 64),
            (u64::MAX, 1, 65_536),
        ];
        for (files, workers, expected) in cases {
            assert_eq!(share(files, workers), expected, "{files} / {workers}");
        }
    }
}
