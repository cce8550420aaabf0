//! Our reading of a connection's requests against hyper's: whatever we take for a request, hyper must take for the same one, with the same
//! body. The other way round nothing is asked: we refuse more, and mean to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use codec::http1::{BodyDecoder, Limits, Progress, ReceivedRequest, request_head};
use codec::{Headers, Method};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;

/// A request as one of the two read it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    authority: String,
    path: String,
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// `None`: not whole.
    body: Option<Vec<u8>>,
}

pub fn run(data: &[u8]) {
    let ours = read_ours(data);
    if ours.is_empty() {
        return;
    }
    let theirs = read_hypers(data);
    for (at, request) in ours.iter().enumerate() {
        match theirs.get(at) {
            Some(other) => assert_same(request, other),
            None if is_explained(request) => return,
            None => panic!("hyper refuses request {at}: {request:?}"),
        }
    }
}

fn assert_same(ours: &Seen, theirs: &Seen) {
    assert_eq!(
        (&ours.method, &ours.authority, &ours.path, &ours.fields),
        (&theirs.method, &theirs.authority, &theirs.path, &theirs.fields)
    );
    if let Some(body) = &ours.body {
        assert_eq!(Some(body), theirs.body.as_ref());
    }
}

/// What we accept and hyper does not, each with the reason why we do.
fn is_explained(request: &Seen) -> bool {
    // Browsers and scripts send them as they are (JSON in a query), and they mean nothing to any parser of HTTP.
    request.path.contains(['`', '"'])
}

fn read_ours(data: &[u8]) -> Vec<Seen> {
    let (mut seen, mut from) = (Vec::new(), 0);
    loop {
        let limits = Limits::default();
        let mut spare = Headers::default();
        let received = request_head(&data[from..], &mut Progress::default(), &limits, "http", &mut spare);
        let Ok(Some(received)) = received else { return seen };
        if received.fault.is_some() {
            return seen;
        }
        from += received.length;
        let body = read_body(&received, &data[from..]);
        let goes_on = received.keep_alive && received.head.method != Method::CONNECT && !received.upgrade;
        // hyper does not look for `keep-alive` beside options of other bytes than text, and closes.
        let goes_on = goes_on
            && received
                .head
                .headers
                .all("connection")
                .all(|value| value.to_str().is_some());
        let (body, length) = body.unzip();
        seen.push(in_common_terms(received, body));
        match length {
            Some(length) if goes_on => from += length,
            _ => return seen,
        }
    }
}

/// The body and its length on the wire, if it is whole.
fn read_body(received: &ReceivedRequest, input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::new(received.body, &Limits::default());
    let (mut body, mut from) = (Vec::new(), 0);
    loop {
        let step = decoder.decode(&input[from..]).ok()?;
        body.extend_from_slice(&input[from..][step.data.clone()]);
        from += step.consumed;
        if step.end {
            return Some((body, from));
        }
        if step.consumed == 0 {
            return None;
        }
    }
}

fn in_common_terms(received: ReceivedRequest, body: Option<Vec<u8>>) -> Seen {
    let head = received.head;
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in head.headers.iter() {
        fields
            .entry(name.to_owned())
            .or_default()
            .push(value.as_bytes().to_vec());
    }
    Seen {
        method: head.method.to_string(),
        authority: head.authority.as_str().to_owned(),
        path: head.path.as_str().to_owned(),
        fields,
        body,
    }
}

fn read_hypers(data: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = {
        let seen = seen.clone();
        service_fn(move |request| record(seen.clone(), request))
    };
    let wire = Wire::client(data);
    {
        let connection = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .half_close(true)
            .serve_connection(wire, service);
        let mut connection = pin!(connection);
        // Its input is there and its output goes nowhere: what does not end in a few polls waits for ever.
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..64 {
            if connection.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
    }
    seen.take()
}

type Record = Rc<RefCell<Vec<Seen>>>;

async fn record(seen: Record, request: http::Request<Incoming>) -> Result<http::Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let at = seen.borrow().len();
    seen.borrow_mut().push(of_hyper(&parts));
    if let Ok(body) = body.collect().await {
        seen.borrow_mut()[at].body = Some(body.to_bytes().to_vec());
    }
    Ok(http::Response::new(Empty::new()))
}

/// The values of each name, in order.
pub(super) fn fields_of(headers: &http::HeaderMap) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in headers {
        fields
            .entry(name.to_string())
            .or_default()
            .push(value.as_bytes().to_vec());
    }
    fields
}

fn of_hyper(parts: &http::request::Parts) -> Seen {
    let mut fields = fields_of(&parts.headers);
    let host = fields.remove("host").and_then(|hosts| hosts.into_iter().next());
    let host = host.map(|host| String::from_utf8_lossy(&host).into_owned());
    let authority = parts.uri.authority().map(ToString::to_string).or(host);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // An absolute URI without a path means the root, or with OPTIONS the server itself: hyper leaves that to its user.
    let path = match path {
        "/" if parts.method == Method::OPTIONS && parts.uri.scheme().is_some() => "*".to_owned(),
        path if path.starts_with('?') => format!("/{path}"),
        path => path.to_owned(),
    };
    Seen {
        method: parts.method.to_string(),
        authority: authority.unwrap_or_default(),
        path,
        fields,
        body: None,
    }
}

/// A connection whose peer sends this and closes its side.
pub(super) struct Wire {
    left: Vec<u8>,
    has_begun: bool,
}

impl Wire {
    pub(super) fn client(data: &[u8]) -> Self {
        Wire {
            left: data.to_vec(),
            has_begun: true,
        }
    }

    /// As [`Wire::client`], but it waits until it was spoken to.
    pub(super) fn server(data: &[u8]) -> Self {
        Wire {
            left: data.to_vec(),
            has_begun: false,
        }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.has_begun {
            return Poll::Pending; // who polls does so again, woken or not
        }
        let length = into.remaining().min(self.left.len());
        into.put_slice(&self.left[..length]);
        self.left.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.has_begun = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
