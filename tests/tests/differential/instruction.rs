//! What a request can tell a server to do, in its field `x-echo`: words separated by semicolons.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What a server does instead of answering `200` with `hello`.
#[derive(Clone, Debug, Default)]
pub struct Instruction {
    pub status: Option<u16>,
    /// Before the answer.
    pub delay: Duration,
    /// Only for so many times, then it answers as usual.
    pub times: Option<usize>,
    /// Only this server does so.
    pub at: Option<String>,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub body: Option<String>,
    pub bytes: Option<usize>,
    pub ending: Ending,
    /// In chunks, whatever the length.
    pub chunked: bool,
    /// Between the head and the body.
    pub pause: Duration,
    /// Answers before it has read the body.
    pub early: bool,
    /// Says nothing to `expect: 100-continue`.
    pub no_continue: bool,
    /// The answer names its server.
    pub who: bool,
    /// Interim answers before the final one.
    pub interim: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    #[default]
    Whole,
    /// A reset instead of an answer.
    Reset,
    /// The end instead of an answer.
    Close,
    /// The end in the middle of the body.
    Half,
    /// The answer has no length and ends with the connection.
    UntilClose,
    /// Says `connection: close`, and does.
    ConnectionClose,
    /// Switches to the protocol asked for, and sends back what comes.
    Upgrade,
}

impl Instruction {
    pub fn parse(text: &str) -> Result<Self> {
        let mut it = Instruction::default();
        for word in text.split(';').map(str::trim).filter(|word| !word.is_empty()) {
            let (key, value) = word.split_once('=').map_or((word, ""), |(k, v)| (k.trim(), v.trim()));
            let pair = || {
                let (name, value) = value.split_once(':').with_context(|| format!("{word}: name:value"))?;
                anyhow::Ok((name.trim().to_owned(), value.trim().to_owned()))
            };
            let seconds = || anyhow::Ok(Duration::from_secs_f64(value.trim_end_matches('s').parse()?));
            match key {
                "status" => it.status = Some(value.parse()?),
                "delay" => it.delay = seconds()?,
                "pause" => it.pause = seconds()?,
                "times" => it.times = Some(value.parse()?),
                "at" => it.at = Some(value.to_owned()),
                "header" => it.headers.push(pair()?),
                "trailer" => it.trailers.push(pair()?),
                "body" => it.body = Some(value.to_owned()),
                "bytes" => it.bytes = Some(value.parse()?),
                "interim" => it.interim.push(value.parse()?),
                "who" => it.who = true,
                "chunked" => it.chunked = true,
                "early" => it.early = true,
                "no-continue" => it.no_continue = true,
                "reset" => it.ending = Ending::Reset,
                "close" => it.ending = Ending::Close,
                "half" => it.ending = Ending::Half,
                "until-close" => it.ending = Ending::UntilClose,
                "connection-close" => it.ending = Ending::ConnectionClose,
                "upgrade" => it.ending = Ending::Upgrade,
                _ => bail!("x-echo: no `{word}`"),
            }
        }
        Ok(it)
    }

    /// What is left of it for this server, asked for the `n`th time (from 1).
    pub fn for_server(self, name: &str, n: usize) -> Self {
        let elsewhere = self.at.as_ref().is_some_and(|at| at != name);
        let over = self.times.is_some_and(|times| n > times);
        if elsewhere || over {
            Instruction::default()
        } else {
            self
        }
    }

    pub fn content(&self) -> Vec<u8> {
        match (&self.body, self.bytes) {
            (_, Some(count)) => vec![b'x'; count],
            (Some(text), None) => text.clone().into_bytes(),
            (None, None) => b"hello\n".to_vec(),
        }
    }
}
