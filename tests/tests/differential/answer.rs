//! What came back for one request, with nothing left out.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http1::Fields;

#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// None: the connection ended instead, or nothing is said in HTTP.
    pub status: Option<u16>,
    pub version: &'static str,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub interim: Vec<u16>,
    /// The body ended before its end.
    pub broken: bool,
    /// Why there is no answer.
    pub failure: Option<String>,
    pub took: Duration,
    /// What was sent back after a switch of protocols.
    pub switched: Vec<u8>,
    /// Of TLS, if there was any.
    pub alpn: Option<String>,
    /// The first name in the certificate that was shown.
    pub certificate: Option<String>,
    /// Our own end: it is in the access log of connections that are not HTTP.
    pub from: Option<SocketAddr>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
