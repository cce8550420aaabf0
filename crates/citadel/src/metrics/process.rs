//! What the kernel knows of this process.

use std::fs;

use super::Page;

const PAGE_BYTES: f64 = 4096.0;
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn render(page: &mut Page) {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(resident) = statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()) {
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            resident * PAGE_BYTES,
        );
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&stat) {
        page.head("process_cpu_seconds_total", "CPU time, user and system.", "counter");
        page.line("process_cpu_seconds_total", "", ticks / TICKS_PER_SECOND);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open file descriptors.", open.count() as f64);
    }
}

/// Fields 14 and 15, counted after the command's closing parenthesis, which may itself hold spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}
