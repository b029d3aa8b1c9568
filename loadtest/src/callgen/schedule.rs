//! When calls begin and how long they talk: all at once, in steps, or one after the other in as many places.
//!
//! Runs in: anywhere: pure. Owns nothing but the plan. Never reads a clock: times are ns from the run's beginning.
//! Invariant: with the same options every call begins at the same time and talks for as long.

use super::clock::Random;
use super::options::Options;

/// Between the last call's beginning and the time in which a step is measured.
const SETTLE_S: f64 = 1.0;
/// A caller who was refused or whose call failed calls again after so long, in a run with churn.
const AGAIN_NS: u64 = 1_000_000_000;

/// One step, as it is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// Calls from here on.
    pub(super) calls: u32,
    /// When its first new call begins.
    begins_ns: u64,
    /// When measuring begins and ends.
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

#[cfg(test)]
impl Step {
    /// A step that is measured at these times.
    pub(super) fn of(calls: u32, from_ns: u64, to_ns: u64) -> Self {
        Self { calls, begins_ns: from_ns, from_ns, to_ns }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) steps: Vec<Step>,
    /// Calls at the same time.
    pub(super) places: usize,
    ramp_per_s: f64,
    length_ns: u64,
    /// Of the run: with steps or churn nobody talks longer.
    end_ns: Option<u64>,
    /// Shortest and longest call of a run with churn.
    churn_ns: Option<(u64, u64)>,
    seed: u64,
}

impl Schedule {
    /// What `options`, which have been checked, ask for.
    pub(super) fn new(options: &Options) -> Self {
        let (mut steps, mut before, mut at_s) = (Vec::new(), 0, 0.0);
        for calls in options.steps.iter().flat_map(|steps| steps.calls.iter().copied()) {
            let seconds = options.steps.as_ref().map_or(0.0, |steps| steps.seconds);
            let from_s = at_s + f64::from(calls - before) / options.ramp_per_s + SETTLE_S;
            steps.push(Step { calls, begins_ns: ns(at_s), from_ns: ns(from_s), to_ns: ns(from_s + seconds) });
            (before, at_s) = (calls, from_s + seconds);
        }
        let end_ns = match (steps.last(), options.call_seconds) {
            (Some(last), _) => Some(last.to_ns),
            (None, Some(_)) => Some(ns(options.seconds)),
            (None, None) => None,
        };
        Self {
            places: steps.last().map_or(options.calls, |step| step.calls) as usize,
            steps,
            ramp_per_s: options.ramp_per_s,
            length_ns: ns(options.seconds),
            end_ns,
            churn_ns: options.call_seconds.map(|(least, most)| (ns(least), ns(most))),
            seed: options.seed,
        }
    }

    /// When the first call in `place` begins.
    pub(super) fn start_ns(&self, place: usize) -> u64 {
        let mut before = 0;
        for step in &self.steps {
            if place < step.calls as usize {
                return step.begins_ns + ns((place - before) as f64 / self.ramp_per_s);
            }
            before = step.calls as usize;
        }
        ns(place as f64 / self.ramp_per_s)
    }

    /// How long the call that begins in `place` at `start_ns` talks; `turn` counts the calls there. The first ones of
    /// a run with churn are cut short anywhere, so that they do not all end together.
    pub(super) fn length_ns(&self, place: usize, turn: usize, start_ns: u64) -> u64 {
        let rest_ns = self.end_ns.map_or(u64::MAX, |end_ns| end_ns.saturating_sub(start_ns));
        let Some((least, most)) = self.churn_ns else {
            return if self.steps.is_empty() { self.length_ns } else { rest_ns };
        };
        let chance = (place as u64) << 32 | turn as u64;
        let mut random =
            Random::seeded(self.seed ^ chance.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let whole = least + (most - least + 1).saturating_mul(random.next_u64() >> 40) / (1 << 24);
        let first = (whole as f64 * (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64) as u64;
        (if turn == 0 { first.max(least.min(2_000_000_000)) } else { whole }).min(rest_ns)
    }

    /// When the next call in a place begins whose last one ended at `ended_ns`, `well` or not; `None` when none does.
    pub(super) fn next_ns(&self, ended_ns: u64, well: bool) -> Option<u64> {
        let (least, _) = self.churn_ns?;
        let start_ns = if well { ended_ns } else { ended_ns + AGAIN_NS };
        // What is left must be worth a call.
        (start_ns + least.min(2_000_000_000) <= self.end_ns?).then_some(start_ns)
    }

    /// How long the run will last, in seconds, if the calls end when they should.
    pub(super) fn expected_s(&self) -> f64 {
        let end_ns = self.end_ns.unwrap_or(self.length_ns + ns(self.places as f64 / self.ramp_per_s));
        end_ns as f64 / 1e9 + 5.0
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::super::options::Steps;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn steps_follow_each_other_and_every_call_talks_to_the_end() {
        let steps = Some(Steps { calls: vec![50, 150], seconds: 10.0 });
        let schedule = Schedule::new(&Options { steps, ramp_per_s: 50.0, ..Options::default() });
        assert_eq!(schedule.places, 150);
        let windows: Vec<_> = schedule.steps.iter().map(|step| (step.from_ns, step.to_ns)).collect();
        assert_eq!(windows, [(2 * SECOND, 12 * SECOND), (15 * SECOND, 25 * SECOND)]);
        assert_eq!((schedule.start_ns(0), schedule.start_ns(25)), (0, SECOND / 2));
        assert_eq!((schedule.start_ns(50), schedule.start_ns(100)), (12 * SECOND, 13 * SECOND));
        assert_eq!(schedule.length_ns(100, 0, 13 * SECOND), 12 * SECOND);
        assert_eq!(schedule.next_ns(SECOND, true), None);
    }

    #[test]
    fn churn_stays_between_its_bounds_ends_with_the_run_and_repeats_itself() {
        let options =
            Options { calls: 10, seconds: 60.0, call_seconds: Some((2.0, 6.0)), ..Options::default() };
        let (schedule, again) = (Schedule::new(&options), Schedule::new(&options));
        let mut lengths: Vec<u64> =
            (1..500).map(|turn| schedule.length_ns(turn % 10, turn, SECOND)).collect();
        assert!((1..500).all(|turn| lengths[turn - 1] == again.length_ns(turn % 10, turn, SECOND)));
        lengths.sort_unstable();
        assert!(lengths.iter().all(|length| (2 * SECOND..=6 * SECOND).contains(length)));
        assert!(lengths[50] < 3 * SECOND && lengths[450] > 5 * SECOND, "all over the range");
        assert_eq!(schedule.length_ns(1, 7, 59 * SECOND), SECOND, "the run ends");
        assert_eq!(schedule.next_ns(5 * SECOND, true), Some(5 * SECOND));
        assert_eq!(
            schedule.next_ns(5 * SECOND, false),
            Some(6 * SECOND),
            "a refused caller calls again later"
        );
        assert_eq!(schedule.next_ns(59 * SECOND, true), None);
    }
}
