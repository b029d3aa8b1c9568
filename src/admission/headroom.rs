//! Headroom: how many more calls the relay carries, from what the present ones cost beside what there is, and whether it is
//! overloaded.
//!
//! Runs in: the control thread: pure. Owns what was measured of late.
//! Never reads a clock or a file: seconds go in, calls come out.
//! Invariant: new calls are refused only where the relay's own threads have used up their processor time and are late for it,
//! for several seconds: neither a busy neighbour nor a single late moment refuses anybody.

/// With fewer calls nothing is known of what one costs, and none is refused.
const CALLS_MIN: usize = 8;
/// The share of a processor that a single thread may use: what is left is for the moments at which frames come together.
const THREAD_FULL: f64 = 0.85;
/// The share of the machine's processors that is left alone.
const MACHINE_SPARE: f64 = 0.1;
/// A thread that runs, or waits for a processor, for this share of the time does not rest any more.
const RESTLESS: f64 = 0.9;
/// And rests again.
const RESTS: f64 = 0.8;
/// The share of a processor, or of all that there are, that the relay has to use itself: otherwise it is others who take them.
const OWN_SHARE: f64 = 0.2;
/// Later than a frame lasts, and it is heard.
const LATE_US: u64 = 20_000;
/// Seconds until it counts as overloaded, and as carrying again.
const BEGINS_AFTER: u32 = 2;
const ENDS_AFTER: u32 = 5;
/// How much a second counts against those before it.
const WEIGHT: f64 = 0.5;

/// What was measured of one second, or a little more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    /// How long it was.
    pub period_us: u64,
    /// Calls that have a slot.
    pub calls: usize,
    /// Slots that are left.
    pub free_slots: usize,
    /// Processor time of the media thread that has used most.
    pub thread_used_us: u64,
    /// The time for which a media thread ran or waited for a processor, of the one with most of it.
    pub thread_wanted_us: u64,
    /// Processor time of the process.
    pub process_used_us: u64,
    /// Processors that the process may use.
    pub cores: usize,
    /// Processor time of the machine that nobody used.
    pub idle_us: u64,
    /// Processor time that was taken away: by the host of a virtual machine, or by a limit of the process's group.
    pub lost_us: u64,
    /// How late the pacer (a hundredth of its frames) or a media thread was.
    pub late_us: u64,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// More calls that are carried; 0 while none is.
    pub calls: usize,
    /// No call more.
    pub overloaded: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Estimate {
    /// Smoothed, in processors: the busiest thread, the process, and what nobody uses.
    used: Option<[f64; 3]>,
    /// Seconds in a row that speak against the present verdict.
    against: u32,
    overloaded: bool,
}

impl Estimate {
    /// Takes what was measured; says what follows.
    pub(crate) fn take(&mut self, second: &Second) -> Headroom {
        let of = |us: u64| us as f64 / second.period_us.max(1) as f64;
        let now = [of(second.thread_used_us), of(second.process_used_us), of(second.idle_us)];
        let used = match self.used {
            Some(before) => std::array::from_fn(|n| before[n] + WEIGHT * (now[n] - before[n])),
            None => now,
        };
        self.used = Some(used);
        self.judge(second, of);
        let calls = match self.overloaded {
            true => 0,
            false => room(second, used).max(1).min(second.free_slots),
        };
        Headroom { calls, overloaded: self.overloaded }
    }

    fn judge(&mut self, second: &Second, of: impl Fn(u64) -> f64) {
        let wanted = of(second.thread_wanted_us);
        let there = (second.cores as f64 - of(second.lost_us)).max(0.0);
        let own = of(second.thread_used_us) >= OWN_SHARE || of(second.process_used_us) >= OWN_SHARE * there;
        let speaks_against = if self.overloaded {
            wanted < RESTS || second.late_us < LATE_US / 2 || second.calls < CALLS_MIN
        } else {
            wanted >= RESTLESS && own && second.late_us >= LATE_US && second.calls >= CALLS_MIN
        };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        if self.against >= if self.overloaded { ENDS_AFTER } else { BEGINS_AFTER } {
            (self.overloaded, self.against) = (!self.overloaded, 0);
        }
    }
}

