//! What the model hears: takes every message that the relay sends to Gemini, and knows what it may be.
//!
//! Runs in: the simulations: pure. Owns its own resampler, fed with the caller's samples and with the silence that the
//! relay says it filled in, at the place where it did.
//! Invariant: the model hears exactly that, from the first sample on and in order; and until the stream is ended, there is
//! never more than 60 ms without audio of either kind.

use std::collections::VecDeque;

use tandem::base::{Instant, SampleRate};
use tandem::codec::base64;
use tandem::codec::gemini::client::AUDIO_STREAM_END;
use tandem::dsp::resample::Resampler;

use super::caller::Cut;
use super::plan::{Fault, Plan};
use super::speech::caller_sample;

const MODEL_RATE: SampleRate = SampleRate::Hz16000;
/// Behind the end of what there was: with frames of 20 ms, 60 ms without a new one.
const HOLE_US_MAX: u64 = 40_000;

/// See the head of this file.
pub(super) struct Hearing {
    /// Compare samples, or only look at amounts.
    compares: bool,
    tolerance_us: u64,
    /// Messages may be shorter than a frame, by themselves or by a wrong rate, so that audio is on its way of which the
    /// worker has not made a frame.
    pieces: bool,
    piece_us: u64,
    end_after_us: u64,
    resampler: Resampler,
    /// Samples of the caller that telephony has put into the ring.
    taken: usize,
    silence_us: u64,
    ended: bool,
    /// What the model must hear, from `forgotten` on.
    expected: VecDeque<i16>,
    made: usize,
    /// Where the stream is to be ended.
    ends: VecDeque<usize>,
    pub heard: usize,
    /// Up to where on the clock the worker has made audio.
    covered_until: Instant,
    /// Speech of the caller was given up, so that only amounts can be compared.
    lossy: bool,
}

impl Hearing {
    /// Of a call that begins now, whose leg the relay takes to be at `rate`.
    pub(super) fn new(now: Instant, rate: SampleRate, plan: &Plan, tolerance_us: u64) -> Self {
        let end_after_ms = plan.stream_end_after_ms;
        Self {
            compares: plan.hears_uplink,
            tolerance_us,
            pieces: plan.cut == Cut::Anyhow || plan.fault == Fault::LateRate,
            piece_us: 0,
            end_after_us: if end_after_ms == 0 { u64::MAX } else { end_after_ms * 1000 },
            resampler: Resampler::new(rate, MODEL_RATE),
            taken: 0,
            silence_us: 0,
            ended: false,
            expected: VecDeque::new(),
            made: 0,
            ends: VecDeque::new(),
            heard: 0,
            covered_until: now,
            lossy: false,
        }
    }

    /// Telephony has put all of the caller's samples up to `total` into the ring, and takes them to be at `rate`.
    pub(super) fn caller_speaks(&mut self, total: usize, rate: SampleRate) {
        if total == self.taken {
            return;
        }
        if rate != self.resampler.from() {
            self.resampler = Resampler::new(rate, MODEL_RATE);
        }
        self.piece_us += (total - self.taken) as u64 * 1_000_000 / u64::from(rate.hz());
        let samples: Vec<i16> = (self.taken..total).map(caller_sample).collect();
        self.taken = total;
        self.silence_us = 0;
        self.expect(&samples);
    }

    /// The worker made so many frames for the model, and filled in so many of silence before them.
    pub(super) fn worker_passed(&mut self, now: Instant, frames: u64, silence_frames: u64) {
        if !self.ended {
            let hole_us = now.since_us(self.covered_until);
            let allowed_us = HOLE_US_MAX + self.tolerance_us;
            assert!(
                hole_us <= allowed_us,
                "the model has nothing to hear for {hole_us} µs, {allowed_us} µs are allowed"
            );
        }
        let made_us = if self.pieces { self.piece_us + silence_frames * 20_000 } else { frames * 20_000 };
        self.piece_us = 0;
        if made_us > 0 {
            self.covered_until = self.covered_until.max(now).plus_us(made_us);
            self.ended = false;
        }
        for _ in 0..silence_frames {
            assert!(!self.ended, "silence after the end of the stream");
            self.expect(&vec![0; self.resampler.from().samples_per_frame()]);
            self.silence_us += 20_000;
            if self.silence_us >= self.end_after_us {
                self.ends.push_back(self.made / 320 * 320);
                self.ended = true;
            }
        }
    }

    /// The gemini thread gave up speech of the caller because it had to keep too much.
    pub(super) fn speech_is_given_up(&mut self) {
        self.lossy = true;
    }

    /// The relay sends a message with the caller's audio, or the end of it.
    pub(super) fn hear(&mut self, json: &str) {
        if json == AUDIO_STREAM_END {
            let at = self.ends.pop_front();
            assert!(
                self.lossy || !self.compares || at == Some(self.heard),
                "ended after {} samples, expected at {at:?}",
                self.heard
            );
            return;
        }
        let message: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let audio = &message["realtimeInput"]["audio"];
        assert_eq!(audio["mimeType"], "audio/pcm;rate=16000");
        let text = audio["data"].as_str().expect("text").as_bytes();
        let mut samples = Vec::new();
        base64::decode_samples(text, |block| samples.extend_from_slice(block)).expect("base64");
        let heard = self.heard;
        self.heard += samples.len();
        if !self.compares {
            return;
        }
        assert!(samples.len() <= self.expected.len(), "the model hears more than was said");
        if !self.lossy {
            assert!(self.ends.front().is_none_or(|&end| self.heard <= end), "the end is missing");
            let differs = samples.iter().zip(&self.expected).position(|(heard, expected)| heard != expected);
            assert_eq!(differs, None, "from sample {heard} on the model hears something else");
        }
        self.expected.drain(..samples.len());
    }

    fn expect(&mut self, samples: &[i16]) {
        if !self.compares {
            return;
        }
        let mut rest = samples;
        let mut room = [0; 640];
        while !rest.is_empty() {
            let progress = self.resampler.process(rest, &mut room);
            rest = &rest[progress.consumed..];
            self.made += progress.produced;
            self.expected.extend(&room[..progress.produced]);
        }
    }
}
