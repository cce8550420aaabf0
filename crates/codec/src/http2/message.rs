//! Heads and trailers out of header blocks (RFC 9113 §8).
//!
//! Fields arrive one by one, already checked for what a name and a value may hold; here it is decided what they are to the message. The
//! first fault is kept and all that follows is dropped, but decoded: the tables go on.

use super::hpack::{self, Field, FieldSink, Kind};
use crate::fields::{Headers, Name, Value};
use crate::head::{HttpVersion, Method, RequestHead, ResponseHead, StatusCode};
use crate::http1::{BadHead, is_authority, is_writable_target};
use crate::text::Text;

/// What a block of header fields may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldLimits {
    /// Bytes of the list as RFC 9113 §6.5.2 counts them.
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    /// More than the limits allow.
    TooLarge,
}

/// A request as it arrives.
#[derive(Debug)]
pub struct ReceivedRequest {
    pub head: RequestHead,
    /// Nothing follows the head.
    pub end: bool,
    /// What the head says about the length of its body.
    pub content_length: Option<u64>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// To be refused without being routed.
    pub fault: Option<BadHead>,
}

/// Text that each message of a connection repeats, shared between them.
#[derive(Default)]
pub(super) struct Repeated {
    authority: Text,
    path: Text,
    /// The last authority that was found to be one.
    host: Text,
}

/// Longer ones are not kept between messages.
const MAX_REPEATED: usize = 256;

/// The text of these bytes, which is the last one if that says the same. `None` if they are no text, or not good.
fn shared(last: &mut Text, bytes: &[u8], is_good: impl Fn(&[u8]) -> bool) -> Option<Text> {
    if last.as_bytes() == bytes && !bytes.is_empty() {
        return Some(last.clone());
    }
    let text = Text::from_utf8(bytes).filter(|_| is_good(bytes))?;
    if bytes.len() <= MAX_REPEATED {
        *last = text.clone();
    }
    Some(text)
}

/// The fields of a block.
pub(super) struct FieldList<'a> {
    limits: FieldLimits,
    repeated: &'a mut Repeated,
    headers: Headers,
    size: usize,
    fields: usize,
    fault: Option<Fault>,
    regular_seen: bool,
    method: Option<Method>,
    scheme: bool,
    authority: Option<Text>,
    path: Option<Text>,
    status: Option<u16>,
    host: Option<Text>,
    several_hosts: bool,
    content_length: Option<u64>,
    cookies: usize,
}

impl FieldSink for FieldList<'_> {
    fn text(&mut self) -> &mut Vec<u8> {
        self.headers.text_mut()
    }

    fn is_full(&self) -> bool {
        self.fault.is_some()
    }

    fn take(&mut self, field: Field) {
        let keep = self.fault.is_none()
            && match self.judge(field) {
                Ok(keep) => keep,
                Err(fault) => {
                    self.fault = Some(fault);
                    false
                }
            };
        if keep {
            self.headers.push_text(field.at, field.name, field.secret);
        } else {
            self.headers.text_mut().truncate(field.at);
        }
    }
}

impl<'a> FieldList<'a> {
    pub(super) fn new(limits: FieldLimits, repeated: &'a mut Repeated, headers: Headers) -> Self {
        FieldList {
            limits,
            repeated,
            headers,
            size: 0,
            fields: 0,
            fault: None,
            regular_seen: false,
            method: None,
            scheme: false,
            authority: None,
            path: None,
            status: None,
            host: None,
            several_hosts: false,
            content_length: None,
            cookies: 0,
        }
    }

    /// Whether what has come so far asks for something.
    pub(super) fn is_request(&self) -> bool {
        self.method.is_some()
    }

    /// Whether the field stays among the message's headers.
    fn judge(&mut self, field: Field) -> Result<bool, Fault> {
        let text = self.headers.text_mut();
        self.size += hpack::listed_size(text.len() - field.at);
        self.fields += 1;
        if self.size > self.limits.bytes || self.fields > self.limits.fields {
            return Err(Fault::TooLarge);
        }
        if !field.valid {
            return Err(Fault::Malformed("header value that none may be"));
        }
        if matches!(
            field.kind,
            Kind::Method | Kind::Scheme | Kind::Authority | Kind::Path | Kind::Status
        ) {
            self.pseudo(field)?;
            return Ok(false);
        }
        self.regular_seen = true;
        let value = &self.headers.text_mut()[field.at + field.name..];
        match field.kind {
            Kind::Plain => Ok(true),
            Kind::Cookie => {
                self.cookies += 1;
                Ok(true)
            }
            Kind::ContentLength => {
                let length = parse_length(value).ok_or(Fault::Malformed("content-length is no number"))?;
                match self.content_length.replace(length) {
                    Some(_) => Err(Fault::Malformed("several content-length fields")),
                    None => Ok(true),
                }
            }
            Kind::Host => {
                let host = String::from_utf8_lossy(value);
                self.several_hosts |= self.host.replace(Text::from(&*host)).is_some();
                Ok(false)
            }
            Kind::Te if hpack::is_trailers(value) => Ok(true),
            Kind::Te => Err(Fault::Malformed("te says more than trailers")),
            Kind::Hop => Err(Fault::Malformed("header of an HTTP/1.1 connection")),
            _ => Err(Fault::Malformed("header name that none may be")),
        }
    }

