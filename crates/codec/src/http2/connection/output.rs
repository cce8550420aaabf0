//! Bytes that wait to be written.

/// Beyond this, bodies wait in their streams' own hands.
pub(super) const FULL: usize = 64 * 1024;
/// Beyond this nothing more should be read: what the peer sends makes us answer, and it does not read the answers.
const CONGESTED: usize = 256 * 1024;
/// What the first bytes make room for.
const FIRST: usize = 2 * 1024;

#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes that were there before the first of `bytes`.
    before: u64,
}

impl Output {
    /// For appending.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST);
        }
        &mut self.bytes
    }

    /// Where the next byte will stand among all that were ever put in.
    pub(super) fn position(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    /// What was put in at that position and after it, if none of it has been written.
    pub(super) fn unwritten(&mut self, position: u64) -> Option<&mut [u8]> {
        let at = usize::try_from(position.checked_sub(self.before)?).ok()?;
        if at < self.written {
            return None;
        }
        self.bytes.get_mut(at..)
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// What more of bodies may be put in.
    pub(super) fn room(&self) -> usize {
        FULL.saturating_sub(self.bytes.len() - self.written)
    }

    pub(super) fn is_congested(&self) -> bool {
        self.bytes.len() - self.written >= CONGESTED
    }

    /// The first `n` bytes have been written. An output that is empty keeps its room only if it `is_busy`.
    pub(super) fn advance(&mut self, n: usize, is_busy: bool) {
        self.written += n;
        if self.written < self.bytes.len() {
            // A peer that reads slowly does not make the buffer grow by what it has read.
            if self.written >= FULL {
                self.bytes.drain(..self.written);
                self.before += self.written as u64;
                self.written = 0;
            }
            return;
        }
        self.before += self.written as u64;
        self.written = 0;
        self.bytes.clear();
        if !is_busy || self.bytes.capacity() > 2 * FULL {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
impl Output {
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
