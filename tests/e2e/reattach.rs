//! Legs that come back: the answer goes on where it was, the model notices nothing; and who may not come back.
//!
//! Runs in: the test's thread beside relay and simulator. Invariant: each call has one session, whatever its leg does.

use tandem_loadtest::sim::{SimConfig, SimEvent, Voice, What};

use crate::harness::audio_line::AudioLine;
use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, alone, in_company, noise};

const UUID: [u8; 16] = [0x7b; 16];

fn ready_links(events: &[SimEvent]) -> usize {
    events.iter().filter(|event| event.what == What::SetupComplete).count()
}

/// The sessions whose setup was complete so far.
fn sessions(model: &Model) -> usize {
    model.until("its events", |events| Some(ready_links(events)))
}

#[test]
fn an_answer_goes_on_when_the_switch_reconnects_in_its_middle() {
    let _turn = in_company();
    let said = noise(1, 48_000);
    let model = Model::start(SimConfig { answer: Some(said.clone()), ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Greet the caller."]);
    let target = "/?rate=24000&uuid=comes-back";
    let first = Leg::call(&relay, target);
    first.hear(12_000);
    first.drop_connection();
    let second = Leg::call(&relay, target);
    let begins = {
        let heard = second.hear(480);
        let begins = said.windows(480).position(|window| *window == heard[..480]);
        begins.expect("the same answer goes on, sample for sample")
    };
    let before = first.samples();
    assert!(before == said[..before.len()]);
    assert!(begins >= before.len(), "nothing is heard twice: {begins} after {}", before.len());
    assert!(begins <= before.len() + 24_000, "what was on its way is lost: {begins} after {}", before.len());
    let rest = second.hear(said.len() - begins);
    assert!(rest[..said.len() - begins] == said[begins..], "the rest of the answer");
    // The caller is heard as before.
    second.audio(&noise(2, 4_800), 480);
    model.heard(1, 3_200);
    second.hang_up();
    let end = relay.end_of("uuid=comes-back");
    assert!(end.contains("(hangup)") && end.contains("turns 1,") && end.contains("leg came back 1"), "{end}");
    assert_eq!(sessions(&model), 1);
}

#[test]
fn a_clean_close_may_be_followed_by_the_same_call() {
    // The switch has half a second.
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let first = Leg::call(&relay, "/?uuid=says-goodbye");
    model.ready(1);
    assert_eq!(first.hang_up().0, 1000);
    let second = Leg::call(&relay, "/?uuid=says-goodbye");
    relay.line(&["its leg is back"]);
    second.audio(&noise(3, 6_400), 320);
    model.heard(1, 6_400);
    assert_eq!(second.hang_up().0, 1000);
    assert!(relay.end_of("uuid=says-goodbye").contains("leg came back 1"));
    // Half a second is over: this is another call.
    let _third = Leg::call(&relay, "/?uuid=says-goodbye");
    model.ready(2);
}

#[test]
fn a_hang_up_of_audio_socket_is_the_end() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let first = AudioLine::call(relay.address(), UUID);
    model.ready(1);
    first.hang_up();
    assert!(relay.end_of("7b7b7b7b").contains("ended by caller (hangup)"));
    let _second = AudioLine::call(relay.address(), UUID);
    model.ready(2);
}

#[test]
fn a_second_leg_with_the_uuid_of_a_living_one_is_refused() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=only-once");
    model.ready(1);
    let refusal = Leg::try_call(relay.address(), "/?uuid=ONLY-once", &[]).err().expect("it is refused");
    for words in ["HTTP 409", "uuid_in_use", "each call needs its own"] {
        assert!(refusal.contains(words), "{words:?} is not in {refusal}");
    }
    // Its UUID comes too late for the door.
    let late = Leg::call(&relay, "/");
    late.text(r#"{"uuid":"only-once"}"#);
    assert_eq!(late.closed(), (1008, "uuid_in_use".to_owned()));
    let spoken = noise(4, 6_400);
    leg.audio(&spoken, 320);
    model.heard(1, 6_400);
    assert_eq!(leg.hang_up().0, 1000);
}

#[test]
fn a_lost_call_is_given_to_nobody_else() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let first = Leg::call(&relay, "/?uuid=guarded&token=mine");
    model.ready(1);
    first.drop_connection();
    relay.line(&["the leg was lost"]);
    for token in ["", "&token=yours"] {
        let target = format!("/?uuid=guarded{token}");
        let refusal = Leg::try_call(relay.address(), &target, &[]).err().expect("it is refused");
        assert!(refusal.contains("HTTP 409"), "{refusal}");
    }
    let second = Leg::call(&relay, "/?uuid=guarded&token=mine");
    relay.line(&["its leg is back"]);
    second.audio(&noise(5, 6_400), 320);
    model.heard(1, 6_400);
    // Another number is another call, and ends the one that waits.
    second.drop_connection();
    relay.line(&["the leg was lost"]);
    let _other = Leg::call(&relay, "/?uuid=guarded&token=mine&rate=8000");
    assert!(relay.end_of("uuid=guarded").contains("(leg_dropped)"));
    model.until("another session", |events| (ready_links(events) == 2).then_some(()));
}

#[test]
fn a_leg_that_is_dead_and_does_not_know_it_is_taken_over() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let dead = Leg::call(&relay, "/?uuid=half-open");
    dead.mute();
    model.ready(1);
    let second = Leg::call(&relay, "/?uuid=half-open");
    relay.line(&["its leg is back", "the one before was dead"]);
    second.audio(&noise(6, 6_400), 320);
    model.heard(1, 6_400);
    assert_eq!(second.hang_up().0, 1000);
    assert_eq!(sessions(&model), 1);
}

#[test]
fn a_leg_that_says_its_uuid_late_finds_its_call() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["threads.shards=2"]);
    let first = Leg::call(&relay, "/");
    first.text(r#"{"uuid":"says-it-late"}"#);
    model.ready(1);
    relay.line(&["uuid=says-it-late"]);
    first.drop_connection();
    relay.line(&["the leg was lost"]);
    let second = Leg::call(&relay, "/");
    second.text(r#"{"uuid":"says-it-late"}"#);
    relay.line(&["its leg is back"]);
    second.audio(&noise(7, 6_400), 320);
    model.heard(1, 6_400);
    assert!(relay.end_of("(moved)").contains("its leg is that of a call that was waiting for it"));
    assert_eq!(second.hang_up().0, 1000);
    relay.line(&["ended by caller (hangup)", "uuid=says-it-late", "leg came back 1"]);
    // One was lost; one said goodbye, and was held.
    relay.signal(rustix::process::Signal::USR1);
    relay.line(&["counters: ", r#""tandem_legs_held_total":1"#, r#""tandem_legs_lost_total":1"#]);
}
