//! The proxy's command line: one set of flags that both data planes understand.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which proxy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPlane {
    /// Ours.
    Native,
    Envoy,
}

/// A program with its arguments, and whether it dies with us.
#[derive(Clone, Debug)]
pub struct Program {
    binary: PathBuf,
    args: Vec<OsString>,
    tied: bool,
}

/// What the flags say.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub config: PathBuf,
    /// YAML or JSON that is merged over the configuration.
    pub config_override: Option<String>,
    pub drain: Duration,
    pub parent_shutdown: Duration,
    pub log_level: String,
    pub component_log_level: Option<String>,
    /// Worker threads; none leaves it to the proxy.
    pub concurrency: Option<u32>,
    pub ipv6: bool,
}

impl Program {
    /// A program that is killed by the kernel when this process dies.
    pub fn tied(binary: PathBuf, args: Vec<OsString>) -> Self {
        Program {
            binary,
            args,
            tied: true,
        }
    }

    /// A program without that bond.
    pub fn plain<A: Into<OsString>>(binary: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Program {
            binary: binary.into(),
            args: args.into_iter().map(Into::into).collect(),
            tied: false,
        }
    }

    pub(super) fn command(&self) -> io::Result<tokio::process::Command> {
        let mut command = if self.tied {
            runtime::child::command(&self.binary)?
        } else {
            std::process::Command::new(&self.binary)
        };
        // A group of its own: Ctrl-C in a terminal goes to the agent, which drains; the proxy would end at once.
        command.args(&self.args).process_group(0);
        Ok(command.into())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.binary.display())?;
        self.args.iter().try_for_each(|arg| match arg.to_string_lossy() {
            arg if arg.contains(char::is_whitespace) => write!(f, " '{arg}'"),
            arg => write!(f, " {arg}"),
        })
    }
}

impl Arguments {
    /// The arguments after the program's name. Our executables do several things and are told that they are a proxy; one that is called by
    /// the name of a proxy knows.
    pub fn render(&self, binary: &Path, plane: DataPlane) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let name = binary
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if plane == DataPlane::Native && name.starts_with("meltemi") {
            args.push("proxy".into());
        }
        args.extend(["-c".into(), self.config.clone().into_os_string()]);
        let mut flag = |name: &str, value: &str| args.extend([OsString::from(name), OsString::from(value)]);
        flag("--drain-time-s", &whole_seconds(self.drain).to_string());
        flag("--drain-strategy", "immediate");
        flag(
            "--parent-shutdown-time-s",
            &whole_seconds(self.parent_shutdown).to_string(),
        );
        flag("--local-address-ip-version", if self.ipv6 { "v6" } else { "v4" });
        flag("--file-flush-interval-msec", "1000");
        flag("-l", &self.log_level);
        if let Some(levels) = &self.component_log_level {
            flag("--component-log-level", levels);
        }
        if let Some(concurrency) = self.concurrency {
            flag("--concurrency", &concurrency.to_string());
        }
        if let Some(yaml) = &self.config_override {
            flag("--config-yaml", yaml);
        }
        args.extend(["--disable-hot-restart".into(), "--allow-unknown-static-fields".into()]);
        args
    }
}

/// Envoy counts in seconds; a part of one is rounded up, for a drain must not be shorter than asked.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            config: "/etc/istio/proxy/envoy-rev0.json".into(),
            config_override: None,
            drain: Duration::from_millis(4500),
            parent_shutdown: Duration::from_secs(60),
            log_level: "warning".into(),
            component_log_level: None,
            concurrency: Some(2),
            ipv6: false,
        }
    }

    fn line(binary: &str, plane: DataPlane) -> String {
        let args = arguments().render(Path::new(binary), plane);
        Program::plain(binary, args).to_string()
    }

    #[test]
    fn the_flags_of_both_data_planes() {
        let flags = "-c /etc/istio/proxy/envoy-rev0.json --drain-time-s 5 --drain-strategy immediate --parent-shutdown-time-s 60 \
                     --local-address-ip-version v4 --file-flush-interval-msec 1000 -l warning --concurrency 2 --disable-hot-restart \
                     --allow-unknown-static-fields";
        assert_eq!(
            line("/usr/local/bin/envoy", DataPlane::Envoy),
            format!("/usr/local/bin/envoy {flags}")
        );
        assert_eq!(
            line("/opt/meltemi-sidecar", DataPlane::Native),
            format!("/opt/meltemi-sidecar proxy {flags}")
        );
        assert_eq!(line("/opt/proxy", DataPlane::Native), format!("/opt/proxy {flags}"));
    }
}
