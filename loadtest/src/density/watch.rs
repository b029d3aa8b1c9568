//! Somebody looks: the page's stream of events is read, and Prometheus scrapes each second.
//!
//! Runs in: two threads of the `density` binary, until dropped. Owns one connection each.
//! Invariant: what looks is counted, so that a measurement in which nobody looked is none.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Prometheus' shortest usual interval.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

/// See the head of this file.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
    scrapes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Looks at the admin server at HOST:PORT from here on.
    pub(super) fn of(admin: &str) -> Self {
        let (over, events, scrapes) = (Arc::<AtomicBool>::default(), Arc::default(), Arc::default());
        let page = {
            let (admin, over, events) = (admin.to_owned(), Arc::clone(&over), Arc::clone(&events));
            thread::spawn(move || _ = read_events(&admin, &over, &events))
        };
        let prometheus = {
            let (admin, over, scrapes) = (admin.to_owned(), Arc::clone(&over), Arc::clone(&scrapes));
            thread::spawn(move || scrape(&admin, &over, &scrapes))
        };
        Self { over, events, scrapes, threads: vec![page, prometheus] }
    }

    /// Ends, and tells how many events were read and how many scrapes succeeded.
    pub(super) fn end(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // It cannot panic; what it saw is in the counts.
            _ = thread.join();
        }
        (self.events.load(Ordering::Relaxed), self.scrapes.load(Ordering::Relaxed))
    }
}

fn ask(admin: &str, path: &str, connection: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: {connection}\r\n\r\n")?;
    Ok(stream)
}

fn read_events(admin: &str, over: &AtomicBool, events: &AtomicU64) -> io::Result<()> {
    let mut stream = ask(admin, "/api/events", "keep-alive")?;
    let mut piece = [0; 16 * 1024];
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                // A name that is cut in two is missed, which does not matter: a few of many.
                let named = piece[..n].windows(7).filter(|window| window == b"event: ").count();
                events.fetch_add(named as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn scrape(admin: &str, over: &AtomicBool, scrapes: &AtomicU64) {
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if Instant::now() < next {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        next += SCRAPE_EVERY;
        let metrics = ask(admin, "/metrics", "close").and_then(|mut stream| {
            stream.set_read_timeout(Some(SCRAPE_EVERY * 5))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        if metrics.is_ok_and(|metrics| metrics.starts_with("HTTP/1.1 200")) {
            scrapes.fetch_add(1, Ordering::Relaxed);
        }
    }
}
