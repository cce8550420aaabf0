//! The public face of the crate: one test executable, a file per subject.

mod ca;
mod checks;
mod jwt;
mod support;
mod tls;
