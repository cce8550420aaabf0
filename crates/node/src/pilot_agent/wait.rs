//! `pilot-agent wait`: ends when the proxy is ready, or when patience does.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::EXIT_USAGE;
use super::flags::Wait;
use crate::address::HostPort;
use crate::http_client::Call;

pub(super) async fn run(wait: Wait) -> ExitCode {
    let Some((target, path)) = split(&wait.url) else {
        eprintln!(
            "pilot-agent wait: `{}` is no URL of the form http://host:port/path",
            wait.url
        );
        return ExitCode::from(EXIT_USAGE);
    };
    let end = Instant::now() + Duration::from_secs(wait.timeout_seconds);
    loop {
        let timeout = Duration::from_millis(wait.request_timeout_millis);
        let reason = match (Call {
            timeout,
            ..Call::get(&target, &path)
        })
        .send()
        .await
        {
            Ok(answer) if answer.status().is_success() => return ExitCode::SUCCESS,
            Ok(answer) => String::from_utf8_lossy(answer.body()).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            eprintln!("pilot-agent wait: not ready after {} s: {reason}", wait.timeout_seconds);
            return ExitCode::FAILURE;
        }
        sleep(Duration::from_millis(wait.period_millis)).await;
    }
}

fn split(url: &str) -> Option<(HostPort, String)> {
    let url: http::Uri = url.parse().ok()?;
    if url.scheme_str() != Some("http") {
        return None;
    }
    let host = url.host()?.trim_matches(['[', ']']).to_owned();
    let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Some((
        HostPort {
            host,
            port: url.port_u16().unwrap_or(80),
        },
        path,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let (target, path) = split("http://localhost:15021/healthz/ready?x=1").unwrap();
        assert_eq!(
            (target.to_string().as_str(), path.as_str()),
            ("localhost:15021", "/healthz/ready?x=1")
        );
        assert_eq!(split("http://[::1]/").unwrap().0.to_string(), "[::1]:80");
        assert!(split("https://a:1/").is_none() && split("a:1").is_none());
    }
}
