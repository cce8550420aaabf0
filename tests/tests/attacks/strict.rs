//! Reading HTTP/1.1 without any tolerance: what the proxy sends, to either side, must not be readable in two ways.

/// First line, fields in order with names in lower case, and the bytes that they took.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub length: usize,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing says that there is one.
    None,
    Length(usize),
    Chunked,
}

/// A chunked body, its trailers, and the bytes that they took.
#[derive(Clone, Debug)]
pub struct Chunked {
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub length: usize,
}

/// `Ok(None)`: more bytes are needed.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return match bytes.len() {
            ..=131_072 => Ok(None),
            length => Err(format!("a head of more than {length} bytes")),
        };
    };
    let text = &bytes[..end];
    let mut lines = split_lines(text)?.into_iter();
    let line = lines.next().unwrap_or_default();
    Ok(Some(Head {
        line: printable(line)?,
        fields: lines.map(field).collect::<Result<_, _>>()?,
        length: end + 4,
    }))
}

pub fn framing(head: &Head) -> Result<Framing, String> {
    let all = |name: &str| -> Vec<&str> {
        let of_name = head.fields.iter().filter(|(n, _)| n == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    };
    match (&all("transfer-encoding")[..], &all("content-length")[..]) {
        ([], []) => Ok(Framing::None),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => length
            .parse()
            .map(Framing::Length)
            .map_err(|_| format!("content-length: {length}")),
        (encodings, lengths) => Err(format!(
            "transfer-encoding {encodings:?} and content-length {lengths:?}"
        )),
    }
}

/// `Ok(None)`: more bytes are needed.
pub fn chunked(bytes: &[u8]) -> Result<Option<Chunked>, String> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some(line) = line(bytes, at)? else { return Ok(None) };
        at += line.len() + 2;
        let size = match std::str::from_utf8(line) {
            Ok(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                usize::from_str_radix(text, 16).map_err(|_| format!("chunk size {text}"))?
            }
            _ => return Err(format!("chunk size {:?}", String::from_utf8_lossy(line))),
        };
        if size == 0 {
            return trailers(bytes, at, body);
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk does not end where its size says".to_owned());
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], mut at: usize, body: Vec<u8>) -> Result<Option<Chunked>, String> {
    let mut trailers = Vec::new();
    loop {
        let Some(line) = line(bytes, at)? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(Chunked {
                body,
                trailers,
                length: at,
            }));
        }
        trailers.push(field(line)?);
    }
}

fn line(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, String> {
    let rest = &bytes[at..];
    let Some(end) = find(rest, b"\r\n") else {
        return if rest.len() > 16_384 {
            Err("an endless line".to_owned())
        } else {
            Ok(None)
        };
    };
    match rest[..end].iter().any(|b| b"\r\n\0".contains(b)) {
        true => Err(format!(
            "a stray line end in {:?}",
            String::from_utf8_lossy(&rest[..end])
        )),
        false => Ok(Some(&rest[..end])),
    }
}

fn split_lines(text: &[u8]) -> Result<Vec<&[u8]>, String> {
    let (mut lines, mut rest) = (Vec::new(), text);
    loop {
        let end = find(rest, b"\r\n").unwrap_or(rest.len());
        if rest[..end].iter().any(|b| b"\r\n\0".contains(b)) {
            return Err(format!(
                "a stray line end or NUL in {:?}",
                String::from_utf8_lossy(&rest[..end])
            ));
        }
        lines.push(&rest[..end]);
        match rest.get(end + 2..) {
            Some(more) => rest = more,
            None => return Ok(lines),
        }
    }
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let shown = || format!("field line {:?}", String::from_utf8_lossy(line));
    let colon = line.iter().position(|b| *b == b':').ok_or_else(shown)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(shown());
    }
    if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return Err(shown());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_matches([' ', '\t']).to_owned();
    Ok((text(name).to_ascii_lowercase(), text(value)))
}

fn printable(line: &[u8]) -> Result<String, String> {
    match line.iter().all(|b| (0x20..0x7f).contains(b)) {
        true => Ok(String::from_utf8_lossy(line).into_owned()),
        false => Err(format!("first line {:?}", String::from_utf8_lossy(line))),
    }
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
