//! What was said in a call: both sides, turn by turn, as the model's transcription has it, cut at what was really heard.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the texts, up to a limit beyond which the oldest go.
//! Never logged above debug: it is what people said.
//! Invariant: turns stand in the order in which they began to be spoken, whenever their text came; and each delta of a
//! transcription is in one of them, once.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Quoted;

/// Bytes of a call's transcript, with so many for the head of each turn; more than four hours of talk.
const BYTES_MAX: usize = 512 * 1024;
const TURN_BYTES: usize = 64;
/// Turns, and bytes of text, that a new session is told of.
const DIGEST_TURNS: usize = 40;
const DIGEST_BYTES: usize = 8 * 1024;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The caller.
    Caller,
    /// The model; in records the agent, whose voice it is.
    #[serde(rename = "agent")]
    Model,
}

/// One turn. Times are milliseconds since the call began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who spoke.
    pub speaker: Speaker,
    /// What, as far as it was transcribed.
    pub text: String,
    /// When it began.
    pub start_ms: u64,
    /// When it ended, or was cut off; as far as is known.
    pub end_ms: u64,
    /// The caller spoke over it.
    pub interrupted: bool,
    /// Bytes of the text that were heard: all, unless it was interrupted; then an estimate by the share of the audio.
    pub heard_bytes: usize,
}

impl Said {
    /// The part of the text that was heard.
    pub fn heard(&self) -> &str {
        self.text.get(..self.heard_bytes).unwrap_or(&self.text)
    }
}

/// How much of a turn's audio was sent by the model, and how much of that had not been handed on to the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Milliseconds received.
    pub received_ms: u64,
    /// Milliseconds of it that wait.
    pub waiting_ms: u64,
}

/// How long behind its turn a piece of a transcription may come.
const LATE_MS: u64 = 2_000;
/// How long behind an interruption the rest of what was never said may come.
const CANCELLED_MS: u64 = 1_000;
/// Nothing is transcribed sooner behind the onset of what is said: what comes by then was said before.
const TRANSCRIBING_MS: u64 = 500;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Transcript {
    /// The oldest first, by when they began.
    turns: VecDeque<Turn>,
    bytes: usize,
    /// Turns that there were so far.
    count: u64,
    /// Turns that went because there were too many.
    dropped: u64,
    caller: Side,
    model: Side,
    /// What the caller had said before that.
    caller_before: Utterance,
    /// The model has begun to speak since the caller's utterance began.
    answered: bool,
    /// The model's utterance has begun to be heard, not only to be transcribed.
    audible: bool,
    /// The model's words until then belong to a turn that was interrupted.
    cancelled_until: Option<u64>,
    /// The last turn of the caller is sent again: what is transcribed next takes its place.
    replaced: bool,
}

/// A turn, and its number in the order in which turns were made.
#[derive(Debug)]
struct Turn {
    number: u64,
    said: Said,
}

/// What one side says, or said last.
#[derive(Debug, Default)]
struct Side {
    utterance: Utterance,
    /// The present link may say this again, in pieces; what came of it so far.
    again: Option<(String, String)>,
}

/// Something that is said, whether or not it is transcribed yet.
#[derive(Debug, Default)]
struct Utterance {
    turn: Option<u64>,
    began_ms: Option<u64>,
    /// When it was over; pieces of it may still come.
    ended_ms: Option<u64>,
    /// How much of its audio was received, once that is known.
    received_ms: Option<u64>,
}

impl Utterance {
    fn begun(now_ms: u64) -> Self {
        Self { began_ms: Some(now_ms), ..Self::default() }
    }

    fn is_known(&self) -> bool {
        self.turn.is_some() || self.began_ms.is_some()
    }
}

impl Transcript {
    /// All turns, the oldest first.
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Said> {
        self.turns.iter().map(|turn| &turn.said)
    }

    /// Turns that went because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A piece of a transcription came.
    pub fn transcribed(&mut self, now_ms: u64, speaker: Speaker, text: &str) {
        let side = self.side(speaker);
        let Some((expected, held)) = &mut side.again else { return self.add(now_ms, speaker, text) };
        held.push_str(text);
        let (wanted, so_far) = (letters(expected), letters(held));
        if wanted == so_far {
            side.again = None;
        } else if !wanted.starts_with(&so_far) {
            self.not_again(now_ms, speaker);
        }
    }

