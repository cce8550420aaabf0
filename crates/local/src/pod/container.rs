//! The containers of a pod as processes: start, probes, restarts, end.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Pod, Role, What};
use crate::command::{self, CommandLine};
use crate::environment::{self, BIND_ADDRESS, Environment, MeshFacts, PodFacts};
use crate::manifest::{Container, Probe as ProbeSpec};
use crate::probe::{Check, Probe, Tally, ask};
use crate::process::{Exit, Launch};
use crate::restarts::RestartPolicy;
use crate::sockets;
use crate::supervise::{Stop, stopped, supervise};

/// How often the kernel's table is read for an application that has not opened its port yet.
const LOOK: Duration = Duration::from_millis(25);
/// When an application that listens elsewhere is told so, after its start.
const COMPLAIN_AFTER: Duration = Duration::from_millis(400);

/// Runs init containers one after the other, then all containers, once the sidecar is ready.
pub(crate) async fn run_all(pod: Rc<Pod>, mut sidecar: watch::Receiver<bool>, mut stop: watch::Receiver<Stop>) {
    tokio::select! {
        biased;
        () = stopped(&mut stop) => return,
        // A sidecar that has ended without having been ready will never be.
        ready = sidecar.wait_for(|ready| *ready) => if ready.is_err() { return },
    }
    let spec = &pod.identity.workload.template.spec;
    for init in &spec.init_containers {
        let policy = match RestartPolicy::parse(&spec.restart_policy) {
            RestartPolicy::Never => RestartPolicy::Never,
            _ => RestartPolicy::OnFailure,
        };
        let exit = run(&pod, init, policy, stop.clone()).await;
        if !exit.is_some_and(Exit::success) || *stop.borrow() > Stop::Run {
            return;
        }
    }
    let mut containers = JoinSet::new();
    for container in spec.containers.clone() {
        let (pod, stop) = (pod.clone(), stop.clone());
        containers.spawn_local(async move {
            let policy = RestartPolicy::parse(&pod.identity.workload.template.spec.restart_policy);
            run(&pod, &container, policy, stop).await;
        });
    }
    while containers.join_next().await.is_some() {}
}

async fn run(pod: &Pod, container: &Container, policy: RestartPolicy, stop: watch::Receiver<Stop>) -> Option<Exit> {
    let report = |state| {
        pod.tell(What::Process {
            container: container.name.clone(),
            state,
        })
    };
    let health = |pid| watch_health(pod, container, pid);
    let stop = after_pre_stop(pod, container, stop);
    let run = supervise(
        &*pod.world.processes,
        policy,
        pod.grace(),
        || launch(pod, container),
        health,
        report,
        stop.0,
    );
    let (exit, ()) = tokio::join!(run, stop.1);
    exit
}

/// The stop as the container's process sees it: later than the pod's by its `preStop`.
fn after_pre_stop<'a>(
    pod: &'a Pod,
    container: &'a Container,
    mut stop: watch::Receiver<Stop>,
) -> (watch::Receiver<Stop>, impl Future<Output = ()> + 'a) {
    let (sender, receiver) = watch::channel(Stop::Run);
    let forward = async move {
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = sender.closed() => return,
        }
        if let Some(handler) = &container.lifecycle.pre_stop {
            let hook = async {
                if let Some(action) = &handler.sleep {
                    sleep(Duration::from_secs(action.seconds)).await;
                }
                if let Some(action) = &handler.exec
                    && let Err(error) = exec(pod, container, &action.command).await
                {
                    pod.tell(What::Complaint(format!(
                        "container {}: preStop: {error}",
                        container.name
                    )));
                }
            };
            tokio::select! {
                () = hook => {}
                _ = stop.wait_for(|stop| *stop == Stop::Kill) => {}
            }
        }
        sender.send_replace(Stop::Terminate);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop == Stop::Kill) => { sender.send_replace(Stop::Kill); }
            () = sender.closed() => {}
        }
    };
    (receiver, forward)
}

fn launch(pod: &Pod, container: &Container) -> Result<Launch, String> {
    let template = &pod.identity.workload.template;
    let CommandLine { program, args } = command::resolve(container, template, &pod.world.search)?;
    let env = variables(pod, container).map_err(|error| format!("container {}: {error}", container.name))?;
    let args = args.iter().map(|arg| environment::expand(arg, &env)).collect();
    let directory = pod.world.settings.directory.join(&container.working_dir);
    // A path of the image is seldom one of this machine.
    let directory = if directory.is_dir() {
        directory
    } else {
        pod.world.settings.directory.clone()
    };
    Ok(Launch {
        program,
        args,
        env,
        directory,
        log: pod.world.layout.log(&pod.identity.name, &container.name),
    })
}

