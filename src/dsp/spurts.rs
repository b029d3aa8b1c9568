//! Talkspurts marked in the uplink, and the pre-roll held back where the relay takes the turns.
//!
//! Runs in: the call's dsp worker, between [`crate::dsp::Uplink`] and the ring towards the model. Owns the frames that it
//! holds back. Never allocates after it was made; never drops a frame.
//! Invariant: every frame leaves in the order in which it came, each [`FrameKind::SpurtStart`] before the talkspurt's
//! pre-roll, each [`FrameKind::SpurtEnd`] behind its hangover, and these two alternate.

use std::collections::VecDeque;

use crate::base::units::PTIME_MS;
use crate::base::{Frame, FrameKind, FrameSink};
use crate::dsp::level::peak;
use crate::dsp::talkspurt::{Heard, Talkspurts};

/// The most that is held back before a talkspurt: two syllables.
pub(crate) const PRE_ROLL_MS_MAX: u32 = 300;
const PRE_ROLL_FRAMES_MAX: usize = (PRE_ROLL_MS_MAX / PTIME_MS) as usize;
/// Frames and marks at most: the pre-roll, and as many again while the model's ring is full.
const HELD_MAX: usize = 2 * PRE_ROLL_FRAMES_MAX;

/// How the caller is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenTerms {
    /// A talkspurt has ended when nothing was said for so long.
    pub hangover_ms: u32,
    /// So much of what was heard before a talkspurt was found is held back, to come behind its mark; at most
    /// [`PRE_ROLL_MS_MAX`]. 0 where the model finds the talkspurts itself: nothing is held back, and the mark stands where the
    /// talkspurt was found.
    pub pre_roll_ms: u32,
    /// The caller's ear falls silent as soon as they speak, without waiting for the model to say so.
    pub local_barge_in: bool,
}

impl Default for ListenTerms {
    fn default() -> Self {
        Self { hangover_ms: 600, pre_roll_ms: 0, local_barge_in: false }
    }
}

/// See the head of this file.
pub struct Spurts {
    talkspurts: Talkspurts,
    held: VecDeque<Frame>,
    /// Frames of a full pre-roll.
    pre_roll: usize,
    /// The newest frames held that may be held on.
    keep: usize,
    /// What began or ended since it was last asked.
    heard: Option<Heard>,
    released: bool,
    peak: u16,
}

impl Spurts {
    /// Of a call that begins.
    pub fn new(terms: ListenTerms) -> Self {
        let mut spurts = Self {
            talkspurts: Talkspurts::new(terms.hangover_ms),
            held: VecDeque::with_capacity(HELD_MAX),
            pre_roll: 0,
            keep: 0,
            heard: None,
            released: false,
            peak: 0,
        };
        spurts.set(terms);
        spurts
    }

    /// Listens in another way from here on.
    pub fn set(&mut self, terms: ListenTerms) {
        self.talkspurts.set_hangover(terms.hangover_ms);
        self.pre_roll = ((terms.pre_roll_ms / PTIME_MS) as usize).min(PRE_ROLL_FRAMES_MAX);
        self.keep = self.keep.min(self.pre_roll);
    }

    /// Whether the caller speaks.
    pub fn is_speaking(&self) -> bool {
        self.talkspurts.is_speaking()
    }

    /// What began or ended since this was last asked; the latest if it was several.
    pub fn heard(&mut self) -> Option<Heard> {
        self.heard.take()
    }

    /// The largest magnitude that was lately heard, 0 to 32768: it falls by a fifth with each frame.
    pub fn peak(&self) -> u16 {
        self.peak
    }

    /// Whether something waits that is not held back on purpose.
    pub fn has_backlog(&self) -> bool {
        self.held.len() > self.keep
    }

    /// A sink in front of `sink`, for one pass. What waits goes first.
    pub(crate) fn before<'a, S: FrameSink>(&'a mut self, sink: &'a mut S) -> Marked<'a, S> {
        self.released = false;
        self.release(sink);
        Marked { spurts: self, sink }
    }

    /// Whether anything was put into the sink since [`Spurts::before`].
    pub fn has_released(&self) -> bool {
        self.released
    }

