//! The model: a Gemini simulator in this process, its events waited for by deadline.
//!
//! Runs in: the test's thread. Owns the simulator and the events taken so far.
//! Never loses an event: what one wait passes over, the next one still sees.
//! Invariant: sessions are numbered from 1 in the order in which links connect.

use std::cell::RefCell;
use std::time::Instant;

use tandem_loadtest::sim::{AudioKept, SimConfig, SimEvent, Simulator, Voice, What};

use super::{KEY, PATIENCE};

/// A simulator and what it has told.
pub(crate) struct Model {
    simulator: Simulator,
    seen: RefCell<Vec<SimEvent>>,
}

/// The configuration of most tests: this voice, samples kept, no key but [`KEY`].
pub(crate) fn speaking(voice: Voice) -> SimConfig {
    SimConfig { voice, api_key: Some(KEY.to_owned()), audio_kept: AudioKept::Samples, ..SimConfig::default() }
}

impl Model {
    /// Starts one.
    pub(crate) fn start(config: SimConfig) -> Self {
        let simulator = Simulator::start(config).expect("a free port on loopback");
        Self { simulator, seen: RefCell::default() }
    }

    /// The base URL for a relay.
    pub(crate) fn url(&self) -> String {
        self.simulator.url()
    }

    /// The simulator itself, to be told something.
    pub(crate) fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Waits until `find` finds what it looks for in all events so far.
    pub(crate) fn until<T>(&self, what: &str, find: impl Fn(&[SimEvent]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.borrow_mut();
        loop {
            seen.extend(self.simulator.events().try_iter());
            if let Some(found) = find(&seen) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.simulator.events().recv_timeout(left) {
                Ok(event) => seen.push(event),
                Err(_) => panic!("the simulator did not see {what}; the last events are {:#?}", tail(&seen)),
            }
        }
    }

    /// Waits for an event of a session, and gives the first.
    pub(crate) fn event<T>(&self, session: u64, what: &str, find: impl Fn(&What) -> Option<T>) -> T {
        self.until(what, |events| {
            events.iter().filter(|event| event.session == session).find_map(|event| find(&event.what))
        })
    }

    /// Waits until a session's setup is complete.
    pub(crate) fn ready(&self, session: u64) {
        self.event(session, "setupComplete", |what| (*what == What::SetupComplete).then_some(()));
    }

    /// Waits until a session has heard at least so many samples.
    pub(crate) fn heard(&self, session: u64, samples: usize) {
        self.until(&format!("{samples} samples of session {session}"), |events| {
            (samples_heard(events, session) >= samples).then_some(())
        });
    }

    /// What a session has heard so far.
    pub(crate) fn audio_so_far(&self, session: u64) -> Vec<i16> {
        self.simulator.audio(session)
    }

    /// Waits until a session's connection is over, and gives every sample that it heard.
    pub(crate) fn audio(&self, session: u64) -> Vec<i16> {
        self.event(session, "the end of the connection", |what| match what {
            What::Closed { .. } => Some(()),
            _ => None,
        });
        self.simulator.audio(session)
    }
}

/// Samples in the audio messages of a session.
pub(crate) fn samples_heard(events: &[SimEvent], session: u64) -> usize {
    let of_audio = |event: &SimEvent| match event.what {
        What::Audio { samples, .. } if event.session == session => samples,
        _ => 0,
    };
    events.iter().map(of_audio).sum()
}

fn tail(events: &[SimEvent]) -> Vec<&SimEvent> {
    let worth_telling = events.iter().filter(|event| !matches!(event.what, What::Audio { .. }));
    worth_telling.rev().take(12).collect()
}
