//! A client of the admin server: one request, one answer, with plain std sockets.
//!
//! Runs in: the test's thread. Owns nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{PATIENCE, Relay};

/// Where the relay's admin server listens.
pub(crate) fn address(relay: &Relay) -> SocketAddr {
    let line = relay.line(&["admin server: http://"]);
    let address = line.rsplit("http://").next().and_then(|address| address.trim().parse().ok());
    address.unwrap_or_else(|| panic!("no address in {line:?}"))
}

/// Sends a request with more header lines, and gives status and body of the answer.
pub(crate) fn ask_with(relay: &Relay, line: &str, headers: &str, body: &str) -> (u16, String) {
    ask_at(address(relay), line, headers, body)
}

/// The same of whoever listens at `address`.
pub(crate) fn ask_at(address: SocketAddr, line: &str, headers: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body.unwrap_or_default())
}

/// Sends a request.
pub(crate) fn ask(relay: &Relay, line: &str, body: &str) -> (u16, String) {
    ask_with(relay, line, "", body)
}

/// Sends a request, does something until the answer is there, and gives the answer.
pub(crate) fn ask_while<T>(
    relay: &Relay,
    line: &str,
    body: &str,
    act: impl FnOnce() -> T,
) -> ((u16, String), T) {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(relay, line, body));
        let done = act();
        (asked.join().expect("an answer"), done)
    })
}
