//! The running mesh: one loop that hears of changes and brings what runs in line with what is wanted.
//!
//! State is plain data in [`Mesh`]; tasks (pods, control plane, callers) only send messages. After each batch of messages
//! the controller says what to do, and what others must know is published: the registry's files for pilot, `mesh.json` for
//! other commands, the table for people.

mod announce;
mod arrival;
mod departure;
mod publish;
mod record;
mod rollout;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::addresses::{AddressPool, PodAddresses};
use crate::control::{Call, Reply, Request};
use crate::control_plane::{self, Component};
use crate::controller::{Action, WorkloadKey, step};
use crate::desired::Desired;
use crate::logs::{self, Follower};
use crate::pod::{Event, Identity, Order, Pod, Role, What, World, agent};
use crate::source::Source;
use crate::state::{RegistryFiles, make_dir, write_atomic};
use crate::supervise::{State, Stop};
use crate::tokens::{RENEW_AFTER, Tokens};
use crate::view::View;
use announce::Announcement;
use record::Record;
use rollout::Waiter;

/// Lines of a log that are shown when its process ends unexpectedly.
const TAIL_LINES: usize = 5;

pub(crate) struct Mesh {
    world: Rc<World>,
    source: Source,
    pool: AddressPool,
    tokens: Tokens,
    registry: RegistryFiles,
    /// In order of creation.
    pods: Vec<Record>,
    /// Restarts asked for by hand.
    restarts: BTreeMap<WorkloadKey, u32>,
    waiters: Vec<Waiter>,
    /// Components that answer.
    up: BTreeSet<Component>,
    tasks: JoinSet<()>,
    pod_events: (mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>),
    plane_events: (
        mpsc::UnboundedSender<control_plane::Event>,
        mpsc::UnboundedReceiver<control_plane::Event>,
    ),
    plane_stop: watch::Sender<Stop>,
    announcement: Announcement,
    view: View,
    follower: Option<Follower>,
    /// Where the logs of components stood when they last ended.
    plane_logs: BTreeMap<Component, u64>,
    /// Messages about the directory that have been shown and still hold.
    said: BTreeSet<String>,
    /// Messages about pods that have been shown.
    complaints: BTreeSet<String>,
    began: Instant,
    /// `mesh.json` as last written.
    published: String,
}

impl Mesh {
    pub(crate) fn new(world: Rc<World>, source: Source, tokens: Tokens, began: Instant, verbose: bool) -> Self {
        Mesh {
            pool: AddressPool::new(world.settings.subnet),
            registry: RegistryFiles::new(world.layout.registry()),
            follower: verbose.then(|| Follower::new(world.layout.logs())),
            world,
            source,
            tokens,
            pods: Vec::new(),
            restarts: BTreeMap::new(),
            waiters: Vec::new(),
            up: BTreeSet::new(),
            tasks: JoinSet::new(),
            pod_events: mpsc::unbounded_channel(),
            plane_events: mpsc::unbounded_channel(),
            plane_stop: watch::channel(Stop::Run).0,
            announcement: Announcement::default(),
            view: View::new(verbose),
            plane_logs: BTreeMap::new(),
            said: BTreeSet::new(),
            complaints: BTreeSet::new(),
            began,
            published: String::new(),
        }
    }

