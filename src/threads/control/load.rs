//! What the relay's processor time is spent on, once a second: the media threads, the process, the machine, and what others
//! take away; and how late the media threads come when they are rung at.
//!
//! Runs in: the control thread. Owns the last reading. Never touches a call; what the kernel does not tell counts as nothing.
//! Invariant: a media thread takes no part in it but to note when it answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use log::{debug, info, warn};

use crate::admission::headroom::{Estimate, Headroom, Second};
use crate::base::Instant;
use crate::sync::Doorbell;
use crate::telemetry::histogram::HistogramSnapshot;
use crate::threads::relay::Relay;

/// How often it is looked.
pub(super) const EVERY_MS: u64 = 1_000;
/// Microseconds of the kernel's tick, as it tells it to every process.
const TICK_US: u64 = 10_000;

/// See the head of this file.
pub struct LoadMeter {
    /// The bells of the media threads.
    bells: Vec<Doorbell>,
    refuses: bool,
    estimate: Estimate,
    threads: Vec<Thread>,
    throttled: Option<PathBuf>,
    before: Option<Reading>,
    overloaded: bool,
}

struct Thread {
    /// Its figures of the scheduler.
    schedstat: PathBuf,
    used_us: u64,
    wanted_us: u64,
}

/// What only grows.
struct Reading {
    at: Instant,
    process_us: u64,
    idle_us: u64,
    lost_us: u64,
    lateness: HistogramSnapshot,
}

impl LoadMeter {
    /// A meter of the threads that belong to these bells, which has new calls refused or only measures.
    pub(crate) fn new(bells: Vec<Doorbell>, refuses: bool) -> Self {
        Self {
            bells,
            refuses,
            estimate: Estimate::default(),
            threads: Vec::new(),
            throttled: group_file("cpu.stat"),
            before: None,
            overloaded: false,
        }
    }

    /// When to look again.
    pub(super) fn due(&self, now: Instant) -> Instant {
        self.before.as_ref().map_or(now, |before| before.at.plus_ms(EVERY_MS))
    }

    /// Looks, if it is time to, and says what it has found to whoever admits calls.
    pub(super) fn look(&mut self, now: Instant, relay: &Relay) {
        if now < self.due(now) {
            return;
        }
        if self.threads.is_empty() {
            self.threads = media_threads();
        }
        let reading = self.read(now, relay);
        let late_us = self.bells.iter().map(|bell| bell.probe(now)).max().unwrap_or(0);
        let (thread_used_us, thread_wanted_us) = self.read_threads();
        let Some(before) = self.before.replace(reading) else { return };
        let Some(after) = &self.before else { return };
        let calls = relay.registry.live_calls();
        let second = Second {
            period_us: now.since_us(before.at),
            calls,
            free_slots: relay.registry.max_calls().saturating_sub(calls),
            thread_used_us,
            thread_wanted_us,
            process_used_us: after.process_us.saturating_sub(before.process_us),
            cores: thread::available_parallelism().map_or(1, usize::from),
            idle_us: after.idle_us.saturating_sub(before.idle_us),
            lost_us: after.lost_us.saturating_sub(before.lost_us),
            late_us: late_us.max(late_since(&before.lateness, &after.lateness)),
        };
        let found = self.estimate.take(&second);
        debug!("{found:?}, by {second:?}");
        self.tell(found, &second, relay);
    }

    fn tell(&mut self, found: Headroom, second: &Second, relay: &Relay) {
        relay.counters.headroom.set(found.calls as u64);
        if self.overloaded == found.overloaded {
            return;
        }
        self.overloaded = found.overloaded;
        let does = if self.refuses { "new calls are refused" } else { "they are not refused" };
        if found.overloaded {
            warn!(
                "overloaded: {} calls are more than this machine carries; a thread takes {} % of a processor and wants {} %, frames are \
                 {} ms late: {does} (listen.refuse_when_overloaded)",
                second.calls,
                second.thread_used_us * 100 / second.period_us.max(1),
                second.thread_wanted_us * 100 / second.period_us.max(1),
                second.late_us / 1000
            );
        } else {
            info!("overloaded no more: {} calls are running", second.calls);
        }
        relay.registry.set_overloaded(found.overloaded && self.refuses);
    }

