//! Playout of one call: the model's audio becomes frames of 20 ms at the leg's rate, released on absolute deadlines.
//! The only pacer of the relay.
//!
//! Runs in: the call's dsp worker. Owns a resampler and less than one frame of staged samples; what waits stays in the
//! ring, and behind it on the gemini thread. Never allocates; never drops audio of the present turn.
//! Invariant: the switch never has more than the lead ahead of real time, and after the turn has changed no sample of
//! an older one is released.

mod heard;

use crate::base::units::PTIME_MS;
use crate::base::{Frame, FrameKind, FrameSink, FrameSource, Instant, LegFormat, SampleRate, Turn};
use crate::call::model::OUTPUT_RATE;
use crate::dsp::gain::fade;
use crate::dsp::level::peak;
use crate::dsp::resample::Resampler;
use crate::dsp::tap::Listener;

const FRAME_US: u64 = PTIME_MS as u64 * 1000;
/// How long the start of a frame waits for its rest once the switch has run dry, before it is padded with silence.
/// The model's own pauses inside a turn are longer or do not happen; padding earlier would cut one late chunk in two.
const BRIDGE_US: u64 = 100_000;
static SILENCE: [i16; 256] = [0; 256];

/// When something is heard whose playout pauses.
pub(crate) const NEVER_HEARD: Instant = Instant::from_micros(u64::MAX);

/// 20 ms at any rate.
type StagedFrame = [i16; SampleRate::Hz48000.samples_per_frame()];

/// What one [`Playout::pass`] did, for the call's counters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlayoutReport {
    /// Frames of 20 ms released.
    pub frames: u64,
    /// Times that the ear ran dry within a turn because the model's audio was late.
    pub underruns: u64,
    /// Microseconds of those times.
    pub underrun_us: u64,
    /// Times that the grid started again because this worker was later than the lead.
    pub slips: u64,
    /// A turn was cancelled that the caller was hearing or about to hear: microseconds of it already handed over.
    pub barge_in_residual_us: Option<u64>,
    /// Microseconds for which the first of them was due before, in the middle of the model's speech; `None` where it waited for
    /// the model or the switch instead.
    pub late_us: Option<u64>,
    /// The largest magnitude in them, 0 to 32768.
    pub peak: u16,
    /// A started chunk was closed although it is not full, because the model's audio is late.
    pub chunk_closed: bool,
    /// When to come back even if nothing arrives.
    pub deadline: Option<Instant>,
}

/// What playout works with in one pass.
pub(crate) struct Pass<'a, Source, Sink, Tap> {
    now: Instant,
    format: LegFormat,
    source: &'a mut Source,
    sink: &'a mut Sink,
    tap: &'a mut Tap,
    report: PlayoutReport,
}

impl<'a, Source, Sink, Tap> Pass<'a, Source, Sink, Tap> {
    /// A pass over the model's audio in `source` to the leg behind `sink`, as far as there is room; `tap` is told what is
    /// heard and when.
    pub(crate) fn new(
        now: Instant,
        format: LegFormat,
        source: &'a mut Source,
        sink: &'a mut Sink,
        tap: &'a mut Tap,
    ) -> Self {
        Self { now, format, source, sink, tap, report: PlayoutReport::default() }
    }

    /// Samples of 20 ms at the leg's rate.
    const fn frame_samples(&self) -> usize {
        self.format.rate.samples_per_frame()
    }
}

/// What there is to release.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Nothing,
    Frame,
    /// The frame with which the model's turn ends.
    LastFrame,
}

/// What the next frame waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// Its time, and the worker's next pass then.
    Worker,
    /// The model's audio.
    Model,
    /// Room, because the switch takes nothing.
    Switch,
    /// The caller, who has begun to speak.
    Caller,
}

/// Whether frames leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// They do.
    On,
    /// One more, which fades out, and is kept to be heard in full when it goes on.
    FadingOut,
    /// They do not.
    Paused,
    /// The next one fades in.
    FadingIn,
}

/// See the head of this file.
pub struct Playout {
    resampler: Resampler,
    turn: Turn,
    current: Frame,
    taken: usize,
    staged: StagedFrame,
    staged_len: usize,
    /// When the first of the staged samples came.
    staged_at: Instant,
    /// Frames of the present chunk already released.
    chunk_frames: u16,
    /// When the switch will have played everything that it was handed.
    dry_at: Instant,
    /// Frames of the present turn put into the sink.
    put: usize,
    /// Audio of a turn was released whose end has not been.
    speaking: bool,
    /// The staged frame is the one with which the model's turn ends.
    staged_is_last: bool,
    flow: Flow,
    /// Who is to blame if the next frame comes too late.
    waits_for: WaitsFor,
    /// The model has ended the turn; these many samples of the filter's tail are still to come.
    tail: Option<usize>,
}

