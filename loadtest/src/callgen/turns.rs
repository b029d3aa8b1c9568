//! A caller who talks in turns: says the utterance, waits for the answer, checks it, and begins again; with barge-in
//! he speaks over each answer once and measures how long it goes on.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns the state of the conversation and what it
//! measured. Never sends: it says which frame is next. Invariant: every utterance ends in an answer that was
//! checked, in a barge-in, or in a failure with a reason.

use std::sync::Arc;

use super::ear::{Ear, Heard};
use super::envelope::Envelope;
use super::source::{Script, is_audible};

const MS: u64 = 1_000_000;
/// An answer has ended when nothing audible came for so long and nothing is queued.
const ANSWER_END_NS: u64 = 800 * MS;
/// An answer that has not begun by then does not come.
const ANSWER_WAIT_NS: u64 = 10_000 * MS;
/// An answer is spoken over when it has been heard for so long.
const BARGE_IN_AFTER_NS: u64 = 1_000 * MS;
/// An answer still handed over so long after being spoken over has not stopped; the bundled answers have at least
/// 2 s left at that moment.
const STOP_NS: u64 = 1_500 * MS;

/// What is sent in this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Digital silence.
    Silence,
    /// This frame of the utterance.
    Frame(usize),
}

/// One barge-in, measured; times from the sending of the first audible frame spoken over the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BargeIn {
    /// Until the last old sample had been played in the modelled switch, in ns.
    pub played_ns: u64,
    /// Until the last old audio was handed over, in ns.
    pub handed_over_ns: u64,
    /// Until the clear message, in ns, if one came.
    pub clear_ns: Option<u64>,
    /// Old audio in the switch's queue at the clear message, or at the last hand-over if none came, in ns.
    pub residual_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Silence until this time, then speech.
    Pausing {
        until_ns: u64,
    },
    Talking {
        frame: usize,
    },
    Waiting {
        ended_ns: u64,
    },
    Listening {
        first_ns: u64,
        last_ns: u64,
    },
    BargingIn {
        frame: usize,
    },
    Finished,
}

/// The conversation of one call.
pub struct Turns {
    script: Arc<Script>,
    samples_per_frame: usize,
    phase: Phase,
    /// No utterance begins after this.
    last_start_ns: u64,
    barge_in: bool,
    barged: bool,
    /// Talkspurt's end, or barge-in's beginning, while it is spoken.
    mark_ns: u64,
    old_last_ns: Option<u64>,
    old_played_ns: u64,
    current: BargeIn,
    heard: Envelope,
    /// Response times: end of the talkspurt to the arrival of the first audible sample, in ns.
    pub responses_ns: Vec<u64>,
    /// Barge-ins measured.
    pub barge_ins: Vec<BargeIn>,
    /// Answers heard in full and found right.
    pub answers: u32,
    /// The lowest correlation of an answer with what was expected.
    pub correlation_min: f32,
    /// What went wrong first.
    pub failure: Option<String>,
}

impl Turns {
    /// A caller who begins to talk at `first_ns` and begins no utterance after `last_start_ns`, save the first.
    pub fn new(
        script: Arc<Script>,
        samples_per_frame: usize,
        first_ns: u64,
        last_start_ns: u64,
        barge_in: bool,
    ) -> Self {
        Self {
            script,
            samples_per_frame,
            phase: Phase::Pausing { until_ns: first_ns },
            last_start_ns,
            barge_in,
            barged: false,
            mark_ns: 0,
            old_last_ns: None,
            old_played_ns: 0,
            current: BargeIn::default(),
            heard: Envelope::default(),
            responses_ns: Vec::with_capacity(16),
            barge_ins: Vec::with_capacity(16),
            answers: 0,
            correlation_min: 1.0,
            failure: None,
        }
    }

    /// The conversation is over.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// What to send now, at the tick `now_ns`, until which the ear has played.
    pub fn next(&mut self, now_ns: u64, ear: &mut Ear) -> Say {
        self.leave_phase(now_ns);
        if !matches!(self.phase, Phase::Listening { .. }) {
            // Between answers a dry queue is no underrun.
            ear.pause();
        }
        match self.phase {
            Phase::Talking { frame } => {
                if frame == self.script.last_audible {
                    self.mark_ns = now_ns;
                }
                let ended_ns = self.mark_ns;
                let next = Phase::Talking { frame: frame + 1 };
                self.phase = if frame + 1 < self.script.frames { next } else { Phase::Waiting { ended_ns } };
                Say::Frame(frame)
            }
            Phase::BargingIn { frame } => {
                if frame == self.script.first_audible {
                    self.mark_ns = now_ns;
                    self.old_played_ns = now_ns;
                    self.current.residual_ns = ear.queued_ns(now_ns);
                }
                if frame + 1 < self.script.frames {
                    self.phase = Phase::BargingIn { frame: frame + 1 };
                } else {
                    self.end_barge_in(now_ns);
                }
                Say::Frame(frame)
            }
            Phase::Pausing { .. } | Phase::Waiting { .. } | Phase::Listening { .. } | Phase::Finished => {
                Say::Silence
            }
        }
    }

