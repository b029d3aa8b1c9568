//! Turn taking over sockets: the relay says when the caller speaks, and heals what the model swallows.
//!
//! Runs in: the tests' threads beside relay and simulator. Owns nothing.
//! Invariant: the simulator refuses marks of activity that the setup did not announce, as Gemini does.

use std::time::Instant;

use serde_json::Value;
use tandem_loadtest::sim::{SimConfig, Voice, What};
use tandem_loadtest::speech;

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, in_company};

/// Half a second of silence, so many milliseconds of a question, and silence again, at 16 kHz.
fn caller_says(speech_ms: usize) -> Vec<i16> {
    let said = speech::question();
    [&[0; 8_000][..], &said[..(speech_ms * 16).min(said.len())], &[0; 16_000]].concat()
}

#[test]
fn where_the_relay_takes_the_turns_the_model_is_told_of_each_talkspurt_with_its_pre_roll() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &["agent.turn_taking=relay", "agent.hangover_ms=400"]);
    let leg = Leg::call(&relay, "/?rate=16000&uuid=marked");
    leg.audio(&caller_says(4_000), 320);
    let setup = model.event(1, "the setup", |what| match what {
        What::Opened { setup, .. } => Some(setup.clone()),
        _ => None,
    });
    let disabled = setup.pointer("/realtimeInputConfig/automaticActivityDetection/disabled");
    assert_eq!(disabled, Some(&Value::Bool(true)), "{setup}");
    let inside = model.until("a talkspurt between its marks, and its answer", |events| {
        let at = |wanted: What| events.iter().position(|event| event.what == wanted);
        let (start, end) = (at(What::ActivityStart)?, at(What::ActivityEnd)?);
        events.iter().find(|event| matches!(event.what, What::TurnStarted { .. }))?;
        let samples = events[start..end].iter().map(|event| match event.what {
            What::Audio { samples, .. } => samples,
            _ => 0,
        });
        Some(samples.sum::<usize>())
    });
    let spoken = speech::question().len();
    assert!((spoken..spoken + 16_000).contains(&inside), "{inside} samples inside, {spoken} spoken");
    leg.hang_up();
    let end = relay.end_of("marked");
    assert!(end.contains("turns 1") && end.contains("talkspurts 1"), "{end}");
}

#[test]
fn an_utterance_that_the_model_swallows_is_committed_and_answered() {
    let _turn = in_company();
    let faults = vec!["swallow:2500@setup".parse().expect("a fault")];
    let model = Model::start(SimConfig { faults, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.answer_within_ms=1000"]);
    let leg = Leg::call(&relay, "/?rate=16000&uuid=swallowed");
    model.ready(1);
    leg.speak(&caller_says(1_500), 320, Instant::now());
    for (what, is) in [("a swallowed talkspurt", 0), ("audioStreamEnd", 1), ("an answer", 2)] {
        model.event(1, what, |what| {
            let found = match what {
                What::Swallowed { .. } => 0,
                What::AudioStreamEnd => 1,
                What::TurnStarted { .. } => 2,
                _ => return None,
            };
            (found == is).then_some(())
        });
    }
    leg.hear(4_000);
    leg.hang_up();
    let end = relay.end_of("swallowed");
    assert!(end.contains("commits 1") && end.contains("healed 1"), "{end}");
    assert!(!end.contains("nudges"), "{end}");
}
