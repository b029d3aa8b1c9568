//! What the callers say in turns: the utterance at the leg's rate, cut into frames, and what should come back.
//!
//! Runs in: anywhere; reads a WAV file once, before the run. Owns the utterance, which all calls share.
//! Never used while calls run except to read. Invariant: the utterance is a whole number of 20 ms frames and holds
//! at least one audible frame.

use std::f64::consts::{PI, TAU};

use tandem::base::SampleRate;

use super::envelope::{self, Envelope};
use super::options::{Audio, Expect, Options};
use crate::speech;

/// The rate of the bundled speech.
const SPEECH_RATE: SampleRate = SampleRate::Hz16000;

/// What every call of a run says and expects.
pub struct Script {
    samples: Vec<i16>,
    samples_per_frame: usize,
    /// Frames of the utterance.
    pub frames: usize,
    /// The first frame with something to hear.
    pub first_audible: usize,
    /// The last frame with something to hear: where the talkspurt ends.
    pub last_audible: usize,
    /// The envelope of the answer that should come.
    pub expected: Envelope,
}

impl Script {
    /// Prepares the utterance for `options`.
    ///
    /// # Errors
    /// A text naming the file and what is wrong with it.
    pub fn new(options: &Options) -> Result<Self, String> {
        let (samples, rate) = match &options.audio {
            Audio::Wav(path) => {
                let file = std::fs::read(path)
                    .map_err(|e| format!("--audio {}: cannot read it: {e}", path.display()))?;
                let wav = speech::read_wav(&file).map_err(|e| format!("--audio {}: {e}", path.display()))?;
                (wav.left(), wav.rate)
            }
            Audio::Tone => (tone(), SPEECH_RATE),
            Audio::Speech | Audio::Marks | Audio::Noise | Audio::Silence => (speech::question(), SPEECH_RATE),
        };
        let mut samples = resample(&samples, rate, options.rate);
        let samples_per_frame = options.rate.samples_per_frame();
        samples.resize(samples.len().next_multiple_of(samples_per_frame), 0);
        let said = Envelope::of(&samples, samples_per_frame);
        let Some((first_audible, last_audible)) = said.audible_span() else {
            return Err("the audio is silent: nobody would answer it; give one with speech in it".to_owned());
        };
        let expected = match options.expect {
            Expect::Answer => Envelope::of(&answer(options.rate), samples_per_frame),
            Expect::Parrot | Expect::Echo => said,
        };
        let frames = samples.len() / samples_per_frame;
        Ok(Self { samples, samples_per_frame, frames, first_audible, last_audible, expected })
    }

    /// The samples of frame `index`; empty beyond the end.
    pub fn frame(&self, index: usize) -> &[i16] {
        let at = index * self.samples_per_frame;
        self.samples.get(at..at + self.samples_per_frame).unwrap_or(&[])
    }
}

/// The bundled answer at `rate`.
pub fn answer(rate: SampleRate) -> Vec<i16> {
    resample(&speech::answer(), SPEECH_RATE, rate)
}

/// Two seconds of 440 Hz that swell and fade three times a second, so that its envelope can be recognised.
fn tone() -> Vec<i16> {
    (0..32_000)
        .map(|n| {
            let t = f64::from(n) / 16_000.0;
            let swell = 0.6 - 0.4 * (TAU * 3.0 * t + TAU * 0.35 * t * t).cos();
            (12_000.0 * swell * (TAU * 440.0 * t).sin()) as i16
        })
        .collect()
}

/// Changes the rate once, before the run: a windowed sinc of 16 zero crossings a side. Not for the hot path.
fn resample(samples: &[i16], from: SampleRate, to: SampleRate) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let step = f64::from(from.hz()) / f64::from(to.hz());
    // Cut off at 95 % of the lower of the two Nyquist frequencies, in units of the input's.
    let cutoff = 0.95 / step.max(1.0);
    let reach = 16.0 / cutoff;
    let count = samples.len() * to.hz() as usize / from.hz() as usize;
    (0..count)
        .map(|n| {
            let centre = n as f64 * step;
            let (first, last) = ((centre - reach).ceil().max(0.0) as usize, (centre + reach) as usize);
            let sum: f64 = samples
                .iter()
                .enumerate()
                .take(last + 1)
                .skip(first)
                .map(|(m, sample)| {
                    let x = m as f64 - centre;
                    let window = (0.5 * PI * x / reach).cos().powi(2);
                    let sinc = if x == 0.0 { cutoff } else { (PI * cutoff * x).sin() / (PI * x) };
                    f64::from(*sample) * window * sinc
                })
                .sum();
            sum.round().clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

/// Whether something in `samples` is loud enough to be heard: a peak above −40 dBFS.
pub fn is_audible(samples: &[i16]) -> bool {
    samples.iter().any(|s| s.unsigned_abs() >= envelope::AUDIBLE_PEAK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changing_the_rate_keeps_a_tone() {
        let wave =
            |hz: f64, rate: u32, n: usize| (9000.0 * (TAU * hz * n as f64 / f64::from(rate)).sin()) as i16;
        let input: Vec<i16> = (0..8000).map(|n| wave(1000.0, 16_000, n)).collect();
        for to in [SampleRate::Hz8000, SampleRate::Hz24000, SampleRate::Hz48000] {
            let output = resample(&input, SampleRate::Hz16000, to);
            assert_eq!(output.len(), to.hz() as usize / 2);
            let middle = output.len() / 4..output.len() / 2;
            assert!(middle.clone().all(|n| output[n].abs_diff(wave(1000.0, to.hz(), n)) < 20), "{to}");
        }
    }

    #[test]
    fn every_kind_of_audio_gives_whole_frames_at_every_rate() {
        for audio in [Audio::Speech, Audio::Tone] {
            for rate in SampleRate::ALL {
                let options =
                    Options { audio: audio.clone(), rate, expect: Expect::Answer, ..Options::default() };
                let script = Script::new(&options).expect("the bundled audio");
                assert_eq!(script.samples.len(), script.frames * rate.samples_per_frame());
                assert!(script.first_audible < script.last_audible && script.last_audible < script.frames);
                assert!(!script.expected.is_empty());
            }
        }
        let missing = Options { audio: Audio::Wav("no/such.wav".into()), ..Options::default() };
        assert!(Script::new(&missing).is_err_and(|text| text.contains("no/such.wav")));
    }
}
