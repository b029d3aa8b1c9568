//! HTTP/1.1 for the admin server, `tandem call` and the metadata server of a cloud: one request a connection, small, and within a deadline.
//!
//! Runs in: the admin threads and that of tokens, which may block, and the main thread of `tandem call`. Owns nothing between requests.
//! Heads are parsed by `httparse`. Chunked bodies, keep-alive and pipelining are left out: whoever speaks here is curl, a
//! dial plan or a script.
//! Invariant: no peer holds a thread longer than the deadline, or makes it keep more than a head and a body may have.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::base::Instant;
use crate::sync::Clock;

/// Longest head, in bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longest body, in bytes: the longest command has under a kilobyte.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// How long a request may take to arrive, and again an answer to leave.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3);

/// A request that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As in the request line.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// What stands behind the `?`; empty without one.
    pub query: String,
    /// Names and values; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }
}

/// Why there is no request, or no response.
#[derive(Debug)]
pub enum Trouble {
    /// It did not arrive in time.
    Late,
    /// The connection ended, or broke.
    Gone(io::Error),
    /// It is not HTTP/1.1 as understood here.
    Malformed,
    /// The head is too long.
    HeadTooLong,
    /// The body is too long.
    BodyTooLong,
    /// The body has no `Content-Length`.
    NoLength,
}

impl Trouble {
    /// The status to answer with, where there is somebody to answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Late => Some(408),
            Self::Gone(_) => None,
            Self::Malformed => Some(400),
            Self::HeadTooLong => Some(431),
            Self::BodyTooLong => Some(413),
            Self::NoLength => Some(411),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "not complete within {} s", TRANSFER_WITHIN.as_secs()),
            Self::Gone(problem) => write!(f, "the connection broke: {problem}"),
            Self::Malformed => write!(f, "not understood as HTTP/1.1"),
            Self::HeadTooLong => write!(f, "a head longer than {HEAD_BYTES_MAX} bytes"),
            Self::BodyTooLong => write!(f, "a body longer than {BODY_BYTES_MAX} bytes"),
            Self::NoLength => write!(f, "a body without Content-Length"),
        }
    }
}

/// A socket whose every step ends at a deadline.
struct Timed<'a> {
    socket: &'a TcpStream,
    clock: &'a Clock,
    deadline: Instant,
}

impl<'a> Timed<'a> {
    fn new(socket: &'a TcpStream, clock: &'a Clock, within: Duration) -> Self {
        Self { socket, clock, deadline: clock.now().plus_us(within.as_micros() as u64) }
    }

    fn left(&self) -> Result<Duration, Trouble> {
        let left = self.deadline.since(self.clock.now());
        if left.is_zero() { Err(Trouble::Late) } else { Ok(left) }
    }

    /// Reads some bytes behind `bytes`; an end of the stream is trouble unless it `may_end`. Returns whether it ended.
    fn read(&mut self, bytes: &mut Vec<u8>, may_end: bool) -> Result<bool, Trouble> {
        let mut piece = [0; 2048];
        loop {
            self.socket.set_read_timeout(Some(self.left()?)).map_err(Trouble::Gone)?;
            match self.socket.read(&mut piece) {
                Ok(0) if may_end => return Ok(true),
                Ok(0) => return Err(Trouble::Gone(io::ErrorKind::UnexpectedEof.into())),
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
            self.socket.set_write_timeout(Some(self.left()?)).map_err(Trouble::Gone)?;
            match self.socket.write(bytes) {
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

/// Reads the one request of a connection, which blocks for 3 s at most.
///
/// # Errors
/// What is wrong with it, or that there is none.
pub fn read_request(socket: &TcpStream, clock: &Clock) -> Result<Request, Trouble> {
    let mut timed = Timed::new(socket, clock, TRANSFER_WITHIN);
    let mut bytes = Vec::new();
    let (mut request, body_at, length) = loop {
        if let Some(head) = parse_head(&bytes)? {
            break head;
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(Trouble::HeadTooLong);
        }
        timed.read(&mut bytes, false)?;
    };
    if request.header("Expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        timed.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    while bytes.len() < body_at + length {
        timed.read(&mut bytes, false)?;
    }
    request.body = bytes.get(body_at..body_at + length).unwrap_or_default().to_vec();
    Ok(request)
}

/// The head, where the body begins and how long it is; `None` if the head is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>, Trouble> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let body_at = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(body_at)) => body_at,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Trouble::HeadTooLong),
        Err(_) => return Err(Trouble::Malformed),
    };
    if body_at > HEAD_BYTES_MAX {
        return Err(Trouble::HeadTooLong);
    }
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: parsed
            .headers
            .iter()
            .filter_map(|header| {
                Some((header.name.to_owned(), std::str::from_utf8(header.value).ok()?.to_owned()))
            })
            .collect(),
        body: Vec::new(),
    };
    if request.header("Transfer-Encoding").is_some() {
        return Err(Trouble::NoLength);
    }
    let mut lengths = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"));
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => 0,
        (Some((_, length)), None) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map_err(|_| Trouble::BodyTooLong)?
        }
        _ => return Err(Trouble::Malformed),
    };
    if length > BODY_BYTES_MAX {
        return Err(Trouble::BodyTooLong);
    }
    Ok(Some((request, body_at, length)))
}

