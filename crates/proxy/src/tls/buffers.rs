//! The buffers: those of the worker, lent for the length of a call, and what a connection keeps between calls.

use std::cell::RefCell;

/// Most plaintext that one write takes: four full records.
pub(super) const MOST_PLAIN: usize = 4 * RECORD;
/// Most ciphertext that one read takes.
pub(super) const MOST_READ: usize = 16 * WIRE_RECORD;
/// Plaintext of a full record.
pub(super) const RECORD: usize = 16 * 1024;
/// A full record on the wire, whatever the cipher adds.
pub(super) const WIRE_RECORD: usize = RECORD + 256;
/// Ciphertext that waits and is no more than this leaves with the next write; more must leave before anything else is taken.
pub(super) const WAITING: usize = 8 * 1024;
/// Most bytes of messages that are not complete: rustls allows handshake messages of 64 KiB.
pub(super) const MOST_PARTIAL: usize = 80 * 1024;

/// A side's messages of a handshake, which come one by one and leave together.
const FLIGHT: usize = 2048;

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; MOST_PARTIAL + MOST_READ]);
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static WRITE: RefCell<Vec<u8>> = RefCell::new(vec![0; WAITING + MOST_PLAIN / RECORD * WIRE_RECORD + WIRE_RECORD]);
}

/// Where ciphertext arrives and is decrypted.
pub(super) fn with_read<T>(run: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|buffer| run(buffer))
}

/// Where ciphertext is made.
pub(super) fn with_write<T>(run: impl FnOnce(&mut [u8]) -> T) -> T {
    WRITE.with_borrow_mut(|buffer| run(buffer))
}

/// Where plaintext in pieces becomes one.
pub(super) fn with_plain<T>(run: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    PLAIN.with_borrow_mut(|buffer| {
        buffer.clear();
        run(buffer)
    })
}

/// Bytes that wait. Empty, it owns no memory.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    start: usize,
}

// === impl Held ===

impl Held {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn add(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// Room for so many more bytes, to be filled at once.
    pub(super) fn extend(&mut self, length: usize) -> &mut [u8] {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(length.max(FLIGHT));
        }
        let end = self.bytes.len();
        self.bytes.resize(end + length, 0);
        &mut self.bytes[end..]
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
        if self.is_empty() {
            *self = Held::default();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Held::default();
    }
}
