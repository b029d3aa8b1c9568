//! The tap of a call: what the caller says and what they hear, each with its place on the call's clock.
//!
//! Runs in: the call's dsp worker. Owns less than a frame of the caller's samples.
//! Never allocates, never waits: what its ring has no room for is counted and left out.
//! Invariant: places never depend on what was left out. The caller's audio stands where it arrived, the agent's where it is
//! heard.

use crate::base::limits::CALLER_AHEAD_MS_MAX;
use crate::base::tap::{TapFrame, TapKind, TapSink, tick_at, ticks_in_us};
use crate::base::{Frame, Instant, SampleRate};

const RATE: SampleRate = SampleRate::Hz16000;
const TICKS_PER_SAMPLE: u64 = ticks_in_us(1_000_000) / RATE.hz() as u64;
/// How far the caller's audio may stand behind the clock: a jitter that the uplink does not fill with silence.
const BEHIND_TICKS_MAX: u64 = ticks_in_us(60_000);
/// How far it may stand ahead: what a switch may send at once after a stall.
const AHEAD_TICKS_MAX: u64 = ticks_in_us(CALLER_AHEAD_MS_MAX * 1000);
/// Arrivals among which the least ahead says how far the audio really is ahead of the clock: a second. A message of 200 ms
/// is ahead in all of its frames but the first.
const ARRIVALS: u32 = 50;
/// The loudest sample of a frame that may be left out to bring audio that came late back to the clock: about -50 dBFS.
const QUIET: u16 = 100;

/// Who is told of a call's audio where it is made. Nobody: `()`.
pub trait Listener {
    /// Audio of the caller arrives, or is filled in as silence; what [`Listener::caller`] is told from here on is of it, late by
    /// `delay_us`.
    fn caller_arrives(&mut self, _now: Instant, _filled: bool, _delay_us: u32) {}
    /// Samples of the caller for the model, at 16 kHz.
    fn caller(&mut self, _samples: &[i16]) {}
    /// A frame of the agent that was released, `offset` samples behind what is heard at `at`.
    fn agent(&mut self, _at: Instant, _offset: usize, _frame: &Frame) {}
    /// What was to be heard from `from` on is heard from `to` on.
    fn agent_later(&mut self, _from: Instant, _to: Instant) {}
    /// What was to be heard from `from` on is never heard.
    fn agent_cut(&mut self, _from: Instant) {}
}

impl Listener for () {}

impl<L: Listener> Listener for Option<&mut L> {
    fn caller_arrives(&mut self, now: Instant, filled: bool, delay_us: u32) {
        self.iter_mut().for_each(|listener| listener.caller_arrives(now, filled, delay_us));
    }

    fn caller(&mut self, samples: &[i16]) {
        self.iter_mut().for_each(|listener| listener.caller(samples));
    }

    fn agent(&mut self, at: Instant, offset: usize, frame: &Frame) {
        self.iter_mut().for_each(|listener| listener.agent(at, offset, frame));
    }

    fn agent_later(&mut self, from: Instant, to: Instant) {
        self.iter_mut().for_each(|listener| listener.agent_later(from, to));
    }

    fn agent_cut(&mut self, from: Instant) {
        self.iter_mut().for_each(|listener| listener.agent_cut(from));
    }
}

/// See the head of this file.
pub struct Tap<S> {
    sink: S,
    began_at: Instant,
    caller: CallerLine,
    /// The caller's samples that do not fill a frame yet.
    staged: [i16; Frame::CAPACITY],
    staged_len: usize,
    staged_at: u64,
    /// From where on the agent's audio is to be taken back, because there was no room to say what became of it.
    untold_cut: Option<u64>,
    lost: u64,
}

impl<S: TapSink> Tap<S> {
    /// A tap of a call that began at `began_at`, which is where its places are counted from.
    pub fn new(began_at: Instant, sink: S) -> Self {
        Self {
            sink,
            began_at,
            caller: CallerLine::default(),
            staged: [0; Frame::CAPACITY],
            staged_len: 0,
            staged_at: 0,
            untold_cut: None,
            lost: 0,
        }
    }