impl Playout {
    /// The playout of a call that begins now.
    pub fn new(now: Instant, turn: Turn, rate: SampleRate) -> Self {
        Self {
            resampler: Resampler::new(OUTPUT_RATE, rate),
            turn,
            current: Frame::end(turn, OUTPUT_RATE),
            taken: 0,
            staged: [0; SampleRate::Hz48000.samples_per_frame()],
            staged_len: 0,
            staged_at: now,
            chunk_frames: 0,
            dry_at: now,
            put: 0,
            speaking: false,
            staged_is_last: false,
            flow: Flow::On,
            waits_for: WaitsFor::Model,
            tail: None,
        }
    }

    /// Pauses within 20 ms and without a click, or goes on where it paused: nothing is lost. The next turn is not paused.
    pub fn pause(&mut self, paused: bool) {
        self.flow = match (paused, self.flow) {
            (true, Flow::On) => Flow::FadingOut,
            (true, Flow::FadingIn) => Flow::Paused,
            (false, Flow::Paused) => Flow::FadingIn,
            (false, Flow::FadingOut) => Flow::On,
            (_, same) => same,
        };
    }

    /// Whether the caller hears the model, or is about to.
    pub fn is_heard(&self, now: Instant) -> bool {
        self.speaking || self.staged_len > 0 || self.dry_at > now
    }

    /// When the caller will have heard what was handed to the switch; [`NEVER_HEARD`] while playout pauses.
    pub fn heard_at(&self) -> Instant {
        if self.flow == Flow::Paused && self.speaking { NEVER_HEARD } else { self.dry_at }
    }

    /// Microseconds of audio that the switch has and the caller has not heard yet.
    pub fn lead_us(&self, now: Instant) -> u64 {
        self.dry_at.since_us(now)
    }

    /// Releases what is due, as far as there is audio and the sink has room. `turn` is the present turn of the call.
    pub(crate) fn pass(
        &mut self,
        turn: Turn,
        mut pass: Pass<'_, impl FrameSource, impl FrameSink, impl Listener>,
    ) -> PlayoutReport {
        self.release_due(turn, &mut pass);
        pass.report
    }

    fn release_due(
        &mut self,
        turn: Turn,
        pass: &mut Pass<'_, impl FrameSource, impl FrameSink, impl Listener>,
    ) {
        let (now, format, frame_samples) = (pass.now, pass.format, pass.frame_samples());
        if turn != self.turn {
            pass.tap.agent_cut(self.unheard_from(now, format, pass.sink));
            self.flush(now, turn, &mut pass.report);
        }
        if format.rate != self.resampler.to() {
            // What is staged comes along: it is speech, and may be what ends the turn.
            let staged = self.staged;
            let mut between = Resampler::new(self.resampler.to(), format.rate);
            self.staged_len = between.process(&staged[..self.staged_len], &mut self.staged).produced;
            self.resampler = Resampler::new(self.resampler.from(), format.rate);
        }
        self.count_waiting(pass);
        if self.flow == Flow::FadingIn {
            // What the caller did not hear meanwhile came too late for no one.
            self.dry_at = self.dry_at.max(now);
        }
        loop {
            let due = self.due(format);
            if now < due {
                self.waits_for = if self.flow == Flow::Paused { WaitsFor::Caller } else { WaitsFor::Worker };
                pass.report.deadline = Some(due);
                return;
            }
            if self.flow == Flow::Paused {
                self.waits_for = WaitsFor::Caller;
                return self.close_chunk(pass);
            }
            let unheard_from = self.unheard_from(now, format, pass.sink);
            if self.stage(pass) {
                pass.tap.agent_cut(unheard_from);
            }
            let ready = if self.staged_len < frame_samples {
                self.complete_frame(pass)
            } else if self.staged_is_last {
                Ready::LastFrame
            } else {
                Ready::Frame
            };
            if ready == Ready::Nothing {
                if self.flow == Flow::FadingOut {
                    // Nothing is left that could click.
                    self.flow = Flow::Paused;
                }
                self.waits_for = WaitsFor::Model;
                return;
            }
            self.staged_is_last = ready == Ready::LastFrame;
            if pass.sink.room() < frame_samples.div_ceil(Frame::CAPACITY) {
                // The switch is stalled; nobody rings when room appears.
                if self.waits_for == WaitsFor::Worker || now <= self.dry_at {
                    self.waits_for = WaitsFor::Switch;
                }
                pass.report.deadline = Some(now.plus_us(FRAME_US));
                return;
            }
            self.release(pass, ready);
        }
    }

    /// When the next frame may be handed over without the switch getting further ahead than the lead.
    fn due(&self, format: LegFormat) -> Instant {
        let ahead_us = (u64::from(format.lead_ms) * 1000).saturating_sub(FRAME_US);
        Instant::from_micros(self.dry_at.as_micros().saturating_sub(ahead_us))
    }

