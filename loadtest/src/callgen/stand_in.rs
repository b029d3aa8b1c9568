//! A stand-in for the bundled speech, with the same functions: syllables made of harmonics.
//!
//! Runs in: anywhere: pure. Owns nothing. Never used once the bundled speech is in place.
//! Invariant: one talkspurt, no pause inside longer than 100 ms, 50 ms of silence before and after.

use std::f64::consts::TAU;

use tandem::base::SampleRate;

/// A WAV file's audio.
pub struct Wav {
    /// Samples a second.
    pub rate: SampleRate,
    samples: Vec<i16>,
}

impl Wav {
    /// The samples of the left channel.
    pub fn left(&self) -> Vec<i16> {
        self.samples.clone()
    }
}

/// Reads nothing yet.
///
/// # Errors
/// Always.
pub fn read_wav(_file: &[u8]) -> Result<Wav, &'static str> {
    Err("WAV files are not read by this build; use --audio speech or tone")
}

/// What a caller asks: mono, 16 kHz.
pub fn question() -> Vec<i16> {
    syllables(&[180, 240, 150, 310, 200, 260, 170, 350, 220, 190, 280], 140.0)
}

/// What the model answers: mono, 16 kHz.
pub fn answer() -> Vec<i16> {
    syllables(&[250, 170, 330, 160, 280, 200, 360, 150, 240, 300, 180, 220, 400], 210.0)
}

fn syllables(lengths_ms: &[usize], pitch_hz: f64) -> Vec<i16> {
    let mut samples = vec![0i16; 800];
    for (i, length) in lengths_ms.iter().enumerate() {
        let count = length * 16;
        for n in 0..count {
            let t = n as f64 / 16_000.0;
            let window = (0.5 * TAU * n as f64 / count as f64).sin().max(0.0);
            let tones: f64 = (1..20i32)
                .map(|h| {
                    (TAU * pitch_hz * f64::from(h) * t).sin() / f64::from(1 + h.abs_diff(3 + (i as i32 % 5)))
                })
                .sum();
            samples.push((window * tones * 4000.0 * (1.0 + (i % 3) as f64 / 2.0)) as i16);
        }
    }
    samples.extend([0; 800]);
    samples
}
