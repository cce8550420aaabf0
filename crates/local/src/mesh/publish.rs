//! What others are told: the registry's files, `mesh.json`, the table.

use serde_json::{Value, json};

use super::{Mesh, Record};
use crate::control_plane::{Component, PILOT_HTTP_PORT};
use crate::objects::{PodObject, render};
use crate::pod::{Role, agent::ADMIN_PORT};
use crate::state::write_atomic;
use crate::view::Row;

impl Mesh {
    pub(super) fn publish(&mut self) {
        let node = self.world.settings.node.clone();
        let objects: Vec<PodObject<'_>> = self.pods.iter().map(|record| record.object(&node)).collect();
        let files = render(&self.world.desired.borrow(), &self.world.local_ports.borrow(), &objects);
        let written = self.registry.sync(files).map(drop);
        self.say_failure(written, "registry");
        self.publish_mesh();
        if self.view.shows_table() {
            let rows = self.rows();
            self.view.draw(&rows);
        }
    }

    /// What `proxy-status`, `proxy-config` and tests read.
    fn publish_mesh(&mut self) {
        let (settings, layout) = (&self.world.settings, &self.world.layout);
        let value = json!({
            "pid": std::process::id(),
            "directory": settings.directory,
            "dataPlane": settings.data_plane.name(),
            "pilot": format!("{}:{PILOT_HTTP_PORT}", settings.subnet.pilot()),
            "citadel": format!("{}:8060", settings.subnet.citadel()),
            "ingress": format!("http://127.0.0.1:{}", settings.ingress.http),
            "logs": layout.logs(),
            "ready": self.announcement.is_made(),
            "pods": self.pods.iter().map(pod_value).collect::<Vec<_>>(),
        });
        let text = format!("{value:#}\n");
        if text != self.published {
            let written = write_atomic(&layout.mesh_file(), text.as_bytes());
            self.published = text;
            self.say_failure(written, "mesh.json");
        }
    }

    fn rows(&self) -> Vec<Row> {
        let subnet = self.world.settings.subnet;
        let component = |component: Component| {
            let up = self.up.contains(&component);
            let address = match component {
                Component::Citadel => subnet.citadel(),
                Component::Pilot => subnet.pilot(),
            };
            Row {
                name: component.name().into(),
                namespace: crate::gateway::ROOT_NAMESPACE.into(),
                ready: if up { "1/1" } else { "0/1" }.into(),
                proxy: "-".into(),
                status: if up { "Running" } else { "Starting" }.into(),
                restarts: 0,
                address: address.to_string(),
            }
        };
        let pod = |record: &Record| {
            let (ready, all) = record.parts();
            let meshed = record.pod.identity.role.meshed();
            Row {
                name: record.name().into(),
                namespace: record.key().namespace.clone(),
                ready: format!("{ready}/{all}"),
                proxy: if meshed {
                    self.announcement.sync_of(&record.title())
                } else {
                    "none".into()
                },
                status: record.status().into(),
                restarts: record.restarts(),
                address: match record.pod.identity.role {
                    Role::Gateway { ingress: true } => format!("127.0.0.1:{}", self.world.settings.ingress.http),
                    _ => record.pod.identity.addresses.pod.to_string(),
                },
            }
        };
        Component::ALL
            .map(component)
            .into_iter()
            .chain(self.pods.iter().map(pod))
            .collect()
    }
}

fn pod_value(record: &Record) -> Value {
    let identity = &record.pod.identity;
    json!({
        "name": identity.name,
        "namespace": identity.workload.key.namespace,
        "workload": identity.workload.key.name,
        "uid": identity.uid,
        "ip": identity.addresses.pod,
        "appAddress": identity.addresses.app,
        "admin": identity.role.meshed().then(|| format!("{}:{ADMIN_PORT}", identity.addresses.pod)),
        "status": record.status(),
        "ready": record.ready(),
        "restarts": record.restarts(),
    })
}
