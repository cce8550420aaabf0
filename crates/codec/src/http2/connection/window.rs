//! Windows of flow control (RFC 9113 §5.2, §6.9).

use crate::http2::frame::LARGEST_WINDOW;

/// What we may send. It can be negative: the peer's settings take from windows that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        SendWindow(i64::from(size))
    }

    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `None`: larger than a window may be.
    #[must_use]
    pub(super) fn grow(&mut self, by: i64) -> Option<()> {
        let grown = self.0 + by;
        if grown > LARGEST_WINDOW {
            return None;
        }
        self.0 = grown;
        Some(())
    }

    pub(super) fn take(&mut self, n: usize) {
        self.0 -= n as i64; // no more than `available`
    }
}

/// What the peer may send, and what was consumed since it was last told.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    left: u32,
    consumed: u32,
    size: u32,
}

impl ReceiveWindow {
    pub(super) fn new(size: u32) -> Self {
        ReceiveWindow {
            left: size,
            consumed: 0,
            size,
        }
    }

    /// `None`: the peer sent more than it may.
    #[must_use]
    pub(super) fn receive(&mut self, n: usize) -> Option<()> {
        self.left = self.left.checked_sub(u32::try_from(n).ok()?)?;
        Some(())
    }

    /// Bytes have been consumed. Says by how much to open the window again, when that is worth a frame: half of it.
    #[inline]
    pub(super) fn consume(&mut self, n: usize) -> Option<u32> {
        self.consumed += n as u32; // what was received is less than a window
        if self.consumed < self.size / 2 || self.consumed == 0 {
            return None;
        }
        let increment = std::mem::take(&mut self.consumed);
        self.left += increment;
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_window_is_told_and_too_much_is_found_out() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.receive(100), Some(()));
        assert_eq!(window.receive(1), None);
        assert_eq!(window.consume(49), None);
        assert_eq!(window.consume(1), Some(50));
        assert_eq!(window.receive(51), None);
        assert_eq!(window.receive(50), Some(()));
    }

    #[test]
    fn a_send_window_may_be_negative_but_not_too_large() {
        let mut window = SendWindow::new(10);
        window.take(10);
        assert_eq!(window.grow(-20), Some(()));
        assert_eq!(window.available(), 0);
        assert_eq!(window.grow(25), Some(()));
        assert_eq!(window.available(), 5);
        assert_eq!(window.grow(LARGEST_WINDOW), None);
    }
}
