//! What a worker measures over all its calls: histograms, sums, and the course of the run.
//!
//! Runs in: a callgen worker; merged at the end. Owns the histograms. Never allocates while calls run, save when a
//! run lasts longer than planned. Invariant: merging two gives what one worker would have measured, and what a run
//! takes does not grow with the number of calls.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use hdrhistogram::Histogram;

use super::figures::Counts;
use super::schedule::Step;
use super::turns::Turns;

/// Longest time a histogram tells apart, in µs: one minute; longer counts as that.
const LONGEST_US: u64 = 60_000_000;

/// A histogram of microseconds with three significant digits.
pub type Times = Histogram<u64>;

/// An empty histogram.
pub fn times() -> Times {
    // The bounds are constants that fulfil the constructor's conditions.
    Histogram::new_with_bounds(1, LONGEST_US, 3)
        .expect("1 to 60,000,000 with three digits is a valid histogram")
}

/// Records a duration.
pub fn record(times: &mut Times, ns: u64) {
    times.saturating_record((ns + 500) / 1000);
}

/// A histogram small enough for each second of a run: each bucket ends an eighth above the one before, from 10 µs to
/// 30 s.
#[derive(Debug, Clone, Copy)]
pub struct Buckets([u32; Self::COUNT]);

impl Default for Buckets {
    fn default() -> Self {
        Self([0; Self::COUNT])
    }
}

impl Buckets {
    const COUNT: usize = 128;
    const LEAST_NS: f64 = 10_000.0;
    const FACTOR: f64 = 1.125;

    /// Records a duration.
    pub fn record(&mut self, ns: u64) {
        let place = ((ns as f64 / Self::LEAST_NS).max(1.0).ln() / Self::FACTOR.ln()) as usize;
        if let Some(count) = self.0.get_mut(place.min(Self::COUNT - 1)) {
            *count += 1;
        }
    }

    /// So many of all values are at most this, in ns, to an eighth; 0 of none.
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        let place = self.0.iter().position(|count| {
            below += u64::from(*count);
            below >= wanted
        });
        place.map_or(0, |place| (Self::LEAST_NS * Self::FACTOR.powf(place as f64 + 0.5)) as u64)
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// What happened in one stretch of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin {
    /// Arrivals whose jitter is known.
    pub jitter_count: u64,
    /// Their sum, in ns.
    pub jitter_sum_ns: u64,
    /// The largest, in ns.
    pub jitter_max_ns: u64,
    /// Round trips measured.
    pub latency_count: u64,
    /// Their sum, in ns.
    pub latency_sum_ns: u64,
    /// The longest, in ns.
    pub latency_max_ns: u64,
    /// Their distribution.
    pub latency: Buckets,
    /// That of the generator's own lateness.
    pub lateness: Buckets,
    /// Audio frames sent.
    pub frames_sent: u64,
    /// Audio frames of 20 ms received.
    pub frames_received: u64,
    /// Times a caller's queue ran dry.
    pub underruns: u64,
    /// Calls that came up.
    pub came_up: u64,
    /// Calls that had been up and ended.
    pub went_down: u64,
    /// Most calls that were up at the same time, above those at the bin's beginning.
    pub peak: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that failed.
    pub failed: u64,
}

impl Bin {
    fn merge(&mut self, other: &Self) {
        self.jitter_max_ns = self.jitter_max_ns.max(other.jitter_max_ns);
        self.latency_max_ns = self.latency_max_ns.max(other.latency_max_ns);
        self.latency.merge(&other.latency);
        self.lateness.merge(&other.lateness);
        for (mine, theirs) in [
            (&mut self.jitter_count, other.jitter_count),
            (&mut self.jitter_sum_ns, other.jitter_sum_ns),
            (&mut self.latency_count, other.latency_count),
            (&mut self.latency_sum_ns, other.latency_sum_ns),
            (&mut self.frames_sent, other.frames_sent),
            (&mut self.frames_received, other.frames_received),
            (&mut self.underruns, other.underruns),
            (&mut self.came_up, other.came_up),
            (&mut self.went_down, other.went_down),
            (&mut self.peak, other.peak),
            (&mut self.refused, other.refused),
            (&mut self.failed, other.failed),
        ] {
            *mine += theirs;
        }
    }
}

