//! One caller: what he says in each tick, and what becomes of everything he hears.
//!
//! Runs in: a callgen worker, one per call; no I/O (times and samples are given). Owns the call's ear and its
//! measurements. Never touches a socket. Invariant: a caller who is over has said why he is content or what failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;

use super::dialogue::{Dialogue, DialogueReport};
use super::ear::{Ear, Heard, TICK_NS};
use super::light::{Light, Next};
use super::options::Mix;
use super::switch::{Said, Switch};
use super::tape::Tape;
use super::totals::{Progress, Totals};
use super::track::{Received, TrackCounts, Tracker};
use super::turns::{Say, Turns};
use super::worker::Plan;

/// How long an echo is waited for when everything has been sent and nothing of it comes any more.
const DRAIN_NS: u64 = 2_000_000_000;
/// How long an echo is waited for that keeps coming: a playout that was held up is late by as much until the end.
const DRAIN_NS_MAX: u64 = 20_000_000_000;
/// A conversation that has not ended so long after its time is up never ends.
const OVERTIME_NS: u64 = 60_000_000_000;

/// A floor message stands for 20 ms at 16 kHz.
const FLOOR_FRAME: &[i16] = &[0; 320];

/// What the caller does.
pub(super) enum Mind {
    /// Sends marks and waits for all of them.
    Echo { tracker: Box<Tracker>, silent_frames: u64, marks: u64, drain: Option<Drain> },
    /// Sends numbered messages without WebSocket and waits for all of them.
    Floor { received: Received, sent: u64, frames: u64, drain: Option<Drain> },
    /// Talks and listens.
    Turns { turns: Box<Turns>, over_ns: u64 },
    /// Says numbered words and writes down what he hears.
    Dialogue { dialogue: Box<Dialogue>, over_ns: u64 },
    /// Sends prepared frames and counts what comes back.
    Light { light: Box<Light>, drain: Option<Drain> },
    /// Says nothing until the time is up.
    Idle { over_ns: u64 },
}

/// What is to be done in a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// Send the samples that were written.
    Send,
    /// Send the prepared frame with this number, or silence.
    Prepared(Option<u64>),
    /// Send nothing until this time.
    Wait(u64),
    /// Hang up.
    Over,
}

/// Waiting for the rest of an echo when everything has been sent.
pub(super) struct Drain {
    begun_ns: u64,
    /// Frames that had come back when one did last, and when that was.
    unique: u64,
    last_ns: u64,
}

impl Drain {
    fn new(now_ns: u64, unique: u64) -> Self {
        Self { begun_ns: now_ns, unique, last_ns: now_ns }
    }

    /// Whether nothing more is to be expected; `unique` frames have come back so far.
    fn is_over(&mut self, now_ns: u64, unique: u64) -> bool {
        if unique > self.unique {
            self.unique = unique;
            self.last_ns = now_ns;
        }
        now_ns >= (self.last_ns + DRAIN_NS).min(self.begun_ns + DRAIN_NS_MAX)
    }
}

/// One caller.
pub(super) struct Caller {
    pub(super) mind: Mind,
    /// What plays to him.
    pub(super) ear: Ear,
    pub(super) switch: Switch,
    line: usize,
    /// Round trips of this call to the arrival of the message, in µs, with two significant digits.
    pub(super) latency: Histogram<u32>,
    pub(super) frames_sent: u64,
    pub(super) samples_heard: u64,
    pub(super) messages_heard: u64,
    pub(super) clears: u32,
    /// Underruns that the course of the run knows of.
    underruns_told: u64,
    rate_hz: u64,
    /// What is said and heard, where somebody wants to listen to it.
    pub(super) tape: Option<Box<Tape>>,
}

