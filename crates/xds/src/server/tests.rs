//! Conversations, written down.

mod delta;
mod limits;
mod script;
mod sotw;
