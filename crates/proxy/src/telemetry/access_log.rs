//! Access logs: a line per request, in text or JSON, to a file or to the standard output.
//!
//! Lines gather in a buffer per worker and log; full buffers, and once a second what there is, go to one writer thread. A reader that
//! does not read (a full pipe) costs lines, counted and reported, but never a request.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::record::Record;
use super::template::{Subject, Template};
use crate::head::{RequestHead, ResponseHead};
use crate::worker::Worker;

/// A buffer is handed over when it holds this much.
const FLUSH_BYTES: usize = 16 * 1024;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Buffers that may wait for the writer; more are dropped.
const QUEUE: usize = 64;

/// The format of today's Istio, field by field.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

pub enum Format {
    Text(Template),
    /// Keys in order, each with its value.
    Json(Vec<(Box<str>, Template)>),
}

impl Format {
    pub fn default_text() -> Self {
        Format::Text(Template::parse(DEFAULT_FORMAT).expect("our own format parses"))
    }

    pub fn text(format: &str) -> Result<Self, String> {
        if format.is_empty() { Ok(Format::default_text()) } else { Template::parse(format).map(Format::Text) }
    }

    /// # Errors
    /// A value that is no string, or a command that is unknown, by key.
    pub fn json(fields: &Map<String, Json>) -> Result<Self, String> {
        let field = |(key, value): (&String, &Json)| match value {
            Json::String(text) => Ok((key.as_str().into(), Template::parse(text).map_err(|e| format!("{key}: {e}"))?)),
            Json::Number(_) | Json::Bool(_) => Ok((key.as_str().into(), Template::literal(&value.to_string()))),
            _ => Err(format!("{key}: nested JSON formats are not supported; use flat keys")),
        };
        fields.iter().map(field).collect::<Result<_, _>>().map(Format::Json)
    }

    fn render(&self, subject: &Subject<'_>, out: &mut Vec<u8>) {
        match self {
            Format::Text(template) => template.render(subject, out),
            Format::Json(fields) => render_json(fields, subject, out),
        }
    }
}

fn render_json(fields: &[(Box<str>, Template)], subject: &Subject<'_>, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    out.push(b'{');
    for (i, (key, template)) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value.clear();
        template.render(subject, &mut value);
        let text = String::from_utf8_lossy(&value);
        // Neither a string nor writing into a vector can fail.
        let _ = serde_json::to_writer(&mut *out, &**key);
        out.push(b':');
        let _ = match &*text {
            "-" if !template.is_flags() => out.write_all(b"null"),
            digits if digits.len() < 16 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => out.write_all(&value),
            text => serde_json::to_writer(&mut *out, text).map_err(io::Error::from),
        };
    }
    out.extend_from_slice(b"}\n");
}

/// One configured log.
pub struct AccessLog {
    format: Format,
    writer: Arc<Writer>,
    /// Identifies this log's buffer in each worker.
    index: usize,
}

impl AccessLog {
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn file(path: &str, format: Format) -> io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Ok(AccessLog { format, writer: Writer::open(path)?, index: NEXT.fetch_add(1, Relaxed) })
    }

    pub fn log(&self, worker: &Worker, record: &Record, request: Option<&RequestHead>, response: Option<&ResponseHead>) {
        let subject = Subject { record, request, response };
        worker.telemetry.logs.with(self.index, &self.writer, |buffer| self.format.render(&subject, buffer));
    }
}

/// The buffers of one worker.
#[derive(Clone, Default)]
pub struct Buffers(Rc<RefCell<Vec<Option<Buffer>>>>);

struct Buffer {
    bytes: Vec<u8>,
    writer: Arc<Writer>,
    flush_planned: bool,
}

impl Buffers {
    fn with(&self, index: usize, writer: &Arc<Writer>, render: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.0.borrow_mut();
        if buffers.len() <= index {
            buffers.resize_with(index + 1, || None);
        }
        let Some(place) = buffers.get_mut(index) else { return };
        let buffer = place.get_or_insert_with(|| Buffer { bytes: Vec::new(), writer: writer.clone(), flush_planned: false });
        render(&mut buffer.bytes);
        if buffer.bytes.len() >= FLUSH_BYTES {
            buffer.flush();
        } else if !buffer.flush_planned {
            buffer.flush_planned = true;
            let buffers = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(FLUSH_INTERVAL).await;
                buffers.flush(index);
            });
        }
    }

    fn flush(&self, index: usize) {
        if let Some(Some(buffer)) = self.0.borrow_mut().get_mut(index) {
            buffer.flush_planned = false;
            buffer.flush();
        }
    }

    /// Hands over all that is buffered: at the end of a worker.
    pub fn flush_all(&self) {
        self.0.borrow_mut().iter_mut().flatten().for_each(Buffer::flush);
    }
}

impl Buffer {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.writer.send(std::mem::take(&mut self.bytes));
        }
    }
}

/// The thread that owns an open log. Logs of the same path share one.
pub struct Writer {
    queue: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
    path: String,
}

impl Writer {
    fn open(path: &str) -> io::Result<Arc<Self>> {
        static OPEN: OnceLock<std::sync::Mutex<Vec<Arc<Writer>>>> = OnceLock::new();
        let open = OPEN.get_or_init(Default::default);
        let mut writers = open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(writer) = writers.iter().find(|writer| writer.path == path) {
            return Ok(writer.clone());
        }
        let mut output = Output::open(path)?;
        let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE);
        let name = path.to_owned();
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            for bytes in lines {
                if let Err(error) = output.write_all(&bytes) {
                    tracing::warn!(path = name, %error, "access log lines lost");
                }
            }
        })?;
        let writer = Arc::new(Writer { queue, dropped: AtomicU64::new(0), path: path.to_owned() });
        writers.push(writer.clone());
        Ok(writer)
    }

    fn send(&self, bytes: Vec<u8>) {
        if self.queue.try_send(bytes).is_err() && self.dropped.fetch_add(1, Relaxed).is_multiple_of(1000) {
            tracing::warn!(path = self.path, "access log cannot keep up: lines are dropped");
        }
    }
}

enum Output {
    File(File),
    Stdout(io::Stdout),
    Stderr(io::Stderr),
}

impl Output {
    fn open(path: &str) -> io::Result<Self> {
        Ok(match path {
            "/dev/stdout" => Output::Stdout(io::stdout()),
            "/dev/stderr" => Output::Stderr(io::stderr()),
            path => Output::File(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Output::File(file) => file.write_all(bytes),
            Output::Stdout(out) => out.lock().write_all(bytes).and_then(|()| out.lock().flush()),
            Output::Stderr(out) => out.lock().write_all(bytes),
        }
    }
}
