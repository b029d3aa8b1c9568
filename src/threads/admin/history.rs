//! What was counted in the last hour, as points for a plot.
//!
//! Runs in: the admin thread, and tests: pure. Owns at most [`POINTS_MAX`] points and the counts of ten seconds.
//! Never asks anybody: it is handed what was counted, each second.
//! Invariant: a point's percentiles are those of the ten seconds before it, its other numbers those since the start, which
//! never fall.

use std::collections::VecDeque;

use serde::Serialize;

use crate::telemetry::Counters;
use crate::telemetry::histogram::HistogramSnapshot;
use crate::threads::control::live::{LiveCall, as_time};

/// Seconds between two points, and what a point's percentiles look back.
pub(super) const INTERVAL_S: u64 = 10;
/// One hour.
pub(super) const POINTS_MAX: usize = 360;

/// What is counted at one moment, since the relay began.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) active: u64,
    pub(super) calls: u64,
    pub(super) underruns: u64,
    pub(super) lost_frames: u64,
    pub(super) answers: HistogramSnapshot,
    pub(super) lateness: HistogramSnapshot,
}

impl Counted {
    /// What is counted now: of ended calls by `counters`, of running ones by themselves.
    pub(super) fn now(counters: &Counters, running: &[LiveCall]) -> Self {
        Self {
            active: counters.active_calls(),
            calls: counters.calls.get(),
            underruns: counters.underruns.get() + running.iter().map(|call| call.underruns).sum::<u64>(),
            lost_frames: counters.uplink_dropped_frames.get()
                + running.iter().map(|call| call.lost_frames).sum::<u64>(),
            answers: counters.answer_latency.snapshot(),
            lateness: counters.playout_lateness.snapshot(),
        }
    }
}

/// A point of the history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Point {
    /// When, in milliseconds since 1970; RFC 3339 in JSON.
    #[serde(serialize_with = "as_time")]
    at: u64,
    /// Calls that run.
    active: u64,
    /// Calls since the start.
    calls_total: u64,
    /// Of answers in the last ten seconds.
    answer_ms_p50: Option<f64>,
    /// The bound that the latest of them did not exceed.
    answer_ms_max: Option<f64>,
    /// How late frames left their grid in the last ten seconds.
    lateness_ms_p50: Option<f64>,
    lateness_ms_p99: Option<f64>,
    /// Since the start, those of running calls included.
    underruns: u64,
    /// Since the start, those of running calls included.
    lost_frames: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    /// What was counted in each of the last seconds, the oldest first.
    seconds: VecDeque<Counted>,
}

impl History {
    /// Takes what was counted this second, and gives the point of now; keeps it if `keep`.
    pub(super) fn count(&mut self, unix_ms: u64, mut counted: Counted, keep: bool) -> Point {
        if let Some(before) = self.seconds.back() {
            // Those of a call that ended just now may be in neither sum.
            counted.underruns = counted.underruns.max(before.underruns);
            counted.lost_frames = counted.lost_frames.max(before.lost_frames);
        }
        let before = self.seconds.front();
        let answers = since(&counted.answers, before.map(|before| &before.answers));
        let lateness = since(&counted.lateness, before.map(|before| &before.lateness));
        let ms = |histogram: &HistogramSnapshot, share: f64| {
            let duration = histogram.quantile(share)?;
            Some((duration.as_secs_f64() * 1e4).round() / 10.0)
        };
        let point = Point {
            at: unix_ms,
            active: counted.active,
            calls_total: counted.calls,
            answer_ms_p50: ms(&answers, 0.5),
            answer_ms_max: ms(&answers, 1.0),
            lateness_ms_p50: ms(&lateness, 0.5),
            lateness_ms_p99: ms(&lateness, 0.99),
            underruns: counted.underruns,
            lost_frames: counted.lost_frames,
        };
        if self.seconds.len() >= INTERVAL_S as usize {
            self.seconds.pop_front();
        }
        self.seconds.push_back(counted);
        if keep {
            if self.points.len() >= POINTS_MAX {
                self.points.pop_front();
            }
            self.points.push_back(point.clone());
        }
        point
    }

    /// The points that were kept, the oldest first.
    pub(super) fn points(&self) -> &VecDeque<Point> {
        &self.points
    }
}

/// What was observed behind `before`.
fn since(now: &HistogramSnapshot, before: Option<&HistogramSnapshot>) -> HistogramSnapshot {
    let mut since = now.clone();
    if let Some(before) = before {
        for (count, before) in since.counts.iter_mut().zip(&before.counts) {
            *count = count.saturating_sub(*before);
        }
        since.sum_us = since.sum_us.saturating_sub(before.sum_us);
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::{Histogram, LATENCY_BOUNDS_US};
    use std::time::Duration;

    fn counted(calls: u64, underruns: u64, answers: &Histogram) -> Counted {
        let (answers, lateness) = (answers.snapshot(), Histogram::new(LATENCY_BOUNDS_US).snapshot());
        Counted { active: 1, calls, underruns, lost_frames: 0, answers, lateness }
    }

    #[test]
    fn percentiles_look_back_ten_seconds_and_totals_to_the_start() {
        let (mut history, answers) = (History::default(), Histogram::new(LATENCY_BOUNDS_US));
        history.count(0, counted(1, 0, &answers), true);
        answers.observe(Duration::from_millis(400));
        let point = history.count(1000, counted(2, 3, &answers), false);
        assert!(point.answer_ms_p50.is_some_and(|ms| (300.0..=500.0).contains(&ms)), "{point:?}");
        assert_eq!((point.calls_total, point.underruns, point.lateness_ms_p99), (2, 3, None));
        for second in 2..12 {
            let point = history.count(second * 1000, counted(2, 1, &answers), false);
            assert_eq!(point.underruns, 3, "a total does not fall");
            assert_eq!(point.answer_ms_p50.is_some(), second < 11, "at {second} s");
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (mut history, answers) = (History::default(), Histogram::new(LATENCY_BOUNDS_US));
        for n in 0..POINTS_MAX as u64 + 5 {
            history.count(n, counted(n, 0, &answers), true);
        }
        let points = history.points();
        assert_eq!((points.len(), points[0].at, points[POINTS_MAX - 1].at), (360, 5, 364));
    }
}
