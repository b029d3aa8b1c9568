//! The timeline of a call: tapped frames of both sides, each put at its place, become one stereo line without a hole.
//!
//! Runs in: the recorder thread, and tests: pure. Owns the seconds that may still change, and the converter of the agent's
//! side. Never reads a clock.
//! Invariant: sample `n` of what is taken out stands for the moment `n / 16,000` seconds after the call began; where nothing
//! was said or heard, and where a frame was lost, there is silence.

use std::collections::VecDeque;

use crate::base::tap::{TICKS_PER_SECOND, TapFrame, TapKind};
use crate::base::{Frame, SampleRate};
use crate::dsp::Resampler;

/// Samples a second of each side.
pub(crate) const RATE: SampleRate = SampleRate::Hz16000;
/// Ticks of a sample.
const TICKS: u64 = TICKS_PER_SECOND / RATE.hz() as u64;
/// Samples that are kept for later at most: what may be handed to a switch or come from it ahead of real time.
const AHEAD_MAX: usize = 20 * RATE.hz() as usize;
static SILENCE: [i16; 96] = [0; 96];

/// A stereo sample: the caller, the agent.
pub(crate) type Pair = [i16; 2];

/// The sample at a tick, or the nearest.
pub(crate) const fn sample_at(tick: u64) -> u64 {
    (tick + TICKS / 2) / TICKS
}

/// See the head of this file.
pub(crate) struct Timeline {
    /// The number of the oldest sample that may still change.
    from: u64,
    pairs: VecDeque<Pair>,
    agent: Option<Run>,
    late: u64,
}

/// Frames of the agent that follow each other.
struct Run {
    resampler: Resampler,
    /// Where the next frame of it stands.
    next_tick: u64,
    /// Where the next converted sample stands. The converter's delay is taken off, so the first may stand before the call.
    next: i64,
}

impl Timeline {
    /// A timeline whose first sample is number `from`.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, pairs: VecDeque::new(), agent: None, late: 0 }
    }

    /// The number of the next sample to be taken out.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// Frames that came too late since this was last asked: where they stand was taken out before.
    pub(crate) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// Puts a frame at its place.
    pub(crate) fn put(&mut self, tapped: &TapFrame) {
        match tapped.kind {
            TapKind::Caller => {
                let at = sample_at(tapped.at);
                self.late += u64::from(at < self.from);
                for (n, &sample) in tapped.frame.samples().iter().enumerate() {
                    if let Some(pair) = self.pair((at + n as u64) as i64) {
                        pair[0] = sample;
                    }
                }
            }
            TapKind::Agent => self.put_agent(tapped.at, &tapped.frame),
            TapKind::AgentLater { to } => {
                self.move_agent(sample_at(tapped.at), sample_at(to), to - tapped.at.min(to))
            }
            TapKind::AgentCut => {
                self.end_run();
                let from = sample_at(tapped.at).saturating_sub(self.from) as usize;
                self.pairs.iter_mut().skip(from).for_each(|pair| pair[1] = 0);
            }
        }
    }

    /// Takes out everything up to sample number `until`.
    pub(crate) fn take_until(&mut self, until: u64, taken: &mut Vec<Pair>) {
        let count = until.saturating_sub(self.from) as usize;
        let known = count.min(self.pairs.len());
        taken.extend(self.pairs.drain(..known));
        taken.resize(taken.len() + count - known, [0, 0]);
        self.from += count as u64;
    }

    /// The sample of that number, if it may still change.
    fn pair(&mut self, number: i64) -> Option<&mut Pair> {
        let at = usize::try_from(number - self.from as i64).ok().filter(|at| *at < AHEAD_MAX)?;
        if at >= self.pairs.len() {
            self.pairs.resize(at + 1, [0, 0]);
        }
        self.pairs.get_mut(at)
    }

    fn put_agent(&mut self, at: u64, frame: &Frame) {
        self.late += u64::from(sample_at(at) < self.from);
        let follows = |run: &mut Run| run.next_tick == at && run.resampler.from() == frame.rate;
        let mut run = match self.agent.take_if(follows) {
            Some(run) => run,
            None => {
                self.end_run();
                let resampler = Resampler::new(frame.rate, RATE);
                let delay = delay_samples(&resampler);
                Run { resampler, next_tick: at, next: sample_at(at) as i64 - delay as i64 }
            }
        };
        self.convert(&mut run, frame.samples());
        run.next_tick += frame.samples().len() as u64 * TICKS_PER_SECOND / u64::from(frame.rate.hz());
        self.agent = Some(run);
    }

    fn convert(&mut self, run: &mut Run, mut input: &[i16]) {
        let mut converted = [0; Frame::CAPACITY];
        while !input.is_empty() {
            let progress = run.resampler.process(input, &mut converted);
            input = &input[progress.consumed..];
            for &sample in &converted[..progress.produced] {
                // The end of one run and the beginning of the next may lie over each other: the filter is linear.
                if let Some(pair) = self.pair(run.next) {
                    pair[1] = pair[1].saturating_add(sample);
                }
                run.next += 1;
            }
        }
    }

    /// Brings what the converter still holds.
    fn end_run(&mut self) {
        if let Some(mut run) = self.agent.take() {
            let until = run.next + delay_samples(&run.resampler) as i64;
            while run.next < until {
                self.convert(&mut run, &SILENCE);
            }
        }
    }

    fn move_agent(&mut self, from: u64, to: u64, ticks: u64) {
        let from = from.saturating_sub(self.from) as usize;
        let by = (to.saturating_sub(self.from) as usize).saturating_sub(from);
        if let Some(run) = &mut self.agent {
            run.next += by as i64;
            run.next_tick += ticks;
        }
        if by == 0 || from >= self.pairs.len() {
            return;
        }
        let length = (self.pairs.len() + by).min(AHEAD_MAX);
        self.pairs.resize(length, [0, 0]);
        for at in (from..length).rev() {
            let moved = at.checked_sub(by).filter(|origin| *origin >= from);
            let agent = moved.and_then(|origin| self.pairs.get(origin)).map_or(0, |pair| pair[1]);
            if let Some(pair) = self.pairs.get_mut(at) {
                pair[1] = agent;
            }
        }
    }
}

/// The delay of a converter, in its output's samples.
fn delay_samples(resampler: &Resampler) -> u64 {
    (u64::from(resampler.delay_us()) * u64::from(RATE.hz()) + 500_000) / 1_000_000
}