impl Caller {
    /// The caller of call `index`, which came up at `up_ns`; his first frame is due at `first_ns`, and he talks for
    /// `length_ns`.
    pub(super) fn new(plan: &Plan, index: usize, up_ns: u64, (first_ns, length_ns): (u64, u64)) -> Self {
        let options = &plan.options;
        let warmup_ns = u64::from(options.warmup_ms) * 1_000_000;
        let mind = match (&plan.script, options.idle) {
            (_, false) if let Some(said) = &options.dialogue => {
                let (said, reader) = (said.clone(), Arc::clone(&plan.reader));
                let dialogue = Box::new(Dialogue::new(said, reader, index, first_ns + warmup_ns));
                Mind::Dialogue { dialogue, over_ns: first_ns + length_ns }
            }
            (_, true) => Mind::Idle { over_ns: first_ns + length_ns },
            _ if options.floor => {
                let frames = (length_ns / TICK_NS).max(1);
                Mind::Floor { received: Received::new(frames as usize), sent: 0, frames, drain: None }
            }
            _ if !plan.is_analysed(index) => {
                Mind::Light { light: Box::new(Light::new(options, index, first_ns, length_ns)), drain: None }
            }
            (None, _) => {
                let silent_frames = warmup_ns / TICK_NS;
                let marks = (length_ns / TICK_NS).saturating_sub(silent_frames).max(1);
                // Another number for each call, so that one call's audio in another is noticed.
                let first_number = index as u64 * 37;
                let tracker = Box::new(Tracker::new(plan.reader.clone(), first_number, marks as usize));
                Mind::Echo { tracker, silent_frames, marks, drain: None }
            }
            (Some(script), _) => {
                // The last utterance begins early enough to be answered within the time.
                let turn_ns = (script.frames + script.expected.len()) as u64 * TICK_NS + 1_500_000_000;
                let last_start_ns = first_ns + length_ns.saturating_sub(turn_ns);
                let turns = Turns::new(
                    Arc::clone(script),
                    options.rate.samples_per_frame(),
                    first_ns + warmup_ns,
                    last_start_ns,
                    options.barge_in,
                );
                Mind::Turns { turns: Box::new(turns), over_ns: first_ns + length_ns + OVERTIME_NS }
            }
        };
        let line = plan.line_of(index % plan.schedule.places);
        let (switch, ear) = Switch::new(plan.line(line).leg, options.rate, index as u64, up_ns, first_ns);
        // The bounds are constants that fulfil the constructor's conditions.
        let latency = Histogram::new_with_bounds(1, 60_000_000, 2).expect("1 to 60,000,000 with two digits");
        Self {
            mind,
            ear,
            switch,
            line,
            latency,
            frames_sent: 0,
            samples_heard: 0,
            messages_heard: 0,
            clears: 0,
            underruns_told: 0,
            rate_hz: u64::from(options.rate.hz()),
            tape: (options.keep_audio && index == 0)
                .then(|| Box::new(Tape::new(u64::from(options.rate.hz()), first_ns))),
        }
    }

    /// Says what is to be done in the tick at `now_ns`, and writes the samples to be sent into `pcm`, interleaved
    /// with two channels.
    pub(super) fn tick(&mut self, now_ns: u64, plan: &Plan, pcm: &mut Vec<i16>) -> Tick {
        // Left is the caller; right is something else that must not reach the model: another mark, other words.
        let (left, right): (&[i16], &[i16]) = match &mut self.mind {
            Mind::Idle { over_ns } => {
                return if now_ns >= *over_ns { Tick::Over } else { Tick::Wait(*over_ns) };
            }
            Mind::Echo { tracker, silent_frames, marks, drain } => {
                let other = plan.writer.frame(tracker.next_number() + 256 + self.frames_sent % 7);
                if *silent_frames > 0 {
                    *silent_frames -= 1;
                    (&plan.silence, other)
                } else if *marks > 0 {
                    *marks -= 1;
                    let frame = plan.writer.frame(tracker.next_number());
                    tracker.sent(now_ns);
                    (frame, other)
                } else {
                    let unique = tracker.counts().unique;
                    let drain = drain.get_or_insert_with(|| Drain::new(now_ns, unique));
                    if drain.is_over(now_ns, unique) || unique == tracker.frames_sent() {
                        return Tick::Over;
                    }
                    (&plan.silence, other)
                }
            }
            Mind::Floor { received, sent, frames, drain } => {
                if sent == frames {
                    let unique = received.counts.unique;
                    let drain = drain.get_or_insert_with(|| Drain::new(now_ns, unique));
                    let done = drain.is_over(now_ns, unique) || unique == *sent;
                    return if done { Tick::Over } else { Tick::Wait(now_ns + TICK_NS) };
                }
                *sent += 1;
                self.frames_sent += 1;
                return Tick::Send;
            }
            Mind::Light { light, drain } => {
                if let Next::Send(number) = light.next() {
                    self.frames_sent += 1;
                    return Tick::Prepared(number);
                }
                let heard = self.samples_heard * 50 / self.rate_hz;
                let drain = drain.get_or_insert_with(|| Drain::new(now_ns, heard));
                let is_whole = light.returned(heard).is_none_or(|returned| returned == light.loud_sent);
                let done = is_whole || drain.is_over(now_ns, heard);
                return if done { Tick::Over } else { Tick::Wait(now_ns + TICK_NS) };
            }
            Mind::Dialogue { dialogue, over_ns } => {
                let mark = dialogue.next(now_ns);
                if dialogue.is_finished() || now_ns >= *over_ns {
                    return Tick::Over;
                }
                (mark.map_or(&plan.silence[..], |mark| plan.writer.frame(mark)), &plan.silence)
            }
            Mind::Turns { turns, over_ns } => {
                let Some(script) = &plan.script else { return Tick::Over };
                let other = script.frame(self.frames_sent as usize % script.frames);
                let say = turns.next(now_ns, &mut self.ear);
                if turns.is_finished() {
                    return Tick::Over;
                }
                if now_ns >= *over_ns {
                    turns.failure.get_or_insert_with(|| "an answer did not end within 60 s".to_owned());
                    return Tick::Over;
                }
                match say {
                    Say::Silence => (&plan.silence, other),
                    Say::Frame(frame) => (script.frame(frame), other),
                }
            }
        };
        if let Some(tape) = &mut self.tape {
            tape.say(now_ns, left);
        }
        pcm.clear();
        match plan.options.mix {
            Mix::Mono => pcm.extend_from_slice(left),
            Mix::Stereo => pcm.extend(left.iter().zip(right).flat_map(|(left, right)| [*left, *right])),
        }
        self.frames_sent += 1;
        Tick::Send
    }

