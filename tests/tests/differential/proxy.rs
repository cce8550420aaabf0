//! One proxy, of either kind: the real executable, started from the bootstrap that an agent would write, with its secrets on a socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::client::{self, eventually};
use mesh_tests::mesh;
use node::bootstrap::{Bootstrap, Discovery, Inclusion, Locality, Node, XdsMode};
use node::identity::Secrets;
use node::sds::{self, SecretService};
use node::supervise::DataPlane;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::authority::{Authority, PILOT};
use crate::scenario::Workload;

const START: Duration = Duration::from_secs(60);

/// Which kind of proxy stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    Ours,
    Envoy,
}

pub const PLANES: [Plane; 2] = [Plane::Ours, Plane::Envoy];

/// What a proxy is beside.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub namespace: String,
    pub router: bool,
    pub labels: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, Value>,
    pub locality: Option<String>,
    /// Where the application behind a sidecar listens.
    pub application: Ipv4Addr,
    /// Its connections are captured: see `capture.rs`.
    pub captured: bool,
}

impl Role {
    pub fn new(name: &str, namespace: &str, workload: &Workload, router: bool) -> Self {
        Role {
            name: name.to_owned(),
            namespace: workload.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            router,
            labels: workload.labels.clone(),
            metadata: workload.metadata.clone(),
            locality: workload.locality.clone(),
            application: Ipv4Addr::LOCALHOST,
            captured: workload.captured,
        }
    }

    /// Its identity.
    pub fn spiffe(&self) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{}", self.namespace, self.name)
    }

    fn node(&self, address: Ipv4Addr) -> Node {
        let domain = format!("{}.svc.cluster.local", self.namespace);
        let kind = if self.router { "router" } else { "sidecar" };
        let mut metadata = json!({
            "NAMESPACE": self.namespace,
            "INSTANCE_IPS": address.to_string(),
            "NAME": format!("{}-0", self.name),
            "WORKLOAD_NAME": self.name,
            "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{}/deployments/{}", self.namespace, self.name),
            "SERVICE_ACCOUNT": self.name,
            "MESH_ID": "cluster.local",
            "CLUSTER_ID": "Kubernetes",
            "INTERCEPTION_MODE": if self.captured { "REDIRECT" } else { "NONE" },
            "APP_ADDRESS": self.application.to_string(),
            "LABELS": self.labels,
        });
        if self.router {
            metadata["BIND_ADDRESS"] = json!(address.to_string());
        }
        for (key, value) in &self.metadata {
            metadata[key] = value.clone();
        }
        let mut locality = self
            .locality
            .as_deref()
            .unwrap_or_default()
            .split('/')
            .map(str::to_owned);
        let mut part = || locality.next().unwrap_or_default();
        Node {
            id: format!("{kind}~{address}~{}-0.{}~{domain}", self.name, self.namespace),
            cluster: format!("{}.{}", self.name, self.namespace),
            locality: Locality {
                region: part(),
                zone: part(),
                sub_zone: part(),
            },
            metadata,
            domain,
        }
    }
}

/// Who configures a proxy, and in which dialect.
#[derive(Clone, Copy, Debug)]
pub struct Pilot {
    pub address: SocketAddr,
    pub mode: XdsMode,
    /// Over mutual TLS, without which it sends no secrets.
    pub secure: bool,
}

pub struct Proxy {
    pub address: Ipv4Addr,
    child: Child,
    log: PathBuf,
    _secrets: watch::Sender<Secrets>,
}

impl Proxy {
    pub fn start(
        plane: Plane,
        role: &Role,
        address: Ipv4Addr,
        pilot: &Pilot,
        authority: &Authority,
        folder: &Path,
    ) -> Result<Self> {
        let name = format!("{}-{}-{plane:?}", role.name, address.octets()[3]).to_lowercase();
        let socket = folder.join(format!("{name}.sock"));
        let (publish, secrets) = watch::channel(authority.secrets(&role.spiffe())?);
        tokio::spawn(sds::serve(
            sds::bind(&socket)?,
            SecretService::new(secrets, Arc::default()),
        ));
        let data_plane = match plane {
            Plane::Ours => DataPlane::Native,
            Plane::Envoy => DataPlane::Envoy,
        };
        let discovery = Discovery {
            address: pilot.address.to_string().parse().map_err(anyhow::Error::msg)?,
            mode: pilot.mode,
            connect_timeout: Duration::from_secs(10),
            pilot_identity: pilot.secure.then(|| PILOT.to_owned()),
        };
        let at = |port| SocketAddr::new(address.into(), port);
        let bootstrap = Bootstrap {
            plane: data_plane,
            node: &role.node(address),
            discovery: &discovery,
            sds_socket: &socket,
            admin: at(15000),
            prometheus: at(15090),
            status: None,
            source: Some(IpAddr::V4(address)),
            stats: &Inclusion::default(),
        };
        let file = folder.join(format!("{name}.json"));
        std::fs::write(&file, serde_json::to_vec_pretty(&bootstrap.render())?)?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = match plane {
            Plane::Ours => {
                let mut command = Command::new(mesh::meltemi());
                command.arg("proxy");
                command
            }
            Plane::Envoy => {
                let mut command = Command::new(mesh::envoy());
                command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
                command
            }
        };
        let level = std::env::var("MELTEMI_SCENARIO_LOG").unwrap_or_else(|_| "error".to_owned());
        let child = command
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1", "-l", &level])
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Proxy {
            address,
            child,
            log,
            _secrets: publish,
        })
    }

    /// Waits until it has all of its first configuration.
    pub async fn ready(&self) -> Result<()> {
        let admin = SocketAddr::new(self.address.into(), 15000);
        let what = format!("the proxy at {} is ready", self.address);
        eventually(&what, START, || client::get(admin, "/ready"))
            .await
            .with_context(|| self.log_text())?;
        Ok(())
    }

    /// Fails if it has refused anything that pilot sent.
    pub async fn accepts_all(&self) -> Result<()> {
        let admin = SocketAddr::new(self.address.into(), 15000);
        let page = client::get(admin, "/stats?filter=update_rejected").await?.text();
        let refused: Vec<&str> = page
            .lines()
            .filter(|line| line.contains("update_rejected") && !line.ends_with(": 0"))
            .collect();
        ensure!(
            refused.is_empty(),
            "the proxy at {} refused configuration: {refused:?}\n{}",
            self.address,
            self.log_text()
        );
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
