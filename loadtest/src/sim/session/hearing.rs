//! What a session does with the caller's audio: the echo, talkspurts, and the answers that they get.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: a talkspurt that has ended is answered, unless the script swallows it or the voice is an echo.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Session, World, refuse};
use crate::sim::{
    config::Voice,
    detector::{Heard, Talkspurt},
    event::What,
    fault::Moment,
    message::Audio,
    model::Refusal,
    outbox::Outbox,
    resample::upsampled,
};

impl Session {
    pub(super) fn hear(&mut self, now: Instant, audio: &Audio, world: &mut World, out: &mut Outbox) {
        (world.tell)(What::Audio { samples: audio.samples().len(), rate_hz: audio.rate_hz });
        let mut samples: Vec<i16> = audio.samples().collect();
        if audio.rate_hz != 16_000 {
            let mut resampled = Vec::new();
            self.to_16k.push(audio.rate_hz, 16_000, &samples, &mut resampled);
            samples = resampled;
        }
        self.memory.heard_samples += samples.len() as u64;
        if self.is_refused(now, samples.len(), out) {
            return;
        }
        if world.config.voice == Voice::Echo {
            let mut echo = Vec::with_capacity(samples.len() * 3 / 2 + 2);
            self.to_24k.push(&samples, &mut echo);
            if !echo.is_empty() {
                out.audio(&echo);
            }
        }
        for heard in self.detector.hear(&samples) {
            self.react(now, Some(heard), world, out);
        }
    }

    /// Ends the connection if the script does not allow audio now.
    fn is_refused(&mut self, now: Instant, samples: usize, out: &mut Outbox) -> bool {
        if let Some(refusal) = self.tool_terms.refusal(now, self.waiting.is_some()) {
            refuse(refusal, out);
            return true;
        }
        if let Some((since, heard)) = &mut self.live {
            *heard += samples as u64;
            let ahead = Duration::from_micros(*heard * 1_000 / 16).saturating_sub(now.duration_since(*since));
            if self.replay_limit.is_some_and(|limit| ahead > limit) {
                refuse(Refusal::invalid("Audio arrives too far ahead of real time."), out);
                return true;
            }
        }
        false
    }

    pub(super) fn react(&mut self, now: Instant, heard: Option<Heard>, world: &mut World, out: &mut Outbox) {
        let Some(terms) = &self.terms else { return };
        match heard {
            None => {}
            Some(Heard::Start) => {
                let interrupts = !terms.never_interrupted;
                (world.tell)(What::SpeechStarted);
                self.talkspurts += 1;
                let demands = self.happen(now, Moment::Speech(Some(self.talkspurts)), world, out);
                if demands.silence {
                    out.mute();
                }
                if interrupts && !out.is_ending() {
                    self.interrupt(now, world, out);
                }
            }
            Some(Heard::End(talkspurt)) if !terms.manual_activity && self.swallows(&talkspurt) => {
                (world.tell)(What::Swallowed { samples: talkspurt.length });
                // The open turn eats the talkspurt that follows, and ends with it.
                self.open = if self.open.is_some() { None } else { Some(talkspurt) };
            }
            Some(Heard::End(Talkspurt { length, samples })) => {
                (world.tell)(What::SpeechEnded { samples: length });
                let seconds = length as f64 / 16_000.0;
                self.memory.transcripts.clear();
                if terms.input_transcription {
                    for text in ["The caller spoke ".to_owned(), format!("for {seconds:.2} seconds.")] {
                        self.transcribe(json!({"inputTranscription": {"text": text}}), out);
                    }
                }
                match world.config.voice {
                    Voice::Echo => {}
                    Voice::Answer | Voice::Receptionist => {
                        self.answer(now, self.next_answer(world), world, out)
                    }
                    Voice::Parrot => {
                        let text = format!("You spoke for {seconds:.2} seconds.");
                        self.answer(now, (upsampled(&samples).into(), text), world, out);
                    }
                }
            }
        }
    }

    fn swallows(&self, talkspurt: &Talkspurt) -> bool {
        let length = Duration::from_micros(talkspurt.length as u64 * 1_000 / 16);
        self.swallow.is_some_and(|shortest| self.open.is_some() || length < shortest)
    }

    /// Sends words, and remembers that they were sent.
    fn transcribe(&mut self, content: Value, out: &mut Outbox) {
        out.message(&json!({"serverContent": content}));
        self.memory.transcripts.push(content);
    }
}
