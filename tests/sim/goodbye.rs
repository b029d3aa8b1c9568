//! The model's wish to hang up or to transfer, and the caller who is not done yet: one call's machine in virtual time.
//!
//! Runs in: `cargo test --test sim`. Owns nothing. Never reads a clock.
//! Invariant: in none of the cases is a caller cut off while they speak or hear an answer, and none holds the line for ever.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tandem::base::command::{Command, Destination};
use tandem::base::{Instant, LegReport, SampleRate, Sound};
use tandem::call::agent::ControlTerms;
use tandem::call::agent::{CallTerms, CredentialView, TurnTerms};
use tandem::call::leg::CallFields;
use tandem::call::model::{LinkEnd, ToolCall};
use tandem::call::transcript::Speaker;
use tandem::call::{Fact, LegKind, LegOrder, Machine, ModelOrder, Order};
use tandem::dsp::ListenTerms;

/// How long a talkspurt lasts on behind its speech.
const HANGOVER_MS: u64 = 600;
/// From the last sound until the switch is told.
const QUIET_MS: u64 = 800;
/// How long the model may take to begin an answer.
const ANSWER_MS: u64 = 3_000;
/// What is looked at is looked at so often.
const LOOK_MS: u64 = 100;

/// A call of a model that may end it, on a leg with our script.
struct Call {
    machine: Machine,
    start: Instant,
    now: Instant,
    link: u32,
    /// Until when what the model said is heard, and how much of it was handed over.
    heard_at: Instant,
    samples: u64,
    /// What was ordered, and when, in milliseconds since the start.
    ended: Vec<(u64, &'static str)>,
    /// What the model was answered.
    answers: Vec<String>,
    prompts: Vec<String>,
}

impl Call {
    fn new(terms: CallTerms) -> Self {
        let now = Instant::from_micros(1_000_000);
        let machine = Machine::new(now, Arc::new(terms.into()), CallFields::default());
        let (ended, answers, prompts) = (vec![], vec![], vec![]);
        let mut call =
            Self { machine, start: now, now, link: 0, heard_at: now, samples: 0, ended, answers, prompts };
        call.machine.set_leg(LegKind::ModAudioStream, 0);
        call.machine.tell(now, Fact::Reported(LegReport::Hello { version: 1 }));
        call.carry_out();
        call
    }

    fn may_end() -> Self {
        Self::new(CallTerms {
            control: ControlTerms {
                model_may_end: true,
                tell_keys: true,
                model_destinations: vec![Destination::new("2000").expect("a destination")],
                ..ControlTerms::default()
            },
            turns: TurnTerms {
                answer_within: Some(Duration::from_secs(4)),
                listen: ListenTerms { hangover_ms: HANGOVER_MS as u32, ..ListenTerms::default() },
                ..TurnTerms::default()
            },
            ..CallTerms::default()
        })
    }

    fn carry_out(&mut self) {
        while let Some(order) = self.machine.next_order() {
            let ms = self.ms();
            match order {
                Order::Dial(link) => {
                    self.link = link;
                    _ = self.machine.setup(&CredentialView { number: 0, model_prefix: None });
                    self.machine.tell(self.now, Fact::LinkConnected(link));
                    self.machine.tell(self.now, Fact::SetupComplete(link));
                    self.machine.tell(self.now, Fact::Resumable(link, "handle".into()));
                }
                Order::Model(ModelOrder::CloseLink(link)) => {
                    self.machine.tell(self.now, Fact::LinkClosed(link))
                }
                Order::Leg(LegOrder::Command(number, command)) => {
                    let transfer = matches!(command, Command::Transfer(_));
                    self.ended.push((ms, if transfer { "transferred" } else { "hung up" }));
                    self.machine.tell(self.now, Fact::Reported(LegReport::Done(number)));
                }
                Order::Leg(LegOrder::Close(_)) if self.ended.is_empty() => self.ended.push((ms, "closed")),
                Order::Model(ModelOrder::AnswerTool(_, _, answer)) => {
                    self.answers.push(answer.result.expect_err("an error"))
                }
                Order::Model(ModelOrder::Prompt(_, text)) => self.prompts.push(text),
                _ => {}
            }
        }
    }

