//! Turns that go wrong, and greetings that cannot be interrupted: one call's machine in virtual time.
//!
//! Runs in: `cargo test --test sim_turns`. Owns nothing. Never reads a clock.
//! Invariant: a healthy conversation, however slow or noisy, brings none of the watchdog's steps.

use std::sync::Arc;
use std::time::Duration;

use tandem::base::Instant;
use tandem::call::agent::{CallTerms, CredentialView, TurnTerms};
use tandem::call::machine::{CallEvents, Phase};
use tandem::call::transcript::Speaker;
use tandem::call::{Fact, Machine, Order};
use tandem::codec::mod_audio_stream::CallFields;
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
                Order::Commit(link) => self.tell_model(link, 'c'),
                Order::Prompt(link, _) => self.tell_model(link, 'p'),
                Order::HoldUplink(held) => self.told.push(if held { 'h' } else { 'r' }),
                Order::Dial(link) => {
                    self.link = link;
                    let setup =
                        self.machine.setup(&CredentialView { number: 0, model_prefix: None, vertex: false });
                    self.told.push(if setup.contains("the handle") { 'd' } else { 'f' });
                    self.machine.tell(self.now, Fact::LinkConnected(link));
                    self.machine.tell(self.now, Fact::SetupComplete(link));
                    self.machine.tell(self.now, Fact::Resumable(link, "the handle".into()));
                }
                Order::CloseLink(link) => self.machine.tell(self.now, Fact::LinkClosed(link)),
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
