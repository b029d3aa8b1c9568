//! The uplink of one call: caller's frames at the leg's rate become an unbroken stream of 20 ms at 16 kHz.
//!
//! Runs in: the call's dsp worker. Owns a resampler and less than one frame of samples.
//! Never holds back more than a started frame.
//! Invariant: while the switch sends nothing, silence takes its place on the call's clock, because the model's activity
//! detection needs a continuous stream; after a configured time of it the stream is ended with one [`FrameKind::End`]
//! and begins again with the caller's next frame.

use crate::base::units::PTIME_MS;
use crate::base::{Frame, FrameKind, FrameSink, FrameSource, Instant, SampleRate};
use crate::call::model::INPUT_RATE;
use crate::dsp::resample::Resampler;
use crate::dsp::tap::Listener;

/// How late a caller's frame may be before silence takes its place: with frames of 20 ms, 60 ms without one.
const LATE_US: u64 = 40_000;
/// How far ahead of the clock the caller's audio may count: a sender that is 1 % too fast gets half a minute ahead in
/// an hour, and silence after its stop would begin that much too late. More than the longest message seen (200 ms).
const AHEAD_US_MAX: u64 = 500_000;
/// How long silence waits in a relay that was itself so late for it that the caller's audio may be late by the relay's fault:
/// it lies in a socket, and comes once the telephony thread has looked there. Silence before it would stand in the middle of a
/// word.
const STARVED_US: u64 = 200_000;
const FRAME_US: u64 = PTIME_MS as u64 * 1000;
const FRAME_SAMPLES: usize = INPUT_RATE.samples_per_frame();
/// Silence of one frame at the highest rate, to be resampled like the caller's own.
static SILENCE: [i16; SampleRate::Hz48000.samples_per_frame()] = [0; SampleRate::Hz48000.samples_per_frame()];

/// What one [`Uplink::pass`] did, for the call's counters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UplinkReport {
    /// Frames of 20 ms put into the sink.
    pub frames: u64,
    /// Frames of 20 ms that were filled in as silence.
    pub silence_frames: u64,
    /// When to come back even if nothing arrives; `None` while the stream is ended.
    pub deadline: Option<Instant>,
}

/// See the head of this file.
pub struct Uplink {
    resampler: Resampler,
    current: Frame,
    taken: usize,
    staged: [i16; FRAME_SAMPLES],
    staged_len: usize,
    /// Up to where on the call's clock the model has audio.
    covered_until: Instant,
    /// When it asked to be looked at again, and until when it fills no silence because that was long ago.
    due: Instant,
    starved_until: Instant,
    silence_us: u64,
    end_after_us: u64,
    ended: bool,
}

impl Uplink {
    /// The uplink of a call that begins now, with the leg's expected rate (frames carry their own), which ends its
    /// stream after `end_after_ms` of filled silence; 0 means never.
    pub fn new(now: Instant, rate: SampleRate, end_after_ms: u64) -> Self {
        Self {
            resampler: Resampler::new(rate, INPUT_RATE),
            current: Frame::end(0, rate),
            taken: 0,
            staged: [0; FRAME_SAMPLES],
            staged_len: 0,
            covered_until: now,
            due: now.plus_us(LATE_US),
            starved_until: now,
            silence_us: 0,
            end_after_us: if end_after_ms == 0 { u64::MAX } else { end_after_ms * 1000 },
            ended: false,
        }
    }

    /// Takes what the caller sent as far as the sink has room, fills silence that is due, and tells `tap` of the caller's audio.
    pub(crate) fn pass(
        &mut self,
        now: Instant,
        source: &mut impl FrameSource,
        sink: &mut impl FrameSink,
        tap: &mut impl Listener,
    ) -> UplinkReport {
        let mut report = UplinkReport::default();
        if !self.ended && now > self.due.plus_us(LATE_US) {
            self.starved_until = now.plus_us(STARVED_US);
        }
        loop {
            if !self.drain_current(sink, tap, &mut report) {
                // No room: the caller's audio waits in its ring and then in its socket. Whoever makes room rings no
                // bell, so look again when the next frame could be due.
                self.due = now.plus_us(FRAME_US);
                report.deadline = Some(self.due);
                return report;
            }
            let Some(()) = source.take_with(|frame| self.current.copy_from(frame)) else { break };
            self.taken = 0;
            if self.current.kind != FrameKind::End {
                self.accept(now);
                tap.caller_arrives(now, false, self.resampler.delay_us());
            }
        }
        if now >= self.starved_until {
            self.fill_silence(now, sink, tap, &mut report);
        }
        let due = self.covered_until.plus_us(LATE_US).max(self.starved_until);
        // Silence that found no room waits like the caller's audio; a deadline that is over would make the worker spin.
        self.due = if due > now { due } else { now.plus_us(FRAME_US) };
        report.deadline = (!self.ended).then_some(self.due);
        report
    }

