//! Talkspurts: when the caller begins to speak and when they have stopped.
//!
//! Runs in: the call's dsp worker. Owns a detector of voice and the last decisions. Never allocates; never looks ahead.
//! Invariant: beginnings and ends alternate, and a beginning comes first; a click, however loud, is neither a beginning
//! nor does it put an end off.

use crate::dsp::voice::{DECISION_MS, Voice};

/// A talkspurt begins when this many of the last [`ONSET_OF`] decisions are voice: 50 of 60 ms. Clicks are shorter, and a
/// short "yes" is three times as long.
const ONSET_VOICED: u32 = 5;
const ONSET_OF: u32 = 6;
/// So many decisions of voice in a row go on with a talkspurt; fewer are a click in a pause.
const ONWARD_VOICED: u32 = 3;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The caller has begun to speak, at most 60 ms ago if the line is clean.
    Began,
    /// The caller has stopped, as long ago as the hangover is.
    Ended {
        /// Milliseconds from the first voice to the last.
        speech_ms: u32,
    },
}

/// Makes talkspurts of decisions; see the head of this file.
#[derive(Debug, Clone)]
pub struct Rule {
    hangover: u32,
    /// The last decisions, the newest in the lowest bit.
    recent: u32,
    /// Decisions since the talkspurt began, if one has.
    length: Option<u32>,
    /// Decisions since the last voice that was no click.
    silent: u32,
}

impl Rule {
    /// A rule with which a talkspurt has ended when nothing was said for `hangover_ms` milliseconds.
    pub const fn new(hangover_ms: u32) -> Self {
        Self { hangover: hangover_ms / DECISION_MS, recent: 0, length: None, silent: 0 }
    }

    /// Takes the next decision.
    pub fn decided(&mut self, voiced: bool) -> Option<Heard> {
        self.recent = self.recent << 1 | u32::from(voiced);
        let Some(length) = &mut self.length else {
            let last = self.recent & ((1 << ONSET_OF) - 1);
            if last.count_ones() < ONSET_VOICED {
                return None;
            }
            (self.length, self.silent) = (Some(ONSET_OF), 0);
            return Some(Heard::Began);
        };
        *length = length.saturating_add(1);
        let onward = (1 << ONWARD_VOICED) - 1;
        self.silent = if self.recent & onward == onward { 0 } else { self.silent + 1 };
        if self.silent == 0 || self.silent < self.hangover { None } else { self.stop() }
    }

    /// Ends the talkspurt, if there is one: the caller's stream pauses.
    pub fn stop(&mut self) -> Option<Heard> {
        let length = self.length?;
        let speech_ms = length.saturating_sub(self.silent).saturating_mul(DECISION_MS);
        (self.length, self.recent, self.silent) = (None, 0, 0);
        Some(Heard::Ended { speech_ms })
    }

    /// Whether a talkspurt has begun and not ended.
    pub const fn is_speaking(&self) -> bool {
        self.length.is_some()
    }
}

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Talkspurts {
    voice: Voice,
    rule: Rule,
}

impl Talkspurts {
    /// Talkspurts that end when nothing was said for `hangover_ms` milliseconds.
    pub const fn new(hangover_ms: u32) -> Self {
        Self { voice: Voice::new(), rule: Rule::new(hangover_ms) }
    }

    /// Waits for another time until a talkspurt has ended.
    pub const fn set_hangover(&mut self, hangover_ms: u32) {
        self.rule.hangover = hangover_ms / DECISION_MS;
    }

    /// Hears samples at 16 kHz, a frame at most: what begins or ends in them.
    pub fn hear(&mut self, samples: &[i16]) -> Option<Heard> {
        let mut heard = None;
        let rule = &mut self.rule;
        self.voice.hear(samples, |voiced| heard = rule.decided(voiced).or(heard));
        heard
    }

    /// Whether a talkspurt has begun and not ended.
    pub const fn is_speaking(&self) -> bool {
        self.rule.is_speaking()
    }

