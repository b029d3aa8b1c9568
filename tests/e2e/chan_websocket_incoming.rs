//! `Dial(WebSocket/INCOMING)`: Asterisk waits, `POST /api/connect` says so, and the relay connects.
//!
//! Runs in: the test's thread beside relay and simulator; Asterisk is played by the test.
//! Invariant: what a call is does not depend on who connected, and a connection that did not come about leaves nothing.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::admin::ask;
use crate::harness::model::speaking;
use crate::harness::{Asterisk, Leg, Model, Relay, Told, in_company, noise, without_silence};

const CONNECT: &str = "POST /api/connect";
const START: &str = r#"{"command":"START_MEDIA_BUFFERING"}"#;
const MEDIA_START: &str = r#"{"event":"MEDIA_START","connection_id":"conn","channel":"WebSocket/INCOMING/0x1",
    "channel_id":"1795335118.9","format":"slin16","optimal_frame_size":640,"ptime":20,
    "channel_variables":{"TANDEM_DID":"6000","TANDEM_AGENT":"sales"}}"#;

fn connect(relay: &Relay, body: &Value) -> (u16, Value) {
    let (status, answer) = ask(relay, CONNECT, &body.to_string());
    (status, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}")))
}

/// A call of this id, which is also its UUID.
fn call(relay: &Relay, asterisk: &Asterisk, id: &str) -> Leg {
    assert_eq!(connect(relay, &json!({"connection_id": id})), (202, json!({"uuid": id})));
    asterisk.take(id, MEDIA_START)
}

fn admits(relay: &Relay) -> bool {
    ask(relay, "GET /admit", "").0 == 200
}