    fn release(&mut self, sink: &mut impl FrameSink) {
        while self.held.len() > self.keep && sink.room() > 0 {
            let Some(frame) = self.held.pop_front() else { return };
            sink.put(frame);
            self.released = true;
        }
    }

    fn take(&mut self, frame: Frame, sink: &mut impl FrameSink) {
        let pauses = frame.kind == FrameKind::End;
        let heard = if pauses { self.talkspurts.stop() } else { self.talkspurts.hear(frame.samples()) };
        self.heard = heard.or(self.heard);
        self.peak = peak(frame.samples()).max(self.peak.saturating_sub(self.peak / 5 + 1));
        let is_held_back = heard.is_none() && !pauses && !self.is_speaking() && self.pre_roll > 0;
        if self.held.is_empty() && !is_held_back && sink.room() >= 2 {
            // Nothing waits, and nothing has to: most calls never touch the memory in which frames are held.
            self.released = true;
            match heard {
                Some(Heard::Began) => sink.put(Frame::mark(FrameKind::SpurtStart)),
                Some(Heard::Ended { .. }) if pauses => sink.put(Frame::mark(FrameKind::SpurtEnd)),
                _ => {}
            }
            sink.put(frame);
            if !pauses && matches!(heard, Some(Heard::Ended { .. })) {
                sink.put(Frame::mark(FrameKind::SpurtEnd));
            }
            return;
        }
        self.hold(frame, pauses, heard);
        self.release(sink);
    }

    fn hold(&mut self, frame: Frame, pauses: bool, heard: Option<Heard>) {
        if pauses {
            if heard.is_some() {
                self.held.push_back(Frame::mark(FrameKind::SpurtEnd));
            }
            self.held.push_back(frame);
            self.keep = 0;
        } else {
            self.held.push_back(frame);
            match heard {
                Some(Heard::Began) => {
                    // The frame in which it was found belongs to it, whatever the pre-roll is.
                    let pre_roll_at = self.held.len() - 1 - self.keep.min(self.held.len() - 1);
                    self.held.insert(pre_roll_at, Frame::mark(FrameKind::SpurtStart));
                    self.keep = 0;
                }
                Some(Heard::Ended { .. }) => {
                    self.held.push_back(Frame::mark(FrameKind::SpurtEnd));
                    self.keep = 0;
                }
                None if self.is_speaking() => {}
                None => self.keep = (self.keep + 1).min(self.pre_roll),
            }
        }
    }
}

/// See [`Spurts::before`].
pub(crate) struct Marked<'a, S> {
    spurts: &'a mut Spurts,
    sink: &'a mut S,
}

