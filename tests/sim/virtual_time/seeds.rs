//! Seeds: which ones a test runs, and how a failing one is told and replayed.
//!
//! Runs in: the simulations. Reads `TANDEM_SEEDS` (how many seeds to run instead of the test's own number) and
//! `TANDEM_SEED` (the one seed to replay, with a trace of what happens).
//! Invariant: a seed alone decides everything that happens in a run.

use std::env;
use std::ops::Range;

use super::report::{Report, Totals};
use super::scenario::Scenario;
use super::world::World;

/// Runs the scenarios beside each other in one relay for each seed from 0 to `count`, and prints what happened in all.
/// `calls` says what calls a seed has. Returns what became of each call.
pub(crate) fn run_seeds(test: &str, count: u64, calls: impl Fn(u64) -> Vec<Scenario>) -> Vec<Report> {
    let (seeds, trace) = match number("TANDEM_SEED") {
        Some(seed) => (seed..seed + 1, true),
        None => (0..number("TANDEM_SEEDS").unwrap_or(count), false),
    };
    let seeds: Range<u64> = seeds;
    let mut reports = Vec::new();
    for seed in seeds {
        let note = SeedNote { test, seed };
        reports.extend(World::new(seed, trace, &calls(seed)).run());
        drop(note);
    }
    println!("{test}: {}", Totals::of(&reports));
    reports
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a whole number")))
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
