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

/// Everything a worker adds up.
pub struct Totals {
    /// Round trips.
    pub latency: Times,
    /// Where in their messages frames begin.
    pub offset: Times,
    /// Deviation of arrivals from their distance on the 20 ms grid.
    pub jitter: Times,
    /// Lateness of the generator's own sending.
    pub lateness: Times,
    /// TCP connect to 101.
    pub setup: Times,
    /// The course of the run.
    pub bins: Vec<Bin>,
    epoch_ns: u64,
    bin_ns: u64,
}

impl Totals {
    /// Nothing yet; bins of `bin_ns` from `epoch_ns` on, `bins` of them planned.
    pub fn new(epoch_ns: u64, bin_ns: u64, bins: usize) -> Self {
        Self {
            latency: times(),
            offset: times(),
            jitter: times(),
            lateness: times(),
            setup: times(),
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

    /// A round trip.
    pub fn latency(&mut self, now_ns: u64, latency_ns: u64) {
        record(&mut self.latency, latency_ns);
        let bin = self.bin(now_ns);
        bin.latency_count += 1;
        bin.latency_sum_ns += latency_ns;
        bin.latency_max_ns = bin.latency_max_ns.max(latency_ns);
    }

    /// An arrival's jitter.
    pub fn jitter(&mut self, now_ns: u64, jitter_ns: u64) {
        record(&mut self.jitter, jitter_ns);
        let bin = self.bin(now_ns);
        bin.jitter_count += 1;
        bin.jitter_sum_ns += jitter_ns;
        bin.jitter_max_ns = bin.jitter_max_ns.max(jitter_ns);
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.offset, &other.offset),
            (&mut self.jitter, &other.jitter),
            (&mut self.lateness, &other.lateness),
            (&mut self.setup, &other.setup),
        ] {
            // The bounds are the same everywhere, so that adding cannot fail.
            mine.add(theirs).expect("histograms with equal bounds");
        }
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
