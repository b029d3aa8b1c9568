//! A relay whose cores are taken away for seconds: nothing of what was said meanwhile is lost, no call is, and none stays late.
//!
//! Runs in: the tests' threads, in real time. Reads `TANDEM_SEEDS` (how many seeds instead of the test's own number) and
//! `TANDEM_SEED` (the one to run). Owns nothing beyond a seed.
//! Invariant: the moment and the length of the starvation follow from the seed; what the model heard is judged by marks that
//! the caller numbers, sample for sample, and never by how it sounds.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tandem::base::SampleRate;
use tandem_loadtest::callgen::clock::{Random, now_ns};
use tandem_loadtest::callgen::dialogue::Plan;
use tandem_loadtest::callgen::mark::MarkReader;
use tandem_loadtest::callgen::scan::Scanner;
use tandem_loadtest::callgen::{CallReport, Leg, Options, Playback, run};
use tandem_loadtest::sim::{Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Model, Relay, in_company};

/// Calls of a seed, each begun so much after the one before it that the starvation meets every one at another place.
const CALLS: u32 = 6;
const CALLS_PER_SECOND: f64 = 2.5;
/// When all of them are up, in milliseconds: a switch that finds nobody at the door for seconds calls somebody else.
const UP_MS: u64 = 2_500;
/// Frames of what each caller says; the second is longer than any starvation and most likely to be met.
const UTTERANCES: [u32; 4] = [40, 260, 40, 40];
/// The longest starvation.
const LONGEST_MS: u64 = 5_000;
/// From here on behind its end an answer comes as if nothing had been.
const BACK_WITHIN_NS: u64 = 2_000_000_000;
/// How much later than before it may come for all that: what a machine that runs the tests beside it takes.
const LATER_MS: f64 = 300.0;
/// Milliseconds by which a mark may be found beside its place: two frames of silence, which the relay fills in where the caller
/// or one of its own threads is late on a busy machine. A starvation that is heard leaves hundreds.
const BLUR_MS: f64 = 41.0;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// What one session heard: the marks and where they begin.
fn marks(model: &Model, session: u64) -> Vec<(u64, u16)> {
    let mut scanner = Scanner::new(Arc::new(MarkReader::new(SampleRate::Hz16000)));
    let mut found = Vec::new();
    scanner.push(&model.audio_so_far(session), |start, number| found.push((start, number)));
    // Silence behind lets the last mark be read.
    scanner.push(&[0; 640], |start, number| found.push((start, number)));
    found
}

/// Every word of the caller's came once, in order and in one piece.
fn assert_whole(name: &str, heard: &[(u64, u16)], late_ms: f64) {
    let numbers: Vec<u16> = heard.iter().map(|(_, number)| *number).collect();
    let said: Vec<u16> = (0..UTTERANCES.iter().sum::<u32>() as u16).collect();
    assert_eq!(numbers, said, "{name}: the model did not hear what was said");
    let mut end = 0;
    for frames in UTTERANCES {
        let utterance = &heard[end..end + frames as usize];
        end += frames as usize;
        for pair in utterance.windows(2) {
            let hole_ms = (pair[1].0 - pair[0].0).abs_diff(320) as f64 / 16.0;
            assert!(hole_ms <= BLUR_MS + late_ms, "{name}: a hole of {hole_ms} ms behind mark {}", pair[0].1);
        }
    }
}

/// How long each utterance waited for its answer, with the moment at which it ended.
fn responses(call: &CallReport) -> Vec<(u64, Option<f64>)> {
    let utterances = &call.dialogue.as_ref().expect("a dialogue").utterances;
    let waited = |answered: u64, ended: u64| answered.saturating_sub(ended) as f64 / 1e6;
    utterances.iter().map(|u| (u.ended_ns, u.answered_ns.map(|at| waited(at, u.ended_ns)))).collect()
}