    fn ms(&self) -> u64 {
        self.now.since_ms(self.start)
    }

    fn tell(&mut self, fact: Fact) {
        self.machine.hears_until(self.now, self.heard_at);
        self.machine.tell(self.now, fact);
        self.carry_out();
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while let Some(due) = self.machine.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.samples += u64::from(self.now < self.heard_at);
            self.machine.hears_until(self.now, self.heard_at);
            if self.machine.wants_played(self.now) {
                self.machine.played(self.now, self.samples);
            }
            self.machine.tick(self.now);
            self.carry_out();
        }
        self.now = end;
    }

    /// The model speaks for so long, all of it sent at once.
    fn model_says(&mut self, ms: u64) {
        self.tell(Fact::TurnStarted(self.link));
        self.heard_at = self.heard_at.max(self.now).plus_ms(ms);
        self.tell(Fact::GenerationComplete(self.link));
    }

    fn calls(&mut self, name: &'static str) {
        let args = if name == "transfer_call" { json!({"destination": "2000"}) } else { json!({}) };
        let call = ToolCall::read(Some("e-1"), name, &args).expect("a call");
        self.tell(Fact::ToolCalled(self.link, Box::new(call)));
    }

    /// The caller says something for so long; behind it the talkspurt is over.
    fn caller_says(&mut self, ms: u64) {
        self.tell(Fact::CallerSpoke(true));
        self.wait(ms + HANGOVER_MS);
        self.tell(Fact::CallerSpoke(false));
    }

    fn turn_complete(&mut self) {
        self.tell(Fact::TurnComplete(self.link));
    }

    fn interrupted(&mut self) {
        self.tell(Fact::Interrupted(self.link));
        self.heard_at = self.now;
    }
}

const WISHES: [(&str, &str); 2] = [("end_call", "hung up"), ("transfer_call", "transferred")];

#[test]
fn a_goodbye_that_was_heard_ends_the_call_without_dead_air_wherever_the_wish_stood_in_it() {
    for (name, done) in WISHES {
        for wished_after_ms in [0, 500, 3_000] {
            let mut call = Call::may_end();
            call.model_says(2_000);
            call.wait(wished_after_ms);
            call.calls(name);
            call.wait(60_000);
            let heard_ms = wished_after_ms.max(2_000);
            let [(ms, what)] = call.ended[..] else { panic!("{:?}", call.ended) };
            assert_eq!(what, done);
            let latest = heard_ms + QUIET_MS + 2 * LOOK_MS;
            assert!((2_000 + QUIET_MS - LOOK_MS..=latest).contains(&ms), "{ms} after {wished_after_ms}");
        }
    }
}

#[test]
fn a_goodbye_that_comes_behind_the_wish_in_a_turn_of_its_own_is_heard_to_its_end() {
    let mut call = Call::may_end();
    // The wish answers what the caller has just said: their hangover goes on.
    call.tell(Fact::CallerSpoke(true));
    call.wait(900);
    call.calls("end_call");
    call.wait(200);
    call.model_says(2_500);
    call.turn_complete();
    call.wait(100);
    call.tell(Fact::CallerSpoke(false));
    call.wait(60_000);
    let [(ms, "hung up")] = call.ended[..] else { panic!("{:?} {:?}", call.ended, call.answers) };
    assert!((3_600 + QUIET_MS - LOOK_MS..=3_600 + QUIET_MS + 2 * LOOK_MS).contains(&ms), "{ms}");
}

