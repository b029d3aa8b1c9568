//! The caller's ear: takes every message that the relay hands to the switch, and knows what it may be.
//!
//! Runs in: the simulations: pure. Owns its own resampler for the answer being heard, and the switch's playback queue.
//! Invariant: everything handed over is exactly what a fresh resampler makes of the answer, from its first sample on and in
//! order; silence stands only at an answer's end or where the model was late; and nothing of an interrupted answer is
//! handed over after the interruption arrived.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use tandem::base::{Instant, LegFormat, PlaybackFormat, SampleRate};
use tandem::call::LegKind;
use tandem::codec::base64;
use tandem::codec::mod_audio_stream::playback;
use tandem::dsp::resample::Resampler;
use tungstenite::Message;

use super::plan::Plan;
use super::speech::{ANSWERS_ALIKE, belongs_to, model_sample};

const MODEL_RATE: SampleRate = SampleRate::Hz24000;
/// How long a started frame waits for its rest before it may be padded with silence.
const BRIDGE_US: u64 = 100_000;

/// What has arrived of one answer.
#[derive(Default)]
struct Arrivals {
    /// Samples in all, after each message, and when it arrived.
    samples: Vec<(usize, Instant)>,
    /// When the answer was said to be complete.
    ended_at: Option<Instant>,
}

impl Arrivals {
    fn total(&self) -> usize {
        self.samples.last().map_or(0, |(total, _)| *total)
    }

    /// When so many samples were there; never, or only with the end.
    fn had(&self, samples: usize) -> Option<Instant> {
        self.samples.iter().find(|(total, _)| *total >= samples).map(|(_, at)| *at).or(self.ended_at)
    }
}

/// What an answer must sound like at the leg's rate.
struct Reference {
    rate: SampleRate,
    sound: Vec<i16>,
    /// Where the filter's tail begins, once all of the answer is in.
    tail_from: Option<usize>,
}

/// The beginning of an answer at a rate, as long as somebody wanted it.
struct Beginning {
    resampler: Resampler,
    fed: usize,
    sound: Vec<i16>,
}

thread_local! {
    /// Answers that sound alike are resampled once for all calls of a test.
    static BEGINNINGS: RefCell<HashMap<(SampleRate, usize), Beginning>> = RefCell::default();
}

/// See the head of this file.
pub(super) struct Ear {
    flavour: LegKind,
    playback: PlaybackFormat,
    format: LegFormat,
    /// How late the relay's threads may be together, in microseconds.
    tolerance_us: u64,
    /// After a stall the pacer knows only at its next pass, a frame later, when the switch got what had waited; and it does
    /// not see the started chunk that telephony holds.
    stall_us: u64,
    /// The rate changed within the call: what was under way then is lost, and nothing can be said of the place.
    unsure: bool,
    ever_unsure: bool,
    arrivals: Vec<Arrivals>,
    answer: usize,
    place: usize,
    reference: Reference,
    /// The first answer that has not been interrupted.
    wanted_from: usize,
    handed_over: bool,
    clear_owed: bool,
    turn: u32,
    dry_at: Instant,
    hash: DefaultHasher,
    pub whole_answers: u64,
    pub interruptions: u64,
    pub residual_us_max: u64,
    /// Gaps that the relay must, and may, have counted as underruns.
    pub gaps: (u64, u64),
    pub samples: u64,
}

impl Ear {
    /// Of a call that begins now, whose leg the relay takes to have this format.
    pub(super) fn new(plan: &Plan, format: LegFormat, tolerance_us: u64) -> Self {
        Self {
            flavour: plan.flavour,
            playback: plan.defaults.playback(plan.flavour, &plan.fields),
            format,
            tolerance_us,
            stall_us: if plan.stalls.is_empty() { 0 } else { u64::from(format.chunk_ms) * 1000 },
            unsure: false,
            ever_unsure: false,
            arrivals: Vec::new(),
            answer: 0,
            place: 0,
            reference: Reference::new(format.rate),
            wanted_from: 0,
            handed_over: false,
            clear_owed: false,
            turn: 1,
            dry_at: Instant::default(),
            hash: DefaultHasher::new(),
            whole_answers: 0,
            interruptions: 0,
            residual_us_max: 0,
            gaps: (0, 0),
            samples: 0,
        }
    }

    /// The relay took samples of an answer from Gemini.
    pub(super) fn answer_arrives(&mut self, now: Instant, answer: usize, samples: usize) {
        if self.arrivals.len() <= answer {
            self.arrivals.resize_with(answer + 1, Arrivals::default);
        }
        let arrivals = &mut self.arrivals[answer];
        let total = arrivals.total() + samples;
        arrivals.samples.push((total, now));
    }

    /// The relay was told that an answer is complete.
    pub(super) fn answer_ends(&mut self, now: Instant, answer: usize) {
        if let Some(arrivals) = self.arrivals.get_mut(answer) {
            arrivals.ended_at.get_or_insert(now);
        }
    }

