//! What the figures were measured on, and with which versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::Bench;

pub fn describe(bench: &Bench) -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cores = fs::read_to_string("/proc/cpuinfo").map_or(cores, |text| text.matches("processor\t").count());
    let system = field("/etc/os-release", "PRETTY_NAME").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let virtual_machine = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" hypervisor "));
    let guest = if virtual_machine { ", a virtual machine" } else { "" };
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    let version = |program: &Path, option: &str| first_line(Command::new(program).arg(option));
    let commit = first_line(Command::new("git").args(["log", "-1", "--format=%h of %cs"]));
    format!(
        "Machine: {cores} cores {cpu}{guest}; {system}, Linux {kernel}; TCP congestion control {congestion} \
         ({} on the rig's own sockets).\n\n\
         Proxies: commit {commit}; {}; {}; {}.\n",
        bench.congestion,
        version(&bench.envoy, "--version")
            .trim_start_matches("version: ")
            .trim(),
        version(Path::new("haproxy"), "-v"),
        version(Path::new("nginx"), "-v"),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of the first line `name: value` or `name=value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once([':', '='])?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().to_owned()
}
