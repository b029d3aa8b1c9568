//! A call that is not analysed: prepared frames go out, and what comes back is counted and timed, not decoded.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns what is counted. Never looks at a sample.
//! Invariant: the frames of a run are made once and shared; what a call sends follows from the seed and its number.

use super::clock::Random;
use super::ear::TICK_NS;
use super::options::{Audio, Options};
use super::source::Script;
use crate::websocket::{Opcode, append_frame};

/// Different frames that are prepared: 1.28 s of audio.
const FRAMES: usize = 64;
/// Frames of faint noise before exact silence: one second.
const NOISE_FRAMES: u64 = 50;
/// Peak of faint noise: what a quiet analogue line has.
const NOISE_PEAK: u64 = 12;
/// Any key masks; nothing secret is sent.
const MASK_KEY: [u8; 4] = [0x5a, 0xc3, 0x96, 0x2d];
/// Talkspurts are this long, in frames: 1.5 to 4 s.
const SPURT_FRAMES: (u64, u64) = (75, 200);
/// Where a model answers in turns, more silence than this is the end of what it says.
const PAUSE_NS: u64 = 400_000_000;

/// The frames of a run as they go over the wire.
#[derive(Debug)]
pub(super) struct Prepared {
    frames: Vec<Vec<u8>>,
    silence: Vec<u8>,
}

impl Prepared {
    /// What the callers of `options` say: of `marks` that number of frame, of `script` its audible part.
    pub(super) fn new<'a>(
        options: &Options,
        script: Option<&'a Script>,
        marks: impl Fn(u64) -> &'a [i16],
    ) -> Self {
        let mut random = Random::seeded(options.seed);
        let length = options.rate.samples_per_frame();
        let frames = (0..FRAMES).map(|number| match (&options.audio, script) {
            (Audio::Noise | Audio::Silence, _) => {
                let sample = |_| (random.next_u64() % (2 * NOISE_PEAK + 1)) as i16 - NOISE_PEAK as i16;
                wire(&(0..length).map(sample).collect::<Vec<i16>>())
            }
            (_, Some(script)) => {
                let audible = script.last_audible + 1 - script.first_audible;
                wire(script.frame(script.first_audible + number % audible))
            }
            _ => wire(marks(number as u64)),
        });
        Self { frames: frames.collect(), silence: wire(&vec![0; length]) }
    }

    /// The message with frame `number`; none is silence.
    pub(super) fn message(&self, number: Option<u64>) -> &[u8] {
        let place = number.map(|number| number as usize % self.frames.len().max(1));
        place.and_then(|place| self.frames.get(place)).unwrap_or(&self.silence)
    }
}

fn wire(samples: &[i16]) -> Vec<u8> {
    let payload: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut wire = Vec::with_capacity(payload.len() + 8);
    append_frame(&mut wire, Opcode::Binary, &payload, MASK_KEY);
    wire
}

/// Talkspurts and the pauses between them.
#[derive(Debug)]
struct Talk {
    random: Random,
    share: f64,
    /// Frames left of the talkspurt, and of the pause after it.
    loud: u64,
    quiet: u64,
    /// Talkspurts begun.
    turns: u64,
}

impl Talk {
    /// Whether the next frame belongs to a talkspurt.
    fn next(&mut self) -> bool {
        if self.loud + self.quiet == 0 {
            let (least, most) = SPURT_FRAMES;
            self.turns += 1;
            self.loud = least + self.random.next_u64() % (most - least + 1);
            self.quiet = (self.loud as f64 * (1.0 - self.share) / self.share).round() as u64;
        }
        let left = if self.loud > 0 { &mut self.loud } else { &mut self.quiet };
        *left -= 1;
        std::ptr::eq(left, &self.loud)
    }
}

/// What a light call sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// This frame, or silence.
    Send(Option<u64>),
    /// Everything has been sent.
    Done,
}

/// One light call.
#[derive(Debug)]
pub(super) struct Light {
    talk: Option<Talk>,
    /// Exact silence after the first second.
    goes_silent: bool,
    silent_frames: u64,
    /// Frames still to be sent.
    left: u64,
    number: u64,
    /// Frames sent that are to come back.
    pub(super) loud_sent: u64,
    /// Everything received comes without pause.
    echoes: bool,
    /// One of the ticks at which the switch plays 20 ms.
    tick_ns: u64,
    /// When what has arrived will have been played.
    until_ns: u64,
}

impl Light {
    /// Call `number`, whose first frame is due at `first_ns` and which talks for `length_ns`.
    pub(super) fn new(options: &Options, number: usize, first_ns: u64, length_ns: u64) -> Self {
        let echoes = options.expect == super::options::Expect::Echo;
        let seed = options.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let talk = options.talk.map(|share| {
            let mut random = Random::seeded(seed);
            // A call begins anywhere in a pause.
            let quiet = random.next_u64() % SPURT_FRAMES.1;
            Talk { random, share, loud: 0, quiet, turns: 0 }
        });
        Self {
            talk,
            goes_silent: options.audio == Audio::Silence,
            silent_frames: u64::from(options.warmup_ms) * 1_000_000 / TICK_NS,
            left: (length_ns / TICK_NS).max(1),
            number: number as u64,
            loud_sent: 0,
            echoes,
            tick_ns: first_ns % TICK_NS,
            until_ns: 0,
        }
    }

