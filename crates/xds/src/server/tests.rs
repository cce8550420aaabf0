//! Conversations, written down.

mod delta;
mod law;
mod limits;
mod script;
mod sotw;
