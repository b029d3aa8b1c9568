//! Call control in a call's machine: which way a command takes, and that each is answered once, whatever happens to leg,
//! switch and event socket meanwhile.
//!
//! Runs in: `cargo test`. Owns nothing.
//! Invariant: none of the cases reads a clock; proptest keeps and replays a failing one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use tandem::base::command::{
    Command, CommandKind, Context, Destination, Digits, HangUpCause, Transfer, VariableName, VariableValue,
};
use tandem::base::{Instant, LegReport};
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::agent::{ControlTerms, DigitTerms};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::machine::Phase;
use tandem::call::model::{Asked, ToolCall};
use tandem::call::{
    Cause, CommandError, EventSocketOrder, Fact, LegKind, LegOrder, Machine, ModelOrder, Order, Outcome,
    Part, Party, Requester,
};

fn agent(event_socket: bool) -> Arc<Agent> {
    let terms = CallTerms {
        dial_timeout: Duration::from_secs(3),
        setup_timeout: Duration::from_secs(5),
        max_call: Duration::from_secs(600),
        control: ControlTerms {
            event_socket,
            variables: vec![VariableName::new("hold_music").unwrap()],
            transfer_contexts: vec![Context::new("default").unwrap()],
            tell_keys: true,
            model_may_end: true,
            model_destinations: vec![Destination::new("2000").unwrap()],
            digits: DigitTerms { terminator: Some('#'), ..DigitTerms::default() },
            ..ControlTerms::default()
        },
        ..CallTerms::default()
    };
    Arc::new(terms.into())
}

fn start() -> Instant {
    Instant::from_micros(1_000_000)
}

/// A machine whose model is ready.
fn live(leg: LegKind, event_socket: bool, uuid: Option<&str>) -> Machine {
    let fields = CallFields { uuid: uuid.map(str::to_owned), ..CallFields::default() };
    let mut machine = Machine::new(start(), agent(event_socket), fields);
    machine.set_leg(leg, 0);
    machine.tell(start(), Fact::LinkConnected(1));
    machine.tell(start(), Fact::SetupComplete(1));
    assert_eq!(orders(&mut machine), [Order::Dial(1)]);
    machine
}

fn with_script() -> Machine {
    let mut machine = live(LegKind::ModAudioStream, true, Some("u-1"));
    machine.tell(start(), Fact::Reported(LegReport::Hello { version: 1 }));
    machine
}

fn orders(machine: &mut Machine) -> Vec<Order> {
    std::iter::from_fn(|| machine.next_order()).collect()
}

fn hang_up() -> Command {
    Command::HangUp(HangUpCause::normal_clearing())
}

fn transfer() -> Command {
    let to = Destination::new("2000").unwrap();
    Command::Transfer(Transfer { to, dialplan: None, context: None })
}

fn set(name: &str) -> Command {
    Command::SetVariable(VariableName::new(name).unwrap(), VariableValue::new("x").unwrap())
}

fn commands() -> [Command; 5] {
    [hang_up(), transfer(), Command::Dtmf(Digits::new("1").unwrap()), Command::Break, set("tandem_a")]
}

fn ask(machine: &mut Machine, number: u64, command: Command) -> Vec<Order> {
    machine.tell(start(), Fact::Commanded(Requester::Api(number), command));
    orders(machine)
}

/// What the machine answers to the API, request by request.
fn answers(orders: &[Order]) -> Vec<(u64, Result<(), CommandError>)> {
    let answer = |order: &Order| match order {
        Order::Answer(Requester::Api(number), result) => Some((*number, result.clone())),
        _ => None,
    };
    orders.iter().filter_map(answer).collect()
}

fn outcome(orders: &[Order]) -> Option<&Outcome> {
    orders.iter().find_map(|order| match order {
        Order::Finish(outcome) => Some(outcome),
        _ => None,
    })
}

/// Lets every part go; returns what is ordered meanwhile.
fn end(machine: &mut Machine, end: LegEnd) -> Vec<Order> {
    machine.tell(start(), Fact::LegGone(end));
    machine.tell(start(), Fact::Retired(Part::Dsp));
    machine.tell(start(), Fact::Retired(Part::Gemini));
    orders(machine)
}

