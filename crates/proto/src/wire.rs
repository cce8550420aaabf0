//! Encoded messages, field by field, without knowing what they are.

use std::ops::Range;

/// Where one field lies in the encoded message.
pub struct Field {
    pub number: u32,
    pub whole: Range<usize>,
    pub payload: Range<usize>,
}

impl Field {
    /// The field that starts there.
    pub fn read(bytes: &[u8], start: usize) -> Option<Field> {
        let mut at = start;
        let tag = varint(bytes, &mut at)?;
        let begin = match tag & 7 {
            0 => {
                let begin = at;
                varint(bytes, &mut at)?;
                begin
            }
            1 => {
                at += 8;
                at - 8
            }
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
                let begin = at;
                at = at.checked_add(length)?;
                begin
            }
            5 => {
                at += 4;
                at - 4
            }
            _ => return None,
        };
        (at <= bytes.len()).then_some(Field {
            number: (tag >> 3) as u32,
            whole: start..at,
            payload: begin..at,
        })
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of an encoded message, in order; ends at bytes that are none.
pub fn fields(bytes: &[u8]) -> impl Iterator<Item = Field> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let field = Field::read(bytes, at)?;
        at = field.whole.end;
        Some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_what_is_none_ends_them() {
        let found = |bytes: &[u8]| {
            fields(bytes)
                .map(|field| (field.number, field.payload))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&[8, 1, 18, 2, 7, 7]), [(1, 1..2), (2, 4..6)]);
        for bad in [&[8][..], &[18, 9, 1], &[0xff; 12], &[11, 0]] {
            assert_eq!(found(bad), [], "{bad:?}");
        }
    }
}
