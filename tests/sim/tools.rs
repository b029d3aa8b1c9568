//! Tools of the model in a call's machine: what is declared, what is carried out, and that each call is answered once,
//! whatever happens to the link, the switch and the tool meanwhile.
//!
//! Runs in: `cargo test`. Owns nothing.
//! Invariant: none of the cases reads a clock; proptest keeps and replays a failing one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tandem::base::command::{Command, Destination};
use tandem::base::parameters::Parameters;
use tandem::base::{Instant, LegReport, SampleRate, Sound};
use tandem::call::agent::{Agent, CallTerms, ControlTerms};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::machine::Phase;
use tandem::call::model::{Behavior, LinkEnd, Scheduling, ToolAnswer, ToolCall};
use tandem::call::tool::{HttpTool, Method, ToolFailure, ToolNumber, ToolRun, ToolTerms};
use tandem::call::{CredentialView, Fact, LegKind, LegOrder, Machine, ModelOrder, Order, ToolOrder};
use tandem::codec::Provider;

const CREDENTIAL: CredentialView<'static> = CredentialView { number: 0, model_prefix: None };

fn http_tool(name: &str) -> HttpTool {
    let schema = r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}"#;
    HttpTool {
        name: name.into(),
        description: "Looks something up.".into(),
        url: "http://127.0.0.1/".into(),
        method: Method::Get,
        parameters: Parameters::read(schema).expect("a schema"),
        timeout: Duration::from_secs(8),
        retries: 0,
        secret: None,
        behavior: None,
        scheduling: None,
        hold_uplink: false,
    }
}

fn agent() -> Arc<Agent> {
    let silent = HttpTool { scheduling: Some(Scheduling::Silent), ..http_tool("note") };
    let holding = HttpTool { hold_uplink: true, ..http_tool("book") };
    let terms = CallTerms {
        control: ControlTerms {
            model_may_end: true,
            model_destinations: vec![Destination::new("2000").unwrap()],
            ..ControlTerms::default()
        },
        tools: ToolTerms {
            send_dtmf: true,
            call_info: true,
            http: [http_tool("lookup"), silent, holding].map(Arc::new).into(),
        },
        ..CallTerms::default()
    };
    Arc::new(terms.into())
}

fn start() -> Instant {
    Instant::from_micros(1_000_000)
}

fn orders(machine: &mut Machine) -> Vec<Order> {
    std::iter::from_fn(|| machine.next_order()).collect()
}

fn fields(script: bool) -> CallFields {
    CallFields {
        uuid: Some("u-1".into()),
        caller: Some("+420123".into()),
        did: Some("100".into()),
        script: script.then_some(true),
        ..CallFields::default()
    }
}

/// A machine with our script on the line, whose model is ready.
fn live() -> Machine {
    let mut machine = Machine::new(start(), agent(), fields(true));
    machine.set_leg(LegKind::ModAudioStream, 0);
    up(&mut machine, start(), 1);
    assert_eq!(orders(&mut machine), [Order::Dial(1)]);
    machine
}

fn up(machine: &mut Machine, now: Instant, link: u32) {
    _ = machine.setup(&CREDENTIAL);
    machine.tell(now, Fact::LinkConnected(link));
    machine.tell(now, Fact::SetupComplete(link));
}

/// Loses link 1 and lets the next one come. Returns what is ordered meanwhile.
fn lose_link(machine: &mut Machine) -> Vec<Order> {
    machine.tell(start(), Fact::LinkGone(1, Provider::Gemini.end_of_close(Some(1011), b"internal")));
    for _ in 0..10 {
        let given = orders(machine);
        if given.contains(&Order::Dial(2)) {
            up(machine, start(), 2);
            return [given, orders(machine)].concat();
        }
        machine.tick(machine.deadline().expect("a deadline"));
    }
    panic!("no second link was asked for");
}

fn call(machine: &mut Machine, link: u32, id: &str, name: &str, args: Value) -> Vec<Order> {
    let call = ToolCall::read(Some(id), name, &args).expect("a call");
    machine.tell(start(), Fact::ToolCalled(link, Box::new(call)));
    orders(machine)
}

fn runs(orders: &[Order]) -> Vec<(ToolNumber, &ToolRun)> {
    orders
        .iter()
        .filter_map(|order| match order {
            Order::Tool(ToolOrder::Run(number, run)) => Some((*number, &**run)),
            _ => None,
        })
        .collect()
}

