//! What the runner reads of Kubernetes objects: the fields that have an effect here, as typed values.

mod pod;
mod service;
mod workload;

pub(crate) use pod::{
    Container, ContainerPort, EnvVarSource, KeySelector, PodSpec, PodTemplate, PortRef, Probe, seconds,
};
pub(crate) use service::{Service, ServicePort};
pub(crate) use workload::Workload;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use store::LineMap;

/// One object as it was read, with where it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) kind: Arc<str>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The whole object.
    pub(crate) value: Arc<Value>,
    pub(crate) lines: LineMap,
    pub(crate) place: Place,
}

/// Where an object stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: u32,
}

impl Manifest {
    /// `Deployment default/reviews-v1 (bookinfo.yaml:12)`, as every message names an object.
    pub(crate) fn title(&self) -> String {
        format!("{} {}/{} ({})", self.kind, self.namespace, self.name, self.place)
    }

    /// A field of the object by JSON pointer, read as `T`; absent fields are `T::default()`.
    pub(crate) fn read<T: serde::de::DeserializeOwned + Default>(&self, pointer: &str) -> Result<T, String> {
        let Some(value) = self.value.pointer(pointer).filter(|value| !value.is_null()) else {
            return Ok(T::default());
        };
        serde_path_to_error::deserialize(value).map_err(|error| {
            let (field, inner) = (
                pointer.trim_start_matches('/').replace('/', "."),
                error.path().to_string(),
            );
            let field = if inner == "." {
                field
            } else {
                format!("{field}.{inner}")
            };
            let line = match self.lines.line(&field) {
                0 => self.place.line,
                line => line,
            };
            let place = Place {
                file: self.place.file.clone(),
                line,
            };
            format!(
                "{} {}/{} ({place}): {field}: {}",
                self.kind,
                self.namespace,
                self.name,
                error.inner()
            )
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}
