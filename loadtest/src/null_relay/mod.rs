//! The null relay: the least that any relay of these protocols must do, so that the relay's CPU has a floor to be
//! quoted against.
//!
//! Runs in: one thread, one mio loop ([`NullRelay::run`]). Owns every socket of its process. Never parses, never decodes,
//! never paces: opaque messages of the real sizes ([`crate::floor`]) are read on one side and written on the other.
//! Invariant: a frame pair costs at most two reads and two writes, and a read that returned less than was asked for
//! is not followed by another (edge-triggered: the socket is drained, new bytes bring a new edge).

mod pipe;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::floor;
use pipe::{Pipe, Pumped, Scratch};

/// Token of the listening socket; calls use `2 * slot` for the leg and `2 * slot + 1` for the link.
const LISTENER: Token = Token(usize::MAX);
/// How often the loop looks at its stop flag when nothing else happens.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// One leg, its link, and the two directions between them.
struct Pair {
    leg: TcpStream,
    link: TcpStream,
    uplink: Pipe,
    downlink: Pipe,
}

/// A null relay that is bound but not yet running, so that its port is known before the loop starts.
pub struct NullRelay {
    listener: TcpListener,
    upstream: SocketAddr,
    poll: Poll,
    pairs: Vec<Option<Pair>>,
}

impl NullRelay {
    /// Binds `listen` (port 0 takes a free one). Every leg accepted later gets its own connection to `upstream`.
    ///
    /// # Errors
    /// When the address cannot be bound or the poll cannot be created.
    pub fn bind(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let mut listener = TcpListener::bind(listen)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { listener, upstream, poll, pairs: Vec::new() })
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// Whatever `getsockname` says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Copies messages until `stop` is true. An error of one call's socket ends that call only.
    ///
    /// # Errors
    /// When the poll itself fails.
    pub fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = Scratch::new();
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(STOP_CHECK)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept_all();
                } else {
                    self.serve(event, &mut scratch);
                }
            }
        }
        Ok(())
    }

    fn accept_all(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((leg, _)) => {
                    if let Err(e) = self.add_pair(leg) {
                        log::warn!(
                            "null-relay: a call was dropped while connecting to {}: {e}",
                            self.upstream
                        );
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    log::warn!(
                        "null-relay: accept failed: {e}; raise the file limit (ulimit -n) if it is that"
                    );
                    return;
                }
            }
        }
    }

    fn add_pair(&mut self, mut leg: TcpStream) -> io::Result<()> {
        leg.set_nodelay(true)?;
        let mut link = TcpStream::connect(self.upstream)?;
        link.set_nodelay(true)?;
        let slot = self.pairs.iter().position(Option::is_none).unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut leg, Token(2 * slot), both)?;
        self.poll.registry().register(&mut link, Token(2 * slot + 1), both)?;
        let uplink = Pipe::new(floor::UPLINK_LEG_BYTES, floor::UPLINK_LINK_BYTES);
        let downlink = Pipe::new(floor::DOWNLINK_LINK_BYTES, floor::DOWNLINK_LEG_BYTES);
        if let Some(place) = self.pairs.get_mut(slot) {
            *place = Some(Pair { leg, link, uplink, downlink });
        }
        Ok(())
    }

    fn serve(&mut self, event: &mio::event::Event, scratch: &mut Scratch) {
        let (slot, from_link) = (event.token().0 / 2, event.token().0 % 2 == 1);
        let Some(place) = self.pairs.get_mut(slot) else { return };
        let Some(pair) = place else { return };
        let mut open = true;
        if event.is_writable() {
            // An edge of room: what waited for this socket goes first, and a reader that stopped for it goes on.
            let (into, pipe, from) = if from_link {
                (&mut pair.link, &mut pair.uplink, &mut pair.leg)
            } else {
                (&mut pair.leg, &mut pair.downlink, &mut pair.link)
            };
            open &= pipe.writable(from, into, scratch) == Pumped::Open;
        }
        if event.is_readable() {
            let pumped = if from_link {
                pair.downlink.pump(&mut pair.link, &mut pair.leg, scratch)
            } else {
                pair.uplink.pump(&mut pair.leg, &mut pair.link, scratch)
            };
            open &= pumped == Pumped::Open;
        }
        if !open {
            // Dropping a mio socket closes its descriptor, which removes it from the poll.
            *place = None;
        }
    }
}
