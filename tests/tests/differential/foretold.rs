//! What was foretold of questions, against what the proxy logged of them.
//!
//! The line in the access log must be one of the outcomes that were foretold: the chain, the route, the rule, the cluster, the server,
//! flags, and status and details of the answer where the proxy gives it itself. What lies beyond /why is counted by its reason.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::answer::Answer;
use crate::predict::Prediction;
use crate::scenario::{Ask, Protocol};

/// Details of answers to what breaks the protocol.
const BEYOND: [&str; 4] = ["http1.", "http2.", "invalid_path", "http.invalid_authority"];

// Why a question is not compared in full.
const MALFORMED: &str =
    "what is written wrong is no request, and /why can be asked of requests only (the filter chain is compared)";
const TUNNEL: &str = "a CONNECT asks for a tunnel and names no path: /why does not walk it";
const CERTIFICATE: &str =
    "/why is told that the client shows a certificate, not which: whether it is a good one turns out in the handshake";
const NEGOTIATED: &str = "/why is not told which versions and cipher suites a client speaks";
const PASSED_ON: &str = "the handshake was passed on unread and failed at the server: the client then knows too little to find the line of the log";
const SILENT: &str = "a client that says nothing waits for ever where the first bytes choose the chain: /why tells what its bytes would lead to";

/// Flags that come of what servers, clients and time do after the choices that /why tells of.
const LATER: [&str; 13] = [
    "UF", "UC", "UT", "UR", "LR", "URX", "DC", "UPE", "UO", "SI", "DPE", "DT", "UMSDR",
];

/// Questions of a kind from which shares can be told.
const MANY: usize = 20;

/// How one question turned out.
pub struct Turned<'a> {
    pub name: &'a str,
    pub ask: &'a Ask,
    pub answer: &'a Answer,
    pub log: Option<&'a Value>,
}

/// How it compares with what was foretold.
enum Compared {
    Holds,
    /// In part at most, for this reason.
    Beyond(&'static str),
    Differs(String),
}

/// What came of comparing.
#[derive(Debug, Default)]
pub struct Judged {
    /// Everything that was foretold otherwise.
    pub faults: Vec<String>,
    /// Questions that turned out as foretold.
    pub held: usize,
    /// Questions that cannot be compared in full, by the reason.
    pub beyond: BTreeMap<&'static str, usize>,
}

impl Judged {
    pub fn add(&mut self, other: Judged) {
        self.faults.extend(other.faults);
        self.held += other.held;
        for (reason, count) in other.beyond {
            *self.beyond.entry(reason).or_default() += count;
        }
    }
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} questions went as /why said", self.held)?;
        let mut reasons = self.beyond.iter();
        reasons.try_for_each(|(reason, count)| write!(f, "; {count} were not compared in full: {reason}"))
    }
}

