//! Turns that go wrong, and greetings that cannot be interrupted: one call's machine in virtual time.
//!
//! Runs in: `cargo test --test sim_turns`. Owns nothing. Never reads a clock.
//! Invariant: a healthy conversation, however slow or noisy, brings none of the watchdog's steps.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tandem::base::parameters::Parameters;
use tandem::base::{Instant, SampleRate, Sound};
use tandem::call::agent::Limits;
use tandem::call::agent::{CallTerms, CredentialView, TurnTerms};
use tandem::call::leg::CallFields;
use tandem::call::machine::{CallEvents, Phase};
use tandem::call::model::ToolCall;
use tandem::call::tool::{HttpTool, Method, ToolTerms};
use tandem::call::transcript::Speaker;
use tandem::call::{Fact, Machine, ModelOrder, Order, WorkerOrder};
use tandem::codec::Provider;
use tandem::dsp::ListenTerms;

/// How long a talkspurt lasts on behind its speech.
const HANGOVER_MS: u64 = 600;
/// How patient the watchdog is here.
const PATIENCE_MS: u64 = 4_000;

/// A call whose links come at once, with the answers of the model left to the test.
struct Call {
    machine: Machine,
    now: Instant,
    link: u32,
    /// What the model and its links were told, a letter each: `c` commit, `p` prompt, `d` dial with the session's handle,
    /// `f` dial for a fresh session, `h` and `r` uplink held and released.
    told: String,
}

impl Call {
    fn new(turns: TurnTerms, greeting: Option<&str>) -> Self {
        let terms = CallTerms { turns, greeting: greeting.map(str::to_owned), ..CallTerms::default() };
        let now = Instant::from_micros(1_000_000);
        let machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
        let mut call = Self { machine, now, link: 0, told: String::new() };
        call.carry_out();
        call.told.clear();
        call
    }

    fn watched() -> Self {
        Self::new(watched(), None)
    }

    fn carry_out(&mut self) {
        while let Some(order) = self.machine.next_order() {
            match order {
                Order::Model(ModelOrder::Commit(link)) => self.tell_model(link, 'c'),
                Order::Model(ModelOrder::Prompt(link, _)) => self.tell_model(link, 'p'),
                Order::Model(ModelOrder::HoldUplink(held)) => self.told.push(if held { 'h' } else { 'r' }),
                Order::Dial(link) => {
                    self.link = link;
                    let setup = self.machine.setup(&CredentialView { number: 0, model_prefix: None });
                    let setup = Provider::Gemini.setup(&setup);
                    self.told.push(if setup.contains("the handle") { 'd' } else { 'f' });
                    self.machine.tell(self.now, Fact::LinkConnected(link));
                    self.machine.tell(self.now, Fact::SetupComplete(link));
                    self.machine.tell(self.now, Fact::Resumable(link, "the handle".into()));
                }
                Order::Model(ModelOrder::CloseLink(link)) => {
                    self.machine.tell(self.now, Fact::LinkClosed(link))
                }
                _ => {}
            }
        }
    }

    fn tell_model(&mut self, link: u32, what: char) {
        assert_eq!(link, self.link, "only the present link is told");
        self.told.push(what);
    }

    fn tell(&mut self, fact: Fact) {
        self.machine.tell(self.now, fact);
        self.carry_out();
    }

    /// Lets so much time pass, in the steps in which the machine wants to be called.
    fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        let mut ticks = 0;
        while let Some(due) = self.machine.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.tick(self.now);
            self.carry_out();
            ticks += 1;
            assert!(ticks < 1_000, "the machine wants to be called again and again");
        }
        self.now = end;
    }

    fn caller_says(&mut self, speech_ms: u64) {
        self.tell(Fact::CallerSpoke(true));
        self.wait(speech_ms + HANGOVER_MS);
        self.tell(Fact::CallerSpoke(false));
    }

    /// The model speaks for so long, all of it sent at once.
    fn model_says(&mut self, ms: u64) {
        self.tell(Fact::TurnStarted(self.link));
        self.hears_for(ms);
        self.tell(Fact::GenerationComplete(self.link));
        self.tell(Fact::TurnComplete(self.link));
    }

    fn hears_for(&mut self, ms: u64) {
        self.machine.hears_until(self.now, self.now.plus_ms(ms));
    }

    /// Whether the caller's speech is kept back, as ordered last.
    fn holds(&self) -> bool {
        self.told.chars().rev().find(|told| "hr".contains(*told)) == Some('h')
    }

    fn events(&self) -> CallEvents {
        self.machine.events()
    }
}

