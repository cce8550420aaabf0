//! A client's connection: requests are taken up as they come, until the client or one of our limits ends it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use codec::http1::Framing;
use codec::http2::{self, Config, Event, ReceivedRequest, Role, StreamKey};
use runtime::drain::Signaled;

use super::client::ClientStream;
use super::crew::Crew;
use super::driver::Driver;
use super::shared::{Shared, StreamTimer};
use super::stream::Handle;
use crate::http::connection::Connection;
use crate::http::exchange::serve_request;
use crate::http::http1::{Input, lend_headers};
use crate::http::serve::Open;
use crate::http::side::{Client, Received};
use crate::http::timer::Timer;
use crate::listener::Downstream;

/// For a client to hear that its connection ends.
const LEAST_GRACE: Duration = Duration::from_secs(1);
/// After which a connection without requests keeps no tasks for them.
const QUIET: Duration = Duration::from_secs(1);

/// The connection, until it ends.
pub(in crate::http) struct Serving {
    open: Open,
    driver: Driver<Downstream>,
    shared: Rc<Shared>,
    crew: Crew<Job>,
    life: Life,
}

impl Serving {
    /// `input` holds what was read of the stream already.
    pub(in crate::http) fn new(open: Open, stream: Downstream, input: Input) -> Self {
        let manager = &open.0.manager;
        let config = Config {
            scheme: if stream.is_tls() { "https" } else { "http" },
            max_streams: manager.max_concurrent_streams,
            max_header_bytes: manager.max_request_headers_bytes,
            max_headers: manager.max_headers_count,
            lend_headers,
        };
        let shared = Shared::new(http2::Connection::new(Role::Server, config));
        let mut driver = Driver::new(stream, shared.clone());
        driver.receive(input.unread());
        Serving {
            life: Life::new(open.0.clone(), shared.clone()),
            open,
            driver,
            shared,
            crew: Crew::new(),
        }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (connection, crew) = (&self.open.0, &self.crew);
        let over = self.driver.poll(cx, &mut |shared, event| {
            if let Event::Request(key) = event {
                take_up(connection, crew, shared, key);
            }
        });
        if over.is_ready() {
            return Poll::Ready(());
        }
        self.life.poll(cx, crew)
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_over(cx));
        if let Some(error) = self.shared.codec.borrow().failure()
            && error.code != http2::ErrorCode::NO_ERROR
        {
            self.open.0.manager.stats.downstream_cx_protocol_error.inc();
        }
        Poll::Ready(())
    }
}

/// A request, and the stream it came on.
struct Job {
    handle: Handle,
    request: ReceivedRequest,
}

/// Gives a request to a task that is its own until it is answered.
fn take_up(connection: &Rc<Connection>, crew: &Crew<Job>, shared: &Rc<Shared>, key: StreamKey) {
    let taken = shared.codec.borrow_mut().take_request(key);
    let Some(request) = taken else { return };
    let handle = Handle::new(shared.clone(), key);
    let Some(job) = crew.give(Job { handle, request }) else {
        return;
    };
    let (connection, shared, member) = (connection.clone(), shared.clone(), crew.member());
    tokio::task::spawn_local(async move {
        let mut next = Some(job);
        while let Some(job) = next.take() {
            work(&connection, job).await;
            // A connection on which nothing else happens may be a quiet one, and keeps nobody.
            if shared.codec.borrow().open_streams() > 0 {
                next = member.next().await;
            }
        }
    });
}

async fn work(connection: &Rc<Connection>, Job { handle, request }: Job) {
    let clock = StreamTimer::new(handle.shared.clone(), handle.key);
    let mut timer = Timer::of_stream(clock);
    let mut client = ClientStream::new(handle, request.expects_continue);
    serve_request(connection, Client::Http2(&mut client), &mut timer, received(request)).await;
}