    /// The relay was told that everything up to this answer is cancelled.
    pub(super) fn interrupted(&mut self, now: Instant, answer: usize) {
        self.interruptions += 1;
        // A late frame may just have been on its way.
        self.gaps.1 += u64::from(now.plus_us(self.tolerance_us) > self.dry_at);
        self.turn += 1;
        let residual_us = self.dry_at.since_us(now);
        self.residual_us_max = self.residual_us_max.max(residual_us);
        self.clear_owed = self.handed_over;
        self.wanted_from = answer + 1;
        self.begin(answer + 1);
        self.unsure = false;
    }

    /// The leg's format as the relay now believes it to be.
    pub(super) fn format_changes(&mut self, format: LegFormat) {
        if format != self.format {
            self.format = format;
            self.unsure |= self.handed_over || !self.arrivals.is_empty();
            self.ever_unsure |= self.unsure;
            self.reference = Reference::new(format.rate);
            self.place = 0;
        }
    }

    /// The relay hands a message to the switch.
    pub(super) fn hear(&mut self, now: Instant, message: &Message) {
        message.clone().into_data().hash(&mut self.hash);
        now.hash(&mut self.hash);
        let clear = playback::clear_message(self.flavour);
        if self.clear_owed {
            assert_eq!(
                message,
                &Message::text(clear),
                "after an interruption the switch's queue is cleared first"
            );
            (self.clear_owed, self.handed_over, self.dry_at) = (false, false, now);
            return;
        }
        assert_ne!(message, &Message::text(clear), "cleared without need");
        let audio = self.decode(message);
        self.handed_over = true;
        self.samples += audio.len() as u64;
        if self.wanted_from > 0 && self.answer == self.wanted_from && !self.is_complete() && !self.unsure {
            let old = audio.iter().position(|&sample| belongs_to(self.wanted_from - 1, sample));
            assert_eq!(old, None, "a sample of the interrupted answer is handed over");
        }
        let frame_samples = self.format.rate.samples_per_frame();
        if !self.unsure {
            assert_eq!(audio.len() % frame_samples, 0, "whole frames");
            let within_answer = self.is_within_answer();
            let mut had_at = now;
            for frame in audio.chunks(frame_samples) {
                had_at = self.frame(now, frame).unwrap_or(now);
            }
            if within_answer {
                self.judge_gap(now, had_at);
            }
        }
        let us = audio.len() as u64 * 1_000_000 / u64::from(self.format.rate.hz());
        self.dry_at = self.dry_at.max(now).plus_us(us);
        let lead_us = u64::from(self.format.lead_ms) * 1000 + self.tolerance_us + self.stall_us;
        let ahead_us = self.dry_at.since_us(now);
        assert!(
            self.unsure || ahead_us <= lead_us,
            "{ahead_us} µs ahead of real time, {lead_us} µs are allowed"
        );
    }

    fn decode(&self, message: &Message) -> Vec<i16> {
        match (message, self.playback) {
            (Message::Binary(bytes), PlaybackFormat::Binary) => {
                bytes.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
            }
            (Message::Text(text), PlaybackFormat::Json) => {
                let message: serde_json::Value = serde_json::from_str(text).expect("JSON");
                let told = &message["data"];
                if !self.unsure {
                    assert_eq!(told["sampleRate"], self.format.rate.hz());
                }
                assert_eq!(told["turn"], self.turn);
                let mut audio = Vec::new();
                let text = told["audioData"].as_str().expect("text").as_bytes();
                base64::decode_samples(text, |block| audio.extend_from_slice(block)).expect("base64");
                audio
            }
            (message, playback) => panic!("{message:?} where {playback:?} was asked for"),
        }
    }

    /// Compares a frame of 20 ms with what comes next in the answer. Returns when everything for it was there: its last
    /// sample, or what should have followed it.
    fn frame(&mut self, now: Instant, frame: &[i16]) -> Option<Instant> {
        if self.is_complete() {
            if frame.iter().all(|&sample| sample == 0) {
                // The last frame of an answer that fitted exactly: the end is said with a frame of silence.
                return None;
            }
            self.begin(self.answer + 1);
        }
        let Some(arrivals) = self.arrivals.get(self.answer) else {
            panic!("audio where no answer {} has come", self.answer)
        };
        self.reference.extend(self.answer, arrivals, self.place + frame.len());
        let expected = self.reference.sound.get(self.place..).unwrap_or_default();
        let same = frame.iter().zip(expected).take_while(|(heard, expected)| heard == expected).count();
        let place = self.place + same;
        assert!(
            frame[same..].iter().all(|&sample| sample == 0),
            "answer {}, sample {place}: heard {:?}, expected {:?}",
            self.answer,
            &frame[same..(same + 4).min(frame.len())],
            expected.get(same..(same + 4).min(expected.len()))
        );
        let next = place - 1 + usize::from(same < frame.len());
        let input = |place: usize| place * MODEL_RATE.hz() as usize / self.format.rate.hz() as usize + 1;
        let had_at = arrivals.had(input(next));
        if same < frame.len() && self.reference.tail_from.is_none() {
            let waited_us = now.since_us(arrivals.had(input(self.place)).unwrap_or(now));
            assert!(waited_us >= BRIDGE_US, "a frame was padded with silence after {waited_us} µs");
        }
        self.place = place;
        self.whole_answers += u64::from(self.is_complete());
        had_at
    }

