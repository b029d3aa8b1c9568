//! A non-blocking TCP socket that knows when reading on is pointless, or more than its share. TLS lies above it, if there is any.
//!
//! Runs in: the dial, accept, tls, telephony and gemini threads. Owns a socket, which whoever made it has set non-blocking.
//! Invariant: once registered, the socket is empty after a read that brought less than was asked for (epoll(7), "the
//! read/write I/O space is exhausted"), so the next read says `WouldBlock` without a system call until
//! [`Socket::rearm`]; and no more is read of the peer than [`Socket::allow`] allowed, whatever reads, and however often it
//! tries.

use std::cell::RefCell;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// Whoever reads offers little room: tungstenite what its buffer happens to have left, often a few bytes, and OpenSSL the
/// five bytes of a record's head and then the record. With this much more, one system call fetches the message and
/// proves that the socket is empty.
const SPILL_BYTES: usize = 4096;

thread_local! {
    /// One for all sockets of a thread: what a read leaves in it is taken out at once. Made for each read, it would be
    /// filled with zeros each time.
    static SPILL: RefCell<[u8; SPILL_BYTES]> = const { RefCell::new([0; SPILL_BYTES]) };
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    /// A poll reports new bytes, so that a read may be left out.
    registered: bool,
    drained: bool,
    ending: bool,
    /// Bytes that may still be read in this pass.
    allowance: usize,
    /// A read was refused because the allowance was used up.
    cut_short: bool,
    /// What a read brought beyond the room that it was given, from `spilled_taken` on.
    spilled: Vec<u8>,
    spilled_taken: usize,
    /// System calls that read.
    #[cfg(test)]
    pub(super) reads: usize,
}

impl Socket {
    /// A socket that no poll knows yet.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            registered: false,
            drained: false,
            ending: false,
            allowance: usize::MAX,
            cut_short: false,
            spilled: Vec::new(),
            spilled_taken: 0,
            #[cfg(test)]
            reads: 0,
        }
    }

    /// The system's socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// See [`super::stream::Stream::register`].
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.tcp.as_raw_fd()), token, interest)?;
        // The poll reports anew whatever is there already.
        (self.registered, self.drained, self.ending) = (true, false, false);
        Ok(())
    }

    /// See [`super::stream::Stream::allow`].
    pub(super) fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
        self.cut_short = false;
    }

    /// See [`super::stream::Stream::is_cut_short`].
    pub(super) fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// See [`super::stream::Stream::rearm`].
    pub(super) fn rearm(&mut self, ending: bool) {
        self.drained = false;
        self.ending |= ending;
    }

    /// Whether a read would bring nothing, as long as the poll does not report the socket.
    pub(super) fn is_drained(&self) -> bool {
        self.drained && self.spilled.is_empty()
    }

    /// Gives out what an earlier read brought too much.
    fn take_spilled(&mut self, into: &mut [u8]) -> usize {
        let waiting = &self.spilled[self.spilled_taken..];
        let n = waiting.len().min(into.len());
        into[..n].copy_from_slice(&waiting[..n]);
        self.spilled_taken += n;
        if self.spilled_taken == self.spilled.len() {
            self.spilled.clear();
            self.spilled_taken = 0;
        }
        n
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.spilled.is_empty() {
            return Ok(self.take_spilled(into));
        }
        if self.drained {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.allowance == 0 {
            self.cut_short = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let share = into.len().min(self.allowance);
        let into = &mut into[..share];
        #[cfg(test)]
        {
            self.reads += 1;
        }
        let read = if self.registered {
            SPILL.with_borrow_mut(|spill| {
                let spill = &mut spill[..SPILL_BYTES.min(self.allowance - share)];
                let asked = into.len() + spill.len();
                let read = self.tcp.read_vectored(&mut [IoSliceMut::new(into), IoSliceMut::new(spill)]);
                self.drained = match &read {
                    Ok(n) => *n < asked && !self.ending && *n > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                if let Ok(n) = read
                    && n > into.len()
                {
                    self.spilled.extend_from_slice(&spill[..n - into.len()]);
                }
                read
            })
        } else {
            self.tcp.read(into)
        };
        let n = read?;
        self.allowance -= n.min(self.allowance);
        Ok(n.min(into.len()))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
