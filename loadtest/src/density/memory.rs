//! What a call takes: resident memory of the relay with idle and with talking calls, and what is left after them.
//!
//! Runs in: the `density` binary; two relays talk at the same time, because memory does not mind company. Owns the
//! processes while it measures. Never takes memory of a process that has served other calls for that of an empty one.
//! Invariant: what is a call's is the difference to the same process before any call.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Error;
use super::figures::{Figures, rounded};
use super::measure::{Memory, RAMP_PER_S, SETTLE, finish, lost, memory as of, start, wait_until_up};
use super::rounds::Bench;
use super::start::{Relay, Sim};
use crate::callgen::{self, Audio, Expect};

/// How long a call talks before its memory is taken, where measurements last for six seconds.
const TALK_S: f64 = 60.0;
/// Over how long calls that ask and are answered begin: a question with its answer, so that as many ask as listen, as in real
/// traffic. Begun at once they would all wait for the same moment.
const CYCLE_S: f64 = 8.0;
/// Samples, a second apart, of which the largest counts.
const SAMPLES: u32 = 5;
/// Calls after which memory is to come back, for each of those measured elsewhere.
const MANY: u32 = 5;

/// A process with calls, and before.
struct Sample {
    empty: Memory,
    full: Memory,
    /// A while after the calls.
    after: Memory,
}

impl Sample {
    fn kib_per_call(&self, calls: u32) -> f64 {
        rounded((self.full.rss_kib as f64 - self.empty.rss_kib as f64) / f64::from(calls))
    }
}

/// Takes the memory of `relay` before, with and `wait_s` after these calls, which talk for `talk_s` once all are up.
fn measured(relay: &Relay, calls: &callgen::Options, talk_s: f64, wait_s: f64) -> Result<Sample, Error> {
    let pid = relay.process.pid();
    let take = || of(pid).map_err(lost(pid));
    // What a process allocates lazily at its start is not a call's.
    thread::sleep(SETTLE);
    let empty = take()?;
    let ramp_s = f64::from(calls.calls) / calls.ramp_per_s;
    let options = callgen::Options {
        url: relay.url.clone(),
        seconds: ramp_s + talk_s + f64::from(SAMPLES) + 2.0,
        ..calls.clone()
    };
    let (runner, progress) = start(options);
    wait_until_up(&progress, calls.calls, ramp_s, &runner);
    thread::sleep(Duration::from_secs_f64(talk_s));
    let mut full = Memory::default();
    for _ in 0..SAMPLES {
        let now = take()?;
        full = if now.rss_kib > full.rss_kib { now } else { full };
        thread::sleep(Duration::from_secs(1));
    }
    let report = finish(runner)?;
    if report.calls_failed + report.calls_refused > 0 {
        let (bad, all) = (report.calls_failed + report.calls_refused, report.calls);
        let why = (&report.failures, &report.refusals);
        return Err(Error::Unusable(format!("{bad} of {all} calls failed while memory was taken: {why:?}")));
    }
    thread::sleep(Duration::from_secs_f64(wait_s));
    Ok(Sample { empty, full, after: take()? })
}

/// All that is said of memory.
pub(super) fn memory(
    bench: &Bench<'_>,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let options = bench.options;
    let calls = options.calls;
    let minute_s = TALK_S.min(TALK_S * options.seconds / 6.0);
    let answer = Sim { voice: "answer", is_tls: false };
    let common = callgen::Options { calls, ramp_per_s: RAMP_PER_S, ..callgen::Options::default() };
    let talking = callgen::Options {
        rate: tandem::base::SampleRate::Hz8000,
        audio: Audio::Speech,
        expect: Expect::Answer,
        ramp_per_s: (f64::from(calls) / CYCLE_S).min(RAMP_PER_S),
        ..common.clone()
    };

    let idle = Relay::tandem(&options.programs, "idle", &answer, &[])?;
    let idle = measured(&idle, &callgen::Options { idle: true, ..common }, 1.0, 0.0)?;
    say(&format!("memory, {calls} idle calls: {:?} before, {:?} with them", idle.empty, idle.full));

    let plain = Relay::tandem(&options.programs, "talking", &answer, &[])?;
    let tls = Relay::tandem(&options.programs, "talking-tls", &Sim { is_tls: true, ..answer }, &[])?;
    say(&format!("memory, {calls} talking calls for {minute_s:.0} s, without and with TLS"));
    let (plain, tls) = thread::scope(|scope| {
        let other = scope.spawn(|| measured(&tls, &talking, minute_s, 0.0));
        let plain = measured(&plain, &talking, minute_s, 0.0);
        let tls = other.join().unwrap_or_else(|_| Err(Error::Unusable("a measurement panicked".to_owned())));
        (plain, tls)
    });
    let (plain, tls) = (plain?, tls?);
    say(&format!("memory, plain: {:?} before, {:?} with the calls", plain.empty, plain.full));
    say(&format!("memory, TLS: {:?} before, {:?} with the calls", tls.empty, tls.full));

    let many = calls.saturating_mul(MANY);
    let back = Relay::tandem(&options.programs, "back", &answer, &[])?;
    say(&format!("memory, {many} calls, and {minute_s:.0} s after them"));
    let light =
        callgen::Options { calls: many, analyse: 20, talk: Some(0.4), ramp_per_s: RAMP_PER_S, ..talking };
    let back = measured(&back, &light, options.seconds, minute_s)?;
    let ratio = rounded(back.after.rss_kib as f64 / back.empty.rss_kib.max(1) as f64);
    say(&format!("memory, {:?} before, {:?} with them, {:?} after", back.empty, back.full, back.after));

    figures.set("idle_kib_per_call", idle.kib_per_call(calls));
    figures.set("talking_kib_per_call", plain.kib_per_call(calls));
    figures.set("talking_tls_kib_per_call", tls.kib_per_call(calls));
    figures.set("memory_back_ratio", ratio);
    figures.set("empty_rss_kib", idle.empty.rss_kib);
    figures.set(
        "memory",
        json!({
            "calls": calls,
            "talk_s": minute_s,
            "idle_pss_kib_per_call":
                rounded((idle.full.pss_kib as f64 - idle.empty.pss_kib as f64) / f64::from(calls)),
            "back": {
                "calls": many,
                "before_kib": back.empty.rss_kib,
                "with_calls_kib": back.full.rss_kib,
                "after_kib": back.after.rss_kib,
            },
        }),
    );
    Ok(())
}
