//! The vocabulary of the mesh: what users write ([`kinds`]) and what the control plane makes of it ([`mesh`]).
//!
//! Nothing here knows a wire format, a file or a clock. Each configuration kind is parsed once, at the border, into these
//! types; every later step takes them as true.

pub mod kinds;
pub mod mesh;
pub mod spelling;
