//! The relay from its start to the signal that ends it, and what other signals ask for.
//!
//! Runs in: the main thread, which waits for the end, and the signal thread. Owns the signals of the process.
//! Invariant: signals are taken before anything listens, so that none finds the default action.

use std::thread;
use std::time::Duration;

use log::info;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Server;
use super::reload::Reload;
use super::supervisor;
use crate::config::{Loaded, Sources};
use crate::net::passed::Passed;
use crate::sync::Outbox;
use crate::threads::messages::{AcceptOrder, ControlInput, Drain};
use crate::threads::relay::Relay;

/// The exit status after a second SIGINT, as shells report a process that SIGINT ended.
const STATUS_INTERRUPTED: i32 = 130;

/// Runs the relay until a signal ends it: SIGTERM or SIGINT lets calls finish, a second SIGINT ends it at once, SIGUSR1
/// logs the counters, SIGHUP reads the configuration anew.
///
/// # Errors
/// Why it cannot start, with the remedy.
pub fn run(loaded: Loaded, sources: Sources) -> Result<(), String> {
    // Before anything listens, so that no signal finds the default action.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])
        .map_err(|problem| format!("signals cannot be handled: {problem}"))?;
    let server = Server::start_with(&loaded.config, Passed::from_environment()?)?;
    let mut handle = server.handle();
    let timeout = loaded.config.drain.timeout;
    let reload = Reload::new(loaded, sources, &server);
    // Ends when it is dropped, after everything else has ended.
    let supervisor =
        supervisor::start(&server).map_err(|problem| format!("a thread cannot be started: {problem}"))?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut interrupted = false;
            for signal in signals.forever() {
                match signal {
                    SIGUSR1 => handle.log_counters(),
                    SIGHUP => supervisor::while_reloading(|| reload.reload()),
                    SIGINT if interrupted => std::process::exit(STATUS_INTERRUPTED),
                    signal => {
                        interrupted |= signal == SIGINT;
                        supervisor::stopping();
                        handle.drain(timeout);
                    }
                }
            }
        })
        .map_err(|problem| format!("a thread cannot be started: {problem}"))?;
    server.join();
    drop(supervisor);
    info!("ended");
    Ok(())
}

/// What another thread may ask of a running relay.
pub struct Handle {
    pub(super) relay: Relay,
    pub(super) accept: Outbox<AcceptOrder>,
    pub(super) control: Outbox<ControlInput>,
}

impl Handle {
    /// Takes no new calls; running ones may go on for `timeout`. A door of its own stays open meanwhile, so that a switch or
    /// a proxy is told at once, and why, in place of a refused or reset connection. At a socket that was passed to the relay,
    /// connections wait for whoever is given it next.
    pub fn drain(&mut self, timeout: Duration) {
        // What an order of the API has begun to move goes on moving.
        let moves = self.relay.registry.is_moving();
        self.relay.registry.drain(moves);
        let by = self.relay.clock.now().plus(timeout);
        self.accept.send(AcceptOrder::Drain(Some(Drain { by, moves })));
    }

    /// Logs what was counted so far.
    pub fn log_counters(&mut self) {
        self.control.send(ControlInput::LogCounters);
    }
}
