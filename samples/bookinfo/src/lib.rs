//! Bookinfo: a page about one book, made by four services that call each other. The application of every Istio tutorial, small enough
//! to run a dozen times on a laptop.
//!
//! ```text
//! productpage ──> details
//!             └─> reviews v1 | v2 | v3 ──> ratings        (v1 calls nobody, v2 paints black stars, v3 red ones)
//! ```
//!
//! The services know nothing of a mesh. They call each other by service name, honour `http_proxy` as every well-behaved program does,
//! and pass on the headers that tie a request's spans together. Each is one thread.

mod answer;
mod client;
mod details;
mod headers;
mod productpage;
mod proxy_env;
mod ratings;
mod reviews;
mod server;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

pub use server::{Running, ServeError, start};

/// One service of the bookinfo sample.
#[derive(Debug, Parser)]
#[command(name = "bookinfo")]
pub struct Options {
    /// Which service.
    #[arg(value_enum)]
    pub service: Service,
    /// Version of the service: reviews v1, v2, v3; ratings v1, v-faulty, v-delayed, v-unavailable, v-unhealthy.
    #[arg(long, env = "SERVICE_VERSION", default_value = "v1")]
    pub version: String,
    /// Port to listen on.
    #[arg(long, default_value_t = 9080)]
    pub port: u16,
    /// Address to listen on.
    #[arg(long, value_name = "ADDR", env = "MELTEMI_BIND_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind: IpAddr,
    /// Print a line for each request.
    #[arg(long)]
    pub log_requests: bool,
}

/// The four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// The web page.
    Productpage,
    /// Facts about the book.
    Details,
    /// What readers say.
    Reviews,
    /// Stars for the reviews.
    Ratings,
}

/// The command. `args[0]` is its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(ServeError::Runtime).and_then(|runtime| {
        runtime.block_on(async {
            let address = SocketAddr::new(options.bind, options.port);
            start(&options, address, |name| std::env::var(name).ok())
                .await?
                .until_signal()
                .await
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bookinfo: {error}");
            ExitCode::FAILURE
        }
    }
}
