//! Bulk between two bare TCP sockets: through a pipe, inside the kernel, without a copy.
//!
//! A small message costs more this way (a read and a write, and the pipe's own two steps), so a direction is spliced only while it
//! carries much: [`Streak`] tells. The pipe is lent for as long as there is something in it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipes kept for the next borrower.
const KEEP: usize = 4;
/// Pipes in use at a time; who asks for more copies. Each is two descriptors, which the limit of connections does not count.
const MOST: usize = 32;
/// What a pipe holds, if the system's limits allow.
const SIZE: usize = 256 * 1024;

/// Bytes without a pause after which splicing pays.
const BULK: u64 = 512 * 1024;
/// A read that brings less ends the streak.
const PAUSE: usize = 4096;

/// The pipes of one worker.
#[derive(Default)]
pub(crate) struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    lent: Rc<Cell<usize>>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe in use. Dropped, it is closed, with what is in it.
pub(crate) struct LentPipe {
    pipe: Pipe,
    filled: usize,
    _count: Count,
}

struct Count(Rc<Cell<usize>>);

/// How much came in a row.
#[derive(Default)]
pub(super) struct Streak {
    bytes: u64,
    impossible: bool,
}

// === impl Pipes ===

impl Pipes {
    /// `None`: too many are in use, or the system gives none.
    pub(crate) fn lend(&self) -> Option<LentPipe> {
        if self.lent.get() >= MOST {
            return None;
        }
        let kept = self.idle.borrow_mut().pop();
        let pipe = kept.or_else(|| Pipe::new().ok())?;
        self.lent.set(self.lent.get() + 1);
        Some(LentPipe {
            pipe,
            filled: 0,
            _count: Count(self.lent.clone()),
        })
    }

    /// Takes a pipe back, if there is nothing in it.
    pub(crate) fn give_back(&self, lent: LentPipe) {
        let mut idle = self.idle.borrow_mut();
        if lent.filled == 0 && idle.len() < KEEP {
            idle.push(lent.pipe);
        }
    }
}

#[cfg(test)]
impl Pipes {
    /// Idle ones, and those in use.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.idle.borrow().len(), self.lent.get())
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&write, SIZE); // the usual 64 KiB do as well
        Ok(Pipe { read, write })
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

// === impl LentPipe ===

impl LentPipe {
    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes in it.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Takes what the socket has, up to `most` bytes; 0 at its end. The pipe is empty before.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream, most: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || step(from, &self.pipe.write, most.min(SIZE)));
            if let Some(moved) = unless_blocked(moved) {
                self.filled = *moved.as_ref().unwrap_or(&0);
                return Poll::Ready(moved);
            }
        }
    }

    /// Hands what is in the pipe to the socket, or part of it.
    pub(crate) fn poll_empty(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || step(&self.pipe.read, to, self.filled));
            if let Some(moved) = unless_blocked(moved) {
                self.filled -= *moved.as_ref().unwrap_or(&0);
                return Poll::Ready(moved);
            }
        }
    }
}

fn step(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, length, flags)?)
}

/// `None`: not now; the event loop tells when.
fn unless_blocked(moved: io::Result<usize>) -> Option<io::Result<usize>> {
    match moved {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        moved => Some(moved),
    }
}

/// The system does not splice these sockets; copying will do.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

// === impl Streak ===

impl Streak {
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes = if bytes < PAUSE { 0 } else { self.bytes + bytes as u64 };
    }

    /// Whether what comes next is likely to be bulk.
    pub(super) fn is_bulk(&self) -> bool {
        self.bytes >= BULK && !self.impossible
    }

    /// Never again on this connection.
    pub(super) fn give_up(&mut self) {
        self.impossible = true;
    }
}
