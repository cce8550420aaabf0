//! What every process of the mesh needs and no mesh knowledge touches: logging, signals, drain, readiness, back-off.

pub mod backoff;
pub mod child;
pub mod drain;
pub mod duration;
pub mod logging;
pub mod readiness;
pub mod resident;
pub mod signal;
pub mod version;
