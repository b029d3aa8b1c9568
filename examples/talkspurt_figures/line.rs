//! Telephone lines with a caller on them: bundled speech, noise of a known strength, G.711, and where the speech is.
//!
//! Runs in: the figures example and tests, which include this file: pure. Owns nothing.
//! Invariant: the same seed gives the same samples on every machine.

use tandem::base::SampleRate;
use tandem::dsp::Resampler;
use tandem_loadtest::speech;

/// Samples in 10 ms at 16 kHz: what speech is marked in.
pub(crate) const BLOCK: usize = 160;

/// What is heard beside the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noise {
    /// Nothing but G.711's own.
    None,
    /// Equal power at all frequencies.
    White,
    /// 3 dB less an octave: wind, traffic.
    Pink,
    /// Eight people who speak at once.
    Babble,
    /// 50 Hz and what comes with it.
    Hum,
    /// Clicks of 3 ms, 2 a second on the average, over very little noise.
    Clicks,
}

impl Noise {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::None, Self::White, Self::Pink, Self::Babble, Self::Hum, Self::Clicks];

    /// For a table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::White => "white",
            Self::Pink => "pink",
            Self::Babble => "babble",
            Self::Hum => "hum",
            Self::Clicks => "clicks",
        }
    }
}

/// What a detector hears at 16 kHz, and the truth about it.
pub(crate) struct Line {
    /// The samples.
    pub samples: Vec<i16>,
    /// For each 10 ms: whether the caller speaks.
    pub speech: Vec<bool>,
    /// From which sample to which the caller speaks.
    pub utterances: Vec<(usize, usize)>,
    /// How many samples of noise alone stand at the start.
    pub lead_in: usize,
}

/// A line of about a minute: noise alone for 20 s, then two sentences and a short word, three times, with pauses.
pub(crate) fn line(noise: Noise, snr_db: f64, level_dbfs: f64) -> Line {
    let rate_8k = |samples: &[i16]| resample(samples, SampleRate::Hz16000, SampleRate::Hz8000);
    let question = rate_8k(&speech::question());
    let answer = rate_8k(&speech::answer());
    // "else?", the last word of the answer: as short as a yes.
    let answer_end = last_loud(&answer);
    let word = answer[answer_end - 3_000..answer_end.min(answer.len())].to_vec();
    let level = active_rms(&question);
    let gain = 32768.0 * 10f64.powf(level_dbfs / 20.0) / level;
    let lead_in = 20 * 8_000;
    let mut clean = vec![0.0; lead_in];
    let mut spans = Vec::new();
    for pause_s in [1.5, 2.0, 2.5] {
        for utterance in [&question, &word, &answer] {
            let start = clean.len();
            clean.extend(utterance.iter().map(|&sample| f64::from(sample) * gain));
            spans.push((start, clean.len()));
            clean.resize(clean.len() + (pause_s * 8_000.0) as usize, 0.0);
        }
    }
    let rms = 32768.0 * 10f64.powf((level_dbfs - snr_db) / 20.0);
    let heard = noise_of(noise, clean.len(), rms, [&question, &answer]);
    let mixed: Vec<i16> = clean.iter().zip(&heard).map(|(c, n)| mu_law((c + n) as i32)).collect();
    let samples = resample(&mixed, SampleRate::Hz8000, SampleRate::Hz16000);
    // The truth: within a sentence, what is less than 35 dB under its level, holes under 60 ms filled.
    let clean: Vec<i16> = clean.iter().map(|&sample| sample as i16).collect();
    let floor = 32768.0 * 10f64.powf((level_dbfs - 35.0) / 20.0);
    let mut speech: Vec<bool> = clean.chunks(BLOCK / 2).map(|block| rms_of(block) > floor).collect();
    fill_holes(&mut speech, 6);
    let utterances = spans
        .iter()
        .map(|&(start, end)| {
            let blocks = start / 80..(end / 80).min(speech.len());
            let first = blocks.clone().find(|&at| speech[at]).unwrap_or(blocks.start);
            let last = blocks.clone().rev().find(|&at| speech[at]).unwrap_or(blocks.end);
            (first * BLOCK, (last + 1) * BLOCK)
        })
        .collect();
    Line { samples, speech, utterances, lead_in: lead_in * 2 }
}

