//! How the relay's threads begin.
//!
//! Runs in: the main thread. Owns nothing once a thread runs.
//! Invariant: a thread that cannot go on ends the process, so that a supervisor starts the relay anew.

use std::io;
use std::thread::{self, JoinHandle};

use log::error;

/// A thread that waits for its work, so that its doorbell can be made before.
pub(super) struct Waiting {
    work: crossbeam_channel::Sender<Box<dyn FnOnce() + Send>>,
    handle: JoinHandle<()>,
}

impl Waiting {
    /// A thread of this name.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (work, begin) = crossbeam_channel::bounded::<Box<dyn FnOnce() + Send>>(1);
        let handle = thread::Builder::new().name(name.into()).spawn(move || {
            if let Ok(work) = begin.recv() {
                work();
            }
        })?;
        Ok(Self { work, handle })
    }

    /// The thread itself, for its doorbell.
    pub(super) fn thread(&self) -> thread::Thread {
        self.handle.thread().clone()
    }

    /// Gives it its work.
    pub(super) fn begin(self, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        // The thread waits for exactly this, so sending cannot fail.
        _ = self.work.send(Box::new(work));
        self.handle
    }
}

/// Starts a thread that the relay cannot do without.
pub(super) fn start(
    name: &str,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = name.to_owned();
    thread::Builder::new().name(name.clone()).spawn(move || {
        if let Err(problem) = run() {
            error!("the {name} thread cannot go on: {problem}; ending, so that a supervisor starts the relay anew");
            std::process::exit(1);
        }
    })
}