fn watched() -> TurnTerms {
    TurnTerms { answer_within: Some(Duration::from_millis(PATIENCE_MS)), ..TurnTerms::default() }
}

#[test]
fn an_utterance_that_nobody_answers_is_healed_step_by_step_until_the_call_is_given_up() {
    let mut call = Call::watched();
    call.caller_says(400);
    for told in ["", "c", "cp", "cpdp", "cpdpfp"] {
        assert_eq!(call.told, told);
        call.wait(PATIENCE_MS - 1);
        assert_eq!(call.told, told, "too early");
        call.wait(1);
    }
    let events = call.events();
    assert_eq!((events.commits, events.nudges), (1, 1));
    assert_eq!((events.watchdog_resumptions, events.watchdog_sessions), (1, 1));
    assert_eq!((events.healed, events.given_up), (0, true));
    assert_eq!(call.machine.phase(), Phase::Closing);
}

#[test]
fn an_answer_ends_the_healing_at_every_step_and_is_counted() {
    for (steps, told) in [(1, "c"), (2, "cp"), (3, "cpdp"), (4, "cpdpfp")] {
        let mut call = Call::watched();
        call.caller_says(400);
        call.wait(steps * PATIENCE_MS);
        call.model_says(500);
        call.wait(60_000);
        assert_eq!((call.told.as_str(), call.events().healed), (told, 1));
    }
}

#[test]
fn what_the_model_has_understood_is_not_committed_and_the_patience_begins_anew() {
    let mut call = Call::watched();
    call.caller_says(400);
    call.wait(1_000);
    call.tell(Fact::Transcribed(call.link, Speaker::Caller, "Yes.".into()));
    call.wait(PATIENCE_MS - 1);
    assert_eq!(call.told, "");
    call.wait(1);
    assert_eq!(call.told, "p");
}

#[test]
fn an_answer_that_comes_before_the_hangover_is_over_is_one() {
    let mut call = Call::watched();
    call.tell(Fact::CallerSpoke(true));
    call.wait(700);
    call.tell(Fact::TurnStarted(call.link));
    call.wait(300);
    call.tell(Fact::CallerSpoke(false));
    call.tell(Fact::TurnComplete(call.link));
    call.wait(60_000);
    assert_eq!(call.told, "");
}

#[test]
fn a_caller_who_goes_on_speaking_is_waited_for() {
    let mut call = Call::watched();
    for _ in 0..5 {
        call.caller_says(2_000);
        call.wait(PATIENCE_MS - 500);
    }
    assert_eq!(call.told, "", "the patience begins anew with each utterance");
    call.wait(500);
    assert_eq!(call.told, "c");
}

#[test]
fn a_healthy_conversation_is_left_alone() {
    let mut call = Call::watched();
    for _ in 0..20 {
        // A question, an answer after a while, "mhm" while it is heard, noise, minutes of silence.
        call.caller_says(1_500);
        call.wait(PATIENCE_MS - 100);
        call.model_says(900);
        call.caller_says(300);
        call.wait(2_000);
        call.caller_says(60);
        call.wait(180_000);
    }
    assert_eq!((call.told.as_str(), call.events().healed), ("", 0));
}

#[test]
fn what_is_said_while_the_model_is_heard_needs_no_answer_even_if_its_turn_is_over() {
    let mut call = Call::watched();
    call.model_says(900);
    call.wait(200);
    call.hears_for(900);
    call.caller_says(500);
    call.wait(60_000);
    assert_eq!(call.told, "");
}

#[test]
fn what_the_caller_interrupts_with_needs_an_answer() {
    let mut call = Call::watched();
    call.tell(Fact::TurnStarted(call.link));
    call.hears_for(900);
    call.tell(Fact::CallerSpoke(true));
    call.wait(300);
    call.tell(Fact::Interrupted(call.link));
    call.tell(Fact::TurnComplete(call.link));
    call.hears_for(0);
    call.wait(10_000);
    assert_eq!(call.told, "", "the caller still speaks");
    call.tell(Fact::CallerSpoke(false));
    call.wait(PATIENCE_MS);
    assert_eq!(call.told, "p");
    assert_eq!(call.events().empty_turns, 0, "an interrupted turn may be without a word");
}

