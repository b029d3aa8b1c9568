//! Texts to a server as frames of a WebSocket (RFC 6455 section 5.2), made in one buffer for all links of a thread.
//!
//! Runs in: the gemini thread. Owns the buffer and the keys of the next masks. Never allocates once the buffer has grown.
//! Invariant: each frame has a mask of its own that nobody can foresee (section 10.3).
//!
//! tungstenite takes a message by value and copies it behind a head into a buffer of the connection: an allocation, a free,
//! a copy and a kept buffer more. It still makes every other message (`net::websocket`).

use crate::sync::random;

/// A final frame with a text.
const FINAL_TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
const KEY_BYTES: usize = 4;
/// Keys that are drawn with one system call.
const KEYS: usize = 256;

/// See the head of this file.
pub struct Outgoing {
    frame: Vec<u8>,
    keys: Box<[[u8; KEY_BYTES]; KEYS]>,
    used: usize,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { frame: Vec::new(), keys: Box::new([[0; KEY_BYTES]; KEYS]), used: KEYS }
    }
}

impl Outgoing {
    /// The frame of a text.
    pub(super) fn text(&mut self, text: &[u8]) -> &[u8] {
        let key = self.next_key();
        self.frame.clear();
        self.frame.push(FINAL_TEXT);
        let length = text.len() as u64;
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => self.frame.push(MASKED | short),
            (_, Ok(middle)) => {
                self.frame.push(MASKED | 126);
                self.frame.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                self.frame.push(MASKED | 127);
                self.frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        self.frame.extend_from_slice(&key);
        let head = self.frame.len();
        self.frame.extend_from_slice(text);
        mask(&mut self.frame[head..], key);
        &self.frame
    }

    fn next_key(&mut self) -> [u8; KEY_BYTES] {
        if self.used == KEYS {
            let drawn = random::bytes::<{ KEYS * KEY_BYTES }>();
            self.keys.copy_from_slice(drawn.as_chunks().0);
            self.used = 0;
        }
        self.used += 1;
        self.keys[self.used - 1]
    }
}

/// In lanes of four keys, which the compiler makes one operation.
fn mask(payload: &mut [u8], key: [u8; KEY_BYTES]) {
    let keys: [u8; 16] = std::array::from_fn(|n| key[n % KEY_BYTES]);
    let (lanes, rest) = payload.as_chunks_mut::<16>();
    for lane in lanes {
        for (byte, key) in lane.iter_mut().zip(keys) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(keys) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameSocket;

    use super::*;

    #[test]
    fn tungstenite_reads_texts_of_every_kind_of_length_and_no_two_masks_are_the_same() {
        let mut outgoing = Outgoing::default();
        let mut keys = std::collections::HashSet::new();
        for length in (0..40).chain([125, 126, 127, 853, 65_535, 65_536, 100_000]).cycle().take(600) {
            let text: Vec<u8> = (0..length).map(|n| b'a' + (n % 26) as u8).collect();
            let bytes = outgoing.text(&text).to_vec();
            let mut socket = FrameSocket::new(Cursor::new(bytes));
            let frame = socket.read(None).expect("a frame").expect("a whole one");
            let key = frame.header().mask.expect("it is masked");
            assert!(frame.header().is_final && keys.insert(key), "{length}");
            let mut payload = frame.into_payload().to_vec();
            mask(&mut payload, key);
            assert_eq!(payload, text);
            let (rest, buffered) = socket.into_inner();
            assert_eq!((rest.position() as usize, buffered.len()), (rest.get_ref().len(), 0));
        }
    }
}
