//! The level of a block of audio: how loud it is at its peak.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns nothing. Never allocates.
//! Invariant: the peak of a block is that of its loudest part, and nothing is louder than full scale.

/// The largest magnitude of a block, 0 to 32768.
pub(crate) fn peak(block: &[i16]) -> u16 {
    block.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_scale_is_the_loudest_and_nothing_is_silent() {
        assert_eq!([&[1, i16::MIN, 5][..], &[0, -1, 0], &[]].map(peak), [32_768, 1, 0]);
    }
}
