//! Directories of YAML, read and watched.
//!
//! A file counts when it has been written completely: it is closed after writing, renamed into place, or linked. Writing
//! alone says nothing, or half a file would be taken for the whole. The one exception is a file that appears together with
//! its directory, which may be read while it grows; its close then brings the rest.

mod filter;
mod scan;
mod source;

pub use scan::read_directory;
pub use source::{DirSource, WatchError};
