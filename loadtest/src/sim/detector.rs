//! When the caller speaks: an energy detector over 10 ms frames, with a hangover, that keeps the talkspurt.
//!
//! Runs in: the simulator's thread: pure, in the time of the audio. Owns the talkspurt's samples.
//! Invariant: starts and ends alternate; a talkspurt is never longer than 60 s.

/// Samples at 16 kHz in one frame of detection, 10 ms.
const FRAME: usize = 160;
/// The level from which a frame counts as voice: -40 dBFS, as a mean of squares. Between the noise of a telephone
/// line and quiet speech.
const VOICE_MEAN_SQUARE: u64 = 327 * 327;
/// A talkspurt begins with so many voiced frames in a row: 30 ms.
const START_FRAMES: usize = 3;
/// Kept from before the start and after the last voiced frame, 100 ms: soft beginnings and endings of words.
const MARGIN: usize = 1_600;
/// A talkspurt ends after 60 s whatever is said.
const TALKSPURT_MAX: usize = 16_000 * 60;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The caller began to speak.
    Start,
    /// The caller stopped.
    End(Talkspurt),
}

/// What the caller said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Talkspurt {
    /// Its length at 16 kHz, the hangover not counted.
    pub length: usize,
    /// The samples, with a margin before and after; empty unless the detector keeps them.
    pub samples: Vec<i16>,
}

/// Who decides where a talkspurt begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// The detector, with this much silence before an end.
    Energy {
        /// The hangover, in frames of 10 ms.
        hangover_frames: usize,
    },
    /// The client, by `activityStart` and `activityEnd`.
    Client,
}

/// The detector of one session.
#[derive(Debug)]
pub(super) struct Detector {
    judge: Judge,
    keeps: bool,
    /// Samples that do not fill a frame yet, and then the last 100 ms before a start, or the talkspurt.
    kept: Vec<i16>,
    /// Of `kept`, how many samples belong to judged frames.
    judged: usize,
    speaking: bool,
    voiced_run: usize,
    silent_run: usize,
    /// Samples since the start, silence included.
    length: usize,
}

impl Detector {
    /// A detector; `keeps` says whether anybody wants the samples of a talkspurt.
    pub(super) fn new(judge: Judge, keeps: bool) -> Self {
        Self {
            judge,
            keeps,
            kept: Vec::new(),
            judged: 0,
            speaking: false,
            voiced_run: 0,
            silent_run: 0,
            length: 0,
        }
    }

