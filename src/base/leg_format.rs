//! What the downlink of a leg looks like: its sample rate, and the pacing profile of its playback.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: packs into 32 bits, so that it crosses threads in one atomic.

use crate::base::SampleRate;
use crate::base::units::PTIME_MS;

/// The downlink of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegFormat {
    /// Samples a second that the leg plays.
    pub rate: SampleRate,
    /// Milliseconds of audio that may be handed to the switch ahead of real time; 0 where the switch queues nothing, so
    /// that each frame has to leave when it is to be heard.
    pub lead_ms: u16,
    /// Milliseconds of audio in one message to the switch: a multiple of 20.
    pub chunk_ms: u16,
}

impl LegFormat {
    const LIMIT: u16 = 0x0fff;

    /// A format with the lead raised to at least one chunk (a chunk leaves as a whole) and the chunk rounded up to
    /// whole frames; both are below 4096 ms.
    pub fn new(rate: SampleRate, lead_ms: u16, chunk_ms: u16) -> Self {
        let ptime = PTIME_MS as u16;
        let chunk_ms = chunk_ms.clamp(ptime, Self::LIMIT - ptime).next_multiple_of(ptime);
        Self { rate, lead_ms: lead_ms.clamp(chunk_ms, Self::LIMIT), chunk_ms }
    }

    /// The format of a switch that queues nothing: each frame of 20 ms leaves when it is to be heard.
    pub const fn unqueued(rate: SampleRate) -> Self {
        Self { rate, lead_ms: 0, chunk_ms: PTIME_MS as u16 }
    }

    /// The format in 32 bits: rate, lead and chunk from the lowest bit on, with 8, 12 and 12 bits.
    pub const fn to_bits(self) -> u32 {
        self.rate as u32 | (self.lead_ms as u32) << 8 | (self.chunk_ms as u32) << 20
    }

    /// The format that [`LegFormat::to_bits`] packed; an impossible rate reads as 16 kHz.
    pub fn from_bits(bits: u32) -> Self {
        let rate = SampleRate::ALL.get((bits & 0xff) as usize).copied().unwrap_or(SampleRate::Hz16000);
        Self { rate, lead_ms: (bits >> 8) as u16 & Self::LIMIT, chunk_ms: (bits >> 20) as u16 & Self::LIMIT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lead_at_all_survives_too() {
        let format = LegFormat::unqueued(SampleRate::Hz24000);
        assert_eq!(LegFormat::from_bits(format.to_bits()), format);
        assert_eq!((format.lead_ms, format.chunk_ms), (0, 20));
    }

    #[test]
    fn a_format_survives_its_32_bits() {
        for rate in SampleRate::ALL {
            for (lead, chunk) in [(60, 20), (0, 20), (200, 100), (4095, 4060)] {
                let format = LegFormat::new(rate, lead, chunk);
                assert_eq!(LegFormat::from_bits(format.to_bits()), format);
                assert!(format.lead_ms >= format.chunk_ms && format.chunk_ms.is_multiple_of(20));
            }
        }
    }
}
