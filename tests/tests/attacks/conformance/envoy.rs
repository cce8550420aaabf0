//! Envoy beside the tables: where it does otherwise, and why the row stands all the same.

use anyhow::{Result, bail};

use crate::arena::Arena;

/// Cases by the end of their name. Each must really differ.
pub const DIFFERS: &[(&str, &str)] = &[
    (
        "an error of the connection ends it",
        "it ends the connection without GOAWAY, which a server only should send (5.4.1)",
    ),
    ("more streams than the server takes", SILENT),
    ("a head that is all padding", MALFORMED),
    ("compression: a refused head counts", MALFORMED),
    ("compression: a head without pseudo fields", MALFORMED),
    ("a stream below one that is open", CLOSED),
    ("data of a stream that was passed over", CLOSED),
    ("data of a closed stream", CLOSED),
    ("a head of a closed stream", CLOSED),
    ("stream: smaller than one before", CLOSED),
    ("stream: used again after a reset", CLOSED),
    (
        "a stream without window holds up no other",
        "the empty frame that ends a stream waits for room as well, which it needs not (6.9.1)",
    ),
    ("priority: of zero", PRIORITY),
    ("http2 server: 6.3: a priority of stream 0", PRIORITY),
    (
        "window: grows too far by settings",
        "it lets a window grow beyond 2^31-1 by settings, which must end the connection (6.9.2)",
    ),
];

const SILENT: &str = "it ends the connection without a word, where one stream had to be refused (5.1.2)";
const MALFORMED: &str = "it ends the connection for a malformed request, as a server may (5.4.2), unless \
    override_stream_error_on_invalid_http_message is set";
const CLOSED: &str = "it says nothing to frames of streams that are closed or were passed over, though the first must be answered by \
    STREAM_CLOSED (5.1, 6.1) and the second must end the connection (5.1.1)";
const PRIORITY: &str =
    "priorities are deprecated, and it looks at none; 6.3 still makes this an error of the connection";

pub fn check(arena: &mut Arena, name: &str, case: &mut dyn FnMut(&mut Arena) -> Result<()>) {
    let reason = DIFFERS.iter().find(|(case, _)| name.ends_with(case));
    arena.check(name, |arena| match (reason, case(arena)) {
        (None, outcome) => outcome,
        (Some((_, reason)), Ok(())) => bail!("Envoy does as the table says, and this is said of it: {reason}"),
        (Some((_, reason)), Err(error)) => {
            eprintln!("{name}: Envoy differs: {error:#}\n    {reason}");
            Ok(())
        }
    });
}

/// Each difference has a reason, and is one case's.
pub fn all_differences_exist(cases: &[String]) {
    for (name, reason) in DIFFERS {
        assert!(!reason.is_empty(), "{name} has no reason");
        let meant: Vec<_> = cases.iter().filter(|case| case.ends_with(name)).collect();
        assert_eq!(meant.len(), 1, "{name} is to be the end of one case's name: {meant:?}");
    }
}
