//! HTTP/2 (RFC 9113) and HPACK (RFC 7541), without I/O: [`Connection`] is one connection of either role.
//!
//! Where the specification leaves a choice, the choice is the stricter one that peers in use live with: messages that are malformed reset
//! their stream, frames that no state allows end the connection, and nothing that a peer can repeat for free is free. Push is refused,
//! priorities are ignored, extended CONNECT is not offered.

mod connection;
mod error;
mod frame;
mod hpack;
mod huffman;
mod message;

pub use connection::{
    CannotOpen, Config, Connection, Event, MAX_STREAMS, Piece, ReceivedResponse, Role, StreamKey, Taken,
};
pub use error::{ConnectionError, ErrorCode, Reset};
pub use frame::PREFACE;
pub use message::ReceivedRequest;
