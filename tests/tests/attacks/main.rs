//! Attacks on the data plane, from outside: bytes that no honest peer sends, on either side of one proxy that stands alone.
//!
//! The proxy is the real executable with one worker, a control plane of a few lines and upstreams that write down what arrives. Each
//! area is one test and shares one proxy over all of its cases; a case is a row of a table: its name, what is sent, and what may come of
//! it by the specifications (RFC 9110, 9112, 9113, 7541). After each case the proxy must still be the same process, and a good request
//! must get its own answer. Attacks that cost time or memory run beside a canary, whose requests must not notice.
//!
//! `MELTEMI_ATTACK=length cargo test -p mesh-tests --test attacks` runs the cases with this in their name.

mod arena;
mod authority;
mod bombs;
mod canary;
mod chunks;
mod config;
mod conformance;
mod downgrade;
mod endings;
mod fields;
mod floods;
mod frames;
mod hostile;
mod http1;
mod idle;
mod lines;
mod protocol;
mod responses;
mod responses2;
mod secure;
mod slow;
mod smuggling;
mod strict;
mod upstream;
mod wire;

use anyhow::Result;
use arena::Arena;

#[test]
fn requests_that_two_hops_could_read_differently() -> Result<()> {
    let mut arena = Arena::open()?;
    smuggling::all(&mut arena);
    chunks::all(&mut arena);
    fields::all(&mut arena);
    lines::all(&mut arena);
    downgrade::all(&mut arena);
    arena.close("memory returns after requests")
}

#[test]
fn servers_that_answer_what_no_server_does() -> Result<()> {
    let mut arena = Arena::open()?;
    responses::all(&mut arena);
    endings::all(&mut arena);
    responses2::all(&mut arena);
    arena.close("memory returns after servers")
}

#[test]
fn frames_that_no_client_sends() -> Result<()> {
    let mut arena = Arena::open()?;
    protocol::all(&mut arena);
    floods::all(&mut arena);
    arena.close("memory returns after frames")
}

#[test]
fn http2_as_its_specifications_have_it() -> Result<()> {
    let mut arena = Arena::open()?;
    conformance::all(&mut arena)?;
    arena.verdict()
}

#[test]
fn envoy_has_http2_in_the_same_way() -> Result<()> {
    let mut envoy = Arena::with_envoy()?;
    conformance::beside_envoy(&mut envoy)?;
    envoy.verdict()
}

#[test]
fn clients_that_take_their_time_or_too_much_room() -> Result<()> {
    let mut arena = Arena::open()?;
    slow::all(&mut arena);
    bombs::all(&mut arena);
    arena.close("memory returns after bombs")
}

#[test]
fn ten_thousand_that_do_nothing() -> Result<()> {
    // What a proxy before has taken and given back would be counted as free of cost: each kind meets a fresh one.
    let mut fresh = Arena::open()?;
    idle::over_http2(&mut fresh);
    fresh.close("memory returns after idle connections over HTTP/2")?;
    let mut arena = Arena::open()?;
    idle::over_http1(&mut arena);
    arena.close("memory returns after idle connections")
}

#[test]
fn more_than_there_is_room_for() -> Result<()> {
    let mut arena = Arena::with_files(1024)?;
    idle::crowd(&mut arena);
    arena.close("memory returns after a crowd")
}

#[test]
fn records_that_no_peer_sends() -> Result<()> {
    let mut arena = Arena::open()?;
    secure::all(&mut arena);
    arena.close("memory returns after records")
}