#[test]
fn a_caller_who_interrupts_the_goodbye_goes_on_and_the_model_is_told() {
    for (name, _) in WISHES {
        let mut call = Call::may_end();
        call.model_says(4_000);
        call.calls(name);
        call.wait(1_000);
        call.tell(Fact::CallerSpoke(true));
        call.wait(400);
        call.interrupted();
        call.turn_complete();
        assert!(call.answers[0].contains("the caller went on speaking"), "{:?}", call.answers);
        assert!(call.answers[0].contains(name), "{:?}", call.answers);
        call.wait(3_000);
        call.tell(Fact::CallerSpoke(false));
        call.wait(500);
        call.model_says(2_000);
        call.turn_complete();
        call.wait(60_000);
        assert_eq!((call.ended.len(), call.answers.len()), (0, 1), "{:?}", call.ended);
        call.calls(name);
        call.wait(2_000);
        assert_eq!(call.ended.len(), 1, "asked again, it is done");
    }
}

#[test]
fn a_caller_who_is_answered_goes_on_although_nobody_says_that_they_interrupted() {
    let answers: [fn(&mut Call); 3] = [
        |call| call.model_says(2_000),
        |call| call.tell(Fact::InProgress(call.link, true)),
        |call| call.calls("get_call_info"),
    ];
    for answer in answers {
        // Into the goodbye, or just behind it.
        for begins_after_ms in [1_000, 2_500] {
            let mut call = Call::may_end();
            call.model_says(2_000);
            call.turn_complete();
            call.calls("end_call");
            call.wait(begins_after_ms);
            call.caller_says(4_000);
            assert_eq!(call.ended, [], "not while they speak, nor at once behind it");
            call.wait(2_500);
            answer(&mut call);
            assert!(call.answers[0].contains("the caller went on speaking"), "{:?}", call.answers);
            call.wait(1_000);
            assert_eq!(call.ended, []);
        }
    }
}

#[test]
fn a_model_that_speaks_on_in_the_same_turn_once_the_goodbye_was_heard_answers_the_caller() {
    for caller_speaks in [true, false] {
        let mut call = Call::may_end();
        call.model_says(1_000);
        call.calls("end_call");
        call.wait(500);
        if caller_speaks {
            call.caller_says(1_500);
            call.wait(500);
        }
        call.heard_at = call.heard_at.max(call.now).plus_ms(1_500);
        call.wait(300);
        assert_eq!(call.answers.len(), usize::from(caller_speaks));
        call.wait(10_000);
        assert_eq!(call.ended.len(), usize::from(!caller_speaks), "a goodbye in pieces is one");
    }
}

#[test]
fn a_key_that_the_model_is_told_of_counts_as_a_word() {
    for answered in [true, false] {
        let mut call = Call::may_end();
        call.model_says(1_000);
        call.calls("end_call");
        call.wait(500);
        call.tell(Fact::Reported(LegReport::Dtmf('5')));
        call.wait(2_500);
        assert_eq!((call.prompts.len(), call.ended.len()), (1, 0), "{:?}", call.ended);
        if answered {
            call.model_says(1_000);
            call.turn_complete();
        }
        call.wait(4_000);
        assert_eq!(call.ended.len(), usize::from(!answered));
        assert_eq!(call.answers.len(), usize::from(answered));
    }
}

#[test]
fn what_the_model_takes_longer_to_answer_is_waited_for_once_it_has_understood() {
    let mut call = Call::may_end();
    call.model_says(1_000);
    call.calls("end_call");
    call.wait(500);
    call.caller_says(2_000);
    call.wait(2_500);
    call.tell(Fact::Transcribed(call.link, Speaker::Caller, "Wait, my invoice?".into()));
    call.wait(2_500);
    call.model_says(1_000);
    assert_eq!((call.ended.len(), call.answers.len()), (0, 1));
}

