//! The Huffman code of RFC 7541, Appendix B.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, so the lengths are all there is to know and
//! everything else is worked out from them when this is compiled. What is common in headers has codes of 5 to 8 bits, which one look into
//! a table of 256 decodes; longer codes are found by comparing with the last code of each length. We only decode: to a neighbour on a
//! fast network plain octets cost both sides less.

/// Bits of each symbol's code; the last one is the end of string, which never occurs in a string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;
/// Codes no longer than this are decoded by one look.
const SHORT: usize = 8;

struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// Per length: the code after the last one of that length, moved to the top of 32 bits.
    end: [u64; LONGEST + 1],
    /// Per length: what to add to a code to get its place in `symbols`.
    offset: [i32; LONGEST + 1],
    /// By the first 8 bits: symbol and length; length 0 where the code is longer.
    short: [(u8, u8); 1 << SHORT],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code {
        symbols: [0; 257],
        end: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        short: [(0, 0); 1 << SHORT],
    };
    let (mut next, mut place, mut length) = (0u32, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.offset[length] = place as i32 - next as i32;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                if length <= SHORT {
                    let first = (next as usize) << (SHORT - length);
                    let mut at = first;
                    while at < first + (1 << (SHORT - length)) {
                        code.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                place += 1;
                next += 1;
            }
            symbol += 1;
        }
        code.end[length] = (next as u64) << (32 - length);
        length += 1;
    }
    code
}

/// Appends what `coded` stands for. `None`: no such code, the end of string in it, or padding that is none (RFC 7541 §5.2).
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The shortest code has 5 bits.
    out.reserve(coded.len() * 8 / 5);
    let mut bits = Bits::new(coded);
    loop {
        bits.fill();
        // Two of the common codes fit into what a fill guarantees, and many more usually do.
        while bits.count >= LONGEST {
            out.push(bits.symbol()?);
        }
        if bits.rest.is_empty() {
            break;
        }
    }
    while bits.count >= SHORT {
        out.push(bits.symbol()?);
    }
    while bits.count > 0 {
        // What is left is the padding: fewer than 8 bits of the code for the end, which are all ones.
        if bits.is_all_ones() {
            return Some(());
        }
        out.push(bits.symbol()?);
    }
    Some(())
}

/// Bits yet to be decoded, the next one on top.
struct Bits<'a> {
    window: u64,
    count: usize,
    rest: &'a [u8],
}

impl<'a> Bits<'a> {
    fn new(coded: &'a [u8]) -> Self {
        Bits {
            window: 0,
            count: 0,
            rest: coded,
        }
    }

    fn fill(&mut self) {
        if let (Some((word, rest)), true) = (self.rest.split_first_chunk::<4>(), self.count <= 32) {
            self.window |= u64::from(u32::from_be_bytes(*word)) << (32 - self.count);
            self.count += 32;
            self.rest = rest;
            return;
        }
        while let (Some((byte, rest)), true) = (self.rest.split_first(), self.count <= 56) {
            self.window |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.rest = rest;
        }
    }

    /// Takes a symbol; `None` if the bits are no code, or not all of one.
    #[inline]
    fn symbol(&mut self) -> Option<u8> {
        let (symbol, length) = CODE.short[(self.window >> 56) as usize];
        if length > 0 && usize::from(length) <= self.count {
            self.take(usize::from(length));
            return Some(symbol);
        }
        self.long_symbol()
    }

    #[cold]
    fn long_symbol(&mut self) -> Option<u8> {
        let top = self.window >> 32;
        let length = (SHORT + 1..=LONGEST).find(|length| top < CODE.end[*length])?;
        if length > self.count {
            return None;
        }
        let code = (self.window >> (64 - length)) as i32;
        self.take(length);
        let place = usize::try_from(code + CODE.offset[length]).ok()?;
        u8::try_from(*CODE.symbols.get(place)?).ok()
    }

    fn take(&mut self, bits: usize) {
        self.window <<= bits;
        self.count -= bits;
    }

    fn is_all_ones(&self) -> bool {
        self.count < 8 && self.window >> (64 - self.count) == (1 << self.count) - 1
    }
}

/// For tests and fuzzing: what a peer that compresses would send.
#[cfg(test)]
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut count) = (0u64, 0);
    for byte in text {
        let place = CODE
            .symbols
            .iter()
            .position(|symbol| *symbol == u16::from(*byte))
            .expect("every byte has a code");
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let code = (place as i32 - CODE.offset[length]) as u64;
        window = window << length | code;
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((window >> count) as u8);
        }
    }
    if count > 0 {
        out.push((window << (8 - count)) as u8 | (0xff >> count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex"))
            .collect()
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_strings_of_the_specification() {
        for (coded, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            ("6402", "302"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"),
            ("", ""),
        ] {
            assert_eq!(decoded(&hex(coded)).as_deref(), Some(text.as_bytes()), "{text}");
            let mut again = Vec::new();
            encode(text.as_bytes(), &mut again);
            assert_eq!(again, hex(coded), "{text}");
        }
    }

    #[test]
    fn every_byte_in_every_place() {
        for byte in 0..=255u8 {
            for before in 0..9 {
                let mut text = vec![b'0'; before];
                text.extend([byte, b'a', byte]);
                let mut coded = Vec::new();
                encode(&text, &mut coded);
                assert_eq!(decoded(&coded), Some(text), "{byte} after {before}");
            }
        }
    }

    #[test]
    fn no_code_and_no_padding() {
        for coded in [
            "ff",             // eight bits of padding
            "1fff",           // a symbol, and more padding than one may
            "ffff ffff",      // the end of string
            "ffff fffc ffff", // the end of string between others
            "00",             // padding of zeros: '0' and three bits
            "a8eb 1064 9cbe", // one wrong bit of padding
        ] {
            assert_eq!(decoded(&hex(coded)), None, "{coded}");
        }
    }
}