    /// Forgets everything of the cancelled turn.
    fn flush(&mut self, now: Instant, turn: Turn, report: &mut PlayoutReport) {
        let residual_us = self.lead_us(now);
        if self.speaking || self.staged_len > 0 || residual_us > 0 {
            report.barge_in_residual_us = Some(residual_us);
        }
        self.turn = turn;
        self.current = Frame::end(turn, OUTPUT_RATE);
        self.taken = 0;
        self.staged_len = 0;
        self.chunk_frames = 0;
        self.dry_at = now;
        self.put = 0;
        self.speaking = false;
        self.staged_is_last = false;
        self.flow = Flow::On;
        self.waits_for = WaitsFor::Model;
        self.tail = None;
        self.resampler.reset();
    }

    /// Resamples until a frame is staged or the source has nothing for it. Returns whether a newer turn began meanwhile.
    fn stage(&mut self, pass: &mut Pass<'_, impl FrameSource, impl FrameSink, impl Listener>) -> bool {
        let (frame_samples, mut flushed) = (pass.frame_samples(), false);
        while self.staged_len < frame_samples && self.tail.is_none() {
            let input = &self.current.samples()[self.taken..];
            if !input.is_empty() {
                if self.staged_len == 0 {
                    self.staged_at = pass.now;
                }
                let room = &mut self.staged[self.staged_len..frame_samples];
                let progress = self.resampler.process(input, room);
                self.taken += progress.consumed;
                self.staged_len += progress.produced;
                continue;
            }
            let Some(()) = pass.source.take_with(|frame| self.current.copy_from(frame)) else { break };
            self.taken = 0;
            let turn = self.current.turn;
            if turn != self.turn {
                if (turn.wrapping_sub(self.turn) as i32) < 0 {
                    self.taken = self.current.samples().len();
                    continue;
                }
                // The turn changed after this pass had looked at it.
                let first = self.current;
                self.flush(pass.now, turn, &mut pass.report);
                self.current = first;
                flushed = true;
            }
            if self.current.kind == FrameKind::End {
                let heard = self.speaking || self.staged_len > 0;
                self.tail = heard.then(|| self.tail_samples());
            } else if self.current.rate != self.resampler.from() {
                self.resampler = Resampler::new(self.current.rate, self.resampler.to());
            }
        }
        flushed
    }

    /// Completes a frame that the source could not fill, where that is right.
    fn complete_frame(
        &mut self,
        pass: &mut Pass<'_, impl FrameSource, impl FrameSink, impl Listener>,
    ) -> Ready {
        let (now, frame_samples) = (pass.now, pass.frame_samples());
        if let Some(tail) = self.tail {
            if self.staged_len == 0 && now > self.dry_at {
                // The end came after all of the turn was heard. Nothing was missing, so nothing is late.
                self.speaking = false;
            }
            let wanted = tail.min(frame_samples - self.staged_len);
            let end = self.staged_len + wanted;
            while self.staged_len < end {
                let room = &mut self.staged[self.staged_len..end];
                self.staged_len += self.resampler.process(&SILENCE, room).produced;
            }
            if tail > wanted {
                self.tail = Some(tail - wanted);
                return Ready::Frame;
            }
            self.tail = None;
            self.resampler.reset();
            self.pad(frame_samples);
            return Ready::LastFrame;
        }
        self.close_chunk(pass);
        // At the start of an answer the switch has long been dry, and the rest of the frame is a moment away.
        let bridge = self.dry_at.max(self.staged_at).plus_us(BRIDGE_US);
        if self.staged_len == 0 {
            return Ready::Nothing;
        }
        if now < bridge {
            pass.report.deadline = Some(pass.report.deadline.map_or(bridge, |close| close.min(bridge)));
            return Ready::Nothing;
        }
        self.pad(frame_samples);
        Ready::Frame
    }

    /// What the filter still holds when its input ends, in samples at the leg's rate.
    fn tail_samples(&self) -> usize {
        (self.resampler.delay_us() as usize * self.resampler.to().hz() as usize).div_ceil(1_000_000)
    }

    fn pad(&mut self, frame_samples: usize) {
        self.staged[self.staged_len..frame_samples].fill(0);
        self.staged_len = frame_samples;
    }

