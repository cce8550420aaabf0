//! Saying that the mesh is ready: not before somebody who believes it gets an answer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::arrival::everybody_knows;
use super::{Mesh, Record};
use crate::control_plane::{Component, PILOT_HTTP_PORT};
use crate::desired::FrontDoor;
use crate::pod::{Role, World};
use crate::probe;
use crate::process::Exit;
use crate::state;

/// How long the front door may refuse before its answer is taken for the application's own.
const PATIENCE: Duration = Duration::from_secs(3);
const ASK: Duration = Duration::from_millis(15);

/// What is known about getting ready.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    stage: Stage,
    answer: Option<mpsc::Receiver<Checked>>,
    sync: Option<mpsc::Receiver<BTreeMap<String, String>>>,
    synced: BTreeMap<String, String>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Starting,
    /// All pods are ready; every proxy hears of them, and the front door is tried.
    Checking,
    Made,
}

/// What was found when everything was ready.
#[derive(Debug)]
pub(super) struct Checked {
    /// What the front door said last.
    answer: Result<u16, String>,
    synced: BTreeMap<String, String>,
}

impl Announcement {
    pub(super) fn is_made(&self) -> bool {
        self.stage == Stage::Made
    }

    /// The front door's answer, once. Pending while nobody asks; cancel safe.
    pub(super) async fn checked(&mut self) -> Option<Checked> {
        match &mut self.answer {
            Some(answer) => answer.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Asks pilot which proxies have what they should have, for the table.
    pub(super) fn ask_sync(&mut self, world: &Rc<World>) {
        match self.sync.as_mut().map(mpsc::Receiver::try_recv) {
            Some(Ok(synced)) => self.synced = synced,
            Some(Err(mpsc::error::TryRecvError::Empty)) => return,
            _ => {}
        }
        let (sender, receiver) = mpsc::channel(1);
        self.sync = Some(receiver);
        let pilot = world.settings.subnet.pilot();
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn_local(async move {
            if let Some(synced) = sync(pilot).await {
                let _ = sender.send(synced).await;
            }
        });
    }

    pub(super) fn sync_of(&self, proxy: &str) -> String {
        self.synced.get(proxy).cloned().unwrap_or_else(|| "-".into())
    }
}

impl Mesh {
    /// Moves on when the moment has come.
    pub(super) fn check_announcement(&mut self) {
        if self.announcement.stage != Stage::Starting {
            return;
        }
        let plane = Component::ALL.iter().all(|component| self.up.contains(component));
        let settled = self
            .pods
            .iter()
            .all(|record| record.ready() || record.is_stuck() || record.terminating);
        let ingress = self.pods.iter().any(|record| record.ready() && is_front(record));
        if !(plane && settled && ingress) {
            return;
        }
        self.announcement.stage = Stage::Checking;
        let (sender, receiver) = mpsc::channel(1);
        self.announcement.answer = Some(receiver);
        let door = self.world.desired.borrow().front_door.clone();
        let port = self.world.settings.ingress.http;
        let (pilot, destinations) = (self.world.settings.subnet.pilot(), self.destinations());
        self.tasks.spawn_local(async move {
            everybody_knows(pilot, &destinations, PATIENCE).await;
            let answer = try_front_door(&door, port).await;
            let synced = sync(pilot).await.unwrap_or_default();
            let _ = sender.send(Checked { answer, synced }).await;
        });
    }

    pub(super) fn announce(&mut self, checked: Checked) {
        self.announcement.answer = None;
        self.announcement.stage = Stage::Made;
        // The table stands from now on: it is to show how things are, not how they were when it was drawn last.
        self.announcement.synced = checked.synced;
        if self.view.shows_table() {
            self.publish();
        }
        self.view.release();
        let text = self.announcement_text(&checked.answer);
        self.view.say(&text);
    }

    fn announcement_text(&self, answer: &Result<u16, String>) -> String {
        let (settings, desired) = (&self.world.settings, self.world.desired.borrow());
        let unready: Vec<String> = self
            .pods
            .iter()
            .filter(|r| !r.ready() && !r.terminating)
            .map(|r| format!("  {}: {}", r.title(), r.status()))
            .collect();
        let url = format!(
            "http://127.0.0.1:{}{}",
            settings.ingress.http,
            desired.front_door.path()
        );
        let host = desired
            .front_door
            .host
            .as_ref()
            .map(|host| format!("   (with the header Host: {host})"))
            .unwrap_or_default();
        let head = if unready.is_empty() {
            "Ready"
        } else {
            "Serving, but not all pods are ready"
        };
        let mut lines = vec![format!(
            "\n{head} after {:.1} s: {url}{host}",
            self.began.elapsed().as_secs_f64()
        )];
        lines.extend(unready);
        let is_gateway = |record: &Record| matches!(record.pod.identity.role, Role::Gateway { .. });
        if self.pods.iter().all(is_gateway) {
            lines.push("  no Deployment is in the directory yet: whatever is put there starts at once".into());
        }
        match answer {
            Ok(status) if *status >= 400 => lines.push(format!("  the answer there is {status}")),
            Err(error) => lines.push(format!("  no answer there: {error}")),
            Ok(_) => {}
        }
        if desired.uses_https {
            lines.push(format!(
                "TLS: https://127.0.0.1:{} (port 443 of the Gateways)",
                settings.ingress.https
            ));
        }
        if settings.data_plane.is_envoy() {
            lines.push(
                "Envoy is the data plane: the Mixer client and the istio_* metrics are Meltemi's own proxy's alone"
                    .into(),
            );
        }
        lines.push(format!("Logs: {}", self.world.layout.logs().display()));
        lines.push(format!(
            "See who is in sync: meltemi proxy-status{}    End it: Ctrl-C",
            self.state_dir_flag()
        ));
        lines.join("\n")
    }

    /// What other commands need to find this mesh: nothing, where it is in its usual place.
    fn state_dir_flag(&self) -> String {
        let (root, directory) = (self.world.layout.root(), &self.world.settings.directory);
        if root == state::usual_root(directory) {
            String::new()
        } else {
            format!(" --state-dir {}", root.display())
        }
    }
}

async fn sync(pilot: Ipv4Addr) -> Option<BTreeMap<String, String>> {
    let body = probe::get_body(pilot, PILOT_HTTP_PORT, "/debug/syncz", Duration::from_secs(1)).await;
    body.ok().map(|body| parse_sync(&body))
}

fn is_front(record: &Record) -> bool {
    record.pod.identity.role == (Role::Gateway { ingress: true })
}

/// Asks until routing has arrived at the gateway. Without a known path any answer will do.
async fn try_front_door(door: &FrontDoor, port: u16) -> Result<u16, String> {
    let began = Instant::now();
    loop {
        let answer = probe::get_status(Ipv4Addr::LOCALHOST, port, door.path(), door.host.as_deref(), PATIENCE).await;
        let arrived = match &answer {
            Ok(404 | 502..=504) => door.path.is_empty(),
            Ok(_) => true,
            Err(_) => false,
        };
        // Without any Gateway there is nothing that could answer.
        if arrived || began.elapsed() > PATIENCE || (door.path.is_empty() && answer.is_err()) {
            return if door.path.is_empty() { Ok(200) } else { answer };
        }
        sleep(ASK).await;
    }
}

/// One word per proxy, the worst of its types.
fn parse_sync(body: &str) -> BTreeMap<String, String> {
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let rows = value.as_array().into_iter().flatten();
    let row = |row: &serde_json::Value| {
        let name = row["proxy"].as_str().or_else(|| row["ProxyID"].as_str())?;
        Some((name.to_owned(), sync_word(row)))
    };
    rows.filter_map(row).collect()
}

fn sync_word(row: &serde_json::Value) -> String {
    let text = |key: String| row[key].as_str().unwrap_or_default().to_owned();
    if row["rejected"].as_array().is_some_and(|list| !list.is_empty()) {
        return "ERROR".into();
    }
    let mut word = if row["synced"] == false { "STALE" } else { "SYNCED" };
    for kind in ["cluster", "listener", "route", "endpoint"] {
        let (sent, acked) = (text(format!("{kind}_sent")), text(format!("{kind}_acked")));
        if !sent.is_empty() && sent != acked {
            word = "STALE";
        }
        if sent.is_empty() && matches!(kind, "cluster" | "listener") {
            return "CONNECTED".into();
        }
    }
    word.into()
}

/// How the end of a process is told: with its last words.
pub(super) fn ended(
    title: &str,
    exit: Exit,
    restart: Option<Duration>,
    tail: &[String],
    log: &Path,
    bind_hint: Option<String>,
) -> String {
    let next = match restart {
        Some(delay) if delay.is_zero() => "; restarted".to_owned(),
        Some(delay) => format!("; next start in {}", runtime::duration::format(delay)),
        None => String::new(),
    };
    let mut lines = vec![format!("{title}: {exit}{next} (log: {})", log.display())];
    lines.extend(tail.iter().map(|line| format!("  | {line}")));
    let in_use = |line: &String| {
        ["in use", "EADDRINUSE", "Errno 98"]
            .iter()
            .any(|sign| line.contains(sign))
    };
    if let (Some(hint), true) = (bind_hint, tail.iter().any(in_use)) {
        lines.push(format!("  {hint}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_with_the_way_out() {
        let log = Path::new("/logs/web-1.app.log");
        let tail = ["OSError: [Errno 98] Address already in use".to_owned()];
        let text = ended(
            "web-1.default, container app",
            Exit::Code(1),
            Some(Duration::ZERO),
            &tail,
            log,
            Some("hint".into()),
        );
        assert_eq!(
            text,
            "web-1.default, container app: exit code 1; restarted (log: /logs/web-1.app.log)\n  | OSError: [Errno 98] Address already in use\n  hint"
        );
        let text = ended(
            "p",
            Exit::Signal(9),
            Some(Duration::from_millis(200)),
            &[],
            log,
            Some("hint".into()),
        );
        assert_eq!(
            text,
            "p: killed by SIGKILL; next start in 0.2s (log: /logs/web-1.app.log)"
        );
    }

    #[test]
    fn sync_is_one_word_per_proxy() {
        let body = r#"[
            {"proxy": "a.default", "cluster_sent": "1", "cluster_acked": "1", "listener_sent": "2", "listener_acked": "2"},
            {"proxy": "b.default", "cluster_sent": "1", "cluster_acked": "", "listener_sent": "2", "listener_acked": "2"},
            {"proxy": "c.default"},
            {"proxy": "d.default", "rejected": [{"type": "RDS"}]}]"#;
        let words: Vec<(String, String)> = parse_sync(body).into_iter().collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            words,
            [
                pair("a.default", "SYNCED"),
                pair("b.default", "STALE"),
                pair("c.default", "CONNECTED"),
                pair("d.default", "ERROR")
            ]
        );
    }
}
