//! Gain that changes within a block, so that what begins or ends in the middle of a sound does not click.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns nothing. Never allocates.
//! Invariant: no sample becomes louder.

/// The block with the gain of its first `len` samples going evenly from one to nothing (`out`), or the other way.
pub(crate) fn fade<const N: usize>(block: &[i16; N], len: usize, out: bool) -> [i16; N] {
    let mut faded = *block;
    let len = len.min(N);
    for (n, sample) in faded[..len].iter_mut().enumerate() {
        let gain = if out { len - n } else { n } as i32;
        *sample = (i32::from(*sample) * gain / len as i32) as i16;
    }
    faded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gain_goes_evenly_and_only_where_it_is_asked_to() {
        assert_eq!(fade(&[100; 5], 4, true), [100, 75, 50, 25, 100]);
        assert_eq!(fade(&[i16::MIN; 2], 9, false), [0, i16::MIN / 2]);
    }
}