    /// Frames that were lost since this was last asked.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn put(&mut self, at: u64, kind: TapKind, frame: Frame) {
        if let Some(from) = self.untold_cut {
            let told = TapFrame { at: from, kind: TapKind::AgentCut, frame: Frame::end(0, RATE) };
            if self.sink.put(told) {
                self.untold_cut = None;
            }
        }
        if self.untold_cut.is_some() || !self.sink.put(TapFrame { at, kind, frame }) {
            match kind {
                TapKind::Caller | TapKind::Agent => self.lost += 1,
                TapKind::AgentLater { .. } | TapKind::AgentCut => {
                    self.untold_cut = Some(self.untold_cut.map_or(at, |from| from.min(at)));
                }
            }
        }
    }

    fn put_staged(&mut self) {
        let samples = &self.staged[..self.staged_len];
        // Silence is what stands where nothing is said.
        if samples.iter().any(|&sample| sample != 0) {
            self.put(self.staged_at, TapKind::Caller, Frame::audio(0, RATE, samples));
        }
        self.staged_len = 0;
    }
}

impl<S: TapSink> Listener for Tap<S> {
    fn caller_arrives(&mut self, now: Instant, filled: bool, delay_us: u32) {
        let delay = ticks_in_us(u64::from(delay_us) + 10);
        self.caller.arrive(tick_at(self.began_at, now), filled, delay);
    }

    fn caller(&mut self, samples: &[i16]) {
        let Some(mut at) = self.caller.place(samples) else { return };
        let mut rest = samples;
        while !rest.is_empty() {
            let next = self.staged_at + self.staged_len as u64 * TICKS_PER_SAMPLE;
            if self.staged_len > 0 && at != next {
                self.put_staged();
            }
            if self.staged_len == 0 {
                self.staged_at = at;
            }
            let fit = rest.len().min(Frame::CAPACITY - self.staged_len);
            self.staged[self.staged_len..self.staged_len + fit].copy_from_slice(&rest[..fit]);
            self.staged_len += fit;
            at += fit as u64 * TICKS_PER_SAMPLE;
            rest = &rest[fit..];
            if self.staged_len == Frame::CAPACITY {
                self.put_staged();
            }
        }
    }

    fn agent(&mut self, at: Instant, offset: usize, frame: &Frame) {
        let offset = offset as u64 * ticks_in_us(1_000_000) / u64::from(frame.rate.hz());
        self.put(tick_at(self.began_at, at) + offset, TapKind::Agent, *frame);
    }

    fn agent_later(&mut self, from: Instant, to: Instant) {
        let to = tick_at(self.began_at, to);
        self.put(tick_at(self.began_at, from), TapKind::AgentLater { to }, Frame::end(0, RATE));
    }

    fn agent_cut(&mut self, from: Instant) {
        self.put(tick_at(self.began_at, from), TapKind::AgentCut, Frame::end(0, RATE));
    }
}

/// Where the caller's audio stands: sample behind sample as the model gets it, and by the clock where that is not as it was
/// said: behind silence that was filled in, and where a switch's clock has run away from ours.
#[derive(Default)]
struct CallerLine {
    /// Where the next sample stands, before the filter's delay is taken off.
    next: u64,
    delay: u64,
    /// The clock when the latest audio arrived.
    now: u64,
    /// Nothing was said since the last filled silence.
    apart: bool,
    filled: bool,
    begun: bool,
    /// The least that an arrival was ahead of the clock, of so many.
    ahead_min: u64,
    arrivals: u32,
    /// So much is to be left out where it is quiet.
    excess: u64,
}

impl CallerLine {
    fn arrive(&mut self, now: u64, filled: bool, delay: u64) {
        (self.now, self.delay, self.filled) = (now, delay, filled);
        if filled {
            self.apart = true;
            return;
        }
        if !self.begun || self.apart && now > self.next || now > self.next + BEHIND_TICKS_MAX {
            (self.next, self.arrivals, self.excess) = (now, 0, 0);
        }
        (self.begun, self.apart) = (true, false);
        let ahead = self.next.saturating_sub(now);
        self.ahead_min = if self.arrivals == 0 { ahead } else { self.ahead_min.min(ahead) };
        self.arrivals += 1;
        if self.arrivals >= ARRIVALS {
            self.excess = if self.ahead_min > BEHIND_TICKS_MAX { self.ahead_min } else { 0 };
            self.arrivals = 0;
        }
    }

    /// Where these samples stand; `None` where they are left out.
    fn place(&mut self, samples: &[i16]) -> Option<u64> {
        let length = samples.len() as u64 * TICKS_PER_SAMPLE;
        let quiet = self.excess >= length && samples.iter().all(|sample| sample.unsigned_abs() <= QUIET);
        if quiet {
            self.excess -= length;
        }
        // Silence that was filled in brings nothing that could be missed.
        if quiet || self.filled && self.next > self.now || self.next > self.now + AHEAD_TICKS_MAX {
            return None;
        }
        let at = self.next.saturating_sub(self.delay);
        self.next += length;
        Some(at)
    }
}
