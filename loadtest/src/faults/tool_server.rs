//! What the model's tool asks: a web server that takes its time and knows one answer.
//!
//! Runs in: a thread of its own, which ends when the server is dropped, and one for each request. Owns its socket.
//! Invariant: every request gets the same answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an answer takes: longer than the moments of faults during a call.
const THINKING: Duration = Duration::from_millis(800);
const ANSWER: &str = r#"{"found":"it is open until nine"}"#;

/// The server, until it is dropped.
pub(super) struct ToolServer {
    addr: SocketAddr,
    url: String,
    over: Arc<AtomicBool>,
}

impl ToolServer {
    /// Listens on a free port.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        std::thread::Builder::new().name("tool-server".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let answer =
                    std::thread::Builder::new().name("tool".to_owned()).spawn(move || answer(stream));
                if let Err(error) = answer {
                    log::error!("cannot answer a tool's request: {error}");
                }
            }
        })?;
        Ok(Self { addr, url: format!("http://{addr}/look_up"), over })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ToolServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // The listener waits for a connection; this is the last.
        let _ = TcpStream::connect(self.addr);
    }
}

/// Reads the head of the request and answers; a client that goes away meanwhile has its reasons.
fn answer(mut stream: TcpStream) {
    let mut request = [0; 4096];
    if stream.set_read_timeout(Some(Duration::from_secs(5))).is_err() || stream.read(&mut request).is_err() {
        return;
    }
    std::thread::sleep(THINKING);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    let _ = write!(stream, "{head} {}\r\n\r\n{ANSWER}", ANSWER.len());
}
