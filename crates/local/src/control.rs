//! The control socket of a running mesh: one JSON line asks, JSON lines answer until the matter is done.
//!
//! The socket lies in the state directory, which only its owner may enter.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::state::owned_itself;

/// A request is one short line.
const MAX_LINE: u64 = 4096;
/// More callers than this wait.
const MAX_CALLERS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum Request {
    Restart { name: String, namespace: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Progress(String),
    Done(String),
    Error(String),
}

/// A request and the way back.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) replies: mpsc::UnboundedSender<Reply>,
}

/// Binds the socket for its owner alone.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes calls for as long as anybody listens to them.
pub(crate) async fn serve(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let mut callers = JoinSet::new();
    loop {
        while callers.len() >= MAX_CALLERS {
            callers.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                callers.spawn_local(answer(stream, calls.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while callers.try_join_next().is_some() {}
    }
}

async fn answer(stream: UnixStream, calls: mpsc::Sender<Call>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let _ = BufReader::new(read.take(MAX_LINE)).read_line(&mut line).await;
    let (replies, mut answers) = mpsc::unbounded_channel();
    match serde_json::from_str(&line) {
        Ok(request) => {
            let _ = calls.send(Call { request, replies }).await;
        }
        Err(error) => {
            let _ = replies.send(Reply::Error(format!("request not understood: {error}")));
            drop(replies);
        }
    }
    while let Some(reply) = answers.recv().await {
        let Ok(mut text) = serde_json::to_string(&reply) else {
            return;
        };
        text.push('\n');
        if write.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks a running mesh and hands each reply to `show`; the last one is the result.
pub(crate) async fn ask(socket: &Path, request: &Request, mut show: impl FnMut(&str)) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", socket.display());
    let stream = UnixStream::connect(socket).await.map_err(failed)?;
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_string(request).map_err(|error| error.to_string())?;
    text.push('\n');
    write.write_all(text.as_bytes()).await.map_err(failed)?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        match serde_json::from_str(&line).map_err(|error| format!("answer not understood: {error}"))? {
            Reply::Progress(text) => show(&text),
            Reply::Done(text) => return Ok(text),
            Reply::Error(text) => return Err(text),
        }
    }
    Err("the mesh ended before it was done".into())
}

/// Control sockets of meshes that may be running, the one started last first.
pub(crate) fn sockets(runtime_dir: Option<&Path>, tmp: &Path) -> Vec<PathBuf> {
    let own = format!("meltemi-{}-", nix::unistd::geteuid());
    let list = |dir: PathBuf| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let in_tmp = list(tmp.to_owned()).filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&own))
    });
    let in_runtime = runtime_dir.into_iter().flat_map(|dir| list(dir.join("meltemi")));
    let mut found: Vec<PathBuf> = in_runtime
        .chain(in_tmp)
        .filter(|dir| owned_itself(dir))
        .map(|dir| dir.join("control.sock"))
        .filter(|path| path.exists())
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().and_then(|meta| meta.modified()).ok()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_answered_until_it_is_done() {
        let path = std::env::temp_dir().join(format!("mlt-control-{}.sock", std::process::id()));
        let local = tokio::task::LocalSet::new();
        let (calls, mut incoming) = mpsc::channel(1);
        local.spawn_local(serve(bind(&path).unwrap(), calls));
        local.spawn_local(async move {
            while let Some(call) = incoming.recv().await {
                let Request::Restart { name, namespace } = call.request;
                call.replies
                    .send(Reply::Progress(format!("{name} of {namespace}")))
                    .unwrap();
                call.replies
                    .send(if name == "bad" {
                        Reply::Error("no".into())
                    } else {
                        Reply::Done("yes".into())
                    })
                    .unwrap();
            }
        });
        local
            .run_until(async {
                let restart = |name: &str| Request::Restart {
                    name: name.into(),
                    namespace: "default".into(),
                };
                let mut shown = Vec::new();
                let done = ask(&path, &restart("web"), |text| shown.push(text.to_owned())).await;
                assert_eq!((done, shown), (Ok("yes".into()), vec!["web of default".to_owned()]));
                assert_eq!(ask(&path, &restart("bad"), |_| {}).await, Err("no".into()));

                let mut stream = UnixStream::connect(&path).await.unwrap();
                stream.write_all(b"{\"command\": \"dance\"}\n").await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                assert!(text.contains("request not understood"), "{text}");
            })
            .await;
        std::fs::remove_file(path).unwrap();
    }
}
