//! Giving start-up code back.
//!
//! A process reads its command line, its configuration and its first secrets once, with code that it never needs again; the kernel
//! maps that code in 64 KiB steps and counts it as resident for the life of the process: three quarters of what an idle sidecar
//! holds. [`release_code`] unmaps it. What is needed again is mapped again from the page cache, without a read from disk.
//!
//! This is the one place in the workspace with `unsafe` code: unmapping memory is unsafe by nature, and no system call without an
//! address does it. It is sound because only mappings are touched that are backed by a file, cannot be written, and hold no page of
//! their own (`Anonymous: 0 kB`): every byte in them is the file's, so what comes back on the next access is what was there.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs;
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};

/// A read-only file mapping without pages of its own.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
}

/// What a process does after it has become ready before it is taken to be up.
const SETTLING: Duration = Duration::from_secs(2);

/// How often a process that is up looks whether it has come to rest.
const RESTING: Duration = Duration::from_secs(5);

/// Ticks within [`RESTING`] that are no work: timers, and looking itself.
const LITTLE: u64 = 1;

/// Waits a moment for the last of the start, then gives its code back.
pub async fn release_code_when_settled() {
    tokio::time::sleep(SETTLING).await;
    if let Err(error) = release_code() {
        tracing::debug!(%error, "start-up code stays resident");
    }
}

/// As [`release_code_when_settled`], and once more each time the process has worked and come to rest: what a burst of requests or a
/// dump of the configuration needed is not kept for good. Never completes.
pub async fn release_code_at_rest() {
    release_code_when_settled().await;
    let mut rest = Rest::new(cpu_ticks());
    loop {
        tokio::time::sleep(RESTING).await;
        if rest.has_come(cpu_ticks()) {
            release_code_when_settled().await;
        }
    }
}

/// Tells rest after work by the processor time that has been used.
#[derive(Debug)]
struct Rest {
    last: u64,
    released: u64,
}

impl Rest {
    fn new(now: u64) -> Self {
        Rest {
            last: now,
            released: now,
        }
    }

    /// Whether the process has rested since the last call, for the first time after it had worked.
    fn has_come(&mut self, now: u64) -> bool {
        let resting = now.saturating_sub(self.last) <= LITTLE;
        let worked = now.saturating_sub(self.released) > LITTLE;
        self.last = now;
        if resting && worked {
            self.released = now;
        }
        resting && worked
    }
}

/// Processor time of all threads so far, in the kernel's ticks of 10 ms; 0 where it cannot be read.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name and may hold anything; after it, user and system time are the 12th and 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

/// Unmaps code and constants of this process that are not in use right now. Call it once the process is up; it costs a few hundred
/// microseconds then, and the same again for what turns out to be needed.
///
/// # Errors
/// If `/proc/self/smaps` cannot be read; then nothing has changed.
pub fn release_code() -> io::Result<()> {
    for mapping in clean_mappings(&fs::read_to_string("/proc/self/smaps")?) {
        let Some(start) = NonNull::new(mapping.start as *mut c_void) else {
            continue;
        };
        // SAFETY: the range is one whole mapping of this process, taken from the kernel just now, and code and constants are never
        // unmapped while a process runs. It is file-backed, not writable and holds no anonymous page, so dropping its pages
        // changes no byte that anybody can read.
        let released = unsafe { madvise(start, mapping.length, MmapAdvise::MADV_DONTNEED) };
        if let Err(error) = released {
            tracing::debug!(%error, "start-up code stays resident");
        }
    }
    Ok(())
}

fn clean_mappings(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(mapping) = header(line) {
            current = mapping;
        } else if line
            .strip_prefix("Anonymous:")
            .is_some_and(|rest| rest.trim() == "0 kB")
        {
            found.extend(current.take());
        }
    }
    found
}

/// A mapping's first line: `Some(None)` for one that must not be touched, `None` for any other line.
fn header(line: &str) -> Option<Option<Mapping>> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (
        usize::from_str_radix(start, 16).ok()?,
        usize::from_str_radix(end, 16).ok()?,
    );
    let permissions = words.next()?;
    let path = words.nth(3).unwrap_or_default();
    let clean = permissions.starts_with('r')
        && permissions.ends_with('p')
        && !permissions.contains('w')
        && path.starts_with('/');
    Some((clean && end > start).then(|| Mapping {
        start,
        length: end - start,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_untouched_files_are_released() {
        let mapping =
            |line: &str, anonymous: u32| format!("{line}\nSize: 8 kB\nAnonymous: {anonymous} kB\nVmFlags: rd mr\n");
        let smaps = [
            mapping("1000-3000 r-xp 00001000 fe:00 7  /usr/bin/x", 0),
            mapping("4000-5000 r--p 00003000 fe:00 7  /usr/bin/x", 4),
            mapping("5000-6000 rw-p 00004000 fe:00 7  /usr/bin/x", 0),
            mapping("6000-7000 r--p 00000000 00:00 0", 0),
            mapping("7000-8000 r--p 00000000 00:00 0  [vvar]", 0),
            mapping("8000-9000 r--s 00000000 fe:00 8  /tmp/shared", 0),
        ]
        .concat();
        assert_eq!(
            clean_mappings(&smaps),
            [Mapping {
                start: 0x1000,
                length: 0x2000
            }]
        );
    }

    #[test]
    fn rest_comes_once_after_work() {
        let mut rest = Rest::new(100);
        let seen = [
            (100, false),
            (101, false),
            (150, false),
            (200, false),
            (201, true),
            (201, false),
            (202, false),
            (230, false),
            (230, true),
        ];
        for (ticks, come) in seen {
            assert_eq!(rest.has_come(ticks), come, "{ticks}");
        }
        assert!(cpu_ticks() < 1_000_000, "fields are where they are thought to be");
    }

    #[test]
    fn the_process_goes_on_after_it() {
        release_code().unwrap();
        assert_eq!(format!("{:?}", vec![1, 2]), "[1, 2]");
    }
}
