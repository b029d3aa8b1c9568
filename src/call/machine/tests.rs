//! How a call behaves, as far as no link is lost and nothing is asked for: see the simulations for the rest.
//!
//! Runs in: tests: pure. Owns nothing.

mod limits {
    use std::sync::Arc;

    use std::time::Duration;

    use crate::base::Instant;
    use crate::call::agent::Limits;
    use crate::call::agent::{Agent, CallTerms, TurnTerms};
    use crate::call::events::{Fact, LegOrder, Order};
    use crate::call::leg::CallFields;
    use crate::call::machine::Machine;
    use crate::call::model::Tokens;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// A call whose model is ready at second 0.
    fn live(limits: Limits) -> Machine {
        live_on(CallTerms { limits, ..CallTerms::default() })
    }

    fn live_on(terms: CallTerms) -> Machine {
        let mut machine = Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default());
        machine.tell(at(0), Fact::LinkConnected(1));
        machine.tell(at(0), Fact::SetupComplete(1));
        machine
    }

    /// When the call ends because nobody says anything: nothing else is due before it is as long as it may be.
    fn quiet_until(machine: &Machine) -> Option<Instant> {
        machine.deadline().filter(|due| *due < at(0).plus(CallTerms::default().max_call))
    }

    /// Why the leg was closed, if it was.
    fn closed(machine: &mut Machine) -> Option<String> {
        let orders = std::iter::from_fn(|| machine.next_order());
        let closes: Vec<String> = orders
            .filter_map(|order| match order {
                Order::Leg(LegOrder::Close(close)) => Some(close.reason().to_owned()),
                _ => None,
            })
            .collect();
        closes.into_iter().next()
    }

    #[test]
    fn a_call_ends_when_its_tokens_are_used() {
        let mut machine = live(Limits { tokens: Some(1_000), silence: None });
        let used = |input_audio, output_audio| {
            Fact::TokensUsed(1, Tokens { input_audio, output_audio, ..Tokens::default() })
        };
        machine.tell(at(1), used(400, 99));
        assert_eq!(closed(&mut machine), None);
        machine.tell(at(2), used(400, 101));
        assert_eq!(closed(&mut machine).as_deref(), Some("token_limit"));
    }

    #[test]
    fn thoughts_and_what_tools_bring_count_as_what_is_said_does() {
        let mut machine = live(Limits { tokens: Some(6_000), silence: None });
        let turn =
            Tokens { input_text: 750, input_audio: 300, output_text: 0, output_audio: 100, thoughts: 900 };
        machine.tell(at(1), Fact::TokensUsed(1, turn));
        machine.tell(at(2), Fact::TokensUsed(1, turn));
        assert_eq!(closed(&mut machine), None, "4,100 of them");
        machine.tell(at(3), Fact::TokensUsed(1, turn));
        assert_eq!(closed(&mut machine).as_deref(), Some("token_limit"));
        assert_eq!((machine.events().tokens.input(), machine.events().tokens.output()), (3_150, 3_000));
    }

    #[test]
    fn what_others_did_while_the_relay_had_no_processor_is_waited_for() {
        let mut machine = live(Limits { tokens: None, silence: Some(Duration::from_secs(10)) });
        machine.starved(at(12));
        assert_eq!(quiet_until(&machine), Some(at(14)));
        machine.tell(at(13), Fact::CallerSpoke(true));
        assert_eq!(quiet_until(&machine), None, "their words have come");
    }

    #[test]
    fn the_model_is_not_asked_again_for_an_answer_that_lies_in_the_socket() {
        let turns = TurnTerms { answer_within: Some(Duration::from_secs(4)), ..TurnTerms::default() };
        let mut machine = live_on(CallTerms { turns, ..CallTerms::default() });
        machine.tell(at(1), Fact::CallerSpoke(true));
        machine.tell(at(3), Fact::CallerSpoke(false));
        assert_eq!(quiet_until(&machine), Some(at(7)), "the watchdog's patience");
        machine.starved(at(9));
        machine.tick(at(9));
        assert_eq!((quiet_until(&machine), machine.events().commits), (Some(at(13)), 0));
        machine.tell(at(10), Fact::TurnStarted(1));
        machine.tick(at(13));
        assert_eq!(machine.events().commits, 0);
    }

    #[test]
    fn a_call_ends_when_nobody_has_said_anything_for_long_enough() {
        let mut machine = live(Limits { tokens: None, silence: Some(Duration::from_secs(10)) });
        assert_eq!(quiet_until(&machine), Some(at(10)));
        machine.tell(at(5), Fact::CallerSpoke(true));
        assert_eq!(quiet_until(&machine), None, "the caller speaks");
        machine.tell(at(20), Fact::CallerSpoke(false));
        assert_eq!(quiet_until(&machine), Some(at(30)));
        machine.tell(at(21), Fact::TurnStarted(1));
        assert_eq!(quiet_until(&machine), None, "the model speaks");
        machine.tell(at(40), Fact::TurnComplete(1));
        machine.tell(at(45), Fact::KeyOnEventSocket('5'));
        assert_eq!(quiet_until(&machine), Some(at(55)), "a key is as good as a word");
        machine.tick(at(54));
        assert_eq!(closed(&mut machine), None);
        machine.tick(at(55));
        assert_eq!(closed(&mut machine).as_deref(), Some("caller_silent"));
    }

    #[test]
    fn without_limits_a_call_goes_on() {
        let mut machine = live(Limits::default());
        machine.tell(
            at(1),
            Fact::TokensUsed(1, Tokens { input_text: u64::MAX, thoughts: u64::MAX, ..Tokens::default() }),
        );
        machine.tick(at(1_000));
        assert_eq!((quiet_until(&machine), closed(&mut machine)), (None, None));
    }
}

