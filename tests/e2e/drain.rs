//! `tandem drain`: nobody new, those who talk may go on, and how they are moved to another relay.
//!
//! Runs in: the tests' threads beside relays and simulator. The switch's script is played: it connects again when it is closed
//! with anything but the relay's last word. Invariant: no call that runs is ended by a drain.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tandem_loadtest::sim::Voice;

use crate::harness::admin::{address, ask};
use crate::harness::model::speaking;
use crate::harness::process::command;
use crate::harness::{AudioLine, KEY, Leg, Model, Relay, in_company, noise};

const UUID: [u8; 16] = [0x6d; 16];

/// `tandem drain` with these arguments, as an operator of `relay` runs it.
fn drain(relay: &Relay, arguments: &[&str]) -> std::process::Child {
    let admin = address(relay).to_string();
    let environment = [("TANDEM_ADMIN_LISTEN", admin.as_str()), ("GEMINI_API_KEY", KEY)];
    let mut command = command(&[&["drain"], arguments].concat(), &environment);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built")
}

fn done(child: std::process::Child) -> (bool, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    (status.success(), [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

fn state(relay: &Relay) -> Value {
    serde_json::from_str(&ask(relay, "GET /api/drain", "").1).expect("JSON")
}

#[test]
fn a_drain_refuses_new_calls_and_ends_the_relay_with_the_last_one_however_long_it_takes() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    // It does not count for a drain by order.
    let mut relay = Relay::start(&model, &["drain.seconds=0"]);
    let leg = Leg::call(&relay, "/?uuid=running");
    model.ready(1);
    let waits = drain(&relay, &[]);
    relay.line(&["shutting down", "1 running call"]);
    assert_eq!(state(&relay), json!({"draining": true, "moving": false, "calls": 1}));
    assert_eq!(ask(&relay, "GET /readyz", "").0, 503);
    let refusal = Leg::try_call(relay.address(), "/", &[]).err().expect("a new call is refused");
    assert!(refusal.contains("HTTP 503"), "{refusal}");
    let spoken = noise(1, 8_000);
    leg.audio(&spoken, 320);
    leg.hear(8_000);
    assert_eq!(leg.hang_up().0, 1000);
    assert_eq!(relay.ended().code(), Some(0));
    let (succeeded, said) = done(waits);
    assert!(succeeded && said.contains("draining: 1 call runs") && said.contains("has ended"), "{said}");
}

#[test]
fn a_drain_is_taken_back_and_one_with_a_limit_ends_what_is_left() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=running");
    model.ready(1);
    assert!(done(drain(&relay, &["--no-wait"])).0);
    relay.line(&["shutting down"]);
    let (succeeded, said) = done(drain(&relay, &["--cancel"]));
    assert!(succeeded && said.contains("new calls are taken again: 1 call runs"), "{said}");
    relay.line(&["not shutting down any more"]);
    assert_eq!(ask(&relay, "GET /readyz", "").0, 200);
    assert_eq!(Leg::call(&relay, "/").hang_up().0, 1000);
    assert_eq!(ask(&relay, "POST /api/drain", r#"{"move":"yes"}"#).0, 422);

    let (succeeded, said) = done(drain(&relay, &["--within", "1"]));
    assert!(succeeded, "{said}");
    assert_eq!(leg.closed(), (1000, "shutdown".to_owned()));
    assert_eq!(relay.ended().code(), Some(0));
}

#[test]
fn calls_are_moved_to_another_relay_at_a_pause_and_those_who_would_not_come_again_stay() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let mut old = Relay::start(&model, &["leg.detached_ms=500"]);
    let new = Relay::start(&model, &[]);
    let scripted = Leg::call(&old, "/?uuid=scripted&script=1");
    let bare = Leg::call(&old, "/?uuid=bare");
    let announced = r#"{"uuid":"6d6d6d6d-6d6d-6d6d-6d6d-6d6d6d6d6d6d","again":1}"#;
    assert_eq!(ask(&old, "POST /api/expect", announced).0, 204);
    let asterisk = AudioLine::call(old.address(), UUID);
    (1..=3).for_each(|session| model.ready(session));

    let waits = drain(&old, &["--move"]);
    // Not an error and not the last word: a script connects again.
    assert_eq!(scripted.closed(), (1001, "sent_away".to_owned()));
    asterisk.let_go();
    old.nth_line(&["its leg was sent to another relay"], 2);
    assert_eq!(state(&old)["moving"], true);
    let moved = Leg::call(&new, "/?uuid=scripted&script=1");
    let again = AudioLine::call(new.address(), UUID);
    (4..=5).for_each(|session| model.ready(session));
    for uuid in ["uuid=scripted", "6d6d6d6d"] {
        assert!(old.end_of(uuid).contains("ended by us (sent_away)"));
    }
    // Who would not connect again talks on until they have finished.
    let spoken = noise(2, 8_000);
    bare.audio(&spoken, 320);
    model.heard(2, 8_000);
    assert_eq!(bare.hang_up().0, 1000);
    assert_eq!(old.ended().code(), Some(0));
    let (succeeded, said) = done(waits);
    assert!(succeeded && said.contains("draining and moving: 3 calls run"), "{said}");
    assert_eq!(moved.hang_up().0, 1000);
    again.hang_up();
}

#[test]
fn a_leg_that_comes_back_to_the_relay_that_drains_finds_its_call_and_stays() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let mut relay = Relay::start(&model, &[]);
    let target = "/?uuid=nobody-else&script=1";
    let leg = Leg::call(&relay, target);
    model.ready(1);
    assert!(done(drain(&relay, &["--move", "--no-wait"])).0);
    assert_eq!(leg.closed().0, 1001);
    let back = Leg::call(&relay, target);
    relay.line(&["its leg is back"]);
    let spoken = noise(3, 8_000);
    back.audio(&spoken, 320);
    model.heard(1, 8_000);
    assert_eq!(back.hang_up().0, 1000);
    assert_eq!(relay.ended().code(), Some(0));
}
