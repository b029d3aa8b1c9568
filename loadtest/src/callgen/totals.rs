//! What a worker measures over all its calls: histograms and the course of the run.
//!
//! Runs in: a callgen worker; merged at the end. Owns the histograms. Never allocates while calls run, save when a
//! run lasts longer than planned. Invariant: merging two gives what one worker would have measured.

use std::sync::atomic::AtomicU64;

use hdrhistogram::Histogram;

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
}

/// The times of the calls of one leg and playback.
pub struct LegTimes {
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
}

impl LegTimes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { latency: times(), ear_latency: times(), offset: times(), jitter: times(), setup: times() }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.ear_latency, &other.ear_latency),
            (&mut self.offset, &other.offset),
            (&mut self.jitter, &other.jitter),
            (&mut self.setup, &other.setup),
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
    epoch_ns: u64,
    bin_ns: u64,
}

impl Totals {
    /// Nothing yet, for `legs` legs; bins of `bin_ns` from `epoch_ns` on, `bins` of them planned.
    pub fn new(legs: usize, epoch_ns: u64, bin_ns: u64, bins: usize) -> Self {
        Self {
            legs: (0..legs).map(|_| LegTimes::new()).collect(),
            lateness: times(),
            bins: vec![Bin::default(); bins],
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

    /// A frame of `leg` came back: when it arrived, how long after its sending it arrived and was heard, and where in
    /// its message it begins.
    pub fn round_trip(&mut self, leg: usize, now_ns: u64, latency_ns: u64, ear_ns: u64, offset_ns: u64) {
        if let Some(times) = self.legs.get_mut(leg) {
            record(&mut times.latency, latency_ns);
            record(&mut times.ear_latency, ear_ns);
            record(&mut times.offset, offset_ns);
        }
        let bin = self.bin(now_ns);
        bin.latency_count += 1;
        bin.latency_sum_ns += latency_ns;
        bin.latency_max_ns = bin.latency_max_ns.max(latency_ns);
    }

    /// A call of `leg` came up.
    pub fn setup(&mut self, leg: usize, setup_ns: u64) {
        if let Some(times) = self.legs.get_mut(leg) {
            record(&mut times.setup, setup_ns);
        }
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
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.jitter_count += theirs.jitter_count;
            mine.jitter_sum_ns += theirs.jitter_sum_ns;
            mine.jitter_max_ns = mine.jitter_max_ns.max(theirs.jitter_max_ns);
            mine.latency_count += theirs.latency_count;
            mine.latency_sum_ns += theirs.latency_sum_ns;
            mine.latency_max_ns = mine.latency_max_ns.max(theirs.latency_max_ns);
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
    /// Audio frames sent.
    pub frames_sent: AtomicU64,
    /// Audio frames of 20 ms received.
    pub frames_received: AtomicU64,
}