    /// The next frame is due.
    pub(super) fn next(&mut self) -> Next {
        if self.left == 0 {
            return Next::Done;
        }
        self.left -= 1;
        if self.silent_frames > 0 {
            self.silent_frames -= 1;
            return Next::Send(None);
        }
        let is_loud = match &mut self.talk {
            Some(talk) => talk.next(),
            None => !self.goes_silent || self.loud_sent < NOISE_FRAMES,
        };
        self.number += 1;
        self.loud_sent += u64::from(is_loud);
        Next::Send(is_loud.then_some(self.number))
    }

    /// Audio of `length_ns` arrived: for how long the caller has heard nothing where there should have been something.
    pub(super) fn heard(&mut self, now_ns: u64, length_ns: u64) -> Option<u64> {
        // A queue that has run dry plays again from the switch's next tick on.
        let next_ns = (now_ns + TICK_NS - self.tick_ns).div_ceil(TICK_NS) * TICK_NS + self.tick_ns - TICK_NS;
        let begun_ns = if now_ns > self.until_ns { next_ns } else { self.until_ns };
        let hole_ns = begun_ns.saturating_sub(self.until_ns);
        let is_hole = self.until_ns > 0 && hole_ns > 0 && (self.echoes || hole_ns < PAUSE_NS);
        self.until_ns = begun_ns + length_ns;
        is_hole.then_some(hole_ns)
    }

    /// What was waiting was thrown away.
    pub(super) fn cleared(&mut self) {
        self.until_ns = 0;
    }

    /// Whether a model has had the time to answer something: a talkspurt and the pause after it.
    pub(super) fn has_been_answered(&self) -> bool {
        self.talk.as_ref().is_some_and(|talk| talk.turns > 1)
    }

    /// How many of `heard` frames were to come back; `None` where nothing says how many should.
    pub(super) fn returned(&self, heard: u64) -> Option<u64> {
        self.echoes.then(|| heard.min(self.loud_sent))
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Expect;
    use super::*;

    fn sent(options: &Options, number: usize) -> Vec<bool> {
        let mut light = Light::new(options, number, 0, 60_000_000_000);
        std::iter::from_fn(|| match light.next() {
            Next::Send(frame) => Some(frame.is_some()),
            Next::Done => None,
        })
        .collect()
    }

    #[test]
    fn a_share_of_the_time_is_talk_and_every_call_has_its_own() {
        let options = Options { talk: Some(0.4), analyse: 0, ..Options::default() };
        let frames: Vec<Vec<bool>> = (0..40).map(|number| sent(&options, number)).collect();
        assert!(frames.iter().all(|frames| frames.len() == 3000));
        let loud = frames.iter().flatten().filter(|loud| **loud).count() as f64 / 120_000.0;
        assert!((0.36..0.44).contains(&loud), "{loud}");
        assert_ne!(frames[0], frames[1]);
        assert_eq!(frames[7], sent(&options, 7));
        let spurts = frames[0].windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((4..30).contains(&spurts), "{spurts} in a minute");
    }

    #[test]
    fn a_muted_line_is_noise_for_a_second_and_then_exact_zeros() {
        let options = Options { audio: Audio::Silence, analyse: 0, warmup_ms: 0, ..Options::default() };
        let frames = sent(&options, 3);
        assert!(frames[..50].iter().all(|loud| *loud) && frames[50..].iter().all(|loud| !*loud));
        let prepared = Prepared::new(&options, None, |_| &[]);
        let samples = |message: &[u8]| -> Vec<i16> {
            let payload: Vec<u8> =
                message[8..].iter().zip(MASK_KEY.iter().cycle()).map(|(a, b)| a ^ b).collect();
            payload.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
        };
        assert_eq!(samples(prepared.message(None)), vec![0; 320]);
        let noise = samples(prepared.message(Some(1)));
        assert!(noise.iter().all(|sample| sample.abs() <= 12) && noise.iter().any(|sample| *sample != 0));
        assert_eq!(prepared.message(Some(1)), prepared.message(Some(65)));
    }

    #[test]
    fn holes_are_counted_where_sound_should_be() {
        const MS: u64 = 1_000_000;
        // The switch plays at 5, 25, 45 …
        let mut light = Light::new(&Options::default(), 0, 25 * MS, MS);
        assert_eq!(light.heard(90 * MS, 20 * MS), None);
        assert_eq!(light.heard(124 * MS, 20 * MS), None, "later than 20 ms, but before its tick at 125");
        assert_eq!(light.heard(150 * MS, 20 * MS), Some(20 * MS), "after its tick at 145, played at 165");
        assert_eq!(light.heard(1170 * MS, 20 * MS), Some(1000 * MS), "an echo has no pauses");
        let mut turns = Light::new(&Options { expect: Expect::Parrot, ..Options::default() }, 0, 0, MS);
        turns.heard(100 * MS, 20 * MS);
        assert_eq!(turns.heard(1170 * MS, 20 * MS), None, "another answer");
    }
}
