//! Buffers of one worker's thread, lent while there is something in them.

use std::cell::RefCell;

use crate::head::Headers;

/// A read: most messages, heads and all, are smaller.
pub(super) const SMALL: usize = 16 * 1024;
/// A read within a body that keeps filling the small one.
pub(super) const LARGE: usize = 256 * 1024;
/// A head and a small body leave in one write out of a buffer that need not grow for it.
const OUTPUT: usize = 4 * 1024;
/// An output that has grown beyond this is not kept.
const OUTPUT_KEPT: usize = 64 * 1024;
/// Heads of more fields, or with room for more bytes, are not kept: one large head must not cost its memory for ever.
const FIELDS_KEPT: usize = 64;
const FIELD_BYTES_KEPT: usize = 16 * 1024;

/// Idle buffers kept of each kind.
const KEEP: usize = 64;
const KEEP_LARGE: usize = 4;

#[derive(Default)]
struct Shelf {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    outputs: Vec<Vec<u8>>,
    headers: Vec<Headers>,
}

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

/// Room for a read.
pub(super) fn lend_input(large: bool) -> Box<[u8]> {
    let kept = SHELF.with_borrow_mut(|shelf| if large { shelf.large.pop() } else { shelf.small.pop() });
    kept.unwrap_or_else(|| vec![0; if large { LARGE } else { SMALL }].into_boxed_slice())
}

/// Buffers of other sizes (for a head that needed more) are dropped.
pub(super) fn return_input(buffer: Box<[u8]>) {
    SHELF.with_borrow_mut(|shelf| match buffer.len() {
        SMALL => keep(&mut shelf.small, buffer, KEEP),
        LARGE => keep(&mut shelf.large, buffer, KEEP_LARGE),
        _ => {}
    });
}

pub(super) fn lend_output() -> Vec<u8> {
    let kept = SHELF.with_borrow_mut(|shelf| shelf.outputs.pop());
    kept.unwrap_or_else(|| Vec::with_capacity(OUTPUT))
}

pub(super) fn return_output(mut buffer: Vec<u8>) {
    buffer.clear();
    if (1..=OUTPUT_KEPT).contains(&buffer.capacity()) {
        SHELF.with_borrow_mut(|shelf| keep(&mut shelf.outputs, buffer, KEEP));
    }
}

/// Room for the fields of a head.
pub(in crate::http) fn lend_headers() -> Headers {
    let kept = SHELF.with_borrow_mut(|shelf| shelf.headers.pop());
    kept.unwrap_or_else(|| Headers::with_capacity(24, 1024))
}

pub(in crate::http) fn return_headers(mut headers: Headers) {
    if headers.len() <= FIELDS_KEPT && headers.room() <= FIELD_BYTES_KEPT {
        headers.clear();
        SHELF.with_borrow_mut(|shelf| keep(&mut shelf.headers, headers, KEEP));
    }
}

fn keep<T>(shelf: &mut Vec<T>, item: T, most: usize) {
    if shelf.len() < most {
        shelf.push(item);
    }
}
