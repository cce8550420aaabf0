//! The client on the wire: connects, keeps the stream, and comes back when it breaks.
//!
//! [`Session::next`] is one cancel-safe future, so that a control loop may wait for several sessions, its timers and its people at
//! once, on one thread and without locks. How a connection is made is the caller's: a plain socket, TLS with certificates that arrive later, a
//! unix socket.
//!
//! A connection carries one stream and is made anew with it: what ended the stream may well have ended the connection.

mod connection;

use std::pin::Pin;
use std::time::Duration;

use runtime::backoff::Backoff;
use tokio::time::Sleep;

pub use connection::{Connecting, Connector, Io, Service, tcp, unix};
use connection::{Http2, Opening, Requests, Responses};

use super::{Client, Response};

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub service: Service,
    /// Host name for the `:authority` header.
    pub authority: String,
    /// For the connection with its handshakes.
    pub connect_timeout: Duration,
    /// HTTP/2 pings on an idle connection, and how long the answer may take. `None`: no pings.
    pub keep_alive: Option<(Duration, Duration)>,
    /// Shortest and longest wait before the next attempt.
    pub retry: (Duration, Duration),
}

/// What happened on a session.
#[derive(Debug)]
pub enum Event {
    /// The control plane has accepted the stream.
    Opened,
    Response(Response),
    Closed {
        reason: String,
        /// When the next attempt will be made.
        retry_in: Duration,
    },
}

/// A client and its stream.
pub struct Session {
    client: Client,
    connector: Connector,
    options: Options,
    backoff: Backoff,
    state: State,
}

enum State {
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Connecting(Pin<Box<dyn Future<Output = Result<Http2, String>> + Send>>),
    Opening(Requests, Opening),
    Open(Requests, Responses),
}

// === impl Session ===

impl Session {
    pub fn new(client: Client, connector: Connector, options: Options) -> Self {
        let backoff = Backoff::new(options.retry.0, options.retry.1);
        Session {
            client,
            connector,
            options,
            backoff,
            state: State::Idle,
        }
    }

    /// Changes to subscriptions and answers leave with the next call of [`Session::next`].
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether a stream is open.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }

    /// Sends what the client has to say, and waits for what happens next. Cancel safe: each step's future is kept here.
    pub async fn next(&mut self) -> Event {
        loop {
            self.flush();
            match &mut self.state {
                State::Idle => self.connect(),
                State::Waiting(sleep) => {
                    sleep.as_mut().await;
                    self.connect();
                }
                State::Connecting(connecting) => match connecting.as_mut().await {
                    Ok(connection) => self.open(connection),
                    Err(reason) => return self.close(reason),
                },
                State::Opening(_, opening) => match opening.as_mut().await {
                    Ok(responses) => {
                        self.opened(responses);
                        return Event::Opened;
                    }
                    Err(reason) => return self.close(reason),
                },
                State::Open(_, responses) => match responses.next().await {
                    Ok(response) => {
                        self.backoff.reset();
                        return Event::Response(response);
                    }
                    Err(reason) => return self.close(reason),
                },
            }
        }
    }

    fn connect(&mut self) {
        let connecting = (self.connector)();
        self.state = State::Connecting(Box::pin(connection::connect(connecting, self.options.clone())));
    }

    /// The first requests go out before the answer's head is awaited: many servers send it with their first response only.
    fn open(&mut self, connection: Http2) {
        self.client.stream_opened();
        let (requests, opening) = connection.open(self.options.service, self.client.dialect(), &self.options.authority);
        self.state = State::Opening(requests, opening);
    }

    fn opened(&mut self, responses: Responses) {
        let State::Opening(requests, _) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        self.state = State::Open(requests, responses);
    }

    fn close(&mut self, reason: String) -> Event {
        self.client.stream_closed();
        let retry_in = self.backoff.next();
        self.state = State::Waiting(Box::pin(tokio::time::sleep(retry_in)));
        Event::Closed { reason, retry_in }
    }

    fn flush(&mut self) {
        let (State::Opening(requests, _) | State::Open(requests, _)) = &self.state else {
            return;
        };
        while let Some(request) = self.client.next_request() {
            requests.send(request);
        }
    }
}
