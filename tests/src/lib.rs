//! The harness of the end-to-end tests: meshes as users start them, plain clients, and a load that does not wait for answers.

pub mod client;
pub mod load;
pub mod mesh;

pub use client::{Reply, Request};
pub use mesh::{DataPlane, Mesh};
