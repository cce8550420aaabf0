//! A server of HTTP/1, by hand: it can break every rule it is told to break.

use anyhow::Result;
use tokio::time::sleep;

use crate::backend::{Place, Record, Stream};
use crate::http1::{self, Framing, Head, Wire};
use crate::instruction::{Ending, Instruction};

pub async fn serve<S: Stream>(mut wire: Wire<S>, place: Place) -> Result<()> {
    while let Some(head) = wire.head().await? {
        let instruction = Instruction::parse(head.get("x-echo").unwrap_or_default())?;
        let continues = head
            .get("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if continues && !instruction.no_continue && !instruction.early {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if is_tunnel(&head) {
            return tunnel(wire, &head, place).await;
        }
        let upgrade = head.get("upgrade").map(str::to_owned);
        let body = if instruction.early {
            http1::Body::default()
        } else {
            wire.body(head.framing(Framing::None)).await
        };
        let n = place.record(record(&place, &head, &body));
        let mut instruction = instruction.for_server(&place.backend, n);
        if instruction.who {
            instruction
                .headers
                .push(("x-backend".to_owned(), place.backend.clone()));
        }
        sleep(instruction.delay).await;
        if instruction.ending == Ending::Upgrade {
            return switch(wire, upgrade.unwrap_or_default()).await;
        }
        if instruction.ending == Ending::Reset {
            return place.will_reset();
        }
        if !answer(&mut wire, &head, &instruction).await? {
            return Ok(());
        }
        if instruction.early {
            let _ = tokio::time::timeout(
                std::time::Duration::from_secs(2),
                wire.body(head.framing(Framing::None)),
            )
            .await;
            return Ok(());
        }
    }
    Ok(())
}

/// By CONNECT, or by a POST of nobody: questions have names.
fn is_tunnel(head: &Head) -> bool {
    let is_nobodys = head.get("user-agent").is_none();
    head.word(0) == "CONNECT" || (head.word(0) == "POST" && is_nobodys)
}

/// Lines of text through a tunnel. One to `refused…` is refused.
async fn tunnel<S: Stream>(mut wire: Wire<S>, head: &Head, place: Place) -> Result<()> {
    let asked = record(&place, head, &http1::Body::default());
    if asked.host.starts_with("refused") {
        place.record(asked);
        return wire.write(b"HTTP/1.1 403 As Told\r\ncontent-length: 0\r\n\r\n").await;
    }
    let chunked = matches!(head.framing(Framing::None), Framing::Chunks);
    if !chunked {
        wire.write(b"HTTP/1.1 200 As Told\r\nx-tunnel: yes\r\n\r\n").await?;
        return crate::backend::lines(wire, place, asked).await;
    }
    wire.write(b"HTTP/1.1 200 As Told\r\nx-tunnel: yes\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    while let Some(piece) = wire.chunk().await?.filter(|piece| !piece.is_empty()) {
        let back = crate::backend::answer_line(piece, &place, asked.clone());
        let framed = [format!("{:x}\r\n", back.len()).as_bytes(), &back, b"\r\n"].concat();
        wire.write(&framed).await?;
    }
    wire.write(b"0\r\n\r\n").await
}

fn record(place: &Place, head: &Head, body: &http1::Body) -> Record {
    Record {
        backend: place.backend.clone(),
        method: head.word(0).to_owned(),
        path: head.word(1).to_owned(),
        host: head.get("host").unwrap_or_default().to_owned(),
        protocol: if head.word(2) == "HTTP/1.0" {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        },
        fields: head.fields.clone(),
        body: body.bytes.clone(),
        trailers: body.trailers.clone(),
        broken: body.broken,
        tls: place.tls.clone(),
    }
}

async fn switch<S: Stream>(mut wire: Wire<S>, protocol: String) -> Result<()> {
    let fields = [
        ("connection".to_owned(), "upgrade".to_owned()),
        ("upgrade".to_owned(), protocol),
    ];
    wire.write(&http1::head("HTTP/1.1 101 Switching Protocols", &fields))
        .await?;
    loop {
        let back = std::mem::take(&mut wire.read);
        wire.write(&back).await?;
        if !wire.more().await? {
            return Ok(());
        }
    }
}

/// False: this connection is over.
async fn answer<S: Stream>(wire: &mut Wire<S>, request: &Head, instruction: &Instruction) -> Result<bool> {
    if instruction.ending == Ending::Close {
        return Ok(false);
    }
    for status in &instruction.interim {
        wire.write(format!("HTTP/1.1 {status} Interim\r\nx-interim: yes\r\n\r\n").as_bytes())
            .await?;
    }
    let status = instruction.status.unwrap_or(200);
    let content = instruction.content();
    let bodiless = request.word(0) == "HEAD" || status == 204 || status == 304;
    let chunked = (instruction.chunked || !instruction.trailers.is_empty()) && !bodiless;
    let until_close = instruction.ending == Ending::UntilClose;
    let mut fields = instruction.headers.clone();
    let typed = fields.iter().any(|(name, _)| name == "content-type");
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
    if !bodiless && !typed {
        field("content-type", "text/plain".into());
    }
    if chunked {
        field("transfer-encoding", "chunked".into());
    } else if !until_close && status != 204 && status != 304 {
        field("content-length", content.len().to_string());
    }
    if instruction.ending == Ending::ConnectionClose {
        field("connection", "close".into());
    }
    wire.write(&http1::head(&format!("HTTP/1.1 {status} As Told"), &fields))
        .await?;
    sleep(instruction.pause).await;
    if bodiless {
        return Ok(instruction.ending == Ending::Whole);
    }
    if instruction.ending == Ending::Half {
        wire.write(&content[..content.len() / 2]).await?;
        sleep(std::time::Duration::from_millis(50)).await;
        return Ok(false);
    }
    if chunked {
        wire.write(&http1::chunked(content.chunks(4096), &instruction.trailers))
            .await?;
    } else {
        wire.write(&content).await?;
    }
    Ok(instruction.ending == Ending::Whole)
}