/// What happened while a step was measured.
#[derive(Debug, Clone)]
pub(super) struct StepTotals {
    pub(super) step: Step,
    pub(super) latency: Times,
    pub(super) lateness: Times,
    /// Its counts alone; the times are above.
    pub(super) counts: Bin,
}

/// The calls of one leg and playback.
pub struct LegTimes {
    /// Calls that have ended.
    pub calls: usize,
    /// Those with which nothing was wrong.
    pub good: usize,
    /// Those that were refused.
    pub refused: usize,
    /// What was counted in them.
    pub counts: Counts,
    /// Lowest correlation of an answer with what was expected.
    pub correlation_min: f32,
    /// Answers spoken over.
    pub barge_ins: u64,
    /// Round trips to the arrival of the message.
    pub latency: Times,
    /// Round trips to the caller's ear.
    pub ear_latency: Times,
    /// Where in their messages frames begin.
    pub offset: Times,
    /// Deviation of arrivals from their distance on the 20 ms grid.
    pub jitter: Times,
    /// TCP connect to 101.
    pub setup: Times,
    /// TCP connect to the refusal.
    pub refusal: Times,
    /// End of a talkspurt to the answer.
    pub response: Times,
    /// First word over an answer to its last sample played.
    pub barge_in: Times,
    /// The same to the last one handed over.
    pub barge_in_handed_over: Times,
    /// The same to the clear message.
    pub barge_in_clear: Times,
    /// Clear message to the last sample played.
    pub clear_to_silence: Times,
    /// Old audio still queued.
    pub barge_in_residual: Times,
}

impl LegTimes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            calls: 0,
            good: 0,
            refused: 0,
            counts: Counts::default(),
            correlation_min: 1.0,
            barge_ins: 0,
            latency: times(),
            ear_latency: times(),
            offset: times(),
            jitter: times(),
            setup: times(),
            refusal: times(),
            response: times(),
            barge_in: times(),
            barge_in_handed_over: times(),
            barge_in_clear: times(),
            clear_to_silence: times(),
            barge_in_residual: times(),
        }
    }

    /// A conversation has ended.
    pub(super) fn add_turns(&mut self, turns: &Turns) {
        self.correlation_min = self.correlation_min.min(turns.correlation_min);
        turns.responses_ns.iter().for_each(|ns| record(&mut self.response, *ns));
        for barge_in in &turns.barge_ins {
            self.barge_ins += 1;
            record(&mut self.barge_in, barge_in.played_ns);
            record(&mut self.barge_in_handed_over, barge_in.handed_over_ns);
            record(&mut self.barge_in_residual, barge_in.residual_ns);
            if let Some(clear_ns) = barge_in.clear_ns {
                record(&mut self.barge_in_clear, clear_ns);
                record(&mut self.clear_to_silence, barge_in.played_ns.saturating_sub(clear_ns));
            }
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.good += other.good;
        self.refused += other.refused;
        self.counts.add(&other.counts);
        self.correlation_min = self.correlation_min.min(other.correlation_min);
        self.barge_ins += other.barge_ins;
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.ear_latency, &other.ear_latency),
            (&mut self.offset, &other.offset),
            (&mut self.jitter, &other.jitter),
            (&mut self.setup, &other.setup),
            (&mut self.refusal, &other.refusal),
            (&mut self.response, &other.response),
            (&mut self.barge_in, &other.barge_in),
            (&mut self.barge_in_handed_over, &other.barge_in_handed_over),
            (&mut self.barge_in_clear, &other.barge_in_clear),
            (&mut self.clear_to_silence, &other.clear_to_silence),
            (&mut self.barge_in_residual, &other.barge_in_residual),
        ] {
            add(mine, theirs);
        }
    }
}

impl Default for LegTimes {
    fn default() -> Self {
        Self::new()
    }
}

