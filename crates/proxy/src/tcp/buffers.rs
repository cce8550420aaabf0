//! Buffers lent for the length of a copy: a connection that waits holds none.

use std::cell::RefCell;

use super::splice::Pipes;

/// A round trip's worth. Most connections never need more.
pub(super) const SMALL: usize = 16 * 1024;
/// For bulk. Measured: sizes between are no better than the small one, because the kernel's own buffers then empty in fits.
pub(super) const LARGE: usize = 256 * 1024;
/// Buffers kept for the next borrower, of each size; the worker runs one copy at a time, and only a slow receiver keeps one longer.
const KEEP_SMALL: usize = 32;
const KEEP_LARGE: usize = 4;

/// The idle buffers of one worker.
#[derive(Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
    pub(crate) pipes: Pipes,
}

impl Buffers {
    pub(super) fn lend(&self, large: bool) -> Box<[u8]> {
        let (shelf, size) = if large {
            (&self.large, LARGE)
        } else {
            (&self.small, SMALL)
        };
        shelf
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    pub(super) fn give_back(&self, buffer: Box<[u8]>) {
        let (shelf, keep) = if buffer.len() == LARGE {
            (&self.large, KEEP_LARGE)
        } else {
            (&self.small, KEEP_SMALL)
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < keep {
            shelf.push(buffer);
        }
    }
}
