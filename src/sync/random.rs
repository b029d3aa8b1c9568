//! Random numbers of the operating system: for every id, ticket and name that nobody may guess, and for jitter.
//!
//! Runs in: any thread, a system call each time; of the media threads gemini alone, once for 256 messages. Owns nothing.
//! Never gives what was computed from a seed of our own: whoever has seen a thousand ids knows nothing of the next.
//! Invariant: each bit is the kernel's (getrandom(2)).

/// `N` random bytes.
///
/// # Panics
/// Where the kernel gives none, as it never does once the machine is up: to go on with guessable ids would be worse.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system gives no random numbers: {error}");
    }
    bytes
}

/// 64 random bits.
pub(crate) fn bits64() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// 128 random bits.
pub(crate) fn bits128() -> u128 {
    u128::from_ne_bytes(bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_both_and_no_number_comes_twice() {
        let drawn: Vec<u128> = (0..256).map(|_| bits128()).collect();
        let (ones, all) = drawn.iter().fold((0, u128::MAX), |(ones, all), bits| (ones | bits, all & bits));
        assert_eq!((ones, all), (u128::MAX, 0), "a bit that never changes");
        let distinct: std::collections::HashSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        assert_ne!(bits64(), bits64());
    }
}