fn starve(seed: u64) {
    let mut random = Random::seeded(seed);
    let after_ms = UP_MS + random.next_u64() % 9_000;
    let length_ms =
        if seed.is_multiple_of(3) { LONGEST_MS } else { 500 + random.next_u64() % (LONGEST_MS - 500) };
    let name = format!("seed {seed} (after {after_ms} ms, for {length_ms} ms)");

    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &[]);
    let options = Options {
        url: relay.url("/call"),
        calls: CALLS,
        ramp_per_s: CALLS_PER_SECOND,
        legs: vec![
            Leg::ModAudioStream(Playback::Binary),
            Leg::AudioSocket,
            Leg::ChanWebSocket,
            Leg::AudioFork,
        ],
        dialogue: Some(Plan { utterances: UTTERANCES.into(), quiet_ms: 700, patience_ms: 20_000 }),
        seconds: 60.0,
        ..Options::default()
    };
    let generator = std::thread::spawn(move || run(options));
    // What is played is a machine that gives the relay nothing: there is no fact to wait for.
    std::thread::sleep(Duration::from_millis(after_ms));
    relay.signal(Signal::STOP);
    let stopped_at = now_ns();
    std::thread::sleep(Duration::from_millis(length_ms));
    relay.signal(Signal::CONT);
    let back_at = now_ns();

    let report = generator.join().expect("the generator lives").expect("the options are right");
    assert_eq!(report.calls_good, CALLS as usize, "{name}: {:?}", report.failures);
    let ends = model.until("the end of every session", |events| {
        let ends: Vec<_> = events.iter().filter(|event| matches!(event.what, What::Closed { .. })).collect();
        (ends.len() >= CALLS as usize).then(|| ends.iter().map(|event| event.session).collect::<Vec<_>>())
    });
    for session in &ends {
        assert_whole(
            &format!("{name}, session {session}"),
            &marks(&model, *session),
            report.own_lateness_ms.max,
        );
    }
    let all: Vec<_> = report.per_call.iter().flat_map(responses).collect();
    let mut before: Vec<f64> = all
        .iter()
        .filter(|(ended, _)| ended + 2_000_000_000 < stopped_at)
        .filter_map(|(_, ms)| *ms)
        .collect();
    before.sort_by(f64::total_cmp);
    let normal_ms = before.get(before.len() / 2).copied().unwrap_or(700.0);
    let mut new_turns = 0;
    for (ended, waited) in &all {
        let waited = waited.unwrap_or_else(|| panic!("{name}: an utterance without an answer: {all:?}"));
        if *ended >= back_at + BACK_WITHIN_NS {
            new_turns += 1;
            let allowed_ms = normal_ms + LATER_MS + report.own_lateness_ms.max;
            assert!(waited <= allowed_ms, "{name}: an answer after {waited} ms, {normal_ms} before: {all:?}");
        }
    }
    assert!(new_turns >= CALLS, "{name}: {new_turns} turns behind the starvation");
    for n in 1..=CALLS as usize {
        let end = relay.nth_line(&[": ended by caller (hangup)"], n);
        for healed in ["resumptions", "fresh", "commits", "nudges", "legs lost", "failed_attempts"] {
            assert!(!end.contains(healed), "{name}: {end}");
        }
    }
}

#[test]
fn a_relay_that_was_starved_for_seconds_has_lost_nothing_and_is_back_within_two() {
    let _turn = in_company();
    let seeds: Vec<u64> = match number("TANDEM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("TANDEM_SEEDS").unwrap_or(3)).collect(),
    };
    // Beside each other, for most of a seed is waiting.
    for seeds in seeds.chunks(3) {
        std::thread::scope(|scope| {
            let runs: Vec<_> = seeds.iter().map(|seed| scope.spawn(|| starve(*seed))).collect();
            let failed = runs.into_iter().filter_map(|run| run.join().err()).count();
            assert_eq!(
                failed, 0,
                "to run one of {seeds:?} again: TANDEM_SEED=… cargo test --test e2e starved"
            );
        });
    }
}
