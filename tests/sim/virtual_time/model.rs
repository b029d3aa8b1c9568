//! The script of Gemini on one link: setup, answers in bursts or slowly, interruptions, ends, oddities, the close.
//!
//! Runs in: the simulations: pure. Owns nothing.
//! Invariant: messages arrive in the order in which they were sent, and answers are numbered from 0 in that order.

use fastrand::Rng;
use tandem::codec::base64;

use super::plan::{Fault, FromGemini, Said, percent};
use super::scenario::Scenario;
use super::speech::model_sample;

const SAMPLES_A_MS: u64 = 24;

/// What a link brings, and when everything of it must have been heard, in microseconds since it was connected.
pub(super) struct Script {
    pub messages: Vec<(u64, FromGemini)>,
    pub heard_us: u64,
}

/// How an answer says that it is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// In the message with its last audio.
    Bundled,
    /// In a message of its own right behind it.
    Behind,
    /// By `turnComplete` alone, once the server thinks that it was heard.
    AfterPlayback,
}

/// Draws a script; `setup_us` is when the setup is accepted, if it ever is.
pub(super) fn script(rng: &mut Rng, scenario: &Scenario, fault: Fault, setup_us: Option<u64>) -> Script {
    let mut writer = Writer {
        delay_us: rng.u64(0..60_000),
        jitter_us: [0, 2_000, 40_000][rng.usize(0..3)],
        sent: Vec::new(),
        rng,
    };
    let Some(setup_us) = setup_us else { return Script { messages: Vec::new(), heard_us: 1_200_000 } };
    writer.say(setup_us, Said { json: b"{\n  \"setupComplete\": {}\n}\n".to_vec(), ..Said::default() });
    let mut at_us = setup_us + writer.rng.u64(0..100_000);
    let mut heard_us = at_us;
    for answer in 0..writer.rng.usize(scenario.answers.clone()) {
        // Now and then the next answer comes while the last is still being heard.
        let overlaps = percent(writer.rng, 15);
        heard_us = writer.answer(answer, scenario, at_us, heard_us, overlaps).max(at_us);
        at_us = if overlaps { writer.last_us().max(at_us) } else { heard_us + writer.rng.u64(0..150_000) };
        writer.oddity(at_us);
    }
    let mut heard_us = heard_us.max(writer.last_us());
    let mut messages = writer.sent;
    let end = match fault {
        Fault::LinkCloses => {
            let (code, reason) = [
                (1000, ""),
                (1001, "going"),
                (1007, "API key not valid"),
                (1008, "The operation was aborted"),
                (1011, "Deadline expired before operation could complete."),
                (4999, "\u{1F4A5}"),
            ][rng.usize(0..6)];
            Some(FromGemini::Close(code, reason))
        }
        Fault::LinkDrops => Some(FromGemini::Drop),
        Fault::Garbage => None,
        _ => return Script { messages, heard_us },
    };
    let at = rng.u64(0..heard_us);
    messages.retain(|(sent, _)| *sent < at);
    match end {
        Some(end) => messages.push((at, end)),
        None => {
            for n in 0..8 {
                messages.push((at + n * 1000, FromGemini::Said(garbage(rng))));
            }
        }
    }
    heard_us = heard_us.max(at + 10_000);
    Script { messages, heard_us }
}

struct Writer<'r> {
    rng: &'r mut Rng,
    delay_us: u64,
    jitter_us: u64,
    sent: Vec<(u64, FromGemini)>,
}