    /// The caller began or ended a talkspurt.
    pub fn caller_spoke(&mut self, now_ms: u64, begins: bool) {
        if begins {
            // What is transcribed from here on was said from here on.
            self.not_again(now_ms, Speaker::Caller);
            if std::mem::take(&mut self.answered) {
                let said = std::mem::replace(&mut self.caller.utterance, Utterance::begun(now_ms));
                self.caller_before = said;
            }
            let utterance = &mut self.caller.utterance;
            utterance.began_ms.get_or_insert(now_ms);
            utterance.ended_ms = None;
            if self.model.utterance.ended_ms.is_some() {
                // What the model says next answers this.
                self.model.utterance = Utterance::default();
            }
        } else {
            self.caller.utterance.ended_ms = Some(now_ms);
            if let Some(said) = self.caller.utterance.turn.and_then(|turn| self.said(turn)) {
                said.end_ms = now_ms.max(said.start_ms);
            }
        }
    }

    /// The model begins to speak.
    pub fn model_began(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Caller);
        (self.answered, self.cancelled_until) = (true, None);
        // Its text may be ahead of its audio.
        let ahead = !self.audible && self.model.utterance.ended_ms.is_none();
        self.audible = true;
        match self.model.utterance.turn.filter(|_| ahead) {
            Some(turn) => {
                if let Some(said) = self.said(turn) {
                    said.end_ms = said.end_ms.max(now_ms);
                }
            }
            None => self.model.utterance = Utterance::begun(now_ms),
        }
    }

    /// All of the model's turn was received, or as much as will be.
    pub fn model_spoke(&mut self, spoken: Spoken) {
        let utterance = &mut self.model.utterance;
        utterance.received_ms = Some(spoken.received_ms);
        if let Some(said) = utterance.turn.and_then(|turn| self.said(turn)) {
            said.end_ms = said.start_ms + spoken.received_ms;
        }
    }

    /// The caller cut the model off.
    pub fn interrupted(&mut self, now_ms: u64, spoken: Spoken) {
        self.cancelled_until = Some(u64::MAX);
        self.audible = false;
        if std::mem::take(&mut self.answered) {
            self.caller_before = std::mem::take(&mut self.caller.utterance);
        }
        let turn = std::mem::take(&mut self.model.utterance).turn;
        let Some(said) = turn.and_then(|turn| self.said(turn)) else { return };
        let heard_ms = spoken.received_ms.saturating_sub(spoken.waiting_ms);
        let share = said.text.len() as u64 * heard_ms / spoken.received_ms.max(1);
        said.interrupted = true;
        said.end_ms = now_ms.max(said.start_ms);
        said.heard_bytes = word_end(&said.text, share as usize);
    }

    /// The model's turn is over.
    pub fn model_ended(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Model);
        self.audible = false;
        match &mut self.cancelled_until {
            Some(until) => *until = now_ms + CANCELLED_MS,
            None => self.model.utterance.ended_ms = Some(now_ms),
        }
    }

    /// The link is lost.
    pub fn link_lost(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Caller);
        self.not_again(now_ms, Speaker::Model);
        (self.cancelled_until, self.audible) = (None, false);
        self.model.utterance = Utterance::default();
        self.caller_before = Utterance::default();
        if std::mem::take(&mut self.answered) {
            self.caller.utterance = Utterance::default();
        }
    }

    /// Whether what the caller said last and the model did not begin to answer is sent again on the next link, and so
    /// transcribed again.
    pub fn sent_again(&mut self, again: bool) {
        let last = self.turns.back().filter(|turn| turn.said.speaker == Speaker::Caller);
        let number = last.map(|turn| turn.number).filter(|_| again);
        self.replaced = number.is_some();
        if self.replaced {
            self.caller.utterance.turn = number;
        }
    }

    /// The conversation goes on, on a link that may say again what was said last.
    pub fn resumed(&mut self) {
        for speaker in [Speaker::Caller, Speaker::Model] {
            let last = self.turns().rev().find(|said| said.speaker == speaker);
            let again = last.map(|said| (said.text.clone(), String::new()));
            self.side(speaker).again = again.filter(|_| !(self.replaced && speaker == Speaker::Caller));
        }
    }

    /// What the caller said last, if the model has said nothing since and it is not sent again.
    pub fn unanswered(&self) -> Option<&str> {
        let last =
            self.turns().next_back().filter(|said| said.speaker == Speaker::Caller && !self.replaced)?;
        Some(last.text.trim()).filter(|text| !text.is_empty())
    }

    /// What the caller said last and what the model had said in answer to it, when a link is lost within the answer.
    pub fn broken_off(&self) -> Option<(&str, &str)> {
        let mut last = self.turns().rev();
        let model = last.next().filter(|said| said.speaker == Speaker::Model)?;
        let caller = last.next().filter(|said| said.speaker == Speaker::Caller);
        Some((caller.map_or("", |said| said.text.trim()), model.text.trim()))
    }

    /// What was said last, for a model that knows nothing of it. Without what is sent to it again.
    pub fn digest(&self) -> String {
        let mut lines = Vec::new();
        let mut bytes = 0;
        for said in self.turns().rev().skip(usize::from(self.replaced)).take(DIGEST_TURNS) {
            let who = match said.speaker {
                Speaker::Caller => "Caller",
                Speaker::Model => "You",
            };
            let cut = if said.interrupted { " (interrupted)" } else { "" };
            let line = format!("{who}: {}{cut}", said.heard().trim());
            bytes += line.len() + 1;
            if bytes > DIGEST_BYTES {
                break;
            }
            lines.push(line);
        }
        lines.reverse();
        lines.join("\n")
    }

    fn side(&mut self, speaker: Speaker) -> &mut Side {
        match speaker {
            Speaker::Caller => &mut self.caller,
            Speaker::Model => &mut self.model,
        }
    }

    /// What was taken for a repetition is none, or not a whole one.
    fn not_again(&mut self, now_ms: u64, speaker: Speaker) {
        if let Some((_, held)) = self.side(speaker).again.take() {
            self.add(now_ms, speaker, &held);
        }
    }

    fn add(&mut self, now_ms: u64, speaker: Speaker, text: &str) {
        if text.is_empty() {
            return;
        }
        match speaker {
            Speaker::Caller => self.add_to_caller(now_ms, text),
            Speaker::Model => self.add_to_model(now_ms, text),
        }
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.turns.pop_front()
        {
            self.bytes -= oldest.said.text.len() + TURN_BYTES;
            self.dropped += 1;
        }
    }

    fn add_to_caller(&mut self, now_ms: u64, text: &str) {
        if std::mem::take(&mut self.replaced)
            && let Some(turn) = self.caller.utterance.turn
        {
            self.empty(turn);
        }
        let utterance = &self.caller.utterance;
        let just_began = utterance.began_ms.is_some_and(|began_ms| now_ms < began_ms + TRANSCRIBING_MS);
        if utterance.turn.is_none() && just_began && self.caller_before.is_known() {
            let mut before = std::mem::take(&mut self.caller_before);
            self.put(now_ms, Speaker::Caller, &mut before, text);
            self.caller_before = before;
            return;
        }
        // Said since the answer to what was said before, although nobody has heard the caller begin.
        let over = self.model.utterance.ended_ms.filter(|_| self.answered);
        if over.is_some_and(|over_ms| now_ms > over_ms + LATE_MS) {
            self.answered = false;
            self.caller.utterance = Utterance::default();
        }
        let mut utterance = std::mem::take(&mut self.caller.utterance);
        self.put(now_ms, Speaker::Caller, &mut utterance, text);
        self.caller.utterance = utterance;
    }

    fn add_to_model(&mut self, now_ms: u64, text: &str) {
        if self.cancelled_until.is_some_and(|until| now_ms < until) {
            return;
        }
        if self.model.utterance.ended_ms.is_some_and(|ended_ms| now_ms > ended_ms + LATE_MS) {
            self.model.utterance = Utterance::default();
        }
        let mut utterance = std::mem::take(&mut self.model.utterance);
        self.put(now_ms, Speaker::Model, &mut utterance, text);
        self.model.utterance = utterance;
    }

    /// Puts a text behind the others of an utterance, whose turn is made with the first.
    fn put(&mut self, now_ms: u64, speaker: Speaker, utterance: &mut Utterance, text: &str) {
        let known = utterance.turn.filter(|&turn| self.said(turn).is_some());
        let turn = known.unwrap_or_else(|| self.begin(speaker, utterance.began_ms.unwrap_or(now_ms)));
        utterance.turn = Some(turn);
        let (ended_ms, received_ms) = (utterance.ended_ms, utterance.received_ms);
        let Some(said) = self.said(turn) else { return };
        let before = said.text.len();
        said.text.push_str(if said.text.is_empty() { text.trim_start() } else { text });
        said.heard_bytes = said.text.len();
        let came_ms = match received_ms {
            Some(received_ms) => said.start_ms + received_ms,
            None => ended_ms.unwrap_or(now_ms),
        };
        said.end_ms = said.end_ms.max(came_ms);
        let added = said.text.len() - before;
        self.bytes += added;
    }

    /// Makes a turn in its place among the others. Returns its number.
    fn begin(&mut self, speaker: Speaker, start_ms: u64) -> u64 {
        let text = String::new();
        let said = Said { speaker, text, start_ms, end_ms: start_ms, interrupted: false, heard_bytes: 0 };
        let (number, at) = (self.count, self.turns.partition_point(|turn| turn.said.start_ms <= start_ms));
        self.turns.insert(at, Turn { number, said });
        self.count += 1;
        self.bytes += TURN_BYTES;
        number
    }

    fn empty(&mut self, turn: u64) {
        if let Some(said) = self.said(turn) {
            let gone = std::mem::take(&mut said.text).len();
            self.bytes -= gone;
        }
    }

    fn said(&mut self, number: u64) -> Option<&mut Said> {
        let turn = self.turns.iter_mut().rev().find(|turn| turn.number == number)?;
        Some(&mut turn.said)
    }
}

