//! A call's machine under facts that make no sense: whatever it is told, in any order and at any time, it ends the call
//! once and says nothing afterwards.
//!
//! Runs in: `cargo test`. Owns nothing.
//! Invariant: none of the cases reads a clock; proptest keeps and replays a failing one.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tandem::base::Instant;
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::machine::Phase;
use tandem::call::model::Tokens;
use tandem::call::{Fact, LegOrder, Machine, ModelOrder, Order, Part, WorkerOrder};
use tandem::codec::Provider;

fn agent() -> Arc<Agent> {
    let terms = CallTerms {
        dial_timeout: Duration::from_secs(3),
        setup_timeout: Duration::from_secs(5),
        max_call: Duration::from_secs(600),
        greeting: Some("Greet the caller.".into()),
        ..CallTerms::default()
    };
    Arc::new(terms.into())
}

fn any_leg_end() -> impl Strategy<Value = LegEnd> {
    prop_oneof![
        any::<u16>().prop_map(LegEnd::Closed),
        Just(LegEnd::Dropped("reset".into())),
        Just(LegEnd::Silent),
        Just(LegEnd::Protocol("bad frame".into())),
        Just(LegEnd::ByUs),
        Just(LegEnd::SentAway),
    ]
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![Just(Part::Dsp), Just(Part::Gemini)]
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let link = 0_u32..4;
    prop_oneof![
        Just(Fact::Identified(Box::default())),
        Just(Fact::Identified(Box::new(CallFields { uuid: Some("u-1".into()), ..CallFields::default() }))),
        any_leg_end().prop_map(Fact::LegGone),
        (0_u32..4, any_leg_end()).prop_map(|(number, end)| Fact::LegLost(number, end)),
        Just(Fact::LegReturned),
        Just(Fact::Replaced),
        Just(Fact::HungUp("NORMAL_CLEARING".into())),
        link.clone().prop_map(Fact::LinkConnected),
        link.clone().prop_map(Fact::SetupComplete),
        link.clone().prop_map(Fact::TurnStarted),
        link.clone().prop_map(Fact::TurnComplete),
        link.clone().prop_map(Fact::Interrupted),
        (link.clone(), any::<u32>())
            .prop_map(|(link, ms)| Fact::GoAway(link, Duration::from_millis(ms.into()))),
        (link.clone(), ".*").prop_map(|(link, handle)| Fact::Resumable(link, handle)),
        (link.clone(), any::<u64>(), any::<u64>()).prop_map(|(link, input_audio, thoughts)| {
            Fact::TokensUsed(link, Tokens { input_audio, thoughts, ..Tokens::default() })
        }),
        (link, any::<Option<u16>>())
            .prop_map(|(link, code)| Fact::LinkGone(link, Provider::Gemini.end_of_close(code, b""))),
        Just(Fact::SpeechOverflow),
        any::<bool>().prop_map(Fact::SendAway),
        Just(Fact::ShutDown),
        any_part().prop_map(Fact::Retired),
    ]
}

/// A fact, or nothing but time, and when, which may also be earlier than what came before.
fn any_events() -> impl Strategy<Value = Vec<(u64, Option<Fact>)>> {
    prop::collection::vec((0..1_000_000_000_u64, prop::option::weighted(0.9, any_fact())), 0..60)
}

fn orders(machine: &mut Machine) -> Vec<Order> {
    std::iter::from_fn(|| machine.next_order()).collect()
}

fn finishes(orders: &[Order]) -> usize {
    orders.iter().filter(|order| matches!(order, Order::Finish(_))).count()
}