    /// Starts everything and serves until the first signal; then lets everything drain.
    pub(crate) async fn run(mut self, mut signals: runtime::signal::Termination, mut calls: mpsc::Receiver<Call>) {
        self.reload();
        for component in Component::ALL {
            let events = self.plane_events.0.clone();
            self.tasks.spawn_local(control_plane::run(
                component,
                self.world.clone(),
                events,
                self.plane_stop.subscribe(),
            ));
        }
        self.settle();
        let mut housekeeping = interval(Duration::from_secs(2));
        let mut renewal = interval(RENEW_AFTER);
        let mut frames = interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                biased;
                name = signals.next() => {
                    self.view.release();
                    self.view.say(&format!("{name}: draining; once more ends everything at once"));
                    break;
                }
                Some(event) = self.pod_events.1.recv() => {
                    self.on_pod(event);
                    while let Ok(event) = self.pod_events.1.try_recv() {
                        self.on_pod(event);
                    }
                }
                Some(event) = self.plane_events.1.recv() => self.on_plane(event),
                () = self.source.changed() => self.reload(),
                Some(call) = calls.recv() => self.on_call(call),
                Some(checked) = self.announcement.checked() => self.announce(checked),
                _ = frames.tick(), if self.follower.is_some() || !self.announcement.is_made() => self.frame(),
                _ = renewal.tick() => self.renew_tokens(),
                _ = housekeeping.tick() => logs::bound(&self.world.layout.logs()),
            }
            self.settle();
        }
        self.depart(signals).await;
    }

    /// Acts until nothing is left to do now, then tells everybody.
    fn settle(&mut self) {
        loop {
            let wanted = self.world.desired.borrow().wanted(&self.restarts);
            let seen: Vec<_> = self.pods.iter().map(Record::seen).collect();
            let actions = step(&wanted, &seen);
            let mut done = 0;
            for action in actions {
                done += match action {
                    Action::Create(key) => usize::from(self.create(&key, &wanted[&key].revision)),
                    Action::Stop(uid) => usize::from(self.stop(&uid)),
                };
            }
            // What could not be done now is tried again after the next event.
            if done == 0 {
                break;
            }
        }
        self.publish();
        self.serve_waiters();
        self.check_announcement();
    }

    /// Reads the directory's state anew.
    fn reload(&mut self) {
        let world = self.world.clone();
        let settings = &world.settings;
        let manifests = self.source.manifests();
        let mut desired = Desired::new(&manifests, settings.ingress);
        desired.mesh = self.source.mesh_config();
        let mesh_config = desired.mesh_config.clone().unwrap_or_else(|| "{}\n".into());
        let path = self.world.layout.mesh_config();
        if std::fs::read(&path).ok().as_deref() != Some(mesh_config.as_bytes()) {
            let written = write_atomic(&path, mesh_config.as_bytes());
            self.say_failure(written, "mesh configuration");
        }
        if !self.announcement.is_made() {
            *settings.trust_domain.borrow_mut() = self.source.trust_domain();
        }
        let ports = desired.local_ports(&self.world.local_ports.borrow());
        let mut messages = self.source.messages(settings.data_plane.is_envoy());
        messages.extend(desired.problems.iter().map(|problem| format!("error: {problem}")));
        messages.extend(desired.notes.iter().map(|note| format!("note: {note}")));
        *self.world.local_ports.borrow_mut() = ports;
        *self.world.desired.borrow_mut() = desired;
        for message in &messages {
            if !self.said.contains(message) {
                self.view.say(message);
            }
        }
        // What is mended and then broken again is said again.
        self.said = messages.into_iter().collect();
    }

    /// False if it cannot be done.
    fn create(&mut self, key: &WorkloadKey, revision: &str) -> bool {
        let Some(addresses) = self.pool.allot() else {
            let subnet = self.world.settings.subnet;
            self.say_once(format!(
                "error: no address is left in {subnet} for {}; give a larger one with --subnet",
                key.name
            ));
            return false;
        };
        let Some(workload) = self.world.desired.borrow().workloads.get(key).cloned() else {
            return false;
        };
        let role = Role::of(&workload);
        let addresses = if role == Role::Bare {
            PodAddresses {
                app: addresses.pod,
                ..addresses
            }
        } else {
            addresses
        };
        let identity = Identity {
            name: record::pod_name(&key.name),
            uid: record::uid(),
            workload,
            revision: revision.to_owned(),
            role,
            addresses,
        };
        let written = make_dir(&self.world.layout.pod(&identity.uid)).map_err(|error| error.to_string());
        let written = written.and_then(|()| self.write_token(&identity));
        self.say_failure(written, "token");
        let pod = Rc::new(Pod {
            identity,
            world: self.world.clone(),
            events: self.pod_events.0.clone(),
        });
        let (orders, receiver) = watch::channel(Order::Run);
        self.tasks.spawn_local(pod.clone().run(receiver));
        self.tell_waiters(key, &format!("{} is starting", pod.identity.name));
        self.pods.push(Record::new(pod, orders, SystemTime::now()));
        true
    }

    fn stop(&mut self, uid: &str) -> bool {
        let Some(record) = self.pods.iter_mut().find(|record| record.uid() == uid) else {
            return false;
        };
        record.terminating = true;
        record.orders.send_replace(Order::Leave);
        let (key, text) = (record.key().clone(), format!("{} is draining", record.name()));
        self.tell_waiters(&key, &text);
        true
    }

    fn on_pod(&mut self, event: Event) {
        let Some(index) = self.pods.iter().position(|record| record.uid() == event.uid) else {
            return;
        };
        let was_ready = self.pods[index].ready();
        match event.what {
            What::Sidecar { ready } => self.pods[index].sidecar_ready = ready,
            What::Ready { container, ready } => self.pods[index].container(&container).ready = ready,
            What::Complaint(text) => {
                let text = format!("{}: {text}", self.pods[index].title());
                self.say_once(text);
            }
            What::Process { container, state } => self.on_process(index, &container, &state),
            What::Gone => return self.forget(index),
        }
        let record = &self.pods[index];
        if record.ready() && !was_ready {
            let (key, text) = (record.key().clone(), format!("{} is ready", record.name()));
            if !self.announcement.is_made() && !self.view.shows_table() {
                let elapsed = self.began.elapsed().as_secs_f64();
                self.view
                    .say(&format!("{} is ready ({elapsed:.1} s)", self.pods[index].title()));
            }
            self.tell_waiters(&key, &text);
        }
    }

    fn on_process(&mut self, index: usize, container: &str, state: &State) {
        let record = &mut self.pods[index];
        record.container(container).update(state);
        if record.terminating {
            return;
        }
        let title = format!("{}, container {container}", record.title());
        let log = self.world.layout.log(record.name(), container);
        let key = record.key().clone();
        match state {
            State::Running { .. } => {}
            State::Waiting(why) => {
                let record = &self.pods[index];
                let place = &record.pod.identity.workload.place;
                self.say_once(format!("{} ({place}): {why}", record.title()));
            }
            State::Unhealthy(why) => self.view.say(&format!("{title}: {why}; it is restarted")),
            State::Ended { exit, restart: None } if exit.success() => {}
            State::Ended { exit, restart } => {
                let mut tail = logs::tail(&log, &mut record.container(container).log_read, TAIL_LINES);
                // The same last words again and again would only push other news away.
                if record.container(container).last_words == tail {
                    tail.clear();
                } else {
                    record.container(container).last_words.clone_from(&tail);
                }
                let hint = record.bind_hint().filter(|_| container != agent::NAME);
                let text = announce::ended(&title, *exit, *restart, &tail, &log, hint);
                self.view.say(&text);
                self.tell_waiters(&key, &text);
            }
        }
    }

    fn on_plane(&mut self, event: control_plane::Event) {
        match event {
            control_plane::Event::Ready(component) => {
                self.up.insert(component);
                if !self.announcement.is_made() && !self.view.shows_table() {
                    self.view.say(&format!(
                        "{} is ready ({:.1} s)",
                        component.name(),
                        self.began.elapsed().as_secs_f64()
                    ));
                }
            }
            control_plane::Event::Process(component, State::Ended { exit, restart }) => {
                self.up.remove(&component);
                let log = self.world.layout.log(component.name(), component.container());
                let tail = logs::tail(&log, self.plane_logs.entry(component).or_default(), TAIL_LINES);
                self.view
                    .say(&announce::ended(component.name(), exit, restart, &tail, &log, None));
            }
            control_plane::Event::Process(component, State::Waiting(why)) => {
                self.say_once(format!("{}: {why}", component.name()));
            }
            control_plane::Event::Process(..) => {}
        }
    }

    fn forget(&mut self, index: usize) {
        let record = self.pods.remove(index);
        let _ = std::fs::remove_dir_all(self.world.layout.pod(record.uid()));
        self.pool.release(record.pod.identity.addresses);
        self.tell_waiters(record.key(), &format!("{} is gone", record.name()));
    }

    fn on_call(&mut self, call: Call) {
        let Request::Restart { name, namespace } = call.request;
        let key = WorkloadKey {
            kind: "Deployment",
            namespace,
            name,
        };
        if !self.world.desired.borrow().workloads.contains_key(&key) {
            let desired = self.world.desired.borrow();
            let names: Vec<String> = desired
                .workloads
                .keys()
                .map(|k| format!("{}.{}", k.name, k.namespace))
                .collect();
            let text = format!(
                "there is no Deployment {}/{}; there are: {}",
                key.namespace,
                key.name,
                names.join(", ")
            );
            let _ = call.replies.send(Reply::Error(text));
            return;
        }
        *self.restarts.entry(key.clone()).or_default() += 1;
        self.waiters.push(Waiter {
            key,
            replies: call.replies,
            since: Instant::now(),
        });
    }

    fn renew_tokens(&mut self) {
        for index in 0..self.pods.len() {
            let written = self.write_token(&self.pods[index].pod.identity);
            self.say_failure(written, "token");
        }
    }

    fn write_token(&self, identity: &Identity) -> Result<(), String> {
        let key = &identity.workload.key;
        let account = identity.workload.template.spec.service_account();
        let path = self.world.layout.pod(&identity.uid).join("token");
        self.tokens
            .write(&path, &key.namespace, account, &identity.name, SystemTime::now())
    }

    fn frame(&mut self) {
        if let Some(follower) = &mut self.follower {
            let _ = follower.pump(&mut std::io::stdout().lock());
        }
        self.announcement.ask_sync(&self.world);
    }

    fn say_once(&mut self, text: String) {
        if !self.complaints.contains(&text) {
            self.view.say(&text);
            self.complaints.insert(text);
        }
    }

    fn say_failure<E: std::fmt::Display>(&mut self, result: Result<(), E>, what: &str) {
        if let Err(error) = result {
            self.say_once(format!("error: {what}: {error}"));
        }
    }
}
