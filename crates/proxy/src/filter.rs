//! The filter interface: one static pipeline per route configuration, dispatched by an enum, no boxed services.
//!
//! To write a filter: a struct with its compiled configuration in a file of `filter/`, an `impl Filter` with the phases it needs, one
//! line in [`filters!`] below, and its configuration in `config::compile`. A filter that has nothing to do costs one branch. A
//! filter that must wait (for a timer, or an answer over the network) returns [`Flow::Pause`]; only then is anything allocated.
//!
//! Phases, in this order: `request` in pipeline order, the router, `response` in reverse order, `complete` once at the end.

pub mod cors;
pub mod fault;
pub mod grpc_web;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Route;
use crate::connection::ConnectionInfo;
use crate::head::{RequestHead, ResponseHead};
use crate::http::LocalReply;
use crate::telemetry::Record;
use crate::worker::Worker;

/// What a filter wants to happen next.
pub enum Flow {
    Continue,
    /// Answer from here: no later filter and no upstream sees the request; the response phases still run.
    Respond(LocalReply),
    /// Wait for the future, then run what it gives.
    Pause(Pin<Box<dyn Future<Output = Resume>>>),
}

/// Runs after a pause, with the request again at hand.
pub type Resume = Box<dyn FnOnce(&mut FilterContext<'_>, &mut RequestHead) -> Flow>;

/// What a filter may look at and change besides the head.
pub struct FilterContext<'a> {
    pub worker: &'a Rc<Worker>,
    pub connection: &'a Rc<ConnectionInfo>,
    /// The matched route; `None` if nothing matched (the request will be answered 404 after the filters).
    pub route: Option<&'a Arc<Route>>,
    pub record: &'a mut Record,
    pub state: &'a mut FilterState,
}

/// What filters remember between the phases of one request. Costs nothing while nobody remembers anything.
#[derive(Default)]
pub struct FilterState(Vec<Box<dyn Any>>);

impl FilterState {
    pub fn put<T: 'static>(&mut self, value: T) {
        self.0.push(Box::new(value));
    }

    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.iter().find_map(|value| value.downcast_ref())
    }
}

/// Each phase does nothing unless a filter says otherwise.
pub trait Filter {
    fn request(&self, _cx: &mut FilterContext<'_>, _head: &mut RequestHead) -> Flow {
        Flow::Continue
    }

    fn response(&self, _cx: &mut FilterContext<'_>, _head: &mut ResponseHead) {}

    /// The last byte is out, or the stream is gone.
    fn complete(&self, _record: &Record) {}
}

macro_rules! filters {
    ($($name:ident($filter:ty),)*) => {
        /// Every filter there is.
        pub enum HttpFilter { $($name($filter),)* }

        impl HttpFilter {
            fn request(&self, cx: &mut FilterContext<'_>, head: &mut RequestHead) -> Flow {
                match self { $(HttpFilter::$name(filter) => filter.request(cx, head),)* }
            }

            fn response(&self, cx: &mut FilterContext<'_>, head: &mut ResponseHead) {
                match self { $(HttpFilter::$name(filter) => filter.response(cx, head),)* }
            }

            fn complete(&self, record: &Record) {
                match self { $(HttpFilter::$name(filter) => filter.complete(record),)* }
            }
        }
    };
}

filters! {
    Cors(cors::Cors),
    Fault(fault::Fault),
    GrpcWeb(grpc_web::GrpcWeb),
}

/// The filters of a connection manager, in order, without the router that ends them.
#[derive(Default)]
pub struct Pipeline {
    filters: Vec<HttpFilter>,
}

impl Pipeline {
    pub fn new(filters: Vec<HttpFilter>) -> Self {
        Pipeline { filters }
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    pub(crate) fn filters(&self) -> &[HttpFilter] {
        &self.filters
    }

    /// Runs the request phase. `Some` is the answer of a filter that wants no upstream.
    pub async fn request(&self, cx: &mut FilterContext<'_>, head: &mut RequestHead) -> Option<LocalReply> {
        for filter in &self.filters {
            let mut flow = filter.request(cx, head);
            loop {
                match flow {
                    Flow::Continue => break,
                    Flow::Respond(reply) => return Some(reply),
                    Flow::Pause(wait) => flow = wait.await(cx, head),
                }
            }
        }
        None
    }

    pub fn response(&self, cx: &mut FilterContext<'_>, head: &mut ResponseHead) {
        for filter in self.filters.iter().rev() {
            filter.response(cx, head);
        }
    }

    pub fn complete(&self, record: &Record) {
        for filter in &self.filters {
            filter.complete(record);
        }
    }
}
