//! What a scenario expects, against what one data plane did.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::answer::Answer;
use crate::backend::Record;
use crate::http1::Fields;
use crate::scenario::{AtServer, Expect, SeenRequest};
use crate::seen::is_copy;

/// One question on one data plane.
#[derive(Default)]
pub struct Outcome {
    pub answers: Vec<Answer>,
    /// Of each answer, what servers saw.
    pub records: Vec<Vec<Record>>,
    /// Of each answer, its line in the access log.
    pub logs: Vec<Option<Value>>,
    /// Of each answer, the line of the file's own server, if it came there.
    pub server_logs: Vec<Option<Value>>,
}

struct Faults(Vec<String>);

impl Faults {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, wanted: Option<&T>, got: &T) {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            self.0.push(format!("{what} is {got:?}, not {wanted:?}"));
        }
    }

    fn fields(&mut self, what: &str, wanted: &BTreeMap<String, Option<String>>, got: &Fields) {
        for (name, wanted) in wanted {
            let values: Vec<&str> = got
                .iter()
                .filter(|(field, _)| field.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
                .collect();
            let good = match wanted.as_deref() {
                None => values.is_empty(),
                Some("*") => !values.is_empty(),
                Some(wanted) => values.join(" | ") == wanted,
            };
            if !good {
                self.0.push(format!("{what} {name} is {values:?}, not {wanted:?}"));
            }
        }
    }
}

fn present(fields: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect()
}

/// Everything that is not as expected.
pub fn check(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let many = !expect.share.is_empty() || !expect.statuses.is_empty();
    for n in 0..outcome.answers.len() {
        one(expect, outcome, n, many, &mut faults);
    }
    shares(expect, outcome, &mut faults);
    for (status, wanted) in &expect.statuses {
        let is_it = |answer: &&Answer| answer.status.is_some_and(|got| got.to_string() == *status);
        let got = outcome.answers.iter().filter(is_it).count();
        if got != *wanted as usize {
            let all: Vec<_> = outcome.answers.iter().map(|answer| answer.status).collect();
            faults
                .0
                .push(format!("{got} answers have status {status}, not {wanted}: {all:?}"));
        }
    }
    faults.0.dedup();
    faults.0
}

fn one(expect: &Expect, outcome: &Outcome, n: usize, many: bool, faults: &mut Faults) {
    let answer = &outcome.answers[n];
    if expect.refused {
        if answer.failure.is_none() {
            faults
                .0
                .push(format!("there is an answer: {:?} {}", answer.status, answer.text()));
        }
        return;
    }
    if let Some(failure) = &answer.failure {
        faults.0.push(format!("no answer: {failure}"));
        return;
    }
    if answer.status.is_some() && expect.statuses.is_empty() {
        faults.same(
            "status",
            Some(&expect.status.unwrap_or(200)),
            &answer.status.unwrap_or_default(),
        );
    }
    faults.same("body", expect.body.as_ref(), &answer.text());
    if let Some(part) = expect
        .body_contains
        .as_ref()
        .filter(|part| !answer.text().contains(part.as_str()))
    {
        faults
            .0
            .push(format!("body {:?} does not hold {part:?}", answer.text()));
    }
    let certificate = answer.certificate.clone().unwrap_or_default();
    faults.same("certificate", expect.certificate.as_ref(), &certificate);
    faults.fields("header", &expect.headers, &answer.fields);
    faults.fields("trailer", &present(&expect.trailers), &answer.trailers);
    if let Some((least, most)) = expect.took {
        let took = answer.took.as_secs_f64();
        if took < least || took > most {
            faults.0.push(format!("it took {took:.3} s, not {least} to {most}"));
        }
    }
    let (copies, asked): (Vec<&Record>, Vec<&Record>) = outcome.records[n].iter().partition(|record| is_copy(record));
    servers(expect, &asked, &copies, many, faults);
    log(expect, outcome.logs[n].as_ref(), faults);
    if let Some(wanted) = &expect.at_server {
        at_server(wanted, outcome.server_logs[n].as_ref(), faults);
    }
}

