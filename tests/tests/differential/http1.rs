//! HTTP/1 as it is on the wire, for both ends: nothing is normalised, so that every octet of a difference is seen.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Of a head. What is under test sends nothing near it.
const MOST_HEAD: usize = 256 * 1024;

pub type Fields = Vec<(String, String)>;

/// A stream with what was read too far.
pub struct Wire<S> {
    pub stream: S,
    pub read: Vec<u8>,
}

/// First line and fields, as they came.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Fields,
}

#[derive(Clone, Debug, Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Fields,
    /// It ended before its end.
    pub broken: bool,
}

/// How a body ends.
pub enum Framing {
    None,
    Length(usize),
    Chunks,
    Close,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn word(&self, n: usize) -> &str {
        self.line.splitn(3, ' ').nth(n).unwrap_or_default()
    }

    /// As a request or an answer with a body says it.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        if self
            .get("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Framing::Chunks;
        }
        let length = self.get("content-length").and_then(|value| value.parse().ok());
        length.map_or(otherwise, Framing::Length)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Wire {
            stream,
            read: Vec::new(),
        }
    }

    /// More bytes; false at the end.
    pub async fn more(&mut self) -> Result<bool> {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).await?;
        self.read.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    async fn at_least(&mut self, count: usize) -> Result<bool> {
        while self.read.len() < count {
            if !self.more().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + 2);
                return Ok(Some(line));
            }
            ensure!(self.read.len() < MOST_HEAD, "a line without end");
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    async fn fields(&mut self) -> Result<Option<Fields>> {
        let mut fields = Fields::new();
        loop {
            let Some(line) = self.line().await? else {
                return Ok(None);
            };
            if line.is_empty() {
                return Ok(Some(fields));
            }
            let (name, value) = line.split_once(':').with_context(|| format!("no field: {line:?}"))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Nothing, when the peer has closed instead.
    pub async fn head(&mut self) -> Result<Option<Head>> {
        let Some(line) = self.line().await? else {
            ensure!(
                self.read.is_empty(),
                "half a head: {:?}",
                String::from_utf8_lossy(&self.read)
            );
            return Ok(None);
        };
        let fields = self.fields().await?.context("the head broke off")?;
        Ok(Some(Head { line, fields }))
    }

    pub async fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body::default();
        match framing {
            Framing::None => {}
            Framing::Close => {
                while matches!(self.more().await, Ok(true)) {}
                body.bytes = std::mem::take(&mut self.read);
            }
            Framing::Length(length) => {
                let whole = matches!(self.at_least(length).await, Ok(true));
                body.broken = !whole;
                let end = length.min(self.read.len());
                body.bytes = self.read.drain(..end).collect();
            }
            Framing::Chunks => body.broken = self.chunks(&mut body).await.is_err(),
        }
        body
    }

    async fn chunks(&mut self, body: &mut Body) -> Result<()> {
        loop {
            let line = self.line().await?.context("no chunk")?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            if size == 0 {
                body.trailers = self.fields().await?.context("no end of trailers")?;
                return Ok(());
            }
            let whole = self.at_least(size + 2).await?;
            let end = size.min(self.read.len());
            body.bytes.extend(self.read.drain(..end));
            if !whole {
                bail!("half a chunk");
            }
            self.read.drain(..2);
        }
    }

    /// The next chunk of a body, empty at its end; nothing if the connection ends before.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(line) = self.line().await? else {
            return Ok(None);
        };
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        ensure!(self.at_least(size + 2).await?, "half a chunk");
        let data = self.read.drain(..size).collect();
        self.read.drain(..2);
        Ok(Some(data))
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

/// A head in bytes.
pub fn head(line: &str, fields: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("{line}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// A chunked body in bytes.
pub fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, trailers: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(head("0", trailers));
    bytes
}
