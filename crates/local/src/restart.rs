//! `meltemi restart`: asks the running mesh, and shows what it says.

use std::path::{Path, PathBuf};

use crate::control::{Request, ask, sockets};
use crate::flags::Restart;

pub(crate) fn run(flags: Restart) -> Result<(), String> {
    let (name, namespace) = flags.target();
    let candidates = match &flags.state_dir {
        Some(dir) => vec![dir.join("control.sock")],
        None => {
            let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            sockets(runtime_dir.as_deref(), &std::env::temp_dir())
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(first_that_answers(&candidates, &Request::Restart { name, namespace }));
    println_text(&answer.map_err(|error| printable(&error))?);
    Ok(())
}

/// A socket that nobody listens on is one that a killed mesh left.
async fn first_that_answers(candidates: &[PathBuf], request: &Request) -> Result<String, String> {
    for socket in candidates {
        if tokio::net::UnixStream::connect(socket).await.is_ok() {
            return ask(socket, request, println_text).await;
        }
    }
    let seen = candidates.first().map(PathBuf::as_path).and_then(Path::parent);
    let place = seen.map(|dir| format!(" at {}", dir.display())).unwrap_or_default();
    Err(format!("no mesh is running{place}; start one with: meltemi up DIR"))
}

#[allow(clippy::print_stdout)] // this is the command's output
fn println_text(text: &str) {
    println!("{}", printable(text));
}

/// Replies quote what processes have said, which must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b]0;b\x07\r\n\tc\u{9b}"), "a]0;b\n\tc");
    }
}
