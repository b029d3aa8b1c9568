//! A non-blocking socket with what it has not taken yet.
//!
//! Runs in: a callgen worker. Owns the stream and its waiting bytes. Never lets more than [`WAITING_BYTES_MAX`] wait.
//! Invariant: bytes leave in the order in which they were given.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

/// More than this waiting: the relay has stopped reading, some 1600 frames ago.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// What reading gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes; `true` if there may be more.
    Bytes(usize, bool),
    /// Nothing now.
    Nothing,
    /// The peer has closed.
    End,
}

/// One socket.
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    waiting: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: Vec::new() }
    }

    /// Sends now what the socket takes, and keeps the rest.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.waiting.is_empty() { self.write(bytes)? } else { 0 };
        let rest = bytes.get(sent..).unwrap_or(&[]);
        if self.waiting.len() + rest.len() > WAITING_BYTES_MAX {
            return Err(io::Error::other("the relay stopped reading"));
        }
        self.waiting.extend_from_slice(rest);
        Ok(())
    }

    /// There is room again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let sent = self.write(&waiting)?;
            self.waiting = waiting;
            self.waiting.drain(..sent);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..)
            && !rest.is_empty()
        {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Reads once. A read that fills less than `into` has emptied the socket: the next bytes bring a new edge.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Got> {
        loop {
            return match self.stream.read(into) {
                Ok(0) => Ok(Got::End),
                Ok(n) => Ok(Got::Bytes(n, n == into.len())),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }
}
