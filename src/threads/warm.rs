//! Warm links: connections to Gemini that are upgraded and have sent nothing yet, waiting for a call.
//!
//! Runs in: the dial threads (take, put) and the keeper thread (expire), behind a lock held for moments.
//! Owns the connections. Never hands out one that the server has closed, as far as its socket knows.
//! Invariant: of each credential no more wait, or are being made, than are configured.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::Instant;
use crate::net::websocket::{Connection, Incoming};
use crate::telemetry::Counters;

/// How long a link may wait. Servers end connections on which nothing is said, and a token has its end too.
const AGE_MS_MAX: u64 = 30_000;
/// Bytes that are read to see whether the server has closed: a ping is answered, a close is the end.
const LOOK_BYTES: usize = 4096;

struct Warm {
    connection: Connection,
    made_at: Instant,
}

#[derive(Default)]
struct OfCredential {
    waiting: Vec<Warm>,
    being_made: usize,
}

/// See the head of this file.
pub struct WarmLinks {
    per_credential: usize,
    credentials: Mutex<HashMap<usize, OfCredential>>,
    counters: Arc<Counters>,
}

impl WarmLinks {
    /// A store for so many links of each credential; 0 for none.
    pub(crate) fn new(per_credential: usize, counters: Arc<Counters>) -> Self {
        Self { per_credential, credentials: Mutex::default(), counters }
    }

    /// Whether any are wanted at all.
    pub(crate) fn is_used(&self) -> bool {
        self.per_credential > 0
    }

    /// The newest link of a credential that is still good.
    pub(crate) fn take(&self, now: Instant, credential: usize) -> Option<Connection> {
        let mut credentials = self.credentials.lock();
        let waiting = &mut credentials.get_mut(&credential)?.waiting;
        while let Some(mut warm) = waiting.pop() {
            if self.is_good(now, &mut warm) {
                self.counters.warm_links_used.increment();
                return Some(warm.connection);
            }
        }
        None
    }

    /// Reserves the making of a link of this credential, if one is wanted; [`WarmLinks::put`] must follow.
    pub(crate) fn begin(&self, credential: usize) -> bool {
        if self.per_credential == 0 {
            return false;
        }
        let mut credentials = self.credentials.lock();
        let of = credentials.entry(credential).or_default();
        let wanted = of.waiting.len() + of.being_made < self.per_credential;
        of.being_made += usize::from(wanted);
        wanted
    }

    /// Keeps a link that was made, or notes that it was not.
    pub(crate) fn put(&self, now: Instant, credential: usize, made: Option<Connection>) {
        let mut credentials = self.credentials.lock();
        let Some(of) = credentials.get_mut(&credential) else { return };
        of.being_made = of.being_made.saturating_sub(1);
        if let Some(connection) = made {
            of.waiting.push(Warm { connection, made_at: now });
        }
    }

    /// Drops what is too old or was closed by the server, and everything of credentials for which `is_wanted` is false.
    pub(crate) fn expire(&self, now: Instant, is_wanted: impl Fn(usize) -> bool) {
        let mut credentials = self.credentials.lock();
        for (credential, of) in &mut *credentials {
            if is_wanted(*credential) {
                of.waiting.retain_mut(|warm| self.is_good(now, warm));
            } else {
                of.waiting.clear();
            }
        }
        credentials.retain(|_, of| !of.waiting.is_empty() || of.being_made > 0);
    }

    fn is_good(&self, now: Instant, warm: &mut Warm) -> bool {
        if now.since_ms(warm.made_at) >= AGE_MS_MAX {
            self.counters.warm_links_expired.increment();
            return false;
        }
        warm.connection.allow(LOOK_BYTES);
        let good = loop {
            match warm.connection.read() {
                Incoming::Message(tungstenite::Message::Ping(_)) => {}
                Incoming::Drained => break true,
                // Nothing is to be said before the setup, so whatever else comes is no link to trust.
                _ => break false,
            }
        };
        if good {
            warm.connection.allow(usize::MAX);
        } else {
            self.counters.warm_links_closed.increment();
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::stream::Stream;
    use crate::net::websocket;

    /// A link, and the server's end of it.
    fn link() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        near.set_nonblocking(true).expect("a socket");
        let far = listener.accept().expect("connected").0;
        // Both ends play the server: what matters here is only that frames are read.
        let connection = Connection::server(Stream::plain(near), Vec::new(), websocket::limits(4096, 4096));
        (connection, far)
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn counted(counters: &Counters) -> (u64, u64, u64) {
        (counters.warm_links_used.get(), counters.warm_links_expired.get(), counters.warm_links_closed.get())
    }

    #[test]
    fn no_more_are_made_than_are_wanted_and_a_used_one_is_replaced() {
        let counters = Arc::new(Counters::new());
        let links = WarmLinks::new(2, Arc::clone(&counters));
        assert_eq!([links.begin(7), links.begin(7), links.begin(7)], [true, true, false]);
        let (connection, _far) = link();
        links.put(at(0), 7, Some(connection));
        links.put(at(0), 7, None);
        assert_eq!([links.begin(7), links.begin(7)], [true, false]);
        assert!(links.take(at(1), 8).is_none(), "of another credential");
        assert!(links.take(at(1), 7).is_some());
        assert!(links.take(at(1), 7).is_none());
        assert_eq!(counted(&counters), (1, 0, 0));
        assert!(!WarmLinks::new(0, counters).begin(7));
    }

    #[test]
    fn what_is_too_old_closed_or_not_wanted_is_not_handed_out() {
        let counters = Arc::new(Counters::new());
        let links = WarmLinks::new(4, Arc::clone(&counters));
        let mut far = Vec::new();
        for ms in [0, 10, 20] {
            links.begin(1);
            let (connection, end) = link();
            links.put(at(ms), 1, Some(connection));
            far.push(end);
        }
        // The youngest is closed by the server, and the next one is taken in its place.
        drop(far.pop());
        assert!(links.take(at(AGE_MS_MAX), 1).is_some());
        assert_eq!(counted(&counters), (1, 0, 1));
        links.expire(at(AGE_MS_MAX), |_| true);
        assert_eq!(counted(&counters), (1, 1, 1));
        links.begin(1);
        links.put(at(AGE_MS_MAX), 1, Some(link().0));
        links.expire(at(AGE_MS_MAX), |_| false);
        assert!(links.take(at(AGE_MS_MAX), 1).is_none());
    }

    #[test]
    fn a_server_that_says_something_before_the_setup_is_not_trusted() {
        let links = WarmLinks::new(1, Arc::new(Counters::new()));
        links.begin(1);
        let (connection, mut far) = link();
        links.put(at(0), 1, Some(connection));
        far.write_all(b"\x81\x85\0\0\0\0hello").expect("connected");
        assert!(links.take(at(1), 1).is_none());
    }
}