#[test]
fn where_our_script_is_it_is_told_in_band() {
    let mut machine = with_script();
    for (number, command) in (1..).zip(commands()) {
        assert_eq!(
            ask(&mut machine, number.into(), command.clone()),
            [Order::Leg(LegOrder::Command(number, command))]
        );
    }
}

#[test]
fn without_our_script_the_event_socket_is_used() {
    let mut machine = live(LegKind::ModAudioStream, true, Some("u-1"));
    for (number, command) in (1..).zip(commands()) {
        let orders = ask(&mut machine, u64::from(number), command.clone());
        let [Order::EventSocket(EventSocketOrder { number: n, channel, command: ordered, send_by })] =
            orders.as_slice()
        else {
            panic!("{orders:?}")
        };
        assert_eq!((*n, channel.as_str(), ordered), (number, "u-1", &command));
        assert!(*send_by > start());
    }
}

#[test]
fn what_a_leg_cannot_do_is_an_error_that_says_what_it_can() {
    let cases = [
        (LegKind::AudioSocket, &[CommandKind::HangUp][..]),
        (LegKind::ChanWebsocket, &[CommandKind::HangUp, CommandKind::Break]),
        (LegKind::ModAudioStream, &[]),
    ];
    for (leg, able) in cases {
        for command in commands() {
            let mut machine = live(leg, leg != LegKind::ModAudioStream, Some("u-1"));
            let orders = ask(&mut machine, 1, command.clone());
            if able.contains(&command.kind()) {
                assert_eq!(answers(&orders), [], "{leg:?} {command}");
            } else {
                let [(1, Err(error @ CommandError::Unable { can, .. }))] = &answers(&orders)[..] else {
                    panic!("{leg:?} {command}: {orders:?}")
                };
                assert_eq!(can, able, "{leg:?} {command}");
                assert!(error.to_string().contains(command.kind().label()), "{error}");
            }
        }
    }
    let mut nameless = live(LegKind::ModAudioStream, true, None);
    let orders = ask(&mut nameless, 1, hang_up());
    assert!(matches!(answers(&orders)[..], [(1, Err(CommandError::Unable { .. }))]), "{orders:?}");
}

#[test]
fn a_leg_that_can_only_be_closed_is_hung_up_by_closing_it() {
    for leg in [LegKind::AudioSocket, LegKind::ChanWebsocket] {
        let mut machine = live(leg, false, Some("u-1"));
        let given = ask(&mut machine, 7, hang_up());
        assert!(given.iter().any(|order| matches!(order, Order::Leg(LegOrder::Close(_)))), "{given:?}");
        assert_eq!(answers(&given), [], "not before it is closed");
        let given = end(&mut machine, LegEnd::ByUs);
        assert_eq!(answers(&given), [(7, Ok(()))]);
        assert_eq!(outcome(&given), Some(&Outcome::of(Cause::Ordered(CommandKind::HangUp, Party::Us))));
    }
}

#[test]
fn the_outcome_of_a_call_that_an_order_ended_says_so() {
    for (command, kind, label) in [
        (hang_up(), CommandKind::HangUp, "ordered_hangup"),
        (transfer(), CommandKind::Transfer, "transferred"),
    ] {
        let mut machine = with_script();
        let requester = Requester::Model(1, Box::new(tool(Ok(command.clone()))));
        machine.tell(start(), Fact::Commanded(requester.clone(), command));
        machine.tell(start(), Fact::Reported(LegReport::Done(1)));
        let given = orders(&mut machine);
        assert!(given.contains(&Order::Answer(requester, Ok(()))), "{given:?}");
        assert!(given.iter().any(|order| matches!(order, Order::Leg(LegOrder::Close(_)))), "{given:?}");
        let given = end(&mut machine, LegEnd::ByUs);
        let outcome = outcome(&given).expect("an outcome");
        assert_eq!((outcome.by, &outcome.cause), (Party::Model, &Cause::Ordered(kind, Party::Model)));
        assert_eq!((outcome.label(), outcome.is_failure()), (label, false));
    }
}

