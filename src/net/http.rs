//! A small HTTP/1.1 client for `tandem call` and the metadata server of a cloud: one request a connection, within a deadline.
//!
//! Runs in: the thread of tokens, which may block, and the main thread of `tandem call`. Owns nothing between requests.
//! Heads are parsed by `httparse`. Chunked bodies and keep-alive are left out: neither of the two servers needs them.
//! Invariant: no peer holds a thread longer than the deadline, or makes it keep more than a head and a body may have.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::base::Instant;
use crate::net::own_server::OwnServer;
use crate::sync::Clock;

/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longest body, in bytes: a token has some kilobytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It did not arrive in time.
    Late,
    /// The connection ended, or broke.
    Gone(io::Error),
    /// It is not HTTP/1.1 as understood here.
    Malformed,
    /// It is too long.
    TooLong,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "not complete in time"),
            Self::Gone(problem) => write!(f, "the connection broke: {problem}"),
            Self::Malformed => write!(f, "not understood as HTTP/1.1"),
            Self::TooLong => write!(f, "more than {} bytes", HEAD_BYTES_MAX + BODY_BYTES_MAX),
        }
    }
}

/// A socket whose every step ends at a deadline.
struct Timed<'a> {
    server: OwnServer,
    clock: &'a Clock,
    deadline: Instant,
}

impl<'a> Timed<'a> {
    fn new(server: OwnServer, clock: &'a Clock, within: Duration) -> Self {
        Self { server, clock, deadline: clock.now().plus_us(within.as_micros() as u64) }
    }

    fn left(&self) -> Result<Duration, Trouble> {
        let left = self.deadline.since(self.clock.now());
        if left.is_zero() { Err(Trouble::Late) } else { Ok(left) }
    }

    /// Reads some bytes behind `bytes`. Returns whether the stream ended.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Trouble> {
        let mut piece = [0; 2048];
        loop {
            self.server.socket().set_read_timeout(Some(self.left()?)).map_err(Trouble::Gone)?;
            match self.server.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(n) => {
                    bytes.extend_from_slice(&piece[..n]);
                    return Ok(false);
                }
                Err(error) => after_error(error)?,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            self.server.socket().set_write_timeout(Some(self.left()?)).map_err(Trouble::Gone)?;
            match self.server.write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(error) => after_error(error)?,
            }
        }
        Ok(())
    }
}

/// A time-out is looked at again with the clock; everything else is the end.
fn after_error(error: io::Error) -> Result<(), Trouble> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(()),
        _ => Err(Trouble::Gone(error)),
    }
}

/// Posts `json` to `path` at `address` and gives the status and body of the answer; over TLS where the file of the server's
/// certificate is given.
///
/// # Errors
/// Why there is none, within `within`.
pub(crate) fn post(
    address: SocketAddr,
    certificate: Option<&Path>,
    path: &str,
    token: Option<&str>,
    json: &str,
    clock: &Clock,
    within: Duration,
) -> Result<(u16, String), Trouble> {
    let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let length = json.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    exchange(address, certificate, &[head.as_bytes(), json.as_bytes()].concat(), clock, within)
}

/// Gets `path` of `host` at `address`, with one more header line, and gives the status and body of the answer.
///
/// # Errors
/// Why there is none, within `within`.
pub(crate) fn get(
    address: SocketAddr,
    host: &str,
    path: &str,
    header: &str,
    clock: &Clock,
    within: Duration,
) -> Result<(u16, String), Trouble> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\nConnection: close\r\n\r\n");
    exchange(address, None, head.as_bytes(), clock, within)
}

/// Sends a request, behind whose answer the server ends the connection.
fn exchange(
    address: SocketAddr,
    certificate: Option<&Path>,
    request: &[u8],
    clock: &Clock,
    within: Duration,
) -> Result<(u16, String), Trouble> {
    let server = OwnServer::connect(address, certificate, within).map_err(Trouble::Gone)?;
    let mut timed = Timed::new(server, clock, within);
    timed.write(request)?;
    let mut bytes = Vec::new();
    while !timed.read(&mut bytes)? {
        if bytes.len() > HEAD_BYTES_MAX + BODY_BYTES_MAX {
            return Err(Trouble::TooLong);
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(&bytes) {
        Ok(httparse::Status::Complete(body_at)) => {
            let body = bytes.get(body_at..).unwrap_or_default();
            Ok((parsed.code.unwrap_or_default(), String::from_utf8_lossy(body).into_owned()))
        }
        _ => Err(Trouble::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the client makes of a server that reads the request and answers this.
    fn answered(answer: &str, within: Duration) -> (Result<(u16, String), Trouble>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut socket = listener.accept().expect("connected").0;
                let mut request = Vec::new();
                while !request.ends_with(b"{}") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).expect("a request");
                    request.push(byte[0]);
                }
                // The client may have enough before it has all.
                _ = socket.write_all(answer.as_bytes());
                if answer.is_empty() {
                    _ = socket.read(&mut [0]);
                }
                String::from_utf8(request).expect("text")
            });
            let result = post(address, None, "/api/originate", Some("t"), "{}", &Clock::new(), within);
            (result, server.join().expect("served"))
        })
    }

    #[test]
    fn a_post_gets_its_answer() {
        let answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        let (result, request) = answered(answer, Duration::from_secs(10));
        assert_eq!(result.expect("an answer"), (202, "{\"a\":1}".to_owned()));
        assert!(request.starts_with("POST /api/originate HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer t\r\n"), "{request}");
        assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
    }

    #[test]
    fn what_is_no_answer_is_trouble() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(HEAD_BYTES_MAX + 2 * BODY_BYTES_MAX));
        let within = Duration::from_secs(10);
        assert!(matches!(answered(&endless, within).0, Err(Trouble::TooLong)));
        assert!(matches!(answered("\u{1}\r\n\r\n", within).0, Err(Trouble::Malformed)));
        assert!(matches!(answered("HTTP/1.1 200 OK\r\nA:", within).0, Err(Trouble::Malformed)));
        assert!(matches!(answered("", Duration::from_millis(50)).0, Err(Trouble::Late)));
    }
}
