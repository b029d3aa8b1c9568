//! One direction of a null relay's call: messages of one size in, messages of another size out.
//!
//! Runs in: the null relay's thread. Owns the head of the message being read and what a full socket would not take.
//! Never reads on while bytes wait for the other side. Invariant: for every whole message in exactly one goes out,
//! with the same first 32 bytes.

use std::io::{ErrorKind, Read, Write};

use crate::floor::HEAD_BYTES;

/// Bytes asked for in one read: some dozen messages, so that a backlog costs one call.
const READ_BYTES: usize = 32 * 1024;
/// What the part of a message behind its head is filled with.
const FILLER: u8 = 0x5a;

/// Whether a pipe can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// Both sockets live.
    Open,
    /// One side ended or failed: the call is over.
    Closed,
}

/// The thread's two work areas, shared by every pipe.
pub(super) struct Scratch {
    read: Vec<u8>,
    write: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { read: vec![0; READ_BYTES], write: Vec::with_capacity(4 * READ_BYTES) }
    }
}

/// One direction.
pub(super) struct Pipe {
    bytes_in: usize,
    bytes_out: usize,
    /// Bytes of the current message that were read already.
    filled: usize,
    head: [u8; HEAD_BYTES],
    /// Bytes the destination has not taken yet; empty in the normal case.
    pending: Vec<u8>,
}

impl Pipe {
    /// A pipe that turns messages of `bytes_in` into messages of `bytes_out`, both at least [`HEAD_BYTES`].
    pub(super) fn new(bytes_in: usize, bytes_out: usize) -> Self {
        Self { bytes_in, bytes_out, filled: 0, head: [0; HEAD_BYTES], pending: Vec::new() }
    }

    /// The destination has room again.
    pub(super) fn writable(
        &mut self,
        from: &mut impl Read,
        into: &mut impl Write,
        scratch: &mut Scratch,
    ) -> Pumped {
        if self.pending.is_empty() {
            return Pumped::Open;
        }
        match write_some(into, &self.pending) {
            Some(written) => {
                self.pending.drain(..written.min(self.pending.len()));
            }
            None => return Pumped::Closed,
        }
        if self.pending.is_empty() { self.pump(from, into, scratch) } else { Pumped::Open }
    }

    /// Reads what there is and writes what follows from it.
    pub(super) fn pump(
        &mut self,
        from: &mut impl Read,
        into: &mut impl Write,
        scratch: &mut Scratch,
    ) -> Pumped {
        while self.pending.is_empty() {
            let n = match from.read(&mut scratch.read) {
                Ok(0) => return Pumped::Closed,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Pumped::Open,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Pumped::Closed,
            };
            let Scratch { read, write } = scratch;
            self.convert(read.get(..n).unwrap_or(&[]), write);
            if !write.is_empty() {
                let Some(written) = write_some(into, write) else { return Pumped::Closed };
                self.pending.extend_from_slice(write.get(written..).unwrap_or(&[]));
            }
            if n < READ_BYTES {
                return Pumped::Open;
            }
        }
        Pumped::Open
    }

    /// Appends to `out` (emptied first) one message for each message that `bytes` completes.
    fn convert(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        out.clear();
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.bytes_in - self.filled));
            if let Some(head) = self.head.get_mut(self.filled..) {
                let n = head.len().min(now.len());
                head.iter_mut().zip(now).take(n).for_each(|(to, from)| *to = *from);
            }
            self.filled += now.len();
            bytes = rest;
            if self.filled == self.bytes_in {
                self.filled = 0;
                out.extend_from_slice(&self.head);
                out.resize(out.len() + self.bytes_out - HEAD_BYTES, FILLER);
            }
        }
    }
}

/// Writes once; `None` when the socket is dead, else how many bytes it took (0 when it is full or not yet connected).
fn write_some(into: &mut impl Write, bytes: &[u8]) -> Option<usize> {
    loop {
        match into.write(bytes) {
            Ok(n) => return Some(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::NotConnected => {
                return Some(0);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_in_gives_one_out_with_the_same_head_whatever_the_chunking() {
        let mut input = Vec::new();
        for message in 0..10u8 {
            input.extend((0..48u8).map(|i| message ^ i));
        }
        for chunk in [1, 7, 31, 32, 33, 48, 100, 480] {
            let mut pipe = Pipe::new(48, 80);
            let (mut out, mut all) = (Vec::new(), Vec::new());
            for bytes in input.chunks(chunk) {
                pipe.convert(bytes, &mut out);
                all.extend_from_slice(&out);
            }
            assert_eq!(all.len(), 10 * 80, "chunks of {chunk}");
            for (message, bytes) in all.chunks(80).enumerate() {
                assert!(bytes[..32].iter().enumerate().all(|(i, b)| usize::from(*b) == message ^ i));
                assert!(bytes[32..].iter().all(|b| *b == FILLER));
            }
        }
    }

    #[test]
    fn a_short_read_is_not_followed_by_another_and_a_full_destination_stops_reading() {
        struct Source(u32);
        impl Read for Source {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0 += 1;
                into[..48].fill(7);
                Ok(48)
            }
        }
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut scratch, mut source) = (Scratch::new(), Source(0));
        let mut pipe = Pipe::new(48, 80);
        assert_eq!(pipe.pump(&mut source, &mut Vec::new(), &mut scratch), Pumped::Open);
        assert_eq!(source.0, 1);
        assert_eq!(pipe.pump(&mut source, &mut Full, &mut scratch), Pumped::Open);
        assert_eq!(pipe.pump(&mut source, &mut Full, &mut scratch), Pumped::Open);
        assert_eq!(source.0, 2, "nothing is read while a message waits");
        let mut taken = Vec::new();
        assert_eq!(pipe.writable(&mut source, &mut taken, &mut scratch), Pumped::Open);
        assert_eq!((source.0, taken.len()), (3, 160), "the waiting message, then the next");
    }
}