#[test]
fn a_hang_up_is_done_when_the_leg_ends_but_not_when_its_connection_is_lost() {
    let mut machine = with_script();
    ask(&mut machine, 1, hang_up());
    let given = end(&mut machine, LegEnd::Closed(1000));
    assert_eq!(answers(&given), [(1, Ok(()))]);
    assert_eq!(outcome(&given).map(Outcome::label), Some("ordered_hangup"));

    let mut machine = with_script();
    ask(&mut machine, 1, hang_up());
    ask(&mut machine, 2, transfer());
    let given = end(&mut machine, LegEnd::Dropped("reset".into()));
    assert!(
        matches!(
            answers(&given)[..],
            [(1, Err(CommandError::Unconfirmed(_))), (2, Err(CommandError::Unconfirmed(_)))]
        ),
        "{given:?}"
    );
    assert_eq!(outcome(&given).map(Outcome::label), Some("leg_dropped"));
}

#[test]
fn the_event_socket_may_answer_after_the_leg_is_gone_and_the_call_waits_for_it() {
    let mut machine = live(LegKind::ModAudioStream, true, Some("u-1"));
    ask(&mut machine, 1, transfer());
    let given = end(&mut machine, LegEnd::Closed(1000));
    assert_eq!((answers(&given).len(), outcome(&given)), (0, None));
    machine.tell(start(), Fact::CommandDone(1));
    let given = orders(&mut machine);
    assert_eq!(answers(&given), [(1, Ok(()))]);
    assert!(outcome(&given).is_some());
}

#[test]
fn a_command_without_an_answer_fails_after_five_seconds_and_a_late_answer_finds_nothing() {
    let mut machine = with_script();
    ask(&mut machine, 1, transfer());
    let due = machine.deadline().expect("a deadline");
    assert_eq!(due, start().plus_ms(5_000));
    machine.tick(due);
    let given = orders(&mut machine);
    assert!(matches!(answers(&given)[..], [(1, Err(CommandError::Unconfirmed(_)))]), "{given:?}");
    machine.tell(due, Fact::Reported(LegReport::Done(1)));
    machine.tell(due, Fact::CommandDone(1));
    assert_eq!(orders(&mut machine), []);
    assert_eq!(machine.phase(), Phase::Live);
}

#[test]
fn variables_beyond_the_list_are_refused_before_any_switch_hears_of_them() {
    for (name, allowed) in [("tandem_a", true), ("hold_music", true), ("api_hangup_hook", false)] {
        let given = ask(&mut with_script(), 1, set(name));
        assert_eq!(matches!(given[..], [Order::Leg(LegOrder::Command(..))]), allowed, "{name}: {given:?}");
        assert_eq!(answers(&given).is_empty(), allowed, "{name}: {given:?}");
    }
}

#[test]
fn commands_without_end_are_refused() {
    let mut machine = with_script();
    let given: Vec<_> = (0..20).flat_map(|number| ask(&mut machine, number, Command::Break)).collect();
    let refused = answers(&given);
    assert_eq!(refused.len(), 12);
    assert!(refused.iter().all(|(_, result)| *result == Err(CommandError::TooMany)));
}

#[test]
fn what_the_caller_types_is_told_to_the_model_once_it_is_complete() {
    let mut machine = with_script();
    for key in "12*".chars() {
        machine.tell(start(), Fact::Reported(LegReport::Dtmf(key)));
        // The event socket repeats what our script reports.
        machine.tell(start(), Fact::KeyOnEventSocket(key));
    }
    assert_eq!(orders(&mut machine), []);
    let due = machine.deadline().expect("a deadline");
    machine.tick(due);
    let given = orders(&mut machine);
    let [Order::Model(ModelOrder::Prompt(1, text))] = given.as_slice() else { panic!("{given:?}") };
    assert!(text.ends_with(": 12*"), "{text}");
    machine.tick(due.plus_ms(10_000));
    assert_eq!(orders(&mut machine), []);
}

#[test]
fn the_terminator_ends_what_is_typed_at_once_and_is_told_only_by_itself() {
    let mut machine = with_script();
    let mut told = Vec::new();
    for key in "12##3".chars() {
        machine.tell(start(), Fact::Reported(LegReport::Dtmf(key)));
        told.extend(orders(&mut machine));
    }
    let [Order::Model(ModelOrder::Prompt(1, first)), Order::Model(ModelOrder::Prompt(1, second))] =
        told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert!(first.ends_with(": 12") && second.ends_with(": #"), "{first} {second}");
    assert!(machine.deadline().expect("a deadline") > start(), "the 3 may have others behind it");
}