    /// Ends the talkspurt, if there is one: the caller's stream pauses.
    pub fn stop(&mut self) -> Option<Heard> {
        self.rule.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, and after how many milliseconds, when this is heard in frames of 20 ms.
    fn heard(samples: &[i16]) -> Vec<(usize, Heard)> {
        let mut talkspurts = Talkspurts::new(500);
        let frames = samples.chunks(320).enumerate();
        frames.filter_map(|(n, frame)| talkspurts.hear(frame).map(|heard| ((n + 1) * 20, heard))).collect()
    }

    /// A voice's 700 Hz.
    fn voice(ms: usize) -> Vec<i16> {
        let turn = std::f32::consts::TAU * 700.0 / 16_000.0;
        (0..ms * 16).map(|n| ((n as f32 * turn).sin() * 3_000.0) as i16).collect()
    }

    fn silence(ms: usize) -> Vec<i16> {
        vec![0; ms * 16]
    }

    fn noise(ms: usize, level: i32) -> Vec<i16> {
        let mut state = 7u32;
        let mut dice = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32 % (2 * level + 1) - level
        };
        (0..ms * 16).map(|_| dice() as i16).collect()
    }

    #[test]
    fn a_short_word_is_a_talkspurt_found_within_60_ms_and_ended_by_the_hangover() {
        let line = [silence(1_000), voice(200), silence(2_000)].concat();
        let heard = heard(&line);
        let [(began, Heard::Began), (ended, Heard::Ended { speech_ms })] = heard[..] else {
            panic!("{heard:?}")
        };
        assert!((1_040..=1_080).contains(&began), "began at {began}");
        assert!((1_680..=1_760).contains(&ended), "ended at {ended}");
        assert!((180..=240).contains(&speech_ms), "{speech_ms} ms of speech");
    }

    #[test]
    fn a_pause_shorter_than_the_hangover_is_inside_the_talkspurt() {
        let line = [silence(500), voice(300), silence(400), voice(300), silence(1_000)].concat();
        assert_eq!(heard(&line).len(), 2);
    }

    #[test]
    fn clicks_neither_begin_a_talkspurt_nor_put_its_end_off() {
        let mut line = [silence(1_000), voice(300), silence(3_000)].concat();
        for click in (2_000..line.len() - 48).step_by(3_000).filter(|at| !(12_000..24_000).contains(at)) {
            line[click..click + 48].fill(20_000);
        }
        let heard = heard(&line);
        let [(_, Heard::Began), (ended, Heard::Ended { .. })] = heard[..] else { panic!("{heard:?}") };
        assert!(ended < 1_900, "ended at {ended}");
    }

    #[test]
    fn noise_that_begins_loud_is_found_out_and_a_voice_above_it_is_heard() {
        let mut line = [silence(500), noise(8_000, 1_500)].concat();
        for (sample, voice) in line[96_000..].iter_mut().zip(voice(400)) {
            *sample += voice;
        }
        let heard = heard(&line);
        let began: Vec<usize> = heard.iter().filter(|h| h.1 == Heard::Began).map(|h| h.0).collect();
        assert_eq!(heard.len(), 4, "{heard:?}");
        assert!(began[0] < 700 && (6_000..6_200).contains(&began[1]), "{heard:?}");
        assert!(heard[1].0 < 4_000, "the noise was taken for speech for {} ms", heard[1].0);
    }

    #[test]
    fn hum_and_quiet_noise_are_no_speech() {
        let turn = std::f32::consts::TAU * 50.0 / 16_000.0;
        let hum: Vec<i16> = (0..80_000).map(|n| ((n as f32 * turn).sin() * 1_000.0) as i16).collect();
        assert_eq!(heard(&hum), []);
        assert_eq!(heard(&noise(5_000, 60)), []);
    }

    #[test]
    fn a_stream_that_pauses_ends_the_talkspurt_once() {
        let mut talkspurts = Talkspurts::new(500);
        for frame in [silence(200), voice(200)].concat().chunks(320) {
            talkspurts.hear(frame);
        }
        assert!(talkspurts.is_speaking());
        assert!(matches!(talkspurts.stop(), Some(Heard::Ended { .. })));
        assert_eq!(talkspurts.stop(), None);
        assert!(!talkspurts.is_speaking());
    }
}