#[test]
fn a_connection_that_was_asked_for_is_a_call_like_any_other() {
    let _turn = in_company();
    let answer = Some(noise(1, 24_000 * 10));
    let model = Model::start(SimConfig { answer, hangover_ms: 100, ..speaking(Voice::Answer) });
    let asterisk = Asterisk::start();
    let relay = Relay::start(&model, &[&asterisk.setting()]);
    let asked = json!({"connection_id": "2f4f-A_1", "uuid": "incoming-1", "did": "5000", "caller": "+4201"});
    assert_eq!(connect(&relay, &asked), (202, json!({"uuid": "incoming-1"})));
    let leg = asterisk.take("2f4f-A_1", MEDIA_START);
    model.ready(1);
    let mut spoken = Vec::new();
    let mut due = Instant::now();
    for answers in 1..=2 {
        let words = noise(2, 320 * 5);
        due = leg.speak(&words, 320, due);
        due = leg.speak(&vec![0; 320 * 40], 320, due);
        spoken.extend(words);
        leg.until("an answer", |told| {
            let starts = told.iter().filter(|(_, told)| *told == Told::Text(START.into()));
            let audio = told.iter().filter(|(_, told)| !told.samples().is_empty());
            (starts.count() == answers && audio.count() > 20 * answers).then_some(())
        });
    }
    assert_eq!(leg.hang_up().0, 1000);
    let told: Vec<Told> = leg.told().into_iter().map(|(_, told)| told).collect();
    let place = |text: &str| told.iter().position(|told| *told == Told::Text(text.into()));
    let (start, flush) = (place(START), place(r#"{"command":"FLUSH_MEDIA"}"#));
    let first_audio = told.iter().position(|told| !told.samples().is_empty());
    assert!(start < first_audio && first_audio < flush, "{start:?} {first_audio:?} {flush:?}");
    assert_eq!(told[flush.expect("a barge-in") + 1], Told::Text(START.into()));
    // Its frames are 20 ms at 16 kHz.
    assert!(told.iter().all(|told| matches!(told.samples().len(), 0 | 320)));
    assert!(without_silence(&model.audio(1)) == spoken, "the model heard something else");
    // What the request says counts, and what it leaves open Asterisk may say.
    let end = relay.end_of("uuid=incoming-1 did=5000 caller=+4201");
    assert!(end.contains(r#"agent="sales""#) && end.contains("ended by caller (hangup)"), "{end}");
    assert!(end.contains("barge-ins 1 "), "{end}");
    assert!(admits(&relay));
}

#[test]
fn the_relay_hangs_up_by_closing_and_the_switch_ends_the_connection() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let asterisk = Asterisk::start();
    let relay = Relay::start(&model, &[&asterisk.setting(), "listen.max_calls=1", "leg.detached_ms=0"]);
    let leg = call(&relay, &asterisk, "ours");
    relay.line(&["offered", "uuid=ours"]);
    let (status, answer) = ask(&relay, "POST /api/calls/ours/hangup", "");
    assert_eq!((status, answer.as_str()), (200, "{\"done\":true}\n"));
    assert_eq!(leg.closed().0, 1000);
    let end = relay.end_of("uuid=ours");
    assert!(end.contains("ended by us (ordered_hangup)"), "{end}");
    // A connection that just breaks is another outcome.
    let leg = call(&relay, &asterisk, "theirs");
    relay.line(&["offered", "uuid=theirs"]);
    leg.drop_connection();
    let end = relay.end_of("uuid=theirs");
    assert!(end.contains("(leg_dropped)"), "{end}");
}

#[test]
fn a_switch_that_closes_and_leaves_the_connection_open_does_not_keep_the_call() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let asterisk = Asterisk::start();
    let relay = Relay::start(&model, &[&asterisk.setting()]);
    let leg = call(&relay, &asterisk, "lingers");
    relay.line(&["offered", "uuid=lingers"]);
    leg.linger();
    assert_eq!(leg.hang_up().0, 1000);
    assert!(relay.end_of("uuid=lingers").contains("ended by caller (hangup)"));
}

#[test]
fn a_connection_that_does_not_come_about_is_one_line_and_frees_its_slot() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let asterisk = Asterisk::start();
    let sets = [&asterisk.setting(), "listen.max_calls=1", "gemini.connect_timeout_ms=1000"];
    let relay = Relay::start(&model, &sets);
    let fails = |id: &str, refuse: &dyn Fn(), why: &[&str]| {
        assert_eq!(connect(&relay, &json!({"connection_id": id})).0, 202);
        refuse();
        let of_call = format!("uuid={id}");
        let parts: Vec<&str> = [of_call.as_str()].into_iter().chain(why.iter().copied()).collect();
        relay.line(&parts);
        assert!(admits(&relay), "{id}: its slot is still taken");
    };
    let refuse = |status: &str, id: &str| {
        assert_eq!(asterisk.refuse(status), format!("GET /media/{id} HTTP/1.1"));
    };
    fails("no-1", &|| refuse("404 Not Found", "no-1"), &["HTTP status 404", "its Dial() is over"]);
    fails("no-2", &|| refuse("409 Conflict", "no-2"), &["HTTP status 409", "there already"]);
    fails("no-3", &|| drop(asterisk.silent()), &["no connection to ws://127.0.0.1:"]);
    let silent = std::cell::RefCell::new(Vec::new());
    fails("no-4", &|| silent.borrow_mut().push(asterisk.silent()), &["timed out", "http show status"]);
    drop(asterisk);
    fails("no-5", &|| (), &["no connection to ws://127.0.0.1:", "TCP: ", "http show status"]);
    relay.signal(Signal::USR1);
    let counters = relay.line(&["counters: "]);
    assert!(counters.contains(r#""tandem_leg_faults_total{fault=\"unreachable\"}":5"#), "{counters}");
    assert!(!counters.contains("tandem_calls_total"), "{counters}");
}

#[test]
fn what_is_asked_for_is_admitted_and_can_reach_no_other_place() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let asterisk = Asterisk::start();
    let relay = Relay::start(&model, &[&asterisk.setting(), "listen.max_calls=1"]);
    let too_long = "x".repeat(65);
    for id in
        ["", "..", "a/b", "../ws", "a?b", "a#b", "a%2fb", "a b", "@host", "a\r\nb", "č", too_long.as_str()]
    {
        let (status, answer) = connect(&relay, &json!({"connection_id": id}));
        assert_eq!(status, 422, "{id:?}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.contains("connection_id")), "{answer}");
    }
    assert_eq!(connect(&relay, &json!({"uuid": "u"})).0, 422);
    assert_eq!(connect(&relay, &json!({"connection_id": 7})).0, 422);
    assert_eq!(ask(&relay, "GET /api/connect", "").0, 405);
    let leg = call(&relay, &asterisk, "only");
    relay.line(&["offered", "uuid=only"]);
    let refused = |reason: &str| {
        let (status, answer) = connect(&relay, &json!({"connection_id": "more"}));
        assert_eq!(status, 503);
        assert!(answer["error"].as_str().is_some_and(|why| why.ends_with(reason)), "{answer}");
    };
    refused(": calls");
    relay.signal(Signal::TERM);
    relay.line(&["shutting down"]);
    refused(": draining");
    assert_eq!(leg.hang_up().0, 1000);
    relay.end_of("uuid=only");
    let counters = relay.line(&["counters: "]);
    for reason in ["calls", "draining"] {
        assert!(
            counters.contains(&format!(r#"tandem_refusals_total{{reason=\"{reason}\"}}":1"#)),
            "{counters}"
        );
    }
    let off = Relay::start(&model, &[]);
    let (status, answer) = connect(&off, &json!({"connection_id": "more"}));
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().is_some_and(|why| why.contains("asterisk.media_url")), "{answer}");
}
