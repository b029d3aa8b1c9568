//! FreeSWITCH's event socket, played by the test: login, subscription, `bgapi` with its reply, events, and connections
//! that end when it hurts.
//!
//! Runs in: one thread that accepts, one for each connection. Owns the listener until dropped.
//! Never carries anything out: it notes each job that it was given, once for each time it was given.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::PATIENCE;

/// The password that it wants.
pub(crate) const PASSWORD: &str = "not-the-default";

/// What it does with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Accepted, and carried out.
    Done,
    /// Accepted, and failed.
    Fails,
    /// Accepted, and this is its output.
    Says(&'static str),
    /// Accepted, and nothing is heard of it any more.
    Rings,
    /// Accepted, and the connection is lost before the end of the job is told.
    LostAfterReply,
    /// The connection is lost when the job has arrived.
    LostBeforeReply,
}

struct State {
    /// What becomes of jobs from now on.
    fate: Fate,
    subscriptions: Vec<String>,
    jobs: Vec<String>,
    connection: Option<TcpStream>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the head of this file.
pub(crate) struct EventSocket {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl EventSocket {
    /// Listens on a free port.
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Listens on this socket.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let port = listener.local_addr().expect("bound").port();
        let state = State { fate: Fate::Done, subscriptions: Vec::new(), jobs: Vec::new(), connection: None };
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), stopped });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while let Ok((socket, _)) = listener.accept() {
                    if shared.stopped.load(Ordering::Acquire) {
                        break;
                    }
                    shared.lock().connection = socket.try_clone().ok();
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || serve(&socket, &shared));
                }
            }
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// The settings with which a relay uses it.
    pub(crate) fn settings(&self) -> Vec<String> {
        vec![
            "esl.host=127.0.0.1".into(),
            format!("esl.port={}", self.port),
            format!("esl.password={PASSWORD}"),
        ]
    }

    /// What becomes of jobs from now on.
    pub(crate) fn fate(&self, fate: Fate) {
        self.shared.lock().fate = fate;
    }

    /// Waits until it was logged in to so many times, subscription included.
    pub(crate) fn logged_in(&self, times: usize) {
        self.until("a login", |state| (state.subscriptions.len() >= times).then_some(()));
    }

    /// Every job that it was given so far.
    pub(crate) fn jobs(&self) -> Vec<String> {
        self.shared.lock().jobs.clone()
    }

    /// Tells of an event: its headers, a line each.
    pub(crate) fn event(&self, headers: &str) {
        let state = self.shared.lock();
        let connection = state.connection.as_ref().expect("somebody is connected");
        send_event(connection, &format!("{headers}\n"));
    }

    fn until<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the event socket has not seen {what}; jobs: {:?}", state.jobs);
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for EventSocket {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(connection) = self.shared.lock().connection.take() {
            _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            _ = acceptor.join();
        }
    }
}

fn reply(mut socket: &TcpStream, text: &str) {
    _ = socket.write_all(format!("Content-Type: command/reply\nReply-Text: {text}\n\n").as_bytes());
}

fn send_event(mut socket: &TcpStream, event: &str) {
    let head = format!("Content-Length: {}\nContent-Type: text/event-plain\n\n", event.len());
    _ = socket.write_all(format!("{head}{event}").as_bytes());
}

fn serve(socket: &TcpStream, shared: &Shared) {
    _ = (&mut &*socket).write_all(b"Content-Type: auth/request\n\n");
    let mut lines = BufReader::new(socket).lines();
    // A command is its lines up to an empty one.
    let mut command = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            command.push(line);
            continue;
        }
        let words = std::mem::take(&mut command);
        let first = words.first().map_or("", String::as_str);
        if let Some(password) = first.strip_prefix("auth ") {
            if password != PASSWORD {
                reply(socket, "-ERR invalid");
                break;
            }
            reply(socket, "+OK accepted");
        } else if let Some(events) = first.strip_prefix("event plain ") {
            shared.lock().subscriptions.push(events.to_owned());
            reply(socket, "+OK event listener enabled plain");
        } else if let Some(job) = first.strip_prefix("bgapi ") {
            let name = words.get(1).and_then(|line| line.strip_prefix("Job-UUID: ")).expect("a name");
            let fate = {
                let mut state = shared.lock();
                state.jobs.push(job.to_owned());
                state.fate
            };
            if fate == Fate::LostBeforeReply {
                shared.changed.notify_all();
                break;
            }
            reply(socket, &format!("+OK Job-UUID: {name}"));
            if fate == Fate::LostAfterReply {
                shared.changed.notify_all();
                break;
            }
            let output = match fate {
                Fate::Rings => continue,
                Fate::Done => "+OK\n",
                Fate::Says(output) => output,
                _ => "-ERR No such channel!\n",
            };
            let length = output.len();
            send_event(
                socket,
                &format!(
                    "Event-Name: BACKGROUND_JOB\nJob-UUID: {name}\nContent-Length: {length}\n\n{output}"
                ),
            );
        } else {
            panic!("an unknown command: {words:?}");
        }
        shared.changed.notify_all();
    }
    _ = socket.shutdown(Shutdown::Both);
}
