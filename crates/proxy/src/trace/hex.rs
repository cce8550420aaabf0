//! Identifiers as text: lower-case hexadecimal digits.

/// Fills `text` with the last digits of `value`.
pub(super) fn write(mut value: u128, text: &mut [u8]) {
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// 32 digits, or 16 if the upper half is zero.
pub(super) fn trace(id: u128, text: &mut [u8; 32]) -> &[u8] {
    write(id, text);
    let narrow = if id >> 64 == 0 { 16 } else { 0 };
    &text[narrow..]
}

pub(super) fn span(id: u64, text: &mut [u8; 16]) -> &[u8] {
    write(id.into(), text);
    text
}

/// One to 32 digits of either case; no sign.
pub(super) fn read(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && text.len() <= 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        let mut text = [0; 32];
        for (id, expected) in [
            (0x0a, "000000000000000a"),
            (1 << 64, "00000000000000010000000000000000"),
        ] {
            let text = std::str::from_utf8(trace(id, &mut text)).expect("digits").to_owned();
            assert_eq!(text, expected);
            assert_eq!(read(&text), Some(id));
        }
        for wrong in ["", "+1", "g", &"1".repeat(33)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
