//! A histogram with fixed buckets, for durations that are observed on media threads and read by others.
//!
//! Runs in: anywhere. Owns its buckets. Never locks or allocates when observing: a scan of at most 20 bounds and two
//! relaxed additions, so it is wait-free. Invariant: the buckets only grow, and their sum is the number of observations.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Most bounds a histogram can have.
const BOUNDS_MAX: usize = 20;

/// For audio handed over ahead of time: steps of half a frame around the lead.
pub(crate) const RESIDUAL_BOUNDS_US: &[u64] = &[
    0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000, 150_000, 200_000, 500_000, 1_000_000,
];

/// For answers: steps of 100 ms where callers notice them.
pub(crate) const ANSWER_BOUNDS_US: &[u64] = &[
    200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 900_000, 1_000_000, 1_200_000, 1_400_000,
    1_600_000, 1_800_000, 2_000_000, 2_500_000, 3_000_000, 4_000_000, 6_000_000, 10_000_000, 20_000_000,
];

/// For the lateness of what has a deadline every 20 ms.
pub(crate) const LATENESS_BOUNDS_US: &[u64] = &[
    250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 40_000, 60_000,
    100_000, 200_000, 500_000, 1_000_000,
];

/// For latencies from a millisecond to ten seconds.
pub(crate) const LATENCY_BOUNDS_US: &[u64] = &[
    1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 35_000, 50_000, 75_000, 100_000, 150_000, 200_000,
    300_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000,
];

/// Counts durations by bucket, as a Prometheus histogram does.
#[derive(Debug)]
pub struct Histogram {
    bounds_us: &'static [u64],
    /// One more than bounds: the last is for what exceeds all of them.
    buckets: [AtomicU64; BOUNDS_MAX + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these inclusive upper bounds, ascending, in microseconds.
    ///
    /// # Panics
    /// With more than 20 bounds, none, or bounds that do not ascend; in a constant this is a compile error.
    pub const fn new(bounds_us: &'static [u64]) -> Self {
        assert!(!bounds_us.is_empty() && bounds_us.len() <= BOUNDS_MAX);
        let mut position = 1;
        while position < bounds_us.len() {
            assert!(bounds_us[position - 1] < bounds_us[position]);
            position += 1;
        }
        Self { bounds_us, buckets: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1], sum_us: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        // u64 holds half a million years of microseconds.
        let us = duration.as_micros() as u64;
        let bucket = self.bounds_us.iter().take_while(|bound| us > **bound).count();
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// The counts as they are now. Observations made meanwhile may be in one part of it and not in the other.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let used = self.buckets.iter().take(self.bounds_us.len() + 1);
        HistogramSnapshot {
            bounds_us: self.bounds_us,
            counts: used.map(|bucket| bucket.load(Relaxed)).collect(),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

/// Values of a label that are told apart: more than a configuration has credentials.
const LABELS_MAX: usize = 16;

/// A histogram for each value of a label: of the first that come, which have to be few, and one for all others. The first
/// observation of a value allocates; it is not for media threads.
#[derive(Debug)]
pub struct LabelledHistograms {
    bounds_us: &'static [u64],
    slots: [OnceLock<(Arc<str>, Histogram)>; LABELS_MAX],
    others: Histogram,
}

impl LabelledHistograms {
    /// None yet, with bounds as in [`Histogram::new`].
    pub const fn new(bounds_us: &'static [u64]) -> Self {
        let others = Histogram::new(bounds_us);
        Self { bounds_us, slots: [const { OnceLock::new() }; LABELS_MAX], others }
    }

    /// Counts one duration for this value.
    pub fn observe(&self, value: &Arc<str>, duration: Duration) {
        for slot in &self.slots {
            // Whoever comes first owns the slot.
            let (owner, histogram) = slot.get_or_init(|| (Arc::clone(value), Histogram::new(self.bounds_us)));
            if owner == value {
                return histogram.observe(duration);
            }
        }
        self.others.observe(duration);
    }

    /// The counts of each value so far.
    pub fn snapshots(&self) -> Vec<(Arc<str>, HistogramSnapshot)> {
        let taken = self.slots.iter().map_while(OnceLock::get);
        let each = taken.map(|(value, histogram)| (Arc::clone(value), histogram.snapshot()));
        let others = Some(("other".into(), self.others.snapshot())).filter(|(_, others)| others.count() > 0);
        each.chain(others).collect()
    }
}

/// The counts of a [`Histogram`] at one moment. `Display` is one phrase for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Inclusive upper bounds in microseconds.
    pub bounds_us: &'static [u64],
    /// Observations in each bucket (not cumulative); one more than bounds.
    pub counts: Vec<u64>,
    /// Sum of all observations in microseconds.
    pub sum_us: u64,
}

impl HistogramSnapshot {
    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean, or `None` without observations.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.count()).map(Duration::from_micros)
    }

    /// An estimate of the duration that a share `quantile` (0 to 1) of the observations does not exceed, or `None`
    /// without observations. It lies in the right bucket, at the place a uniform spread would give; beyond the last
    /// bound it is that bound, which is then too low.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil().max(1.0);
        let mut below = 0_u64;
        let mut lower_us = 0_u64;
        for (&bound_us, &in_bucket) in self.bounds_us.iter().zip(&self.counts) {
            if (below + in_bucket) as f64 >= rank {
                let share = (rank - below as f64) / in_bucket as f64;
                let us = lower_us as f64 + share * (bound_us - lower_us) as f64;
                return Some(Duration::from_micros(us.round() as u64));
            }
            below += in_bucket;
            lower_us = bound_us;
        }
        Some(Duration::from_micros(lower_us))
    }

