//! A whole agent as a process, around a shell script in the proxy's place.
//!
//! The agent starts the proxy through its own executable, so this test is its own agent: called as `agent pilot-agent …` it is one,
//! called with `exec-child` it becomes the proxy, and otherwise it runs the tests.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|word| word.to_str()) {
        Some("exec-child") => runtime::child::exec_main(args[1..].to_vec()),
        Some("pilot-agent") => node::pilot_agent_main(args[1..].to_vec()),
        filter => run_tests(filter.filter(|word| !word.starts_with('-'))),
    }
}

fn run_tests(filter: Option<&str>) -> ExitCode {
    let tests: [(&str, fn()); 6] = [
        (
            "a_proxy_dies_with_its_agent_even_by_kill_9",
            a_proxy_dies_with_its_agent_even_by_kill_9,
        ),
        ("sigterm_stops_the_proxy_in_order", sigterm_stops_the_proxy_in_order),
        ("a_crash_is_told_and_mended", a_crash_is_told_and_mended),
        (
            "a_status_port_in_use_ends_the_agent_before_the_proxy_starts",
            a_status_port_in_use_ends_the_agent_before_the_proxy_starts,
        ),
        (
            "faults_end_with_64_and_touch_nothing",
            faults_end_with_64_and_touch_nothing,
        ),
        (
            "an_override_and_a_custom_bootstrap_are_passed_on",
            an_override_and_a_custom_bootstrap_are_passed_on,
        ),
    ];
    for (name, test) in tests
        .into_iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)))
    {
        test(); // a panic says the rest
        eprintln!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A folder with a script that plays the proxy. What the script says goes through the agent's standard output.
struct Pod {
    dir: tempfile::TempDir,
}

/// A running agent; killed when dropped.
struct Agent {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

/// Says its process id and waits.
const IDLE: &str = "echo $$; exec sleep 60";

impl Pod {
    fn new(script: &str) -> Self {
        let pod = Pod {
            dir: tempfile::tempdir().unwrap(),
        };
        let text = format!("#!/bin/sh\ncd {}\n{script}\n", pod.dir.path().display());
        fs::write(pod.file("proxy.sh"), text).unwrap();
        fs::set_permissions(pod.file("proxy.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        pod
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, more: &[&str]) -> Agent {
        self.start_with(more, &[])
    }

    fn start_with(&self, more: &[&str], environment: &[(&str, PathBuf)]) -> Agent {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "pilot-agent",
            "proxy",
            "sidecar",
            "--statusPort",
            "0",
            "--caAddress",
            "none",
        ]);
        command.args([
            "--controlPlaneAuthPolicy",
            "NONE",
            "--drainDuration",
            "0s",
            "--id",
            "a.b",
            "--ip",
            "127.0.0.1",
        ]);
        command.arg("--configPath").arg(self.file("conf"));
        command.arg("--binaryPath").arg(self.file("proxy.sh"));
        command
            .args(more)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Agent { process, said }
    }
}

impl Agent {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }

    /// What the proxy says next.
    fn hear(&mut self) -> String {
        self.said.next().expect("the proxy says nothing more").unwrap()
    }

    /// Waits until nobody is left who could say anything: agent and proxy are gone.
    fn silence(&mut self) {
        let rest: Vec<_> = self.said.by_ref().map(Result::unwrap).collect();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// Exit code and log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.process.wait().unwrap().code(), log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn a_proxy_dies_with_its_agent_even_by_kill_9() {
    let pod = Pod::new(IDLE);
    let mut agent = pod.start(&[]);
    agent.hear();
    let killed = Instant::now();
    agent.signal(Signal::SIGKILL);
    agent.silence();
    assert!(killed.elapsed() < Duration::from_secs(30), "the proxy lived on");
}

fn sigterm_stops_the_proxy_in_order() {
    let pod = Pod::new("trap 'echo termed; exit 0' TERM; echo up; while :; do sleep 0.02; done");
    let mut agent = pod.start(&[]);
    assert_eq!(agent.hear(), "up");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.hear(), "termed");
    let (code, log) = agent.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!pod.file("conf/sds.sock").exists(), "the socket is left behind");
}

fn a_crash_is_told_and_mended() {
    let pod = Pod::new("echo $$; if [ -e once ]; then exec sleep 60; fi; touch once; kill -9 $$");
    let mut agent = pod.start(&[]);
    assert_ne!(agent.hear(), agent.hear());
    agent.signal(Signal::SIGTERM);
    let (code, log) = agent.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("signal 9 (SIGKILL)"), "{log}");
}

fn a_status_port_in_use_ends_the_agent_before_the_proxy_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let pod = Pod::new(IDLE);
    let mut agent = pod.start(&["--statusPort", &port, "--statusAddress", "127.0.0.1"]);
    agent.silence();
    let (code, log) = agent.end();
    assert_eq!(code, Some(1));
    assert!(log.contains(&port) && log.contains("--statusPort"), "{log}");
}

fn faults_end_with_64_and_touch_nothing() {
    let pod = Pod::new(IDLE);
    let mut agent = pod.start(&["--xds-mode", "v2", "--app-address", "x"]);
    agent.silence();
    let (code, log) = agent.end();
    assert_eq!(code, Some(64));
    assert!(log.contains("--xds-mode") && log.contains("--app-address"), "{log}");
    assert!(!pod.file("conf/sds.sock").exists());
}

fn an_override_and_a_custom_bootstrap_are_passed_on() {
    let pod = Pod::new("echo \"$@\"; exec sleep 60");
    fs::write(pod.file("mine.json"), "{}").unwrap();
    fs::write(pod.file("more.yaml"), "node: {}").unwrap();
    let mine = pod.file("mine.json");
    let flags = ["--customConfigFile", mine.to_str().unwrap()];
    let mut agent = pod.start_with(&flags, &[("ISTIO_BOOTSTRAP_OVERRIDE", pod.file("more.yaml"))]);
    let args = agent.hear();
    assert!(args.starts_with(&format!("-c {}", mine.display())), "{args}");
    assert!(args.contains("--config-yaml node: {}"), "{args}");
    assert!(!pod.file("conf/envoy-rev0.json").exists());
}
