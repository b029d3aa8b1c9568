//! What was said in a call: both sides, turn by turn, as the model's transcription has it, cut at what was really heard.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the texts, up to a limit beyond which the oldest go.
//! Never logged above debug: it is what people said.
//! Invariant: turns stand in the order in which they began, and each delta of a transcription is in one of them, once.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

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

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Transcript {
    turns: VecDeque<Said>,
    bytes: usize,
    /// Turns that went because there were too many.
    dropped: u64,
    caller: Open,
    model: Open,
    /// The model has begun to speak since the caller's turn began.
    answered: bool,
    /// The model's words until its next turn belong to one that was interrupted.
    cancelled: bool,
    /// The last turn of the caller is sent again: what is transcribed next takes its place.
    replaced: bool,
}

/// The turn of one side under way.
#[derive(Debug, Default)]
struct Open {
    /// Its number, counted from the first turn of the call.
    turn: Option<u64>,
    /// When this side was last heard to begin and to end, if that is known better than from the text.
    began_ms: Option<u64>,
    /// The present link may say this again, in pieces; what came of it so far.
    again: Option<(String, String)>,
}

impl Transcript {
    /// All turns, the oldest first.
    pub fn turns(&self) -> impl DoubleEndedIterator<Item = &Said> {
        self.turns.iter()
    }

