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
        Duration::from_secs(
            self.identity
                .workload
                .template
                .spec
                .termination_grace_period_seconds
                .unwrap_or(30),
        )
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