    fn read(&self, now: Instant, relay: &Relay) -> Reading {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let process = text(Path::new("/proc/self/stat"));
        // Behind the name in parentheses utime and stime are the 12th and the 13th field.
        let fields = process.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let process_us = fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK_US;
        let machine = text(Path::new("/proc/stat"));
        let ticks: Vec<u64> = machine.lines().next().map_or(Vec::new(), |line| {
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()
        });
        let tick = |place: usize| ticks.get(place).copied().unwrap_or(0) * TICK_US;
        let group = self.throttled.as_deref().map(text).unwrap_or_default();
        let throttled = group.lines().find_map(|line| line.strip_prefix("throttled_usec "));
        let throttled_us = throttled.and_then(|us| us.trim().parse::<u64>().ok()).unwrap_or(0);
        Reading {
            at: now,
            process_us,
            // Idle, and waiting for a disk; what the host took is the 8th.
            idle_us: tick(3) + tick(4),
            lost_us: tick(7) + throttled_us,
            lateness: relay.counters.playout_lateness.snapshot(),
        }
    }

    /// Processor time since the last look, and the time that a processor was wanted, of the threads with most of each.
    fn read_threads(&mut self) -> (u64, u64) {
        let mut most = (0, 0);
        for thread in &mut self.threads {
            let text = fs::read_to_string(&thread.schedstat).unwrap_or_default();
            let mut ns = text.split_whitespace().map_while(|field| field.parse::<u64>().ok());
            let (Some(used), Some(waited)) = (ns.next(), ns.next()) else { continue };
            let (used_us, wanted_us) = (used / 1000, (used + waited) / 1000);
            most.0 = most.0.max(used_us.saturating_sub(thread.used_us));
            most.1 = most.1.max(wanted_us.saturating_sub(thread.wanted_us));
            (thread.used_us, thread.wanted_us) = (used_us, wanted_us);
        }
        most
    }
}

/// The threads that carry audio, by their names.
fn media_threads() -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let is_media = |task: &PathBuf| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        ["telephony-", "gemini-", "dsp-"].iter().any(|media| name.starts_with(media))
    };
    let media = tasks.filter_map(|task| Some(task.ok()?.path())).filter(is_media);
    media.map(|task| Thread { schedstat: task.join("schedstat"), used_us: 0, wanted_us: 0 }).collect()
}

/// A file of the process's control group, where there is one of version 2.
fn group_file(name: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let file = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/')).join(name);
    file.exists().then_some(file)
}

/// How late a hundredth of the frames were that left between two readings.
fn late_since(before: &HistogramSnapshot, after: &HistogramSnapshot) -> u64 {
    let counts = after.counts.iter().zip(&before.counts).map(|(after, before)| after - before).collect();
    let between = HistogramSnapshot { bounds_us: after.bounds_us, counts, sum_us: 0 };
    between.quantile(0.99).map_or(0, |late| late.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::telemetry::Counters;

    #[test]
    fn only_the_lateness_between_two_looks_counts() {
        let counters = Counters::new();
        let late = |ms| counters.playout_lateness.observe(Duration::from_millis(ms));
        (0..100).for_each(|_| late(300));
        let before = counters.playout_lateness.snapshot();
        assert_eq!(late_since(&before, &before), 0);
        (0..100).for_each(|_| late(1));
        assert!(late_since(&before, &counters.playout_lateness.snapshot()) <= 1_500);
    }

    #[test]
    fn a_relay_without_calls_has_room_for_all_of_them_and_tells_so_once_a_second() {
        let mut config = Config::default();
        config.listen.max_calls = 7;
        let relay = Relay::new(&config).expect("agents");
        let mut meter = LoadMeter::new(vec![Doorbell::for_parked(thread::current())], true);
        for ms in [0, 10, 1_000, 2_000, 3_000] {
            meter.look(Instant::from_micros(1_000_000 + ms * 1_000), &relay);
        }
        assert_eq!(relay.counters.headroom.get(), 7);
        assert!(!relay.registry.is_overloaded());
    }
}