#[test]
fn an_answering_machine_is_told_to_the_model_once_even_if_it_came_first() {
    let mut machine = Machine::new(start(), agent(true), CallFields::default());
    machine.tell(start(), Fact::AnsweringMachine);
    machine.tell(start(), Fact::LinkConnected(1));
    machine.tell(start(), Fact::SetupComplete(1));
    machine.tell(start(), Fact::AnsweringMachine);
    assert_eq!(orders(&mut machine), [Order::Dial(1)]);
    machine.tick(machine.deadline().expect("a deadline"));
    let given = orders(&mut machine);
    assert!(matches!(given[..], [Order::Model(ModelOrder::Prompt(1, _))]), "{given:?}");
}

fn tool(command: Result<Command, String>) -> ToolCall {
    ToolCall { id: "c-1".into(), name: "a_tool".into(), asked: command.map(Asked::Command) }
}

/// What the model is answered.
fn tool_answers(orders: &[Order]) -> Vec<Result<Value, String>> {
    let answer = |order: &Order| match order {
        Order::Model(ModelOrder::AnswerTool(1, _, answer)) => Some(answer.result.clone()),
        _ => None,
    };
    orders.iter().filter_map(answer).collect()
}

#[test]
fn the_model_ends_the_call_once_what_it_said_was_heard() {
    let mut machine = with_script();
    machine.tell(start(), Fact::ToolCalled(1, Box::new(tool(Ok(hang_up())))));
    assert_eq!(orders(&mut machine), []);
    let (mut now, mut samples) = (start(), 0);
    while orders(&mut machine).is_empty() {
        now = now.max(machine.deadline().expect("it looks again"));
        assert!(machine.wants_played(now));
        // Speech is handed over for two seconds more.
        samples += if now.since_ms(start()) < 2_000 { 800 } else { 0 };
        machine.played(now, samples);
        if now.since_ms(start()) < 2_700 {
            assert_eq!(orders(&mut machine), [], "at {} ms", now.since_ms(start()));
        }
        assert!(now.since_ms(start()) < 3_500);
    }
    machine.tell(now, Fact::Reported(LegReport::Done(1)));
    let given = end(&mut machine, LegEnd::ByUs);
    assert_eq!(
        outcome(&given).map(|outcome| (outcome.by, outcome.label())),
        Some((Party::Model, "ordered_hangup"))
    );
    assert_eq!(tool_answers(&given), [], "nobody is left to be told");
}

/// Lets the model's wish wait until nothing is played any more; returns what is ordered then.
fn heard(machine: &mut Machine) -> Vec<Order> {
    for ms in [100, 1_000] {
        machine.played(start().plus_ms(ms), 1);
    }
    orders(machine)
}

#[test]
fn the_model_chooses_only_what_its_agent_may() {
    let elsewhere =
        Command::Transfer(Transfer { to: Destination::new("3000").unwrap(), dialplan: None, context: None });
    for (command, allowed) in [
        (Ok(transfer()), true),
        (Ok(elsewhere), false),
        (Ok(set("tandem_a")), false),
        (Err("no".into()), false),
    ] {
        let mut machine = with_script();
        machine.tell(start(), Fact::ToolCalled(1, Box::new(tool(command))));
        let given = orders(&mut machine);
        assert_eq!(tool_answers(&given).iter().any(Result::is_err), !allowed, "{given:?}");
        assert_eq!(heard(&mut machine).len(), usize::from(allowed));
    }
    let mut unable = live(LegKind::ModAudioStream, false, None);
    unable.tell(start(), Fact::ToolCalled(1, Box::new(tool(Ok(hang_up())))));
    assert!(tool_answers(&orders(&mut unable))[0].is_err(), "the leg cannot");
}

