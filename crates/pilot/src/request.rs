//! `pilot-discovery request GET /debug/syncz`: asks a running pilot, for tools that can only run a command beside it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::flags::RequestFlags;

const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn main(flags: &RequestFlags) -> ExitCode {
    match ask(flags) {
        Ok((true, body)) => {
            let written = io::stdout().write_all(body.as_bytes());
            if written.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok((false, answer)) => {
            eprintln!("{answer}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cannot ask the pilot at {}: {error}; is it running?", flags.address);
            ExitCode::FAILURE
        }
    }
}

/// HTTP/1.0, so that the body simply ends with the connection.
fn ask(flags: &RequestFlags) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&flags.address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let body = flags.body.as_deref().unwrap_or_default();
    let head = format!(
        "{} {} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        flags.method.to_uppercase(),
        flags.path,
        flags.address,
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status == "200" {
        return Ok((true, body.to_owned()));
    }
    Ok((false, format!("{}\n{body}", head.lines().next().unwrap_or_default())))
}