fn received(request: ReceivedRequest) -> Received {
    Received {
        body: match (request.end, request.content_length) {
            (true, _) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Chunked,
        },
        head: request.head,
        upgrade: false,
        fault: request.fault,
    }
}

/// What ends a connection that its client does not.
struct Life {
    connection: Rc<Connection>,
    shared: Rc<Shared>,
    timer: Timer,
    draining: Signaled,
    /// The task is woken by a drain.
    registered: bool,
    /// The end was announced; when it is looked at again.
    grace: Option<Instant>,
    /// The frame or head that is still arriving, and since when.
    unfinished: Option<(u64, Instant)>,
}

impl Life {
    fn new(connection: Rc<Connection>, shared: Rc<Shared>) -> Self {
        Life {
            draining: connection.drain.signaled(),
            connection,
            shared,
            timer: Timer::default(),
            registered: false,
            grace: None,
            unfinished: None,
        }
    }

    /// When a head, or any frame but DATA, has been arriving for too long.
    fn head_limit(&mut self) -> Option<Instant> {
        let limit = self.connection.manager.request_headers_timeout;
        let unfinished = self.shared.codec.borrow().unfinished().filter(|_| !limit.is_zero());
        if unfinished != self.unfinished.map(|(number, _)| number) {
            self.unfinished = unfinished.map(|number| (number, Instant::now()));
        }
        self.unfinished.map(|(_, since)| since + limit)
    }

    /// Completes when the connection is to be closed whatever its client does.
    fn poll(&mut self, cx: &mut Context<'_>, crew: &Crew<Job>) -> Poll<()> {
        if !self.registered {
            // Once is enough: it wakes the task, which then sees the signal.
            self.registered = true;
            let _ = Pin::new(&mut self.draining).poll(cx);
        }
        if self.grace.is_none() && self.shared.codec.borrow().failure().is_some() {
            // There is no more to it than to tell why, to whom may not listen.
            self.grace = Some(Instant::now() + LEAST_GRACE);
        }
        if self.grace.is_none() && self.connection.is_asked_to_end() {
            if self.connection.drain.is_signaled() {
                self.connection.manager.stats.downstream_cx_drain_close.inc();
            }
            self.announce(cx);
        }
        loop {
            let running = self.grace.is_none();
            let head = self.head_limit();
            let connection = &*self.connection;
            let idle = connection
                .idle_since()
                .filter(|_| running && !connection.manager.idle_timeout.is_zero());
            let idle = idle.map(|since| since + connection.manager.idle_timeout);
            let quiet = connection
                .idle_since()
                .filter(|_| crew.has_idlers())
                .map(|since| since + QUIET);
            let old = connection.end_of_life().filter(|_| running);
            let alarm = self.shared.alarm();
            let next = [idle, quiet, old, head, self.grace, alarm].into_iter().flatten().min();
            let now = ready!(self.timer.poll(cx, next));
            let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_over(head) {
                connection.manager.stats.downstream_rq_header_timeout.inc();
                return Poll::Ready(());
            }
            if is_over(alarm) {
                self.shared.ring(now);
            }
            if is_over(quiet) {
                crew.dismiss();
            }
            if is_over(idle) {
                connection.manager.stats.downstream_cx_idle_timeout.inc();
            }
            if is_over(idle) || is_over(old) {
                self.announce(cx);
            } else if is_over(self.grace) {
                // The client may never acknowledge the end: what is idle after the grace is closed.
                if self.shared.codec.borrow().open_streams() == 0 {
                    return Poll::Ready(());
                }
                self.shared.codec.borrow_mut().finish_drain();
                self.grace = Some(now + self.grace());
            }
        }
    }

    fn announce(&mut self, cx: &Context<'_>) {
        self.shared.codec.borrow_mut().begin_drain();
        self.grace = Some(Instant::now() + self.grace());
        cx.waker().wake_by_ref();
    }

    fn grace(&self) -> Duration {
        self.connection.manager.drain_timeout.max(LEAST_GRACE)
    }
}
