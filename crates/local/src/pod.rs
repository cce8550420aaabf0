//! A process pod: one agent with its proxy, and the containers' commands, from birth to drain.
//!
//! An application starts when its sidecar is ready, and ends after it: it never sees the network without the mesh, and
//! requests that are under way when a pod goes are answered.

pub(crate) mod agent;
mod container;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::addresses::PodAddresses;
use crate::command::SearchPath;
use crate::desired::Desired;
use crate::local_ports::LocalPorts;
use crate::manifest::Workload;
use crate::process::Processes;
use crate::settings::Settings;
use crate::state::Layout;
use crate::supervise::{State, Stop};

/// From an endpoint's change until every proxy knows it.
const PUSH_WAIT: Duration = Duration::from_millis(300);

/// What surrounds the proxy of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// An application with a sidecar.
    Sidecar,
    /// An application alone.
    Bare,
    /// A proxy alone; at the front door it binds 127.0.0.1.
    Gateway { ingress: bool },
}

/// What all pods share.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) layout: Layout,
    pub(crate) search: SearchPath,
    pub(crate) processes: Box<dyn Processes>,
    pub(crate) desired: RefCell<Desired>,
    pub(crate) local_ports: RefCell<LocalPorts>,
}

/// Who a pod is.
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) workload: Workload,
    pub(crate) revision: String,
    pub(crate) role: Role,
    pub(crate) addresses: PodAddresses,
}

/// What a pod is told. Only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    #[default]
    Run,
    /// Leave after every client knows that it leaves.
    Leave,
    /// Leave now: everybody leaves.
    LeaveNow,
    Kill,
}

/// What a pod tells.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) uid: String,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Sidecar { ready: bool },
    Process { container: String, state: State },
    Ready { container: String, ready: bool },
    Complaint(String),
    Gone,
}

/// The parts of a pod's tasks have this in common.
pub(crate) struct Pod {
    pub(crate) identity: Identity,
    pub(crate) world: Rc<World>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

impl Role {
    pub(crate) fn of(workload: &Workload) -> Self {
        if workload.is_gateway() {
            Role::Gateway {
                ingress: crate::gateway::is_ingress(workload),
            }
        } else if workload.wants_sidecar() {
            Role::Sidecar
        } else {
            Role::Bare
        }
    }

    pub(crate) fn meshed(self) -> bool {
        self != Role::Bare
    }

    pub(crate) fn has_containers(self) -> bool {
        !matches!(self, Role::Gateway { .. })
    }
}

impl Pod {
    pub(crate) fn namespace(&self) -> &str {
        &self.identity.workload.key.namespace
    }

    pub(crate) fn tell(&self, what: What) {
        // The mesh that listened is gone: it is about to end this pod as well.
        let _ = self.events.send(Event {
            uid: self.identity.uid.clone(),
            what,
        });
    }

    /// How long the pod may take to leave.
    fn grace(&self) -> Duration {
        self.identity.workload.template.spec.grace()
    }

    /// Runs the pod until it is told to leave, and through its departure.
    pub(crate) async fn run(self: Rc<Self>, mut orders: watch::Receiver<Order>) {
        let (agent_stop, agent_stopping) = watch::channel(Stop::Run);
        let (app_stop, app_stopping) = watch::channel(Stop::Run);
        let (ready, sidecar) = watch::channel(!self.identity.role.meshed());
        let (mut agent, mut apps) = (JoinSet::new(), JoinSet::new());
        if self.identity.role.meshed() {
            agent.spawn_local(agent::run(self.clone(), ready, agent_stopping));
        }
        if self.identity.role.has_containers() {
            apps.spawn_local(container::run_all(self.clone(), sidecar, app_stopping));
        }

        let _ = orders.wait_for(|order| *order > Order::Run).await;
        tokio::select! {
            () = self.leave(&orders, (&agent_stop, &mut agent), (&app_stop, &mut apps)) => {}
            _ = async { orders.clone().wait_for(|order| *order == Order::Kill).await.map(drop) } => {}
        }
        agent_stop.send_replace(Stop::Kill);
        app_stop.send_replace(Stop::Kill);
        while agent.join_next().await.is_some() || apps.join_next().await.is_some() {}
        self.tell(What::Gone);
    }

