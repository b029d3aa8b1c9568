//! Legs that come back, in a call's machine: what is waited for, how long, and that the session notices nothing of it.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: none of the cases reads a clock.

use std::sync::Arc;
use std::time::Duration;

use tandem::base::Instant;
use tandem::base::command::{Command, HangUpCause};
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::machine::Phase;
use tandem::call::{
    Cause, CommandError, Fact, LegOrder, Machine, ModelOrder, Order, Outcome, Part, Requester,
};

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn dropped() -> LegEnd {
    LegEnd::Dropped("reset".into())
}

/// A call that has a link and a UUID, with its model ready.
fn live() -> Machine {
    live_with(CallTerms::default(), Some("u-1"))
}

fn live_with(terms: CallTerms, uuid: Option<&str>) -> Machine {
    let agent: Agent = terms.into();
    let fields = CallFields { uuid: uuid.map(str::to_owned), ..CallFields::default() };
    let mut machine = Machine::new(at(0), Arc::new(agent), fields);
    machine.tell(at(0), Fact::LinkConnected(1));
    machine.tell(at(0), Fact::SetupComplete(1));
    orders(&mut machine);
    machine
}

fn orders(machine: &mut Machine) -> Vec<Order> {
    std::iter::from_fn(|| machine.next_order()).collect()
}

