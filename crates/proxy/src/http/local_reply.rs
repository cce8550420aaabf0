//! Answers that come from the proxy itself.
//!
//! This is the one place where a cause becomes a status, a body and Envoy's words for it; retry, outlier detection, log and
//! metrics read the record that it fills.

use std::borrow::Cow;

use bytes::Bytes;

use crate::head::{Headers, Method, Name, RequestHead, ResponseHead, Value, names};
use crate::telemetry::{Flags, Record};

pub struct LocalReply {
    pub status: u16,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: Cow<'static, str>,
    pub body: Bytes,
    pub flags: Flags,
    pub headers: Headers,
    grpc_status: Option<u32>,
    close: bool,
}

impl LocalReply {
    pub fn new(status: u16, details: impl Into<Cow<'static, str>>) -> Self {
        LocalReply {
            status,
            details: details.into(),
            body: Bytes::new(),
            flags: Flags::default(),
            headers: Headers::default(),
            grpc_status: None,
            close: false,
        }
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn flag(mut self, flags: Flags) -> Self {
        self.flags.add(flags);
        self
    }

    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.set(Name::from_static(name), Value::from_static(value));
        self
    }

    /// The connection ends with this answer: what follows on it may not be a request.
    pub(super) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    pub(super) fn closes(&self) -> bool {
        self.close
    }

    /// For gRPC callers: this code instead of the one the status maps to.
    pub fn grpc_status(mut self, code: u32) -> Self {
        self.grpc_status = Some(code);
        self
    }

    /// The answer for `request`: plain text, or for a gRPC caller a trailers-only response with the text as its message.
    pub fn into_response(self, request: &RequestHead, record: &mut Record) -> (ResponseHead, Bytes) {
        record.flags.add(self.flags);
        record.details = self.details;
        if record.grpc {
            let code = self.grpc_status.unwrap_or_else(|| grpc_code(self.status));
            record.grpc_status = Some(code);
            return (grpc_head(self.headers, code, &self.body), Bytes::new());
        }
        let mut head = ResponseHead::new(self.status);
        head.headers = self.headers;
        let bodiless = is_bodiless(request, self.status);
        if !self.body.is_empty() && !is_bodiless_status(self.status) {
            head.headers.set_number(names::CONTENT_LENGTH, self.body.len() as u64);
            if !head.headers.contains("content-type") {
                head.headers.set(names::CONTENT_TYPE, Value::from_static("text/plain"));
            }
        }
        (head, if bodiless { Bytes::new() } else { self.body })
    }
}

/// Whether HTTP forbids a body in an answer of this status to this request.
pub(super) fn is_bodiless(request: &RequestHead, status: u16) -> bool {
    request.method == Method::HEAD || is_bodiless_status(status)
}

fn is_bodiless_status(status: u16) -> bool {
    matches!(status, 100..200 | 204 | 304)
}

fn grpc_head(mut headers: Headers, code: u32, message: &[u8]) -> ResponseHead {
    headers.set(names::CONTENT_TYPE, Value::from_static("application/grpc"));
    headers.set_number(Name::from_static("grpc-status"), code.into());
    if let (false, Ok(value)) = (message.is_empty(), Value::new(percent_encoded(message).as_bytes())) {
        headers.set(Name::from_static("grpc-message"), value);
    }
    let mut head = ResponseHead::new(200);
    head.headers = headers;
    head
}

/// gRPC's percent encoding of messages: printable ASCII but `%` stays.
pub(super) fn percent_encoded(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The gRPC code for an HTTP status, as gRPC's own mapping says.
pub(crate) fn grpc_code(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_map_to_grpc_codes() {
        for (status, code) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (503, 14),
            (504, 14),
            (429, 14),
            (500, 2),
        ] {
            assert_eq!(grpc_code(status), code);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% ü\n".as_bytes()), "100%25 %C3%BC%0A");
    }
}