#[test]
fn an_answer_that_stops_in_its_middle_is_noticed_and_healed() {
    let mut call = Call::watched();
    call.caller_says(900);
    call.wait(200);
    call.tell(Fact::TurnStarted(call.link));
    call.hears_for(1_000);
    call.wait(4_900);
    assert_eq!(call.told, "", "the caller has heard all that came for less than four seconds");
    call.wait(200);
    assert_eq!(call.told, "p");
    call.wait(4_100);
    assert!(call.told.starts_with("pd"), "{}", call.told);
    assert_eq!((call.events().nudges, call.events().watchdog_resumptions), (1, 1));
}

#[test]
fn a_turn_without_a_word_is_counted_and_the_model_nudged() {
    let mut call = Call::watched();
    call.caller_says(800);
    call.wait(500);
    call.tell(Fact::TurnComplete(call.link));
    call.tell(Fact::Resumable(call.link, "the handle".into()));
    call.wait(PATIENCE_MS);
    assert_eq!((call.told.as_str(), call.events().empty_turns), ("p", 1));
    call.tell(Fact::TurnComplete(call.link));
    call.wait(PATIENCE_MS);
    assert_eq!((call.told.as_str(), call.events().empty_turns), ("pdp", 2));
}

#[test]
fn a_greeting_that_does_not_come_is_asked_for_again() {
    let mut call = Call::new(watched(), Some("Greet the caller."));
    call.wait(PATIENCE_MS);
    assert_eq!(call.told, "p");
    call.model_says(900);
    call.wait(60_000);
    assert_eq!((call.told.as_str(), call.events().healed), ("p", 1));
}

#[test]
fn noise_taken_for_speech_makes_it_more_patient() {
    let mut call = Call::watched();
    for _ in 0..6 {
        // Steady noise: found to be speech again and again, and the server hears nothing in it.
        for _ in 0..20 {
            call.caller_says(400);
            call.wait(5_000);
            if call.told.ends_with('p') {
                call.model_says(500);
                call.told.push('.');
            }
        }
    }
    let nudges = call.events().nudges;
    assert!(nudges <= 20, "{nudges} times the model was made to ask within {} s", 120 * 6);
}

#[test]
fn the_relays_own_turns_are_not_committed_again() {
    let listen = ListenTerms { pre_roll_ms: 240, ..ListenTerms::default() };
    let mut call = Call::new(TurnTerms { relay: true, listen, ..watched() }, None);
    call.caller_says(400);
    call.wait(PATIENCE_MS);
    assert_eq!(call.told, "p");
}

#[test]
fn without_patience_set_nothing_is_watched() {
    let mut call = Call::new(TurnTerms::default(), Some("Greet the caller."));
    call.caller_says(2_000);
    call.wait(600_000);
    assert_eq!(call.told, "");
}

#[test]
fn nothing_is_done_about_silence_while_there_is_no_link_and_the_patience_begins_with_the_next() {
    let mut call = Call::watched();
    call.caller_says(400);
    call.wait(PATIENCE_MS - 100);
    call.machine.rotate(call.now);
    call.carry_out();
    assert_eq!(call.told, "d");
    call.wait(PATIENCE_MS - 100);
    assert_eq!(call.told, "d");
    call.wait(100);
    assert_eq!(call.told, "dc");
}

fn protected(limit_ms: u64) -> TurnTerms {
    TurnTerms { protect_greeting: Some(Duration::from_millis(limit_ms)), ..TurnTerms::default() }
}

#[test]
fn a_protected_greeting_keeps_the_callers_speech_back_until_it_has_been_heard() {
    let terms =
        CallTerms { turns: protected(10_000), greeting: Some("Greet.".into()), ..CallTerms::default() };
    let now = Instant::from_micros(1_000_000);
    let machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
    let mut call = Call { machine, now, link: 0, told: String::new() };
    call.carry_out();
    assert_eq!(call.told, "fph", "held from the moment at which the model is asked to greet");
    call.wait(800);
    call.tell(Fact::TurnStarted(call.link));
    call.tell(Fact::GenerationComplete(call.link));
    call.wait(100);
    for _ in 0..40 {
        // Three seconds of it are heard, a little ahead of real time.
        call.hears_for(60);
        call.wait(75);
    }
    assert_eq!(call.told, "fph");
    call.wait(1_000);
    assert_eq!(call.told, "fphr");
}

