//! Where the time goes: profiles and system calls of one proxy under the load of a scenario.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::measure;
use crate::options;
use crate::process::family;
use crate::run::{Bench, Stage};
use crate::scenario;

/// Samples a second; odd, so that it does not beat with timers.
const FREQUENCY: &str = "1999";
const WARM: f64 = 1.0;
const LOAD: f64 = 3.5;
const RECORD: &str = "3";

/// Calls that a proxy may make; kernels know more.
const CALLS: &[&str] = &[
    "read",
    "write",
    "readv",
    "writev",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "splice",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "accept4",
    "connect",
    "socket",
    "close",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "getsockname",
    "getpeername",
    "ioctl",
    "fcntl",
    "futex",
    "timerfd_settime",
    "eventfd2",
    "madvise",
    "mmap",
    "munmap",
    "sendfile64",
    "pipe2",
    "getpid",
    "getrandom",
    "sched_yield",
    "io_uring_enter",
];

fn pids(pid: u32) -> String {
    let words: Vec<String> = family(pid).iter().map(u32::to_string).collect();
    words.join(",")
}

pub fn profile(bench: &Bench, options: &options::Profile) -> anyhow::Result<()> {
    let scenario = scenario::find(&options.scenario)?;
    let stage = Stage::set(bench, scenario, |name| name == options.proxy)?;
    let target = stage
        .targets
        .first()
        .with_context(|| format!("{} does not run in {}", options.proxy, scenario.name))?;
    let folder = bench.folder("perf");
    std::fs::create_dir_all(&folder)?;
    let data = options.data.clone().unwrap_or_else(|| folder.join("data"));
    let mut recording = None;
    let (counted, spent, _) = measure::load(&bench.load(scenario, target, WARM, LOAD), target.pid, || {
        let mut perf = Command::new("perf");
        perf.args([
            "record",
            "-q",
            "-F",
            FREQUENCY,
            "-e",
            "cpu-clock",
            "-p",
            &pids(target.pid),
            "-o",
        ])
        .arg(&data);
        if options.callers {
            perf.args(["--call-graph", "dwarf,16384"]);
        }
        perf.args(["--", "sleep", RECORD]).stderr(Stdio::null());
        recording = perf.spawn().ok();
    })?;
    let Some(mut recording) = recording else {
        bail!("`perf` cannot be run");
    };
    recording.wait()?;
    println!(
        "{} {}: {} served, {:.1} us each, {:.0}% in the kernel, {:.0}% of the core",
        scenario.name,
        options.proxy,
        counted.requests,
        spent.cpu.as_secs_f64() * 1e6 / (counted.requests.max(1) as f64),
        spent.system * 100.0,
        spent.cpu.as_secs_f64() / spent.seconds * 100.0,
    );
    for (sort, lines) in [("dso", 6), ("sym", options.lines)] {
        let mut report = Command::new("perf");
        report
            .args([
                "report",
                "--stdio",
                "-q",
                "--percent-limit",
                "0.4",
                "--sort",
                sort,
                "-i",
            ])
            .arg(&data);
        if !(options.callers && sort == "sym") {
            report.args(["-g", "none"]);
        }
        let output = report.output()?;
        println!("\nby {sort}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .take(lines)
        {
            println!("{}", line.chars().take(140).collect::<String>());
        }
    }
    Ok(())
}

/// Where the kernel shows its tracepoints; root may have to mount it.
const TRACEPOINTS: &str = "/sys/kernel/tracing";

/// The calls this kernel has tracepoints for, as perf names them.
fn events() -> Vec<String> {
    let known = |call: &&&str| {
        Path::new(TRACEPOINTS)
            .join(format!("events/syscalls/sys_enter_{call}"))
            .exists()
    };
    CALLS
        .iter()
        .filter(known)
        .map(|call| format!("syscalls:sys_enter_{call}"))
        .collect()
}

pub fn syscalls(bench: &Bench, options: &options::Syscalls) -> anyhow::Result<()> {
    if events().is_empty() {
        let _ = Command::new("mount")
            .args(["-t", "tracefs", "nodev", TRACEPOINTS])
            .status();
    }
    let events = events();
    if events.is_empty() {
        bail!("the kernel shows no tracepoints at {TRACEPOINTS}: this needs root");
    }
    let events = format!("raw_syscalls:sys_enter,{}", events.join(","));
    for name in &options.scenarios {
        let scenario = scenario::find(name)?;
        let wants = |proxy: &str| options.proxies.is_empty() || options.proxies.iter().any(|wish| wish == proxy);
        let stage = Stage::set(bench, scenario, wants)?;
        println!("\n{name}: system calls for each {}", scenario.unit.word());
        for target in &stage.targets {
            let mut counting = None;
            let words = bench.load(scenario, target, WARM, LOAD);
            let (counted, _, _) = measure::load(&words, target.pid, || {
                let mut perf = Command::new("perf");
                perf.args([
                    "stat",
                    "-x",
                    ",",
                    "-e",
                    &events,
                    "-p",
                    &pids(target.pid),
                    "--",
                    "sleep",
                    RECORD,
                ]);
                counting = perf.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().ok();
            })?;
            let output = counting.context("`perf` cannot be run")?.wait_with_output()?;
            let seconds: f64 = RECORD.parse().unwrap_or(1.0);
            let served = counted.requests.max(1) as f64 / counted.seconds * seconds;
            println!(
                "  {:<20} {}",
                target.peer.name(),
                counts(&String::from_utf8_lossy(&output.stderr), served)
            );
        }
    }
    Ok(())
}

/// perf's comma-separated counts, as a line of calls per unit.
fn counts(text: &str, served: f64) -> String {
    let mut total = 0.0;
    let mut calls: Vec<(&str, f64)> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(',');
        let (Some(count), Some(_), Some(event)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Ok(count) = count.parse::<f64>() else { continue };
        match event.strip_prefix("syscalls:sys_enter_") {
            Some(call) => calls.push((call, count / served)),
            None => total = count / served,
        }
    }
    calls.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = calls.iter().filter(|(_, each)| *each >= 0.01);
    let list: Vec<String> = shown.map(|(call, each)| format!("{call} {each:.2}")).collect();
    format!("{total:.2}: {}", list.join(", "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn perf_counts_are_read() {
        let text = "300,,raw_syscalls:sys_enter,1,100.00,,\n200,,syscalls:sys_enter_writev,1,100\n<not counted>,,syscalls:sys_enter_read,0,\n";
        assert_eq!(super::counts(text, 100.0), "3.00: writev 2.00");
    }
}