pub fn judge(turned: &[Turned<'_>], predictions: &BTreeMap<String, Prediction>) -> Judged {
    let mut judged = Judged::default();
    let mut told = Vec::new();
    for one in turned {
        let compared = match predictions.get(one.name) {
            _ if is_connect(one.ask) => Compared::Beyond(TUNNEL),
            None => Compared::Differs("/why was not asked".to_owned()),
            Some(Err(error)) => Compared::Differs(format!("/why: {error}")),
            Some(Ok(prediction)) => {
                told.push((prediction, one));
                compare(prediction, one)
            }
        };
        match compared {
            Compared::Holds => judged.held += 1,
            Compared::Beyond(reason) => *judged.beyond.entry(reason).or_default() += 1,
            Compared::Differs(fault) => judged.faults.push(fault),
        }
    }
    judged.faults.extend(shares(&told));
    judged.faults.dedup();
    judged.faults.truncate(3);
    judged
}

fn is_connect(ask: &Ask) -> bool {
    let text = ask.text.as_deref().unwrap_or_default();
    ask.method.as_deref() == Some("CONNECT") || ask.protocol == Protocol::Bytes && text.starts_with("CONNECT ")
}

fn bytes(turned: &Turned<'_>) -> bool {
    turned.ask.protocol == Protocol::Bytes
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().filter(|text| *text != "-").unwrap_or_default()
}

fn flags(text: &str) -> Vec<&str> {
    text.split(',')
        .filter(|flag| !flag.is_empty() && *flag != "-")
        .collect()
}

fn outcomes(prediction: &Value) -> impl Iterator<Item = &Value> {
    prediction["outcomes"].as_array().into_iter().flatten()
}

/// A head that cannot be read: /why cannot be asked of it.
fn unreadable(answer: &Answer) -> bool {
    answer.status == Some(400) || answer.body.starts_with(b"HTTP/1.1 400 ")
}

fn compare(prediction: &Value, turned: &Turned<'_>) -> Compared {
    let Some(log) = turned.log else {
        if unreadable(turned.answer) {
            return Compared::Beyond(MALFORMED);
        }
        return without_line(prediction, turned);
    };
    let differs = |text: String| {
        let (said, there_was) = (text_of(prediction), seen(turned));
        Compared::Differs(format!(
            "/why: {text}\n    it said:\n{said}    and there was: {there_was}"
        ))
    };
    let chain = word(log, "filter_chain");
    let foretold = prediction["filterChain"].as_str();
    if foretold.unwrap_or_default() != chain {
        return differs(format!("filter chain {chain:?} served it, not {foretold:?}"));
    }
    let mut faults = Vec::new();
    for outcome in outcomes(prediction) {
        match against(outcome, log, turned) {
            None => return Compared::Holds,
            Some(fault) => faults.push(fault),
        }
    }
    let details = word(log, "response_code_details");
    if BEYOND.iter().any(|beginning| details.starts_with(beginning)) {
        return Compared::Beyond(MALFORMED);
    }
    let least = faults.into_iter().min_by_key(String::len);
    differs(least.unwrap_or_else(|| "no outcome was foretold".to_owned()))
}

/// Nothing is logged of a handshake that failed, and of a connection that nobody or no chain took.
fn without_line(prediction: &Value, turned: &Turned<'_>) -> Compared {
    let failure = turned.answer.failure.as_deref().unwrap_or_default();
    let closed = outcomes(prediction).any(|outcome| word(outcome, "outcome") == "closed");
    let nobody = outcomes(prediction).count() == 0 && failure.starts_with("connecting to ");
    if closed || nobody {
        return Compared::Holds;
    }
    if let Some(reason) = beyond_without_line(prediction, turned, failure) {
        return Compared::Beyond(reason);
    }
    let (said, there_was) = (text_of(prediction), seen(turned));
    Compared::Differs(format!(
        "/why: the connection ended without a word, which was not foretold\n    it said:\n{said}    and there was: {there_was}"
    ))
}

fn beyond_without_line(prediction: &Value, turned: &Turned<'_>, failure: &str) -> Option<&'static str> {
    if bytes(turned) && turned.ask.text.as_deref() == Some("") && failure == "nothing came back" {
        return Some(SILENT);
    }
    let tls = turned.ask.tls.as_ref().filter(|_| !failure.is_empty())?;
    let about_tls: Vec<&str> = prediction["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|step| word(step, "about") == "tls")
        .map(|step| word(step, "text"))
        .collect();
    if about_tls.is_empty() {
        let forwarded = outcomes(prediction).all(|outcome| word(outcome, "outcome") == "forwarded");
        return forwarded.then_some(PASSED_ON);
    }
    let wants_one = about_tls
        .iter()
        .any(|text| text.contains("certificate") && text.contains("refused"));
    let alert = failure.contains("fatal alert");
    if tls.identity.is_some() && (wants_one || alert) {
        return Some(CERTIFICATE);
    }
    ((tls.version.is_some() || !tls.ciphers.is_empty()) && alert).then_some(NEGOTIATED)
}

/// What speaks against an outcome.
fn against(outcome: &Value, log: &Value, turned: &Turned<'_>) -> Option<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, told: &str, got: &str| {
        if told != got {
            faults.push(format!("{what} is {got:?}, not {told:?}"));
        }
    };
    let kind = word(outcome, "outcome");
    let (told, got) = (flags(word(outcome, "flags")), flags(word(log, "response_flags")));
    let settled: Vec<&str> = match kind {
        "forwarded" => got.iter().copied().filter(|flag| !LATER.contains(flag)).collect(),
        _ => got,
    };
    same("flags", &told.join(","), &settled.join(","));
    same("cluster", word(outcome, "cluster"), word(log, "upstream_cluster"));
    same("route", word(outcome, "route"), word(log, "route_name"));
    same("rule", word(outcome, "rule"), word(log, "rule"));
    match kind {
        "answered" => {
            same(
                "status",
                &outcome["status"].to_string(),
                &log["response_code"].to_string(),
            );
            same("details", word(outcome, "details"), word(log, "response_code_details"));
        }
        "forwarded" => faults.extend(wrong_server(outcome, word(log, "upstream_host"))),
        _ if !bytes(turned) => faults.push("there was an answer, though the connection was to be closed".to_owned()),
        _ => same("server", "", word(log, "upstream_host")),
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Without a server it was not chosen before the request was over: for want of a connection, or because the client went away.
fn wrong_server(outcome: &Value, got: &str) -> Option<String> {
    let endpoints: Vec<&str> = outcome["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| word(one, "address"))
        .collect();
    let fits = got.is_empty() || endpoints.is_empty() || endpoints.contains(&got);
    (!fits).then(|| format!("{got} got it, which is not among {}", endpoints.join(", ")))
}

/// Of many questions of a kind each outcome has about the share that was foretold: within five standard deviations.
fn shares(told: &[(&Value, &Turned<'_>)]) -> Option<String> {
    let count = told.len();
    let (first, _) = told.first().filter(|_| count >= MANY)?;
    for outcome in outcomes(first) {
        let share = outcome["share"].as_f64().unwrap_or_default() / 100.0;
        let fits = |(_, turned): &&(&Value, &Turned<'_>)| {
            turned.log.is_some_and(|log| against(outcome, log, turned).is_none())
        };
        let got = told.iter().filter(fits).count() as f64;
        let expected = share * count as f64;
        let allowed = 5.0 * (expected * (1.0 - share)).max(0.0).sqrt() + 1.0;
        if (got - expected).abs() > allowed {
            return Some(format!(
                "/why: {got} of {count} were {outcome}, and {expected:.1} was foretold"
            ));
        }
    }
    None
}

fn text_of(prediction: &Value) -> String {
    let mut text = String::new();
    for step in prediction["steps"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "      {}: {}", word(step, "about"), word(step, "text"));
    }
    for outcome in outcomes(prediction) {
        let _ = writeln!(text, "      => {outcome}");
    }
    text
}

fn seen(turned: &Turned<'_>) -> String {
    match (turned.log, &turned.answer.failure) {
        (Some(log), _) => log.to_string(),
        (None, Some(failure)) => format!("no line in the access log; {failure}"),
        (None, None) => format!("no line in the access log; status {:?}", turned.answer.status),
    }
}
