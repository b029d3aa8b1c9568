//! Connecting to a host that has several addresses: the next one joins in when the ones before take long.
//!
//! Runs in: the dial threads, which it blocks until the deadline at most. Owns the sockets until one is connected.
//! The idea is that of RFC 8305 (Happy Eyeballs): an address that does not answer costs a quarter of a second, not the
//! whole time, and an address family that leads nowhere as much.
//! Invariant: what it returns is connected and non-blocking, and every other socket is closed.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};

use mio::{Events, Interest, Poll, Token};

use super::dial::DialError;
use crate::base::Instant;
use crate::sync::Clock;

/// How long an address is waited for alone; RFC 8305 section 8 recommends as much.
const NEXT_AFTER_MS: u64 = 250;
/// Addresses that are tried for one connection.
const ADDRESSES_MAX: usize = 8;

/// Connects to one of `addresses` before `deadline`.
///
/// # Errors
/// What the last of them said, or that the time was over.
pub(super) fn connect(
    addresses: &[SocketAddr],
    clock: Clock,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let failed = |error: io::Error| DialError::Connect(error.to_string());
    let mut poll = Poll::new().map_err(failed)?;
    let mut events = Events::with_capacity(ADDRESSES_MAX);
    let mut waiting = in_turn(addresses);
    let mut open: Vec<(SocketAddr, Option<mio::net::TcpStream>)> = Vec::new();
    let mut next_at = clock.now();
    let mut last = DialError::Connect("the host has no address".into());
    loop {
        let now = clock.now();
        if now >= deadline {
            return Err(DialError::Timeout("TCP"));
        }
        let trying = open.iter().any(|(_, socket)| socket.is_some());
        if (!trying || now >= next_at)
            && let Some(address) = waiting.pop_front()
        {
            next_at = now.plus_ms(NEXT_AFTER_MS);
            let begun = mio::net::TcpStream::connect(address).and_then(|mut socket| {
                poll.registry().register(&mut socket, Token(open.len()), Interest::WRITABLE)?;
                Ok(socket)
            });
            match begun {
                Ok(socket) => open.push((address, Some(socket))),
                Err(error) => last = DialError::Connect(format!("{address}: {error}")),
            }
            continue;
        }
        if !trying {
            return Err(last);
        }
        let until = if waiting.is_empty() { deadline } else { next_at.min(deadline) };
        match poll.poll(&mut events, Some(until.since(now))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(failed(error)),
            _ => {}
        }
        for event in &events {
            let Some((address, place)) = open.get_mut(event.token().0) else { continue };
            let Some(mut socket) = place.take() else { continue };
            match is_connected(&socket) {
                Ok(true) => {
                    poll.registry().deregister(&mut socket).map_err(failed)?;
                    return Ok((socket.into(), *address));
                }
                Ok(false) => *place = Some(socket),
                Err(error) => last = DialError::Connect(format!("{address}: {error}")),
            }
        }
    }
}

/// The addresses in their order, but the families in turn, so that one that leads nowhere does not hold the other up.
fn in_turn(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_family = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |ipv6: bool| addresses.iter().copied().filter(move |address| address.is_ipv6() == ipv6);
    let (mut these, mut others) = (of(first_family), of(!first_family));
    let mut mixed = VecDeque::new();
    loop {
        let pair = [these.next(), others.next()];
        if pair == [None, None] || mixed.len() >= ADDRESSES_MAX {
            mixed.truncate(ADDRESSES_MAX);
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Whether a connection that the poll reported is made.
fn is_connected(socket: &mio::net::TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn listening(address: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    /// An address that answers nothing: a listener whose queue is full drops what asks for more (Linux).
    fn mute() -> (Socket, Vec<TcpStream>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        socket.bind(&SocketAddr::from(([127, 0, 0, 3], 0)).into()).expect("a free port");
        socket.listen(0).expect("bound");
        let address = socket.local_addr().expect("bound").as_socket().expect("IP");
        let queued = vec![TcpStream::connect(address).expect("room for one")];
        (socket, queued, address)
    }

    #[test]
    fn an_address_that_refuses_is_passed_over_at_once() {
        let (listener, alive) = listening("127.0.0.1:0");
        let (closed, dead) = listening("127.0.0.2:0");
        drop(closed);
        let clock = Clock::new();
        let begun = clock.now();
        let (_, address) = connect(&[dead, alive], clock, begun.plus_ms(20_000)).expect("one is alive");
        assert_eq!(address, alive);
        drop(listener);
        let error = connect(&[dead, alive], clock, clock.now().plus_ms(20_000)).expect_err("both are dead");
        assert!(
            matches!(&error, DialError::Connect(what) if what.starts_with(&alive.to_string())),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_does_not_answer_does_not_take_the_whole_time() {
        let (_listener, alive) = listening("127.0.0.1:0");
        let (_socket, _queued, dead) = mute();
        let clock = Clock::new();
        let begun = clock.now();
        let (_, address) = connect(&[dead, alive], clock, begun.plus_ms(20_000)).expect("one is alive");
        assert_eq!(address, alive);
        assert!(clock.now().since_ms(begun) >= NEXT_AFTER_MS, "the first was waited for");
        let begun = clock.now();
        let error = connect(&[dead], clock, begun.plus_ms(300)).expect_err("it does not answer");
        assert!(matches!(error, DialError::Timeout("TCP")), "{error}");
    }

    #[test]
    fn families_take_turns_and_there_is_an_end() {
        let v4 = |last: u8| SocketAddr::from(([10, 0, 0, last], 1));
        let v6 = |last: u16| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, last], 1));
        assert_eq!(in_turn(&[v6(1), v6(2), v4(1), v4(2)]), [v6(1), v4(1), v6(2), v4(2)]);
        assert_eq!(in_turn(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(in_turn(&[]), []);
        let many: Vec<_> = (0..50).map(v4).collect();
        assert_eq!(in_turn(&many).len(), ADDRESSES_MAX);
    }
}
