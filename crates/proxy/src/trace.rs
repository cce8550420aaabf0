//! Distributed tracing: which requests are traced, under which identifiers they go on, and what is reported of them.
//!
//! The decision and the identifiers cost a handful of header fields per request; a span is put together only for a request that is sampled, when
//! it has ended. Spans gather on their worker, already in the form in which the collector wants them, and leave in batches over
//! the proxy's own clusters. All of it is bounded: a collector that does not keep up costs spans, counted, and never a request.

mod context;
mod decision;
mod hex;
mod otlp;
mod queue;
mod span;
mod zipkin;

pub use context::Propagation;
pub(crate) use queue::{Queues, Report};

use std::rc::Rc;
use std::sync::Arc;

use context::{Incoming, Kinship, SpanContext};
use span::Span;

use crate::config::{Direction, Route, Tracing};
use crate::head::{Headers, Name, RequestHead, ResponseHead, Value};
use crate::telemetry::Record;
use crate::worker::Worker;

/// By this field the proxies of both sides agree on the name of what is done.
const OPERATION: Name<'static> = Name::from_static("x-envoy-decorator-operation");

/// What a route calls the requests it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub name: Arc<str>,
    /// The other side is told.
    pub propagate: bool,
}

/// The span of a request that is under way.
pub(crate) struct Active {
    /// None: the caller's fields could not be read, and pass as they are.
    context: Option<SpanContext>,
    /// The request came in to be served here; else it goes out.
    serves: bool,
    /// What the other side calls the operation.
    operation: Option<Box<str>>,
    /// To be told with the answer.
    tell: Option<Arc<str>>,
}

impl Active {
    /// Decides about a request whose route is known, and names the operation to its server.
    pub(crate) fn begin(
        tracing: &Tracing,
        direction: Direction,
        route: Option<&Route>,
        request: &mut RequestHead,
    ) -> Box<Self> {
        let headers = &mut request.headers;
        let traced = decision::decide(tracing, headers).is_traced();
        let serves = direction != Direction::Outbound;
        let tracer = &tracing.tracer;
        let kinship = Kinship {
            shared: tracer.shared_spans,
            wide: tracer.wide_trace_ids,
        };
        let incoming = Incoming::read(headers, tracer.propagation, traced);
        let mut active = Active {
            context: incoming.ok().map(|incoming| incoming.begin(kinship, serves)),
            serves,
            operation: None,
            tell: None,
        };
        let own = route
            .and_then(|route| route.operation.as_ref())
            .filter(|operation| operation.propagate);
        if serves {
            active.operation = taken(headers);
            if active.operation.is_none() {
                active.tell = own.map(|operation| operation.name.clone());
            }
        } else if let Some(operation) = own {
            tell(headers, &operation.name);
        }
        Box::new(active)
    }

    /// Puts the span into the request that goes on.
    pub(crate) fn write(&self, tracing: &Tracing, headers: &mut Headers) {
        if let Some(context) = &self.context {
            context.write(headers, tracing.tracer.propagation);
        }
    }

    /// An answer passes: each side hears what the other calls the operation.
    pub(crate) fn answer(&mut self, response: &mut ResponseHead) {
        if self.serves {
            if let Some(operation) = &self.tell {
                tell(&mut response.headers, operation);
            }
        } else if let Some(operation) = taken(&mut response.headers) {
            self.operation = Some(operation);
        }
    }

    /// The request is over: reports it, if it is sampled.
    pub(crate) fn finish(self, worker: &Rc<Worker>, tracing: &Tracing, record: &Record, request: &RequestHead) {
        let Some(context) = self.context.filter(|context| context.sampled) else {
            return;
        };
        let name = match (&self.operation, &record.route) {
            (Some(operation), _) => operation,
            (None, Some(route)) => match &route.operation {
                Some(operation) if !operation.name.is_empty() => &operation.name,
                _ => request.authority.as_str(),
            },
            (None, None) => request.authority.as_str(),
        };
        let span = Span {
            context,
            name,
            serves: self.serves,
            started: record.started_at(),
            duration: record.duration,
            failed: span::failed(record),
            tags: span::tags(tracing, &worker.shared.node, record, request),
        };
        worker.telemetry.spans.push(worker, &tracing.tracer, &span);
    }
}

/// The other side's name for the operation; the field goes no further.
fn taken(headers: &mut Headers) -> Option<Box<str>> {
    let name: Box<str> = headers.text(OPERATION.as_str())?.into();
    headers.remove(OPERATION.as_str());
    (!name.is_empty()).then_some(name)
}

fn tell(headers: &mut Headers, operation: &str) {
    if let Ok(value) = Value::new(operation.as_bytes()) {
        headers.set(OPERATION, value);
    }
}

#[cfg(test)]
pub(crate) mod tests;
