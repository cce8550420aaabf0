//! Listeners: sockets, the choice of a filter chain, and the life of a connection up to its filter.
//!
//! Two sides. The control thread holds [`Listeners`]: it binds (and explains why it could not), compiles the chain matches and sends
//! the result to every worker. A worker holds [`Serving`]: it accepts, looks at the first bytes if a match needs them, picks the chain, makes
//! the TLS handshake, and hands over to HTTP or TCP ([`connection`] tells this in order).
//!
//! An update with the same address touches no socket, and a listener that comes back to an address takes over what its predecessor has
//! not closed yet ([`held`]). New connections meet the new chains; connections of chains that are unchanged (by
//! version) are not touched; those of changed or removed chains are told to end and closed when the drain time is over.

mod active;
mod bind;
pub mod client_hello;
mod connection;
mod control;
mod downstream;
mod handshake;
mod held;
pub mod http_sniff;
mod inspect;
mod life;
mod matcher;
mod owner;
pub mod proxy_protocol;
mod serving;

pub use bind::BindError;
pub use control::{Applied, Compiled, Listeners};
pub use downstream::Downstream;
pub use held::Held;
pub use matcher::{MatchConflict, Matcher, Needs};
pub(crate) use serving::Serving;

#[cfg(test)]
mod tests;
