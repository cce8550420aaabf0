//! The command line: Envoy's, old and new, so that whoever starts an Envoy can start this proxy.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

#[derive(Parser, Debug)]
#[command(
    name = "proxy",
    version = runtime::version::VERSION,
    about = "Meltemi's data plane, in Envoy's place: the same bootstrap file, the same flags, the same xDS.",
    after_help = "Example: meltemi proxy -c /etc/istio/proxy/envoy-rev0.json --concurrency 2 -l info\n\n\
        The admin pages are where the bootstrap says (15000): /help lists them."
)]
pub(crate) struct Flags {
    /// Bootstrap file, JSON (Envoy's v3 bootstrap).
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) config_path: Option<PathBuf>,
    /// JSON merged over the bootstrap file.
    #[arg(long, value_name = "JSON")]
    pub(crate) config_yaml: Option<String>,
    /// Worker threads [default: what the cgroup's CPU quota allows, at most the CPUs of the machine].
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    /// Node id, instead of the bootstrap's.
    #[arg(long, value_name = "ID")]
    pub(crate) service_node: Option<String>,
    /// Node cluster, instead of the bootstrap's.
    #[arg(long, value_name = "NAME")]
    pub(crate) service_cluster: Option<String>,
    /// Seconds to finish open connections when a listener goes or the process ends.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) drain_time_s: u64,
    /// trace, debug, info, warning, error, critical or off.
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// serve, or validate: read the bootstrap, say whether it is good, and exit.
    #[arg(long, value_name = "MODE", default_value = "serve")]
    pub(crate) mode: String,
    #[command(flatten)]
    pub(crate) accepted: Accepted,
}

/// Flags of Envoy's that mean nothing here, or mean what this proxy does anyway. Those that would change what it does are named at start.
#[derive(clap::Args, Debug)]
pub(crate) struct Accepted {
    /// There is no hot restart to disable: listeners drain instead.
    #[arg(long)]
    disable_hot_restart: bool,
    #[arg(long, hide = true, value_name = "N")]
    restart_epoch: Option<u64>,
    #[arg(long, hide = true, value_name = "SECONDS")]
    parent_shutdown_time_s: Option<u64>,
    /// gradual or immediate: connections are told to finish at once; `gradual` is accepted.
    #[arg(long, hide = true, value_name = "STRATEGY")]
    drain_strategy: Option<String>,
    #[arg(long, hide = true, value_name = "N")]
    max_obj_name_len: Option<u64>,
    #[arg(long, hide = true, value_name = "VERSION")]
    local_address_ip_version: Option<String>,
    #[arg(long, hide = true, value_name = "MS")]
    file_flush_interval_msec: Option<u64>,
    #[arg(long, hide = true, value_name = "KB")]
    file_flush_min_size_kb: Option<u64>,
    #[arg(long, hide = true, value_name = "ID")]
    base_id: Option<u64>,
    #[arg(long, hide = true)]
    use_dynamic_base_id: bool,
    #[arg(long, hide = true)]
    allow_unknown_fields: bool,
    #[arg(long, hide = true)]
    allow_unknown_static_fields: bool,
    #[arg(long, hide = true)]
    reject_unknown_dynamic_fields: bool,
    #[arg(long, hide = true)]
    ignore_unknown_dynamic_fields: bool,
    #[arg(long, hide = true)]
    skip_deprecated_logs: bool,
    #[arg(long, hide = true)]
    enable_fine_grain_logging: bool,
    #[arg(long, hide = true)]
    enable_core_dump: bool,
    #[arg(long, hide = true)]
    cpuset_threads: bool,
    #[arg(long, hide = true, value_name = "LIST")]
    component_log_level: Option<String>,
    #[arg(long, hide = true, value_name = "FORMAT")]
    log_format: Option<String>,
    #[arg(long, hide = true)]
    log_format_escaped: bool,
    #[arg(long, hide = true, value_name = "FILE")]
    log_path: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "ZONE")]
    service_zone: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    admin_address_path: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FILE")]
    base_id_path: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "PATH")]
    socket_path: Option<String>,
    #[arg(long, hide = true, value_name = "MODE")]
    socket_mode: Option<String>,
    #[arg(long, hide = true)]
    skip_hot_restart_on_no_parent: bool,
    #[arg(long, hide = true)]
    skip_hot_restart_parent_stats: bool,
    #[arg(long, hide = true)]
    log_stacktrace_single_entry: bool,
    #[arg(long, hide = true)]
    enable_mutex_tracing: bool,
    #[arg(long, hide = true, value_name = "LIST")]
    disable_extensions: Option<String>,
    #[arg(long, hide = true, value_name = "TAG:VALUE")]
    stats_tag: Vec<String>,
    /// Only v3 is spoken.
    #[arg(long, hide = true, value_name = "N", value_parser = clap::value_parser!(u8).range(3..=3))]
    bootstrap_version: Option<u8>,
    #[arg(long, hide = true, value_name = "N")]
    max_stats: Option<u64>,
}

impl Accepted {
    /// Those that were given and have no effect although a user might expect one.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("--restart-epoch", self.restart_epoch.is_some_and(|epoch| epoch > 0)),
            ("--cpuset-threads", self.cpuset_threads),
            ("--component-log-level", self.component_log_level.is_some()),
            ("--log-format", self.log_format.is_some()),
            ("--log-path", self.log_path.is_some()),
            ("--service-zone", self.service_zone.is_some()),
            ("--admin-address-path", self.admin_address_path.is_some()),
            ("--reject-unknown-dynamic-fields", self.reject_unknown_dynamic_fields),
            ("--enable-core-dump", self.enable_core_dump),
            ("--enable-fine-grain-logging", self.enable_fine_grain_logging),
            ("--base-id-path", self.base_id_path.is_some()),
            ("--enable-mutex-tracing", self.enable_mutex_tracing),
            ("--disable-extensions", self.disable_extensions.is_some()),
            ("--stats-tag", !self.stats_tag.is_empty()),
        ];
        given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect()
    }
}

impl Flags {
    pub(crate) fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    /// At least one; 0 asks for the default, as in Envoy.
    pub(crate) fn workers(&self) -> usize {
        match self.concurrency {
            Some(n) if n > 0 => n,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_command_lines_of_both_worlds() {
        let old = "proxy -c f.json --restart-epoch 0 --drain-time-s 45 --parent-shutdown-time-s 60 --service-cluster a --service-node b \
            --max-obj-name-len 189 --allow-unknown-fields -l warning --concurrency 2";
        let new = "proxy -c f.json --drain-time-s 45 --drain-strategy immediate --local-address-ip-version v4 \
            --file-flush-interval-msec 1000 --disable-hot-restart --allow-unknown-static-fields -l warning --concurrency 2";
        for line in [old, new] {
            let flags = Flags::try_parse_from(line.split_whitespace()).unwrap();
            assert_eq!((flags.workers(), flags.drain_time_s), (2, 45));
            assert!(flags.accepted.without_effect().is_empty());
        }
        let rare = "proxy -c f.json --bootstrap-version 3 --socket-path @x --stats-tag a:b --stats-tag c:d";
        let flags = Flags::try_parse_from(rare.split_whitespace()).unwrap();
        assert_eq!(flags.accepted.without_effect(), ["--stats-tag"]);
        assert!(Flags::try_parse_from(["proxy", "--bootstrap-version", "2"]).is_err());
    }
}
