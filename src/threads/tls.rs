//! The tls thread: the arithmetic of TLS handshakes with switches, by turns of their addresses.
//!
//! Runs in: one tls thread, if `listen.tls_certificate` is set. Owns the handshakes of which a step is due.
//! Never waits for a peer: a handshake that has to wait lies with the accept thread. One thread, so that all handshakes
//! together never take more than one core from the calls that run.
//! Invariant: each job is answered once, unless its time was over; and who brings many waits for itself.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::base::Instant;
use crate::base::turns::Turns;
use crate::net::greeting::Greeting;
use crate::net::tls::Identity;
use crate::sync::{Clock, Outbox};
use crate::threads::messages::AcceptOrder;

/// Jobs on their way here: more than there are handshakes, usually.
pub(crate) const JOBS_MAX: usize = 1024;
/// How soon answers are offered again that the accept thread had no room for.
const AGAIN: Duration = Duration::from_millis(5);
/// How long the thread sleeps where nothing comes.
const QUIET: Duration = Duration::from_secs(60);

/// Which handshake of the accept thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandshakeId {
    /// Its place in the table.
    pub key: usize,
    /// Which of all that had this place.
    pub number: u64,
}

/// A handshake of which a step is due.
pub(crate) struct TlsJob {
    /// Whose it is.
    pub id: HandshakeId,
    /// Where the peer is.
    pub address: IpAddr,
    /// When it is given up.
    pub deadline: Instant,
    /// The handshake.
    pub greeting: Greeting,
}

/// The thread's state.
pub(crate) struct Tls {
    /// Its jobs; it ends when nobody can bring more.
    pub jobs: Receiver<TlsJob>,
    /// To the accept thread.
    pub accept: Outbox<AcceptOrder>,
    /// Certificate and key.
    pub identity: Arc<Identity>,
    /// The clock.
    pub clock: Clock,
}

impl Tls {
    /// Works until nobody can bring more.
    ///
    /// # Errors
    /// None: what goes wrong with a handshake is its answer.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut turns = Turns::default();
        loop {
            if turns.is_empty() {
                let wait = if self.accept.flush() { QUIET } else { AGAIN };
                match self.jobs.recv_timeout(wait) {
                    Ok(job) => turns.push(job.address, job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
            for job in self.jobs.try_iter() {
                turns.push(job.address, job);
            }
            let Some(job) = turns.pop() else { continue };
            // Whoever waited so long is given up at the door, too.
            if self.clock.now() < job.deadline {
                let greeted = Box::new(job.greeting.step(&self.identity.acceptor()));
                self.accept.send(AcceptOrder::Greeted(job.id, greeted));
            }
        }
    }
}