/// Answers the request and ends the connection, which blocks for 3 s at most. Without a body there is no type.
///
/// # Errors
/// The peer did not take it.
pub fn respond(
    socket: &TcpStream,
    clock: &Clock,
    status: u16,
    content_type: &str,
    body: &str,
) -> Result<(), Trouble> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut answer = format!("HTTP/1.1 {status} {}\r\nConnection: close\r\n", reason.unwrap_or("Unknown"));
    if status != 204 {
        answer.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len()));
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    let mut timed = Timed::new(socket, clock, TRANSFER_WITHIN);
    timed.write(answer.as_bytes())?;
    // What the peer may still be sending would turn the end into a reset, which can overtake the answer.
    _ = socket.shutdown(std::net::Shutdown::Write);
    let mut rest = Vec::new();
    while rest.len() < BODY_BYTES_MAX && !timed.read(&mut rest, true)? {}
    Ok(())
}

/// Posts `json` to `path` at `address` and gives the status and body of the answer.
///
/// # Errors
/// Why there is none, within `within`.
pub fn post(
    address: SocketAddr,
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
    exchange(address, &[head.as_bytes(), json.as_bytes()].concat(), clock, within)
}

/// Gets `path` of `host` at `address`, with one more header line, and gives the status and body of the answer.
///
/// # Errors
/// Why there is none, within `within`.
pub fn get(
    address: SocketAddr,
    host: &str,
    path: &str,
    header: &str,
    clock: &Clock,
    within: Duration,
) -> Result<(u16, String), Trouble> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\nConnection: close\r\n\r\n");
    exchange(address, head.as_bytes(), clock, within)
}

/// Sends a request, behind whose answer the server ends the connection.
fn exchange(
    address: SocketAddr,
    request: &[u8],
    clock: &Clock,
    within: Duration,
) -> Result<(u16, String), Trouble> {
    let socket = TcpStream::connect_timeout(&address, within).map_err(Trouble::Gone)?;
    let mut timed = Timed::new(&socket, clock, within);
    timed.write(request)?;
    let mut bytes = Vec::new();
    while !timed.read(&mut bytes, true)? {
        if bytes.len() > HEAD_BYTES_MAX + BODY_BYTES_MAX {
            return Err(Trouble::BodyTooLong);
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

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        (near, listener.accept().expect("connected").0)
    }

    /// What the server makes of these bytes; the client says no more after them.
    fn request_of(bytes: &[u8]) -> Result<Request, Trouble> {
        let (mut near, far) = pair();
        near.write_all(bytes).expect("connected");
        near.shutdown(std::net::Shutdown::Write).expect("connected");
        read_request(&far, &Clock::new())
    }

    #[test]
    fn a_request_is_read_with_its_body_and_without_its_query() {
        let request = request_of(
            b"POST /api/x?a=b HTTP/1.1\r\nHost: a\r\ncontent-length: 4\r\nX-Tandem-Token:  t \r\n\r\n{\"a\"more",
        )
        .expect("a request");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/x"));
        assert_eq!((request.header("x-tandem-TOKEN"), request.body.as_slice()), (Some("t"), &b"{\"a\""[..]));
    }

    #[test]
    fn what_is_too_much_or_no_http_is_refused_with_its_status() {
        let long_header = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        for (bytes, status) in [
            ("\u{1}\r\n\r\n", Some(400)),
            (long_header.as_str(), Some(431)),
            (many_headers.as_str(), Some(431)),
            ("POST / HTTP/1.1\r\nContent-Length: 16385\r\n\r\n", Some(413)),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", Some(413)),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Some(400)),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Some(400)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Some(411)),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", None),
            ("", None),
        ] {
            let trouble = request_of(bytes.as_bytes()).expect_err("no request");
            assert_eq!(trouble.status(), status, "{bytes:.60?}: {trouble}");
        }
    }

    #[test]
    fn a_request_that_never_ends_does_not_hold_the_thread() {
        let (mut near, far) = pair();
        near.write_all(b"GET / HTTP/1.1\r\nA:").expect("connected");
        assert_eq!(read_request(&far, &Clock::new()).expect_err("late").status(), Some(408));
    }

    #[test]
    fn a_post_gets_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = listener.accept().expect("connected").0;
                let request = read_request(&socket, &Clock::new()).expect("a request");
                assert_eq!((request.path.as_str(), request.body.as_slice()), ("/api/originate", &b"{}"[..]));
                assert_eq!(request.header("authorization"), Some("Bearer t"));
                respond(&socket, &Clock::new(), 202, "application/json", "{\"a\":1}").expect("taken");
            });
            let within = Duration::from_secs(10);
            let answer =
                post(address, "/api/originate", Some("t"), "{}", &Clock::new(), within).expect("an answer");
            assert_eq!(answer, (202, "{\"a\":1}".to_owned()));
        });
    }

    proptest! {
        #[test]
        fn any_head_is_a_request_trouble_or_incomplete_and_never_asks_for_more_than_the_limits(
            start in prop_oneof![Just("POST /a HTTP/1.1\r\n"), Just("GET "), Just("")],
            lines in prop::collection::vec(
                prop_oneof![
                    "[A-Za-z-]{1,20}: [ -~]{0,30}\r\n",
                    "Content-Length: [0-9-]{0,8}\r\n",
                    ".{0,20}",
                    Just("\r\n".to_owned()),
                ],
                0..20,
            ),
            cut in 0_usize..600,
        ) {
            let text = [start.to_owned(), lines.concat()].concat();
            let bytes = &text.as_bytes()[..text.len().min(cut)];
            if let Ok(Some((request, body_at, length))) = parse_head(bytes) {
                prop_assert!(body_at <= bytes.len() && length <= BODY_BYTES_MAX);
                prop_assert!(!request.path.contains('?'));
            }
        }
    }
}
