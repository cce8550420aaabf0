//! Every border where bytes become ours, fed with bytes that nobody meant.
//!
//! A target is a function of bytes that returns for all bytes there are: it panics where a law is broken. To add one, write the function
//! below `targets`, add its line to [`TARGETS`], and put examples of its input into `seeds/NAME/`, one a file. Two things then run it:
//!
//! - `tests/smoke.rs`, in every test run, on the stable toolchain: the seeds, what was found before (`regressions/NAME/`), and some
//!   thousand mutations of both, the same ones each time;
//! - `cargo xtask fuzz`: libFuzzer, which looks at the branches taken, for as long as one has patience.

pub mod mutate;
pub mod smoke;
mod targets;

use targets::{http1, http1_response_vs_hyper, http1_vs_hyper, http2};

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// In the order of the borders: downstream, upstream, control plane.
pub const TARGETS: &[Target] = &[
    target("http1_request", http1::request),
    target("http1_response", http1::response),
    target("http1_chunked", http1::chunked),
    target("http1_vs_hyper", http1_vs_hyper::run),
    target("http1_response_vs_hyper", http1_response_vs_hyper::run),
    target("hpack_decode", http2::hpack),
    target("http2_frames", http2::frames),
    target("http2_connection_server", http2::connection_server),
    target("http2_connection_client", http2::connection_client),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
