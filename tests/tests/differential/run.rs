//! Runs scenarios on both data planes and says what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use serde_json::Value;

use crate::answer::Answer;
use crate::ask::Question;
use crate::backend::Record;
use crate::check::{Outcome, check};
use crate::foretold::{self, Judged, Turned};
use crate::predict::{self, Prediction};
use crate::proxy::{PLANES, Plane};
use crate::scenario::{Ask, File, From, Protocol, Scenario};
use crate::seen::{Normal, Seen, is_copy};
use crate::world::World;

/// How long a line of the access log may take.
const LOG: Duration = Duration::from_secs(3);

/// How long a change may take to reach a proxy.
const CHANGE: Duration = Duration::from_secs(30);

/// A scenario's questions with what came of them, on each plane.
pub struct Ran {
    pub file: usize,
    pub scenario: usize,
    questions: Vec<[Vec<(String, Answer)>; 2]>,
    /// What our proxy said beforehand, by the name of the question.
    predictions: BTreeMap<String, Prediction>,
}

pub struct Verdict {
    pub title: String,
    /// What it is about.
    pub of: Vec<String>,
    pub faults: Vec<String>,
    pub report: String,
    pub known: Option<String>,
    /// Against what our proxy foretold: what is wrong there is never part of a known defect.
    pub foretold: Judged,
}

/// Runs all questions of a scenario, in order; the planes side by side.
pub async fn run(world: &World, file: usize, scenario: usize) -> Result<Ran> {
    let (of, what) = (&world.files[file], &world.files[file].scenarios[scenario]);
    let mut questions = Vec::new();
    let predictions = Mutex::new(BTreeMap::new());
    for (n, ask) in what.ask.iter().enumerate() {
        if let Some(objects) = &ask.put {
            world.put(of, objects)?;
        }
        if ask.after > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(ask.after)).await;
        }
        let id = format!("q-{file}-{scenario}-{n}");
        let both = PLANES.map(|plane| on_plane(world, of, ask, &id, plane, &predictions));
        let [ours, theirs] = both;
        let (ours, theirs) = tokio::join!(ours, theirs);
        questions.push([ours?, theirs?]);
    }
    Ok(Ran {
        file,
        scenario,
        questions,
        predictions: predictions.into_inner().unwrap_or_default(),
    })
}