impl Writer<'_> {
    fn last_us(&self) -> u64 {
        self.sent.last().map_or(0, |(at, _)| *at)
    }

    /// Sends a message; the network delays it, and keeps the order.
    fn say(&mut self, sent_us: u64, said: Said) {
        let at = sent_us + self.delay_us + self.rng.u64(0..=self.jitter_us);
        self.sent.push((at.max(self.last_us()), FromGemini::Said(said)));
    }

    /// Speaks one answer from `at_us` on, while the one before is heard until `free_us`; if `overlapped`, the next one
    /// does not wait for its end. Returns when it has been heard.
    fn answer(
        &mut self,
        answer: usize,
        scenario: &Scenario,
        at_us: u64,
        free_us: u64,
        overlapped: bool,
    ) -> u64 {
        let length_ms = self.rng.u64(scenario.answer_ms.clone());
        let pace = self.rng.u64(scenario.pace_percent.clone());
        let heard_until = at_us.max(free_us) + length_ms * 1000 * 100 / pace.min(100);
        let interrupted_at = percent(self.rng, scenario.interrupted_percent)
            .then(|| at_us + self.rng.u64(0..(heard_until - at_us) * 11 / 10));
        let ending = match self.rng.u32(0..4) {
            0 => Ending::Bundled,
            1 if !overlapped => Ending::AfterPlayback,
            _ => Ending::Behind,
        };
        let total = (length_ms * SAMPLES_A_MS) as usize;
        let typical = [None, Some(20), Some(40), Some(100), Some(250)][self.rng.usize(0..5)];
        let mut done = 0;
        while done < total {
            let samples = match typical {
                Some(ms) => (ms * SAMPLES_A_MS) as usize,
                // Any length: often a few samples, sometimes a quarter of a second.
                None if percent(self.rng, 20) => self.rng.usize(1..240),
                None => self.rng.usize(1..6_000),
            }
            .min(total - done);
            let sent_us = at_us + (done as u64 * 1000 / SAMPLES_A_MS) * 100 / pace;
            if interrupted_at.is_some_and(|at| sent_us >= at) {
                break;
            }
            let last = done + samples == total;
            let ends = last && ending == Ending::Bundled;
            let flags = if ends { r#""generationComplete":true,"# } else { "" };
            self.say(
                sent_us,
                Said {
                    json: content(flags, answer, done, samples),
                    answer,
                    samples,
                    ends,
                    ..Said::default()
                },
            );
            done += samples;
            if last && ending == Ending::Behind {
                let json = br#"{"serverContent":{"generationComplete":true}}"#.to_vec();
                self.say(sent_us, Said { json, answer, ends: true, ..Said::default() });
            }
        }
        let turn_complete =
            br#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":7,"responseTokenCount":9}}"#;
        let Some(at) = interrupted_at else {
            if !overlapped {
                self.say(
                    heard_until,
                    Said { json: turn_complete.to_vec(), answer, ends: true, ..Said::default() },
                );
            }
            // An end that comes so late finds a started frame waiting for its rest.
            return heard_until + if ending == Ending::AfterPlayback { 150_000 } else { 0 };
        };
        let interrupts = Said { answer, interrupts: true, ..Said::default() };
        if done < total && percent(self.rng, 20) {
            // Audio beside `interrupted` belongs to the cancelled turn, wherever it stands.
            let samples = (total - done).min(480);
            let json = content(r#""interrupted":true,"#, answer, done, samples);
            self.say(at, Said { json, samples, ..interrupts });
        } else {
            self.say(at, Said { json: br#"{"serverContent":{"interrupted":true}}"#.to_vec(), ..interrupts });
        }
        if percent(self.rng, 80) {
            self.say(at, Said { json: turn_complete.to_vec(), answer, ..Said::default() });
        }
        at
    }

    /// Something that changes nothing. (`goAway` does: the link is left.)
    fn oddity(&mut self, at_us: u64) {
        let json: &[u8] = match self.rng.u32(0..10) {
            0 | 1 => br#"{"sessionResumptionUpdate":{"newHandle":"h","resumable":true}}"#,
            2 => br#"{"unknown":[{"deep":null}],"serverContent":{"alsoUnknown":1}}"#,
            3 => br#"{"serverContent":{"modelTurn":{"parts":[]},"turnComplete":true}}"#,
            4 => br#"{"setupComplete":{"sessionId":"again"}}"#,
            5 => br#"{}"#,
            _ => return,
        };
        self.say(at_us, Said { json: json.to_vec(), ..Said::default() });
        if percent(self.rng, 20) {
            let said = garbage(self.rng);
            self.say(at_us, said);
        }
    }
}

fn garbage(rng: &mut Rng) -> Said {
    let json: &[u8] = [
        b"not JSON".as_slice(),
        b"\xff\xfe\x00",
        br#"{"serverContent":"#,
        br#"{"serverContent":7}"#,
        br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/mp3","data":"AAAA"}}]}}}"#,
    ][rng.usize(0..5)];
    Said { json: json.to_vec(), garbage: true, ..Said::default() }
}

/// A message with samples of an answer from the `first` on; `flags` stands before the audio.
fn content(flags: &str, answer: usize, first: usize, samples: usize) -> Vec<u8> {
    let audio: Vec<i16> = (first..first + samples).map(|n| model_sample(answer, n)).collect();
    let mut json = format!(
        r#"{{"serverContent":{{{flags}"modelTurn":{{"parts":[{{"inlineData":{{"mimeType":"audio/pcm;rate=24000","data":""#
    )
    .into_bytes();
    base64::encode_samples(&mut json, &audio);
    json.extend_from_slice(br#""}}]}}}"#);
    json
}
