//! Legs that are sent to another relay because this one drains, in a call's machine: when, which, and how often.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: none of the cases reads a clock.

use std::sync::Arc;

use tandem::base::Instant;
use tandem::call::agent::CallTerms;
use tandem::call::events::LegEnd;
use tandem::call::leg::{CallFields, LegKind};
use tandem::call::machine::Phase;
use tandem::call::{Cause, Fact, LegOrder, Machine, Order, Outcome};

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

/// A call whose model is ready at second 0.
fn live(kind: LegKind, fields: CallFields) -> Machine {
    let mut machine = Machine::new(at(0), Arc::new(CallTerms::default().into()), fields);
    machine.set_leg(kind, 0);
    machine.tell(at(0), Fact::LinkConnected(1));
    machine.tell(at(0), Fact::SetupComplete(1));
    orders(&mut machine);
    machine
}

/// A call beside which our script is.
fn scripted() -> Machine {
    let fields = CallFields { uuid: Some("u-1".into()), script: Some(true), ..CallFields::default() };
    live(LegKind::ModAudioStream, fields)
}

fn orders(machine: &mut Machine) -> Vec<Order> {
    std::iter::from_fn(|| machine.next_order()).collect()
}

/// With which code the leg is sent away, if it is.
fn sent(machine: &mut Machine) -> Option<u16> {
    let mut codes = orders(machine).into_iter().filter_map(|order| match order {
        Order::Leg(LegOrder::SendAway(close)) => Some(close.code().code()),
        Order::Leg(LegOrder::Close(close)) => panic!("closed for good: {close:?}"),
        _ => None,
    });
    let code = codes.next();
    assert_eq!(codes.next(), None, "twice");
    code
}

#[test]
fn a_leg_is_sent_away_at_the_next_pause_and_its_call_waits_for_it() {
    let mut machine = scripted();
    machine.tell(at(1_000), Fact::CallerSpoke(true));
    machine.tell(at(1_500), Fact::SendAway(true));
    machine.tick(at(2_000));
    assert_eq!(sent(&mut machine), None, "the caller speaks");
    machine.tell(at(2_500), Fact::CallerSpoke(false));
    machine.tick(at(3_000));
    assert_eq!(sent(&mut machine), None, "the model is about to answer");
    machine.tell(at(3_100), Fact::TurnStarted(1));
    machine.hears_until(at(3_200), at(4_000));
    machine.tell(at(3_200), Fact::GenerationComplete(1));
    machine.tell(at(3_200), Fact::TurnComplete(1));
    machine.tick(at(3_900));
    assert_eq!(sent(&mut machine), None, "the caller hears the answer");
    assert_eq!(machine.deadline(), Some(at(4_300)), "until its echo is over");
    machine.tick(at(4_300));
    assert_eq!(sent(&mut machine), Some(1001));
    machine.tell(at(4_310), Fact::LegLost(1, LegEnd::SentAway));
    assert_eq!((machine.phase(), machine.deadline()), (Phase::Detached, Some(at(14_310))));
    assert_eq!(machine.lost_leg(), Some(&LegEnd::SentAway));
    machine.tick(at(14_310));
    assert_eq!(machine.phase(), Phase::Closing);
    let outcome = Outcome::of(Cause::Leg(LegEnd::SentAway));
    assert_eq!((outcome.label(), outcome.is_failure()), ("sent_away", false));
}

#[test]
fn a_leg_that_comes_back_because_there_is_nobody_else_stays() {
    let mut machine = scripted();
    machine.tell(at(5_000), Fact::SendAway(true));
    machine.tick(at(5_000));
    assert_eq!(sent(&mut machine), Some(1001));
    machine.tell(at(5_010), Fact::LegLost(1, LegEnd::SentAway));
    machine.tell(at(5_020), Fact::LegReturned);
    machine.tell(at(5_020), Fact::SendAway(true));
    machine.tick(at(100_000));
    assert_eq!((sent(&mut machine), machine.phase()), (None, Phase::Live));
    // Another drain is another attempt.
    machine.tell(at(100_000), Fact::SendAway(false));
    machine.tell(at(100_001), Fact::SendAway(true));
    machine.tick(at(100_001));
    assert_eq!(sent(&mut machine), Some(1001));
}

#[test]
fn a_drain_that_is_taken_back_sends_nobody_away() {
    let mut machine = scripted();
    machine.tell(at(1_000), Fact::CallerSpoke(true));
    machine.tell(at(1_100), Fact::SendAway(true));
    machine.tell(at(1_200), Fact::SendAway(false));
    machine.tell(at(2_000), Fact::CallerSpoke(false));
    machine.tick(at(60_000));
    assert_eq!(sent(&mut machine), None);
}

#[test]
fn a_call_without_a_pause_is_sent_away_after_a_minute() {
    let mut machine = scripted();
    machine.tell(at(1_000), Fact::CallerSpoke(true));
    machine.tell(at(1_000), Fact::SendAway(true));
    machine.tick(at(60_999));
    assert_eq!(sent(&mut machine), None);
    machine.tick(at(61_000));
    assert_eq!(sent(&mut machine), Some(1001));
}

#[test]
fn only_who_is_known_to_connect_again_is_sent_away() {
    let named = || CallFields { uuid: Some("u-1".into()), ..CallFields::default() };
    let goes_round = || CallFields { again: Some(true), ..named() };
    for (kind, fields, goes) in [
        (LegKind::ModAudioStream, named(), false),
        (LegKind::ModAudioStream, CallFields { script: Some(true), ..CallFields::default() }, false),
        (LegKind::Ixwebsocket, named(), true),
        (LegKind::AudioFork, CallFields { script: Some(true), ..named() }, false),
        (LegKind::AudioSocket, named(), false),
        (LegKind::AudioSocket, goes_round(), true),
        (LegKind::ChanWebsocket, goes_round(), true),
        (LegKind::Telephone, goes_round(), false),
    ] {
        let mut machine = live(kind, fields.clone());
        machine.tell(at(5_000), Fact::SendAway(true));
        machine.tick(at(70_000));
        assert_eq!(sent(&mut machine).is_some(), goes, "{kind:?} {fields:?}");
    }
}