async fn on_plane(
    world: &World,
    file: &File,
    ask: &Ask,
    id: &str,
    plane: Plane,
    predictions: &Mutex<BTreeMap<String, Prediction>>,
) -> Result<Vec<(String, Answer)>> {
    let tls = ask.tls.as_ref().map(|tls| world.authority.client(tls)).transpose()?;
    let default_host = match ask.from {
        From::Client => format!("echo.{}", file.name),
        From::Gateway | From::OwnGateway => format!("{}.example.com", file.name),
        From::Server => format!("echo.{}", file.name),
    };
    let target = world.target(file, ask, plane)?;
    let round = async |round: u32| {
        let again = if round == 0 {
            String::new()
        } else {
            format!("again-{round}-")
        };
        let end = if plane == Plane::Ours { "." } else { ":" };
        let questions = (0..ask.times.unwrap_or(1)).map(|n| Question {
            ask: ask.clone(),
            target,
            name: format!("{id}-{again}{n}{end}"),
            host: ask.host.clone().unwrap_or_else(|| default_host.clone()),
            tls: tls.clone(),
        });
        all(ask, questions.collect(), plane, predictions).await
    };
    let patience = Instant::now() + CHANGE;
    let mut rounds = 0;
    loop {
        let answers = round(rounds).await;
        let settled = ask.put.is_none() || answers.iter().all(|(_, answer)| shows(answer, ask));
        if settled || Instant::now() > patience {
            return Ok(answers);
        }
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whether a change is there that the question was asked for.
fn shows(answer: &Answer, ask: &Ask) -> bool {
    let expect = &ask.expect;
    let same = |wanted: &Option<String>, got: &Option<String>| wanted.is_none() || wanted == got;
    let status = expect.status.is_none() || expect.status == answer.status;
    answer.failure.is_some() == expect.refused && status && same(&expect.certificate, &answer.certificate)
}

/// Asks all of them: at the same time, or one after another.
async fn all(
    ask: &Ask,
    all: Vec<Question>,
    plane: Plane,
    predictions: &Mutex<BTreeMap<String, Prediction>>,
) -> Vec<(String, Answer)> {
    let foretell = async |question: &Question| {
        let prediction = predict::ask(question).await;
        if let Ok(mut predictions) = predictions.lock() {
            predictions.insert(question.name.clone(), prediction);
        }
    };
    // A change that comes between the two would make them differ: what shows it is told of when it has shown.
    let before = plane == Plane::Ours && ask.put.is_none();
    let after = plane == Plane::Ours && ask.put.is_some();
    let named = async |question: &Question| {
        if before {
            foretell(question).await;
        }
        let answer = question.send().await;
        if after {
            foretell(question).await;
        }
        (question.name.clone(), answer)
    };
    if ask.at_once {
        let later = async |(n, question)| {
            tokio::time::sleep(Duration::from_secs_f64(ask.every * n as f64)).await;
            named(question).await
        };
        return join_all(all.iter().enumerate().map(later)).await;
    }
    let mut answers = Vec::new();
    for question in &all {
        answers.push(named(question).await);
    }
    answers
}

/// Lines of an access log, by the user agent or, for bytes, by the client's port.
pub struct Logs(BTreeMap<String, Value>);

impl Logs {
    fn read(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            let Some(value) = line
                .find('{')
                .and_then(|at| serde_json::from_str::<Value>(&line[at..]).ok())
            else {
                continue;
            };
            let text = |field: &str| value[field].as_str().filter(|text| *text != "-").map(str::to_owned);
            let key = text("user_agent").or_else(|| text("downstream_remote_address"));
            lines.extend(key.map(|key| (key, value.clone())));
        }
        Logs(lines)
    }

    fn of(&self, name: &str, answer: &Answer) -> Option<&Value> {
        self.0.get(name).or_else(|| self.0.get(&answer.from?.to_string()))
    }
}

/// Waits until the logs hold what was asked through them.
pub async fn logs(world: &World, ran: &[Ran]) -> BTreeMap<std::net::Ipv4Addr, Arc<Logs>> {
    let end = Instant::now() + LOG;
    loop {
        let mut logs = BTreeMap::new();
        let mut missing = 0;
        for one in ran {
            let file = &world.files[one.file];
            for (n, planes) in one.questions.iter().enumerate() {
                let ask = &file.scenarios[one.scenario].ask[n];
                for plane in PLANES {
                    let Ok(proxy) = world.proxy(file, ask.from, plane) else {
                        continue;
                    };
                    let log = logs
                        .entry(proxy.address)
                        .or_insert_with(|| Arc::new(Logs::read(&proxy.log_text())));
                    let answers = planes[plane as usize].iter();
                    missing += answers
                        .filter(|(name, answer)| answer.failure.is_none() && log.of(name, answer).is_none())
                        .count();
                    if let Some(server) = world.server_behind(file, ask.from, plane) {
                        let read = || Arc::new(Logs::read(&server.log_text()));
                        let log = logs.entry(server.address).or_insert_with(read);
                        let from = [server.address.into()];
                        let came = |name: &str| !world.backends.records(&from, name).is_empty();
                        let answers = planes[plane as usize]
                            .iter()
                            .filter(|_| ask.protocol != Protocol::Bytes);
                        missing += answers
                            .filter(|(name, _)| came(name) && !log.0.contains_key(name))
                            .count();
                    }
                }
            }
        }
        if missing == 0 || Instant::now() > end {
            return logs;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Judges a scenario when all is over.
pub fn judge(world: &World, ran: &Ran, logs: &BTreeMap<std::net::Ipv4Addr, Arc<Logs>>) -> Result<Verdict> {
    let file = &world.files[ran.file];
    let scenario = &file.scenarios[ran.scenario];
    let (mut faults, mut judged) = (Vec::new(), Judged::default());
    let mut report = String::new();
    let mut used = BTreeSet::new();
    for (n, answers) in ran.questions.iter().enumerate() {
        let ask = &scenario.ask[n];
        let [ours, theirs] = PLANES.map(|plane| outcome(world, file, ask, plane, &answers[plane as usize], logs));
        let (ours, theirs) = (ours?, theirs?);
        let before = faults.len();
        let turned: Vec<Turned<'_>> = (answers[Plane::Ours as usize].iter().zip(&ours.logs))
            .map(|((name, answer), log)| Turned {
                name,
                ask,
                answer,
                log: log.as_ref(),
            })
            .collect();
        let mut compared = foretold::judge(&turned, &ran.predictions);
        for fault in &mut compared.faults {
            *fault = format!("question {}: {fault}", n + 1);
        }
        judged.add(compared);
        for (plane, outcome) in [("ours", &ours), ("Envoy", &theirs)] {
            faults.extend(
                check(&ask.expect, outcome)
                    .into_iter()
                    .map(|fault| format!("question {}: {plane}: {fault}", n + 1)),
            );
        }
        let seen = [(Plane::Ours, &ours), (Plane::Envoy, &theirs)]
            .map(|(plane, outcome)| seen(world, ask, plane, outcome, &answers[plane as usize]));
        differences(scenario, n, &seen, &mut used, &mut faults);
        if faults.len() > before {
            report += &tell(n, ask, &seen, [&ours, &theirs]);
        }
    }
    for (what, _) in scenario.explained.iter().filter(|(what, _)| !used.contains(*what)) {
        faults.push(format!("explained, but there is no such difference: {what}"));
    }
    Ok(Verdict {
        title: format!("{}: {}", file.path.display(), scenario.title),
        of: scenario.of.all().into_iter().map(str::to_owned).collect(),
        faults,
        report,
        known: scenario.known.clone(),
        foretold: judged,
    })
}

fn outcome(
    world: &World,
    file: &File,
    ask: &Ask,
    plane: Plane,
    answers: &[(String, Answer)],
    logs: &BTreeMap<std::net::Ipv4Addr, Arc<Logs>>,
) -> Result<Outcome> {
    let proxy = world.proxy(file, ask.from, plane)?;
    let log = logs.get(&proxy.address).context("the log was read")?;
    let behind = world.server_behind(file, ask.from, plane);
    let behind = behind.and_then(|server| logs.get(&server.address));
    let from = world.addresses(plane);
    let mut outcome = Outcome::default();
    for (name, answer) in answers {
        let mut records = world.backends.records(&from, name);
        records.sort_by_key(|record: &Record| {
            (
                is_copy(record),
                if is_copy(record) {
                    record.backend.clone()
                } else {
                    String::new()
                },
            )
        });
        outcome.records.push(records);
        outcome.logs.push(log.of(name, answer).cloned());
        outcome
            .server_logs
            .push(behind.and_then(|log| log.0.get(name)).cloned());
        outcome.answers.push(answer.clone());
    }
    Ok(outcome)
}

/// Of many answers, the values that each line has had.
fn seen(world: &World, ask: &Ask, plane: Plane, outcome: &Outcome, answers: &[(String, Answer)]) -> Seen {
    let own: BTreeSet<String> = world.addresses(plane).iter().map(ToString::to_string).collect();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (n, (name, answer)) in answers.iter().enumerate() {
        let normal = Normal {
            own: own.clone(),
            question: name.clone(),
        };
        let mut seen = normal.answer(answer);
        // Who answers is chance unless the scenario says who.
        let names = ask
            .expect
            .backend
            .as_ref()
            .is_some_and(|backend| backend.all().len() == 1);
        normal.records(&outcome.records[n], names, &mut seen);
        match &outcome.logs[n] {
            Some(line) => normal.log("log", line, &mut seen),
            None => {
                seen.insert("log".into(), "no line".into());
            }
        }
        if let Some(line) = &outcome.server_logs[n] {
            normal.log("server's log", line, &mut seen);
        }
        if ask.protocol == Protocol::Bytes || ask.tls.is_some() {
            // Where a connection is cut depends on timing, and the length of a handshake on chance; what was said does not.
            seen.retain(|key, _| !key.starts_with("log bytes") && key != "log connection_termination_details");
        }
        for (key, value) in seen {
            all.entry(key).or_default().insert(value);
        }
    }
    let joined = |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(" // ");
    all.into_iter().map(|(key, values)| (key, joined(values))).collect()
}

fn differences(scenario: &Scenario, n: usize, seen: &[Seen; 2], used: &mut BTreeSet<String>, faults: &mut Vec<String>) {
    let keys: BTreeSet<&String> = seen.iter().flat_map(BTreeMap::keys).collect();
    for key in keys {
        let (ours, theirs) = (seen[0].get(key), seen[1].get(key));
        if ours == theirs {
            continue;
        }
        if scenario.explained.contains_key(key) {
            used.insert(key.clone());
            continue;
        }
        let show = |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
        faults.push(format!(
            "question {}: differs: {key}: ours {}, Envoy's {}",
            n + 1,
            show(ours),
            show(theirs)
        ));
    }
}

fn tell(n: usize, ask: &Ask, seen: &[Seen; 2], outcomes: [&Outcome; 2]) -> String {
    let mut text = format!("  question {}: {ask:?}\n", n + 1)
        .replace("None, ", "")
        .replace("{}, ", "");
    for (who, seen, outcome) in [("ours", &seen[0], outcomes[0]), ("Envoy", &seen[1], outcomes[1])] {
        text += &format!("  --- {who}:\n");
        for (key, value) in seen {
            text += &format!("    {key}: {value}\n");
        }
        for answer in outcome.answers.iter().take(3) {
            text += &format!(
                "    took {:?}{}\n",
                answer.took,
                answer.failure.as_ref().map_or(String::new(), |f| format!(", {f}"))
            );
        }
        for line in outcome.logs.iter().flatten().take(3) {
            text += &format!("    access log: {line}\n");
        }
        for line in outcome.server_logs.iter().flatten().take(3) {
            text += &format!("    access log of the server: {line}\n");
        }
    }
    text
}
