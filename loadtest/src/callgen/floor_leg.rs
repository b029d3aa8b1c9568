//! The leg of a floor call: raw messages of the real sizes, with number and time in their first bytes.
//!
//! Runs in: a callgen worker; pure. Owns the head of an unfinished message. Never looks behind the head.
//! Invariant: the sizes and the form of the head are those of [`crate::floor`].

use crate::floor::{DOWNLINK_LEG_BYTES, HEAD_BYTES, UPLINK_LEG_BYTES};

/// Marks a head as ours.
const MAGIC: u64 = u64::from_le_bytes(*b"floormsg");

/// What the head of a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Number of the message within its call.
    pub(super) number: u64,
    /// When it was sent, in ns.
    pub(super) sent_ns: u64,
    /// The call it belongs to.
    pub(super) call: u64,
}

/// Writes the message with `head` into `wire`, which is emptied before.
pub(super) fn write_message(wire: &mut Vec<u8>, head: Head) {
    wire.clear();
    for word in [head.number, head.sent_ns, head.call, MAGIC] {
        wire.extend_from_slice(&word.to_le_bytes());
    }
    wire.resize(UPLINK_LEG_BYTES, 0xa5);
}

/// Finds the messages in the bytes received.
#[derive(Debug, Default)]
pub(super) struct FloorReader {
    filled: usize,
    head: [u8; HEAD_BYTES],
}

impl FloorReader {
    /// Takes `bytes` and calls `message` for each message completed, with `None` if its head is not ours.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut message: impl FnMut(Option<Head>)) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(DOWNLINK_LEG_BYTES - self.filled));
            if let Some(head) = self.head.get_mut(self.filled..) {
                head.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            }
            self.filled += now.len();
            bytes = rest;
            if self.filled == DOWNLINK_LEG_BYTES {
                self.filled = 0;
                let (words, _) = self.head.as_chunks::<8>();
                let word = |i: usize| words.get(i).map_or(0, |bytes| u64::from_le_bytes(*bytes));
                let head = Head { number: word(0), sent_ns: word(1), call: word(2) };
                message((word(3) == MAGIC).then_some(head));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_back_whatever_the_chunking() {
        let mut stream = Vec::new();
        let mut wire = Vec::new();
        let head = |number| Head { number, sent_ns: 1 << 40, call: 7 };
        for number in 0..5 {
            write_message(&mut wire, head(number));
            assert_eq!(wire.len(), UPLINK_LEG_BYTES);
            wire.truncate(HEAD_BYTES);
            wire.resize(DOWNLINK_LEG_BYTES, 1);
            stream.extend_from_slice(&wire);
        }
        stream.extend([0; DOWNLINK_LEG_BYTES]);
        for chunk in [1, 31, 33, 644, 5000] {
            let (mut reader, mut got) = (FloorReader::default(), Vec::new());
            stream.chunks(chunk).for_each(|bytes| reader.push(bytes, |head| got.push(head)));
            let expected: Vec<Option<Head>> = (0..5).map(|n| Some(head(n))).chain([None]).collect();
            assert_eq!(got, expected, "chunks of {chunk}");
        }
    }
}