    fn release(
        &mut self,
        pass: &mut Pass<'_, impl FrameSource, impl FrameSink, impl Listener>,
        ready: Ready,
    ) {
        let (now, format, report) = (pass.now, pass.format, &mut pass.report);
        // The ones behind the first of a pass build up the lead again.
        if report.frames == 0 && self.speaking && self.waits_for == WaitsFor::Worker {
            report.late_us = Some(now.since_us(self.due(format)));
        }
        // A switch that queues nothing sends each frame on when it comes, and the telephone's own queue takes up a frame's
        // worth of lateness. Starting the grid again for every moment of it would make the speech slower than it is.
        let on_grid = format.lead_ms == 0
            && self.speaking
            && self.waits_for == WaitsFor::Worker
            && now < self.dry_at.plus_us(FRAME_US);
        if now > self.dry_at && !on_grid {
            match self.waits_for {
                WaitsFor::Model if self.speaking => {
                    report.underruns += 1;
                    report.underrun_us += now.since_us(self.dry_at);
                }
                WaitsFor::Worker if self.speaking => report.slips += 1,
                _ => {}
            }
            self.dry_not_before(now, self.chunk_us(), pass.tap);
        }
        self.waits_for = WaitsFor::Worker;
        let heard_at = self.dry_at;
        self.dry_at = self.dry_at.plus_us(FRAME_US);
        self.chunk_frames += 1;
        let fades_out = self.flow == Flow::FadingOut;
        let chunk_ends =
            ready == Ready::LastFrame || fades_out || self.chunk_frames * PTIME_MS as u16 >= format.chunk_ms;
        let faded = (self.flow != Flow::On).then(|| fade(&self.staged, self.staged_len, fades_out));
        let heard = faded.as_ref().unwrap_or(&self.staged);
        report.peak = report.peak.max(peak(&heard[..self.staged_len]));
        let mut offset = 0;
        let mut pieces = heard[..self.staged_len].chunks(Frame::CAPACITY).peekable();
        while let Some(piece) = pieces.next() {
            let mut frame = Frame::audio(self.turn, format.rate, piece);
            if !chunk_ends || pieces.peek().is_some() {
                frame.kind = FrameKind::AudioContinued;
            } else if ready == Ready::LastFrame || fades_out {
                frame.kind = FrameKind::AudioLast;
            }
            pass.tap.agent(heard_at, offset, &frame);
            offset += piece.len();
            pass.sink.put(frame);
            self.put = self.put.saturating_add(1);
        }
        if chunk_ends && !on_grid {
            self.chunk_leaves(now, pass.tap);
        } else if chunk_ends {
            self.chunk_frames = 0;
        }
        report.frames += 1;
        if fades_out {
            (self.speaking, self.flow) = (true, Flow::Paused);
        } else {
            (self.staged_len, self.staged_is_last) = (0, false);
            (self.speaking, self.flow) = (ready != Ready::LastFrame, Flow::On);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A ring for tests: a queue with room for so many frames, whose other end notes what it gets at once, or is
    /// stalled and takes nothing.
    #[derive(Default)]
    pub(crate) struct Queue {
        pub(crate) frames: VecDeque<Frame>,
        room: usize,
        stalled: bool,
    }

    impl Queue {
        pub(crate) fn with_room(room: usize) -> Self {
            Self { room, ..Self::default() }
        }
    }

    impl From<VecDeque<Frame>> for Queue {
        fn from(frames: VecDeque<Frame>) -> Self {
            Self { frames, ..Self::default() }
        }
    }

    impl FrameSource for Queue {
        fn take(&mut self) -> Option<Frame> {
            self.frames.pop_front()
        }
    }

    impl FrameSink for Queue {
        fn room(&self) -> usize {
            self.room.saturating_sub(self.frames.len())
        }
        fn waiting(&self) -> usize {
            if self.stalled { self.frames.len() } else { 0 }
        }
        fn put(&mut self, frame: Frame) {
            assert!(self.room() > 0, "put without room");
            self.frames.push_back(frame);
        }
    }

    impl Playout {
        /// A pass of which nobody is told.
        fn unheard_pass(
            &mut self,
            now: Instant,
            turn: Turn,
            format: LegFormat,
            source: &mut Queue,
            sink: &mut Queue,
        ) -> PlayoutReport {
            self.pass(turn, Pass::new(now, format, source, sink, &mut ()))
        }
    }

    const ROOM: usize = 10_000;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(1_000_000 + ms * 1000)
    }

    fn binary(rate: SampleRate) -> LegFormat {
        LegFormat::new(rate, 60, 20)
    }

    /// `ms` milliseconds of the model's speech, packed as the gemini thread packs it.
    fn speech(turn: Turn, ms: u32, level: i16) -> VecDeque<Frame> {
        vec![level; OUTPUT_RATE.samples_in_ms(ms)]
            .chunks(Frame::CAPACITY)
            .map(|piece| Frame::audio(turn, OUTPUT_RATE, piece))
            .collect()
    }

    fn samples(sink: &Queue) -> usize {
        sink.frames.iter().map(|f| f.samples().len()).sum()
    }

    #[test]
    fn the_lead_is_handed_over_at_once_and_the_rest_in_real_time() {
        for rate in SampleRate::ALL {
            let mut playout = Playout::new(at(0), 1, rate);
            let mut source = Queue::from(speech(1, 1000, 500));
            let mut sink = Queue::with_room(ROOM);
            let first = playout.unheard_pass(at(0), 1, binary(rate), &mut source, &mut sink);
            assert_eq!(first.frames, 3, "60 ms of lead at {rate}");
            assert_eq!(first.deadline, Some(at(20)));
            let mut deadline = first.deadline;
            let mut released = first.frames;
            while let Some(now) = deadline {
                let report = playout.unheard_pass(now, 1, binary(rate), &mut source, &mut sink);
                released += report.frames;
                assert!(playout.lead_us(now) <= 60_000);
                deadline = report.deadline;
            }
            assert_eq!((released, samples(&sink)), (50, rate.samples_in_ms(1000)));
        }
    }

    #[test]
    fn audio_that_arrives_in_real_time_leaves_at_once_without_underrun() {
        let mut playout = Playout::new(at(0), 1, SampleRate::Hz16000);
        let mut sink = Queue::with_room(ROOM);
        for n in 0..100 {
            let mut source = Queue::from(speech(1, 20, 500));
            let report =
                playout.unheard_pass(at(n * 20), 1, binary(SampleRate::Hz16000), &mut source, &mut sink);
            assert_eq!((report.frames, report.underruns, report.slips), (1, 0, 0), "frame {n}");
        }
    }

    #[test]
    fn a_switch_that_queues_nothing_gets_each_frame_at_its_time_and_lateness_does_not_add_up() {
        let format = LegFormat::unqueued(SampleRate::Hz8000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 2000, 9));
        let mut sink = Queue::with_room(ROOM);
        let (mut now, mut frames, mut slips) = (at(0), 0, 0);
        for n in 0..100 {
            let report = playout.unheard_pass(now, 1, format, &mut source, &mut sink);
            assert_eq!(report.frames, 1, "frame {n}");
            (frames, slips) = (frames + report.frames, slips + report.slips);
            // Every wake-up comes late, by up to 15 ms.
            let due = report.deadline.expect("there is more");
            assert_eq!(due, at(0).plus_us((n + 1) * FRAME_US));
            now = due.plus_us(n * 7_919 % 15_000);
        }
        assert_eq!((frames, slips), (100, 0));
    }

