//! The level of a block of audio: how loud it is on average and at its peak.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns nothing. Never allocates.
//! Invariant: `FLOOR_DBFS <= rms_dbfs <= peak_dbfs <= 0` for every block.

/// What silence, and anything quieter than this, measures: -120 dBFS. A single step of the 16-bit scale in a 20 ms block
/// at 48 kHz, the least that is not silence, has that level.
pub(crate) const FLOOR_DBFS: f32 = -120.0;

/// The level of a block of samples, in decibels relative to full scale.
///
/// 0 dBFS is the level of a square wave between the ends of the 16-bit scale (amplitude 32768), which is the
/// dBov of ITU-T G.100.1 and RFC 6464; a sine that just reaches full scale therefore has an RMS level of
/// -3.01 dBFS (AES17 calls that 0 dBFS) and a peak of 0 dBFS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Root mean square of the block.
    pub rms_dbfs: f32,
    /// The largest magnitude of the block.
    pub peak_dbfs: f32,
}

impl Level {
    /// The level of silence.
    pub const SILENCE: Self = Self { rms_dbfs: FLOOR_DBFS, peak_dbfs: FLOOR_DBFS };

    /// Measures a block of one channel, of any length; an empty block is silence.
    pub fn of(block: &[i16]) -> Self {
        let peak = peak(block);
        // At most 2^30 each: 2^34 samples, twelve days at 16 kHz, before the sum is full.
        let square = |sample: &i16| u64::from(sample.unsigned_abs()).pow(2);
        let energy: u64 = block.iter().map(square).sum();
        if peak == 0 {
            return Self::SILENCE;
        }
        const FULL_SCALE: f64 = 32768.0;
        let mean_square = energy as f64 / block.len() as f64 / (FULL_SCALE * FULL_SCALE);
        let peak_dbfs = peak_dbfs(peak);
        Self { rms_dbfs: ((10.0 * mean_square.log10()) as f32).clamp(FLOOR_DBFS, peak_dbfs), peak_dbfs }
    }
}

/// The largest magnitude of a block, 0 to 32768.
pub(crate) fn peak(block: &[i16]) -> u16 {
    block.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default()
}

/// A peak in decibels relative to full scale; [`FLOOR_DBFS`] for none.
pub(crate) fn peak_dbfs(peak: u16) -> f32 {
    if peak == 0 { FLOOR_DBFS } else { (20.0 * (f64::from(peak) / 32768.0).log10()) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(amplitude: f64) -> Vec<i16> {
        (0..320)
            .map(|n| (amplitude * (std::f64::consts::TAU * f64::from(n) / 16.0).sin()).round() as i16)
            .collect()
    }

    #[test]
    fn silence_and_nothing_measure_the_floor() {
        assert_eq!(Level::of(&[0; 160]), Level::SILENCE);
        assert_eq!(Level::of(&[]), Level::SILENCE);
        assert_eq!(Level::SILENCE.rms_dbfs, FLOOR_DBFS);
    }

    #[test]
    fn a_full_scale_square_is_zero_and_nothing_exceeds_it() {
        let square: Vec<i16> = (0..160).map(|n| if n % 20 < 10 { i16::MIN } else { i16::MAX }).collect();
        let level = Level::of(&square);
        assert!(level.rms_dbfs.abs() < 0.001 && level.peak_dbfs == 0.0, "{level:?}");
        assert_eq!(Level::of(&[i16::MIN; 7]), Level { rms_dbfs: 0.0, peak_dbfs: 0.0 });
    }

    #[test]
    fn a_full_scale_sine_is_three_decibels_below_its_peak() {
        let level = Level::of(&sine(32767.0));
        assert!((level.rms_dbfs + 3.0103).abs() < 0.01 && level.peak_dbfs > -0.001, "{level:?}");
    }

    #[test]
    fn a_tenth_of_the_amplitude_is_twenty_decibels_less() {
        let (loud, quiet) = (Level::of(&sine(30000.0)), Level::of(&sine(3000.0)));
        assert!((loud.rms_dbfs - quiet.rms_dbfs - 20.0).abs() < 0.01);
        assert!((loud.peak_dbfs - quiet.peak_dbfs - 20.0).abs() < 0.01);
    }

    #[test]
    fn the_smallest_signal_lies_above_the_floor_and_never_below() {
        let mut block = vec![0; 960];
        block[3] = -1;
        let level = Level::of(&block);
        assert!((level.peak_dbfs + 90.31).abs() < 0.01, "{level:?}");
        assert!((FLOOR_DBFS..FLOOR_DBFS + 0.2).contains(&level.rms_dbfs), "{level:?}");
        // Longer blocks would measure less.
        block.resize(96_000, 0);
        assert_eq!(Level::of(&block).rms_dbfs, FLOOR_DBFS);
    }
}