fn variables(pod: &Pod, container: &Container) -> Result<Environment, String> {
    let (identity, desired, ports) = (
        &pod.identity,
        pod.world.desired.borrow(),
        pod.world.local_ports.borrow(),
    );
    let template = &identity.workload.template;
    let facts = PodFacts {
        name: &identity.name,
        namespace: pod.namespace(),
        uid: &identity.uid,
        labels: &template.labels,
        annotations: &template.annotations,
        service_account: template.spec.service_account(),
        addresses: identity.addresses,
        sidecar: identity.role == Role::Sidecar,
        node: &pod.world.settings.node,
    };
    let mesh = MeshFacts {
        services: &desired.services,
        local_ports: &ports,
        config_maps: &desired.config_maps,
        secrets: &desired.secrets,
    };
    environment::build(container, &facts, &mesh)
}

/// Runs the probes beside the process. Completes, with the reason, when the process must be replaced.
async fn watch_health(pod: &Pod, container: &Container, pid: u32) -> String {
    tokio::select! {
        why = watch_probes(pod, container) => why,
        why = forever(complain_about_addresses(pod, container, pid)) => why,
    }
}

/// Does its work and then lets the others beside it go on: in a `select!`, the first to complete ends all.
async fn forever<T>(work: impl Future<Output = ()>) -> T {
    work.await;
    std::future::pending().await
}

async fn watch_probes(pod: &Pod, container: &Container) -> String {
    if let Some(mut startup) = Asking::new(pod, container, "startupProbe", container.startup_probe.as_ref()) {
        loop {
            match startup.next().await {
                (Some(true), _) => break,
                (Some(false), answer) => return format!("startup probe: {}", answer.err().unwrap_or_default()),
                (None, _) => {}
            }
        }
    }
    tokio::select! {
        why = forever(watch_readiness(pod, container)) => why,
        why = watch_liveness(pod, container) => why,
    }
}

async fn watch_liveness(pod: &Pod, container: &Container) -> String {
    let Some(mut liveness) = Asking::new(pod, container, "livenessProbe", container.liveness_probe.as_ref()) else {
        return std::future::pending().await;
    };
    loop {
        if let (Some(false), answer) = liveness.next().await {
            return format!("liveness probe: {}", answer.err().unwrap_or_default());
        }
    }
}

/// Tells each change of readiness. Completes when no more changes are to be expected.
async fn watch_readiness(pod: &Pod, container: &Container) {
    let tell = |ready| {
        pod.tell(What::Ready {
            container: container.name.clone(),
            ready,
        })
    };
    let Some(mut readiness) = Asking::new(pod, container, "readinessProbe", container.readiness_probe.as_ref()) else {
        wait_for_listeners(pod, container).await;
        return tell(true);
    };
    let mut ready = false;
    loop {
        let now = readiness.next().await.0 == Some(true);
        if now != ready {
            ready = now;
            tell(now);
        }
    }
}

/// One probe, asked again and again.
struct Asking<'a> {
    pod: &'a Pod,
    container: &'a Container,
    probe: Probe,
    tally: Tally,
    wait: Duration,
}

impl<'a> Asking<'a> {
    /// Reads a probe; one that makes no sense is reported and then passed over.
    fn new(pod: &'a Pod, container: &'a Container, field: &str, spec: Option<&ProbeSpec>) -> Option<Self> {
        match Probe::new(spec?, &pod.identity.workload.template.spec) {
            Ok(probe) => {
                let (tally, wait) = (Tally::new(probe.clone(), Instant::now()), probe.initial_delay);
                Some(Asking {
                    pod,
                    container,
                    probe,
                    tally,
                    wait,
                })
            }
            Err(error) => {
                pod.tell(What::Complaint(format!(
                    "container {}: {field} {error}; it is passed over",
                    container.name
                )));
                None
            }
        }
    }

    /// Waits until it is time, asks, and returns the verdict with the answer.
    async fn next(&mut self) -> (Option<bool>, Result<(), String>) {
        sleep(self.wait).await;
        let answer = self.ask().await;
        let verdict = self.tally.record(answer.is_ok(), Instant::now());
        self.wait = self.tally.pause();
        (verdict, answer)
    }

    async fn ask(&self) -> Result<(), String> {
        match &self.probe.check {
            Check::Exec { command } => match timeout(self.probe.timeout, exec(self.pod, self.container, command)).await
            {
                Ok(answer) => answer,
                Err(_) => Err("the command did not end in time".into()),
            },
            check => ask(check, self.pod.identity.addresses.app, self.probe.timeout).await,
        }
    }
}

/// Runs a command in the container's environment.
async fn exec(pod: &Pod, container: &Container, words: &[String]) -> Result<(), String> {
    let Some((program, args)) = words.split_first() else {
        return Err("the command is empty".into());
    };
    let found = pod
        .world
        .search
        .find(program)
        .ok_or_else(|| format!("program `{program}` was not found"))?;
    let mut launch = launch(pod, container)?;
    launch.args = args.iter().map(|arg| environment::expand(arg, &launch.env)).collect();
    launch.program = found;
    let running = pod.world.processes.start(&launch).map_err(|error| error.to_string())?;
    let guard = KillOnDrop(pod, running.pid);
    let exit = running.exit.await.unwrap_or(Exit::Code(-1));
    std::mem::forget(guard);
    if exit.success() { Ok(()) } else { Err(exit.to_string()) }
}

struct KillOnDrop<'a>(&'a Pod, u32);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.world.processes.kill(self.1);
    }
}

