//! A call alone and the same call among fifty others: the same bits reach the model.
//!
//! Runs in: the test's threads, with no other test beside it. Invariant: what the model hears of a call is a function
//! of what its caller said, and of nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tandem::base::SampleRate;
use tandem::dsp::resample::Resampler;
use tandem_loadtest::callgen::Options;
use tandem_loadtest::callgen::mark::MarkWriter;
use tandem_loadtest::sim::{Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, alone, generate, noise, resampled, without_silence};

const OTHERS: u32 = 50;
/// The generator's call `n` begins with mark `37 n`, so that each call's audio is another.
const MARKS_BETWEEN_CALLS: u64 = 37;
/// How far the caller under test speaks ahead of real time. The relay takes up to half a second; it is what the two
/// machines' schedulers may be late without a frame of silence being filled in between his words.
const AHEAD: Duration = Duration::from_millis(400);

/// Has the callers speak, one a rate, and gives what the model heard of each.
fn speak(relay: &Relay, model: &Model, first_session: u64) -> Vec<Vec<i16>> {
    let callers: Vec<_> = RATES
        .into_iter()
        .zip(first_session..)
        .map(|(rate, session)| {
            let leg = Leg::call(relay, &format!("/?rate={}&uuid=judged-{session}", rate.hz()));
            model.ready(session);
            (rate, session, leg)
        })
        .collect();
    std::thread::scope(|scope| {
        for (rate, _, leg) in &callers {
            scope.spawn(|| {
                leg.speak(&said(*rate), rate.samples_per_frame(), Instant::now() - AHEAD);
            });
        }
    });
    callers
        .iter()
        .map(|(rate, session, leg)| {
            let expected = said(*rate).len() * 16_000 / rate.hz() as usize;
            model.heard(*session, expected);
            // What the relay filled in before the first word is no part of it.
            let words = model.audio_so_far(*session);
            let start = words.iter().position(|sample| *sample != 0).expect("not only silence") / 320 * 320;
            model.heard(*session, start + expected);
            assert_eq!(leg.hang_up().0, 1000);
            model.audio(*session)[start..start + expected].to_vec()
        })
        .collect()
}

const RATES: [SampleRate; 3] = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz48000];

/// Five seconds of a rate's own noise.
fn said(rate: SampleRate) -> Vec<i16> {
    noise(u64::from(rate.hz()), rate.samples_per_frame() * 250)
}

#[test]
fn a_call_alone_and_among_fifty_others_is_bit_identical_at_the_model() {
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let by_itself = speak(&relay, &model, 1);
    let links = RATES.len() + OTHERS as usize;
    let reports = std::thread::scope(|scope| {
        let others = Options { calls: OTHERS, seconds: 12.0, ..Options::default() };
        let others = scope.spawn(|| generate(&relay, vec![others]));
        model.until("the links of all others", |events| {
            let ready = events.iter().filter(|event| event.what == What::SetupComplete).count();
            (ready == links).then_some(())
        });
        let in_company = speak(&relay, &model, links as u64 + 1);
        for ((rate, one), other) in RATES.into_iter().zip(&by_itself).zip(&in_company) {
            let expected = resampled(Resampler::new(rate, SampleRate::Hz16000), &said(rate));
            assert!(*one == expected, "{rate}: alone, the model heard something else");
            assert!(one == other, "{rate}: among others, the model heard something else");
        }
        others.join().expect("the generator's thread lives")
    });
    let (options, report) = &reports[0];
    assert_eq!(report.foreign_frames, 0, "{:?}", report.failures);
    // What each of the others said has arrived as well: all of it, in order, and nothing of anybody else. Whether it came
    // back in time is no matter here.
    let marks = MarkWriter::new(options.rate);
    let mut missing: BTreeSet<u64> = (0..u64::from(OTHERS)).collect();
    for session in RATES.len() as u64 + 1..=links as u64 {
        let heard = without_silence(&model.audio(session));
        let frames: Vec<&[i16]> = heard.chunks(options.rate.samples_per_frame()).collect();
        let said_by = |call: u64| {
            let said = (0..).map(|n| marks.frame(call * MARKS_BETWEEN_CALLS + n));
            frames.iter().copied().eq(said.take(frames.len()))
        };
        let call = missing.iter().copied().find(|call| said_by(*call));
        let call = call.unwrap_or_else(|| panic!("session {session} heard what nobody said"));
        missing.remove(&call);
        assert_eq!(frames.len() as u64, report.per_call[call as usize].marked_frames_sent, "call {call}");
    }
}
