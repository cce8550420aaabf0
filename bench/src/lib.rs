//! What the programs of the bench share: one way to wait for sockets, one to speak TLS, one to name addresses.
//!
//! All of it is single-threaded and blocks nowhere but in [`poller::Poller::wait`], for each program is pinned to a core and
//! must take little of it: what the rig spends, the proxy under test does not get.

pub mod poller;
pub mod sockets;
pub mod tls;
pub mod wire;