/// Lets everything go that the machine closes, and returns the outcome.
fn ended(machine: &mut Machine, now: Instant) -> Outcome {
    let given = orders(machine);
    assert!(given.iter().any(|order| matches!(order, Order::Leg(LegOrder::Close(_)))), "{given:?}");
    machine.tell(now, Fact::LegGone(LegEnd::ByUs));
    machine.tell(now, Fact::Retired(Part::Dsp));
    machine.tell(now, Fact::Retired(Part::Gemini));
    match orders(machine).pop() {
        Some(Order::Finish(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_leg_lost_without_a_goodbye_is_waited_for_ten_seconds() {
    for end in [dropped(), LegEnd::Silent, LegEnd::Closed(1006), LegEnd::Closed(1011), LegEnd::Closed(4000)] {
        let mut machine = live();
        machine.tell(at(1_000), Fact::LegLost(1, end.clone()));
        assert_eq!((machine.phase(), machine.deadline()), (Phase::Detached, Some(at(11_000))), "{end:?}");
        assert!(!machine.lost_leg().is_some_and(LegEnd::is_goodbye), "{end:?}: lost, not held");
        assert_eq!(machine.history().last().map(|event| event.kind.clone()).as_deref(), Some("leg_lost"));
        machine.tick(at(10_999));
        assert_eq!(orders(&mut machine), [], "{end:?}: the link stays");
        machine.tick(at(11_000));
        assert_eq!(ended(&mut machine, at(11_000)), Outcome::of(Cause::Leg(end)));
        assert_eq!((machine.events().reattachments, machine.events().detached_ms), (0, 10_000));
    }
}

#[test]
fn after_a_clean_close_half_a_second_is_waited() {
    for code in [1000, 1001, 1005] {
        let mut machine = live();
        machine.tell(at(1_000), Fact::LegLost(1, LegEnd::Closed(code)));
        assert_eq!((machine.phase(), machine.deadline()), (Phase::Detached, Some(at(1_500))));
        assert!(machine.lost_leg().is_some_and(LegEnd::is_goodbye), "{code}: held, not lost");
        assert_eq!(machine.history().last().map(|event| event.kind.clone()).as_deref(), Some("leg_held"));
        machine.tick(at(1_500));
        assert_eq!(ended(&mut machine, at(1_500)), Outcome::of(Cause::Leg(LegEnd::Closed(code))));
    }
}

#[test]
fn nothing_is_waited_for_when_the_caller_hung_up_or_nobody_can_come_back() {
    let mut machine = live();
    machine.tell(at(0), Fact::HungUp("NORMAL_CLEARING".into()));
    machine.tell(at(1), Fact::LegLost(1, LegEnd::Closed(1000)));
    assert_eq!(machine.phase(), Phase::Closing);
    assert_eq!(ended(&mut machine, at(1)).label(), "hangup");

    let mut machine = live();
    machine.tell(at(1), Fact::LegGone(LegEnd::HungUp));
    assert_eq!(
        (machine.phase(), Outcome::of(Cause::Leg(LegEnd::HungUp)).label()),
        (Phase::Closing, "hangup")
    );

    let mut nameless = live_with(CallTerms::default(), None);
    nameless.tell(at(1), Fact::LegLost(1, dropped()));
    assert_eq!(nameless.phase(), Phase::Closing);

    let terms = CallTerms { detached: Duration::ZERO, ..CallTerms::default() };
    let mut configured = live_with(terms, Some("u-1"));
    configured.tell(at(1), Fact::LegLost(1, dropped()));
    assert_eq!(configured.phase(), Phase::Closing);
}

#[test]
fn the_switchs_word_that_the_caller_hung_up_ends_the_wait() {
    let mut machine = live();
    machine.tell(at(0), Fact::LegLost(1, dropped()));
    machine.tell(at(40), Fact::HungUp("NORMAL_CLEARING".into()));
    assert_eq!(ended(&mut machine, at(40)), Outcome::of(Cause::Leg(dropped())));
    assert_eq!(machine.hang_up_cause(), Some("NORMAL_CLEARING"));
}

#[test]
fn a_leg_that_is_back_leaves_no_trace_in_the_session() {
    let mut machine = live();
    let deadline = machine.deadline();
    machine.tell(at(1_000), Fact::LegLost(1, dropped()));
    machine.tell(at(1_700), Fact::LegReturned);
    assert_eq!((machine.phase(), machine.deadline()), (Phase::Live, deadline));
    assert_eq!(orders(&mut machine), []);
    assert_eq!((machine.events().reattachments, machine.events().detached_ms), (1, 700));
    // News of the connection before comes late.
    machine.tell(at(1_701), Fact::LegLost(1, LegEnd::Silent));
    assert_eq!(machine.phase(), Phase::Live);
    machine.tell(at(1_702), Fact::LegLost(machine.leg_connection(), LegEnd::Silent));
    assert_eq!(machine.phase(), Phase::Detached);
}

#[test]
fn a_call_without_a_leg_still_ends_by_its_limits_and_by_a_shutdown() {
    let terms = CallTerms { max_call: Duration::from_secs(5), ..CallTerms::default() };
    let mut machine = live_with(terms, Some("u-1"));
    machine.tell(at(1_000), Fact::LegLost(1, dropped()));
    machine.tick(at(5_000));
    assert_eq!(ended(&mut machine, at(5_000)).cause, Cause::MaxCall);

    let mut machine = live();
    machine.tell(at(1_000), Fact::LegLost(1, dropped()));
    machine.tell(at(2_000), Fact::ShutDown);
    assert_eq!(ended(&mut machine, at(2_000)).cause, Cause::ShutDown);
    machine.tell(at(2_001), Fact::LegReturned);
    assert_eq!(orders(&mut machine), [], "it is over");
}

#[test]
fn the_model_may_get_ready_while_the_leg_is_away() {
    let agent: Agent = CallTerms { greeting: Some("Greet.".into()), ..CallTerms::default() }.into();
    let fields = CallFields { uuid: Some("u-1".into()), ..CallFields::default() };
    let mut machine = Machine::new(at(0), Arc::new(agent), fields);
    machine.tell(at(10), Fact::LegLost(1, dropped()));
    machine.tell(at(20), Fact::LinkConnected(1));
    machine.tell(at(30), Fact::SetupComplete(1));
    assert_eq!(machine.phase(), Phase::Detached);
    assert_eq!(orders(&mut machine), [Order::Dial(1), Order::Model(ModelOrder::Prompt(1, "Greet.".into()))]);
    machine.tell(at(40), Fact::LegReturned);
    assert_eq!(machine.phase(), Phase::Live);
}

#[test]
fn an_order_for_a_lost_leg_is_answered_and_a_hang_up_that_the_close_carried_out_is_done() {
    let hang_up = || Command::HangUp(HangUpCause::normal_clearing());
    let mut machine = live_with(CallTerms::default(), Some("u-1"));
    machine.tell(at(0), Fact::Reported(tandem::base::LegReport::Hello { version: 1 }));
    machine.tell(at(1), Fact::Commanded(Requester::Api(1), hang_up()));
    machine.tell(at(2), Fact::LegLost(1, dropped()));
    machine.tell(at(3), Fact::Commanded(Requester::Api(2), hang_up()));
    let given = orders(&mut machine);
    let answers: Vec<_> = given.iter().filter(|order| matches!(order, Order::Answer(..))).collect();
    assert!(
        matches!(
            answers[..],
            [
                Order::Answer(Requester::Api(1), Err(CommandError::Unconfirmed(_))),
                Order::Answer(Requester::Api(2), Err(CommandError::NotSent(_)))
            ]
        ),
        "{given:?}"
    );
    machine.tell(at(4), Fact::LegReturned);
    machine.tell(at(5), Fact::Commanded(Requester::Api(3), hang_up()));
    machine.tell(at(6), Fact::LegLost(2, LegEnd::Closed(1000)));
    assert_eq!(machine.phase(), Phase::Closing, "nobody comes back after a hang-up by order");
    assert!(orders(&mut machine).contains(&Order::Answer(Requester::Api(3), Ok(()))));
}