    fn pseudo(&mut self, field: Field) -> Result<(), Fault> {
        if self.regular_seen {
            return Err(Fault::Malformed("pseudo header behind a header"));
        }
        let value = &self.headers.text_mut()[field.at + field.name..];
        let twice = match field.kind {
            Kind::Method => {
                let method = Method::from_bytes(value).map_err(|_| Fault::Malformed(":method is no method"))?;
                self.method.replace(method).is_some()
            }
            Kind::Scheme => {
                // RFC 3986 §3.1.
                let rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                if !value.first().is_some_and(u8::is_ascii_alphabetic) || !value.iter().all(rest) {
                    return Err(Fault::Malformed(":scheme is no scheme"));
                }
                std::mem::replace(&mut self.scheme, true)
            }
            Kind::Authority => {
                let authority = shared(&mut self.repeated.authority, value, |_| true);
                let authority = authority.ok_or(Fault::Malformed(":authority is no text"))?;
                self.authority.replace(authority).is_some()
            }
            Kind::Path => {
                let path = shared(&mut self.repeated.path, value, is_writable_target);
                let path = path.ok_or(Fault::Malformed(":path is no request target"))?;
                self.path.replace(path).is_some()
            }
            _ => {
                let status = parse_status(value).ok_or(Fault::Malformed(":status is no status"))?;
                self.status.replace(status).is_some()
            }
        };
        if twice {
            return Err(Fault::Malformed("pseudo header that came twice"));
        }
        Ok(())
    }

    /// # Errors
    /// If this is no request.
    pub(super) fn into_request(mut self, scheme: &'static str, end: bool) -> Result<ReceivedRequest, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.status.is_some() {
            return Err(Fault::Malformed(":status in a request"));
        }
        let method = self.method.take().ok_or(Fault::Malformed("no :method"))?;
        let connect = method == Method::CONNECT;
        match (connect, self.scheme, &self.path) {
            (false, true, Some(_)) | (true, false, None) => {}
            (true, ..) => return Err(Fault::Malformed("CONNECT with :scheme or :path")),
            _ => return Err(Fault::Malformed("no :scheme or no :path")),
        }
        check_length(end, self.content_length)?;
        self.join_cookies();
        let path = self.path.take().unwrap_or_default();
        let fault = self.routing_fault(&method, &path);
        let authority = self.authority.or(self.host).unwrap_or_default();
        Ok(ReceivedRequest {
            end,
            content_length: self.content_length,
            expects_continue: !end && self.headers.has_token("expect", "100-continue"),
            fault,
            head: RequestHead {
                method,
                scheme,
                authority,
                path,
                version: HttpVersion::Http2,
                headers: self.headers,
            },
        })
    }

    /// What hinders to route the request, though its message is whole.
    fn routing_fault(&mut self, method: &Method, path: &str) -> Option<BadHead> {
        let differ = match (&self.authority, &self.host) {
            (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
            _ => false,
        };
        let Some(authority) = self.authority.as_ref().or(self.host.as_ref()) else {
            return Some(BadHead::MissingHost);
        };
        let is_last = !authority.is_empty() && *authority == self.repeated.host;
        if differ || self.several_hosts || !(is_last || is_authority(authority)) {
            return Some(BadHead::InvalidHost);
        }
        if !is_last && authority.len() <= MAX_REPEATED {
            self.repeated.host = authority.clone();
        }
        let good = match path {
            "" => *method == Method::CONNECT,
            "*" => *method == Method::OPTIONS,
            path => path.starts_with('/'),
        };
        (!good).then_some(BadHead::InvalidPath)
    }

    /// # Errors
    /// If this is no response.
    pub(super) fn into_response(self) -> Result<(ResponseHead, Option<u64>), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.method.is_some() || self.scheme || self.authority.is_some() || self.path.is_some() {
            return Err(Fault::Malformed("pseudo header of a request in a response"));
        }
        let status = self.status.ok_or(Fault::Malformed("no :status"))?;
        let status = StatusCode::from_u16(status).map_err(|_| Fault::Malformed(":status is no status"))?;
        let head = ResponseHead {
            status,
            headers: self.headers,
        };
        Ok((head, self.content_length))
    }

    /// # Errors
    /// If these are no trailers.
    pub(super) fn into_trailers(self) -> Result<Headers, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let pseudo = self.method.is_some() || self.scheme || self.authority.is_some() || self.path.is_some();
        if pseudo || self.status.is_some() {
            return Err(Fault::Malformed("pseudo header in trailers"));
        }
        Ok(self.headers)
    }

    /// Clients may send each cookie in a field of its own; for everyone else they are one (RFC 9113 §8.2.3).
    fn join_cookies(&mut self) {
        if self.cookies < 2 {
            return;
        }
        let mut joined = Vec::new();
        // An empty one would leave white space at an end, where no value may have it.
        for cookie in self.headers.all("cookie").filter(|cookie| !cookie.is_empty()) {
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(value) = Value::new(&joined) {
            self.headers.set(Name::from_static("cookie"), value);
        }
    }
}

/// A message without a body announces none.
pub(super) fn check_length(end: bool, content_length: Option<u64>) -> Result<(), Fault> {
    match content_length {
        Some(length) if end && length > 0 => Err(Fault::Malformed("content-length without a body")),
        _ => Ok(()),
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |length, digit| {
        digit.is_ascii_digit().then(|| length * 10 + u64::from(digit - b'0'))
    })
}

fn parse_status(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b, c] = value else { return None };
    (b.is_ascii_digit() && c.is_ascii_digit())
        .then(|| u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}