mod recording {
    use std::sync::Arc;

    use crate::base::Instant;
    use crate::base::{SampleRate, Sound};
    use crate::call::agent::{Agent, CallTerms};
    use crate::call::commands::CommandError;
    use crate::call::events::{ModelOrder, Order, RecordingOrder};
    use crate::call::leg::CallFields;
    use crate::call::machine::Machine;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn machine(record: bool) -> Machine {
        let sound = |samples| Some(Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![1; samples] }));
        let terms = CallTerms {
            record,
            consent_sound: sound(8_000),
            greeting_sound: sound(800),
            ..CallTerms::default()
        };
        Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default())
    }

    fn orders(machine: &mut Machine) -> Vec<Order> {
        std::iter::from_fn(|| machine.next_order()).collect()
    }

    #[test]
    fn a_recorded_call_begins_with_its_announcement_and_the_model_hears_nobody_until_it_is_over() {
        let mut machine = machine(true);
        let begun = orders(&mut machine);
        assert!(
            matches!(&begun[..3], [Order::Recording(RecordingOrder::Begin), Order::Model(ModelOrder::HoldUplink(true)), Order::Model(ModelOrder::Play(consent))] if consent.samples.len() == 8_000)
        );
        assert!(
            matches!(&begun[3], Order::Model(ModelOrder::Play(greeting)) if greeting.samples.len() == 800)
        );
        machine.tick(at(1_299));
        assert!(!orders(&mut machine).contains(&Order::Model(ModelOrder::HoldUplink(false))));
        assert!(machine.deadline() <= Some(at(1_300)));
        machine.tick(at(1_300));
        machine.tick(at(1_400));
        let let_go = orders(&mut machine)
            .into_iter()
            .filter(|order| *order == Order::Model(ModelOrder::HoldUplink(false)))
            .count();
        assert_eq!(let_go, 1);
    }

    #[test]
    fn a_pause_is_ordered_once_and_noted_and_what_is_not_recorded_cannot_pause() {
        let mut recorded = machine(true);
        orders(&mut recorded);
        assert_eq!((recorded.pause_recording(true), recorded.pause_recording(true)), (Ok(()), Ok(())));
        assert_eq!(orders(&mut recorded), [Order::Recording(RecordingOrder::Pause(true))]);
        assert_eq!(recorded.is_recorded(), (true, true));
        assert_eq!(recorded.pause_recording(false), Ok(()));
        let kinds: Vec<_> = recorded.history().into_iter().map(|event| event.kind).collect();
        assert!(
            kinds.ends_with(&["recording_paused".to_owned(), "recording_resumed".to_owned()]),
            "{kinds:?}"
        );
        let mut other = machine(false);
        assert!(!orders(&mut other).iter().any(|order| matches!(
            order,
            Order::Recording(RecordingOrder::Begin) | Order::Model(ModelOrder::HoldUplink(_))
        )));
        assert_eq!(other.pause_recording(true), Err(CommandError::NotRecorded));
    }
}

