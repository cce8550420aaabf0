//! Counting the messages of a gRPC stream as its bytes pass: a flag byte, four bytes of length, the message.

#[derive(Default)]
pub(super) struct MessageCounter {
    messages: u64,
    /// Bytes of the current message still to come.
    left: usize,
    prefix: [u8; 5],
    prefix_len: usize,
}

impl MessageCounter {
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn feed(&mut self, mut data: &[u8]) {
        while let Some(&byte) = data.first() {
            if self.left > 0 {
                let skip = self.left.min(data.len());
                self.left -= skip;
                data = &data[skip..];
                continue;
            }
            self.prefix[self.prefix_len] = byte;
            self.prefix_len += 1;
            data = &data[1..];
            if self.prefix_len == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.prefix_len = 0;
                self.messages += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_over_any_fragmentation() {
        let mut stream = Vec::new();
        for length in [0u32, 3, 300] {
            stream.push(0);
            stream.extend_from_slice(&length.to_be_bytes());
            stream.extend(std::iter::repeat_n(7, length as usize));
        }
        for chunk in [1, 2, 5, 1000] {
            let mut counter = MessageCounter::default();
            stream.chunks(chunk).for_each(|part| counter.feed(part));
            assert_eq!(counter.messages(), 3, "chunks of {chunk}");
        }
    }
}