fn add(mine: &mut Times, theirs: &Times) {
    // The bounds are the same everywhere, so that adding cannot fail.
    mine.add(theirs).expect("histograms with equal bounds");
}

/// Everything a worker adds up.
pub struct Totals {
    /// One for each line of the plan.
    pub legs: Vec<LegTimes>,
    /// Lateness of the generator's own sending.
    pub lateness: Times,
    /// The course of the run.
    pub bins: Vec<Bin>,
    /// The steps of the run.
    pub(super) steps: Vec<StepTotals>,
    /// How many calls failed for each reason.
    pub failures: BTreeMap<String, usize>,
    /// How many calls were refused in which words.
    pub refusals: BTreeMap<String, usize>,
    epoch_ns: u64,
    bin_ns: u64,
}

impl Totals {
    /// Nothing yet, for `legs` legs; bins of `bin_ns` from `epoch_ns` on, `bins` of them planned.
    pub(super) fn new(legs: usize, epoch_ns: u64, bin_ns: u64, bins: usize, steps: &[Step]) -> Self {
        let step = |step: &Step| StepTotals {
            step: *step,
            latency: times(),
            lateness: times(),
            counts: Bin::default(),
        };
        Self {
            legs: (0..legs).map(|_| LegTimes::new()).collect(),
            lateness: times(),
            bins: vec![Bin::default(); bins],
            steps: steps.iter().map(step).collect(),
            failures: BTreeMap::new(),
            refusals: BTreeMap::new(),
            epoch_ns,
            bin_ns,
        }
    }

    fn bin(&mut self, now_ns: u64) -> &mut Bin {
        let index = (now_ns.saturating_sub(self.epoch_ns) / self.bin_ns) as usize;
        if index >= self.bins.len() {
            self.bins.resize(index + 1, Bin::default());
        }
        &mut self.bins[index]
    }

    /// The step that is measured at this time.
    fn step(&mut self, now_ns: u64) -> Option<&mut StepTotals> {
        let at_ns = now_ns.saturating_sub(self.epoch_ns);
        self.steps.iter_mut().find(|step| (step.step.from_ns..step.step.to_ns).contains(&at_ns))
    }

    /// Counts something at this time.
    pub(super) fn count(&mut self, now_ns: u64, count: impl Fn(&mut Bin)) {
        count(self.bin(now_ns));
        if let Some(step) = self.step(now_ns) {
            count(&mut step.counts);
        }
    }

    /// A frame that was due at `due_ns` is sent now.
    pub fn sent(&mut self, now_ns: u64, due_ns: u64) {
        let late_ns = now_ns.saturating_sub(due_ns);
        record(&mut self.lateness, late_ns);
        self.bin(now_ns).lateness.record(late_ns);
        if let Some(step) = self.step(now_ns) {
            record(&mut step.lateness, late_ns);
        }
        self.count(now_ns, |bin| bin.frames_sent += 1);
    }

    /// A frame of `leg` came back: when it arrived, how long after its sending it arrived and was heard, and where in
    /// its message it begins.
    pub fn round_trip(&mut self, leg: usize, now_ns: u64, latency_ns: u64, ear_ns: u64, offset_ns: u64) {
        if let Some(times) = self.legs.get_mut(leg) {
            record(&mut times.latency, latency_ns);
            record(&mut times.ear_latency, ear_ns);
            record(&mut times.offset, offset_ns);
        }
        if let Some(step) = self.step(now_ns) {
            record(&mut step.latency, latency_ns);
        }
        let bin = self.bin(now_ns);
        bin.latency_count += 1;
        bin.latency_sum_ns += latency_ns;
        bin.latency_max_ns = bin.latency_max_ns.max(latency_ns);
        bin.latency.record(latency_ns);
    }

    /// A call of `leg` came up.
    pub fn setup(&mut self, leg: usize, now_ns: u64, setup_ns: u64) {
        if let Some(times) = self.legs.get_mut(leg) {
            record(&mut times.setup, setup_ns);
        }
        self.count(now_ns, |bin| {
            bin.came_up += 1;
            bin.peak = bin.peak.max(bin.came_up.saturating_sub(bin.went_down));
        });
    }

