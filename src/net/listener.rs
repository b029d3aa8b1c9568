//! A listening socket that survives running out of file descriptors.
//!
//! Runs in: the accept thread. Owns the socket and one spare descriptor.
//! Never ends the loop: what cannot be accepted is shed.
//! Invariant: a connection that finds no descriptor is accepted on the spare one and closed at once, so that it does
//! not stay in the backlog and wake the loop for ever.

use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::limits::LEG_RECEIVE_BYTES;

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// What [`Listener::accept`] brought.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection, non-blocking, and the peer's address.
    Connection(TcpStream, SocketAddr),
    /// A connection was closed because no descriptor is left.
    Shed,
    /// No descriptor is left, not even the spare one: connections wait, of which no edge will tell.
    Starved,
    /// A connection ended before it was accepted.
    Gone,
    /// Nothing more for now.
    None,
}

/// A socket that listens, non-blocking, whose connections keep so much that nobody has read.
///
/// # Errors
/// Those of `bind` and `listen`.
pub(crate) fn listening(address: SocketAddr, receive_bytes: Option<usize>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it, and the window that is agreed on with the first packet depends on it.
    receive_bytes.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// See the head of this file.
pub(crate) struct Listener {
    socket: mio::net::TcpListener,
    spare: Option<File>,
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// Those of `bind` and `listen`: the port is taken, or needs privileges, or the address is not of this machine.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::of(listening(address, Some(LEG_RECEIVE_BYTES))?))
    }

    /// Takes a socket that listens already, whose connections may have waited.
    ///
    /// # Errors
    /// Those of `setsockopt`.
    pub(crate) fn adopt(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_recv_buffer_size(LEG_RECEIVE_BYTES)?;
        Ok(Self::of(socket))
    }

    fn of(socket: TcpListener) -> Self {
        Self { socket: mio::net::TcpListener::from_std(socket), spare: spare() }
    }

    /// Accepts no more. Whoever else has the socket, or will be given it, finds what waits.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub(crate) fn leave(mut self, registry: &Registry) -> io::Result<()> {
        // A socket that others have, too, stays with the poll when it is closed.
        registry.deregister(&mut self.socket)
    }

    /// The address it listens on, with the port that the system chose.
    ///
    /// # Errors
    /// Those of `getsockname`.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Registers with a poll.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// The next connection. One that has to be shed is sent `goodbye`.
    pub(crate) fn accept(&mut self, goodbye: &[u8]) -> Accepted {
        if self.spare.is_none() {
            self.spare = spare();
        }
        match self.socket.accept() {
            Ok((socket, peer)) => Accepted::Connection(socket.into(), peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::None,
            Err(error) if is_out_of_descriptors(&error) => {
                self.spare = None;
                // Another thread may take the descriptor first.
                let shed = self.socket.accept().map(|(mut socket, _)| {
                    _ = socket.write(goodbye);
                });
                self.spare = spare();
                match shed {
                    Ok(()) => Accepted::Shed,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::None,
                    Err(_) => Accepted::Starved,
                }
            }
            Err(_) => Accepted::Gone,
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE of errno(3); ENOBUFS and ENOMEM ask for the same answer.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
