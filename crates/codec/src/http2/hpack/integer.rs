//! Integers with a prefix (RFC 7541 §5.1).

/// Larger than any length, index or size that we accept, small enough for sums of them.
const MAX: usize = (1 << 28) - 1;

/// Takes an integer whose first byte has `prefix` bits of it. `None`: cut off, or larger than anything we take.
pub(super) fn decode(input: &mut &[u8], prefix: u32) -> Option<usize> {
    let (first, mut rest) = input.split_first()?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            // Four more bytes hold what `MAX` allows; a fifth could only be padding with zeros.
            if shift > 21 {
                return None;
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    (value <= MAX).then_some(value)
}

/// Appends `value` with a first byte that holds `flags` above its `prefix` bits.
#[inline]
pub(super) fn encode(value: usize, prefix: u32, flags: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(flags | value as u8); // less than the prefix' 8 bits
        return;
    }
    out.push(flags | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8); // less than 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_and_the_borders() {
        for (value, prefix, bytes) in [
            (10, 5, &[10][..]),
            (1337, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 8, &[42]),
            (30, 5, &[30]),
            (31, 5, &[31, 0]),
            (254, 7, &[127, 127]),
            (255, 7, &[127, 0x80, 1]),
        ] {
            let mut out = Vec::new();
            encode(value, prefix, 0, &mut out);
            assert_eq!(out, bytes, "{value}");
            let mut input = bytes;
            assert_eq!(decode(&mut input, prefix), Some(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_none() {
        for bytes in [
            &[][..],
            &[31],
            &[31, 0x80],
            &[31, 0x80, 0x80, 0x80, 0x80, 0],
            &[31, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(decode(&mut &bytes[..], 5), None, "{bytes:?}");
        }
    }
}
