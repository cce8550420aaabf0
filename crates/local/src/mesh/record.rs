//! What the mesh knows of one pod.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::controller::{Seen, WorkloadKey};
use crate::environment::BIND_ADDRESS;
use crate::objects::PodObject;
use crate::pod::{Order, Pod, Role};
use crate::supervise::State;

/// Kubernetes' alphabet for generated names: no vowels, no look-alikes.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) struct Record {
    pub(super) pod: Rc<Pod>,
    pub(super) orders: watch::Sender<Order>,
    pub(super) sidecar_ready: bool,
    pub(super) terminating: bool,
    created: String,
    containers: BTreeMap<String, Container>,
}

#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) ready: bool,
    pub(super) restarts: u32,
    pub(super) status: Status,
    /// What it last said at its end.
    pub(super) last_words: Vec<String>,
    /// Where its log stood then.
    pub(super) log_read: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    Pending,
    Running,
    /// Cannot be started.
    Error,
    /// Ended, and about to be started again after a while.
    CrashLoop,
    Completed,
    Failed,
}

/// `<workload>-<5 characters>`, as a Deployment's pods are named here.
pub(super) fn pod_name(workload: &str) -> String {
    let suffix: String = (0..5)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect();
    format!("{workload}-{suffix}")
}

/// Random; also the name of the pod's directory, which must be short.
pub(super) fn uid() -> String {
    format!("{:012x}", fastrand::u64(..1 << 48))
}

impl Record {
    pub(super) fn new(pod: Rc<Pod>, orders: watch::Sender<Order>, now: SystemTime) -> Self {
        let names = pod
            .identity
            .workload
            .template
            .spec
            .containers
            .iter()
            .map(|container| container.name.clone());
        let containers = if pod.identity.role.has_containers() {
            names.map(|name| (name, Container::default())).collect()
        } else {
            BTreeMap::new()
        };
        let created = OffsetDateTime::from(now)
            .replace_nanosecond(0)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Record {
            sidecar_ready: !pod.identity.role.meshed(),
            terminating: false,
            created: created.format(&Rfc3339).unwrap_or_default(),
            containers,
            pod,
            orders,
        }
    }

    pub(super) fn uid(&self) -> &str {
        &self.pod.identity.uid
    }

    pub(super) fn name(&self) -> &str {
        &self.pod.identity.name
    }

    pub(super) fn key(&self) -> &WorkloadKey {
        &self.pod.identity.workload.key
    }

    /// `reviews-v1-x7k2p.default`.
    pub(super) fn title(&self) -> String {
        format!("{}.{}", self.name(), self.key().namespace)
    }

    pub(super) fn ready(&self) -> bool {
        self.sidecar_ready && self.applications().all(|(_, container)| container.ready)
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            pod: self.uid().to_owned(),
            workload: self.key().clone(),
            revision: self.pod.identity.revision.clone(),
            ready: self.ready(),
            terminating: self.terminating,
        }
    }

    pub(super) fn object<'a>(&'a self, node: &'a str) -> PodObject<'a> {
        let identity = &self.pod.identity;
        let key = self.key();
        PodObject {
            name: &identity.name,
            namespace: &key.namespace,
            uid: &identity.uid,
            owner: (key.kind == "Deployment").then_some((key.name.as_str(), identity.revision.as_str())),
            template: &identity.workload.template,
            addresses: identity.addresses,
            node,
            created: &self.created,
            meshed: identity.role.meshed(),
            ready: self.ready(),
            terminating: self.terminating,
        }
    }

    pub(super) fn container(&mut self, name: &str) -> &mut Container {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// All but the sidecar.
    fn applications(&self) -> impl Iterator<Item = (&String, &Container)> {
        let declared = &self.pod.identity.workload.template.spec.containers;
        let gateway = matches!(self.pod.identity.role, Role::Gateway { .. });
        self.containers
            .iter()
            .filter(move |(name, _)| !gateway && declared.iter().any(|c| c.name == **name))
    }

    /// Ready and all parts, the sidecar among them.
    pub(super) fn parts(&self) -> (usize, usize) {
        let meshed = usize::from(self.pod.identity.role.meshed());
        let ready = self.applications().filter(|(_, container)| container.ready).count();
        (
            ready + usize::from(self.sidecar_ready) * meshed,
            self.applications().count() + meshed,
        )
    }

    pub(super) fn restarts(&self) -> u32 {
        self.containers.values().map(|container| container.restarts).sum()
    }

    /// One word for the table: the worst of the parts.
    pub(super) fn status(&self) -> &'static str {
        let has = |status: Status| self.containers.values().any(|container| container.status == status);
        match () {
            () if self.terminating => "Terminating",
            () if has(Status::Error) => "CreateContainerError",
            () if has(Status::CrashLoop) => "CrashLoopBackOff",
            () if has(Status::Failed) => "Error",
            () if self.ready() => "Running",
            () if !self.sidecar_ready => "SidecarStarting",
            () => "Starting",
        }
    }

    /// It will not become ready by waiting alone.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck().is_some()
    }

    /// The container because of which it is stuck.
    pub(super) fn stuck(&self) -> Option<&str> {
        let stuck = |status: &Status| matches!(status, Status::Error | Status::Failed | Status::CrashLoop);
        let mut containers = self.containers.iter();
        containers.find_map(|(name, c)| stuck(&c.status).then_some(name.as_str()))
    }

    /// What to say when the application could not have its port.
    pub(super) fn bind_hint(&self) -> Option<String> {
        let addresses = self.pod.identity.addresses;
        (self.pod.identity.role == Role::Sidecar).then(|| {
            format!(
                "its sidecar holds that port on {}: an application must not bind 0.0.0.0, but the address in ${BIND_ADDRESS} (here {})",
                addresses.pod, addresses.app
            )
        })
    }
}

impl Container {
    pub(super) fn update(&mut self, state: &State) {
        self.ready = false;
        self.status = match state {
            State::Waiting(_) => Status::Error,
            State::Running { .. } => Status::Running,
            State::Unhealthy(_) => return,
            State::Ended {
                restart: Some(delay), ..
            } => {
                self.restarts += 1;
                if delay.is_zero() {
                    Status::Pending
                } else {
                    Status::CrashLoop
                }
            }
            State::Ended { exit, restart: None } if exit.success() => Status::Completed,
            State::Ended { .. } => Status::Failed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Exit;
    use std::time::Duration;

    #[test]
    fn names_look_like_kubernetes_own() {
        let name = pod_name("reviews-v1");
        assert!(name.starts_with("reviews-v1-") && name.len() == 16, "{name}");
        assert_eq!(uid().len(), 12);
    }

    #[test]
    fn a_container_follows_its_process() {
        let ended = |code, restart: Option<u64>| State::Ended {
            exit: Exit::Code(code),
            restart: restart.map(Duration::from_millis),
        };
        let cases = [
            (State::Running { pid: 1 }, Status::Running, 0),
            (ended(1, Some(0)), Status::Pending, 1),
            (ended(1, Some(200)), Status::CrashLoop, 2),
            (State::Waiting("no program".into()), Status::Error, 2),
            (ended(0, None), Status::Completed, 2),
            (ended(1, None), Status::Failed, 2),
        ];
        let mut container = Container {
            ready: true,
            ..Container::default()
        };
        for (state, status, restarts) in cases {
            container.update(&state);
            assert_eq!(
                (&container.status, container.restarts, container.ready),
                (&status, restarts, false),
                "{state:?}"
            );
        }
    }
}