    /// First the proxy finishes what it has, then the applications end.
    async fn leave(
        &self,
        orders: &watch::Receiver<Order>,
        (agent_stop, agent): (&watch::Sender<Stop>, &mut JoinSet<()>),
        (app_stop, apps): (&watch::Sender<Stop>, &mut JoinSet<()>),
    ) {
        let end = Instant::now() + self.grace();
        let mut hurry = orders.clone();
        tokio::select! {
            () = sleep_until(Instant::now() + PUSH_WAIT) => {}
            _ = hurry.wait_for(|order| *order >= Order::LeaveNow) => {}
        }
        agent_stop.send_replace(Stop::Terminate);
        let _ = timeout_at(end, async { while agent.join_next().await.is_some() {} }).await;
        app_stop.send_replace(Stop::Terminate);
        let _ = timeout_at(end, async { while apps.join_next().await.is_some() {} }).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::desired::tests::{INGRESS, manifest};
    use crate::settings::DataPlane;
    use crate::supervise::tests::Scripted;
    use serde_json::{Value, json};
    use std::net::Ipv4Addr;

    /// A pod of one container, whose processes are scripted.
    pub(crate) fn pod(container: Value, app: Ipv4Addr, processes: Scripted) -> (Pod, mpsc::UnboundedReceiver<Event>) {
        let object = json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [container]}});
        let (events, receiver) = mpsc::unbounded_channel();
        let settings = Settings {
            directory: std::env::temp_dir(),
            executable: "meltemi".into(),
            subnet: "127.64.0.0/10".parse().unwrap(),
            data_plane: DataPlane::Native,
            ingress: INGRESS,
            concurrency: 1,
            xds_mode: "delta".into(),
            proxy_log_level: "warning".into(),
            workload_cert_ttl: None,
            node: "laptop".into(),
            trust_domain: RefCell::new("cluster.local".into()),
        };
        let world = World {
            settings,
            layout: Layout::new("/state".into()),
            search: SearchPath {
                path: vec!["/bin".into()],
                ..SearchPath::default()
            },
            processes: Box::new(processes),
            desired: RefCell::default(),
            local_ports: RefCell::default(),
        };
        let identity = Identity {
            name: "web-abcde".into(),
            uid: "u".into(),
            workload: Workload::pod(&manifest(object)).unwrap(),
            revision: "r".into(),
            role: Role::Sidecar,
            addresses: PodAddresses {
                // Nobody answers there for a sidecar.
                pod: Ipv4Addr::new(127, 202, 0, 1),
                app,
            },
        };
        (
            Pod {
                identity,
                world: Rc::new(world),
                events,
            },
            receiver,
        )
    }

    /// First the clients are told, then the sidecar drains, and only then the application ends.
    #[tokio::test(start_paused = true)]
    async fn a_pod_leaves_in_order() {
        let processes = Scripted::default();
        let (pod, mut events) = pod(
            json!({"name": "app", "command": ["sh"]}),
            Ipv4Addr::new(127, 201, 0, 1),
            processes.clone(),
        );
        let (orders, receiver) = watch::channel(Order::Run);
        tokio::task::LocalSet::new()
            .run_until(async {
                let task = tokio::task::spawn_local(Rc::new(pod).run(receiver));
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert_eq!(
                    *processes.log.borrow(),
                    ["start meltemi"],
                    "the application waits for its sidecar"
                );
                orders.send_replace(Order::Leave);
                tokio::time::sleep(PUSH_WAIT / 2).await;
                assert_eq!(processes.log.borrow().len(), 1, "clients are still being told");
                tokio::time::sleep(PUSH_WAIT).await;
                assert_eq!(processes.log.borrow()[1], "terminate");
                orders.send_replace(Order::Kill);
                task.await.unwrap();
                assert_eq!(processes.log.borrow()[2..], ["kill"]);
            })
            .await;
        let mut last = None;
        while let Ok(event) = events.try_recv() {
            last = Some(event.what);
        }
        assert!(matches!(last, Some(What::Gone)), "{last:?}");
    }
}
