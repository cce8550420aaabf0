//! `pilot-agent request`: one question to the proxy's admin, the bare answer on standard output.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use http::Method;

use super::EXIT_USAGE;
use super::flags::Request;
use crate::address::HostPort;
use crate::http_client::Call;

pub(super) async fn run(request: Request) -> ExitCode {
    let Ok(method) = request.method.to_ascii_uppercase().parse::<Method>() else {
        eprintln!("pilot-agent request: `{}` is no method: GET or POST", request.method);
        return ExitCode::from(EXIT_USAGE);
    };
    let target = HostPort {
        host: request.admin_address,
        port: request.admin_port,
    };
    let path = if request.path.starts_with('/') {
        request.path
    } else {
        format!("/{}", request.path)
    };
    let body = request.body.unwrap_or_default().into();
    let patience = Duration::from_secs(60);
    let call = Call {
        method,
        body,
        timeout: patience,
        limit: 1 << 30,
        ..Call::get(&target, &path)
    };
    let answer = match call.send().await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!(
                "pilot-agent request: {error}; is a proxy running, and its admin there (--proxyAdminAddress, --proxyAdminPort)?"
            );
            return ExitCode::FAILURE;
        }
    };
    let printed = std::io::stdout().write_all(answer.body());
    if !answer.status().is_success() {
        eprintln!("pilot-agent request: {target} answers {} to {path}", answer.status());
        return ExitCode::FAILURE;
    }
    if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
