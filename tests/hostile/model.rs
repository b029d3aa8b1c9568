//! In Gemini's place: the simulator for honest calls, and a script with a bare socket for each hostile one.
//!
//! Runs in: threads of the test; one that accepts, one a script, two a forwarded link. Owns the listening socket.
//! Invariant: a link that connects while a script waits gets that script; any other is forwarded to the simulator.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tandem_loadtest::sim::{SimConfig, Simulator, Voice};

use super::switch::{BINARY, Frame, TEXT};
use super::{PATIENCE, stand_back, until};

/// What a hostile server does with a link.
pub(crate) type Script = Box<dyn FnOnce(TcpStream) + Send>;

/// See the head of this file.
pub(crate) struct Models {
    addr: SocketAddr,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    // Serves until it is dropped. Its events are for one thread at a time, and nobody here asks for them.
    _simulator: Mutex<Simulator>,
}

impl Models {
    /// Listens on a free port.
    pub(crate) fn start() -> Self {
        let config = SimConfig { voice: Voice::Echo, events: false, ..SimConfig::default() };
        let simulator = Simulator::start(config).expect("a free port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let scripts: Arc<Mutex<VecDeque<Script>>> = Arc::default();
        let (waiting, honest) = (Arc::clone(&scripts), simulator.addr());
        thread::spawn(move || {
            for link in listener.incoming().flatten() {
                link.set_nodelay(true).expect("a socket");
                let script = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match script {
                    Some(script) => {
                        _ = thread::spawn(move || {
                            stand_back();
                            script(link);
                        })
                    }
                    None => forward(link, honest),
                }
            }
        });
        Self { addr, scripts, _simulator: Mutex::new(simulator) }
    }

    /// Where links connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets the next link have this script; returns when `dial` has led to it.
    pub(crate) fn next(&self, script: Script, dial: impl FnOnce()) {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).push_back(script);
        dial();
        let waiting = || self.scripts.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        until("the relay to dial", || waiting().then_some(()));
    }
}

/// Copies both ways until one side ends.
fn forward(link: TcpStream, honest: SocketAddr) {
    let Ok(server) = TcpStream::connect(honest) else { return };
    server.set_nodelay(true).expect("a socket");
    let copies = [(link.try_clone(), server.try_clone()), (Ok(server), Ok(link))];
    for (from, to) in copies {
        let (Ok(mut from), Ok(mut to)) = (from, to) else { return };
        thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(n) = from.read(&mut piece)
                && n > 0
                && to.write_all(&piece[..n]).is_ok()
            {}
            _ = to.shutdown(Shutdown::Both);
        });
    }
}

/// The answer to the upgrade request, which is read from the link.
pub(crate) fn upgrade_answer(link: &mut TcpStream) -> String {
    link.set_read_timeout(Some(PATIENCE)).expect("a socket");
    link.set_write_timeout(Some(PATIENCE)).expect("a socket");
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(link.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let accept = tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Upgrades the link.
pub(crate) fn upgrade(link: &mut TcpStream) {
    let answer = upgrade_answer(link);
    // A relay that has given up is the next step's business.
    _ = link.write_all(answer.as_bytes());
}

/// Upgrades the link, takes the setup and accepts it.
pub(crate) fn accept_setup(link: &mut TcpStream) {
    upgrade(link);
    let mut first = [0; 64];
    _ = link.read(&mut first);
    _ = link.write_all(&server_frame(BINARY, br#"{"setupComplete":{}}"#));
}

/// Reads and forgets what the relay sends, beside whoever writes, until it is dropped.
pub(crate) struct Drain {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drain {
    /// Begins.
    pub(crate) fn of(socket: &TcpStream) -> Self {
        let mut socket = socket.try_clone().expect("a descriptor");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while !told.load(Ordering::Relaxed) {
                match socket.read(&mut piece) {
                    Ok(0) => return,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    _ => {}
                }
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It cannot panic, and its descriptor is closed with it, so that a reset is one.
        _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A server's frame.
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Frame::new(opcode, payload);
    frame.masked = false;
    frame.bytes()
}

/// A server's text message.
pub(crate) fn json(text: &str) -> Vec<u8> {
    server_frame(TEXT, text.as_bytes())
}

/// Writes the bytes again and again, as fast as the relay takes them but at most so many times a second.
pub(crate) fn flood(link: &mut TcpStream, bytes: &[u8], a_second: u64, lasting: Duration) {
    let begun = Instant::now();
    // A millisecond's worth at a time, so that the flood is the relay's work and not the system's; but no more than is
    // soon taken by a relay that reads no faster than the peer can speak.
    let batch = bytes.repeat((a_second as usize / 1000).min(16 * 1024 / bytes.len()).max(1));
    let mut batches = 0;
    while begun.elapsed() < lasting {
        if link.write_all(&batch).is_err() {
            return;
        }
        batches += 1;
        let due = begun + Duration::from_millis(batches);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Waits until the relay ends the link, for a script that has nothing more to say.
pub(crate) fn hold(link: &TcpStream) {
    link.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut link = link;
    let mut piece = [0; 16 * 1024];
    while matches!(link.read(&mut piece), Ok(n) if n > 0) {}
}