    /// Begins with the current frame.
    fn accept(&mut self, now: Instant) {
        let frame = &self.current;
        if frame.rate != self.resampler.from() {
            self.resampler = Resampler::new(frame.rate, INPUT_RATE);
        }
        self.covered_until =
            self.covered_until.max(now).plus_us(frame.duration_us()).min(now.plus_us(AHEAD_US_MAX));
        self.silence_us = 0;
        self.ended = false;
        // What was waited for is here.
        self.starved_until = now;
    }

    /// Resamples what is left of the current frame. Returns false when the sink had no room for all of it.
    fn drain_current(
        &mut self,
        sink: &mut impl FrameSink,
        tap: &mut impl Listener,
        report: &mut UplinkReport,
    ) -> bool {
        loop {
            if self.staged_len == FRAME_SAMPLES {
                if sink.room() == 0 {
                    return false;
                }
                sink.put(Frame::audio(0, INPUT_RATE, &self.staged));
                self.staged_len = 0;
                report.frames += 1;
            }
            let input = &self.current.samples()[self.taken..];
            let progress = self.resampler.process(input, &mut self.staged[self.staged_len..]);
            tap.caller(&self.staged[self.staged_len..self.staged_len + progress.produced]);
            self.taken += progress.consumed;
            self.staged_len += progress.produced;
            if progress.consumed == input.len() && self.staged_len < FRAME_SAMPLES {
                return true;
            }
        }
    }

