//! HTTP/1.1 bytes in, and what may become of them: the form of the tables of this suite.

use anyhow::{Result, bail, ensure};

use crate::arena::Arena;
use crate::config::PROMPT;
use crate::strict::Framing;
use crate::upstream::{Arrived, Broken, Seen};
use crate::wire::{Answer, Wire};

/// A request as it must arrive behind the proxy.
#[derive(Clone, Debug)]
pub struct Want {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
    pub has: Vec<(&'static str, &'static str)>,
    pub lacks: Vec<&'static str>,
}

pub enum Expect {
    /// An error or nothing, and the end of the connection, at once; nothing whole arrives behind the proxy.
    Refused,
    /// One of these statuses; nothing whole arrives behind the proxy.
    Status(&'static [u16]),
    /// Each is answered 200, in this order, and is all that arrives behind the proxy.
    Passes(Vec<Want>),
    /// Refused; or understood in the one way in which it can be understood.
    Either(Want),
}

pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub expect: Expect,
    /// To the listener that takes HTTP/1.0.
    pub old: bool,
}

pub fn case(name: &'static str, text: &str, expect: Expect) -> Case {
    Case {
        name,
        bytes: latin1(text),
        expect,
        old: false,
    }
}

/// As [`case`], for the listener that takes HTTP/1.0.
pub fn old(name: &'static str, text: &str, expect: Expect) -> Case {
    Case {
        old: true,
        ..case(name, text, expect)
    }
}

/// One byte per character, so that tables can write any byte.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).expect("a byte"))
        .collect()
}

pub fn want(method: &str, target: &str, body: &str) -> Want {
    Want {
        method: method.to_owned(),
        target: target.to_owned(),
        body: latin1(body),
        has: Vec::new(),
        lacks: Vec::new(),
    }
}

impl Want {
    pub fn has(mut self, name: &'static str, value: &'static str) -> Self {
        self.has.push((name, value));
        self
    }

    pub fn lacks(mut self, name: &'static str) -> Self {
        self.lacks.push(name);
        self
    }

    pub fn passes(self) -> Expect {
        Expect::Passes(vec![self])
    }

    pub fn or_refused(self) -> Expect {
        Expect::Either(self)
    }
}

pub fn run(arena: &mut Arena, cases: Vec<Case>) {
    for case in cases {
        arena.check(case.name, |arena| one(arena, &case));
    }
}

fn one(arena: &mut Arena, case: &Case) -> Result<()> {
    arena.recorder.take();
    let mut wire = Wire::connect(if case.old { arena.patient } else { arena.strict })?;
    wire.send(&case.bytes);
    let count = match &case.expect {
        Expect::Passes(wants) => wants.len(),
        _ => 1,
    };
    let method = if case.bytes.starts_with(b"HEAD ") {
        "HEAD"
    } else {
        "GET"
    };
    let answers: Vec<Answer> = (0..count).map(|_| wire.answer(method, PROMPT)).collect();
    let ends = |wire: &mut Wire| wire.ends(PROMPT);
    match &case.expect {
        Expect::Refused => refused(&answers[0], ends(&mut wire))?,
        Expect::Status(statuses) => match &answers[0] {
            Answer::Response(response) if statuses.contains(&response.status) => {}
            other => bail!("{other:?}; expected {statuses:?}"),
        },
        Expect::Passes(wants) => all_passed(&answers, wants)?,
        Expect::Either(_) if passed(&answers[0]) => {}
        Expect::Either(_) => refused(&answers[0], ends(&mut wire))?,
    }
    // What the proxy had to send before has arrived when a good request has been answered.
    arena.sentinel()?;
    let (requests, ambiguous) = sort(arena.recorder.take());
    ensure!(ambiguous.is_empty(), "behind the proxy: {ambiguous:?}");
    let wanted = match &case.expect {
        Expect::Passes(wants) => wants.clone(),
        Expect::Either(want) if passed(&answers[0]) => vec![want.clone()],
        _ => Vec::new(),
    };
    arrived(&requests, &wanted)
}

fn passed(answer: &Answer) -> bool {
    matches!(answer, Answer::Response(response) if response.status == 200 && response.complete)
}

fn refused(answer: &Answer, ended: bool) -> Result<()> {
    match answer {
        Answer::Closed => {}
        Answer::Response(response) if matches!(response.status, 400..=499 | 501 | 505) && response.complete => {}
        other => bail!("{other:?}; expected a refusal"),
    }
    // Where the end of the request is beyond doubt, another one may follow.
    let is_clear = matches!(answer, Answer::Response(response) if matches!(response.status, 403..=405 | 421));
    ensure!(ended || is_clear, "{answer:?}, but the connection stays open");
    Ok(())
}

fn all_passed(answers: &[Answer], wants: &[Want]) -> Result<()> {
    for (answer, want) in answers.iter().zip(wants) {
        let Answer::Response(response) = answer else {
            bail!("{answer:?}; expected an answer to {} {}", want.method, want.target);
        };
        ensure!(response.status == 200 && response.complete, "{response:?}");
        let expected = format!("seen {} {}", want.method, want.target);
        ensure!(
            want.method == "HEAD" || response.text() == expected,
            "{expected} was expected: {response:?}"
        );
    }
    Ok(())
}

/// Whole requests, and what is no clean request.
pub fn sort(seen: Vec<Seen>) -> (Vec<Arrived>, Vec<String>) {
    let (mut requests, mut ambiguous) = (Vec::new(), Vec::new());
    for one in seen {
        match one {
            Seen::Request(request) => requests.push(request),
            Seen::Broken(Broken::Ambiguous(text)) => ambiguous.push(text),
            Seen::Broken(Broken::Incomplete(_)) => {}
        }
    }
    (requests, ambiguous)
}

/// Exactly these requests have arrived.
pub fn arrived(requests: &[Arrived], wants: &[Want]) -> Result<()> {
    ensure!(
        requests.len() == wants.len(),
        "behind the proxy: {requests:?}; expected {wants:?}"
    );
    for (request, want) in requests.iter().zip(wants) {
        ensure!(
            request.method == want.method && request.target == want.target && request.body == want.body,
            "behind the proxy: {request:?}; expected {want:?}"
        );
        let framed = match request.framing {
            Framing::None => request.body.is_empty(),
            Framing::Length(length) => length == request.body.len(),
            Framing::Chunked => true,
        };
        ensure!(framed, "framing of {request:?}");
        let all = |name: &str| -> Vec<&str> {
            let fields = request.fields.iter().chain(&request.trailers);
            let of_name = fields.filter(|(n, _)| n == name);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        ensure!(all("host").len() == 1, "host {:?} behind the proxy", all("host"));
        for (name, value) in &want.has {
            ensure!(
                all(name) == [*value],
                "behind the proxy {name} is {:?}; expected {value}",
                all(name)
            );
        }
        for name in &want.lacks {
            ensure!(all(name).is_empty(), "behind the proxy {name} is {:?}", all(name));
        }
    }
    Ok(())
}