#[test]
fn a_wish_that_fails_is_answered_and_one_taken_back_is_forgotten() {
    let mut machine = with_script();
    machine.tell(start(), Fact::ToolCalled(1, Box::new(tool(Ok(transfer())))));
    machine.tell(start(), Fact::ToolCalled(1, Box::new(tool(Ok(hang_up())))));
    assert_eq!(tool_answers(&orders(&mut machine)).len(), 1, "one at a time");
    assert!(matches!(heard(&mut machine)[..], [Order::Leg(LegOrder::Command(1, Command::Transfer(_)))]));
    let failed = LegReport::Failed { id: 1, why: "no_such_extension".into() };
    machine.tell(start(), Fact::Reported(failed));
    let told = tool_answers(&orders(&mut machine));
    assert!(matches!(&told[..], [Err(why)] if why.contains("no_such_extension")), "{told:?}");

    machine.tell(start(), Fact::ToolCalled(1, Box::new(tool(Ok(hang_up())))));
    machine.tell(start(), Fact::ToolsCancelled(1, vec!["c-1".into()]));
    assert_eq!(heard(&mut machine), []);
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let number = 0_u32..12;
    prop_oneof![
        Just(Fact::Reported(LegReport::Hello { version: 1 })),
        number.clone().prop_map(|number| Fact::Reported(LegReport::Done(number))),
        number.clone().prop_map(|id| Fact::Reported(LegReport::Failed { id, why: "no".into() })),
        number.clone().prop_map(Fact::CommandDone),
        number.prop_map(|number| Fact::CommandFailed(number, CommandError::NotSent("no connection"))),
        Just(Fact::Reported(LegReport::Dtmf('1'))),
        Just(Fact::KeyOnEventSocket('2')),
        Just(Fact::AnsweringMachine),
        Just(Fact::ToolCalled(1, Box::new(tool(Ok(hang_up()))))),
        Just(Fact::ToolsCancelled(1, vec!["c-1".into()])),
        Just(Fact::SetupComplete(1)),
        Just(Fact::ShutDown),
        Just(Fact::LegGone(LegEnd::Closed(1000))),
        Just(Fact::LegGone(LegEnd::Dropped("reset".into()))),
        Just(Fact::Retired(Part::Dsp)),
        Just(Fact::Retired(Part::Gemini)),
    ]
}

/// A command, a fact, or nothing but time.
fn any_events() -> impl Strategy<Value = Vec<(u64, Option<Result<usize, Fact>>)>> {
    let event = prop_oneof![(0_usize..5).prop_map(Ok), any_fact().prop_map(Err), any_fact().prop_map(Err)];
    prop::collection::vec((0..3_000_000_u64, prop::option::weighted(0.9, event)), 0..60)
}

proptest! {
    #[test]
    fn every_command_is_sent_at_most_once_and_answered_once(
        leg in prop::sample::select(vec![LegKind::ModAudioStream, LegKind::AudioSocket, LegKind::ChanWebsocket]),
        event_socket in any::<bool>(),
        uuid in prop::option::of(Just("u-1")),
        events in any_events(),
    ) {
        let mut machine = live(leg, event_socket, uuid);
        let (mut now, mut given, mut asked) = (start(), Vec::new(), 0_u64);
        for (us, event) in events {
            now = now.plus_us(us);
            match event {
                Some(Ok(command)) if machine.phase() != Phase::Ended => {
                    asked += 1;
                    machine.tell(now, Fact::Commanded(Requester::Api(asked), commands()[command].clone()));
                }
                Some(Ok(_)) => {}
                Some(Err(fact)) => machine.tell(now, fact),
                None => {
                    machine.played(now, now.since_ms(start()) / 2_000);
                    machine.tick(now);
                }
            }
            given.extend(orders(&mut machine));
        }
        // Whatever was under way: in the end everything is let go, and time passes.
        machine.tell(now, Fact::LegGone(LegEnd::Silent));
        machine.tell(now, Fact::Retired(Part::Dsp));
        machine.tell(now, Fact::Retired(Part::Gemini));
        while let Some(deadline) = machine.deadline() {
            now = now.max(deadline);
            machine.tick(now);
        }
        given.extend(orders(&mut machine));
        prop_assert_eq!(machine.phase(), Phase::Ended);

        let mut answered: HashMap<u64, usize> = HashMap::new();
        for (number, _) in answers(&given) {
            *answered.entry(number).or_default() += 1;
        }
        prop_assert!(answered.values().all(|times| *times == 1), "{given:?}");
        prop_assert_eq!(answered.len() as u64, asked, "{:?}", given);
        let mut sent = Vec::new();
        for order in &given {
            if let Order::Leg(LegOrder::Command(number, _)) | Order::EventSocket(EventSocketOrder { number, .. }) = order {
                prop_assert!(!sent.contains(number), "{given:?}");
                sent.push(*number);
            }
        }
        let ends = given.iter().filter(|order| matches!(order, Order::Finish(_))).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(matches!(given.last(), Some(Order::Finish(_))), "{given:?}");
    }
}
