//! Gemini: one conversation over many links, which answers what it hears, calls tools, and fails.
//!
//! Runs in: the simulation: pure. Owns the present link's server side.
//! Invariant: what it says on a link is heard by that link alone.

use std::collections::BTreeSet;

use fastrand::Rng;
use tandem::base::LinkNumber;
use tandem::codec::base64;

use super::ear;

/// Silence after which the caller has said what they wanted to.
const HANGOVER_MS: u64 = 500;
const CHUNK_MS: u64 = 200;

/// What Gemini does, so many microseconds from now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Say {
    SetupComplete,
    Handle,
    /// Milliseconds of an answer.
    Audio(usize, u64),
    GenerationComplete(usize),
    TurnComplete,
    Interrupted,
    Transcript(usize),
    GoAway(u64),
    ToolCall(usize),
    ToolCancel(usize),
    Close(u16, &'static str),
    Drop,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    pub live: bool,
    /// After a goAway some links only listen.
    pub mute: bool,
    in_speech: bool,
    silence_ms: u64,
    /// Answers before this one are not spoken on.
    pub wanted_from: usize,
    pub answers: usize,
    /// Until when the present answer is heard, in microseconds.
    speaks_until_us: u64,
    pub tools: usize,
    /// Milliseconds said of each answer.
    pub said_ms: Vec<u64>,
    pub handles: usize,
    /// Calls of tools that were taken back.
    pub cancelled: BTreeSet<u64>,
    /// Calls of tools that were answered, each with its link.
    pub answered: BTreeSet<(LinkNumber, String)>,
}

impl Gemini {
    /// Another link is set up.
    pub(super) fn linked(&mut self) {
        (self.live, self.mute, self.in_speech, self.silence_ms) = (false, false, false, 0);
        self.wanted_from = self.answers;
        self.speaks_until_us = 0;
    }

    /// Takes 20 ms of the caller. Returns what it makes of them.
    pub(super) fn hear(&mut self, rng: &mut Rng, now_us: u64, speech: bool) -> Vec<(u64, Say)> {
        let mut says = Vec::new();
        if speech {
            (self.in_speech, self.silence_ms) = (true, 0);
            // Not every interruption is noticed.
            if now_us < self.speaks_until_us && rng.u32(0..100) < 80 {
                (self.wanted_from, self.speaks_until_us) = (self.answers, 0);
                says.push((rng.u64(0..20_000), Say::Interrupted));
                says.push((30_000, Say::TurnComplete));
            }
        } else if self.in_speech {
            self.silence_ms += 20;
            if self.silence_ms >= HANGOVER_MS {
                says.extend(self.over(rng, now_us));
            }
        }
        says
    }

    /// The caller's talkspurt is over.
    pub(super) fn over(&mut self, rng: &mut Rng, now_us: u64) -> Vec<(u64, Say)> {
        if !std::mem::take(&mut self.in_speech) || self.mute {
            return Vec::new();
        }
        self.silence_ms = 0;
        match rng.u32(0..100) {
            // Swallowed.
            0..5 => Vec::new(),
            // An empty turn.
            5..10 => vec![(300_000, Say::TurnComplete), (350_000, Say::Handle)],
            10..20 => {
                self.tools += 1;
                let mut says = vec![(400_000, Say::ToolCall(self.tools))];
                if rng.u32(0..4) == 0 {
                    says.push((400_000 + rng.u64(0..1_500_000), Say::ToolCancel(self.tools)));
                }
                says
            }
            _ => self.answer(rng, now_us),
        }
    }

    /// Speaks.
    pub(super) fn answer(&mut self, rng: &mut Rng, now_us: u64) -> Vec<(u64, Say)> {
        let answer = self.answers;
        self.answers += 1;
        self.said_ms.push(0);
        // It has one mouth.
        let latency_us = self.speaks_until_us.saturating_sub(now_us) + rng.u64(200_000..900_000);
        let length_ms = rng.u64(1..14) * CHUNK_MS;
        // Faster than real time, at once, or slower.
        let pace = [1, 2, 4, 8, 1_000][rng.usize(0..5)];
        let mut says = vec![(latency_us, Say::Transcript(answer))];
        let mut at_us = latency_us;
        for _ in 0..length_ms / CHUNK_MS {
            says.push((at_us, Say::Audio(answer, CHUNK_MS)));
            at_us += CHUNK_MS * 1000 / pace + if rng.u32(0..50) == 0 { 300_000 } else { 0 };
        }
        let heard_us = at_us.max(latency_us + length_ms * 1000);
        if rng.u32(0..10) > 0 {
            says.push((at_us, Say::GenerationComplete(answer)));
        }
        says.push((heard_us, Say::TurnComplete));
        if rng.u32(0..10) > 0 {
            says.push((heard_us + rng.u64(0..200_000), Say::Handle));
        }
        self.speaks_until_us = now_us + heard_us;
        says
    }

    /// The message for the relay, unless it was said for an answer that is cancelled.
    pub(super) fn message(&mut self, say: &Say) -> Option<Vec<u8>> {
        let unwanted = |answer: &usize| *answer < self.wanted_from;
        Some(match say {
            Say::SetupComplete => br#"{"setupComplete":{}}"#.to_vec(),
            Say::Handle => {
                self.handles += 1;
                let handles = self.handles;
                format!(r#"{{"sessionResumptionUpdate":{{"newHandle":"h-{handles}","resumable":true}}}}"#)
                    .into()
            }
            Say::Audio(answer, _) | Say::GenerationComplete(answer) if unwanted(answer) => return None,
            Say::Audio(answer, ms) => {
                self.said_ms[*answer] += ms;
                let samples = vec![ear::level(*answer); *ms as usize * 24];
                let mut json =
                    br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":""#
                        .to_vec();
                base64::encode_samples(&mut json, &samples);
                json.extend_from_slice(br#""}}]}}}"#);
                json
            }
            Say::GenerationComplete(_) => br#"{"serverContent":{"generationComplete":true}}"#.to_vec(),
            Say::TurnComplete => br#"{"serverContent":{"turnComplete":true}}"#.to_vec(),
            Say::Interrupted => br#"{"serverContent":{"interrupted":true}}"#.to_vec(),
            Say::Transcript(answer) => {
                format!(r#"{{"serverContent":{{"outputTranscription":{{"text":"Answer {answer}."}}}}}}"#)
                    .into()
            }
            Say::GoAway(ms) => {
                format!(r#"{{"goAway":{{"timeLeft":"{}.{:03}s"}}}}"#, ms / 1000, ms % 1000).into()
            }
            Say::ToolCall(id) => {
                let call = match id % 4 {
                    0 => format!(r#""pause_recording","args":{{"paused":{}}}"#, id % 8 == 0),
                    1 => r#""get_call_info","args":{}"#.to_owned(),
                    _ => format!(r#""look_up","args":{{"number":{id}}}"#),
                };
                format!(r#"{{"toolCall":{{"functionCalls":[{{"id":"t-{id}","name":{call}}}]}}}}"#).into()
            }
            Say::ToolCancel(id) => format!(r#"{{"toolCallCancellation":{{"ids":["t-{id}"]}}}}"#).into(),
            Say::Close(..) | Say::Drop => return None,
        })
    }
}
