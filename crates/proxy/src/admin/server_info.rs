//! `/server_info` and `/memory`

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::Pages;
use super::page::{Page, Query};

pub(super) fn page(pages: &Rc<Pages>, _: &Query) -> Page {
    let state = pages.state.borrow();
    let uptime = seconds(state.shared.started.elapsed());
    let node = &state.shared.node;
    let options = &pages.options;
    Page::json(&json!({
        "version": format!("meltemi/{}/Clean/RELEASE/rustls", runtime::version::VERSION),
        "state": pages.lifecycle.phase().text(),
        "hot_restart_version": "disabled",
        "command_line_options": {
            "concurrency": options.concurrency,
            "config_path": options.config_path,
            "log_level": options.log.current(),
            "service_cluster": node.cluster,
            "service_node": node.id,
            "drain_time": seconds(options.drain_time),
            "drain_strategy": "Immediate",
            "mode": "Serve",
            "disable_hot_restart": true,
        },
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "metadata": node.metadata,
            "locality": { "region": node.locality.region, "zone": node.locality.zone, "sub_zone": node.locality.sub_zone },
            "user_agent_name": crate::bootstrap::USER_AGENT,
        },
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
    }))
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// What the kernel says; the allocator is not asked.
pub(super) fn memory(_: &Rc<Pages>, _: &Query) -> Page {
    let (virtual_bytes, resident) = resident();
    Page::json(&json!({
        "allocated": resident.to_string(),
        "heap_size": resident.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": resident.to_string(),
        "total_virtual_bytes": virtual_bytes.to_string(),
    }))
}

fn resident() -> (u64, u64) {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut numbers = text
        .split_ascii_whitespace()
        .map(|number| number.parse::<u64>().unwrap_or(0) * PAGE);
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
