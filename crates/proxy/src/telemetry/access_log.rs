//! Access logs: a line per request, in text or JSON, to a file or to the standard output.
//!
//! Lines gather in a buffer per worker and file; full buffers, and once a second what there is, go to one writer thread. A reader that
//! does not read (a full pipe) costs lines, counted and reported, but never a request. [`flush`] waits for the writers at the end.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};

use super::record::Record;
use super::template::{Subject, Template};
use crate::clock;
use crate::head::{RequestHead, ResponseHead};
use crate::worker::Worker;

/// A buffer is handed over when it holds this much: to wake the writer costs as much as some lines.
const FLUSH_BYTES: usize = 64 * 1024;
/// Of a buffer from its first line on: with the line that fills it, it seldom has to grow.
const ROOM: usize = FLUSH_BYTES + 1024;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Buffers that may wait for the writer; more are dropped.
const QUEUE: usize = 16;
/// Buffers that were written out and wait to be filled again.
const SPARE: usize = 2;

/// The format of today's Istio, field by field.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

pub enum Format {
    Text(Template),
    Json(Vec<Field>),
}

/// One member of a JSON line, in the order of the configuration.
pub struct Field {
    key: Box<str>,
    value: Template,
    /// Written as it is rendered, without quotes: a number or a boolean.
    bare: bool,
}

impl Format {
    pub fn default_text() -> Self {
        Format::Text(Template::parse(DEFAULT_FORMAT).expect("our own format parses"))
    }

    pub fn text(format: &str) -> Result<Self, String> {
        if format.is_empty() {
            Ok(Format::default_text())
        } else {
            Template::parse(format).map(Format::Text)
        }
    }

