//! Call control end to end: orders in band to our script (played by the test), orders over an event socket (played too),
//! connections lost in the middle, outbound calls, and the admin server itself.
//!
//! Runs in: the test's threads beside relay and simulator.
//! Invariant: each order is carried out once or reported as failed; what a switch was told is counted, not assumed.

use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use tandem_loadtest::sim::{SimConfig, Voice, What};

use crate::harness::admin::{address, ask, ask_while, ask_with};
use crate::harness::event_socket::{EventSocket, Fate};
use crate::harness::model::speaking;
use crate::harness::process::command;
use crate::harness::{AudioLine, Leg, Model, Relay, Told, in_company};

fn model() -> Model {
    Model::start(speaking(Voice::Parrot))
}

/// A relay that uses the event socket, which it is logged in to.
fn relay_with(model: &Model, switch: &EventSocket, more: &[&str]) -> Relay {
    let settings = switch.settings();
    let sets: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let relay = Relay::start(model, &sets);
    switch.logged_in(1);
    relay
}

/// A call with our script, which said that it is there.
fn scripted(relay: &Relay, uuid: &str) -> Leg {
    let leg = Leg::call(relay, &format!("/?rate=8000&script=1&uuid={uuid}"));
    leg.text(r#"{"type":"tandem","event":"hello","version":1}"#);
    relay.line(&["offered", uuid]);
    leg
}

/// A call without our script, of which the relay was told before.
fn announced(relay: &Relay, uuid: &str) -> Leg {
    assert_eq!(ask(relay, "POST /api/expect", &json!({"uuid": uuid}).to_string()).0, 204);
    let leg = Leg::call(relay, &format!("/?rate=8000&uuid={uuid}"));
    relay.line(&["offered", uuid]);
    leg
}

/// Every order that the script was told so far.
fn orders(told: &[(Instant, Told)]) -> Vec<Value> {
    let texts = told.iter().filter_map(|(_, told)| match told {
        Told::Text(text) => serde_json::from_str::<Value>(text).ok(),
        _ => None,
    });
    texts.filter(|text| text["type"] == "tandem").collect()
}

fn order(leg: &Leg, nth: usize) -> Value {
    leg.until("an order", |told| orders(told).get(nth - 1).cloned())
}

fn report(leg: &Leg, event: &str, id: &Value, more: &str) {
    leg.text(&format!(r#"{{"type":"tandem","event":"{event}","id":{id}{more}}}"#));
}

fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn our_script_is_told_in_band_and_its_report_is_the_answer() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &["control.variables=hold_music"]);
    let leg = scripted(&relay, "band-1");
    let cases = [
        ("dtmf", r#"{"digits":"123#"}"#, json!({"order": "dtmf", "digits": "123#"})),
        ("break", "", json!({"order": "break"})),
        (
            "variable",
            r#"{"name":"tandem_result","value":"booked"}"#,
            json!({"order": "set", "name": "tandem_result", "value": "booked"}),
        ),
    ];
    for (n, (kind, request, mut expected)) in (1..).zip(cases) {
        let line = format!("POST /api/calls/band-1/{kind}");
        let (answer, ()) = ask_while(&relay, &line, request, || {
            let order = order(&leg, n);
            expected["type"] = json!("tandem");
            expected["id"] = order["id"].clone();
            assert_eq!(order, expected);
            report(&leg, "done", &order["id"], "");
        });
        assert_eq!((answer.0, body(&answer.1)), (200, json!({"done": true})), "{kind}");
    }
    let (answer, ()) = ask_while(&relay, "POST /api/calls/band-1/transfer", r#"{"to":"2000"}"#, || {
        report(&leg, "failed", &order(&leg, 4)["id"], r#","why":"no_such_extension""#);
    });
    assert_eq!(answer.0, 409);
    assert!(answer.1.contains("no_such_extension"), "{}", answer.1);
    let (answer, ()) = ask_while(
        &relay,
        "POST /api/calls/band-1/transfer",
        r#"{"to":"2000","dialplan":"XML","context":"default"}"#,
        || {
            let order = order(&leg, 5);
            assert_eq!((&order["to"], &order["context"]), (&json!("2000"), &json!("default")));
            report(&leg, "done", &order["id"], "");
        },
    );
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(leg.closed(), (1000, "transferred".to_owned()), "the stream comes off a transferred channel");
    let end = relay.end_of("uuid=band-1");
    assert!(end.contains("ended by us (transferred)"), "{end}");
    assert!(end.ends_with("orders done 4, orders failed 1"), "{end}");
}

#[test]
fn a_hang_up_is_ordered_once_and_is_the_calls_outcome() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let leg = scripted(&relay, "band-2");
    let (answer, ()) = ask_while(&relay, "POST /api/calls/band-2/hangup", r#"{"cause":"USER_BUSY"}"#, || {
        assert_eq!(order(&leg, 1)["cause"], "USER_BUSY");
        // The script hangs up at once: the end of the stream is all that is heard of it.
        leg.hang_up();
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(orders(&leg.told()).len(), 1);
    let end = relay.end_of("uuid=band-2");
    assert!(end.contains("ended by us (ordered_hangup): hung up by order"), "{end}");
}

#[test]
fn an_order_under_way_when_the_leg_is_lost_is_reported_as_failed_and_not_repeated() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let leg = scripted(&relay, "band-3");
    let (answer, lost) = ask_while(&relay, "POST /api/calls/band-3/transfer", r#"{"to":"2000"}"#, || {
        let order = order(&leg, 1);
        leg.drop_connection();
        order
    });
    assert_eq!(answer.0, 504);
    assert!(answer.1.contains("may or may not have been carried out"), "{}", answer.1);
    // The script starts the stream again: of the old order it hears nothing.
    let again = scripted(&relay, "band-3");
    relay.line(&["its leg is back"]);
    let (answer, ()) = ask_while(&relay, "POST /api/calls/band-3/break", "", || {
        let order = order(&again, 1);
        assert_eq!(order["order"], "break");
        assert_ne!(order["id"], lost["id"], "the script remembers what it was told on the same channel");
        report(&again, "done", &order["id"], "");
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(orders(&again.told()).len(), 1);
}

#[test]
fn without_script_and_event_socket_an_order_is_an_error_that_says_so() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?rate=8000&uuid=bare-1");
    relay.line(&["offered", "bare-1"]);
    let (status, answer) = ask(&relay, "POST /api/calls/bare-1/transfer", r#"{"to":"2000"}"#);
    assert_eq!(status, 422);
    assert!(answer.contains("cannot do transfer") && answer.contains("install our scripts"), "{answer}");
    let (status, answer) = ask(&relay, "POST /api/calls/other/hangup", "");
    assert_eq!(status, 404, "{answer}");
    assert_eq!(leg.hang_up().0, 1000);
}

#[test]
fn the_event_socket_carries_orders_out_where_our_script_is_not() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &["control.transfer_contexts=ivr"]);
    let leg = announced(&relay, "esl-1");
    for (kind, request) in
        [("dtmf", r#"{"digits":"5"}"#), ("break", ""), ("variable", r#"{"name":"tandem_a","value":"b c"}"#)]
    {
        let (status, answer) = ask(&relay, &format!("POST /api/calls/esl-1/{kind}"), request);
        assert_eq!(status, 200, "{kind}: {answer}");
    }
    switch.fate(Fate::Fails);
    let (status, answer) = ask(&relay, "POST /api/calls/esl-1/transfer", r#"{"to":"2000","context":"ivr"}"#);
    assert_eq!(status, 409);
    assert!(answer.contains("No such channel!"), "{answer}");
    switch.fate(Fate::Done);
    switch.event("Event-Name: CHANNEL_HANGUP\nUnique-ID: esl-1\nHangup-Cause: USER_BUSY");
    let (status, answer) = ask(&relay, "POST /api/calls/esl-1/hangup", "");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        switch.jobs(),
        [
            "uuid_send_dtmf esl-1 5",
            "uuid_break esl-1 all",
            "uuid_setvar esl-1 tandem_a b c",
            "uuid_transfer esl-1 2000 XML ivr",
            "uuid_kill esl-1 NORMAL_CLEARING",
        ]
    );
    assert_eq!(leg.closed().0, 1000);
    let end = relay.end_of("uuid=esl-1");
    assert!(end.contains("ended by us (ordered_hangup): hung up by order [\"USER_BUSY\"]"), "{end}");
}

/// The text by which the switch can tell that this leg is a channel's, once it was sent.
fn channel_word(leg: &Leg) -> String {
    leg.until("a word for the switch to say", |told| {
        told.iter().find_map(|(_, told)| match told {
            Told::Text(text) if text.contains("tandem_channel") => Some(text.clone()),
            _ => None,
        })
    })
}

/// The event that mod_audio_stream raises on a channel whose leg was sent this text.
fn raise(switch: &EventSocket, channel: &str, text: &str) {
    let length = text.len();
    switch.event(&format!(
        "Event-Name: CUSTOM\nEvent-Subclass: mod_audio_stream%3A%3Ajson\nUnique-ID: {channel}\nContent-Length: \
         {length}\n\n{text}"
    ));
}

#[test]
fn a_leg_that_names_a_foreign_channel_makes_the_event_socket_do_nothing_there() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &[]);
    let foreign = Leg::call(&relay, "/?rate=8000&uuid=foreign-1");
    let own = Leg::call(&relay, "/?rate=8000&uuid=own-1");
    // What comes over one leg says nothing of another channel, nor does what the leg says itself.
    let word = channel_word(&own);
    raise(&switch, "foreign-1", &word);
    foreign.text(&channel_word(&foreign));
    switch.event("Event-Name: DTMF\nUnique-ID: foreign-1\nDTMF-Digit: 7");
    for (kind, request) in [
        ("hangup", ""),
        ("transfer", r#"{"to":"2000"}"#),
        ("dtmf", r#"{"digits":"1"}"#),
        ("variable", r#"{"name":"tandem_a","value":"b"}"#),
    ] {
        let (status, answer) = ask(&relay, &format!("POST /api/calls/foreign-1/{kind}"), request);
        assert_eq!(status, 409, "{kind}: {answer}");
        assert!(answer.contains("did not confirm") && answer.contains("/api/expect"), "{answer}");
    }
    assert_eq!(switch.jobs(), [] as [&str; 0]);
    // The switch says the word on the channel whose leg it was sent over.
    raise(&switch, "own-1", &word);
    let (status, answer) = ask(&relay, "POST /api/calls/own-1/dtmf", r#"{"digits":"5"}"#);
    assert_eq!((status, switch.jobs()), (200, vec!["uuid_send_dtmf own-1 5".to_owned()]), "{answer}");
    assert_eq!((foreign.hang_up().0, own.hang_up().0), (1000, 1000));
    relay.end_of("uuid=foreign-1");
    let is_told = |what: &What| matches!(what, What::Text(text) if text.contains("pressed these keys"));
    let told = model.until("an event", |events| Some(events.iter().any(|event| is_told(&event.what))));
    assert!(!told, "a key of the foreign channel was told to the model");
}

#[test]
fn what_our_script_refuses_is_refused_over_the_event_socket_too() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &["control.variables=hold_music,tandem_token"]);
    let _leg = announced(&relay, "strict-1");
    for (kind, request) in [
        ("variable", json!({"name": "tandem_script", "value": "1"})),
        ("variable", json!({"name": "tandem_token", "value": "x"})),
        ("variable", json!({"name": "tandem_fell_back", "value": ""})),
        ("variable", json!({"name": "api_hangup_hook", "value": "system reboot"})),
        ("variable", json!({"name": "execute_on_answer", "value": "hangup"})),
        ("transfer", json!({"to": "hangup", "dialplan": "inline"})),
        ("transfer", json!({"to": "hangup", "dialplan": "InLine"})),
        ("transfer", json!({"to": "script.lua", "dialplan": "lua"})),
        ("transfer", json!({"to": "2000", "dialplan": "enum"})),
        ("transfer", json!({"to": "2000", "context": "secret"})),
        ("transfer", json!({"to": "2000", "dialplan": "XML", "context": "features"})),
    ] {
        let (status, answer) = ask(&relay, &format!("POST /api/calls/strict-1/{kind}"), &request.to_string());
        assert_eq!(status, 422, "{request}: {answer}");
    }
    assert_eq!(switch.jobs(), [] as [&str; 0]);
    for (kind, request) in [
        ("variable", json!({"name": "hold_music", "value": "a"})),
        ("transfer", json!({"to": "2000", "dialplan": "XML", "context": "public"})),
    ] {
        let (status, answer) = ask(&relay, &format!("POST /api/calls/strict-1/{kind}"), &request.to_string());
        assert_eq!(status, 200, "{request}: {answer}");
    }
}

#[test]
fn what_was_under_way_when_the_event_socket_was_lost_is_reported_as_failed_and_never_sent_twice() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &[]);
    let _leg = announced(&relay, "esl-2");
    for (logins, fate) in [(2, Fate::LostBeforeReply), (3, Fate::LostAfterReply)] {
        switch.fate(fate);
        let (status, answer) = ask(&relay, "POST /api/calls/esl-2/dtmf", r#"{"digits":"1"}"#);
        assert_eq!(status, 504, "{fate:?}: {answer}");
        assert!(
            answer.contains("the connection to the event socket was lost; it may or may not"),
            "{answer}"
        );
        switch.fate(Fate::Done);
        switch.logged_in(logins);
    }
    let (status, answer) = ask(&relay, "POST /api/calls/esl-2/dtmf", r#"{"digits":"2"}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        switch.jobs(),
        ["uuid_send_dtmf esl-2 1", "uuid_send_dtmf esl-2 1", "uuid_send_dtmf esl-2 2"],
        "one job for each request"
    );
}

#[test]
fn an_order_that_finds_no_event_socket_is_reported_as_not_sent_and_is_not_sent_later() {
    let _turn = in_company();
    let model = model();
    let switch = EventSocket::start();
    let settings = switch.settings();
    drop(switch);
    let sets: Vec<&str> = settings.iter().map(String::as_str).collect();
    let relay = Relay::start(&model, &sets);
    relay.line(&["WARN", "no connection to the event socket", "check esl.host"]);
    let _leg = announced(&relay, "esl-3");
    let (status, answer) = ask(&relay, "POST /api/calls/esl-3/hangup", "");
    assert_eq!(status, 504);
    assert!(answer.contains("not sent, and will not be"), "{answer}");
    let port = settings[1].rsplit('=').next().and_then(|port| port.parse().ok()).expect("a port");
    let switch = EventSocket::on(std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free"));
    switch.logged_in(1);
    let (status, answer) = ask(&relay, "POST /api/calls/esl-3/break", "");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(switch.jobs(), ["uuid_break esl-3 all"]);
}

#[test]
fn keys_and_answering_machines_reach_the_model_as_text() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &[]);
    let leg = scripted(&relay, "keys-1");
    model.ready(1);
    for key in ["4", "2", "#"] {
        leg.text(&format!(r#"{{"type":"tandem","event":"dtmf","digit":"{key}"}}"#));
    }
    let text = |wanted: &'static str| {
        model.event(1, wanted, |what| match what {
            What::Text(text) if text.contains(wanted) => Some(text.clone()),
            _ => None,
        })
    };
    assert!(text("pressed these keys").ends_with(": 42#"));
    switch.event("Event-Name: CUSTOM\nEvent-Subclass: avmd%3A%3Abeep\nUnique-ID: keys-1");
    text("answering machine");
}

#[test]
fn an_outbound_call_is_placed_with_checked_values_and_known_when_it_connects() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &["esl.dial_string=sofia/gateway/provider/{to}"]);
    for hostile in ["2000,3000", "${system(x)}", "2000\n\napi x", "2000 &park", "[x=y]2000", "'2000'", ""] {
        let request = json!({"to": hostile, "agent": "sales"}).to_string();
        let (status, answer) = ask(&relay, "POST /api/originate", &request);
        assert_eq!(status, 422, "{hostile:?}: {answer}");
        let request = json!({"to": "2000", "agent": hostile}).to_string();
        assert_eq!(ask(&relay, "POST /api/originate", &request).0, 422, "agent {hostile:?}");
    }
    let request = r#"{"to":"+420123","agent":"sales","from":"100"}"#;
    let (status, answer) = ask(&relay, "POST /api/originate", request);
    assert_eq!(status, 202, "{answer}");
    let uuid = body(&answer)["uuid"].as_str().expect("a UUID").to_owned();
    assert_eq!(
        switch.jobs(),
        [format!(
            "originate {{origination_uuid={uuid},originate_timeout=60,ignore_early_media=true,tandem_to=+420123,\
             tandem_agent=sales,origination_caller_id_number=100}}sofia/gateway/provider/+420123 \
             '&lua(start_audio_stream.lua ws://127.0.0.1:9094 mono 16k)'"
        )]
    );
    let listen = format!("admin.listen={}", address(&relay));
    let arguments = ["--set", &listen, "call", "--to=100", "--agent", "sales"];
    let called = command(&arguments, &[]).stdout(Stdio::piped()).output().expect("it runs");
    let second = String::from_utf8_lossy(&called.stdout).trim().to_owned();
    assert!(called.status.success() && switch.jobs()[1].contains(&second), "{called:?}");
    let arguments = ["--set", &listen, "call", "--to", "1,2"];
    let called = command(&arguments, &[]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&called.stderr);
    assert!(called.status.code() == Some(1) && errors.contains("the destination holds ','"), "{called:?}");

    let _leg = Leg::call(&relay, &format!("/?rate=16000&uuid={uuid}"));
    let line = relay.line(&["offered", &uuid]);
    assert!(line.contains(r#"did="+420123""#) && line.contains(r#"agent="sales""#), "{line}");
}

#[test]
fn hostile_values_reach_neither_script_nor_event_socket() {
    let _turn = in_company();
    let (model, switch) = (model(), EventSocket::start());
    let relay = relay_with(&model, &switch, &[]);
    let leg = scripted(&relay, "hostile-1");
    let _bare = announced(&relay, "hostile-2");
    let hostile =
        ["${x}", "a\"b", "a'b", "a\nb", "a\r\n\r\napi x", "a\u{0}b", "a`b", "\u{202e}", "a\\nb", "a|b", "ž"];
    for uuid in ["hostile-1", "hostile-2"] {
        for text in hostile {
            for (kind, request) in [
                ("hangup", json!({"cause": text})),
                ("transfer", json!({"to": text})),
                ("transfer", json!({"to": "2000", "dialplan": text})),
                ("transfer", json!({"to": "2000", "context": text})),
                ("dtmf", json!({"digits": text})),
                ("variable", json!({"name": text, "value": "x"})),
                ("variable", json!({"name": "tandem_a", "value": text})),
                ("variable", json!({"name": "api_hangup_hook", "value": "x"})),
                ("transfer", json!({"to": "2000", "dialplan": "inline"})),
                ("transfer", json!({"to": ["2000"]})),
            ] {
                let (status, answer) =
                    ask(&relay, &format!("POST /api/calls/{uuid}/{kind}"), &request.to_string());
                assert_eq!(status, 422, "{kind} {text:?}: {answer}");
            }
        }
    }
    assert_eq!((orders(&leg.told()), switch.jobs()), (Vec::new(), Vec::<String>::new()));
}

/// Whether a call would be taken, and the reason if not, without the words for people.
fn refusal(answer: &str) -> (Value, Value) {
    let answer = body(answer);
    assert!(answer["why"].is_string(), "{answer}");
    (answer["admit"].clone(), answer["reason"].clone())
}

#[test]
fn the_admin_server_tells_health_and_whether_a_call_would_be_taken() {
    let _turn = in_company();
    let model = model();
    let mut relay = Relay::start(&model, &["listen.max_calls=1", "drain.seconds=20"]);
    assert_eq!(ask(&relay, "GET /healthz", ""), (200, "ok\n".to_owned()));
    assert_eq!(ask(&relay, "GET /admit?did=100&caller=200", ""), (200, "{\"admit\":true}\n".to_owned()));
    let leg = scripted(&relay, "admit-1");
    let (status, answer) = ask(&relay, "GET /admit", "");
    assert_eq!((status, refusal(&answer)), (503, (json!(false), json!("calls"))));
    relay.signal(Signal::TERM);
    relay.line(&["shutting down"]);
    let (status, answer) = ask(&relay, "GET /admit", "");
    assert_eq!((status, refusal(&answer)), (503, (json!(false), json!("draining"))));
    leg.hang_up();
    assert!(relay.ended().success(), "every thread ends, the admin threads too");
}

#[test]
fn the_admin_server_wants_its_token_and_no_web_pages() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &["admin.token=sixteen-letters-and-more"]);
    assert_eq!(ask(&relay, "GET /healthz", "").0, 200);
    for (headers, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Basic sixteen-letters-and-more\r\n", 401),
        ("Authorization: Bearer sixteen-letters-and-more\r\n", 200),
        ("X-Tandem-Token: sixteen-letters-and-more\r\n", 200),
        ("X-Tandem-Token: sixteen-letters-and-more\r\nOrigin: http://evil.example\r\n", 403),
    ] {
        assert_eq!(ask_with(&relay, "GET /admit", headers, "").0, status, "{headers}");
    }
    let token = "X-Tandem-Token: sixteen-letters-and-more\r\n";
    for (line, body, status) in [
        ("GET /nowhere", "", 404),
        ("GET /api/originate", "", 405),
        ("POST /healthz", "", 405),
        ("POST /api/calls/u/fly", "", 404),
        ("POST /api/originate", "[]", 422),
        ("POST /api/originate", r#"{"to":"1"}"#, 409),
        ("POST /api/expect", r#"{"did":"1"}"#, 422),
        ("POST /api/expect", r#"{"uuid":"a b"}"#, 422),
        ("POST /api/expect", r#"{"uuid":"u-1","did":"100","caller":"200","agent":"sales"}"#, 204),
    ] {
        let (found, answer) = ask_with(&relay, line, token, body);
        assert_eq!(found, status, "{line} {body}: {answer}");
    }
    assert!(!relay.log().contains("sixteen-letters"), "the token is not logged");
}

#[test]
fn the_model_transfers_where_its_agent_may_and_is_told_where_not() {
    let _turn = in_company();
    for (destination, allowed) in [("2000", true), ("3000", false)] {
        let fault = format!(r#"tool:transfer_call:{{"destination":"{destination}"}}@turn1"#);
        let faults = vec![fault.parse().expect("a fault")];
        let model = Model::start(SimConfig { faults, ..speaking(Voice::Parrot) });
        let relay =
            Relay::start(&model, &["agent.transfer_destinations=2000", "agent.greeting=Transfer me."]);
        let uuid = format!("tool-{destination}");
        let leg = scripted(&relay, &uuid);
        if allowed {
            let order = order(&leg, 1);
            assert_eq!((&order["order"], &order["to"]), (&json!("transfer"), &json!("2000")));
            report(&leg, "done", &order["id"], "");
            assert_eq!(leg.closed(), (1000, "transferred".to_owned()));
            let end = relay.end_of(&format!("uuid={uuid}"));
            assert!(end.contains("ended by model (transferred)"), "{end}");
        } else {
            model.event(1, "an answer", |what| matches!(what, What::ToolResponse { .. }).then_some(()));
            relay.line(&["the model's transfer_call", "transfer_destinations"]);
            leg.hang_up();
            assert_eq!(orders(&leg.told()), Vec::<Value>::new());
        }
    }
}

#[test]
fn asterisks_legs_do_what_their_protocols_have_and_say_what_they_have_not() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);

    let uuid = "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a";
    let announced = json!({"uuid": uuid, "did": "5000", "caller": "200", "agent": "sales"}).to_string();
    assert_eq!(ask(&relay, "POST /api/expect", &announced), (204, String::new()));
    let line = AudioLine::call(relay.address(), [0x5a; 16]);
    let offered = relay.line(&["offered", uuid]);
    assert!(offered.contains(r#"did="5000" caller="200" agent="sales""#), "{offered}");
    let (status, answer) = ask(&relay, &format!("POST /api/calls/{uuid}/transfer"), r#"{"to":"2000"}"#);
    assert_eq!(status, 422);
    assert!(answer.contains("an AudioSocket leg cannot do transfer; it can: hangup"), "{answer}");
    // Only the end of the connection answers a hang-up, which Asterisk makes when it has read the 0x00.
    let (answer, ()) = ask_while(&relay, &format!("POST /api/calls/{uuid}/hangup"), "", || {
        assert_eq!(line.ended().last().map(|frame| frame.kind), Some(0x00));
        line.hang_up();
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    let end = relay.end_of(uuid);
    assert!(end.contains("ended by us (ordered_hangup)"), "{end}");

    let leg = Leg::call_with(&relay, "/?uuid=channel-1", &[("Sec-WebSocket-Protocol", "media")]);
    relay.line(&["offered", "channel-1"]);
    let (status, answer) = ask(&relay, "POST /api/calls/channel-1/break", "");
    assert_eq!(status, 504, "nothing can be said before MEDIA_START: {answer}");
    leg.text("MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:1.2 format:slin optimal_frame_size:320 ptime:20");
    // A pong says that what was sent before the ping was read.
    leg.ping(b"read");
    leg.until("a pong", |told| {
        told.iter().any(|(_, told)| *told == Told::Pong(b"read".to_vec())).then_some(())
    });
    let (status, answer) = ask(&relay, "POST /api/calls/channel-1/break", "");
    assert_eq!(status, 200, "{answer}");
    leg.until("a flush", |told| {
        told.iter().any(|(_, told)| *told == Told::Text("FLUSH_MEDIA".into())).then_some(())
    });
    let (status, answer) = ask(&relay, "POST /api/calls/channel-1/dtmf", r#"{"digits":"1"}"#);
    assert_eq!(status, 422);
    assert!(answer.contains("it can: hangup, break"), "{answer}");
    let (status, answer) = ask(&relay, "POST /api/calls/channel-1/hangup", "");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(leg.closed().0, 1000);
}