    /// Observations up to and including each bound, as Prometheus writes them, with the bound in seconds; the last,
    /// with an infinite bound, counts all.
    pub fn cumulative_seconds(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds_us.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
        let mut total = 0;
        bounds
            .zip(&self.counts)
            .map(|(bound, count)| {
                total += count;
                (bound, total)
            })
            .collect()
    }
}

impl fmt::Display for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Option<Duration>| duration.map_or(0.0, |duration| duration.as_secs_f64() * 1e3);
        write!(
            f,
            "n={} mean={:.1}ms p50={:.1}ms p99={:.1}ms",
            self.count(),
            ms(self.mean()),
            ms(self.quantile(0.5)),
            ms(self.quantile(0.99))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[u64] = &[0, 1_000, 10_000];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new(BOUNDS);
        for duration in
            [ms(0), Duration::from_micros(1), ms(1), Duration::from_micros(1_001), ms(10), ms(11), ms(900)]
        {
            histogram.observe(duration);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [1, 2, 2, 2]);
        assert_eq!(snapshot.cumulative_seconds(), [(0.0, 1), (0.001, 3), (0.01, 5), (f64::INFINITY, 7)]);
        assert_eq!(
            snapshot.mean(),
            Some(Duration::from_micros((1 + 1_000 + 1_001 + 10_000 + 11_000 + 900_000) / 7))
        );
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_observation() {
        let histogram = Histogram::new(LATENCY_BOUNDS_US);
        for observed in 1..=100 {
            histogram.observe(ms(observed));
        }
        let snapshot = histogram.snapshot();
        let within = |quantile: f64, low: u64, high: u64| {
            let estimate = snapshot.quantile(quantile).unwrap();
            assert!(estimate > ms(low) && estimate <= ms(high), "{quantile}: {estimate:?}");
        };
        within(0.5, 35, 50);
        within(0.99, 75, 100);
        within(0.0, 0, 1);
        within(1.0, 75, 100);
        assert_eq!(snapshot.quantile(0.5), Some(ms(50)), "the 50th of 1 to 100 ms ends its bucket");
    }

    #[test]
    fn values_of_a_label_are_counted_apart_as_long_as_they_are_few() {
        let histograms = LabelledHistograms::new(BOUNDS);
        for n in 0..LABELS_MAX + 3 {
            histograms.observe(&n.to_string().into(), ms(1));
            histograms.observe(&"0".into(), ms(11));
        }
        let seen = histograms.snapshots();
        let counts: Vec<_> = seen.iter().map(|(value, seen)| (&**value, seen.count())).collect();
        assert_eq!(counts.len(), LABELS_MAX + 1);
        assert_eq!(
            (counts[0], counts[1], counts[LABELS_MAX]),
            (("0", LABELS_MAX as u64 + 4), ("1", 1), ("other", 3))
        );
    }

    #[test]
    fn nothing_observed_has_no_mean_and_no_quantile() {
        let snapshot = Histogram::new(BOUNDS).snapshot();
        assert_eq!((snapshot.count(), snapshot.mean(), snapshot.quantile(0.5)), (0, None, None));
    }

    #[test]
    fn beyond_the_last_bound_the_estimate_is_that_bound() {
        let histogram = Histogram::new(BOUNDS);
        histogram.observe(ms(5_000));
        assert_eq!(histogram.snapshot().quantile(0.5), Some(ms(10)));
    }

    #[test]
    fn observations_of_many_threads_are_all_counted() {
        let histogram = Histogram::new(BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(ms(1))));
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum_us), (40_000, 40_000_000));
    }
}
