//! File playback, for a module that plays nothing itself: chunks with their numbers, their pace, the clear message with
//! the turn, and a script that does not play.
//!
//! Runs in: the test's thread beside relay and simulator; the test is module and script in one.
//! Invariant: chunks of a turn are numbered without a hole, and none of a cancelled turn comes behind its clear message.

use std::time::{Duration, Instant};

use tandem_loadtest::sim::{SimConfig, Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, Told, alone, in_company, noise};

/// Samples of a chunk: 100 ms at 8 kHz.
const CHUNK: usize = 800;
/// How late a clear message may be: the bound of the task, held by the median so that one bad moment of a busy machine
/// does not decide.
const INTERRUPTED_TO_CLEAR: Duration = Duration::from_millis(60);

fn chunks(told: &[(Instant, Told)]) -> Vec<(Instant, u64, u64, usize)> {
    let chunk = |(at, told): &(Instant, Told)| match told {
        Told::File(turn, chunk, samples) => Some((*at, *turn, *chunk, samples.len())),
        _ => None,
    };
    told.iter().filter_map(chunk).collect()
}

#[test]
fn chunks_of_100_ms_leave_with_one_of_lead_and_are_numbered() {
    let _turn = alone();
    let said = noise(1, 24_000 * 2);
    let model = Model::start(SimConfig { answer: Some(said), burst: 0.0, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    let leg = Leg::call(&relay, "/?rate=8000&playback=file&script=1&uuid=files");
    leg.text(r#"{"type":"tandem","event":"hello","version":1}"#);
    leg.hear(16_000);
    let told = leg.told();
    leg.hang_up();
    let chunks = chunks(&told);
    let numbers: Vec<u64> = chunks.iter().map(|(_, _, chunk, _)| *chunk).collect();
    assert_eq!(numbers, (1..=chunks.len() as u64).collect::<Vec<_>>());
    // Two seconds and the filter's tail: only the last is shorter, and the first, which waits for nothing.
    assert!(chunks[1..20].iter().all(|(_, turn, _, samples)| (*turn, *samples) == (1, CHUNK)), "{chunks:?}");
    assert!(chunks[0].1 == 1 && (1..=CHUNK).contains(&chunks[0].3), "{chunks:?}");
    // Two chunks at once, and then one each 100 ms: the twentieth 1.8 s after the first, less this test's own lateness.
    let after = |n: usize| chunks[n].0.duration_since(chunks[0].0);
    assert!(after(1) < after(2), "{:?}, {:?}", after(1), after(2));
    assert!((1_700..2_500).contains(&after(19).as_millis()), "{:?}", after(19));
    let end = relay.end_of("uuid=files");
    assert!(end.contains("underruns 0"), "{end}");
}

#[test]
fn at_a_barge_in_the_new_turn_is_named_and_nothing_old_follows() {
    const BARGE_INS: usize = 5;
    let _turn = alone();
    let answer = Some(noise(2, 24_000 * 10));
    let model = Model::start(SimConfig { answer, hangover_ms: 100, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?rate=8000&playback=file&uuid=files-interrupted");
    model.ready(1);
    let mut due = Instant::now();
    for talkspurt in 0..=BARGE_INS {
        due = leg.speak(&noise(3, 160 * 5), 160, due);
        // Half a second of the answer is heard before the next talkspurt.
        due = leg.speak(&vec![0; 160 * 40], 160, due);
        leg.until("an answer", |told| {
            (chunks(told).last().map(|(_, turn, ..)| *turn) == Some(talkspurt as u64 + 1)).then_some(())
        });
    }
    let interrupted: Vec<Instant> = model.until("every interruption", |events| {
        let at = events.iter().filter(|event| matches!(event.what, What::Interrupted { .. }));
        let at: Vec<_> = at.map(|event| event.at).collect();
        (at.len() == BARGE_INS).then_some(at)
    });
    leg.hang_up();
    let (mut turn, mut next_chunk, mut late) = (1, 1, Vec::new());
    for (at, told) in leg.told() {
        match told {
            Told::File(of, chunk, _) => {
                assert_eq!((of, chunk), (turn, next_chunk), "out of its place");
                next_chunk += 1;
            }
            told if told.is_clear() => {
                turn += 1;
                next_chunk = 1;
                let expected = Told::Text(format!(r#"{{"type":"clearAudio","turn":{turn}}}"#));
                assert_eq!(told, expected);
                late.push(at.saturating_duration_since(interrupted[late.len()]));
            }
            _ => {}
        }
    }
    late.sort_unstable();
    assert_eq!(late.len(), BARGE_INS);
    println!("interrupted to clear: {late:?}");
    assert!(late[BARGE_INS / 2] <= INTERRUPTED_TO_CLEAR, "{late:?}");
}

#[test]
fn a_caller_who_cannot_be_hearing_anything_is_said_once_and_one_who_hears_is_not() {
    let _turn = in_company();
    let model = Model::start(SimConfig { answer: Some(noise(4, 24_000 * 8)), ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Hello.", "log.stats_seconds=0"]);
    let deaf = Leg::call(&relay, "/?rate=8000&playback=file&script=1&uuid=deaf");
    let hearing = Leg::call(&relay, "/?rate=8000&playback=file&script=1&uuid=hearing");
    let without_script = Leg::call(&relay, "/?rate=8000&playback=file&uuid=plain");
    hearing.hear(CHUNK);
    hearing.text(r#"{"type":"tandem","event":"playing","turn":1}"#);
    let line = relay.line(&["cannot be hearing anything"]);
    assert!(line.contains(r#"uuid="deaf""#) && line.contains("tandem_events.lua"), "{line}");
    for leg in [&deaf, &hearing, &without_script] {
        leg.hear(8_000 * 7);
        leg.hang_up();
    }
    relay.end_of("uuid=plain");
    let refused = Leg::call(&relay, "/?rate=8000&playback=file&script=1&uuid=refused");
    refused.text(r#"{"type":"tandem","event":"unplayed","turn":0,"why":"refused"}"#);
    refused.text(r#"{"type":"tandem","event":"gaps","turn":1,"late":2,"ms":60}"#);
    let line = relay.line(&["hears nothing", "uuid=refused"]);
    assert!(line.contains("is mod_sndfile loaded?"), "{line}");
    refused.hear(8_000 * 5);
    refused.hang_up();
    let end = relay.end_of("uuid=refused");
    assert!(end.contains("gaps at the switch 2") && end.contains("ms of silence in them 60"), "{end}");
    relay.signal(rustix::process::Signal::USR1);
    for counted in [
        r#"tandem_leg_faults_total{fault=\"unheard\"}":1"#,
        r#"tandem_leg_faults_total{fault=\"unplayed\"}":1"#,
        r#"tandem_switch_gaps_total":2"#,
    ] {
        relay.line(&["counters: ", counted]);
    }
}
