//! Ports on which each pod's own address stands for a service port, where traffic is not captured.
//!
//! Written by the local runner as ConfigMap `istio-system/meltemi-local-ports`. A key is namespace, service and port number,
//! joined by dots; service first is understood as well.

use std::collections::HashMap;
use std::sync::Arc;

use model::kinds::catalog;
use model::kinds::k8s::ConfigMap;
use model::mesh::Config;
use store::Object;

const NAMESPACE: &str = "istio-system";
const NAME: &str = "meltemi-local-ports";

#[derive(Default)]
pub(super) struct LocalPorts(HashMap<(String, String, u16), u16>);

/// Reads this one ConfigMap and no other: they can be large.
pub(super) fn read(object: &Object) -> Option<ConfigMap> {
    let reference = object.reference();
    if (&*reference.namespace, &*reference.name) != (NAMESPACE, NAME) {
        return None;
    }
    catalog::read::<ConfigMap>(&object.value).ok().map(|read| read.value)
}

impl LocalPorts {
    pub(super) fn new(maps: &[Arc<Config<ConfigMap>>]) -> Self {
        let entries = maps.iter().flat_map(|map| &map.spec.data);
        LocalPorts(entries.filter_map(|(key, value)| entry(key, value)).collect())
    }

    pub(super) fn of(&self, namespace: &str, service: &str, port: u16) -> Option<u16> {
        let key = |a: &str, b: &str| self.0.get(&(a.to_owned(), b.to_owned(), port)).copied();
        key(namespace, service).or_else(|| key(service, namespace))
    }
}

fn entry(key: &str, value: &str) -> Option<((String, String, u16), u16)> {
    let mut parts = key.split('.');
    let (namespace, service, port) = (parts.next()?, parts.next()?, parts.next()?);
    let number = value.trim().parse().ok().filter(|number| *number != 0)?;
    Some(((namespace.to_owned(), service.to_owned(), port.parse().ok()?), number))
}