    /// Turns that went because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A piece of a transcription came.
    pub fn transcribed(&mut self, now_ms: u64, speaker: Speaker, text: &str) {
        let open = self.open(speaker);
        let Some((expected, held)) = &mut open.again else { return self.add(now_ms, speaker, text) };
        held.push_str(text);
        let (wanted, so_far) = (letters(expected), letters(held));
        if wanted == so_far {
            open.again = None;
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
                (self.caller.turn, self.caller.began_ms) = (None, None);
            }
            if self.caller.turn.is_none() {
                self.caller.began_ms.get_or_insert(now_ms);
            }
        } else if let Some(said) = self.caller.turn.and_then(|turn| self.said(turn)) {
            said.end_ms = now_ms;
        }
    }

    /// The model begins to speak.
    pub fn model_began(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Caller);
        (self.answered, self.cancelled, self.replaced) = (true, false, false);
        (self.model.turn, self.model.began_ms) = (None, Some(now_ms));
    }

    /// All of the model's turn was received, or as much as will be.
    pub fn model_spoke(&mut self, spoken: Spoken) {
        if let Some(said) = self.model.turn.and_then(|turn| self.said(turn)) {
            said.end_ms = said.start_ms + spoken.received_ms;
        }
    }

    /// The caller cut the model off.
    pub fn interrupted(&mut self, now_ms: u64, spoken: Spoken) {
        self.cancelled = true;
        if self.answered {
            self.caller.turn = None;
        }
        let Some(said) = self.model.turn.take().and_then(|turn| self.said(turn)) else { return };
        let heard_ms = spoken.received_ms.saturating_sub(spoken.waiting_ms);
        let share = said.text.len() as u64 * heard_ms / spoken.received_ms.max(1);
        said.interrupted = true;
        said.end_ms = now_ms.max(said.start_ms);
        said.heard_bytes = word_end(&said.text, share as usize);
    }

    /// The model's turn is over.
    pub fn model_ended(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Model);
        self.cancelled = false;
        self.model.turn = None;
        if self.answered {
            self.caller.turn = None;
        }
    }

    /// The link is lost. What the caller said and the model did not begin to answer is sent again on the next one, and so
    /// transcribed again.
    pub fn link_lost(&mut self, now_ms: u64) {
        self.not_again(now_ms, Speaker::Caller);
        self.not_again(now_ms, Speaker::Model);
        self.cancelled = false;
        self.replaced = self.turns.back().is_some_and(|said| said.speaker == Speaker::Caller);
        self.caller.turn = if self.replaced { self.turns_so_far().checked_sub(1) } else { None };
        self.model.turn = None;
    }

    /// The conversation goes on, on a link that may say again what was said last.
    pub fn resumed(&mut self) {
        for speaker in [Speaker::Caller, Speaker::Model] {
            let last = self.turns.iter().rev().find(|said| said.speaker == speaker);
            let again = last.map(|said| (said.text.clone(), String::new()));
            self.open(speaker).again = again.filter(|_| !(self.replaced && speaker == Speaker::Caller));
        }
    }

    /// What the caller said last and what the model had said in answer to it, when a link is lost within the answer.
    pub fn broken_off(&self) -> Option<(&str, &str)> {
        let mut last = self.turns.iter().rev();
        let model = last.next().filter(|said| said.speaker == Speaker::Model)?;
        let caller = last.next().filter(|said| said.speaker == Speaker::Caller);
        Some((caller.map_or("", |said| said.text.trim()), model.text.trim()))
    }

    /// What was said last, for a model that knows nothing of it. Without what is sent to it again.
    pub fn digest(&self) -> String {
        let end = self.turns.len() - usize::from(self.replaced);
        let mut lines = Vec::new();
        let mut bytes = 0;
        for said in self.turns.iter().take(end).rev().take(DIGEST_TURNS) {
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

    fn open(&mut self, speaker: Speaker) -> &mut Open {
        match speaker {
            Speaker::Caller => &mut self.caller,
            Speaker::Model => &mut self.model,
        }
    }

    /// What was taken for a repetition is none, or not a whole one.
    fn not_again(&mut self, now_ms: u64, speaker: Speaker) {
        if let Some((_, held)) = self.open(speaker).again.take() {
            self.add(now_ms, speaker, &held);
        }
    }

    fn add(&mut self, now_ms: u64, speaker: Speaker, text: &str) {
        if text.is_empty() || speaker == Speaker::Model && self.cancelled {
            return;
        }
        let replaced = speaker == Speaker::Caller && std::mem::take(&mut self.replaced);
        let began_ms = self.open(speaker).began_ms.take();
        let known = self.open(speaker).turn.filter(|&turn| self.said(turn).is_some());
        let turn = known.unwrap_or_else(|| {
            let start_ms = began_ms.unwrap_or(now_ms);
            let heard_bytes = 0;
            let text = String::new();
            let said = Said { speaker, text, start_ms, end_ms: now_ms, interrupted: false, heard_bytes };
            self.turns.push_back(said);
            self.bytes += TURN_BYTES;
            self.turns_so_far() - 1
        });
        self.open(speaker).turn = Some(turn);
        let Some(said) = self.said(turn) else { return };
        let before = said.text.len();
        if replaced {
            said.text.clear();
        }
        said.text.push_str(if said.text.is_empty() { text.trim_start() } else { text });
        said.heard_bytes = said.text.len();
        said.end_ms = said.end_ms.max(now_ms);
        self.bytes = self.bytes + self.said(turn).map_or(0, |said| said.text.len()) - before;
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.turns.pop_front()
        {
            self.bytes -= oldest.text.len() + TURN_BYTES;
            self.dropped += 1;
        }
    }

    fn turns_so_far(&self) -> u64 {
        self.dropped + self.turns.len() as u64
    }

    fn said(&mut self, turn: u64) -> Option<&mut Said> {
        self.turns.get_mut(usize::try_from(turn.checked_sub(self.dropped)?).ok()?)
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
        for said in &self.turns {
            let who = match said.speaker {
                Speaker::Caller => "caller",
                Speaker::Model => "model",
            };
            let (start, end) = (said.start_ms as f64 / 1000.0, said.end_ms as f64 / 1000.0);
            write!(f, "\n{start:.1}-{end:.1} s {who}: {}", said.heard())?;
            if said.interrupted {
                write!(
                    f,
                    " [interrupted; unheard: {}]",
                    said.text.get(said.heard_bytes..).unwrap_or_default()
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
        assert_eq!(times, [(1_000, 3_200), (3_000, 5_000), (6_000, 6_900)]);
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
        assert_eq!(transcript.digest(), "", "it will be heard");
        transcript.resumed();
        transcript.transcribed(2_500, Caller, "When do ");
        transcript.transcribed(2_600, Caller, "you open?");
        assert_eq!(texts(&transcript), [(Caller, "When do you open?")]);
        assert_eq!(transcript.turns().next().map(|said| said.start_ms), Some(1_000));
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
        let held: usize = transcript.turns().map(|said| said.text.len() + TURN_BYTES).sum();
        assert_eq!(held, transcript.bytes);
        let digest = transcript.digest();
        assert!(digest.len() <= DIGEST_BYTES && digest.ends_with("You: Answer 599"), "{digest}");
    }
}
