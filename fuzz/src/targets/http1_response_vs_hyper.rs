//! Our reading of a response against hyper's, as a client of the same upstream: whatever we take for an answer, hyper must take for the
//! same one, with the same body.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use codec::http1::{BodyDecoder, Framing, Limits, Progress, ReceivedResponse, ResponseKind, response_head};
use codec::{Headers, Method};
use http_body_util::{BodyExt, Empty};

use super::http1_vs_hyper::{Wire, fields_of};

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// `None`: not whole.
    body: Option<Vec<u8>>,
}

pub fn run(data: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let Some(ours) = read_ours(data, &method) else { continue };
        let Some(theirs) = read_hypers(data, &method) else {
            panic!("hyper refuses the answer to {method}: {ours:?}")
        };
        assert_eq!((ours.status, &ours.fields), (theirs.status, &theirs.fields), "{method}");
        if ours.body.is_some() {
            assert_eq!(ours.body, theirs.body, "{method}");
        }
    }
}

/// The final answer, behind interim ones. A switch of protocols is none: whether it is one depends on what was asked.
fn read_ours(data: &[u8], method: &Method) -> Option<Seen> {
    let mut from = 0;
    loop {
        let (limits, mut spare) = (Limits::default(), Headers::default());
        let received = response_head(&data[from..], &mut Progress::default(), &limits, method, &mut spare);
        let received = received.ok().flatten()?;
        from += received.length;
        match received.kind {
            ResponseKind::Interim => {}
            ResponseKind::Switch => return None,
            ResponseKind::Final => return Some(of_ours(&received, &data[from..])),
        }
    }
}

fn of_ours(received: &ReceivedResponse, input: &[u8]) -> Seen {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in received.head.headers.iter() {
        fields
            .entry(name.to_owned())
            .or_default()
            .push(value.as_bytes().to_vec());
    }
    Seen {
        status: received.head.status.as_u16(),
        fields,
        body: read_body(received.body, input),
    }
}

/// The body, if it is whole when its sender has closed.
fn read_body(framing: Framing, input: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BodyDecoder::new(framing, &Limits::default());
    let (mut body, mut from) = (Vec::new(), 0);
    loop {
        let step = decoder.decode(&input[from..]).ok()?;
        body.extend_from_slice(&input[from..][step.data.clone()]);
        from += step.consumed;
        if step.end || step.consumed == 0 {
            return decoder.close().ok().map(|()| body);
        }
    }
}

fn read_hypers(data: &[u8], method: &Method) -> Option<Seen> {
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(Wire::server(data)).await.ok()?;
        let request = http::Request::builder()
            .method(method)
            .uri("/")
            .body(Empty::<Bytes>::new());
        let answer = async {
            let (parts, body) = sender.send_request(request.ok()?).await.ok()?.into_parts();
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            Some((parts, body))
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        let mut has_ended = false;
        std::future::poll_fn(move |context| {
            has_ended = has_ended || connection.as_mut().poll(context).is_ready();
            answer.as_mut().poll(context)
        })
        .await
    };
    let mut exchange = pin!(exchange);
    let mut context = Context::from_waker(Waker::noop());
    // As for requests: what does not end in a few polls waits for ever.
    let outcome = (0..64).find_map(|_| match exchange.as_mut().poll(&mut context) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    });
    let (parts, body) = outcome.flatten()?;
    Some(Seen {
        status: parts.status.as_u16(),
        fields: fields_of(&parts.headers),
        body,
    })
}
