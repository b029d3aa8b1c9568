//! Long calls in virtual time: the real control, model side, dsp worker, recorder and leg of one call, between a simulated
//! switch, Gemini, disk and tool server that fail in every way and at any moment.
//!
//! Runs in: `cargo test`, in one thread. Never opens a socket, reads a clock, sleeps or starts a thread.
//! Invariant: a seed alone decides everything that happens in a call.
//!
//! Audio is sparse so that half an hour takes milliseconds: the switch sends frames only while the caller speaks, as
//! AudioSocket does, and the relay fills in the silence behind it until it ends the stream. What runs beside what, and
//! every sample of an answer, is `virtual_time`'s business: here all threads run at once.

mod aftermath;
mod ear;
mod gemini;
mod links;
mod outside;
mod switch;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::ops::Range;

use world::World;

/// What became of a call.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub outcome: String,
    /// Things that happened, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs one call for each of these seeds, or `TANDEM_SEEDS` from the first on, or the one of `TANDEM_SEED` with a trace.
pub(crate) fn run_seeds(test: &str, seeds: Range<u64>, seconds: u64) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let (seeds, trace) = match number("TANDEM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => {
            (number("TANDEM_SEEDS").map_or(seeds.clone(), |count| seeds.start..seeds.start + count), false)
        }
    };
    let (mut outcomes, mut counts) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
    for seed in seeds {
        let note = SeedNote { test, seed };
        let report = World::new(seed, trace, seconds).run();
        drop(note);
        *outcomes.entry(report.outcome).or_default() += 1;
        for (name, n) in report.counts {
            let sum = counts.entry(name).or_default();
            *sum = if name.ends_with("_max") { n.max(*sum) } else { *sum + n };
        }
    }
    println!("{test}: outcomes {outcomes:?}; {counts:?}");
}

/// Tells the seed when its run panics.
struct SeedNote<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for SeedNote<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed } = self;
            eprintln!("seed {seed} fails; to replay it: TANDEM_SEED={seed} cargo test {test} -- --nocapture");
        }
    }
}
