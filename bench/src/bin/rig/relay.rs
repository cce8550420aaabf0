//! The least that anything between two sockets can do: wait, receive, send.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use mesh_bench::poller::{Interest, Poller};
use mesh_bench::sockets;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::Relay;

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 256 * 1024;

pub fn run(line: &Relay) -> anyhow::Result<()> {
    let listener = sockets::listen(line.port, None)?;
    let poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::Read)?;
    Floor {
        poller,
        to: line.to,
        splice: line.splice,
        pairs: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; BUFFER],
    }
    .serve(&listener)
}

struct Floor {
    poller: Poller,
    to: u16,
    splice: bool,
    pairs: Vec<Option<[Half; 2]>>,
    free: Vec<usize>,
    /// Shared by all: what a peer does not take at once is kept with its connection.
    buffer: Vec<u8>,
}

/// One socket, and what came from it for the other.
struct Half {
    stream: TcpStream,
    held: Vec<u8>,
    pipe: Option<(OwnedFd, OwnedFd)>,
    in_pipe: usize,
    /// No notice will follow: read to the end.
    closing: bool,
    ended: bool,
    told: bool,
}

impl Half {
    fn new(stream: TcpStream, splice: bool) -> io::Result<Self> {
        let pipe = match splice {
            true => {
                let pipe = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
                rustix::pipe::fcntl_setpipe_size(&pipe.1, BUFFER)?;
                Some(pipe)
            }
            false => None,
        };
        Ok(Half {
            stream,
            held: Vec::new(),
            pipe,
            in_pipe: 0,
            closing: false,
            ended: false,
            told: false,
        })
    }

    fn holds(&self) -> bool {
        self.in_pipe > 0 || !self.held.is_empty()
    }
}

impl Floor {
    fn serve(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            self.poller.wait(None)?;
            for index in 0..self.poller.len() {
                let notice = self.poller.notice(index);
                if notice.token == LISTENER {
                    while let Some(stream) = sockets::accept(listener)? {
                        self.begin(stream)?;
                    }
                    continue;
                }
                let (slot, side) = (notice.token as usize / 2, notice.token as usize % 2);
                let Some(pair) = self.pairs.get_mut(slot).and_then(Option::as_mut) else {
                    continue;
                };
                let [first, second] = pair;
                let (own, other) = if side == 0 { (first, second) } else { (second, first) };
                own.closing |= notice.closing;
                let mut result = Ok(());
                if notice.readable {
                    result = relay(own, other, &mut self.buffer);
                }
                if result.is_ok() && notice.writable && other.holds() {
                    result = relay(other, own, &mut self.buffer);
                }
                if result.is_err() || (own.told && other.told) {
                    self.pairs[slot] = None;
                    self.free.push(slot);
                }
            }
        }
    }

    fn begin(&mut self, stream: TcpStream) -> io::Result<()> {
        let upstream = sockets::connect(self.to, None)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        self.poller.add_edges(&stream, slot as u64 * 2)?;
        self.poller.add_edges(&upstream, slot as u64 * 2 + 1)?;
        self.pairs[slot] = Some([Half::new(stream, self.splice)?, Half::new(upstream, self.splice)?]);
        Ok(())
    }
}

/// Moves what `from` has until it has no more or `to` takes no more.
fn relay(from: &mut Half, to: &mut Half, buffer: &mut [u8]) -> io::Result<()> {
    let done = match from.pipe {
        Some(_) => spliced(from, to)?,
        None => copied(from, to, buffer)?,
    };
    if done && !from.told {
        from.told = true;
        to.stream.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

/// True: nothing more will come.
fn copied(from: &mut Half, to: &mut Half, buffer: &mut [u8]) -> io::Result<bool> {
    loop {
        if !from.held.is_empty() {
            match taken(to.stream.write(&from.held))? {
                0 => return Ok(false),
                count => drop(from.held.drain(..count)),
            }
            continue;
        }
        if from.ended {
            return Ok(true);
        }
        let count = match from.stream.read(buffer) {
            Ok(0) => {
                from.ended = true;
                continue;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // Not connected yet.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        };
        let sent = taken(to.stream.write(&buffer[..count]))?;
        from.held.extend_from_slice(&buffer[sent..count]);
        if sent == count && count < buffer.len() && !from.closing {
            return Ok(false); // a short read: the socket is empty, and its next bytes make a new notice
        }
    }
}

/// True: nothing more will come.
fn spliced(from: &mut Half, to: &mut Half) -> io::Result<bool> {
    let Some((reader, writer)) = &from.pipe else {
        return Ok(false);
    };
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let moved = |result: rustix::io::Result<usize>| match result {
        Ok(count) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(io::Error::from(error)),
    };
    loop {
        while from.in_pipe > 0 {
            match moved(rustix::pipe::splice(
                reader,
                None,
                &to.stream,
                None,
                from.in_pipe,
                flags,
            ))? {
                Some(count) => from.in_pipe -= count,
                None => return Ok(false),
            }
        }
        if from.ended {
            return Ok(true);
        }
        match moved(rustix::pipe::splice(&from.stream, None, writer, None, BUFFER, flags))? {
            Some(0) => from.ended = true,
            Some(count) => from.in_pipe = count,
            None => return Ok(false),
        }
    }
}

fn taken(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(0),
        other => other,
    }
}