    /// Goes to the next phase if this one has ended.
    fn leave_phase(&mut self, now_ns: u64) {
        match self.phase {
            Phase::Pausing { until_ns } if now_ns >= until_ns => {
                self.phase = Phase::Talking { frame: 0 };
                self.barged = false;
            }
            Phase::Waiting { ended_ns } if now_ns.saturating_sub(ended_ns) > ANSWER_WAIT_NS => {
                self.fail("no answer within 10 s of the end of the talkspurt".to_owned());
            }
            Phase::Listening { first_ns, last_ns } => {
                let ended = now_ns.saturating_sub(last_ns) >= ANSWER_END_NS;
                let is_due = now_ns.saturating_sub(first_ns) >= BARGE_IN_AFTER_NS;
                if self.barge_in && !self.barged && is_due && !ended {
                    self.barged = true;
                    self.old_last_ns = None;
                    self.current = BargeIn::default();
                    self.phase = Phase::BargingIn { frame: 0 };
                } else if ended {
                    self.end_answer(now_ns);
                }
            }
            _ => {}
        }
    }

    /// Something is heard.
    pub fn played(&mut self, heard: Heard<'_>) {
        let end_ns = heard.at_ns + self.ns(heard.samples.len());
        let audible = is_audible(heard.samples);
        match &mut self.phase {
            Phase::Waiting { ended_ns } if audible => {
                self.responses_ns.push(heard.at_ns.saturating_sub(*ended_ns));
                self.phase = Phase::Listening { first_ns: heard.at_ns, last_ns: end_ns };
                self.heard.clear();
                self.heard.push(heard.samples, self.samples_per_frame);
            }
            Phase::Listening { last_ns, .. } => {
                if audible {
                    *last_ns = end_ns;
                }
                self.heard.push(heard.samples, self.samples_per_frame);
            }
            Phase::BargingIn { frame } if audible && *frame > self.script.first_audible => {
                self.old_played_ns = end_ns;
            }
            _ => {}
        }
    }

    fn ns(&self, samples: usize) -> u64 {
        samples as u64 * super::ear::TICK_NS / self.samples_per_frame as u64
    }

    /// Audio was handed over, and `queued_ns` wait to be played.
    pub fn arrived(&mut self, now_ns: u64, samples: &[i16], queued_ns: u64) {
        if let Phase::BargingIn { frame } = self.phase
            && frame > self.script.first_audible
            && is_audible(samples)
        {
            self.old_last_ns = Some(now_ns);
            if self.current.clear_ns.is_none() {
                self.current.residual_ns = queued_ns;
            }
        }
    }

    /// A clear message came while `queued_ns` waited to be played.
    pub fn cleared(&mut self, now_ns: u64, queued_ns: u64) {
        if let Phase::BargingIn { frame } = self.phase
            && frame > self.script.first_audible
            && self.current.clear_ns.is_none()
        {
            self.current.clear_ns = Some(now_ns.saturating_sub(self.mark_ns));
            self.current.residual_ns = queued_ns;
        }
    }

    /// The words spoken over the answer have been said.
    fn end_barge_in(&mut self, now_ns: u64) {
        let began_ns = self.mark_ns;
        self.current.handed_over_ns = self.old_last_ns.map_or(0, |at| at.saturating_sub(began_ns));
        self.current.played_ns = self.old_played_ns.saturating_sub(began_ns);
        self.barge_ins.push(self.current);
        let talkspurt_end_ns =
            now_ns - (self.script.frames - 1 - self.script.last_audible) as u64 * super::ear::TICK_NS;
        if self.current.handed_over_ns > STOP_NS {
            self.fail("the answer went on while the caller spoke over it".to_owned());
        } else {
            self.phase = Phase::Waiting { ended_ns: talkspurt_end_ns };
        }
    }

