//! Units of telephone audio: sample rates and what follows from them.
//!
//! Runs in: anywhere: pure. Owns nothing. Never reads a clock.
//! Invariant: every rate is a multiple of 8000 Hz, so a 20 ms frame is always a whole number of samples.

use std::fmt;

/// The packet time (ptime) of telephony, in milliseconds: RFC 3551 section 4.2 recommends 20 ms, and every switch
/// measured sends it by default.
pub const PTIME_MS: u32 = 20;

/// A sample rate that a leg or the model may use. The set is that of mod_audio_stream (multiples of 8000 Hz up to
/// 48 kHz), AudioSocket kinds 0x10, 0x12 to 0x14 and 0x16, and Gemini Live (16 kHz in, 24 kHz out).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SampleRate {
    /// 8000 Hz, narrow band telephony (G.711).
    Hz8000 = 0,
    /// 16000 Hz, wide band telephony (G.722) and what Gemini Live hears.
    Hz16000 = 1,
    /// 24000 Hz, what Gemini Live speaks.
    Hz24000 = 2,
    /// 32000 Hz, super wide band.
    Hz32000 = 3,
    /// 48000 Hz, full band (Opus).
    Hz48000 = 4,
}

impl SampleRate {
    /// Every rate, in ascending order; the position is the discriminant.
    pub const ALL: [Self; 5] = [Self::Hz8000, Self::Hz16000, Self::Hz24000, Self::Hz32000, Self::Hz48000];

    /// The rate in hertz.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz32000 => 32_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// The rate with this many hertz, or `None` where no switch uses it.
    pub fn from_hz(hz: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.hz() == hz)
    }

    /// Samples in `ms` milliseconds of one channel.
    pub const fn samples_in_ms(self, ms: u32) -> usize {
        (self.hz() as usize / 1000) * ms as usize
    }

    /// Samples of one channel in one 20 ms frame: 160, 320, 480, 640 or 960.
    pub const fn samples_per_frame(self) -> usize {
        self.samples_in_ms(PTIME_MS)
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.hz())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_twenty_milliseconds_at_every_rate() {
        for rate in SampleRate::ALL {
            assert_eq!(rate.samples_per_frame() * 50, rate.hz() as usize);
            assert_eq!(SampleRate::from_hz(rate.hz()), Some(rate));
            assert_eq!(SampleRate::ALL[rate as usize], rate);
        }
        assert_eq!(SampleRate::from_hz(11_025), None);
    }
}
