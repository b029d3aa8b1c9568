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
use crate::harness::{Leg, Model, Relay, alone, generate, noise, without_silence};

const OTHERS: u32 = 50;
/// The generator's call `n` begins with mark `37 n`, so that each call's audio is another.
const MARKS_BETWEEN_CALLS: u64 = 37;
/// 8 kHz goes through a resampler, whose every output depends on what was before; 16 kHz does not.
const RATES: [SampleRate; 2] = [SampleRate::Hz8000, SampleRate::Hz16000];
/// How far the callers under test speak ahead of real time. The relay takes up to half a second; it is what a loaded
/// machine may be late without a frame of silence being filled in between their words.
const AHEAD: Duration = Duration::from_millis(400);

/// Has two callers speak, one a rate, until the model has heard every bit of them.
fn speak(relay: &Relay, model: &Model, first_session: u64, name: &str) {
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
    for (rate, session, leg) in callers {
        let mut wanted = said(rate).len() * 16_000 / rate.hz() as usize;
        loop {
            model.heard(session, wanted);
            let heard = model.audio_so_far(session);
            match arrived(rate, &said(rate), &heard) {
                Ok(true) => break,
                Ok(false) => wanted = heard.len() + FRAME,
                Err(at) => panic!("{rate} {name}: at {at} the model heard something else"),
            }
        }
        assert_eq!(leg.hang_up().0, 1000);
    }
}

/// Samples of 20 ms at the model's rate.
const FRAME: usize = 320;

/// Whether all of `said` is in `heard`, bit for bit as the resampler makes it; where it is something else, the sample.
/// Whole frames of silence may stand between the caller's: the relay fills them in before he speaks, and wherever the
/// machine lets his words come too late.
fn arrived(rate: SampleRate, said: &[i16], heard: &[i16]) -> Result<bool, usize> {
    let silence = vec![0; rate.samples_per_frame()];
    let fresh = || Resampler::new(rate, SampleRate::Hz16000);
    let mut words = said.chunks(rate.samples_per_frame()).peekable();
    let mut resampler = fresh();
    let mut fed: Vec<&[i16]> = Vec::new();
    for (n, frame) in heard.chunks_exact(FRAME).enumerate() {
        let Some(word) = words.peek() else { break };
        let input = if push(&mut resampler, word) == frame {
            words.next().expect("peeked at")
        } else {
            // The resampler has taken a word that was not its turn: start it again up to here.
            resampler = fresh();
            fed.iter().for_each(|input| _ = push(&mut resampler, input));
            if push(&mut resampler, &silence) != frame {
                return Err(n * FRAME);
            }
            &silence
        };
        fed.push(input);
    }
    Ok(words.peek().is_none())
}

fn push(resampler: &mut Resampler, input: &[i16]) -> Vec<i16> {
    let mut output = vec![0; FRAME];
    let produced = resampler.process(input, &mut output).produced;
    output.truncate(produced);
    output
}

/// Five seconds of a rate's own noise.
fn said(rate: SampleRate) -> Vec<i16> {
    noise(u64::from(rate.hz()), rate.samples_per_frame() * 250)
}

#[test]
fn a_call_alone_and_among_fifty_others_is_bit_identical_at_the_model() {
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    speak(&relay, &model, 1, "alone");
    let links = RATES.len() + OTHERS as usize;
    let reports = std::thread::scope(|scope| {
        let others = Options { calls: OTHERS, seconds: 12.0, ..Options::default() };
        let others = scope.spawn(|| generate(&relay, vec![others]));
        model.until("the links of all others", |events| {
            let ready = events.iter().filter(|event| event.what == What::SetupComplete).count();
            (ready == links).then_some(())
        });
        speak(&relay, &model, links as u64 + 1, "among others");
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
