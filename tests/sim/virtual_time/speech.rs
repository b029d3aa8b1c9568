//! What is said in a simulated call: every sample of it can be told from every other one's.
//!
//! Runs in: the simulations: pure. Owns nothing.
//! Invariant: consecutive answers of the model have opposite signs and are far from zero, and the caller's samples are
//! never zero, so that neither is mistaken for the other's, an older answer's, or filled silence.

/// No sample of an answer is nearer to zero than this, but for the filter's swing at its edges.
const LEVEL_MIN: i32 = 9_000;
/// A sample of the wrong sign beyond this belongs to another answer: a filter swings by a tenth of a step at most.
const SWING_MAX: i16 = 3_000;

/// Answers that are so many apart sound alike.
pub(super) const ANSWERS_ALIKE: usize = 14;

/// The `n`th sample of an answer of the model, at 24 kHz: a level that names the answer, and noise that names the place.
pub(super) fn model_sample(answer: usize, n: usize) -> i16 {
    let level = LEVEL_MIN + 1_000 * (answer % 7) as i32 + (scatter(n) % 400) as i32;
    (if answer.is_multiple_of(2) { level } else { -level }) as i16
}

/// Whether a sample, resampled or not, has the sign of the answer and is too large to be the swing of a filter.
pub(super) fn belongs_to(answer: usize, sample: i16) -> bool {
    if answer.is_multiple_of(2) { sample > SWING_MAX } else { sample < -SWING_MAX }
}

/// The `n`th sample of the caller, at the leg's rate.
pub(super) fn caller_sample(n: usize) -> i16 {
    let magnitude = 1 + (scatter(n) % 20_000) as i16;
    if scatter(n ^ 0x5555).is_multiple_of(2) { magnitude } else { -magnitude }
}

fn scatter(n: usize) -> u32 {
    let mut x = (n as u32).wrapping_add(0x9e37_79b9);
    x = (x ^ (x >> 16)).wrapping_mul(0x21f0_aaad);
    x = (x ^ (x >> 15)).wrapping_mul(0x735a_2d97);
    x ^ (x >> 15)
}
