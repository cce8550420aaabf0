//! Changes to examples, as libFuzzer makes them but without looking at what they reach: cheap, and the same for the same seed.

use fastrand::Rng;

/// What parsers treat in a way of its own.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"-1",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\x80",
];

/// Longest input that is made.
const MAX_LENGTH: usize = 4096;

/// Some changes to `input`, with parts of `other`.
pub fn mutate(input: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(MAX_LENGTH);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(0..=bytes.len());
    let end = at + random.usize(0..=(bytes.len() - at).min(32));
    match random.u8(0..8) {
        0 => replace(bytes, at, end, &[]),
        1 => replace(bytes, at, at, WORDS[random.usize(0..WORDS.len())]),
        2 => replace(bytes, at, end, WORDS[random.usize(0..WORDS.len())]),
        3 => {
            let again = bytes[at..end].to_vec();
            replace(bytes, end, end, &again);
        }
        4 => replace(bytes, at, end, piece(other, random)),
        5 => bytes.truncate(at),
        6 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.u8(0..8);
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.u8(..);
            }
        }
    }
}

fn replace(bytes: &mut Vec<u8>, from: usize, to: usize, by: &[u8]) {
    bytes.splice(from..to, by.iter().copied());
}

fn piece<'a>(other: &'a [u8], random: &mut Rng) -> &'a [u8] {
    let from = random.usize(0..=other.len());
    let to = from + random.usize(0..=(other.len() - from).min(64));
    &other[from..to]
}