/// The ports of this container that Services lead to; all of the pod's where the container declares none.
fn expected_ports(pod: &Pod, container: &Container) -> Vec<u16> {
    let served = pod.world.desired.borrow().served_ports(&pod.identity.workload);
    let declared: Vec<u16> = container.ports.iter().map(|port| port.container_port).collect();
    let only = pod.identity.workload.template.spec.containers.len() == 1;
    served
        .into_iter()
        .filter(|port| only || declared.contains(port))
        .collect()
}

/// Without a readiness probe a container is ready when it listens on the ports that Services lead to: requests that come
/// earlier could only fail.
async fn wait_for_listeners(pod: &Pod, container: &Container) {
    let ports = expected_ports(pod, container);
    let address = pod.identity.addresses.app;
    while !ports.is_empty() {
        let table = sockets::listeners();
        let open = |port: &u16| {
            let anywhere =
                pod.identity.role == Role::Bare && table.iter().any(|l| l.port == *port && l.address.is_unspecified());
            anywhere || sockets::listening(&table, address, *port)
        };
        if ports.iter().all(open) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Says once which expected port the application has opened on an address where its sidecar cannot reach it (or where it
/// keeps the sidecar from its own).
async fn complain_about_addresses(pod: &Pod, container: &Container, pid: u32) {
    if pod.identity.role != Role::Sidecar {
        return;
    }
    let ports = expected_ports(pod, container);
    let (p, a) = (pod.identity.addresses.pod, pod.identity.addresses.app);
    let mut wait = COMPLAIN_AFTER;
    for _ in 0..8 {
        sleep(wait).await;
        wait *= 2;
        let table = sockets::listeners();
        let missing: Vec<u16> = ports
            .iter()
            .copied()
            .filter(|port| !sockets::listening(&table, a, *port))
            .collect();
        if missing.is_empty() {
            return;
        }
        let elsewhere = sockets::of_group(&table, pid)
            .into_iter()
            .find(|l| missing.contains(&l.port) && l.address != IpAddr::V4(a));
        if let Some(found) = elsewhere {
            pod.tell(What::Complaint(format!(
                "container {} listens on {}:{}, where its sidecar ({p}) does not reach it: bind the address in ${BIND_ADDRESS} (here {a}:{})",
                container.name, found.address, found.port, found.port
            )));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::tests::pod;
    use crate::process::Exit;
    use crate::supervise::tests::Scripted;
    use tokio::sync::mpsc;

    /// An address of this test alone, by process.
    fn address() -> std::net::Ipv4Addr {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        std::net::Ipv4Addr::new(127, 201, high, low.max(2))
    }

    async fn next_ready(events: &mut mpsc::UnboundedReceiver<crate::pod::Event>) -> bool {
        loop {
            match timeout(Duration::from_secs(5), events.recv()).await {
                Ok(Some(event)) => {
                    if let What::Ready { ready, .. } = event.what {
                        return ready;
                    }
                }
                _ => panic!("no word of readiness"),
            }
        }
    }

    /// Readiness that comes late, after the look for wrong addresses is over, and a liveness probe beside a container without
    /// a readiness probe.
    #[tokio::test]
    async fn one_watch_that_ends_does_not_end_the_others() {
        let (app, port) = (address(), 9080);
        let containers = [
            serde_json::json!({"name": "app", "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}}),
            serde_json::json!({"name": "app", "livenessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1}}),
        ];
        let (late, mut events) = pod(containers[0].clone(), app, Scripted::default());
        let container = late.identity.workload.template.spec.containers[0].clone();
        let health = watch_health(&late, &container, 1);
        let listener = tokio::select! {
            why = health => panic!("{why}"),
            listener = async {
                sleep(COMPLAIN_AFTER * 2).await;
                let listener = tokio::net::TcpListener::bind((app, port)).await.unwrap();
                assert!(next_ready(&mut events).await);
                listener
            } => listener,
        };

        let (live, mut events) = pod(containers[1].clone(), app, Scripted::default());
        let container = live.identity.workload.template.spec.containers[0].clone();
        let health = watch_health(&live, &container, 1);
        tokio::pin!(health);
        tokio::select! {
            why = &mut health => panic!("{why}"),
            ready = next_ready(&mut events) => assert!(ready),
        }
        drop(listener);
        let why = timeout(Duration::from_secs(5), health)
            .await
            .expect("a liveness probe that fails ends the run");
        assert!(why.starts_with("liveness probe: "), "{why}");
    }

    #[tokio::test]
    async fn an_exec_probe_is_the_commands_exit() {
        let processes = Scripted::default();
        let (pod, _events) = pod(
            serde_json::json!({"name": "app", "command": ["sh"]}),
            address(),
            processes.clone(),
        );
        let container = pod.identity.workload.template.spec.containers[0].clone();
        let words = ["sh".to_owned()];
        let exit = async {
            while processes.log.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            processes.exit(Exit::Code(2));
        };
        let (answer, ()) = tokio::join!(exec(&pod, &container, &words), exit);
        assert_eq!(answer, Err("exit code 2".into()));
    }
}
