//! Messages as JSON.
//!
//! The descriptors that this needs take 19 MB, which an allocator does not give back. A child of the same executable renders
//! and ends; only where there is no such child (the executable was replaced, or is a test) it is done here.

use std::io::{self, Read, Write};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use proto::envoy::google::protobuf::Any;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::refuse;

/// The hidden subcommand that the child runs.
pub(crate) const COMMAND: &str = "render";

/// Messages of one type, each as JSON; a list if there are several.
pub(super) struct Rendering {
    /// Full name of the type.
    pub(super) message: &'static str,
    pub(super) encoded: Vec<Vec<u8>>,
    pub(super) list: bool,
}

/// Renders one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Renderer {
    turn: Arc<Semaphore>,
    /// Whether this executable is one that dispatches on its name.
    spawns: bool,
}

// === impl Renderer ===

impl Renderer {
    pub(crate) fn new(spawns: bool) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Renderer { turn, spawns }
    }

    pub(super) async fn answer(&self, rendering: Rendering) -> Response {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        let rendered = match self.spawn(&rendering).await {
            Ok(json) => Ok(json),
            Err(error) => {
                if self.spawns {
                    tracing::warn!(%error, "no child to render JSON; doing it here");
                }
                let done = tokio::task::spawn_blocking(move || rendering.json()).await;
                done.map_err(|error| error.to_string()).flatten()
            }
        };
        match rendered {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    }

    async fn spawn(&self, rendering: &Rendering) -> io::Result<Vec<u8>> {
        if !self.spawns {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut child = Command::new(std::env::current_exe()?)
            .arg0(crate::NAME)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let request = rendering.pack();
        let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let send = async {
            let sent = input.write_all(&request).await;
            drop(input);
            sent
        };
        let (sent, output) = tokio::join!(send, child.wait_with_output());
        let output = output?;
        sent?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(io::Error::other(output.status.to_string()))
        }
    }
}

/// The child: a packed rendering on standard input, JSON on standard output.
pub(crate) fn main() -> ExitCode {
    let mut packed = Vec::new();
    let rendered = io::stdin()
        .lock()
        .read_to_end(&mut packed)
        .map_err(|error| error.to_string());
    let rendered = rendered.and_then(|_| Rendering::unpack(&packed).ok_or_else(|| "not a rendering".to_owned()));
    let written = rendered.and_then(|rendering| rendering.json()).and_then(|json| {
        let mut out = io::stdout().lock();
        out.write_all(&json)
            .and_then(|()| out.flush())
            .map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{COMMAND}: {error}");
            ExitCode::FAILURE
        }
    }
}

// === impl Rendering ===

/// The names that may be asked for: what is packed says which by its place.
const MESSAGES: [&str; 4] = [
    "envoy.admin.v3.ConfigDump",
    "envoy.admin.v3.ClustersConfigDump",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.service.discovery.v3.DiscoveryResponse",
];

impl Rendering {
    /// As a sequence of length-delimited `Any`s; the first says whether there is a list around the others.
    fn pack(&self) -> Vec<u8> {
        let head = Any {
            type_url: self.message.to_owned(),
            value: vec![u8::from(self.list)],
        };
        let mut packed = head.encode_length_delimited_to_vec();
        for encoded in &self.encoded {
            let any = Any {
                type_url: String::new(),
                value: encoded.clone(),
            };
            packed.extend(any.encode_length_delimited_to_vec());
        }
        packed
    }

    fn unpack(mut packed: &[u8]) -> Option<Rendering> {
        let head = Any::decode_length_delimited(&mut packed).ok()?;
        let mut encoded = Vec::new();
        while !packed.is_empty() {
            encoded.push(Any::decode_length_delimited(&mut packed).ok()?.value);
        }
        Some(Rendering {
            message: MESSAGES.into_iter().find(|name| *name == head.type_url)?,
            encoded,
            list: head.value == [1],
        })
    }

    fn json(&self) -> Result<Vec<u8>, String> {
        let pool = proto::descriptors::pool().map_err(|error| error.to_string())?;
        let descriptor = pool
            .get_message_by_name(self.message)
            .ok_or_else(|| format!("no message {}", self.message))?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(true);
        let mut out = Vec::new();
        if self.list {
            out.push(b'[');
        }
        for (i, encoded) in self.encoded.iter().enumerate() {
            if i > 0 {
                out.extend(b",\n");
            }
            let message = DynamicMessage::decode(descriptor.clone(), encoded.as_slice());
            let message = message.map_err(|error| error.to_string())?;
            let mut serializer = serde_json::Serializer::new(&mut out);
            message
                .serialize_with_options(&mut serializer, &options)
                .map_err(|error| error.to_string())?;
        }
        if self.list {
            out.push(b']');
        }
        out.push(b'\n');
        Ok(out)
    }
}

/// Seconds since the epoch.
pub(super) fn time(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_for_the_child_is_what_it_renders() {
        for message in MESSAGES {
            let rendering = Rendering {
                message,
                encoded: vec![Vec::new(), Vec::new()],
                list: true,
            };
            let unpacked = Rendering::unpack(&rendering.pack()).unwrap();
            assert_eq!(unpacked.message, message);
            assert_eq!(String::from_utf8(unpacked.json().unwrap()).unwrap(), "[{},\n{}]\n");
        }
        assert!(Rendering::unpack(b"nonsense").is_none());
    }
}