#[test]
fn a_goodbye_of_the_caller_that_nobody_answers_does_not_hold_the_line() {
    let mut call = Call::may_end();
    call.model_says(1_000);
    call.calls("end_call");
    // The text of what was said before the goodbye comes late, and means nothing for it.
    call.tell(Fact::Transcribed(call.link, Speaker::Caller, "That was all.".into()));
    call.wait(500);
    call.caller_says(600);
    let spoken_ms = call.ms();
    call.wait(60_000);
    let [(ms, "hung up")] = call.ended[..] else { panic!("{:?}", call.ended) };
    assert!(ms >= spoken_ms + ANSWER_MS && ms <= spoken_ms + ANSWER_MS + 2 * LOOK_MS, "{ms}");
    assert_eq!(call.answers.len(), 0);
}

#[test]
fn a_model_that_says_again_that_it_wants_to_end_the_call_after_the_callers_word_ends_it_at_once() {
    let mut call = Call::may_end();
    call.model_says(1_000);
    call.calls("end_call");
    call.wait(500);
    call.caller_says(500);
    call.wait(500);
    call.calls("end_call");
    let again_ms = call.ms();
    call.wait(60_000);
    let [(ms, "hung up")] = call.ended[..] else { panic!("{:?}", call.ended) };
    assert!(ms <= again_ms + QUIET_MS, "{ms} after {again_ms}");
}

#[test]
fn noise_that_sounds_like_speech_without_end_holds_the_line_for_a_minute_at_most() {
    // One talkspurt without an end, and one after the other.
    for spurt_ms in [1_000_000, 1_500] {
        let mut call = Call::may_end();
        call.model_says(1_000);
        call.calls("end_call");
        while call.ms() < 120_000 && call.ended.is_empty() {
            call.tell(Fact::CallerSpoke(true));
            call.wait(spurt_ms.min(120_000 - call.ms()));
            if spurt_ms < 100_000 {
                call.tell(Fact::CallerSpoke(false));
                call.wait(300);
            }
        }
        let [(ms, "hung up")] = call.ended[..] else { panic!("{:?}", call.ended) };
        assert!((60_000..=60_000 + 2 * LOOK_MS).contains(&ms), "{ms}");
    }
}

#[test]
fn a_wish_survives_its_link_and_is_withdrawn_in_words_on_the_next() {
    for caller_speaks in [false, true] {
        let mut call = Call::may_end();
        call.model_says(1_500);
        call.turn_complete();
        call.calls("end_call");
        call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        assert_eq!(call.link, 2);
        if caller_speaks {
            call.wait(200);
            call.caller_says(1_500);
            call.wait(500);
            call.model_says(1_000);
            call.wait(1_000);
            assert_eq!(call.ended, []);
            assert!(call.prompts.iter().any(|text| text.contains("went on speaking")), "{:?}", call.prompts);
        } else {
            call.wait(10_000);
            assert_eq!(call.ended.len(), 1);
        }
    }
}

#[test]
fn a_caller_who_speaks_into_the_farewell_of_a_call_that_is_given_up_is_not_cut_off_for_a_while() {
    let sound = Sound { rate: SampleRate::Hz8000, samples: vec![1; 8_000] };
    for (speaks_ms, ended) in [(4_000, 4_600..=4_900), (60_000, 21_000..=21_200)] {
        let mut call = Call::new(CallTerms {
            give_up: Duration::ZERO,
            fallback_sound: Some(Arc::new(sound.clone())),
            ..CallTerms::default()
        });
        call.tell(Fact::CallerSpoke(true));
        call.heard_at = call.now.plus_ms(1_000);
        call.tell(Fact::LinkGone(1, LinkEnd::dropped("reset")));
        call.wait(speaks_ms + HANGOVER_MS);
        call.tell(Fact::CallerSpoke(false));
        call.wait(1_000);
        let [(ms, "closed")] = call.ended[..] else { panic!("{:?}", call.ended) };
        assert!(ended.contains(&ms), "{ms}");
    }
}