/// The text without white space, which transcriptions place as they like.
fn letters(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).collect()
}

/// The end of the word in which byte `at` is, or of the one before, whichever is nearer to it.
fn word_end(text: &str, at: usize) -> usize {
    let ends = text.char_indices().filter(|(_, letter)| letter.is_whitespace()).map(|(end, _)| end);
    ends.chain([0, text.len()]).min_by_key(|end| end.abs_diff(at)).unwrap_or_default()
}

/// A line a turn, with times.
impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for said in self.turns() {
            let who = match said.speaker {
                Speaker::Caller => "caller",
                Speaker::Model => "model",
            };
            let (start, end) = (said.start_ms as f64 / 1000.0, said.end_ms as f64 / 1000.0);
            write!(f, "\n{start:.1}-{end:.1} s {who}: {}", Quoted(said.heard()))?;
            if said.interrupted {
                write!(
                    f,
                    " [interrupted; unheard: {}]",
                    Quoted(said.text.get(said.heard_bytes..).unwrap_or_default())
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Speaker::{Caller, Model};

    fn texts(transcript: &Transcript) -> Vec<(Speaker, &str)> {
        transcript.turns().map(|said| (said.speaker, said.text.as_str())).collect()
    }

    /// A question at 1 s and its answer from 3 s on.
    fn talk() -> Transcript {
        let mut transcript = Transcript::default();
        transcript.caller_spoke(1_000, true);
        transcript.transcribed(1_800, Caller, "When do ");
        transcript.caller_spoke(2_500, false);
        transcript.model_began(3_000);
        transcript.transcribed(3_100, Model, "At nine ");
        // Transcriptions come in no order against the audio.
        transcript.transcribed(3_200, Caller, "you open?");
        transcript.transcribed(3_300, Model, "in the morning.");
        transcript
    }

    #[test]
    fn deltas_are_put_together_turn_by_turn_with_their_times() {
        let mut transcript = talk();
        transcript.model_spoke(Spoken { received_ms: 2_000, waiting_ms: 1_500 });
        transcript.model_ended(5_000);
        transcript.caller_spoke(6_000, true);
        transcript.transcribed(6_900, Caller, " Thanks.");
        assert_eq!(
            texts(&transcript),
            [(Caller, "When do you open?"), (Model, "At nine in the morning."), (Caller, "Thanks.")]
        );
        let times: Vec<_> = transcript.turns().map(|said| (said.start_ms, said.end_ms)).collect();
        assert_eq!(
            times,
            [(1_000, 2_500), (3_000, 5_000), (6_000, 6_900)],
            "when it was said, not when its text came"
        );
    }

    #[test]
    fn an_interrupted_turn_ends_where_the_caller_stopped_hearing_it() {
        let mut transcript = talk();
        transcript.interrupted(4_000, Spoken { received_ms: 2_000, waiting_ms: 1_200 });
        transcript.transcribed(4_100, Model, " Anything else?");
        transcript.transcribed(4_200, Caller, "On Sunday?");
        let said: Vec<_> = transcript.turns().collect();
        assert_eq!((said[1].heard(), said[1].interrupted, said[1].end_ms), ("At nine in", true, 4_000));
        assert_eq!(said[1].text, "At nine in the morning.", "what came for it later was never said");
        assert_eq!(said[2].text, "On Sunday?");
        assert!(transcript.digest().ends_with("You: At nine in (interrupted)\nCaller: On Sunday?"));
    }

    #[test]
    fn what_a_resumed_session_transcribes_again_is_there_once() {
        let mut transcript = talk();
        transcript.model_ended(5_000);
        let before = transcript.turns().cloned().collect::<Vec<_>>();
        transcript.link_lost(6_000);
        transcript.resumed();
        for delta in ["When do you", " open? "] {
            transcript.transcribed(7_000, Caller, delta);
        }
        for delta in ["At ", "nine in", " the morning."] {
            transcript.transcribed(7_000, Model, delta);
        }
        assert_eq!(transcript.turns().cloned().collect::<Vec<_>>(), before);
        transcript.transcribed(8_000, Caller, "Thank you");
        assert_eq!(texts(&transcript)[2..], [(Caller, "Thank you")]);
    }

    #[test]
    fn what_only_begins_like_the_last_turn_is_kept_and_so_is_what_the_caller_really_says_twice() {
        let mut transcript = talk();
        transcript.model_ended(5_000);
        transcript.link_lost(6_000);
        transcript.resumed();
        transcript.transcribed(7_000, Caller, "When do");
        transcript.transcribed(7_100, Caller, " you close?");
        transcript.model_began(8_000);
        transcript.transcribed(8_000, Model, "At nine");
        transcript.model_ended(9_000);
        assert_eq!(texts(&transcript)[2..], [(Caller, "When do you close?"), (Model, "At nine")]);
        transcript.link_lost(9_500);
        transcript.resumed();
        transcript.caller_spoke(10_000, true);
        transcript.transcribed(10_500, Caller, "When do you close?");
        assert_eq!(texts(&transcript)[4..], [(Caller, "When do you close?")]);
    }

    #[test]
    fn an_unanswered_turn_that_is_sent_again_is_replaced_by_its_new_transcription() {
        let mut transcript = Transcript::default();
        transcript.caller_spoke(1_000, true);
        transcript.transcribed(1_500, Caller, "Win do");
        transcript.link_lost(1_600);
        assert_eq!(transcript.digest(), "Caller: Win do", "the next session may not hear it");
        transcript.sent_again(true);
        assert_eq!((transcript.digest().as_str(), transcript.unanswered()), ("", None), "it will be heard");
        transcript.resumed();
        transcript.transcribed(2_500, Caller, "When do ");
        transcript.transcribed(2_600, Caller, "you open?");
        assert_eq!(texts(&transcript), [(Caller, "When do you open?")]);
        assert_eq!(transcript.turns().next().map(|said| said.start_ms), Some(1_000));
    }

    #[test]
    fn a_question_whose_text_comes_late_stands_before_its_answer_and_its_end_is_when_it_was_said() {
        // Within the answer, behind it, and when the caller has just begun to speak again.
        for (late_ms, ended, spoken_again) in
            [(3_400, false, false), (5_100, true, false), (6_300, true, true)]
        {
            let mut transcript = Transcript::default();
            transcript.caller_spoke(1_000, true);
            transcript.caller_spoke(2_500, false);
            transcript.model_began(3_000);
            transcript.transcribed(3_100, Model, "At nine.");
            if ended {
                transcript.model_spoke(Spoken { received_ms: 1_900, waiting_ms: 0 });
                transcript.model_ended(5_000);
            }
            if spoken_again {
                transcript.caller_spoke(6_000, true);
            }
            transcript.transcribed(late_ms, Caller, "When do ");
            transcript.transcribed(late_ms + 20, Caller, "you open?");
            assert_eq!(texts(&transcript), [(Caller, "When do you open?"), (Model, "At nine.")], "{late_ms}");
            let question = transcript.turns().next().map(|said| (said.start_ms, said.end_ms));
            assert_eq!(question, Some((1_000, 2_500)), "{late_ms}");
            transcript.caller_spoke(7_000, true);
            transcript.transcribed(8_000, Caller, "Thanks.");
            assert_eq!(texts(&transcript)[2..], [(Caller, "Thanks.")], "{late_ms}");
            assert!(transcript.digest().starts_with("Caller: When do you open?\nYou: At nine."));
        }
    }

    #[test]
    fn an_answer_is_one_turn_whether_its_text_is_ahead_of_its_audio_or_behind_its_end() {
        let mut transcript = Transcript::default();
        transcript.caller_spoke(1_000, true);
        transcript.caller_spoke(2_500, false);
        transcript.transcribed(2_700, Model, "At nine ");
        transcript.model_began(2_800);
        transcript.transcribed(2_900, Model, "in the");
        transcript.model_spoke(Spoken { received_ms: 2_000, waiting_ms: 0 });
        transcript.model_ended(4_800);
        transcript.transcribed(4_850, Model, " morning.");
        transcript.transcribed(4_900, Caller, "When do you open?");
        let wanted = [(Caller, "When do you open?"), (Model, "At nine in the morning.")];
        assert_eq!(texts(&transcript), wanted);
        // What comes ahead of the next answer belongs to that one.
        transcript.caller_spoke(5_000, true);
        transcript.caller_spoke(5_800, false);
        transcript.transcribed(6_000, Model, "You are ");
        transcript.model_began(6_100);
        transcript.transcribed(6_200, Model, "welcome.");
        assert_eq!(texts(&transcript)[2..], [(Model, "You are welcome.")]);
    }

    #[test]
    fn an_answer_whose_text_comes_when_all_of_it_was_spoken_has_the_times_of_its_audio() {
        let mut transcript = Transcript::default();
        transcript.model_began(3_000);
        transcript.model_spoke(Spoken { received_ms: 1_500, waiting_ms: 0 });
        transcript.model_ended(4_500);
        transcript.transcribed(5_000, Model, "At nine.");
        let times = transcript.turns().next().map(|said| (said.start_ms, said.end_ms));
        assert_eq!(times, Some((3_000, 4_500)));
    }

    #[test]
    fn the_rest_of_what_was_cut_off_is_never_said_even_if_it_comes_behind_the_turn() {
        let mut transcript = talk();
        transcript.interrupted(4_000, Spoken { received_ms: 2_000, waiting_ms: 1_200 });
        transcript.model_ended(4_020);
        transcript.transcribed(4_100, Model, " Anything else?");
        assert_eq!(texts(&transcript).len(), 2);
        transcript.transcribed(6_000, Model, "Yes?");
        transcript.model_began(6_100);
        assert_eq!(texts(&transcript)[2..], [(Model, "Yes?")]);
    }

    #[test]
    fn a_question_that_is_not_sent_again_is_told_and_named_as_unanswered() {
        let mut transcript = Transcript::default();
        transcript.caller_spoke(1_000, true);
        transcript.transcribed(1_500, Caller, "I want to cancel my order.");
        transcript.caller_spoke(2_500, false);
        for again in [false, true, false] {
            transcript.link_lost(20_000);
            transcript.sent_again(again);
            let told = transcript.digest() == "Caller: I want to cancel my order.";
            assert_eq!((told, transcript.unanswered().is_some()), (!again, !again));
        }
        transcript.model_began(21_000);
        transcript.transcribed(21_000, Model, "Done.");
        assert_eq!(transcript.unanswered(), None);
    }

    #[test]
    fn what_was_broken_off_is_told_with_its_question() {
        let mut transcript = talk();
        transcript.link_lost(3_400);
        assert_eq!(transcript.broken_off(), Some(("When do you open?", "At nine in the morning.")));
        assert_eq!(transcript.digest(), "Caller: When do you open?\nYou: At nine in the morning.");
    }

    #[test]
    fn a_transcript_and_its_digest_are_bounded_and_keep_what_was_said_last() {
        let mut transcript = Transcript::default();
        for turn in 0..600_u64 {
            transcript.caller_spoke(turn * 1_000, true);
            transcript.transcribed(turn * 1_000, Caller, &"word ".repeat(200));
            transcript.model_began(turn * 1_000 + 500);
            transcript.transcribed(turn * 1_000 + 500, Model, &format!("Answer {turn}"));
            transcript.model_ended(turn * 1_000 + 900);
        }
        assert!(transcript.bytes <= BYTES_MAX && transcript.dropped() > 0, "{}", transcript.bytes);
        assert_eq!(transcript.turns.len() as u64 + transcript.dropped(), transcript.count);
        let held: usize = transcript.turns().map(|said| said.text.len() + TURN_BYTES).sum();
        assert_eq!(held, transcript.bytes);
        let digest = transcript.digest();
        assert!(digest.len() <= DIGEST_BYTES && digest.ends_with("You: Answer 599"), "{digest}");
    }
}