impl<S: FrameSink> FrameSink for Marked<'_, S> {
    fn room(&self) -> usize {
        // Each frame may bring a mark with it.
        (HELD_MAX - self.spurts.held.len().min(HELD_MAX)) / 2
    }

    fn waiting(&self) -> usize {
        self.sink.waiting() + self.spurts.held.len()
    }

    fn put(&mut self, frame: Frame) {
        self.spurts.take(frame, self.sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SampleRate;
    use crate::dsp::playout::tests::Queue;

    /// Puts frames of silence (`.`) and voice (`v`), numbered in their last sample, or ends (`e`), as far as there is room.
    fn put(spurts: &mut Spurts, sink: &mut Queue, line: &str) {
        let turn = std::f32::consts::TAU * 700.0 / 16_000.0;
        for (n, letter) in line.chars().enumerate() {
            let level = if letter == 'v' { 3_000.0 } else { 0.0 };
            let mut samples = [0; 320];
            for (n, sample) in samples.iter_mut().enumerate() {
                *sample = ((n as f32 * turn).sin() * level) as i16;
            }
            samples[319] = n as i16;
            let mut marked = spurts.before(sink);
            assert!(marked.room() > 0, "no room at {n}");
            match letter {
                'e' => marked.put(Frame::end(0, SampleRate::Hz16000)),
                _ => marked.put(Frame::audio(0, SampleRate::Hz16000, &samples)),
            }
        }
    }

    /// The numbers of the audio, and the marks.
    fn came(sink: &mut Queue) -> Vec<String> {
        let name = |frame: Frame| match frame.kind {
            FrameKind::SpurtStart => "(".to_owned(),
            FrameKind::SpurtEnd => ")".to_owned(),
            FrameKind::End => "e".to_owned(),
            _ => frame.samples()[319].to_string(),
        };
        sink.frames.drain(..).map(name).collect()
    }

    fn terms(pre_roll_ms: u32) -> ListenTerms {
        ListenTerms { hangover_ms: 200, pre_roll_ms, ..ListenTerms::default() }
    }

    #[test]
    fn without_a_pre_roll_nothing_is_delayed_and_the_marks_stand_where_they_were_found() {
        let (mut spurts, mut sink) = (Spurts::new(terms(0)), Queue::with_room(1_000));
        for n in 0..40 {
            let letter = if (10..15).contains(&n) { "v" } else { "." };
            put(&mut spurts, &mut sink, letter);
            assert!(
                !spurts.has_backlog()
                    && sink.frames.iter().filter(|f| f.samples().len() == 320).count() == n + 1
            );
        }
        let came = came(&mut sink);
        let at = |mark| came.iter().position(|what| what == mark).expect("it is there");
        assert!((10..=13).contains(&at("(")), "{came:?}");
        assert!((24..=28).contains(&at(")")), "{came:?}");
        assert_eq!(came.len(), 42);
    }

    #[test]
    fn the_pre_roll_comes_behind_the_start_and_nothing_is_held_inside_a_talkspurt() {
        let (mut spurts, mut sink) = (Spurts::new(terms(240)), Queue::with_room(1_000));
        let line = format!("{}{}{}", ".".repeat(30), "v".repeat(20), ".".repeat(40));
        put(&mut spurts, &mut sink, &line);
        let came = came(&mut sink);
        let start = came.iter().position(|what| what == "(").expect("it is there");
        assert!((18..=21).contains(&start), "240 ms before it was found: {came:?}");
        let end = came.iter().position(|what| what == ")").expect("it is there");
        assert!((58..=62).contains(&end), "the hangover is inside: {came:?}");
        let numbers: Vec<usize> = came.iter().filter_map(|what| what.parse().ok()).collect();
        assert_eq!(numbers, (0..78).collect::<Vec<_>>(), "the last 240 ms are held back");
        assert!(!spurts.has_backlog());
    }

    #[test]
    fn a_pause_of_the_stream_ends_the_talkspurt_before_it() {
        let (mut spurts, mut sink) = (Spurts::new(terms(240)), Queue::with_room(1_000));
        put(&mut spurts, &mut sink, "....................vvvvve");
        assert_eq!(
            came(&mut sink).join("").chars().filter(|c| !c.is_ascii_digit()).collect::<String>(),
            "()e"
        );
        assert!(!spurts.is_speaking() && spurts.held.is_empty());
        assert!(matches!(spurts.heard(), Some(Heard::Ended { .. })));
        assert_eq!(spurts.heard(), None);
    }

    #[test]
    fn a_full_ring_loses_nothing_and_keeps_the_order() {
        let (mut spurts, mut sink) = (Spurts::new(terms(300)), Queue::with_room(8));
        let line = format!("{}{}{}{}", ".".repeat(20), "v".repeat(20), ".".repeat(20), "v".repeat(20));
        let (mut all, mut refused) = (Vec::new(), 0);
        let mut capacity = spurts.held.capacity();
        let mut rest = line.as_str();
        while !rest.is_empty() {
            if spurts.before(&mut sink).room() == 0 {
                refused += 1;
                all.extend(came(&mut sink));
                continue;
            }
            put(&mut spurts, &mut sink, &rest[..1]);
            rest = &rest[1..];
            capacity = capacity.max(spurts.held.capacity());
        }
        for _ in 0..10 {
            all.extend(came(&mut sink));
            _ = spurts.before(&mut sink);
        }
        all.extend(came(&mut sink));
        assert!(refused > 0, "the ring was never full");
        assert_eq!(capacity, HELD_MAX, "it was allocated once");
        assert_eq!(all.iter().filter(|what| !["(", ")"].contains(&what.as_str())).count(), 80);
        let marks: Vec<_> = all.iter().filter(|what| ["(", ")"].contains(&what.as_str())).collect();
        assert_eq!(marks, ["(", ")", "("]);
    }
}
