//! The harness of the end-to-end tests: meshes as users start them, plain clients, and a load that does not wait for answers.

pub mod bookinfo;
pub mod client;
pub mod directory;
pub mod load;
pub mod mesh;
pub mod processes;
pub mod stats;
pub mod sync;

pub use client::{Reply, Request};
pub use directory::Directory;
pub use mesh::{DataPlane, Mesh};
