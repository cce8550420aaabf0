//! Eight bytes at a time: where a text leaves what is plain, found in words of the machine and not byte by byte.
//!
//! Each function marks the bytes of a word that are not of its kind by their highest bits, and no others: no carry goes from one byte to the
//! next. The first byte of the text is the lowest one of its word.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = all(0x80);
const LOW: u64 = all(0x7f);

/// A word of eight times that byte.
const fn all(byte: u8) -> u64 {
    ONES * byte as u64
}

/// For a word of bytes below 0x80: marks those that are at least `least`, which is from 1 to 0x80.
const fn at_least(low: u64, least: u8) -> u64 {
    low + all(0x80 - least)
}

/// For a word of bytes below 0x80: marks those that are not `byte`.
const fn other_than(low: u64, byte: u8) -> u64 {
    (low ^ all(byte)) + LOW
}

/// Marks control characters, the tab among them.
pub(crate) const fn controls(word: u64) -> u64 {
    let low = word & LOW;
    let good = at_least(low, b' ') & other_than(low, 0x7f);
    !(good | word) & HIGH
}

/// Marks all but letters, digits, hyphens and dots: what nearly all names of fields and hosts are made of.
pub(crate) const fn besides_names(word: u64) -> u64 {
    let low = word & LOW;
    let lower = low | all(0x20);
    let letter = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let digit = at_least(low, b'0') & !at_least(low, b'9' + 1);
    let hyphen_or_dot = at_least(low, b'-') & !at_least(low, b'.' + 1);
    (!(letter | digit | hyphen_or_dot) | word) & HIGH
}

/// Marks what no request target may hold: spaces, control characters, `#`, `<` and `>`.
pub(crate) const fn besides_targets(word: u64) -> u64 {
    let low = word & LOW;
    // The two angle brackets differ in one bit.
    let good =
        at_least(low, b'!') & other_than(low, 0x7f) & other_than(low, b'#') & other_than(low | all(b'<' ^ b'>'), b'>');
    !(good | word) & HIGH
}

/// Marks spaces and control characters.
pub(crate) const fn blanks(word: u64) -> u64 {
    let low = word & LOW;
    let good = at_least(low, b'!') & other_than(low, 0x7f);
    !(good | word) & HIGH
}

/// Of the word's first bytes, so many as [`besides_names`] does not mark, the lower case; and how many they are.
#[inline]
pub(crate) const fn lower_name(word: u64) -> (u64, usize) {
    let end = besides_names(word);
    // All bits below the first mark's byte; all bits if there is none. A hyphen, a dot and a digit have the bit already.
    let before = ((end & end.wrapping_neg()) >> 7).wrapping_sub(1);
    (word | (all(0x20) & before), first(end))
}

/// Whether this is eight bytes of a name in lower case that [`besides_names`] does not mark.
pub(crate) const fn is_lower_name(word: u64) -> bool {
    let (lower, length) = lower_name(word);
    length == 8 && lower == word
}

/// How many bytes stand before the first that is marked: 8 if none is.
pub(crate) const fn first(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// How many bytes stand before the first that `marks` marks.
#[inline]
pub(crate) fn span(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return at + first(marked);
        }
        at += 8;
    }
    if rest.is_empty() {
        return at;
    }
    // The last eight bytes, of which some were looked at; or, of a shorter text, what there is before digits: they are of every kind.
    let (from, last) = match bytes.last_chunk::<8>() {
        Some(last) => (bytes.len() - 8, *last),
        None => {
            let mut last = [b'0'; 8];
            last[..rest.len()].copy_from_slice(rest);
            (0, last)
        }
    };
    bytes.len().min(from + first(marks(u64::from_le_bytes(last))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, marks, and the same byte by byte.
    type Kind = (&'static str, fn(u64) -> u64, fn(u8) -> bool);

    const KINDS: [Kind; 4] = [
        ("controls", controls, |byte| byte < b' ' || byte == 0x7f),
        ("besides_names", besides_names, |byte| {
            !(byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        }),
        ("besides_targets", besides_targets, |byte| {
            byte <= b' ' || matches!(byte, 0x7f | b'#' | b'<' | b'>')
        }),
        ("blanks", blanks, |byte| byte <= b' ' || byte == 0x7f),
    ];

    #[test]
    fn a_byte_is_marked_alone() {
        for (kind, marks, is_marked) in KINDS {
            for byte in 0..=u8::MAX {
                for beside in [0, b'0', b'a', 0x7f, 0xff] {
                    for at in 0..8 {
                        let mut word = [beside; 8];
                        word[at] = byte;
                        let expected = word.map(|byte| if is_marked(byte) { 0x80 } else { 0 });
                        assert_eq!(
                            marks(u64::from_le_bytes(word)).to_le_bytes(),
                            expected,
                            "{kind} {word:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_span_ends_at_the_first_mark() {
        for (kind, marks, _) in KINDS {
            for length in 0..40 {
                let plain = vec![b'a'; length];
                assert_eq!(span(&plain, marks), length, "{kind}");
                for at in 0..length {
                    for rest in [b'a', b'\n'] {
                        let mut text = plain.clone();
                        text[at] = b'\r';
                        text[at + 1..].fill(rest);
                        assert_eq!(span(&text, marks), at, "{kind} {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_become_lower_case_up_to_their_end() {
        for (word, lower, length) in [
            (b"Accept: ", b"accept: ", 6),
            (b"X-A.9Z-Q", b"x-a.9z-q", 8),
            (b": ABCDEF", b": ABCDEF", 0),
            (b"AB_CDEFG", b"ab_CDEFG", 2),
            (b"A\xe4BCDEFG", b"a\xe4BCDEFG", 1),
        ] {
            let expected = (u64::from_le_bytes(*lower), length);
            assert_eq!(lower_name(u64::from_le_bytes(*word)), expected);
        }
    }
}