/// Link, id and answer of what the model is answered.
fn answers(orders: &[Order]) -> Vec<(u32, &str, &ToolAnswer)> {
    let answer = |order| match order {
        &Order::Model(ModelOrder::AnswerTool(link, ref call, ref answer)) => {
            Some((link, call.id.as_str(), answer))
        }
        _ => None,
    };
    orders.iter().filter_map(answer).collect()
}

fn done(machine: &mut Machine, number: ToolNumber, value: Value) -> Vec<Order> {
    machine.tell(start(), Fact::ToolDone(number, Ok(value)));
    orders(machine)
}

fn declared(machine: &mut Machine) -> Vec<String> {
    let setup: Value =
        serde_json::from_str(&Provider::Gemini.setup(&machine.setup(&CREDENTIAL))).expect("JSON");
    let functions =
        setup["setup"]["tools"][0]["functionDeclarations"].as_array().cloned().unwrap_or_default();
    functions.iter().map(|function| function["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn what_the_leg_cannot_do_is_not_declared_and_what_a_late_script_can_is_on_the_next_link() {
    let of_leg = |kind, fields| {
        let mut machine = Machine::new(start(), agent(), fields);
        machine.set_leg(kind, 0);
        machine
    };
    let http = ["get_call_info", "lookup", "note", "book"];
    let mut scripted = of_leg(LegKind::ModAudioStream, fields(true));
    assert_eq!(declared(&mut scripted), [&["end_call", "transfer_call", "send_dtmf"], &http[..]].concat());
    let mut audio_socket = of_leg(LegKind::AudioSocket, fields(false));
    assert_eq!(declared(&mut audio_socket), [&["end_call"], &http[..]].concat());
    let mut bare = of_leg(LegKind::ModAudioStream, fields(false));
    assert_eq!(declared(&mut bare), http);
    bare.tell(start(), Fact::Reported(LegReport::Hello { version: 1 }));
    assert_eq!(declared(&mut bare).len(), 7);
}

#[test]
fn tools_are_carried_out_at_once_side_by_side_and_answered_as_they_come() {
    let mut machine = live();
    let first = call(&mut machine, 1, "a", "lookup", json!({"n": 1}));
    let [(1, ToolRun::Http { tool, arguments, caller })] = runs(&first)[..] else { panic!("{first:?}") };
    assert_eq!((tool.name.as_str(), arguments["n"].as_u64()), ("lookup", Some(1)));
    assert_eq!((caller.uuid.as_deref(), caller.did.as_deref()), (Some("u-1"), Some("100")));
    let second = call(&mut machine, 1, "b", "note", json!({"n": 1}));
    assert_eq!(runs(&second).len(), 1);
    assert!(machine.awaits_tools());
    let given = done(&mut machine, 2, json!({"kept": true}));
    let [(1, "b", answer)] = answers(&given)[..] else { panic!("{given:?}") };
    assert_eq!((&answer.result, answer.scheduling), (&Ok(json!({"kept": true})), Some(Scheduling::Silent)));
    machine.tell(start(), Fact::ToolDone(1, Err(ToolFailure::Failed("closed".into()))));
    let given = orders(&mut machine);
    let [(1, "a", answer)] = answers(&given)[..] else { panic!("{given:?}") };
    assert_eq!((&answer.result, answer.scheduling), (&Err("closed".into()), None));
    assert!(!machine.awaits_tools());
    let events = machine.events();
    assert_eq!((events.tools_called, events.tools_failed, events.tools_timed_out), (2, 1, 0));
}

#[test]
fn what_is_not_there_does_not_fit_or_is_too_much_is_an_error_for_the_model_and_not_carried_out() {
    let mut machine = live();
    for (name, args, why) in [
        ("rm_rf", json!({}), "no such tool"),
        ("lookup", json!({}), "n is missing"),
        ("lookup", json!({"n": "x"}), "of type integer"),
        ("lookup", json!({"n": 1, "url": "http://127.0.0.1:8021"}), "no argument \"url\""),
        ("transfer_call", json!({"destination": "3000"}), "may not"),
        ("send_dtmf", json!({"digits": "1,2"}), "holds ','"),
    ] {
        let given = call(&mut machine, 1, "x", name, args);
        assert_eq!(given.len(), 1, "{given:?}");
        let error = answers(&given)[0].2.result.as_ref().expect_err("an error");
        assert!(error.contains(why), "{error}");
    }
    for n in 0..8 {
        assert_eq!(runs(&call(&mut machine, 1, &format!("c{n}"), "lookup", json!({"n": n}))).len(), 1);
    }
    let given = call(&mut machine, 1, "c8", "lookup", json!({"n": 8}));
    assert!(answers(&given)[0].2.result.is_err(), "{given:?}");
    let mut other = Machine::new(start(), Arc::new(CallTerms::default().into()), fields(true));
    up(&mut other, start(), 1);
    orders(&mut other);
    for name in ["get_call_info", "end_call"] {
        assert!(answers(&call(&mut other, 1, "x", name, json!({})))[0].2.result.is_err(), "{name}");
    }
}

#[test]
fn the_model_is_told_what_is_known_of_the_call() {
    let mut machine = live();
    let call = ToolCall::read(Some("i"), "get_call_info", &Value::Null);
    machine.tell(start().plus_ms(65_900), Fact::ToolCalled(1, Box::new(call.expect("a call"))));
    let given = orders(&mut machine);
    let [(number, ToolRun::CallInfo(known))] = runs(&given)[..] else { panic!("{given:?}") };
    let expected = json!({"caller": "+420123", "called_number": "100", "uuid": "u-1", "seconds": 65});
    assert_eq!(Value::from(known.clone()), expected);
    assert_eq!(answers(&done(&mut machine, number, expected)).len(), 1);
}

#[test]
fn tones_are_sent_at_once_and_their_end_is_the_answer() {
    let mut machine = live();
    let given = call(&mut machine, 1, "t", "send_dtmf", json!({"digits": "12#"}));
    assert!(matches!(&given[..], [Order::Leg(LegOrder::Command(1, Command::Dtmf(_)))]), "{given:?}");
    machine.tell(start(), Fact::Reported(LegReport::Done(1)));
    let given = orders(&mut machine);
    assert_eq!(answers(&given)[0].2.result, Ok(json!("done")));
}

#[test]
fn what_the_model_takes_back_is_broken_off_and_never_answered() {
    let mut machine = live();
    call(&mut machine, 1, "a", "lookup", json!({"n": 1}));
    call(&mut machine, 1, "b", "lookup", json!({"n": 2}));
    call(&mut machine, 1, "t", "send_dtmf", json!({"digits": "1"}));
    call(&mut machine, 1, "e", "end_call", json!({}));
    machine.tell(start(), Fact::ToolsCancelled(1, ["a", "t", "e", "?"].map(str::to_owned).into()));
    assert_eq!(orders(&mut machine), [Order::Tool(ToolOrder::Cancel(1))]);
    assert_eq!(done(&mut machine, 1, json!(1)), []);
    machine.tell(start(), Fact::Reported(LegReport::Failed { id: 1, why: "no".into() }));
    let given = orders(&mut machine);
    assert_eq!(answers(&given), [], "{given:?}");
    assert!(!machine.wants_played(start().plus_ms(60_000)), "the goodbye is not waited for any more");
    assert_eq!(answers(&done(&mut machine, 2, json!(2))).len(), 1);
    assert_eq!(machine.events().tools_cancelled, 3);
}

#[test]
fn a_result_that_does_not_come_is_answered_in_its_place_and_ignored_later() {
    let mut machine = live();
    call(&mut machine, 1, "a", "lookup", json!({"n": 1}));
    let due = machine.deadline().expect("a deadline");
    assert!(due.since(start()) >= Duration::from_secs(8));
    machine.tick(due);
    let given = orders(&mut machine);
    assert_eq!(given[0], Order::Tool(ToolOrder::Cancel(1)));
    assert!(answers(&given)[0].2.result.is_err());
    assert_eq!(done(&mut machine, 1, json!(1)), []);
    assert_eq!(machine.events().tools_timed_out, 1);
}

#[test]
fn a_result_whose_link_is_gone_is_told_in_words_over_the_next() {
    let mut machine = live();
    call(&mut machine, 1, "a", "lookup", json!({"n": 1}));
    call(&mut machine, 1, "b", "lookup", json!({"n": 2}));
    // One comes while there is no link, one behind the next.
    machine.tell(start(), Fact::LinkGone(1, Provider::Gemini.end_of_close(Some(1011), b"internal")));
    assert!(machine.awaits_tools());
    let given = done(&mut machine, 1, json!("first"));
    assert_eq!(answers(&given), []);
    up(&mut machine, start(), 2);
    machine.tell(start(), Fact::ToolDone(2, Ok(json!("second"))));
    machine.tick(machine.deadline().expect("a deadline"));
    let given = orders(&mut machine);
    let told: Vec<_> = given
        .iter()
        .filter_map(|order| match order {
            Order::Model(ModelOrder::Prompt(2, text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "{given:?}");
    assert!(told[0].contains(r#"lookup({"n":1})"#) && told[0].contains("\"first\""), "{told:?}");
    assert!(told[1].contains(r#"lookup({"n":2})"#) && told[1].contains("\"second\""), "{told:?}");
    assert_eq!(answers(&given), [], "the next link does not know the ids");
}

#[test]
fn a_resumed_session_that_asks_again_gets_the_result_of_what_is_under_way() {
    let mut machine = live();
    call(&mut machine, 1, "a", "lookup", json!({"n": 1}));
    lose_link(&mut machine);
    assert_eq!(call(&mut machine, 2, "z", "lookup", json!({"n": 1})), [], "it is not asked twice");
    let given = done(&mut machine, 1, json!("once"));
    let [(2, "z", answer)] = answers(&given)[..] else { panic!("{given:?}") };
    assert_eq!(answer.result, Ok(json!("once")));
    assert_eq!(runs(&call(&mut machine, 2, "y", "lookup", json!({"n": 1}))).len(), 1, "it may have changed");
}

#[test]
fn the_callers_audio_is_kept_back_only_while_the_link_waits_for_a_tool_that_asks_for_it() {
    let mut machine = live();
    let holds = |orders: &[Order]| -> Vec<bool> {
        let hold = |order: &Order| match order {
            Order::Model(ModelOrder::HoldUplink(held)) => Some(*held),
            _ => None,
        };
        orders.iter().filter_map(hold).collect()
    };
    assert_eq!(holds(&call(&mut machine, 1, "a", "lookup", json!({"n": 1}))), [true; 0]);
    assert_eq!(holds(&call(&mut machine, 1, "b", "book", json!({"n": 2}))), [true]);
    assert_eq!(holds(&done(&mut machine, 1, json!(1))), [true; 0]);
    assert_eq!(holds(&done(&mut machine, 2, json!(1))), [false]);
    assert_eq!(holds(&call(&mut machine, 1, "c", "book", json!({"n": 3}))), [true]);
    let mut given = lose_link(&mut machine);
    machine.tick(machine.deadline().expect("a deadline"));
    given.extend(orders(&mut machine));
    assert_eq!(holds(&given), [false], "the next link does not wait");
}

/// When the earcon is played until so many milliseconds have passed, as a machine is told the time that it asks for.
fn earcons(machine: &mut Machine, until_ms: u64) -> Vec<u64> {
    let mut played = Vec::new();
    while let Some(at) = machine.deadline().filter(|at| at.since_ms(start()) <= until_ms) {
        machine.tick(at);
        let sounds = orders(machine).into_iter().filter(|o| matches!(o, Order::Model(ModelOrder::Play(_))));
        played.extend(sounds.map(|_| at.since_ms(start())));
    }
    played
}

#[test]
fn a_caller_who_hears_nothing_while_the_model_waits_for_a_tool_hears_that_it_is_at_work() {
    let patient = HttpTool { timeout: Duration::from_secs(60), ..http_tool("lookup") };
    let talking = HttpTool { behavior: Some(Behavior::NonBlocking), ..http_tool("note") };
    let terms = CallTerms {
        earcon: Some(Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![1; 4_000] })),
        tools: ToolTerms { http: [patient, talking].map(Arc::new).into(), ..ToolTerms::default() },
        ..CallTerms::default()
    };
    let mut machine = Machine::new(start(), Arc::new(terms.into()), fields(true));
    up(&mut machine, start(), 1);
    orders(&mut machine);
    call(&mut machine, 1, "a", "note", json!({"n": 1}));
    assert_eq!(earcons(&mut machine, 5_000), [0; 0], "the model does not wait");
    let at = |ms| start().plus_ms(ms);
    let asked = ToolCall::read(Some("b"), "lookup", &json!({"n": 2})).expect("a call");
    machine.tell(at(5_000), Fact::ToolCalled(1, Box::new(asked)));
    assert_eq!(runs(&orders(&mut machine)).len(), 1);
    machine.hears_until(at(5_100), at(5_300));
    assert_eq!(
        earcons(&mut machine, 11_000),
        [6_000, 9_500],
        "behind what the model said, and behind itself"
    );
    machine.tell(at(11_000), Fact::CallerSpoke(true));
    assert_eq!(earcons(&mut machine, 19_000), [0; 0]);
    machine.tell(at(19_000), Fact::CallerSpoke(false));
    assert_eq!(earcons(&mut machine, 23_000), [22_000]);
    machine.tell(at(23_000), Fact::ToolDone(2, Ok(json!("found"))));
    assert_eq!(answers(&orders(&mut machine)).len(), 1);
    assert_eq!(earcons(&mut machine, 60_000), [0; 0], "the model has its result");
}

/// As [`agent`], with a tool that changes something.
fn booking() -> Machine {
    let post = HttpTool { method: Method::Post, ..http_tool("book") };
    let mut agent = Agent::clone(&agent());
    agent.terms.tools.http.push(Arc::new(HttpTool { name: "order".into(), ..post }));
    let mut machine = Machine::new(start(), Arc::new(agent), fields(true));
    machine.set_leg(LegKind::ModAudioStream, 0);
    up(&mut machine, start(), 1);
    orders(&mut machine);
    machine
}

fn order(machine: &mut Machine, link: u32, id: &str) -> Vec<Order> {
    call(machine, link, id, "order", json!({"n": 1}))
}

/// The model speaks and finishes its turn.
fn speak(machine: &mut Machine, link: u32) {
    for fact in [Fact::TurnStarted(link), Fact::GenerationComplete(link), Fact::TurnComplete(link)] {
        machine.tell(start(), fact);
    }
    orders(machine);
}

#[test]
fn one_request_answers_every_call_of_the_same_while_it_is_under_way_and_the_same_id_once() {
    let mut machine = booking();
    assert_eq!(runs(&order(&mut machine, 1, "a")).len(), 1);
    assert_eq!(order(&mut machine, 1, "a"), [], "the same call");
    assert_eq!(call(&mut machine, 1, "b", "order", json!({"n": 1.0})), [], "the same in other words");
    assert_eq!(order(&mut machine, 1, ""), [], "and without an id");
    assert_eq!(runs(&call(&mut machine, 1, "c", "order", json!({"n": 2}))).len(), 1, "another");
    let given = done(&mut machine, 1, json!("number 1"));
    let ids: Vec<_> =
        answers(&given).into_iter().map(|(_, id, answer)| (id, answer.result.clone())).collect();
    let number = || Ok(json!("number 1"));
    assert_eq!(ids, [("a", number()), ("b", number()), ("", number())]);
    let again = order(&mut machine, 1, "a");
    assert_eq!((runs(&again).len(), answers(&again)[0].2.result.clone()), (0, number()));
    let events = machine.events();
    assert_eq!((events.tools_called, events.tools_repeated), (6, 4));
}

#[test]
fn what_changes_something_is_done_again_only_when_the_model_has_answered_the_first() {
    let mut machine = booking();
    order(&mut machine, 1, "a");
    done(&mut machine, 1, json!("number 1"));
    let again = order(&mut machine, 1, "b");
    assert_eq!((runs(&again).len(), answers(&again).len()), (0, 1), "its answer crossed the call");
    speak(&mut machine, 1);
    assert_eq!(runs(&order(&mut machine, 1, "c")).len(), 1, "the caller wants a second one");
    let same = order(&mut machine, 1, "b");
    assert_eq!(runs(&same).len(), 0, "the same id is the same call for ever");
}

#[test]
fn a_session_resumed_from_before_the_answer_is_answered_with_what_was_done() {
    let mut machine = booking();
    machine.tell(start(), Fact::Resumable(1, "h0".into()));
    order(&mut machine, 1, "a");
    done(&mut machine, 1, json!("number 1"));
    lose_link(&mut machine);
    let again = order(&mut machine, 2, "z");
    assert_eq!((runs(&again).len(), answers(&again)[0].2.result.clone()), (0, Ok(json!("number 1"))));
    speak(&mut machine, 2);
    assert_eq!(runs(&order(&mut machine, 2, "y")).len(), 1, "answered by now");
}

#[test]
fn what_the_model_had_answered_is_in_doubt_for_a_minute_where_its_session_goes_on_from_before() {
    for (handle_first, asked_after_ms, requests) in [(true, 1_000, 0), (true, 61_000, 1), (false, 1_000, 1)] {
        let mut machine = booking();
        let resumable = |machine: &mut Machine| machine.tell(start(), Fact::Resumable(1, "h".into()));
        if handle_first {
            resumable(&mut machine);
        }
        order(&mut machine, 1, "a");
        done(&mut machine, 1, json!("number 1"));
        speak(&mut machine, 1);
        if !handle_first {
            resumable(&mut machine);
        }
        lose_link(&mut machine);
        let again = Box::new(ToolCall::read(Some("z"), "order", &json!({"n": 1})).expect("a call"));
        machine.tell(start().plus_ms(asked_after_ms), Fact::ToolCalled(2, again));
        let given = orders(&mut machine);
        assert_eq!(runs(&given).len(), requests, "{handle_first} {asked_after_ms}");
        assert_eq!(answers(&given).len(), 1 - requests);
    }
}

#[test]
fn a_result_told_in_words_is_not_fetched_again() {
    let mut machine = booking();
    order(&mut machine, 1, "a");
    machine.tell(start(), Fact::LinkGone(1, Provider::Gemini.end_of_close(Some(1011), b"internal")));
    done(&mut machine, 1, json!("number 1"));
    up(&mut machine, start(), 2);
    machine.tick(start());
    let told = orders(&mut machine)
        .iter()
        .filter(|order| matches!(order, Order::Model(ModelOrder::Prompt(2, _))))
        .count();
    assert_eq!(told, 1);
    let again = order(&mut machine, 2, "z");
    assert_eq!((runs(&again).len(), answers(&again).len()), (0, 1));
}

#[test]
fn what_was_taken_back_is_not_done_twice_and_is_done_after_all_where_nobody_was_asked_yet() {
    let take_back = |machine: &mut Machine, id: &str| {
        machine.tell(start(), Fact::ToolsCancelled(1, vec![id.to_owned()]));
        orders(machine)
    };
    // The server is at it: whoever asks again gets what comes of it.
    let mut machine = booking();
    order(&mut machine, 1, "a");
    assert_eq!(take_back(&mut machine, "a"), [Order::Tool(ToolOrder::Cancel(1))]);
    assert!(!machine.awaits_tools());
    assert_eq!(order(&mut machine, 1, "b"), []);
    assert_eq!(answers(&done(&mut machine, 1, json!("number 1"))).len(), 1);
    // It has answered by then.
    let mut machine = booking();
    order(&mut machine, 1, "a");
    take_back(&mut machine, "a");
    assert_eq!(done(&mut machine, 1, json!("number 1")), []);
    let again = order(&mut machine, 1, "b");
    assert_eq!((runs(&again).len(), answers(&again).len()), (0, 1));
    // It was never asked.
    let mut machine = booking();
    order(&mut machine, 1, "a");
    take_back(&mut machine, "a");
    assert_eq!(order(&mut machine, 1, "b"), []);
    machine.tell(start(), Fact::ToolDone(1, Err(ToolFailure::NotAsked("taken back".into()))));
    let given = orders(&mut machine);
    let [(2, ToolRun::Http { .. })] = runs(&given)[..] else { panic!("{given:?}") };
    assert_eq!(answers(&done(&mut machine, 2, json!("number 1"))).len(), 1);
    // One of two that wait is taken back: the other is answered.
    let mut machine = booking();
    order(&mut machine, 1, "a");
    order(&mut machine, 1, "b");
    assert_eq!(take_back(&mut machine, "a"), []);
    let given = done(&mut machine, 1, json!("number 1"));
    assert!(matches!(answers(&given)[..], [(1, "b", _)]), "{given:?}");
}

#[test]
fn what_failed_before_anything_was_done_may_be_tried_again_at_once() {
    let mut machine = booking();
    for (id, failure, requests) in [
        ("a", ToolFailure::NotAsked("no room".into()), 1),
        ("b", ToolFailure::TimedOut, 1),
        ("c", ToolFailure::TimedOut, 0),
    ] {
        let given = order(&mut machine, 1, id);
        assert_eq!(runs(&given).len(), requests, "{id}");
        for (number, _) in runs(&given) {
            machine.tell(start(), Fact::ToolDone(number, Err(failure.clone())));
        }
        orders(&mut machine);
    }
}

#[test]
fn tones_and_goodbyes_that_are_asked_for_twice_are_sent_once() {
    let mut machine = live();
    let tones = |machine: &mut Machine, id| call(machine, 1, id, "send_dtmf", json!({"digits": "1"}));
    assert_eq!(tones(&mut machine, "a").len(), 1);
    assert_eq!(tones(&mut machine, "b"), []);
    machine.tell(start(), Fact::Reported(LegReport::Done(1)));
    assert_eq!(answers(&orders(&mut machine)).len(), 2);
    assert!(matches!(tones(&mut machine, "c")[..], [Order::Model(ModelOrder::AnswerTool(..))]));
    speak(&mut machine, 1);
    assert!(matches!(tones(&mut machine, "d")[..], [Order::Leg(LegOrder::Command(..))]), "a second menu");
    call(&mut machine, 1, "e", "end_call", json!({}));
    assert_eq!(call(&mut machine, 1, "f", "end_call", json!({})), []);
    machine.tell(start(), Fact::ToolsCancelled(1, vec!["e".into(), "f".into()]));
    assert!(!machine.wants_played(start().plus_ms(60_000)), "taken back");
    assert_eq!(call(&mut machine, 1, "g", "end_call", json!({})), []);
    assert!(machine.wants_played(start().plus_ms(60_000)), "and wanted again");
}

#[test]
fn a_model_that_calls_without_end_is_refused_and_then_given_up() {
    let mut machine = live();
    let mut requests = 0;
    let (mut refused, mut outcome) = (0, None);
    for n in 0..1_000 {
        let given = call(&mut machine, 1, &format!("c{n}"), "lookup", json!({"n": n}));
        for (number, _) in runs(&given) {
            requests += 1;
            done(&mut machine, number, json!(n));
        }
        refused += answers(&given).len();
        outcome = given.iter().find_map(|order| match order {
            Order::Leg(LegOrder::Close(close)) => Some(close.reason().to_owned()),
            _ => None,
        });
        if outcome.is_some() {
            break;
        }
    }
    assert_eq!((requests, refused, outcome.as_deref()), (20, 99, Some("tool_limit")));
    assert_eq!(machine.events().tools_refused, 100);
    let refusals = machine.history().iter().filter(|event| event.kind == "tool_refused").count();
    assert_eq!(refusals, 1, "one line for all of them");
}

#[test]
fn a_model_that_calls_as_people_talk_is_never_refused() {
    let mut machine = live();
    for n in 0..400_u64 {
        let asked = ToolCall::read(Some(&format!("c{n}")), "lookup", &json!({"n": n}));
        let asked = Box::new(asked.expect("a call"));
        machine.tell(start().plus_ms(n * 600), Fact::ToolCalled(1, asked));
        let given = orders(&mut machine);
        let [(number, _)] = runs(&given)[..] else { panic!("{n}: {given:?}") };
        done(&mut machine, number, json!(n));
    }
    assert_eq!(machine.events().tools_refused, 0);
}

/// What happens to a call with tools.
#[derive(Debug, Clone)]
enum Event {
    Call(&'static str, u8),
    Done(ToolNumber),
    TimedOut(ToolNumber),
    Cancel(u8),
    CommandDone(u32),
    LinkLost,
    LinkUp,
    LegGone,
    Wait(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec![
        "lookup",
        "book",
        "send_dtmf",
        "get_call_info",
        "transfer_call",
        "no_such",
    ]);
    prop_oneof![
        4 => (name, 0_u8..4).prop_map(|(name, n)| Event::Call(name, n)),
        3 => (1_u32..12).prop_map(Event::Done),
        1 => (1_u32..12).prop_map(Event::TimedOut),
        1 => (0_u8..40).prop_map(Event::Cancel),
        2 => (1_u32..6).prop_map(Event::CommandDone),
        1 => Just(Event::LinkLost),
        2 => Just(Event::LinkUp),
        1 => Just(Event::LegGone),
        2 => (0_u64..4_000).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn each_call_of_a_tool_is_answered_once_unless_it_was_taken_back_or_its_link_is_gone(
        events in prop::collection::vec(any_event(), 0..60),
        hang_up_at in 20_usize..60,
    ) {
        let mut machine = live();
        // The link that was asked for, and whether it is up.
        let (mut now, mut link, mut asked) = (start(), Some((1_u32, true)), 0_u8);
        let mut last = 1;
        // Of each call by link and id: answers it got, and whether it may get none.
        let mut calls: BTreeMap<(u32, String), (u32, bool)> = BTreeMap::new();
        let note = |machine: &mut Machine, link: &mut Option<(u32, bool)>, calls: &mut BTreeMap<(u32, String), (u32, bool)>| {
            for order in orders(machine) {
                match order {
                    Order::Dial(number) => *link = Some((number, false)),
                    Order::Model(ModelOrder::CloseLink(_)) => *link = None,
                    Order::Model(ModelOrder::AnswerTool(number, call, _)) => {
                        let entry = calls.get_mut(&(number, call.id.clone()));
                        entry.expect("an answer to a call that was made").0 += 1;
                    }
                    _ => {}
                }
            }
        };
        for (at, event) in events.into_iter().enumerate() {
            last = link.map_or(last, |(number, _)| number);
            let ready = link.is_some_and(|(_, up)| up) && machine.phase() == Phase::Live;
            match event {
                Event::Call(name, n) if ready => {
                    asked += 1;
                    let id = format!("c{asked}");
                    let args = match name {
                        "send_dtmf" => json!({"digits": n.to_string()}),
                        "transfer_call" => json!({"destination": "2000"}),
                        _ => json!({"n": n}),
                    };
                    let read = ToolCall::read(Some(&id), name, &args);
                    // A transfer that is carried out ends the call.
                    calls.insert((last, id), (0, machine.phase() != Phase::Live));
                    machine.tell(now, Fact::ToolCalled(last, Box::new(read.expect("a call"))));
                }
                Event::Call(..) => {}
                Event::Done(number) => machine.tell(now, Fact::ToolDone(number, Ok(json!(number)))),
                Event::TimedOut(number) => machine.tell(now, Fact::ToolDone(number, Err(ToolFailure::TimedOut))),
                Event::Cancel(n) => {
                    let id = format!("c{n}");
                    if let Some((0, excused)) = calls.get_mut(&(last, id.clone())) {
                        *excused = true;
                    }
                    machine.tell(now, Fact::ToolsCancelled(last, vec![id]));
                }
                Event::CommandDone(number) => machine.tell(now, Fact::CommandDone(number)),
                Event::LinkLost => {
                    link = None;
                    machine.tell(now, Fact::LinkGone(last, LinkEnd::dropped("reset")));
                    calls.iter_mut().filter(|((of, _), _)| *of == last).for_each(|(_, (_, excused))| *excused = true);
                }
                Event::LinkUp => {
                    if let Some((number, is_up)) = &mut link {
                        up(&mut machine, now, *number);
                        *is_up = true;
                    }
                }
                Event::LegGone if at >= hang_up_at => machine.tell(now, Fact::LegGone(LegEnd::Closed(1000))),
                Event::LegGone => {}
                Event::Wait(ms) => now = now.plus_ms(ms),
            }
            if machine.wants_played(now) {
                machine.played(now, 1);
            }
            while machine.deadline().is_some_and(|due| due <= now) && !machine.wants_played(now) {
                machine.tick(now);
            }
            note(&mut machine, &mut link, &mut calls);
        }
        // What is left has its deadline.
        for _ in 0..200 {
            let Some(due) = machine.deadline().filter(|_| machine.phase() == Phase::Live && machine.awaits_tools()) else {
                break;
            };
            now = now.max(due);
            if machine.wants_played(now) {
                machine.played(now, 1);
            }
            machine.tick(now);
            note(&mut machine, &mut link, &mut calls);
        }
        let over = machine.phase() != Phase::Live;
        for (call, (answers, excused)) in calls {
            prop_assert!(answers == 1 || answers == 0 && (excused || over), "{call:?}: {answers} answers");
        }
    }
}
