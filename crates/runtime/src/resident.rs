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
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

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

/// Processor time within [`RESTING`] that is no work: timers, a look around, a readiness probe.
const LITTLE_TIME: Duration = Duration::from_millis(3);

/// So much more than after the last release is not worth another.
const FEW_PAGES: u64 = 256;

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
    let mut rest = Rest::new(cpu_time(), mapped_pages());
    loop {
        tokio::time::sleep(RESTING).await;
        if rest.has_come(cpu_time(), mapped_pages()) {
            release_code_when_settled().await;
            rest = Rest::new(cpu_time(), mapped_pages());
        }
    }
}

/// Tells rest after work: no processor time is used, and more of the executable is resident than after the last release.
#[derive(Debug)]
struct Rest {
    cpu: Duration,
    released: u64,
}

impl Rest {
    fn new(cpu: Duration, pages: u64) -> Self {
        Rest { cpu, released: pages }
    }

    fn has_come(&mut self, cpu: Duration, pages: u64) -> bool {
        let resting = cpu.saturating_sub(self.cpu) <= LITTLE_TIME;
        self.cpu = cpu;
        resting && pages.saturating_sub(self.released) > FEW_PAGES
    }
}

/// Processor time of all threads so far.
fn cpu_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let time = |value: TimeVal| {
        let seconds = Duration::from_secs(u64::try_from(value.tv_sec()).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or(0))
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// Resident pages that belong to files: code and constants. 0 where it cannot be read.
fn mapped_pages() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split_whitespace()
        .nth(2)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0)
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
    fn rest_comes_when_nothing_is_used_and_much_is_resident() {
        let mut rest = Rest::new(Duration::from_millis(100), 1000);
        let cases = [
            (100, 1000, false),
            (101, 1200, false),
            (150, 3000, false),
            (200, 3000, false),
            (202, 3000, true),
        ];
        for (milliseconds, pages, come) in cases {
            assert_eq!(
                rest.has_come(Duration::from_millis(milliseconds), pages),
                come,
                "{milliseconds} {pages}"
            );
        }
        assert!(
            mapped_pages() > 0 && cpu_time() < Duration::from_secs(3600),
            "the kernel's numbers are where they are thought to be"
        );
    }

    #[test]
    fn the_process_goes_on_after_it() {
        release_code().unwrap();
        assert_eq!(format!("{:?}", vec![1, 2]), "[1, 2]");
    }
}