    #[test]
    fn a_stalled_switch_that_queues_nothing_is_owed_one_frame() {
        let format = LegFormat::unqueued(SampleRate::Hz8000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 2000, 9));
        let mut sink = Queue { stalled: true, ..Queue::with_room(ROOM) };
        let first = playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        // Passes for other calls, while telephony has not woken up yet, do not move the grid.
        let report = playout.unheard_pass(at(7), 1, format, &mut source, &mut sink);
        assert_eq!((first.deadline, report.deadline), (Some(at(20)), Some(at(20))));
        for ms in (20..500).step_by(20) {
            playout.unheard_pass(at(ms), 1, format, &mut source, &mut sink);
        }
        assert_eq!(samples(&sink), 160);
    }

    #[test]
    fn a_switch_that_queues_nothing_gets_no_burst_after_a_slip() {
        let format = LegFormat::unqueued(SampleRate::Hz8000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 2000, 9));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        let report = playout.unheard_pass(at(500), 1, format, &mut source, &mut sink);
        assert_eq!((report.frames, report.slips, report.deadline), (1, 1, Some(at(520))));
    }

    #[test]
    fn a_late_chunk_is_one_underrun_and_the_grid_starts_again() {
        let format = binary(SampleRate::Hz8000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 40, 9)), &mut sink);
        let report = playout.unheard_pass(at(75), 1, format, &mut Queue::from(speech(1, 100, 9)), &mut sink);
        assert_eq!((report.underruns, report.underrun_us, report.slips), (1, 35_000, 0));
        assert_eq!(report.late_us, None, "it is the model that was late");
        assert_eq!(report.frames, 3, "the lead is built again, no burst to catch up");
    }

    #[test]
    fn a_worker_later_than_the_lead_counts_a_slip_and_does_not_burst() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 1000, 9));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        let report = playout.unheard_pass(at(300), 1, format, &mut source, &mut sink);
        assert_eq!((report.slips, report.underruns, report.frames), (1, 0, 3));
        assert_eq!((report.late_us, report.peak), (Some(280_000), 9), "it had its time to wait for: 20 ms");
    }

    #[test]
    fn the_end_of_a_turn_pads_its_last_frame_and_brings_the_whole_tail() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 30, 20_000));
        source.frames.push_back(Frame::end(1, OUTPUT_RATE));
        let mut sink = Queue::with_room(ROOM);
        let report = playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        assert_eq!(report.frames, 2);
        let heard: f64 =
            sink.frames.iter().flat_map(|f| f.samples()).map(|&s| f64::from(s)).sum::<f64>() / 20_000.0;
        assert!((heard - 480.0).abs() < 5.0, "30 ms of a constant are 480 samples of it, heard {heard}");
        let next = playout.unheard_pass(at(500), 1, format, &mut Queue::from(speech(1, 20, 9)), &mut sink);
        assert_eq!(next.underruns, 0, "a pause between turns is none");
    }

    #[test]
    fn an_end_that_comes_after_all_was_heard_is_no_underrun() {
        for rate in SampleRate::ALL {
            let format = binary(rate);
            let mut playout = Playout::new(at(0), 1, rate);
            let mut sink = Queue::with_room(ROOM);
            playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 60, 9)), &mut sink);
            playout.unheard_pass(at(20), 1, format, &mut Queue::default(), &mut sink);
            let end = VecDeque::from([Frame::end(1, OUTPUT_RATE)]);
            let report = playout.unheard_pass(at(300), 1, format, &mut Queue::from(end), &mut sink);
            assert_eq!((report.frames, report.underruns, report.slips), (1, 0, 0), "{rate}");
        }
    }

    #[test]
    fn a_started_frame_waits_for_its_rest_and_is_padded_only_after_the_bridge() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue::with_room(ROOM);
        let report = playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 30, 9)), &mut sink);
        assert_eq!((report.frames, report.deadline), (1, Some(at(120))));
        let report = playout.unheard_pass(at(120), 1, format, &mut Queue::default(), &mut sink);
        assert_eq!((report.frames, samples(&sink)), (1, 640));
    }

    #[test]
    fn a_rate_that_changes_within_an_answer_takes_nothing_from_its_length() {
        for rate in SampleRate::ALL {
            let (before, after) = (binary(SampleRate::Hz16000), binary(rate));
            let mut playout = Playout::new(at(0), 1, before.rate);
            let (mut source, mut sink) = (Queue::from(speech(1, 70, 9000)), Queue::with_room(ROOM));
            let frames =
                [0, 20].map(|ms| playout.unheard_pass(at(ms), 1, before, &mut source, &mut sink).frames);
            assert_eq!(frames, [3, 0], "10 ms are staged");
            sink.frames.clear();
            source.frames.extend(speech(1, 50, 9000));
            source.frames.push_back(Frame::end(1, OUTPUT_RATE));
            for ms in (40..200).step_by(20) {
                playout.unheard_pass(at(ms), 1, after, &mut source, &mut sink);
            }
            assert_eq!(samples(&sink), rate.samples_in_ms(80), "{rate}: 60 ms, and the frame that ends them");
            let heard = sink.frames.iter().flat_map(|frame| frame.samples()).filter(|&&sample| sample > 4500);
            // A filter that begins, begins with its delay.
            assert!(heard.count() >= rate.samples_in_ms(55), "{rate}");
        }
    }

    #[test]
    fn a_rate_that_changes_before_the_last_frame_leaves_still_lets_the_turn_end() {
        let (before, after) = (binary(SampleRate::Hz16000), binary(SampleRate::Hz48000));
        let mut playout = Playout::new(at(0), 1, before.rate);
        let (mut source, mut sink) = (Queue::from(speech(1, 70, 9)), Queue::with_room(3));
        source.frames.push_back(Frame::end(1, OUTPUT_RATE));
        let frames = [0, 20].map(|ms| playout.unheard_pass(at(ms), 1, before, &mut source, &mut sink).frames);
        assert_eq!(frames, [3, 0], "the switch takes nothing");
        let mut sink = Queue::with_room(ROOM);
        assert_eq!(playout.unheard_pass(at(40), 1, after, &mut source, &mut sink).frames, 1);
        assert_eq!(sink.frames.back().map(|frame| frame.kind), Some(FrameKind::AudioLast));
        let next = playout.unheard_pass(at(5000), 1, after, &mut Queue::from(speech(1, 20, 9)), &mut sink);
        assert_eq!((next.frames, next.underruns), (1, 0), "the next answer begins without an underrun");
    }

    #[test]
    fn the_first_frame_of_an_answer_is_not_torn_apart_by_silence() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue::with_room(ROOM);
        let report = playout.unheard_pass(at(5000), 1, format, &mut Queue::from(speech(1, 13, 9)), &mut sink);
        assert_eq!((report.frames, report.deadline), (0, Some(at(5100))));
        let report = playout.unheard_pass(at(5001), 1, format, &mut Queue::from(speech(1, 7, 9)), &mut sink);
        assert_eq!((report.frames, samples(&sink)), (1, 320));
        assert!(sink.frames.iter().flat_map(|frame| &frame.samples()[40..]).all(|&sample| sample > 0));
    }

    #[test]
    fn barge_in_empties_playout_before_the_next_frame_and_measures_the_residual() {
        let format = binary(SampleRate::Hz48000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 200, 9));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        sink.frames.clear();
        source.frames.extend(speech(2, 100, 7));
        let report = playout.unheard_pass(at(10), 2, format, &mut source, &mut sink);
        assert_eq!(report.barge_in_residual_us, Some(50_000));
        assert!(!sink.frames.is_empty());
        assert!(sink.frames.iter().all(|f| f.turn == 2 && f.samples().iter().all(|&s| s < 9)));
    }

    #[test]
    fn a_turn_that_changes_behind_the_back_of_a_pass_is_adopted_from_the_frame() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 10, 9));
        source.frames.extend(speech(2, 40, 7));
        source.frames.extend(speech(1, 40, 9));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        assert!(sink.frames.iter().all(|f| f.turn == 2));
        assert_eq!(samples(&sink), 640);
    }

    #[test]
    fn a_stalled_switch_leaves_the_audio_in_the_ring() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 1000, 9));
        let mut sink = Queue::with_room(2);
        let report = playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        assert_eq!((report.frames, report.deadline), (2, Some(at(20))));
        assert!(source.frames.len() >= 70);
    }

    #[test]
    fn a_stalled_switch_is_never_owed_more_than_the_lead() {
        for rate in SampleRate::ALL {
            let format = binary(rate);
            let mut playout = Playout::new(at(0), 1, rate);
            let mut source = Queue::from(speech(1, 2000, 9));
            let mut sink = Queue { stalled: true, ..Queue::with_room(ROOM) };
            for ms in (0..500).step_by(20) {
                let report = playout.unheard_pass(at(ms), 1, format, &mut source, &mut sink);
                assert_eq!((report.slips, report.underruns), (0, 0));
            }
            assert_eq!(samples(&sink), rate.samples_in_ms(60), "{rate}");
            // The stall is over: all of it is handed over, and nothing on top of it.
            sink.frames.clear();
            assert_eq!(playout.unheard_pass(at(500), 1, format, &mut source, &mut sink).frames, 1);
            assert_eq!(playout.unheard_pass(at(520), 1, format, &mut source, &mut sink).frames, 1);
        }
    }

    #[test]
    fn a_started_chunk_whose_rest_is_late_leaves_at_its_deadline() {
        let format = LegFormat::new(SampleRate::Hz16000, 200, 100);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue::with_room(ROOM);
        let report = playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 140, 9)), &mut sink);
        // The chunk before it is heard until 100 ms: it leaves a frame earlier.
        assert_eq!((report.frames, report.chunk_closed, report.deadline), (7, false, Some(at(80))));
        let report = playout.unheard_pass(at(80), 1, format, &mut Queue::default(), &mut sink);
        assert_eq!((report.chunk_closed, report.deadline), (true, None));
        assert_eq!(sink.frames.back().map(|frame| frame.kind), Some(FrameKind::End));
        assert_eq!(playout.lead_us(at(80)), 60_000);
    }

    #[test]
    fn a_chunk_counts_as_handed_over_when_it_is_complete() {
        let format = LegFormat::new(SampleRate::Hz16000, 120, 100);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 80, 9)), &mut sink);
        playout.unheard_pass(at(30), 1, format, &mut Queue::from(speech(1, 20, 9)), &mut sink);
        assert_eq!(playout.lead_us(at(30)), 70_000);
        // It has waited for more than was right, and is heard from now on.
        playout.unheard_pass(at(95), 1, format, &mut Queue::default(), &mut sink);
        assert_eq!(playout.lead_us(at(95)), 20_000);
    }

    #[test]
    fn a_stall_is_neither_a_slip_nor_an_underrun() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 2000, 9));
        let mut sink = Queue::with_room(3);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        assert_eq!(playout.unheard_pass(at(20), 1, format, &mut source, &mut sink).frames, 0, "no room");
        sink.frames.clear();
        let report = playout.unheard_pass(at(100), 1, format, &mut source, &mut sink);
        assert_eq!((report.frames, report.slips, report.underruns), (3, 0, 0));
    }

    #[test]
    fn what_waits_of_a_cancelled_turn_takes_no_lead_from_the_next() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut sink = Queue { stalled: true, ..Queue::with_room(ROOM) };
        playout.unheard_pass(at(0), 1, format, &mut Queue::from(speech(1, 100, 9)), &mut sink);
        let report = playout.unheard_pass(at(5), 2, format, &mut Queue::from(speech(2, 100, 7)), &mut sink);
        assert_eq!(report.frames, 3);
    }

    #[test]
    fn frames_of_one_chunk_are_marked_as_continued_and_an_end_closes_it() {
        let format = LegFormat::new(SampleRate::Hz16000, 200, 100);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 139, 9));
        source.frames.push_back(Frame::end(1, OUTPUT_RATE));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        let kinds: Vec<_> = sink.frames.iter().map(|f| f.kind).collect();
        use FrameKind::{Audio, AudioContinued as More, AudioLast as Last};
        assert_eq!(kinds, [More, More, More, More, Audio, More, Last]);
    }

    #[test]
    fn a_chunk_is_as_long_as_the_lead_allows_and_a_frame_in_speech_that_comes_in_real_time() {
        let format = LegFormat::new(SampleRate::Hz16000, 200, 100);
        let chunks = |sink: &Queue| -> Vec<usize> {
            let mut chunks = vec![0];
            for frame in &sink.frames {
                *chunks.last_mut().expect("one") += usize::from(!frame.samples().is_empty());
                if frame.kind != FrameKind::AudioContinued {
                    chunks.push(0);
                }
            }
            chunks.pop();
            chunks
        };
        // An answer that is there at once.
        let mut playout = Playout::new(at(0), 1, format.rate);
        let (mut source, mut sink) = (Queue::from(speech(1, 1000, 9)), Queue::with_room(ROOM));
        for ms in 0..700 {
            playout.unheard_pass(at(ms), 1, format, &mut source, &mut sink);
        }
        assert_eq!(chunks(&sink), [5; 8], "two of lead, and one each 100 ms");
        // One that comes as it is spoken: nothing waits for company.
        let mut playout = Playout::new(at(0), 1, format.rate);
        let (mut source, mut sink) = (Queue::default(), Queue::with_room(ROOM));
        for ms in 0..700 {
            if ms % 20 == 0 {
                source.frames.extend(speech(1, 20, 9));
            }
            playout.unheard_pass(at(ms), 1, format, &mut source, &mut sink);
        }
        let spoken = chunks(&sink);
        assert!(spoken.len() >= 33 && spoken.iter().all(|frames| *frames == 1), "{spoken:?}");
    }

    /// A line that can be followed: 100 Hz.
    fn tone(turn: Turn, ms: u32) -> VecDeque<Frame> {
        let step = std::f32::consts::TAU * 100.0 / OUTPUT_RATE.hz() as f32;
        let samples: Vec<i16> =
            (0..OUTPUT_RATE.samples_in_ms(ms)).map(|n| ((n as f32 * step).sin() * 10_000.0) as i16).collect();
        samples.chunks(Frame::CAPACITY).map(|piece| Frame::audio(turn, OUTPUT_RATE, piece)).collect()
    }

    #[test]
    fn a_pause_fades_out_and_goes_on_with_every_sample_and_without_a_click() {
        for rate in SampleRate::ALL {
            let format = binary(rate);
            let mut playout = Playout::new(at(0), 1, rate);
            let mut source = Queue::from(tone(1, 1000));
            source.frames.push_back(Frame::end(1, OUTPUT_RATE));
            let mut plain = Queue::with_room(ROOM);
            let mut never_paused = Playout::new(at(0), 1, rate);
            let mut same = Queue::from(source.frames.clone());
            let mut sink = Queue::with_room(ROOM);
            let (mut underruns, mut slips, mut at_pause) = (0, 0, 0);
            for ms in (0..4000).step_by(20) {
                if ms == 300 {
                    playout.pause(true);
                }
                if ms == 1500 {
                    assert_eq!(playout.heard_at(), NEVER_HEARD);
                    playout.pause(false);
                }
                let report = playout.unheard_pass(at(ms), 1, format, &mut source, &mut sink);
                (underruns, slips) = (underruns + report.underruns, slips + report.slips);
                match ms {
                    300 => at_pause = samples(&sink),
                    320..1500 => assert_eq!((report.frames, samples(&sink)), (0, at_pause), "{rate} {ms}"),
                    _ => {}
                }
                never_paused.unheard_pass(at(ms), 1, format, &mut same, &mut plain);
            }
            assert_eq!((underruns, slips), (0, 0), "{rate}");
            let flat = |sink: &Queue| -> Vec<i16> {
                sink.frames.iter().flat_map(|frame| frame.samples().to_vec()).collect()
            };
            let (heard, plain) = (flat(&sink), flat(&plain));
            let frame = rate.samples_per_frame();
            let faded = at_pause - frame;
            assert_eq!(heard[..faded], plain[..faded], "{rate}: unchanged before it");
            assert_eq!(
                heard[at_pause + frame..],
                plain[at_pause..],
                "{rate}: unchanged behind it, nothing lost"
            );
            let steepest = |line: &[i16]| line.windows(2).map(|p| p[0].abs_diff(p[1])).max();
            assert!(steepest(&heard) <= steepest(&plain).map(|step| step * 3 / 2 + 50), "{rate}: a click");
            assert!(!playout.is_heard(at(4000)));
        }
    }

    #[test]
    fn a_pause_at_the_last_frame_of_a_turn_neither_loses_it_nor_leaves_the_turn_open() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 90, 9));
        source.frames.push_back(Frame::end(1, OUTPUT_RATE));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        playout.unheard_pass(at(20), 1, format, &mut source, &mut sink);
        playout.pause(true);
        playout.unheard_pass(at(40), 1, format, &mut source, &mut sink);
        assert!(playout.is_heard(at(500)), "the last frame waits");
        playout.pause(false);
        let frames = playout.unheard_pass(at(700), 1, format, &mut source, &mut sink).frames;
        assert_eq!(frames, 1);
        assert!(!playout.is_heard(at(900)));
        let next = playout.unheard_pass(at(5000), 1, format, &mut Queue::from(speech(1, 20, 9)), &mut sink);
        assert_eq!((next.frames, next.underruns), (1, 0), "the next turn begins without an underrun");
    }

    #[test]
    fn an_interruption_ends_a_pause_and_the_next_turn_is_heard() {
        let format = binary(SampleRate::Hz16000);
        let mut playout = Playout::new(at(0), 1, format.rate);
        let mut source = Queue::from(speech(1, 500, 9));
        let mut sink = Queue::with_room(ROOM);
        playout.unheard_pass(at(0), 1, format, &mut source, &mut sink);
        playout.pause(true);
        playout.unheard_pass(at(20), 1, format, &mut source, &mut sink);
        sink.frames.clear();
        source.frames.extend(speech(2, 100, 7));
        let report = playout.unheard_pass(at(300), 2, format, &mut source, &mut sink);
        assert!(report.barge_in_residual_us.is_some(), "the caller was in the middle of it");
        assert_eq!(report.frames, 3);
        assert!(sink.frames.iter().all(|frame| frame.turn == 2));
    }
}