    /// An answer has been heard to its end.
    fn end_answer(&mut self, now_ns: u64) {
        if self.barge_in && !self.barged {
            self.fail("the answer ended before it could be spoken over; make it longer than 2 s".to_owned());
            return;
        }
        let fit = self.script.expected.compare(&self.heard);
        self.correlation_min = self.correlation_min.min(fit.correlation);
        if !fit.is_good() {
            // One text per kind, without figures, so that equal failures are counted together.
            let what =
                if fit.correlation < 0.8 { "is not the expected audio" } else { "has the wrong length" };
            log::info!("an answer {what}: {fit:?}");
            self.fail(format!("an answer {what}"));
            return;
        }
        self.answers += 1;
        self.phase =
            if now_ns <= self.last_start_ns { Phase::Pausing { until_ns: now_ns } } else { Phase::Finished };
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
        self.phase = Phase::Finished;
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{Audio, Expect, Options};
    use super::*;
    use tandem::base::SampleRate;

    const FRAME: usize = 320;

    /// Runs a conversation in virtual time against a model that begins to answer 600 ms after the talkspurt, hands
    /// 60 ms ahead of real time, and stops 100 ms after being spoken over (never, if `deaf`).
    fn converse(expect: Expect, barge_in: bool, deaf: bool, spoil: fn(&mut Vec<i16>)) -> (Turns, Ear) {
        let options = Options { audio: Audio::Speech, expect, ..Options::default() };
        let script = Arc::new(Script::new(&options).expect("speech"));
        let mut answer: Vec<i16> = match expect {
            Expect::Answer => super::super::source::answer(SampleRate::Hz16000),
            _ => (0..script.frames).flat_map(|i| script.frame(i).to_vec()).collect(),
        };
        spoil(&mut answer);
        let mut ear = Ear::ticking(16_000, 0);
        let mut turns = Turns::new(script.clone(), FRAME, 100 * MS, 12_000 * MS, barge_in);
        // The model: tick at which it answers, frame it has come to, tick at which it stops.
        let (mut answer_at, mut at, mut stop_at) = (u64::MAX, usize::MAX, u64::MAX);
        for tick in 0..10_000u64 {
            let now = tick * 20 * MS;
            ear.advance(now, |heard| turns.played(heard));
            match turns.next(now, &mut ear) {
                Say::Frame(frame) if frame == script.first_audible && at < usize::MAX && !deaf => {
                    stop_at = tick + 5
                }
                Say::Frame(frame) if frame == script.last_audible => answer_at = tick + 30,
                _ => {}
            }
            if tick == stop_at {
                (at, stop_at) = (usize::MAX, u64::MAX);
                let cleared = ear.clear();
                turns.cleared(now + MS, cleared);
            }
            let frames = match tick.cmp(&answer_at) {
                std::cmp::Ordering::Equal => {
                    at = 0;
                    3
                }
                _ => 1,
            };
            for _ in 0..frames {
                match answer.get(at.saturating_mul(FRAME)..at.saturating_add(1).saturating_mul(FRAME)) {
                    Some(samples) if at < usize::MAX => {
                        ear.push(now + 2 * MS, samples);
                        ear.release_to(ear.pushed());
                        turns.arrived(now + 2 * MS, samples, ear.queued_ns(now));
                        at += 1;
                    }
                    _ => at = usize::MAX,
                }
            }
            if turns.is_finished() {
                return (turns, ear);
            }
        }
        panic!("the conversation does not end");
    }

    #[test]
    fn answers_are_timed_and_checked_until_the_time_is_up() {
        for expect in [Expect::Parrot, Expect::Answer] {
            let (turns, ear) = converse(expect, false, false, |_| {});
            assert_eq!(turns.failure, None);
            assert!(turns.answers >= 2, "{}", turns.answers);
            assert_eq!(turns.responses_ns.len(), turns.answers as usize);
            // 30 ticks, the next one, and at most 3 more frames until the answer's first audible sample.
            assert!(
                turns.responses_ns.iter().all(|ns| (620 * MS..=680 * MS).contains(ns)),
                "{:?}",
                turns.responses_ns
            );
            assert_eq!((ear.underruns, ear.dropped), (0, 0));
        }
    }

    #[test]
    fn a_barge_in_is_measured_at_the_ear_and_at_the_hand_over() {
        let (turns, _) = converse(Expect::Answer, true, false, |_| {});
        assert_eq!(turns.failure, None);
        assert!(!turns.barge_ins.is_empty());
        for barge_in in &turns.barge_ins {
            // Last handed over in the fourth tick after the beginning, cleared in the fifth, with 60 ms queued.
            assert_eq!(barge_in.clear_ns, Some(101 * MS));
            // The packet of the tick at 100 ms is heard to its end.
            assert_eq!(barge_in.played_ns, 120 * MS);
            assert_eq!(barge_in.handed_over_ns, 82 * MS);
            assert_eq!(barge_in.residual_ns, 40 * MS);
        }
    }

    #[test]
    fn an_answer_that_goes_on_is_cut_or_is_another_fails_the_call() {
        let (turns, _) = converse(Expect::Answer, true, true, |_| {});
        assert!(turns.failure.is_some_and(|why| why.contains("went on")));
        let (turns, _) = converse(Expect::Parrot, false, false, |answer| answer.truncate(answer.len() / 2));
        assert!(turns.failure.is_some_and(|why| why.starts_with("an answer")));
        let (turns, _) = converse(Expect::Parrot, false, false, |answer| answer.reverse());
        assert!(turns.failure.is_some_and(|why| why.contains("not the expected audio")));
        let (turns, _) = converse(Expect::Parrot, false, false, Vec::clear);
        assert!(turns.failure.is_some_and(|why| why.contains("no answer")));
    }
}