#[test]
fn a_protected_greeting_that_never_ends_or_never_comes_is_protected_for_its_limit_only() {
    for begins in [true, false] {
        let mut call = Call::new(protected(5_000), Some("Greet the caller."));
        if begins {
            call.tell(Fact::TurnStarted(call.link));
        }
        call.wait(4_999);
        assert_eq!(call.told, "");
        call.wait(1);
        assert_eq!(call.told, "r");
        call.wait(60_000);
        assert_eq!(call.told, "r");
    }
}

/// Every order in which these may come.
fn orders_of<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![vec![]];
    }
    let mut orders = Vec::new();
    for (at, first) in items.iter().enumerate() {
        let rest: Vec<_> =
            items.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, item)| *item).collect();
        orders.extend(orders_of(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    orders
}

/// A reason to keep the caller's speech back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Announcement,
    Greeting,
    Tool,
}

#[test]
fn the_callers_speech_is_held_until_the_last_reason_is_over_whatever_the_order_and_over_a_change_of_links() {
    use Reason::{Announcement, Greeting, Tool};
    let sets: [&[Reason]; 7] = [
        &[Announcement],
        &[Greeting],
        &[Tool],
        &[Announcement, Greeting],
        &[Announcement, Tool],
        &[Greeting, Tool],
        &[Announcement, Greeting, Tool],
    ];
    for set in sets {
        for order in orders_of(set) {
            for rotates in [false, true] {
                let until_ms = |reason| {
                    let place = order.iter().position(|other| *other == reason);
                    place.map(|place| 4_000 * (place as u64 + 1))
                };
                let mut call = holding(until_ms(Announcement), until_ms(Greeting));
                if until_ms(Tool).is_some() {
                    let book = ToolCall::read(Some("b"), "book", &json!({})).expect("a call");
                    call.tell(Fact::ToolCalled(call.link, Box::new(book)));
                }
                let begun = call.machine.offered_at();
                let mut tool_ends = until_ms(Tool);
                if rotates {
                    // A tool under way holds on to its link; another link is held back for the other reasons alone.
                    call.machine.rotate(call.now);
                    call.carry_out();
                    tool_ends = None;
                }
                let last = order
                    .iter()
                    .filter(|reason| !rotates || **reason != Tool)
                    .map(|reason| until_ms(*reason));
                let last_ms = last.max().flatten();
                for ms in (1_000..=13_000).step_by(500) {
                    call.wait(ms - call.now.since_ms(begun));
                    if tool_ends == Some(ms) {
                        call.tell(Fact::ToolDone(1, Ok(json!("done"))));
                    }
                    let held = last_ms.is_some_and(|last_ms| ms < last_ms);
                    assert_eq!(
                        call.holds(),
                        held,
                        "{order:?} at {ms} ms, rotates: {rotates}, {:?}",
                        call.told
                    );
                }
            }
        }
    }
}

