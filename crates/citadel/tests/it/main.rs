//! Conversations with a CA in this process, over real connections.

mod secrets;
mod services;
mod start;
mod support;
