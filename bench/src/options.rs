//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench", about = "What the proxy costs, beside its peers")]
pub struct Line {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub run: Run,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The `meltemi-sidecar` (or `meltemi`) to measure [default: the release build]
    #[arg(long, value_name = "PATH", global = true)]
    pub binary: Option<PathBuf>,
    /// Envoy's executable
    #[arg(long, value_name = "PATH", global = true, default_value = "envoy")]
    pub envoy: PathBuf,
    /// nginx's stream module [default: where Debian puts it]
    #[arg(
        long,
        value_name = "PATH",
        global = true,
        default_value = "/usr/lib/nginx/modules/ngx_stream_module.so"
    )]
    pub nginx_stream: PathBuf,
    /// TCP congestion control of the rig's own sockets
    #[arg(long, value_name = "NAME", global = true, default_value = "cubic")]
    pub congestion: String,
    /// TLS key exchange with the post-quantum hybrid instead of X25519
    #[arg(long, global = true)]
    pub post_quantum: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Scenarios, or beginnings of their names, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Proxies by name, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub proxies: Vec<String>,
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5)]
    pub duration: f64,
    /// Two short rounds
    #[arg(long)]
    pub quick: bool,
    /// `json`: the medians as JSON instead of tables
    #[arg(short, long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub output: String,
    /// Append each measurement as a line of JSON
    #[arg(long, value_name = "FILE")]
    pub raw: Option<PathBuf>,
    /// Write docs/performance.md and docs/performance.svg (a run of everything does so anyway)
    #[arg(long)]
    pub write: bool,
}

impl Run {
    pub fn rounds(&self) -> usize {
        if self.quick { 2 } else { self.rounds.max(1) }
    }

    pub fn duration(&self) -> f64 {
        if self.quick { 1.0 } else { self.duration }
    }

    pub fn wants_scenario(&self, name: &str) -> bool {
        let chosen =
            |wish: &String| name == wish || (wish.ends_with('*') && name.starts_with(wish.trim_end_matches('*')));
        self.only.is_empty() || self.only.iter().any(chosen)
    }

    pub fn wants_proxy(&self, name: &str) -> bool {
        self.proxies.is_empty() || self.proxies.iter().any(|wish| name == wish)
    }

    /// Whether this run measures all there is, so that it may replace the documentation.
    pub fn is_whole(&self) -> bool {
        self.only.is_empty() && self.proxies.is_empty() && !self.quick
    }
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Where a proxy's time goes in a scenario (perf, by CPU clock)
    Profile(Profile),
    /// System calls per request of each proxy (kernel tracepoints; as root)
    Syscalls(Syscalls),
    /// Show what earlier runs (--raw) brought; before it, --write writes the documentation
    Report { files: Vec<PathBuf> },
}

#[derive(Args, Clone, Debug)]
pub struct Profile {
    pub scenario: String,
    #[arg(long, default_value = "meltemi")]
    pub proxy: String,
    /// Lines shown
    #[arg(long, default_value_t = 40)]
    pub lines: usize,
    /// With callers (needs frame pointers or --call-graph dwarf)
    #[arg(long)]
    pub callers: bool,
    /// Keep perf's data here
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Syscalls {
    /// Scenarios, separated by commas
    #[arg(
        value_delimiter = ',',
        default_value = "h1-plain,h1-plain-5k,h1-mtls-in,h2-plain,h2-plain-5k,tcp-rr,tcp-cps"
    )]
    pub scenarios: Vec<String>,
    /// Proxies by name, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub proxies: Vec<String>,
}
