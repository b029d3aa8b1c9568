//! Local barge-in: when playout pauses because the caller has begun to speak, and when it goes on because the model has not
//! stopped.
//!
//! Runs in: the call's dsp worker. Owns the time at which playout goes on. Never touches audio.
//! Invariant: playout pauses for a talkspurt that begins while the caller hears the model, never longer than
//! [`PAUSE_MS_MAX`], and once for each talkspurt; a change of the turn ends the pause, for then the model has stopped.

use crate::base::{Instant, Turn};
use crate::dsp::talkspurt::Heard;

/// Speech shorter than this is a cough or a "mhm": playout goes on as soon as it is over.
const COUGH_MS: u32 = 250;
/// How long after a talkspurt the model may take to say that it was interrupted.
const PATIENCE_MS: u64 = 600;
/// The longest pause: a model that has not stopped by then takes what it hears for noise.
pub(crate) const PAUSE_MS_MAX: u64 = 5_000;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct LocalBargeIn {
    enabled: bool,
    pause: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    turn: Turn,
    until: Instant,
}

impl LocalBargeIn {
    /// Whether playout is to pause at all from here on.
    pub fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// The caller began or ended a talkspurt in this turn of the model. Returns whether playout pauses from here on.
    pub fn heard(&mut self, now: Instant, heard: Heard, turn: Turn, model_is_heard: bool) -> bool {
        match (heard, &mut self.pause) {
            (Heard::Began, None) if self.enabled && model_is_heard => {
                self.pause = Some(Pause { turn, until: now.plus_ms(PAUSE_MS_MAX) });
                return true;
            }
            (Heard::Ended { speech_ms }, Some(pause)) => {
                let patience_ms = if speech_ms < COUGH_MS { 0 } else { PATIENCE_MS };
                pause.until = pause.until.min(now.plus_ms(patience_ms));
            }
            _ => {}
        }
        false
    }

    /// Whether playout pauses now.
    pub fn is_paused(&mut self, now: Instant, turn: Turn) -> bool {
        if self.pause.as_ref().is_some_and(|pause| now >= pause.until || pause.turn != turn) {
            self.pause = None;
        }
        self.pause.is_some()
    }

    /// When playout goes on at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.pause.as_ref().map(|pause| pause.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: Heard = Heard::Ended { speech_ms: 900 };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1_000)
    }

    fn paused() -> LocalBargeIn {
        let mut local = LocalBargeIn { enabled: true, pause: None };
        assert!(local.heard(at(0), Heard::Began, 1, true));
        assert!(local.is_paused(at(1), 1));
        local
    }

    #[test]
    fn playout_goes_on_when_the_model_does_not_stop_and_at_once_after_a_cough() {
        for (speech_ms, patience_ms) in [(900, PATIENCE_MS), (120, 0)] {
            let mut local = paused();
            assert!(!local.heard(at(800), Heard::Ended { speech_ms }, 1, true));
            assert_eq!(local.deadline(), Some(at(800 + patience_ms)));
            assert!(!local.is_paused(at(800 + patience_ms), 1));
        }
    }

    #[test]
    fn a_model_that_stops_ends_the_pause() {
        let mut local = paused();
        assert!(!local.is_paused(at(300), 2));
        assert!(!local.heard(at(500), ENDED, 2, true) && !local.is_paused(at(501), 2));
    }

    #[test]
    fn a_caller_who_never_stops_is_taken_for_noise_and_pauses_playout_once() {
        let mut local = paused();
        assert!(local.is_paused(at(PAUSE_MS_MAX - 1), 1));
        assert!(!local.is_paused(at(PAUSE_MS_MAX), 1));
        assert!(!local.heard(at(PAUSE_MS_MAX + 500), ENDED, 1, true));
        assert!(!local.is_paused(at(PAUSE_MS_MAX + 501), 1));
    }

    #[test]
    fn nothing_pauses_where_it_is_not_wanted_or_nothing_is_heard() {
        let mut local = LocalBargeIn::default();
        assert!(!local.heard(at(0), Heard::Began, 1, true) && !local.is_paused(at(1), 1));
        local.enable(true);
        assert!(!local.heard(at(2), Heard::Began, 1, false) && !local.is_paused(at(3), 1));
    }
}
