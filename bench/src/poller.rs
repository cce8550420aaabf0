//! Waiting for many sockets: epoll, level-triggered, so that a program may read once for each notice and leave the rest.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Notices taken from the kernel at once.
const BATCH: usize = 512;

pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    pub token: u64,
    /// Something can be read, or the peer closed, or the connection failed: a read tells which.
    pub readable: bool,
    pub writable: bool,
    /// The peer will send no more; what it sent before can still be read.
    pub closing: bool,
}

/// What a socket is watched for besides failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    Both,
    Neither,
}

impl Interest {
    pub fn of(read: bool, write: bool) -> Self {
        match (read, write) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Read,
            (false, true) => Interest::Write,
            (false, false) => Interest::Neither,
        }
    }

    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::Both => EventFlags::IN | EventFlags::OUT,
            Interest::Neither => EventFlags::empty(),
        }
    }
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(BATCH),
        })
    }

    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    /// Watches for changes of state only: a notice is not repeated.
    pub fn add_edges(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?;
        Ok(())
    }

    pub fn modify(&self, socket: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(token), interest.flags())?;
        Ok(())
    }

    /// Waits for the next notices. The time limit has the resolution of the clock, not of milliseconds.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many notices the last wait brought.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// One of them; they are taken by index so that the poller stays free for changes meanwhile.
    pub fn notice(&self, index: usize) -> Notice {
        let Event { flags, data } = self.events[index];
        let failed = EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
        Notice {
            token: data.u64(),
            readable: flags.intersects(EventFlags::IN | failed),
            writable: flags.contains(EventFlags::OUT),
            closing: flags.intersects(failed),
        }
    }
}