    /// # Errors
    /// A value that is no string, or a command that is unknown, by key.
    pub fn json(fields: &Map<String, Json>) -> Result<Self, String> {
        let field = |(key, value): (&String, &Json)| {
            let (value, bare) = match value {
                Json::String(text) => {
                    let template = Template::parse(text).map_err(|e| format!("{key}: {e}"))?;
                    let number = template.is_number();
                    (template, number)
                }
                Json::Number(_) | Json::Bool(_) => (Template::literal(&value.to_string()), true),
                _ => return Err(format!("{key}: nested JSON formats are not supported; use flat keys")),
            };
            Ok(Field {
                key: key.as_str().into(),
                value,
                bare,
            })
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

fn render_json(fields: &[Field], subject: &Subject<'_>, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    out.push(b'{');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        value.clear();
        field.value.render(subject, &mut value);
        // Neither a string nor writing into a vector can fail.
        let _ = serde_json::to_writer(&mut *out, &*field.key);
        out.push(b':');
        let _ = match &*String::from_utf8_lossy(&value) {
            "-" if !field.value.is_flags() => out.write_all(b"null"),
            _ if field.bare => out.write_all(&value),
            text => serde_json::to_writer(&mut *out, text).map_err(io::Error::from),
        };
    }
    out.extend_from_slice(b"}\n");
}

/// One configured log.
pub struct AccessLog {
    format: Format,
    writer: Arc<Writer>,
}

impl AccessLog {
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn file(path: &str, format: Format) -> io::Result<Self> {
        Ok(AccessLog {
            format,
            writer: Writer::open(path)?,
        })
    }

    pub fn log(
        &self,
        worker: &Worker,
        record: &Record,
        request: Option<&RequestHead>,
        response: Option<&ResponseHead>,
    ) {
        let subject = Subject {
            record,
            request,
            response,
        };
        worker
            .telemetry
            .logs
            .with(&self.writer, |buffer| self.format.render(&subject, buffer));
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
    fn with(&self, writer: &Arc<Writer>, render: impl FnOnce(&mut Vec<u8>)) {
        let index = writer.index;
        let mut buffers = self.0.borrow_mut();
        if buffers.len() <= index {
            buffers.resize_with(index + 1, || None);
        }
        let Some(place) = buffers.get_mut(index) else { return };
        let buffer = place.get_or_insert_with(|| Buffer {
            bytes: Vec::new(),
            writer: writer.clone(),
            flush_planned: false,
        });
        if buffer.bytes.capacity() == 0 {
            buffer.bytes = writer.lend();
        }
        render(&mut buffer.bytes);
        if buffer.bytes.len() >= FLUSH_BYTES {
            buffer.flush();
        } else if !buffer.flush_planned {
            buffer.flush_planned = true;
            let buffers = self.clone();
            tokio::task::spawn_local(async move {
                clock::sleep(FLUSH_INTERVAL).await;
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

/// The thread that owns an open log. Logs of the same path share one, over all updates of listeners.
pub struct Writer {
    queue: SyncSender<Job>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    dropped: AtomicU64,
    path: String,
    /// Identifies this file's buffer in each worker.
    index: usize,
}

enum Job {
    Lines(Vec<u8>),
    /// Everything before is written: say so.
    Flush(SyncSender<()>),
}

fn open_writers() -> MutexGuard<'static, Vec<Arc<Writer>>> {
    static OPEN: Mutex<Vec<Arc<Writer>>> = Mutex::new(Vec::new());
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until what the workers handed over is written, but no longer than `limit`. For the end of the process.
pub fn flush(limit: Duration) {
    let end = Instant::now() + limit;
    let writers = open_writers().clone();
    let flushed = writers.iter().map(|writer| {
        let (done, flushed) = sync_channel(1);
        // A full queue belongs to a reader that does not read: there is nothing to wait for.
        let _ = writer.queue.try_send(Job::Flush(done));
        flushed
    });
    for done in flushed.collect::<Vec<Receiver<()>>>() {
        let _ = done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

impl Writer {
    fn open(path: &str) -> io::Result<Arc<Self>> {
        let mut writers = open_writers();
        if let Some(writer) = writers.iter().find(|writer| writer.path == path) {
            return Ok(writer.clone());
        }
        let output = Output::open(path)?;
        let (queue, jobs) = sync_channel(QUEUE);
        let name = path.to_owned();
        let spare = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let used = spare.clone();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&name, output, &jobs, &used))?;
        let writer = Arc::new(Writer {
            queue,
            spare,
            dropped: AtomicU64::new(0),
            path: path.to_owned(),
            index: writers.len(),
        });
        writers.push(writer.clone());
        Ok(writer)
    }

    /// Room for lines.
    fn lend(&self) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_else(|| Vec::with_capacity(ROOM))
    }

    fn send(&self, bytes: Vec<u8>) {
        if self.queue.try_send(Job::Lines(bytes)).is_err() && self.dropped.fetch_add(1, Relaxed).is_multiple_of(1000) {
            tracing::warn!(path = self.path, "access log cannot keep up: lines are dropped");
        }
    }
}

fn write(path: &str, mut output: Output, jobs: &Receiver<Job>, used: &Mutex<Vec<Vec<u8>>>) {
    for job in jobs {
        match job {
            Job::Lines(mut bytes) => {
                if let Err(error) = output.write_all(&bytes) {
                    tracing::warn!(path, %error, "access log lines lost");
                }
                bytes.clear();
                let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
                if used.len() < SPARE && bytes.capacity() <= 2 * ROOM {
                    used.push(bytes);
                }
            }
            Job::Flush(done) => drop(done.send(())),
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::config::{Action, DirectResponse, Direction, PathMatch, Route, RouteMatch};
    use crate::connection::ConnectionInfo;
    use crate::head::{Headers, Method, Name, Text, Value};
    use crate::telemetry::{Flags, HttpVersion};

    fn record() -> Record {
        let connection = ConnectionInfo {
            id: 1,
            local: "10.0.0.2:80".parse().expect("an address"),
            remote: "10.0.0.1:4000".parse().expect("an address"),
            redirected: false,
            direction: Direction::Inbound,
            server_name: None,
            tls: None,
            chain: None,
        };
        let mut record = Record::new(Rc::new(connection), Some(HttpVersion::Http11));
        record.started_at = Some(std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_020));
        (record.status, record.bytes_received, record.bytes_sent) = (503, 3, 5);
        record.duration = Duration::from_millis(12);
        record.details = "no_healthy_upstream".into();
        record.upstream.cluster_name = Some("outbound|80||a".into());
        record.route = Some(Arc::new(route("default")));
        record.flags.add(Flags::NO_HEALTHY_UPSTREAM);
        record
    }

    fn route(name: &str) -> Route {
        Route {
            name: name.into(),
            matches: RouteMatch {
                path: PathMatch::Connect,
                ignore_case: false,
                headers: vec![],
                query: vec![],
                grpc_only: false,
                fraction: None,
            },
            action: Action::Direct(DirectResponse {
                status: 503,
                body: Default::default(),
            }),
            request_headers: Default::default(),
            response_headers: Default::default(),
            origin: "".into(),
            rule: "".into(),
            cors: None,
            fault: None,
            operation: None,
        }
    }

    fn request() -> RequestHead {
        let mut headers = Headers::default();
        for (name, value) in [
            ("x-request-id", "007"),
            ("user-agent", "cu\"rl"),
            ("x-forwarded-for", "10.0.0.9"),
        ] {
            headers.append(Name::from_static(name), Value::from_static(value));
        }
        let (authority, path) = (Text::from("a:80"), Text::from("/x?y"));
        RequestHead {
            method: Method::GET,
            scheme: "http",
            authority,
            path,
            version: HttpVersion::Http11,
            headers,
        }
    }

    fn rendered(format: &Format) -> String {
        let (record, request) = (record(), request());
        let mut out = Vec::new();
        format.render(
            &Subject {
                record: &record,
                request: Some(&request),
                response: None,
            },
            &mut out,
        );
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_default_line_has_its_fields_in_order() {
        assert_eq!(
            rendered(&Format::default_text()),
            "[2023-11-14T22:13:20.020Z] \"GET /x?y HTTP/1.1\" 503 UH no_healthy_upstream - \"-\" 3 5 12 - \"10.0.0.9\" \
             \"cu\"rl\" \"007\" \"a:80\" \"-\" outbound|80||a - 10.0.0.2:80 10.0.0.1:4000 - default\n"
        );
    }

    #[test]
    fn json_keeps_types() {
        let fields = serde_json::json!({
            "code": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%",
            "id": "%REQ(X-REQUEST-ID)%",
            "agent": "%REQ(USER-AGENT)%",
            "missing": "%REQ(X-NONE)%",
            "both": "%RESPONSE_CODE% %DURATION%",
            "constant": 7,
        });
        let format = Format::json(fields.as_object().expect("an object")).expect("a format");
        let line: Json = serde_json::from_str(&rendered(&format)).expect("valid JSON");
        let expected = serde_json::json!({
            "code": 503, "flags": "UH", "id": "007", "agent": "cu\"rl", "missing": null, "both": "503 12", "constant": 7,
        });
        assert_eq!(line, expected);
        let nested = serde_json::json!({ "a": { "b": "c" } });
        assert!(
            Format::json(nested.as_object().expect("an object"))
                .err()
                .is_some_and(|error| error.starts_with("a: "))
        );
    }
}
