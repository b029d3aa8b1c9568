//! A call's machine and its links: lost, refused, announced to end, at every moment; and what the next one is told.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: none of the tests reads a clock.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tandem::base::command::{Command, Destination};
use tandem::base::{Instant, LinkNumber, SampleRate, Sound};
use tandem::call::agent::{Agent, CallTerms, CredentialView};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::model::LinkEnd;
use tandem::call::transcript::Speaker;
use tandem::call::{Fact, LegKind, LegOrder, Machine, ModelOrder, Order, Part};
use tandem::codec::Provider;
use tandem::config::Fallback;

const KEY: CredentialView<'static> = CredentialView { number: 0, model_prefix: None };

/// A machine and the time.
struct Call {
    machine: Machine,
    now: Instant,
}

impl Call {
    fn new(terms: CallTerms) -> Self {
        let now = Instant::from_micros(1_000_000);
        let machine = Machine::new(now, Arc::new(Agent::from(terms)), CallFields::default());
        Self { machine, now }
    }

    fn tell(&mut self, fact: Fact) -> Vec<Order> {
        self.machine.tell(self.now, fact);
        self.orders()
    }

    fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.machine.next_order()).collect()
    }

    /// Lets time pass, deadline by deadline, until something is ordered; at most so many milliseconds. Returns it, and
    /// how long it took.
    fn wait(&mut self, ms: u64) -> (Vec<Order>, u64) {
        let (begun, end) = (self.now, self.now.plus_ms(ms));
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.machine.tick(self.now);
            let orders = self.orders();
            if !orders.is_empty() {
                return (orders, self.now.since_ms(begun));
            }
        }
        self.now = end;
        (Vec::new(), ms)
    }

    /// Connects a link that was dialled, and has its setup accepted. Returns the setup's handle, and the orders.
    fn live(&mut self, link: LinkNumber) -> (Option<String>, Vec<Order>) {
        let setup = self.setup();
        let mut orders = self.tell(Fact::LinkConnected(link));
        orders.extend(self.tell(Fact::SetupComplete(link)));
        let handle = setup["setup"]["sessionResumption"]["handle"].as_str().map(str::to_owned);
        (handle, orders)
    }

    fn setup(&mut self) -> Value {
        serde_json::from_str(&Provider::Gemini.setup(&self.machine.setup(&KEY))).expect("JSON")
    }

    fn hears(&mut self, link: LinkNumber, speaker: Speaker, text: &str) {
        self.tell(Fact::Transcribed(link, speaker, text.to_owned()));
    }

    /// The model answers on a link, and gives a handle.
    fn answer(&mut self, link: LinkNumber, text: &str, handle: &str) {
        self.tell(Fact::TurnStarted(link));
        self.hears(link, Speaker::Model, text);
        self.tell(Fact::GenerationComplete(link));
        self.tell(Fact::TurnComplete(link));
        self.tell(Fact::Resumable(link, handle.to_owned()));
    }
}

/// A call with a live link and the handle `first`.
fn live() -> Call {
    let mut call = Call::new(CallTerms::default());
    assert_eq!(call.orders(), [Order::Dial(1)]);
    assert_eq!(call.live(1), (None, vec![]));
    call.tell(Fact::Resumable(1, "first".to_owned()));
    call
}

fn closed(code: u16, reason: &str) -> LinkEnd {
    Provider::Gemini.end_of_close(Some(code), reason.as_bytes())
}

#[test]
fn the_first_link_asks_for_handles_and_any_end_of_it_is_resumed_at_once() {
    for end in [
        LinkEnd::dropped("reset"),
        closed(1000, ""),
        closed(1006, ""),
        closed(1007, "Request contains an invalid argument."),
        closed(1008, "The operation was aborted."),
        closed(1011, "Internal error encountered."),
        closed(1011, "You exceeded your current quota"),
    ] {
        let mut call = live();
        assert_eq!(call.setup()["setup"]["sessionResumption"], serde_json::json!({"handle": "first"}));
        assert_eq!(call.tell(Fact::LinkGone(1, end.clone())), [Order::Dial(2)], "{end:?}");
        call.now = call.now.plus_ms(120);
        assert_eq!(call.live(2), (Some("first".to_owned()), vec![]));
        let events = call.machine.events();
        assert_eq!((events.resumptions, events.fresh_sessions, events.gap_ms_max), (1, 0, 120));
    }
}

