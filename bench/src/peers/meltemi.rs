//! Our proxy as it runs beside a workload: started from the agent's bootstrap, configured over ADS, with secrets from a socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use mesh_bench::sockets;
use node::bootstrap::{Bootstrap, Discovery, Inclusion, Locality, Node, XdsMode};
use node::supervise::DataPlane;
use proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use serde_json::json;

use super::text;
use crate::config::{self, Hop, Plane, Secrets, Source};
use crate::control::Control;
use crate::process::{PROXY_CORE, Process};
use crate::run::Bench;

const BOOTSTRAP: &str = "bootstrap.json";
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a proxy with a control plane depends on. Envoy can take our proxy's place.
pub struct Sidecar {
    pub control: Control,
    plane: Plane,
    admin: u16,
}

impl Sidecar {
    /// Its control plane and its bootstrap, before it is started.
    pub fn prepare(bench: &Bench, folder: &Path, plane: Plane) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let control = Control::start(folder, &bench.certificates)?;
        let admin = bench.ports.free();
        let bootstrap = bootstrap(&control, plane, admin, bench.ports.free())?;
        std::fs::write(folder.join(BOOTSTRAP), serde_json::to_vec_pretty(&bootstrap)?)?;
        Ok(Sidecar { control, plane, admin })
    }

    /// Starts it with so many workers.
    pub fn launch(&self, bench: &Bench, folder: &Path, workers: usize) -> anyhow::Result<Process> {
        let file = text(&folder.join(BOOTSTRAP));
        let mut words = match self.plane {
            Plane::Meltemi => vec![text(&bench.binary), "proxy".into(), "-l".into(), "warning".into()],
            Plane::Envoy => vec![
                text(&bench.envoy),
                "--disable-hot-restart".into(),
                "-l".into(),
                "error".into(),
            ],
        };
        words.extend(["-c".into(), file, "--concurrency".into(), workers.to_string()]);
        // Two workers on one core would be one: they get the rig's as well.
        let cores = if workers > 1 { "0,1" } else { PROXY_CORE };
        Process::start(cores, &words, &folder.join("output"))
    }

    /// Tells it of one hop.
    pub fn configure(&self, hop: &Hop) -> anyhow::Result<()> {
        let mut resources = vec![
            (CLUSTER, config::cluster(hop, Secrets::Agent, Source::Ads)),
            (
                LISTENER,
                config::listener(hop, Plane::Meltemi, Secrets::Agent, Source::Ads),
            ),
        ];
        if !hop.inbound() {
            let name = hop.cluster_name();
            resources.push((ENDPOINT, config::assignment(&name, hop.upstream, "echo")));
            resources.push((ROUTE, config::hop_routes(hop)));
        }
        self.control.set(&resources)
    }

    /// Waits until it says that it is ready, or refuses what it was told.
    pub fn await_ready(&self, process: &mut Process) -> anyhow::Result<()> {
        process.wait_until(|| self.is_ready() || !self.control.refusals().is_empty())?;
        match self.control.refusals().as_slice() {
            [] => Ok(()),
            refusals => bail!("the proxy refuses its configuration: {}", refusals.join("; ")),
        }
    }

    pub fn is_ready(&self) -> bool {
        get(self.admin, "/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    pub fn admin(&self, path: &str) -> Option<String> {
        get(self.admin, path)
    }
}

/// A page of an admin port, with its head.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&sockets::local(port), ADMIN_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let begun = Instant::now();
    let mut piece = [0; 16 * 1024];
    while begun.elapsed() < ADMIN_TIMEOUT {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn bootstrap(control: &Control, plane: Plane, admin: u16, prometheus: u16) -> anyhow::Result<serde_json::Value> {
    let node = Node {
        id: "sidecar~127.0.0.1~client-v1-0.default~default.svc.cluster.local".into(),
        cluster: "client.default".into(),
        locality: Locality::default(),
        metadata: json!({
            "NAMESPACE": "default",
            "INSTANCE_IPS": "127.0.0.1",
            "NAME": "client-v1-0",
            "WORKLOAD_NAME": "client-v1",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/client-v1",
            "SERVICE_ACCOUNT": "proxy",
            "MESH_ID": "cluster.local",
            "CLUSTER_ID": "Kubernetes",
            "LABELS": { "app": "client", "version": "v1" },
        }),
        domain: "default.svc.cluster.local".into(),
    };
    let discovery = Discovery {
        address: format!("127.0.0.1:{}", control.port())
            .parse()
            .map_err(anyhow::Error::msg)?,
        mode: XdsMode::Delta,
        connect_timeout: Duration::from_secs(10),
        pilot_identity: None,
    };
    let bootstrap = Bootstrap {
        plane: match plane {
            Plane::Meltemi => DataPlane::Native,
            Plane::Envoy => DataPlane::Envoy,
        },
        node: &node,
        discovery: &discovery,
        sds_socket: control.secrets(),
        admin: sockets::local(admin),
        prometheus: sockets::local(prometheus),
        status: None,
        source: None,
        stats: &Inclusion::default(),
    };
    Ok(bootstrap.render())
}
