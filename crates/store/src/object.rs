//! One object, as Kubernetes shapes them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use model::kinds::catalog::{self, Entry, Kind, Report};
use model::kinds::shape::Finding;
use model::mesh::ConfigRef;
use serde_json::Value;

use crate::lines::LineMap;

/// Where an object was written. Never part of what is sent to proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub file: Option<PathBuf>,
    /// From 1; 0 where there is none.
    pub line: u32,
}

/// An object with its origin. Identity is kind, namespace and name; the API version is only how it was written.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: Arc<str>,
    pub api_version: Arc<str>,
    pub name: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp` in seconds since the epoch, 0 if there is none. Objects of equal age are ordered by
    /// namespace and name, never by place: moving an object in its file must change nothing.
    pub created: i64,
    /// The whole object.
    pub value: Value,
    pub origin: Origin,
    /// Of the store, when this content appeared.
    pub generation: u64,
    pub lines: LineMap,
    pub(crate) entry: &'static Entry,
    /// What checking it by itself found.
    pub(crate) report: Arc<Report>,
}

/// An object read as its type.
#[derive(Clone, Debug)]
pub struct Parsed<T> {
    pub value: T,
    /// Fields that do not exist, which reading left out.
    pub unknown: Vec<FieldIssue>,
}

/// Something about one field of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {path}: {message}")]
pub struct FieldIssue {
    pub path: String,
    pub line: u32,
    pub message: String,
}

impl Object {
    pub fn reference(&self) -> ConfigRef {
        ConfigRef {
            kind: Arc::clone(&self.kind),
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }

    /// Reads the object as its type: the `spec` of Istio's kinds, the whole of Kubernetes' kinds.
    pub fn parse<T: Kind>(&self) -> Result<Parsed<T>, FieldIssue> {
        let read = catalog::read::<T>(&self.value).map_err(|wrong| FieldIssue {
            line: self.lines.line(&wrong.path),
            path: wrong.path,
            message: wrong.message,
        })?;
        let unknown = read.findings.into_iter().filter_map(|finding| match finding {
            Finding::Unknown { path, field, nearest } => Some(FieldIssue {
                line: self.lines.line(&path),
                path,
                message: unknown_field(&field, nearest),
            }),
            Finding::Unsupported { .. } | Finding::EnvoyOnly { .. } => None,
        });
        Ok(Parsed {
            unknown: unknown.collect(),
            value: read.value,
        })
    }

    /// The line of a field of this object.
    pub fn line(&self, path: &str) -> u32 {
        self.lines.line(path)
    }
}

pub(crate) fn unknown_field(field: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("there is no field {field:?}; {nearest:?} was probably meant"),
        None => format!("there is no field {field:?}"),
    }
}

impl AsRef<Object> for Object {
    fn as_ref(&self) -> &Object {
        self
    }
}
