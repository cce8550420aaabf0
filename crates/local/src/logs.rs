//! Log files of processes: bounded, and read back when something fails or somebody watches.
//!
//! Processes append to their files themselves, so that logging costs no way through us and loses nothing when we die. A
//! file that has grown too long is moved into `….1` and begun anew.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A log and its predecessor together stay below twice this.
const MAX_SIZE: u64 = 8 << 20;

/// How much of a file's end is looked at for its last lines.
const TAIL: u64 = 16 << 10;

/// Follows all logs of a directory.
#[derive(Debug)]
pub(crate) struct Follower {
    directory: PathBuf,
    read: HashMap<PathBuf, u64>,
}

/// The last lines of a log after `from`, without escape sequences. `from` moves to the log's end.
pub(crate) fn tail(path: &Path, from: &mut u64, lines: usize) -> Vec<String> {
    let mut read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        // A log that is shorter than it was has been begun anew.
        let start = if *from > length { 0 } else { *from };
        *from = length;
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL))))?;
        let mut text = Vec::new();
        file.take(TAIL).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<String> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
    all[all.len().saturating_sub(lines)..].to_vec()
}

/// Shortens the logs of a directory that have grown too long.
pub(crate) fn bound(directory: &Path) {
    for path in files(directory) {
        if path.metadata().is_ok_and(|meta| meta.len() > MAX_SIZE) {
            let old = path.with_extension("log.1");
            // Writers have the file open for appending: truncating lets them go on from its beginning.
            if fs::copy(&path, &old).is_ok() {
                let _ = File::options().write(true).truncate(true).open(&path);
            }
        }
    }
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
}

fn printable(line: &str) -> String {
    line.chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .take(500)
        .collect()
}

impl Follower {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Follower {
            directory,
            read: HashMap::new(),
        }
    }

    /// Writes every whole line that has come since the last call, each with the name of its log.
    pub(crate) fn pump(&mut self, out: &mut impl Write) -> io::Result<()> {
        for path in files(&self.directory).collect::<Vec<_>>() {
            let offset = self.read.entry(path.clone()).or_default();
            let mut file = File::open(&path)?;
            if file.metadata()?.len() < *offset {
                *offset = 0;
            }
            file.seek(SeekFrom::Start(*offset))?;
            let mut text = Vec::new();
            file.take(1 << 20).read_to_end(&mut text)?;
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            *offset += whole as u64;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            for line in String::from_utf8_lossy(&text[..whole]).lines() {
                writeln!(out, "[{name}] {}", printable(line))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_followed_bounded_and_read_from_the_end() {
        let dir = std::env::temp_dir().join(format!("mlt-logs-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("web-1.app.log");
        fs::write(&path, "one\n\u{1b}[31mtwo\u{1b}[0m\nthr").unwrap();
        let mut follower = Follower::new(dir.clone());
        let mut pump = || {
            let mut out = Vec::new();
            follower.pump(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(pump(), "[web-1.app] one\n[web-1.app] [31mtwo[0m\n");
        fs::write(&path, "one\n\u{1b}[31mtwo\u{1b}[0m\nthree\n").unwrap();
        assert_eq!(pump(), "[web-1.app] three\n");
        let mut from = 0;
        assert_eq!(tail(&path, &mut from, 2), ["[31mtwo[0m", "three"]);
        assert!(tail(&path, &mut from, 2).is_empty(), "nothing has come since");
        assert!(tail(&dir.join("none.log"), &mut from, 2).is_empty());

        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(MAX_SIZE + 1)
            .unwrap();
        bound(&dir);
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert!(dir.join("web-1.app.log.1").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