    /// The jitter of an arrival at `leg`.
    pub fn jitter(&mut self, leg: usize, now_ns: u64, jitter_ns: u64) {
        if let Some(times) = self.legs.get_mut(leg) {
            record(&mut times.jitter, jitter_ns);
        }
        let bin = self.bin(now_ns);
        bin.jitter_count += 1;
        bin.jitter_sum_ns += jitter_ns;
        bin.jitter_max_ns = bin.jitter_max_ns.max(jitter_ns);
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        self.legs.iter_mut().zip(&other.legs).for_each(|(mine, theirs)| mine.merge(theirs));
        add(&mut self.lateness, &other.lateness);
        if self.bins.len() < other.bins.len() {
            self.bins.resize(other.bins.len(), Bin::default());
        }
        self.bins.iter_mut().zip(&other.bins).for_each(|(mine, theirs)| mine.merge(theirs));
        for (mine, theirs) in self.steps.iter_mut().zip(&other.steps) {
            add(&mut mine.latency, &theirs.latency);
            add(&mut mine.lateness, &theirs.lateness);
            mine.counts.merge(&theirs.counts);
        }
        for (mine, theirs) in [(&mut self.failures, &other.failures), (&mut self.refusals, &other.refusals)] {
            theirs.iter().for_each(|(why, count)| *mine.entry(why.clone()).or_insert(0) += count);
        }
    }
}

/// Counts that may be looked at while a run lasts.
#[derive(Debug, Default)]
pub struct Progress {
    /// Calls that were begun.
    pub begun: AtomicU64,
    /// Calls that are up: answered and not yet ended.
    pub up: AtomicU64,
    /// Calls that have ended, well or not.
    pub ended: AtomicU64,
    /// Calls that have failed.
    pub failed: AtomicU64,
    /// Calls that were refused.
    pub refused: AtomicU64,
    /// Audio frames sent.
    pub frames_sent: AtomicU64,
    /// Audio frames of 20 ms received.
    pub frames_received: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_distribution_to_an_eighth() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.quantile_ns(0.99), 0);
        (1..=1000).for_each(|ms| buckets.record(ms * 1_000_000));
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0)] {
            let got = buckets.quantile_ns(share) as f64 / 1e6;
            assert!((got / ms - 1.0).abs() < 0.13, "{got} for {ms}");
        }
        let (mut all, mut extremes) = (buckets, Buckets::default());
        [0, u64::MAX].into_iter().for_each(|ns| extremes.record(ns));
        all.merge(&extremes);
        assert_eq!(all.0.iter().sum::<u32>(), 1002);
    }

    #[test]
    fn what_belongs_to_a_step_is_also_in_its_second_and_in_the_whole() {
        const SECOND: u64 = 1_000_000_000;
        let step = |calls, from_ns, to_ns| Step::of(calls, from_ns, to_ns);
        let steps = [step(10, 2 * SECOND, 4 * SECOND), step(20, 6 * SECOND, 8 * SECOND)];
        let mut totals = Totals::new(1, 100, SECOND, 10, &steps);
        for second in 0..10 {
            let now_ns = 100 + second * SECOND;
            totals.sent(now_ns, now_ns - 100);
            totals.round_trip(0, now_ns, (second + 1) * 1_000_000, 0, 0);
        }
        let mut whole = Totals::new(1, 100, SECOND, 10, &steps);
        whole.merge(&totals);
        whole.merge(&totals);
        let of = |place: usize| (whole.steps[place].latency.len(), whole.steps[place].latency.max() / 1000);
        assert_eq!((of(0), of(1)), ((4, 4), (4, 8)));
        assert_eq!(whole.steps[0].counts.frames_sent, 4);
        assert_eq!((whole.bins[7].latency_count, whole.bins[7].frames_sent), (2, 2));
        assert_eq!(whole.legs[0].latency.len(), 20);
    }
}