proptest! {
    #[test]
    fn any_facts_in_any_order_end_the_call_once_and_nothing_follows(events in any_events()) {
        let start = Instant::from_micros(1_000_000);
        let mut machine = Machine::new(start, agent(), CallFields::default());
        let mut given = orders(&mut machine);
        prop_assert_eq!(&given, &vec![Order::Dial(1)]);
        let (mut leg_gone, mut dsp_retired, mut gemini_retired) = (false, false, false);
        let mut lost = vec![];
        for (us, fact) in events {
            let now = start.plus_us(us);
            match fact {
                Some(fact) => {
                    leg_gone |= matches!(fact, Fact::LegGone(_));
                    dsp_retired |= fact == Fact::Retired(Part::Dsp);
                    gemini_retired |= fact == Fact::Retired(Part::Gemini);
                    if let Fact::LinkGone(link, _) = fact {
                        lost.push(link);
                    }
                    machine.tell(now, fact);
                }
                None => machine.tick(now),
            }
            let new = orders(&mut machine);
            for order in &new {
                if let Order::Dial(link) = order {
                    let older = link - 1;
                    let left = given.iter().chain(&new).any(|order| *order == Order::Model(ModelOrder::CloseLink(older)));
                    prop_assert!(left || lost.contains(&older), "link {link} beside an open one: {given:?}");
                }
            }
            prop_assert!(finishes(&given) == 0 || new.is_empty(), "after the end: {new:?}");
            given.extend(new);
            let over = leg_gone && dsp_retired && gemini_retired;
            prop_assert_eq!(finishes(&given), usize::from(over));
            prop_assert_eq!(machine.phase() == Phase::Ended, over);
            if over {
                prop_assert!(matches!(given.last(), Some(Order::Finish(_))));
                prop_assert_eq!(machine.deadline(), None);
            }
        }
        let count = |wanted: fn(&Order) -> bool| given.iter().filter(|order| wanted(order)).count();
        prop_assert!(count(|order| matches!(order, Order::Leg(LegOrder::Close(_)))) <= 1, "{given:?}");
        prop_assert!(count(|order| matches!(order, Order::Dsp(WorkerOrder::Retire))) <= 1, "{given:?}");
        prop_assert!(count(|order| matches!(order, Order::Model(ModelOrder::Retire))) <= 1, "{given:?}");
        let dialled: Vec<_> = given.iter().filter_map(|order| match order {
            Order::Dial(link) => Some(*link),
            _ => None,
        }).collect();
        prop_assert_eq!(&dialled, &(1..=dialled.len() as u32).collect::<Vec<_>>());
        prop_assert!(count(|order| matches!(order, Order::Model(ModelOrder::Prompt(..)))) <= dialled.len(), "{given:?}");
    }

    /// Whatever came before: when every part does as it is told, the call ends, with the outcome of what came first.
    #[test]
    fn after_any_beginning_a_call_can_end(events in any_events()) {
        let mut now = Instant::from_micros(1_000_000);
        let mut machine = Machine::new(now, agent(), CallFields::default());
        for (us, fact) in events {
            now = now.plus_us(us / 1000);
            // These two come only after the orders that they answer.
            match fact {
                Some(Fact::Retired(_) | Fact::LegGone(_)) => {}
                Some(fact) => machine.tell(now, fact),
                None => machine.tick(now),
            }
        }
        // The longest call is over at the latest.
        while let Some(deadline) = machine.deadline() {
            now = now.max(deadline);
            machine.tick(now);
        }
        prop_assert_eq!(machine.phase(), Phase::Closing);
        let given = orders(&mut machine);
        prop_assert!(given.iter().any(|order| matches!(order, Order::Leg(LegOrder::Close(_)))), "{given:?}");
        machine.tell(now, Fact::LegGone(LegEnd::ByUs));
        prop_assert_eq!(orders(&mut machine), [Order::Dsp(WorkerOrder::Retire), Order::Model(ModelOrder::Retire)]);
        machine.tell(now, Fact::Retired(Part::Gemini));
        machine.tell(now, Fact::Retired(Part::Dsp));
        let last = orders(&mut machine);
        prop_assert!(matches!(last.as_slice(), [Order::Finish(_)]), "{last:?}");
    }
}