#[test]
fn a_setup_that_is_refused_for_good_ends_the_call_and_one_refused_for_now_does_not() {
    for reason in ["API key not valid. Please pass a valid API key.", "Request contains an invalid argument."]
    {
        let mut call = Call::new(CallTerms::default());
        call.orders();
        call.tell(Fact::LinkConnected(1));
        let orders = call.tell(Fact::LinkGone(1, closed(1007, reason)));
        assert!(matches!(orders[..], [Order::Leg(LegOrder::Close(_))]), "{orders:?}");
    }
    let mut call = Call::new(CallTerms::default());
    call.orders();
    call.tell(Fact::LinkConnected(1));
    assert_eq!(
        call.tell(Fact::LinkGone(1, closed(1011, "The service is currently unavailable."))),
        [Order::Dial(2)]
    );
}

#[test]
fn attempts_are_made_ever_more_seldom_until_the_call_is_given_up() {
    let mut call = live();
    assert_eq!(call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset"))), [Order::Dial(2)]);
    let mut waits = vec![];
    for link in 2.. {
        let orders = call.tell(Fact::LinkGone(link, LinkEnd::dropped("connection refused")));
        if !orders.is_empty() {
            assert!(matches!(orders[..], [Order::Leg(LegOrder::Close(_))]), "{orders:?}");
            break;
        }
        let (orders, ms) = call.wait(10_000);
        assert_eq!(orders, [Order::Dial(link + 1)]);
        waits.push(ms);
    }
    let bases = [500, 1_000, 2_000, 4_000, 4_000];
    assert!(waits.len() >= bases.len(), "{waits:?}");
    for (wait, base) in waits.iter().zip(bases) {
        assert!((base..=base * 5 / 4).contains(wait), "{waits:?}");
    }
    assert!(waits.iter().sum::<u64>() <= 20_000, "{waits:?}");
    assert!(call.machine.events().given_up);
    assert_eq!(call.machine.events().failed_attempts as usize, waits.len() + 1);
}

#[test]
fn go_away_waits_for_the_turn_and_its_handle_and_the_old_link_is_closed_before_the_next_is_dialled() {
    let mut call = live();
    call.tell(Fact::TurnStarted(1));
    assert_eq!(call.tell(Fact::GoAway(1, Duration::from_secs(50))), []);
    assert_eq!(call.wait(5_000).0, []);
    call.tell(Fact::GenerationComplete(1));
    call.tell(Fact::TurnComplete(1));
    call.tell(Fact::Resumable(1, "second".to_owned()));
    assert_eq!(call.wait(1_000), (vec![Order::Model(ModelOrder::CloseLink(1))], 0));
    assert_eq!(call.wait(400).0, [], "its socket may be open");
    assert_eq!(call.tell(Fact::LinkClosed(1)), [Order::Dial(2)]);
    assert_eq!(call.live(2).0.as_deref(), Some("second"));
    assert_eq!(call.machine.events().go_aways, 1);
}

#[test]
fn a_link_whose_closing_is_not_heard_of_is_not_waited_for_long() {
    let mut call = live();
    call.machine.rotate(call.now);
    assert_eq!(call.orders(), [Order::Model(ModelOrder::CloseLink(1))]);
    assert_eq!(call.wait(1_000), (vec![Order::Dial(2)], 500));
    assert_eq!(call.tell(Fact::LinkClosed(1)), []);
}

#[test]
fn go_away_waits_for_tools_and_for_the_caller_but_not_beyond_the_servers_time() {
    let mut call = live();
    call.tell(Fact::CallerSpoke(true));
    call.tell(Fact::GoAway(1, Duration::from_secs(8)));
    let (orders, ms) = call.wait(20_000);
    assert_eq!((orders, ms), (vec![Order::Model(ModelOrder::CloseLink(1))], 6_000), "a quarter is left");
    let mut call = live();
    call.tell(Fact::CallerSpoke(true));
    call.tell(Fact::GoAway(1, Duration::from_secs(50)));
    call.now = call.now.plus_ms(1_000);
    call.tell(Fact::CallerSpoke(false));
    let (orders, ms) = call.wait(20_000);
    assert_eq!(
        (orders, ms),
        (vec![Order::Model(ModelOrder::CloseLink(1))], 3_000),
        "the model had time to begin its answer"
    );
}

#[test]
fn a_link_lost_within_an_answer_is_followed_by_one_that_is_asked_to_go_on() {
    let mut call = live();
    call.hears(1, Speaker::Caller, "When do you open?");
    call.tell(Fact::TurnStarted(1));
    call.hears(1, Speaker::Model, "At nine");
    call.tell(Fact::Resumable(1, "within".to_owned()));
    call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    let (handle, orders) = call.live(2);
    assert_eq!(handle.as_deref(), Some("first"), "the one from within the answer may have lost it");
    let [Order::Model(ModelOrder::Prompt(2, text))] = &orders[..] else { panic!("{orders:?}") };
    assert!(text.contains("\"When do you open?\"") && text.contains("\"At nine\""), "{text}");
    assert_eq!(call.machine.events().broken_off, 1);
}

#[test]
fn a_link_lost_when_the_answer_is_all_there_or_the_caller_speaks_again_is_not_asked_to_go_on() {
    for fact in [Fact::GenerationComplete(1), Fact::CallerSpoke(true)] {
        let mut call = live();
        call.tell(Fact::TurnStarted(1));
        call.tell(fact);
        call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        assert_eq!(call.live(2).1, []);
    }
}

#[test]
fn a_greeting_that_was_not_begun_is_asked_for_again_and_one_that_was_is_not() {
    for (begun, prompts) in [(false, 1), (true, 0)] {
        let greeting = Some("Greet the caller.".to_owned());
        let mut call = Call::new(CallTerms { greeting, ..CallTerms::default() });
        call.orders();
        assert_eq!(call.live(1).1.len(), 1);
        if begun {
            call.tell(Fact::TurnStarted(1));
            call.tell(Fact::GenerationComplete(1));
        }
        call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        assert_eq!(call.live(2).1.len(), prompts);
    }
}

#[test]
fn a_handle_that_is_refused_gives_way_to_a_new_session_that_is_told_what_was_said() {
    let mut call = live();
    call.hears(1, Speaker::Caller, "When do you open?");
    call.answer(1, "At nine.", "second");
    assert_eq!(call.tell(Fact::LinkGone(1, closed(1011, "Internal error"))), [Order::Dial(2)]);
    assert_eq!(call.setup()["setup"]["sessionResumption"]["handle"], "second");
    call.tell(Fact::LinkConnected(2));
    assert_eq!(call.tell(Fact::LinkGone(2, closed(1007, "Invalid session resumption handle."))), []);
    assert_eq!(call.wait(1_000).0, [Order::Dial(3)]);
    let setup = call.setup();
    assert_eq!(setup["setup"]["sessionResumption"], serde_json::json!({}));
    let told = setup["setup"]["systemInstruction"]["parts"][0]["text"].as_str().expect("text");
    assert!(told.contains("Caller: When do you open?\nYou: At nine."), "{told}");
    assert!(told.contains("Do not greet again"), "{told}");
    call.live(3);
    let events = call.machine.events();
    assert_eq!((events.resumptions, events.fresh_sessions, events.failed_attempts), (0, 1, 1));
    assert_eq!(
        call.setup()["setup"]["sessionResumption"],
        serde_json::json!({}),
        "the old handles are forgotten"
    );
}

#[test]
fn a_handle_refused_because_the_old_link_seems_open_is_tried_once_more() {
    let mut call = live();
    call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    for (link, handle) in [(2, Some("first")), (3, Some("first")), (4, None)] {
        let setup = call.setup();
        assert_eq!(setup["setup"]["sessionResumption"]["handle"].as_str(), handle, "link {link}");
        call.tell(Fact::LinkConnected(link));
        call.tell(Fact::LinkGone(link, closed(1011, "Internal error: the session is still in use.")));
        assert_eq!(call.wait(5_000).0, [Order::Dial(link + 1)]);
    }
}

#[test]
fn what_the_old_link_still_says_changes_nothing() {
    let mut call = live();
    call.machine.rotate(call.now);
    call.orders();
    call.tell(Fact::TurnStarted(1));
    call.tell(Fact::Resumable(1, "late".to_owned()));
    assert_eq!(call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset"))), [Order::Dial(2)]);
    assert_eq!(call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset"))), []);
    assert_eq!(call.live(2), (Some("first".to_owned()), vec![]));
}

fn fallback(transfer: bool) -> CallTerms {
    let sound = Sound { rate: SampleRate::Hz8000, samples: vec![1; 8_000] };
    CallTerms {
        give_up: Duration::ZERO,
        fallback_sound: Some(Arc::new(sound)),
        fallback: match transfer {
            true => Fallback::Transfer(Destination::new("2000").expect("a destination")),
            false => Fallback::Switch,
        },
        ..CallTerms::default()
    }
}

#[test]
fn a_call_that_is_given_up_ends_when_the_caller_has_heard_why() {
    let mut call = Call::new(fallback(false));
    call.orders();
    call.live(1);
    let orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    assert!(matches!(orders[..], [Order::Model(ModelOrder::Play(_))]), "{orders:?}");
    let mut orders = vec![];
    let mut looked_ms = 0;
    while orders.is_empty() && looked_ms < 10_000 {
        // A second of sound at 8 kHz is handed over as it is heard.
        looked_ms += 100;
        call.now = call.now.plus_ms(100);
        call.machine.played(call.now, looked_ms.min(1_000) * 8);
        orders = call.orders();
    }
    assert!(matches!(orders[..], [Order::Leg(LegOrder::Close(_))]), "{orders:?}");
    assert!((1_700..=2_000).contains(&looked_ms), "{looked_ms}");
    call.tell(Fact::LegGone(LegEnd::ByUs));
    call.tell(Fact::Retired(Part::Dsp));
    let last = call.tell(Fact::Retired(Part::Gemini));
    let [Order::Finish(outcome)] = &last[..] else { panic!("{last:?}") };
    assert_eq!(outcome.label(), "dropped", "the outcome says why");
}

#[test]
fn a_call_that_is_given_up_goes_where_its_agent_says() {
    let mut call = Call::new(CallTerms { fallback_sound: None, ..fallback(true) });
    call.machine.set_leg(LegKind::ModAudioStream, 7);
    call.tell(Fact::Reported(tandem::base::LegReport::Hello { version: 1 }));
    call.live(1);
    let orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    let [Order::Leg(LegOrder::Command(number, Command::Transfer(transfer)))] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!(transfer.to, Destination::new("2000").expect("a destination"));
    let orders = call.tell(Fact::Reported(tandem::base::LegReport::Done(*number)));
    let closes = orders.iter().filter(|order| matches!(order, Order::Leg(LegOrder::Close(_)))).count();
    assert_eq!(closes, 1, "{orders:?}");
}

/// The reason of the leg's close, with its code.
fn close_of(orders: &[Order]) -> Option<(u16, &str)> {
    orders.iter().find_map(|order| match order {
        Order::Leg(LegOrder::Close(close)) => Some((close.code().code(), close.reason())),
        _ => None,
    })
}

#[test]
fn a_call_is_given_up_when_its_time_is_over_and_not_before() {
    for seconds in [1, 3, 5, 8, 20, 60] {
        let mut call = Call::new(CallTerms { give_up: Duration::from_secs(seconds), ..CallTerms::default() });
        call.orders();
        call.live(1);
        let lost_at = call.now;
        let mut orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        while close_of(&orders).is_none() {
            if let Some(Order::Dial(link)) = orders.iter().find(|order| matches!(order, Order::Dial(_))) {
                orders = call.tell(Fact::LinkGone(*link, LinkEnd::dropped("refused")));
            } else {
                orders = call.wait(120_000).0;
            }
            assert!(call.now.since_ms(lost_at) <= 120_000, "it is never given up");
        }
        assert_eq!(call.now.since_ms(lost_at), seconds * 1_000, "session.give_up_seconds = {seconds}");
        assert_eq!(close_of(&orders), Some((1008, "dropped")), "the last word, with the cause");
    }
}

#[test]
fn an_attempt_that_hangs_is_cut_off_when_the_time_is_over() {
    let mut call = Call::new(CallTerms { give_up: Duration::from_secs(5), ..CallTerms::default() });
    call.orders();
    call.live(1);
    let lost_at = call.now;
    let mut orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    while close_of(&orders).is_none() {
        orders = call.wait(60_000).0;
        assert!(!orders.is_empty(), "it is never given up");
    }
    assert_eq!((call.now.since_ms(lost_at), close_of(&orders)), (5_000, Some((1008, "dial_timeout"))));
}

#[test]
fn an_attempt_at_the_very_end_is_not_what_the_call_was_given_up_for() {
    let mut call = Call::new(CallTerms { give_up: Duration::from_secs(5), ..CallTerms::default() });
    call.orders();
    call.live(1);
    let lost_at = call.now;
    let mut orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    while close_of(&orders).is_none() {
        let at_the_end = call.now.since_ms(lost_at) >= 5_000;
        match orders.iter().find(|order| matches!(order, Order::Dial(_))) {
            Some(Order::Dial(link)) if !at_the_end => {
                orders = call.tell(Fact::LinkGone(*link, LinkEnd::dropped("refused")));
            }
            _ => orders = call.wait(60_000).0,
        }
        assert!(call.now.since_ms(lost_at) <= 60_000, "it is never given up");
    }
    assert_eq!((call.now.since_ms(lost_at), close_of(&orders)), (5_000, Some((1008, "dropped"))));
}

#[test]
fn a_call_whose_agent_says_so_is_hung_up_on_where_the_leg_can_be_told() {
    let terms = || CallTerms { fallback_sound: None, fallback: Fallback::HangUp, ..fallback(false) };
    // With our script there is an order, which hangs up whatever follows in the dialplan.
    let mut call = Call::new(terms());
    call.machine.set_leg(LegKind::ModAudioStream, 7);
    call.tell(Fact::Reported(tandem::base::LegReport::Hello { version: 1 }));
    call.live(1);
    let orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
    let [Order::Leg(LegOrder::Command(number, Command::HangUp(cause)))] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!(cause.to_string(), "NORMAL_TEMPORARY_FAILURE");
    let orders = call.tell(Fact::Reported(tandem::base::LegReport::Done(*number)));
    assert_eq!(close_of(&orders), Some((1000, "dropped")), "no code that leads to a fallback");
    // Asterisk's legs are closed, and its dialplan is told that the call is over as it should be.
    for kind in [LegKind::AudioSocket, LegKind::ChanWebsocket, LegKind::Telephone] {
        let mut call = Call::new(terms());
        call.machine.set_leg(kind, 7);
        call.orders();
        call.live(1);
        let orders = call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        assert_eq!(close_of(&orders), Some((1000, "dropped")), "{kind:?}");
    }
}
