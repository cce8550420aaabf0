//! Where each field of a document stands.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// Line of each path (`spec.http[0].timeout`) of an object. Paths are kept as hashes: a mesh has many fields, and only the
/// few that are wrong are ever asked for.
#[derive(Clone, Debug, Default)]
pub struct LineMap {
    lines: Arc<HashMap<u64, u32>>,
    /// Path of the object in its document: `items[3]` inside a List, else empty.
    prefix: String,
    /// Line of the object itself.
    first: u32,
}

impl LineMap {
    /// The line of `path`, or of the nearest enclosing field that has one.
    pub fn line(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(&hash(&join(&self.prefix, path))) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.first,
            }
        }
    }

    /// The map of the part of this document at `path`.
    pub(crate) fn below(&self, path: &str) -> LineMap {
        LineMap {
            lines: Arc::clone(&self.lines),
            prefix: join(&self.prefix, path),
            first: self.line(path),
        }
    }
}

/// Notes lines while a document is read.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    lines: HashMap<u64, u32>,
}

impl Recorder {
    pub(crate) fn note(&mut self, path: &str, line: u32) {
        self.lines.entry(hash(path)).or_insert(line);
    }

    pub(crate) fn finish(self, first: u32) -> LineMap {
        LineMap {
            lines: Arc::new(self.lines),
            prefix: String::new(),
            first,
        }
    }
}

fn hash(path: &str) -> u64 {
    xxh3_64(path.as_bytes())
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_enclosing_field_answers_for_what_is_not_there() {
        let mut recorder = Recorder::default();
        recorder.note("items[1]", 20);
        recorder.note("items[1].spec", 24);
        recorder.note("items[1].spec.hosts", 25);
        let item = recorder.finish(1).below("items[1]");
        let cases = [
            ("spec.hosts", 25),
            ("spec.hosts[7].x", 25),
            ("spec.gateways", 24),
            ("metadata.name", 20),
            ("", 20),
        ];
        for (path, line) in cases {
            assert_eq!(item.line(path), line, "{path}");
        }
    }
}