    /// Hears samples at 16 kHz and tells what began and ended in them, in order.
    pub(super) fn hear(&mut self, samples: &[i16]) -> Vec<Heard> {
        let mut heard = Vec::new();
        self.kept.extend_from_slice(samples);
        while let Some(frame) = self.kept.get(self.judged..self.judged + FRAME) {
            let energy: u64 = frame.iter().map(|&sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
            self.judged += FRAME;
            self.judge_frame(energy / FRAME as u64 >= VOICE_MEAN_SQUARE, &mut heard);
        }
        heard
    }

    fn judge_frame(&mut self, voiced: bool, heard: &mut Vec<Heard>) {
        if voiced {
            self.voiced_run += 1;
            self.silent_run = 0;
        } else {
            self.voiced_run = 0;
            self.silent_run += 1;
        }
        if self.speaking {
            self.length += FRAME;
            let over = match self.judge {
                Judge::Energy { hangover_frames } => self.silent_run >= hangover_frames,
                Judge::Client => false,
            };
            if over || self.length >= TALKSPURT_MAX {
                heard.extend(self.stop());
            } else if !self.keeps {
                self.forget(MARGIN);
            }
        } else if matches!(self.judge, Judge::Energy { .. }) && self.voiced_run >= START_FRAMES {
            heard.extend(self.start());
            self.length = START_FRAMES * FRAME;
        } else {
            self.forget(MARGIN + START_FRAMES * FRAME);
        }
    }

    /// Drops judged samples beyond the last `keep`; rarely, because it moves the rest.
    fn forget(&mut self, keep: usize) {
        if self.judged > 4 * keep {
            self.kept.drain(..self.judged - keep);
            self.judged = keep;
        }
    }

    /// The caller begins to speak now; nothing if that is known already.
    pub(super) fn start(&mut self) -> Option<Heard> {
        if self.speaking {
            return None;
        }
        let before = MARGIN + if self.judge == Judge::Client { 0 } else { START_FRAMES * FRAME };
        let excess = self.judged.saturating_sub(before);
        self.kept.drain(..excess);
        self.judged -= excess;
        self.speaking = true;
        self.length = 0;
        Some(Heard::Start)
    }

    /// The caller stops now; nothing if nobody spoke.
    pub(super) fn stop(&mut self) -> Option<Heard> {
        if !self.speaking {
            return None;
        }
        self.speaking = false;
        let silence = match self.judge {
            Judge::Energy { .. } => (self.silent_run * FRAME).min(self.length),
            Judge::Client => 0,
        };
        let length = self.length - silence;
        let end = self.judged - silence.saturating_sub(MARGIN).min(self.judged);
        let samples = if self.keeps { self.kept.get(..end).unwrap_or_default().to_vec() } else { Vec::new() };
        self.kept.drain(..self.judged);
        self.judged = 0;
        self.voiced_run = 0;
        Some(Heard::End(Talkspurt { length, samples }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SILENCE: [i16; 16_000] = [0; 16_000];

    fn automatic() -> Detector {
        Detector::new(Judge::Energy { hangover_frames: 50 }, true)
    }

    #[test]
    fn the_bundled_sentences_are_one_talkspurt_each_whatever_the_chunking() {
        for speech in [crate::speech::question(), crate::speech::answer()] {
            let line = [&SILENCE[..], &speech, &SILENCE].concat();
            let mut results = Vec::new();
            for chunk in [1, 160, 320, 333, line.len()] {
                let mut detector = automatic();
                let heard: Vec<Heard> = line.chunks(chunk).flat_map(|piece| detector.hear(piece)).collect();
                let [Heard::Start, Heard::End(talkspurt)] = heard.as_slice() else { panic!("{heard:?}") };
                assert!(talkspurt.length.abs_diff(speech.len()) < 4_000, "{}", talkspurt.length);
                assert!(speech.windows(8_000).nth(8_000).is_some_and(|middle| {
                    talkspurt.samples.windows(8_000).any(|window| window == middle)
                }));
                results.push(talkspurt.clone());
            }
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }

    #[test]
    fn silence_and_clicks_are_no_speech() {
        let mut detector = automatic();
        let mut line = SILENCE;
        line[5_000..5_100].fill(20_000);
        assert_eq!(detector.hear(&line), []);
        assert!(detector.kept.len() < 16_000, "silence is not hoarded");
    }

    #[test]
    fn speech_that_never_stops_is_ended_and_not_hoarded() {
        for keeps in [true, false] {
            let mut detector = Detector::new(Judge::Energy { hangover_frames: 50 }, keeps);
            let mut ends = 0;
            for _ in 0..125 {
                ends +=
                    detector.hear(&[5_000; 16_000]).iter().filter(|heard| **heard != Heard::Start).count();
                assert!(detector.kept.len() <= TALKSPURT_MAX + 4 * MARGIN);
            }
            assert_eq!(ends, 2);
        }
    }

    #[test]
    fn a_client_that_decides_is_believed() {
        let mut detector = Detector::new(Judge::Client, true);
        assert_eq!(detector.hear(&[9_000; 3_200]), []);
        assert_eq!(detector.start(), Some(Heard::Start));
        assert_eq!(detector.start(), None);
        assert_eq!(detector.hear(&SILENCE), []);
        let Some(Heard::End(talkspurt)) = detector.stop() else { panic!("no end") };
        assert_eq!((talkspurt.length, talkspurt.samples.len()), (16_000, 16_000 + MARGIN));
        assert_eq!(detector.stop(), None);
    }
}