fn at_server(wanted: &AtServer, line: Option<&Value>, faults: &mut Faults) {
    let Some(line) = line else {
        faults.0.push("no line in the access log of the server".to_owned());
        return;
    };
    let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
    faults.same("flags at the server", wanted.flags.as_ref(), &text("response_flags"));
    let details = text("response_code_details");
    faults.same("details at the server", wanted.details.as_ref(), &details);
    let status = line["response_code"].as_u64().and_then(|code| u16::try_from(code).ok());
    faults.same(
        "status at the server",
        wanted.status.as_ref(),
        &status.unwrap_or_default(),
    );
}

fn servers(expect: &Expect, asked: &[&Record], copies: &[&Record], many: bool, faults: &mut Faults) {
    let last = asked.last();
    if let Some(wanted) = &expect.backend {
        let got = last.map_or("nobody", |record| record.backend.as_str());
        if !wanted.all().contains(&got) {
            faults
                .0
                .push(format!("{got} answered, not {}", wanted.all().join(" or ")));
        }
    }
    faults.same("number of attempts", expect.attempts.as_ref(), &asked.len());
    if let Some(wanted) = &expect.mirrored {
        let mut got: Vec<String> = copies.iter().map(|record| record.backend.clone()).collect();
        got.sort();
        faults.same("copies", Some(wanted), &got);
    }
    let Some(wanted) = &expect.request else { return };
    match last {
        Some(record) => request(wanted, record, faults),
        None if many => {}
        None => faults.0.push("no server saw a request".to_owned()),
    }
}

fn request(wanted: &SeenRequest, got: &Record, faults: &mut Faults) {
    faults.same("method at the server", wanted.method.as_ref(), &got.method);
    faults.same("path at the server", wanted.path.as_ref(), &got.path);
    faults.same("host at the server", wanted.host.as_ref(), &got.host);
    faults.same(
        "protocol at the server",
        wanted.protocol.as_ref(),
        &got.protocol.to_owned(),
    );
    faults.same(
        "body at the server",
        wanted.body.as_ref(),
        &String::from_utf8_lossy(&got.body).into_owned(),
    );
    faults.same(
        "size of the body at the server",
        wanted.body_bytes.as_ref(),
        &got.body.len(),
    );
    faults.fields("header at the server", &wanted.headers, &got.fields);
    faults.fields("trailer at the server", &present(&wanted.trailers), &got.trailers);
    let tls = got.tls.clone();
    faults.same(
        "SNI",
        wanted.sni.as_ref(),
        &tls.as_ref().map_or("plain".to_owned(), |tls| tls.sni.clone()),
    );
    faults.same(
        "ALPN",
        wanted.alpn.as_ref(),
        &tls.as_ref().map_or("plain".to_owned(), |tls| tls.alpn.clone()),
    );
    faults.same(
        "the client's certificate",
        wanted.peer.as_ref(),
        &tls.map_or("plain".to_owned(), |tls| tls.peer),
    );
}

fn log(expect: &Expect, line: Option<&Value>, faults: &mut Faults) {
    let wanted = [
        ("response_flags", &expect.flags),
        ("response_code_details", &expect.details),
        ("route_name", &expect.route),
        ("upstream_cluster", &expect.cluster),
    ];
    for (field, wanted) in wanted {
        let Some(wanted) = wanted else { continue };
        let Some(line) = line else {
            faults.0.push("there is no line in the access log".to_owned());
            return;
        };
        let got = line[field].as_str().unwrap_or("-");
        if got != wanted {
            faults
                .0
                .push(format!("{field} in the access log is {got:?}, not {wanted:?}"));
        }
    }
}

fn shares(expect: &Expect, outcome: &Outcome, faults: &mut Faults) {
    let answered: Vec<&str> = outcome
        .records
        .iter()
        .filter_map(|records| records.iter().rfind(|record| !is_copy(record)))
        .map(|record| record.backend.as_str())
        .collect();
    for (backend, (least, most)) in &expect.share {
        let got = answered.iter().filter(|name| *name == backend).count();
        let percent = got as f64 * 100.0 / outcome.answers.len() as f64;
        if percent < *least || percent > *most {
            faults
                .0
                .push(format!("{percent:.1} % went to {backend}, not {least} to {most} %"));
        }
    }
}
