//! The pilots of a group, one for each data plane: what they serve is the same, but for the addresses at which a plane's proxies stand.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use mesh_tests::mesh;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::proxy::{PLANES, Plane};

/// Directories of configuration, below the group's own.
pub struct Config {
    /// For both planes.
    pub common: PathBuf,
    own: [PathBuf; 2],
}

impl Config {
    pub fn new(folder: &Path) -> Result<Self> {
        let made = |name: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(&path)?;
            anyhow::Ok(path)
        };
        Ok(Config {
            common: made("config")?,
            own: [made("config-ours")?, made("config-envoy")?],
        })
    }

    pub fn of(&self, plane: Plane) -> &Path {
        &self.own[plane as usize]
    }
}

pub struct Pilots {
    children: Vec<Child>,
    logs: [PathBuf; 2],
}

impl Pilots {
    /// `addresses` by plane.
    pub fn start(
        group: &Path,
        addresses: [Ipv4Addr; 2],
        config: &Config,
        authority: &Authority,
        folder: &Path,
    ) -> Result<Self> {
        let settings = settings(group)?;
        let mesh = folder.join("mesh.yaml");
        std::fs::write(&mesh, settings.to_string())?;
        let certificates = folder.join("pilot-certs");
        authority.write_pilot(&certificates)?;
        let mut pilots = Pilots {
            children: Vec::new(),
            logs: PLANES.map(|plane| folder.join(format!("pilot-{plane:?}.log").to_lowercase())),
        };
        for plane in PLANES {
            let log = std::fs::File::create(&pilots.logs[plane as usize])?;
            let at = |port: u16| SocketAddr::new(addresses[plane as usize].into(), port).to_string();
            let child = Command::new(mesh::meltemi())
                .args(["pilot-discovery", "discovery"])
                .arg("--configDir")
                .arg(&config.common)
                .arg("--configDir")
                .arg(config.of(plane))
                .arg("--meshConfig")
                .arg(&mesh)
                .arg("--certDir")
                .arg(&certificates)
                .args(["--httpAddr", &at(8080), "--monitoringAddr", &at(15014)])
                .args(["--grpcAddr", &at(15010), "--secureGrpcAddr", &at(SECURE_PORT)])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            pilots.children.push(child);
        }
        Ok(pilots)
    }

    pub fn log(&self) -> String {
        let texts = self
            .logs
            .each_ref()
            .map(|path| std::fs::read_to_string(path).unwrap_or_default());
        texts.concat()
    }
}

/// A pilot that serves in plain text.
pub fn plain(group: &Path, grpc: SocketAddr, config: &Path, folder: &Path) -> Result<Child> {
    let file = folder.join("mesh.yaml");
    std::fs::write(&file, settings(group)?.to_string())?;
    let log = std::fs::File::create(folder.join("pilot.log"))?;
    let at = |port: u16| SocketAddr::new(grpc.ip(), port).to_string();
    let child = Command::new(mesh::meltemi())
        .args(["pilot-discovery", "discovery", "--secureGrpcAddr="])
        .arg("--configDir")
        .arg(config)
        .arg("--meshConfig")
        .arg(file)
        .args(["--httpAddr", &at(8080), "--monitoringAddr", &at(15014)])
        .args(["--grpcAddr", &grpc.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// Where proxies find their pilot: secrets are sent over mutual TLS only.
pub const SECURE_PORT: u16 = 15011;

/// What is compared of the access log, and what tells the question and the way it went.
fn log_format() -> Value {
    json!({
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "protocol": "%PROTOCOL%",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_code_details": "%RESPONSE_CODE_DETAILS%",
        "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
        "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
        "user_agent": "%REQ(USER-AGENT)%",
        "authority": "%REQ(:AUTHORITY)%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
        "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "requested_server_name": "%REQUESTED_SERVER_NAME%",
        "route_name": "%ROUTE_NAME%",
        "filter_chain": "%FILTER_CHAIN_NAME%",
        "rule": "%METADATA(ROUTE:istio:rule)%",
    })
}

fn settings(group: &Path) -> Result<Value> {
    let path = group.join("mesh.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let parsed = store::yaml::parse_plain(&path, &text)?;
    let mut settings = parsed.map_or_else(|| json!({}), |(value, _)| value);
    settings["accessLogFile"] = json!("/dev/stdout");
    settings["accessLogEncoding"] = json!("JSON");
    settings["accessLogFormat"] = json!(log_format().to_string());
    Ok(settings)
}

impl Drop for Pilots {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