    /// Whether some of the answer was heard and some is still to come, other than the filter's tail. With chunks longer
    /// than a frame a gap may be the wait for a chunk, and cannot be judged.
    fn is_within_answer(&mut self) -> bool {
        if let Some(arrivals) = self.arrivals.get(self.answer) {
            self.reference.extend(self.answer, arrivals, self.place);
        }
        self.place > 0
            && self.format.chunk_ms == 20
            && self.reference.tail_from.is_none_or(|from| self.place < from)
    }

    /// Within an answer the ear ran dry before this message: was the model late, or the relay?
    fn judge_gap(&mut self, now: Instant, had_at: Instant) {
        let slack = self.tolerance_us;
        if now <= self.dry_at {
            // Dry for the pacer perhaps, by the time that a message takes.
            self.gaps.1 += u64::from(now.plus_us(slack) > self.dry_at && had_at.plus_us(slack) > self.dry_at);
            return;
        }
        let late = had_at > self.dry_at.plus_us(slack);
        let perhaps = had_at.plus_us(slack) > self.dry_at;
        self.gaps.0 += u64::from(late);
        self.gaps.1 += u64::from(perhaps);
        let gap_us = now.since_us(self.dry_at);
        let stalled = self.stall_us > 0;
        assert!(
            perhaps || gap_us <= slack || stalled,
            "a gap of {gap_us} µs although the model's audio was there"
        );
    }

    fn is_complete(&self) -> bool {
        self.reference.tail_from.is_some() && self.place >= self.reference.sound.len()
    }

    fn begin(&mut self, answer: usize) {
        self.answer = answer;
        self.place = 0;
        self.reference = Reference::new(self.format.rate);
    }

    /// Everything that was not interrupted has been heard to its end.
    pub(super) fn assert_everything_was_heard(&self) {
        if self.unsure || self.arrivals.len() <= self.wanted_from {
            return;
        }
        let last = self.arrivals.len() - 1;
        let (answer, place) = (self.answer, self.place);
        assert!(
            answer == last && self.is_complete(),
            "the last answer is {last}; heard {place} samples of {answer}"
        );
    }

    /// Whether the place in the answer was always known.
    pub(super) fn was_sure(&self) -> bool {
        !self.ever_unsure
    }

    /// A number made of everything handed over and its time.
    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

impl Reference {
    fn new(rate: SampleRate) -> Self {
        Self { rate, sound: Vec::new(), tail_from: None }
    }

    /// Makes the sound of the answer as far as `until`, or as far as it has arrived.
    fn extend(&mut self, answer: usize, arrivals: &Arrivals, until: usize) {
        let total = arrivals.total();
        let from = MODEL_RATE.hz() as usize;
        let to = self.rate.hz() as usize;
        // Every output sample whose newest input is there: 20 ms in are 20 ms out, and a started period counts.
        let known = (total * to).div_ceil(from);
        if self.tail_from.is_none() {
            let wanted = known.min(until);
            BEGINNINGS.with_borrow_mut(|beginnings| {
                let key = (self.rate, answer % ANSWERS_ALIKE);
                let beginning = beginnings.entry(key).or_insert_with(|| Beginning::new(self.rate));
                beginning.extend(answer, wanted);
                self.sound.extend_from_slice(&beginning.sound[self.sound.len().min(wanted)..wanted]);
            });
        }
        if self.sound.len() == known && arrivals.ended_at.is_some() && self.tail_from.is_none() {
            self.tail_from = Some(known);
            self.sound.extend(tail(answer, total, self.rate));
        }
    }
}

/// What the filter still holds when an answer ends after `total` samples. Only the last samples matter, from a place on
/// where both rates begin a new period.
fn tail(answer: usize, total: usize, rate: SampleRate) -> Vec<i16> {
    let mut resampler = Resampler::new(MODEL_RATE, rate);
    let start = total.saturating_sub(480) / 480 * 480;
    let last: Vec<i16> = (start..total).map(|n| model_sample(answer, n)).collect();
    resampler.process(&last, &mut [0; 2 * 960]);
    let mut tail = vec![0; (resampler.delay_us() as usize * rate.hz() as usize).div_ceil(1_000_000)];
    let mut done = 0;
    while done < tail.len() {
        done += resampler.process(&[0; 256], &mut tail[done..]).produced;
    }
    tail
}

impl Beginning {
    fn new(rate: SampleRate) -> Self {
        Self { resampler: Resampler::new(MODEL_RATE, rate), fed: 0, sound: Vec::new() }
    }

    fn extend(&mut self, answer: usize, until: usize) {
        let mut room = [0; 960];
        while self.sound.len() < until {
            let input: Vec<i16> = (self.fed..self.fed + 480).map(|n| model_sample(answer, n)).collect();
            let progress = self.resampler.process(&input, &mut room);
            self.fed += progress.consumed;
            self.sound.extend_from_slice(&room[..progress.produced]);
        }
    }
}