    /// Plays to the caller what is due until `now_ns`, and lets the switch act meanwhile.
    pub(super) fn advance(&mut self, now_ns: u64, totals: &mut Totals, said: &mut Said) {
        loop {
            let event_ns = self.switch.event_ns();
            self.listen(event_ns.min(now_ns), totals);
            if event_ns > now_ns {
                break;
            }
            self.switch.event(&mut self.ear, said);
        }
        self.switch.played(&mut self.ear, said);
    }

    fn listen(&mut self, now_ns: u64, totals: &mut Totals) {
        let Self { mind, ear, latency, rate_hz, line, tape, .. } = &mut *self;
        let mut listen = |heard: Heard<'_>| match mind {
            Mind::Echo { tracker, .. } => tracker.push(heard, |arrival| {
                let offset_ns = arrival.offset_samples.max(0) as u64 * 1_000_000_000 / *rate_hz;
                totals.round_trip(
                    *line,
                    heard.arrived_ns,
                    arrival.latency_ns,
                    arrival.ear_latency_ns,
                    offset_ns,
                );
                latency.saturating_record(arrival.latency_ns / 1000);
            }),
            Mind::Turns { turns, .. } => turns.played(heard),
            Mind::Dialogue { dialogue, .. } => dialogue.played(heard),
            Mind::Idle { .. } | Mind::Floor { .. } | Mind::Light { .. } => {}
        };
        ear.advance(now_ns, |heard| {
            if let Some(tape) = tape {
                tape.hear(heard.at_ns, heard.samples);
            }
            listen(heard);
        });
        let underruns = self.ear.underruns - self.underruns_told;
        if underruns > 0 {
            self.underruns_told += underruns;
            totals.count(now_ns, |bin| bin.underruns += underruns);
        }
    }

    /// A message arrived, and the switch has done with it what it does.
    pub(super) fn arrived(&mut self, now_ns: u64, said: &mut Said, totals: &mut Totals, progress: &Progress) {
        // A telephone plays at once what comes.
        self.advance(now_ns, totals, said);
        if !said.audio.is_empty() {
            let length_ns = said.audio.len() as u64 * 1_000_000_000 / self.rate_hz;
            if let Some(jitter_ns) = self.ear.arrived(now_ns, length_ns) {
                totals.jitter(self.line, now_ns, jitter_ns);
            }
            let frames_before = self.frames_heard();
            self.samples_heard += said.audio.len() as u64;
            self.messages_heard += 1;
            let frames = self.frames_heard() - frames_before;
            progress.frames_received.fetch_add(frames, Ordering::Relaxed);
            totals.count(now_ns, |bin| bin.frames_received += frames);
            if let Mind::Turns { turns, .. } = &mut self.mind {
                turns.arrived(now_ns, &said.audio, self.ear.queued_ns(now_ns));
            }
        }
    }

    /// A clear message came while `queued_ns` waited to be played.
    pub(super) fn cleared(&mut self, now_ns: u64, queued_ns: u64) {
        self.clears += 1;
        match &mut self.mind {
            Mind::Turns { turns, .. } => turns.cleared(now_ns, queued_ns),
            Mind::Light { light, .. } => light.cleared(),
            _ => {}
        }
    }

    /// Audio of so many samples arrived at a light call.
    pub(super) fn hear_light(&mut self, now_ns: u64, samples: u64, totals: &mut Totals, progress: &Progress) {
        let Mind::Light { light, .. } = &mut self.mind else { return };
        let length_ns = samples * 1_000_000_000 / self.rate_hz;
        if let Some(jitter_ns) = self.ear.arrived(now_ns, length_ns) {
            totals.jitter(self.line, now_ns, jitter_ns);
        }
        let hole_ns = light.heard(now_ns, length_ns);
        let frames_before = self.frames_heard();
        self.samples_heard += samples;
        self.messages_heard += 1;
        let frames = self.frames_heard() - frames_before;
        progress.frames_received.fetch_add(frames, Ordering::Relaxed);
        if let Some(hole_ns) = hole_ns {
            self.ear.note_underrun(hole_ns);
            self.underruns_told += 1;
        }
        totals.count(now_ns, |bin| {
            bin.frames_received += frames;
            bin.underruns += u64::from(hole_ns.is_some());
        });
    }

    /// A floor message of 20 ms arrived, with the number and the time that were sent with it.
    pub(super) fn hear_floor(
        &mut self,
        now_ns: u64,
        number: u64,
        sent_ns: u64,
        totals: &mut Totals,
        progress: &Progress,
    ) {
        if let Some(jitter_ns) = self.ear.arrived(now_ns, TICK_NS) {
            totals.jitter(self.line, now_ns, jitter_ns);
        }
        self.listen(now_ns, totals);
        self.ear.push(now_ns, FLOOR_FRAME);
        self.ear.release_to(self.ear.pushed());
        self.samples_heard += self.rate_hz / 50;
        self.messages_heard += 1;
        progress.frames_received.fetch_add(1, Ordering::Relaxed);
        totals.count(now_ns, |bin| bin.frames_received += 1);
        if let Mind::Floor { received, sent, .. } = &mut self.mind {
            if number >= *sent {
                received.counts.foreign += 1;
            } else if received.note(number) {
                let latency_ns = now_ns.saturating_sub(sent_ns);
                totals.round_trip(self.line, now_ns, latency_ns, latency_ns, 0);
                self.latency.saturating_record(latency_ns / 1000);
            }
        }
    }

    /// Frames of 20 ms received.
    pub(super) fn frames_heard(&self) -> u64 {
        self.samples_heard * 50 / self.rate_hz
    }

    /// The counts of marked audio, and how many marked frames were sent; zeros where there are no marks.
    pub(super) fn track(&self) -> (TrackCounts, u64) {
        match &self.mind {
            Mind::Echo { tracker, .. } => (tracker.counts(), tracker.frames_sent()),
            Mind::Floor { received, sent, .. } => (received.counts, *sent),
            Mind::Light { light, .. } => match light.returned(self.frames_heard()) {
                Some(unique) => (TrackCounts { unique, ..TrackCounts::default() }, light.loud_sent),
                None => Default::default(),
            },
            _ => (TrackCounts::default(), 0),
        }
    }

    /// The conversation, if the call is one.
    pub(super) fn turns(&self) -> Option<&Turns> {
        if let Mind::Turns { turns, .. } = &self.mind { Some(turns) } else { None }
    }

    /// What was said and heard, if the caller wrote it down.
    pub(super) fn dialogue(&self) -> Option<&DialogueReport> {
        if let Mind::Dialogue { dialogue, .. } = &self.mind { Some(dialogue.report()) } else { None }
    }

    /// What the caller found wrong with what he heard, once he is over.
    pub(super) fn complaint(&self) -> Option<String> {
        match &self.mind {
            Mind::Idle { .. } | Mind::Dialogue { .. } => None,
            Mind::Turns { turns, .. } => turns.failure.clone(),
            Mind::Light { light, .. } if light.returned(0).is_none() => {
                (self.samples_heard == 0 && light.has_been_answered()).then(|| "no answer at all".to_owned())
            }
            Mind::Echo { .. } | Mind::Floor { .. } | Mind::Light { .. } => {
                let (counts, sent) = self.track();
                if counts.unique == 0 && sent > 0 {
                    Some("no echo at all".to_owned())
                } else if counts.foreign > 0 {
                    Some("audio of another call".to_owned())
                } else if counts.unique < sent {
                    Some("lost frames".to_owned())
                } else if counts.repeated > 0 {
                    Some("repeated frames".to_owned())
                } else if counts.reordered > 0 {
                    Some("reordered frames".to_owned())
                } else {
                    None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_echo_is_waited_for_as_long_as_it_comes() {
        let second = |n: u64| n * 1_000_000_000;
        let mut drain = Drain::new(0, 100);
        assert!(!drain.is_over(second(1), 100));
        assert!(!drain.is_over(second(2) - 1, 101), "late, but it comes");
        assert!(!drain.is_over(second(3), 101));
        assert!(drain.is_over(second(4), 101), "nothing for two seconds");
        let mut endless = Drain::new(0, 0);
        assert_eq!((1..).find(|n| endless.is_over(second(*n), *n)), Some(20));
    }
}
