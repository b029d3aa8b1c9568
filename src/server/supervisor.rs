//! What systemd, or another supervisor that speaks its protocol (sd_notify(3)), is told: that the relay is ready, reloads,
//! stops, and lives.
//!
//! Runs in: a thread of its own, only where NOTIFY_SOCKET is set. Owns nothing but clones of the threads' doorbells.
//! Never says that the relay lives because this thread does: it rings at every thread that calls depend on, and is silent
//! when one of them does not answer.
//! Invariant: a thread that hangs for as long as WatchdogSec= says leads to no WATCHDOG=1 in that time, so that systemd
//! ends the process and starts it anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{error, warn};
use sd_notify::NotifyState;

use super::Server;
use super::begin::start as start_thread;
use crate::admission::Registry;
use crate::sync::Doorbell;

/// The doorbells of the threads that every call depends on, with the threads' names.
pub(super) type Bells = Vec<(String, Doorbell)>;

/// How often the threads are rung at, and the number of calls is told, where the watchdog does not ask for more.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in the time after which systemd gives the relay up.
const LOOKS_PER_WATCHDOG: u32 = 4;
/// While calls finish, systemd is asked for so much more time at every look: drain.seconds may be longer than
/// TimeoutStopSec=, and only the relay knows.
const MORE_TIME_TO_STOP: Duration = Duration::from_secs(30);

/// Says that the relay is ready and begins to watch it, if there is somebody to tell. What is returned ends the watch
/// when it is dropped.
///
/// # Errors
/// Those of starting a thread.
pub(super) fn start(server: &Server) -> io::Result<Option<Sender<()>>> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(None);
    }
    let (ended, end) = bounded(0);
    let watchdog = sd_notify::watchdog_enabled();
    let watch = Watch {
        look: watchdog.map_or(LOOK, |within| LOOK.min(within / LOOKS_PER_WATCHDOG)),
        watchdog: watchdog.is_some(),
        threads: Pulse::new(server.bells.clone()),
        registry: Arc::clone(&server.relay.registry),
        end,
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&status(0, server.relay.registry.max_calls(), false))]);
    start_thread("supervisor", move || {
        watch.run();
        Ok(())
    })?;
    Ok(Some(ended))
}

/// Says that the configuration is being read anew, while it is.
pub(super) fn while_reloading(reload: impl FnOnce()) {
    let mut reloading = vec![NotifyState::Reloading];
    reloading.extend(NotifyState::monotonic_usec_now());
    tell(&reloading);
    reload();
    tell(&[NotifyState::Ready]);
}

/// Says that the relay ends when its calls have ended.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the supervisor, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        warn!(
            "the supervisor cannot be told {states:?}: {problem}; is NOTIFY_SOCKET the one of this service?"
        );
    }
}

fn status(calls: usize, max_calls: usize, draining: bool) -> String {
    if draining {
        format!("draining: {calls} calls may finish")
    } else {
        format!("{calls} of {max_calls} calls")
    }
}

struct Watch {
    look: Duration,
    watchdog: bool,
    threads: Pulse,
    registry: Arc<Registry>,
    end: Receiver<()>,
}

impl Watch {
    fn run(mut self) {
        let mut told = String::new();
        let mut draining = false;
        while self.end.recv_timeout(self.look) == Err(RecvTimeoutError::Timeout) {
            let mut states = Vec::new();
            let calls = self.registry.live_calls();
            if self.registry.is_draining() && !draining {
                // Not every drain begins with a signal.
                states.push(NotifyState::Stopping);
                draining = true;
            }
            let hanging = self.threads.hanging();
            // Threads end one after another when the last call has ended: systemd's time to stop is the limit then.
            let ending = draining && calls == 0;
            if hanging.is_empty() || ending {
                states.extend(self.watchdog.then_some(NotifyState::Watchdog));
            } else {
                let within = self.look;
                error!(
                    "no answer from the threads {hanging:?} within {within:?}: the supervisor is not told that the relay lives"
                );
            }
            if draining && !ending && hanging.is_empty() {
                states.push(NotifyState::ExtendTimeoutUsec(MORE_TIME_TO_STOP.as_micros() as u32));
            }
            let status = status(calls, self.registry.max_calls(), draining);
            let news = (status != told).then(|| status.clone());
            states.extend(news.as_deref().map(NotifyState::Status));
            if !states.is_empty() {
                tell(&states);
            }
            told = status;
        }
    }
}

/// Whether threads make progress: each is rung at, and has to have answered when it is looked at again.
struct Pulse {
    threads: Vec<(String, Doorbell, u64)>,
}

impl Pulse {
    /// Rings at each for the first time.
    fn new(bells: Bells) -> Self {
        let ring = |(name, bell): (String, Doorbell)| {
            let answers = bell.answers();
            bell.ring();
            (name, bell, answers)
        };
        Self { threads: bells.into_iter().map(ring).collect() }
    }

    /// The names of those that have not answered since the last look; rings again.
    fn hanging(&mut self) -> Vec<&str> {
        let mut hanging = Vec::new();
        for (name, bell, seen) in &mut self.threads {
            let answers = bell.answers();
            if answers == *seen {
                hanging.push(name.as_str());
            }
            *seen = answers;
            bell.ring();
        }
        hanging
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bell(name: &str) -> (String, Doorbell) {
        (name.to_owned(), Doorbell::for_parked(std::thread::current()))
    }

    #[test]
    fn a_thread_that_does_not_answer_is_named_until_it_does() {
        let (control, accept) = (bell("control"), bell("accept"));
        let mut pulse = Pulse::new(vec![control.clone(), accept.clone()]);
        control.1.answer();
        assert_eq!(pulse.hanging(), ["accept"]);
        control.1.answer();
        assert_eq!(pulse.hanging(), ["accept"]);
        accept.1.answer();
        assert_eq!(pulse.hanging(), ["control"]);
        control.1.answer();
        accept.1.answer();
        assert!(pulse.hanging().is_empty());
    }

    #[test]
    fn a_ring_of_somebody_else_is_no_sign_of_life_and_none_of_death() {
        let control = bell("control");
        let mut pulse = Pulse::new(vec![control.clone()]);
        control.1.ring();
        assert_eq!(pulse.hanging(), ["control"]);
        control.1.answer();
        // Rung again before the look: it did answer in between.
        control.1.ring();
        assert!(pulse.hanging().is_empty());
    }
}