/// A live call whose announcement and greeting last until then, where it has them.
fn holding(announcement_ms: Option<u64>, greeting_ms: Option<u64>) -> Call {
    let consent_sound = announcement_ms.map(|ms| {
        // It is waited for 300 ms longer than it lasts.
        let samples = vec![1; (ms as usize - 300) * 8];
        Arc::new(Sound { rate: SampleRate::Hz8000, samples })
    });
    let book = HttpTool {
        name: "book".into(),
        description: "Books.".into(),
        url: "http://127.0.0.1/".into(),
        method: Method::Post,
        parameters: Parameters::read(r#"{"type": "object"}"#).expect("a schema"),
        timeout: Duration::from_secs(30),
        retries: 0,
        secret: None,
        behavior: None,
        scheduling: None,
        hold_uplink: true,
    };
    let terms = CallTerms {
        record: true,
        consent_sound,
        greeting: greeting_ms.map(|_| "Greet.".into()),
        turns: greeting_ms.map_or_else(TurnTerms::default, protected),
        tools: ToolTerms { http: vec![Arc::new(book)], ..ToolTerms::default() },
        ..CallTerms::default()
    };
    let now = Instant::from_micros(1_000_000);
    let machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
    let mut call = Call { machine, now, link: 0, told: String::new() };
    call.carry_out();
    call
}

/// A call of a model that is at work on what the caller asked.
fn at_work(progress_ms: u64) -> Call {
    let turns = TurnTerms { progress_within: Duration::from_millis(progress_ms), ..watched() };
    let mut call = Call::new(turns, None);
    call.caller_says(900);
    call.wait(300);
    call.tell(Fact::InProgress(call.link, true));
    call
}

#[test]
fn a_model_that_says_that_it_is_at_work_is_waited_for_whatever_it_says_meanwhile() {
    // Nothing, a filler, an empty turn; said once, or every two seconds.
    for meanwhile in ["nothing", "a filler", "an empty turn"] {
        for again in [false, true] {
            let mut call = at_work(30_000);
            match meanwhile {
                "a filler" => call.model_says(900),
                "an empty turn" => call.tell(Fact::TurnComplete(call.link)),
                _ => {}
            }
            for _ in 0..if again { 40 } else { 10 } {
                call.wait(2_000);
                if again {
                    call.tell(Fact::InProgress(call.link, true));
                }
            }
            assert_eq!((call.told.as_str(), call.events().empty_turns), ("", 0), "{meanwhile} {again}");
            call.tell(Fact::TurnStarted(call.link));
            call.hears_for(1_000);
            call.tell(Fact::GenerationComplete(call.link));
            call.tell(Fact::InProgress(call.link, false));
            call.tell(Fact::TurnComplete(call.link));
            call.wait(100_000);
            assert_eq!((call.told.as_str(), call.events().empty_turns), ("", 0), "{meanwhile} {again}");
        }
    }
}

#[test]
fn work_that_never_ends_is_healed_after_a_limit_of_its_own() {
    for filler in [false, true] {
        let mut call = at_work(30_000);
        if filler {
            call.model_says(900);
            call.wait(900);
        }
        call.wait(29_900 - if filler { 900 } else { 0 });
        assert_eq!(call.told, "");
        call.wait(1_200);
        assert_eq!(call.told, "p");
        call.wait(PATIENCE_MS);
        assert_eq!(call.told, "pdp", "and then as ever");
    }
}

#[test]
fn a_model_that_was_done_and_never_said_so_is_left_alone() {
    let mut call = at_work(10_000);
    call.tell(Fact::TurnStarted(call.link));
    call.hears_for(1_000);
    call.tell(Fact::GenerationComplete(call.link));
    call.tell(Fact::InProgress(call.link, false));
    call.wait(100_000);
    assert_eq!(call.told, "", "it had said all that it promised");
    let mut call = at_work(10_000);
    call.tell(Fact::InProgress(call.link, false));
    call.wait(PATIENCE_MS + 100);
    assert_eq!(call.told, "p", "it promised, and said nothing");
}

#[test]
fn a_rotation_waits_for_work_in_progress_and_leaves_in_time_all_the_same() {
    let mut call = at_work(60_000);
    call.model_says(900);
    call.tell(Fact::GoAway(call.link, Duration::from_secs(50)));
    call.wait(20_000);
    assert_eq!(call.told, "", "its turn is complete, the exchange is not");
    call.tell(Fact::InProgress(call.link, false));
    call.tell(Fact::Resumable(call.link, "the handle".into()));
    call.wait(3_500);
    assert_eq!(call.told, "d");

    let mut call = at_work(60_000);
    call.tell(Fact::Transcribed(call.link, Speaker::Caller, "Compare the tariffs.".into()));
    call.tell(Fact::GoAway(call.link, Duration::from_secs(8)));
    call.wait(5_900);
    assert_eq!(call.told, "");
    call.wait(200);
    assert_eq!(call.told, "dp", "the next link is asked for what this one owed");
}

#[test]
fn silence_in_which_the_model_is_at_work_does_not_end_the_call() {
    let limits = Limits { tokens: None, silence: Some(Duration::from_secs(10)) };
    let terms = CallTerms { limits, turns: watched(), ..CallTerms::default() };
    let now = Instant::from_micros(1_000_000);
    let machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
    let mut call = Call { machine, now, link: 0, told: String::new() };
    call.carry_out();
    call.caller_says(900);
    for _ in 0..20 {
        call.tell(Fact::InProgress(call.link, true));
        call.tell(Fact::TurnComplete(call.link));
        call.wait(2_000);
    }
    assert_eq!(call.machine.phase(), Phase::Live);
    call.tell(Fact::InProgress(call.link, false));
    call.model_says(500);
    call.wait(11_000);
    assert_eq!(call.machine.phase(), Phase::Closing, "when it is done, it counts again");
}

#[test]
fn a_model_that_waits_for_the_caller_is_no_fault_and_their_next_word_is_watched_as_ever() {
    for hangover_goes_on in [false, true] {
        let mut call = Call::watched();
        call.tell(Fact::CallerSpoke(true));
        call.wait(900);
        if !hangover_goes_on {
            call.wait(HANGOVER_MS);
            call.tell(Fact::CallerSpoke(false));
        }
        call.tell(Fact::WaitsForInput(call.link));
        call.tell(Fact::TurnEndedBy(call.link, "NEED_MORE_INPUT".into()));
        call.tell(Fact::TurnComplete(call.link));
        call.wait(100);
        if hangover_goes_on {
            call.tell(Fact::CallerSpoke(false));
        }
        call.wait(120_000);
        assert_eq!((call.told.as_str(), call.events().empty_turns), ("", 0));
        let noted = call.machine.history().into_iter().find(|event| event.kind == "turn_complete_reason");
        assert_eq!(noted.and_then(|event| event.detail).as_deref(), Some("NEED_MORE_INPUT"));
        call.caller_says(900);
        call.wait(PATIENCE_MS);
        assert_eq!(call.told, "c");
    }
}

#[test]
fn a_turn_that_was_rejected_is_noted_with_its_reason_and_healed_as_an_empty_one() {
    let mut call = Call::watched();
    call.caller_says(800);
    call.tell(Fact::TurnEndedBy(call.link, "RESPONSE_REJECTED".into()));
    call.tell(Fact::TurnComplete(call.link));
    call.wait(PATIENCE_MS);
    assert_eq!((call.told.as_str(), call.events().empty_turns), ("p", 1));
    assert!(call.machine.history().iter().any(|event| event.detail.as_deref() == Some("RESPONSE_REJECTED")));
}

#[test]
fn an_announcement_and_a_protected_greeting_are_not_paused_by_a_cough_and_what_follows_them_is() {
    for (announced, greeted) in [(true, false), (false, true), (true, true)] {
        let sound = Sound { rate: SampleRate::Hz8000, samples: vec![1; 16_000] };
        let listen = ListenTerms { local_barge_in: true, ..ListenTerms::default() };
        let terms = CallTerms {
            record: announced,
            consent_sound: Some(Arc::new(sound)),
            greeting: greeted.then(|| "Greet.".into()),
            turns: TurnTerms { listen, ..protected(5_000) },
            ..CallTerms::default()
        };
        let mut now = Instant::from_micros(1_000_000);
        let mut machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
        let mut listens = Vec::new();
        for fact in [Fact::LinkConnected(1), Fact::SetupComplete(1)] {
            while let Some(order) = machine.next_order() {
                if let Order::Dsp(WorkerOrder::Listen(terms)) = order {
                    listens.push((now.as_micros() / 1_000 - 1_000, terms.local_barge_in));
                }
            }
            now = now.plus_ms(100);
            machine.tell(now, fact);
        }
        while let Some(due) = machine.deadline().filter(|due| due.as_micros() < 20_000_000) {
            now = now.max(due);
            machine.tick(now);
            while let Some(order) = machine.next_order() {
                if let Order::Dsp(WorkerOrder::Listen(terms)) = order {
                    listens.push((now.as_micros() / 1_000 - 1_000, terms.local_barge_in));
                }
            }
        }
        let over_ms = if greeted { 5_200 } else { 2_300 };
        assert_eq!(listens.last(), Some(&(over_ms, true)), "{announced} {greeted}: {listens:?}");
        assert!(listens.iter().all(|(ms, on)| *on == (*ms == over_ms)), "{listens:?}");
    }
}