    fn fill_silence(
        &mut self,
        now: Instant,
        sink: &mut impl FrameSink,
        tap: &mut impl Listener,
        report: &mut UplinkReport,
    ) {
        let rate = self.resampler.from();
        // A frame of silence may need several frames here (48 kHz), so it is fed in the same pieces.
        let silence = &SILENCE[..rate.samples_per_frame()];
        while !self.ended && now >= self.covered_until.plus_us(LATE_US) {
            if sink.room() < 2 {
                return;
            }
            tap.caller_arrives(now, true, self.resampler.delay_us());
            for piece in silence.chunks(Frame::CAPACITY) {
                self.current = Frame::audio(0, rate, piece);
                self.taken = 0;
                self.drain_current(sink, tap, report);
            }
            self.covered_until = self.covered_until.plus_us(FRAME_US);
            self.silence_us += FRAME_US;
            report.silence_frames += 1;
            if self.silence_us >= self.end_after_us {
                sink.put(Frame::end(0, INPUT_RATE));
                self.ended = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::dsp::playout::tests::Queue;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn caller_frame(rate: SampleRate, level: i16) -> VecDeque<Frame> {
        vec![level; rate.samples_per_frame()]
            .chunks(Frame::CAPACITY)
            .map(|piece| Frame::audio(0, rate, piece))
            .collect()
    }

    #[test]
    fn twenty_milliseconds_in_are_twenty_milliseconds_out_at_every_rate() {
        for rate in SampleRate::ALL {
            let mut uplink = Uplink::new(at(0), rate, 0);
            for n in 0..50 {
                let mut sink = Queue::with_room(8);
                let mut source = Queue::from(caller_frame(rate, 1000));
                let report = uplink.pass(at(n * 20), &mut source, &mut sink, &mut ());
                assert_eq!((report.frames, report.silence_frames), (1, 0), "{rate} frame {n}");
                assert_eq!(sink.frames[0].samples().len(), 320);
            }
        }
    }

    #[test]
    fn silence_takes_the_place_of_missing_frames_after_60_ms_and_leaves_no_hole() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz16000, 0);
        let mut sink = Queue::with_room(1000);
        uplink.pass(at(0), &mut Queue::from(caller_frame(SampleRate::Hz16000, 5)), &mut sink, &mut ());
        let report = uplink.pass(at(59), &mut Queue::default(), &mut sink, &mut ());
        assert_eq!(report.silence_frames, 0);
        assert_eq!(report.deadline, Some(at(60)));
        let mut now = report.deadline.expect("silence is due");
        while now < at(1000) {
            now = uplink.pass(now, &mut Queue::default(), &mut sink, &mut ()).deadline.expect("it goes on");
        }
        // The model has audio up to 40 ms behind the clock, without a hole.
        assert_eq!(sink.frames.len(), 48);
    }

    #[test]
    fn behind_a_starvation_no_silence_comes_before_the_speech_that_lies_in_the_socket() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz16000, 0);
        let mut sink = Queue::with_room(1_000);
        uplink.pass(at(0), &mut Queue::from(caller_frame(SampleRate::Hz16000, 1)), &mut sink, &mut ());
        // Five seconds later the worker is the first to have a processor again.
        let first = uplink.pass(at(5_000), &mut Queue::default(), &mut sink, &mut ());
        assert_eq!((first.silence_frames, first.deadline), (0, Some(at(5_200))));
        for _ in 0..250 {
            let mut source = Queue::from(caller_frame(SampleRate::Hz16000, 1));
            let report = uplink.pass(at(5_002), &mut source, &mut sink, &mut ());
            assert_eq!((report.frames, report.silence_frames), (1, 0));
        }
        assert_eq!(sink.frames.len(), 251);
    }

    #[test]
    fn a_caller_who_was_silent_through_a_starvation_is_silent_for_all_of_it() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz16000, 0);
        let mut sink = Queue::with_room(1_000);
        let mut deadline = uplink.pass(at(1_000), &mut Queue::default(), &mut sink, &mut ()).deadline;
        while let Some(now) = deadline.filter(|now| *now < at(2_000)) {
            deadline = uplink.pass(now, &mut Queue::default(), &mut sink, &mut ()).deadline;
        }
        assert_eq!(sink.frames.len(), (2_000 - 40) / 20);
    }

    #[test]
    fn a_long_silence_ends_the_stream_once_and_the_next_frame_opens_it_again() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz8000, 1000);
        let mut sink = Queue::with_room(1000);
        let (mut silence_frames, mut deadline) = (0, Some(at(0)));
        while let Some(now) = deadline.filter(|now| *now <= at(5000)) {
            let report = uplink.pass(now, &mut Queue::default(), &mut sink, &mut ());
            silence_frames += report.silence_frames;
            deadline = report.deadline;
        }
        assert_eq!((silence_frames, deadline), (50, None));
        assert_eq!(sink.frames.iter().filter(|f| f.kind == FrameKind::End).count(), 1);
        assert_eq!(uplink.pass(at(9000), &mut Queue::default(), &mut sink, &mut ()).silence_frames, 0);
        let report =
            uplink.pass(at(9000), &mut Queue::from(caller_frame(SampleRate::Hz8000, 5)), &mut sink, &mut ());
        assert_eq!((report.frames, report.deadline), (1, Some(at(9060))));
    }

    #[test]
    fn messages_of_200_ms_are_not_torn_apart_by_silence() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz16000, 0);
        let mut sink = Queue::with_room(10_000);
        let mut silence_frames = 0;
        for n in 0..50 {
            let mut source = Queue::default();
            for _ in 0..10 {
                source.frames.extend(caller_frame(SampleRate::Hz16000, 9));
            }
            silence_frames += uplink.pass(at(n * 200), &mut source, &mut sink, &mut ()).silence_frames;
            silence_frames += uplink.pass(at(n * 200 + 199), &mut source, &mut sink, &mut ()).silence_frames;
        }
        assert_eq!(silence_frames, 0);
        assert_eq!(sink.frames.len(), 500);
    }

    #[test]
    fn silence_without_room_comes_back_a_frame_later_and_not_at_once() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz8000, 0);
        let mut sink = Queue::with_room(2);
        for ms in (60..200).step_by(20) {
            let report = uplink.pass(at(ms), &mut Queue::default(), &mut sink, &mut ());
            assert!(report.deadline > Some(at(ms)), "at {ms} ms: {report:?}");
        }
        assert_eq!(sink.frames.len(), 1);
    }

    #[test]
    fn a_full_ring_to_the_model_loses_nothing() {
        let mut uplink = Uplink::new(at(0), SampleRate::Hz8000, 0);
        let mut source = Queue::default();
        for _ in 0..20 {
            source.frames.extend(caller_frame(SampleRate::Hz8000, 9));
        }
        let mut taken = 0;
        for _ in 0..30 {
            let mut sink = Queue::with_room(1);
            taken += uplink.pass(at(0), &mut source, &mut sink, &mut ()).frames;
        }
        assert_eq!(taken, 20);
    }
}
