//! Heads of requests and responses as routing, filters, logs and metrics see them: the types of the [`codec`], which no filter meets otherwise.

pub use codec::{
    Headers, HttpVersion, InvalidField, Method, Name, OwnedName, OwnedValue, RequestHead, ResponseHead, StatusCode,
    Text, Value,
};

/// Names that several places use.
pub mod names {
    use super::Name;

    pub const CONNECTION: Name<'static> = Name::from_static("connection");
    pub const CONTENT_LENGTH: Name<'static> = Name::from_static("content-length");
    pub const CONTENT_TYPE: Name<'static> = Name::from_static("content-type");
    pub const SET_COOKIE: Name<'static> = Name::from_static("set-cookie");
    pub const UPGRADE: Name<'static> = Name::from_static("upgrade");
}
