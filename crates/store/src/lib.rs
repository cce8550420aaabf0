//! The configuration as objects: what Kubernetes' shape of them, in files, means for the mesh.
//!
//! Text becomes [`Object`]s ([`yaml`]) with the line of every field. A [`Store`] is the synchronous state: it is told which
//! files changed and says which objects changed, what is in force, and what is wrong, with object, file, line, rule and way
//! out. It performs no I/O. [`dir`] reads and watches directories, [`watch`] joins the two behind a handle that any number of
//! readers share.
//!
//! Two rules run through it. Bad input never blanks what was good: an unparsable file, an invalid object, a vanished
//! directory leave the last good version in force, and say so. And position is not content: a change of comments, white
//! space or order moves origins and changes no object.

pub mod check;
pub mod dir;
mod lines;
pub mod mesh_config;
mod message;
mod object;
mod state;
pub mod watch;
pub mod yaml;

pub use lines::LineMap;
pub use message::{ENVOY_ONLY, Message, Severity};
pub use object::{FieldIssue, Object, Origin, Parsed};
pub use state::{Applied, Batch, Change, FileChange, InForce, Settings, Status, Store, What};
pub use watch::StoreHandle;