/// Calls for which there is processor time: as many more as the busiest thread and the machine may grow.
fn room(second: &Second, [thread, process, idle]: [f64; 3]) -> usize {
    if second.calls < CALLS_MIN {
        return second.free_slots;
    }
    let cores = second.cores as f64;
    let free = idle.min(cores - process) - MACHINE_SPARE * cores;
    let growth = (THREAD_FULL / thread.max(1e-6) - 1.0).min(free / process.max(1e-6));
    (second.calls as f64 * growth).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of 100 calls on two processors of which one is idle; a thread takes a quarter of one.
    const FINE: Second = Second {
        period_us: 1_000_000,
        calls: 100,
        free_slots: 900,
        thread_used_us: 250_000,
        thread_wanted_us: 300_000,
        process_used_us: 600_000,
        cores: 2,
        idle_us: 1_200_000,
        lost_us: 0,
        late_us: 1_000,
    };
    /// A second in which a thread never rests and is late.
    const BAD: Second = Second {
        calls: 400,
        free_slots: 600,
        thread_used_us: 950_000,
        thread_wanted_us: 990_000,
        process_used_us: 1_800_000,
        idle_us: 50_000,
        late_us: 80_000,
        ..FINE
    };

    fn after(seconds: &[Second]) -> Headroom {
        let mut estimate = Estimate::default();
        seconds.iter().map(|second| estimate.take(second)).last().expect("a second")
    }

    #[test]
    fn the_headroom_is_the_least_of_thread_machine_and_slots() {
        let table = [
            ("the machine: 1.0 free of 0.6 used", FINE, 166),
            ("the thread", Second { thread_used_us: 500_000, ..FINE }, 70),
            ("the slots", Second { free_slots: 12, ..FINE }, 12),
            ("nothing is known of a call", Second { calls: 7, thread_used_us: 900_000, ..FINE }, 900),
            ("a limit of one processor", Second { cores: 1, ..FINE }, 50),
            ("nothing is idle, but nothing is late", Second { idle_us: 0, ..FINE }, 1),
            ("a machine of nine tenths that others use", Second { idle_us: 500_000, ..FINE }, 50),
        ];
        for (what, second, calls) in table {
            let room = after(&[second]);
            assert!(room.calls.abs_diff(calls) <= 1, "{what}: {room:?}");
            assert!(!room.overloaded, "{what}");
        }
    }

    #[test]
    fn overloaded_is_who_is_used_up_and_late_for_seconds() {
        let table = [
            ("one second", vec![FINE, BAD], false),
            ("two", vec![FINE, BAD, BAD], true),
            ("not in a row", vec![BAD, FINE, BAD, FINE, BAD], false),
            ("used up, but in time", vec![Second { late_us: 5_000, ..BAD }; 9], false),
            ("late, with time left", vec![Second { thread_wanted_us: 500_000, ..BAD }; 9], false),
            ("too few calls to know", vec![Second { calls: 7, ..BAD }; 9], false),
            (
                "others have the machine",
                vec![Second { thread_used_us: 90_000, process_used_us: 200_000, ..BAD }; 9],
                false,
            ),
            (
                "its host has taken most of it away",
                vec![
                    Second { thread_used_us: 100_000, process_used_us: 200_000, lost_us: 1_500_000, ..BAD };
                    9
                ],
                true,
            ),
            ("starved: five seconds in one", vec![Second { period_us: 5_000_000, ..BAD }; 2], false),
        ];
        for (what, seconds, overloaded) in table {
            assert_eq!(after(&seconds).overloaded, overloaded, "{what}");
        }
    }

    #[test]
    fn it_takes_calls_again_when_it_has_rested_for_some_seconds() {
        let mut estimate = Estimate::default();
        for _ in 0..5 {
            estimate.take(&BAD);
        }
        assert_eq!(estimate.take(&BAD), Headroom { calls: 0, overloaded: true });
        // Between the two bounds nothing changes.
        assert!(estimate.take(&Second { late_us: 15_000, ..BAD }).overloaded);
        let verdicts: Vec<bool> = (0..6).map(|_| estimate.take(&FINE).overloaded).collect();
        assert_eq!(verdicts, [true, true, true, true, false, false]);
        assert!(estimate.take(&FINE).calls >= 1);
    }
}