fn noise_of(noise: Noise, samples: usize, rms: f64, speech: [&[i16]; 2]) -> Vec<f64> {
    let mut dice = Dice(7);
    let mut out: Vec<f64> = match noise {
        Noise::None => return vec![0.0; samples],
        Noise::White => (0..samples).map(|_| dice.signed()).collect(),
        Noise::Pink => pink(samples, &mut dice),
        Noise::Babble => babble(samples, speech, &mut dice),
        Noise::Hum => (0..samples)
            .map(|n| {
                let t = std::f64::consts::TAU * 50.0 * n as f64 / 8_000.0;
                t.sin() + 0.5 * (3.0 * t).sin() + 0.25 * (5.0 * t).sin() + 0.1 * (7.0 * t).sin()
            })
            .collect(),
        Noise::Clicks => {
            let mut out: Vec<f64> = (0..samples).map(|_| 30.0 * dice.signed()).collect();
            let mut at = 2_000;
            while at + 24 < samples {
                for sample in &mut out[at..at + 24] {
                    *sample += 12_000.0 * dice.signed();
                }
                at += 2_000 + (4_000.0 * (dice.signed() + 1.0) / 2.0) as usize;
            }
            return out;
        }
    };
    let now = (out.iter().map(|x| x * x).sum::<f64>() / out.len() as f64).sqrt();
    out.iter_mut().for_each(|x| *x *= rms / now);
    out
}

/// White noise through a sum of three low-pass filters, a decade apart.
fn pink(samples: usize, dice: &mut Dice) -> Vec<f64> {
    let mut state = [0.0; 3];
    (0..samples)
        .map(|_| {
            let white = dice.signed();
            for (y, pole) in state.iter_mut().zip([0.995, 0.95, 0.6]) {
                *y = pole * *y + (1.0f64 - pole).sqrt() * white;
            }
            state.iter().sum::<f64>() + 0.1 * white
        })
        .collect()
}

fn babble(samples: usize, speech: [&[i16]; 2], dice: &mut Dice) -> Vec<f64> {
    let mut out = vec![0.0; samples];
    for person in 0..8 {
        let said = speech[person % 2];
        let mut at = (40_000.0 * (dice.signed() + 1.0) / 2.0) as usize % said.len();
        let backwards = person >= 4;
        for sample in &mut out {
            let from = if backwards { said.len() - 1 - at } else { at };
            *sample += f64::from(said[from]);
            at = (at + 1) % said.len();
        }
    }
    out
}

struct Dice(u64);

impl Dice {
    /// From -1 to 1.
    fn signed(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

fn resample(samples: &[i16], from: SampleRate, to: SampleRate) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to);
    let mut out = Vec::with_capacity(samples.len() * 2);
    for block in samples.chunks(BLOCK) {
        let mut rest = block;
        let mut room = [0; 2 * BLOCK];
        loop {
            let progress = resampler.process(rest, &mut room);
            out.extend_from_slice(&room[..progress.produced]);
            rest = &rest[progress.consumed..];
            if rest.is_empty() && progress.produced < room.len() {
                break;
            }
        }
    }
    out
}

/// What is left of a sample after G.711 µ-law (ITU-T G.711, table 2): a sign, three bits of exponent, four of mantissa.
fn mu_law(sample: i32) -> i16 {
    let magnitude = sample.abs().min(32_635) + 132;
    let exponent = (31 - magnitude.leading_zeros() as i32 - 7).max(0);
    let step = 1 << (exponent + 3);
    let decoded = (magnitude / step) * step + step / 2 - 132;
    (sample.signum() * decoded).clamp(-32_768, 32_767) as i16
}

fn rms_of(block: &[i16]) -> f64 {
    (block.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / block.len().max(1) as f64).sqrt()
}

/// The level of the loud half of it: pauses do not count.
fn active_rms(samples: &[i16]) -> f64 {
    let all = rms_of(samples);
    let loud: Vec<f64> = samples.chunks(80).map(rms_of).filter(|rms| *rms > all / 4.0).collect();
    (loud.iter().map(|x| x * x).sum::<f64>() / loud.len() as f64).sqrt()
}

fn last_loud(samples: &[i16]) -> usize {
    let all = rms_of(samples);
    let last = samples.chunks(80).rposition(|block| rms_of(block) > all / 8.0).unwrap_or_default();
    ((last + 4) * 80).min(samples.len())
}

fn fill_holes(speech: &mut [bool], longest: usize) {
    let mut silent = usize::MAX;
    for at in 0..speech.len() {
        if speech[at] {
            if silent <= longest {
                speech[at - silent..at].fill(true);
            }
            silent = 0;
        } else {
            silent = silent.saturating_add(1);
        }
    }
}