mod greeting {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::base::Instant;
    use crate::base::{LegReport, SampleRate, Sound};
    use crate::call::agent::{Agent, CallTerms};
    use crate::call::events::{Fact, ModelOrder, Order};
    use crate::call::leg::CallFields;
    use crate::call::machine::Machine;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// Whether a key stops the agent's speech, of either source, at 500 ms and at 40 s.
    fn stops(terms: CallTerms) -> Vec<bool> {
        let mut machine = Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default());
        machine.tell(at(0), Fact::LinkConnected(1));
        machine.tell(at(0), Fact::SetupComplete(1));
        let mut stopped = Vec::new();
        for ms in [500, 40_000] {
            while machine.deadline().is_some_and(|due| due <= at(ms)) {
                machine.tick(at(ms));
            }
            for key in [Fact::KeyOnEventSocket('5'), Fact::Reported(LegReport::Dtmf('5'))] {
                while machine.next_order().is_some() {}
                machine.tell(at(ms), key);
                stopped.push(
                    std::iter::from_fn(|| machine.next_order())
                        .any(|order| order == Order::Model(ModelOrder::StopSpeech)),
                );
            }
        }
        stopped
    }

    #[test]
    fn a_key_stops_the_agents_speech_where_it_may_and_not_what_is_to_be_heard_to_its_end() {
        let with = |keys_interrupt| {
            let mut terms = CallTerms::default();
            terms.control.keys_interrupt = keys_interrupt;
            terms
        };
        assert_eq!(stops(with(false)), [false; 4]);
        assert_eq!(stops(with(true)), [true; 4]);
        let mut announced = with(true);
        announced.record = true;
        announced.consent_sound = Some(Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![1; 8_000] }));
        assert_eq!(stops(announced), [false, false, true, true]);
        let mut greets = with(true);
        greets.greeting = Some("Greet.".into());
        greets.turns.protect_greeting = Some(Duration::from_secs(10));
        assert_eq!(stops(greets), [false, false, true, true]);
    }
}

mod offered {
    use std::sync::Arc;

    use crate::base::Instant;
    use crate::call::agent::Agent;
    use crate::call::agent::CallTerms;
    use crate::call::events::Order;
    use crate::call::events::{Fact, LegEnd, LegOrder};
    use crate::call::leg::CallFields;
    use crate::call::machine::{Machine, Phase};

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn agent(name: &str) -> Arc<Agent> {
        let mut agent = Agent::from(CallTerms::default());
        agent.name = name.into();
        Arc::new(agent)
    }

    fn waiting() -> Machine {
        Machine::offered(at(0), agent("default"), CallFields::default(), at(500))
    }

    fn orders(machine: &mut Machine) -> Vec<Order> {
        std::iter::from_fn(|| machine.next_order()).collect()
    }

    #[test]
    fn a_call_that_waits_dials_nothing_until_it_is_chosen_who_answers() {
        let mut machine = waiting();
        assert_eq!((orders(&mut machine), machine.deadline()), (Vec::new(), Some(at(500))));
        let fields = CallFields { did: Some("220".into()), ..CallFields::default() };
        machine.tell(at(100), Fact::Identified(Box::new(fields)));
        assert_eq!(orders(&mut machine), [Order::ChooseAgent { last: false }]);
        machine.answer_with(at(100), agent("shop"));
        assert!(orders(&mut machine).contains(&Order::Dial(1)));
        assert_eq!((machine.agent().name.as_str(), machine.phase()), ("shop", Phase::Dialing));
        machine.answer_with(at(200), agent("night"));
        assert_eq!(machine.agent().name, "shop", "who answers is chosen once");
    }

    #[test]
    fn when_the_time_is_over_the_choice_is_asked_for_in_any_case_and_once() {
        let mut machine = waiting();
        machine.tick(at(499));
        assert_eq!(orders(&mut machine), []);
        machine.tick(at(500));
        machine.tick(at(600));
        assert_eq!(orders(&mut machine), [Order::ChooseAgent { last: true }]);
    }

    #[test]
    fn a_refusal_closes_the_leg_with_1008_and_the_reason() {
        let mut machine = waiting();
        machine.refuse("closed today");
        let orders = orders(&mut machine);
        let [Order::Leg(LegOrder::Close(close))] = orders.as_slice() else { panic!("{orders:?}") };
        assert_eq!((close.code().code(), close.reason()), (1008, "closed today"));
    }

    #[test]
    fn a_caller_may_hang_up_while_the_call_waits() {
        let mut machine = waiting();
        machine.tell(at(100), Fact::LegGone(LegEnd::Closed(1000)));
        machine.tick(at(500));
        let orders = orders(&mut machine);
        assert!(!orders.iter().any(|order| matches!(order, Order::ChooseAgent { .. } | Order::Dial(_))));
        machine.answer_with(at(600), agent("shop"));
        assert_eq!(machine.next_order(), None);
    }
}
