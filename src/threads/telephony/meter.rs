//! What a leg's audio is, as far as bytes against time and the samples themselves tell: its rate, and whether it is noise.
//!
//! Runs in: the telephony thread, and tests: pure. Owns a few numbers. Never looks at a message's length, which says nothing:
//! bytes count, over about a second, by their median, so that neither a pause nor a burst decides.
//! Invariant: says nothing before stretches of time that agree make up a second.

use crate::base::{Instant, SampleRate};

/// A stretch of time whose bytes are counted, in microseconds: ten frames of 20 ms, or one long message.
const STRETCH_US: u64 = 200_000;
/// Stretches that are looked at together, and the fewest of them that say anything: a second.
const STRETCHES: usize = 8;
const STRETCHES_MIN: usize = 5;
/// Nothing for so long is a pause, which belongs to no stretch.
const PAUSE_US: u64 = 500_000;
/// How far a quarter of the stretches may be above a quarter of them, in hundredths.
const SPREAD_PERCENT_MAX: u64 = 125;
/// How far from a rate may be what is measured of it, in thousandths: 44.1 kHz is none of ours.
const OFF_PER_MILLE_MAX: u64 = 60;
/// A step from one sample to the next that speech seldom takes.
const LEAP: u32 = 8_192;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When the present stretch began, and the bytes since.
    since: Option<Instant>,
    bytes: u64,
    last_at: Instant,
    /// Bytes a second of the last stretches, in turns.
    stretches: [u64; STRETCHES],
    count: usize,
    samples: u64,
    leaps: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    /// Bytes a second.
    pub(super) bytes_per_second: u64,
    /// The samples leap about as those of speech do not: they are something else than s16le.
    pub(super) is_noise: bool,
}

impl Measured {
    /// Samples a second of linear audio with so many channels.
    pub(super) fn hz(self, channels: usize) -> u64 {
        self.bytes_per_second / (2 * channels.max(1) as u64)
    }

    /// The rate that this is of linear audio with so many channels, if it is one of ours.
    pub(super) fn rate(self, channels: usize) -> Option<SampleRate> {
        let hz = self.hz(channels);
        SampleRate::ALL.into_iter().find(|rate| is_about(hz, u64::from(rate.hz())))
    }

    /// Whether this is G.711 that is called linear at 8 kHz: half the bytes, and nothing but noise.
    pub(super) fn is_g711(self) -> bool {
        self.is_noise && is_about(self.bytes_per_second, 8_000)
    }
}

fn is_about(measured: u64, exact: u64) -> bool {
    measured.abs_diff(exact) * 1000 <= exact * OFF_PER_MILLE_MAX
}

impl Meter {
    /// Takes a message of s16le that came `now`. Returns what is measured each time that another stretch is over and a
    /// second's worth of them agree.
    pub(super) fn take(&mut self, message: &[u8], now: Instant) -> Option<Measured> {
        self.look_at(message);
        let paused = now.since_us(self.last_at) > PAUSE_US;
        self.last_at = now;
        let Some(since) = self.since.filter(|_| !paused) else {
            (self.since, self.bytes) = (Some(now), message.len() as u64);
            return None;
        };
        let took_us = now.since_us(since);
        if took_us < STRETCH_US {
            self.bytes += message.len() as u64;
            return None;
        }
        self.stretches[self.count % STRETCHES] = self.bytes * 1_000_000 / took_us;
        self.count += 1;
        (self.since, self.bytes) = (Some(now), message.len() as u64);
        self.judge()
    }

    /// Audio waited for something else than its sender, so that its time says nothing.
    pub(super) fn disturbed(&mut self) {
        self.since = None;
    }

    fn judge(&mut self) -> Option<Measured> {
        let count = self.count.min(STRETCHES);
        if count < STRETCHES_MIN {
            return None;
        }
        let mut sorted = self.stretches;
        let sorted = &mut sorted[..count];
        sorted.sort_unstable();
        let (low, high) = (sorted[count / 4], sorted[count - 1 - count / 4]);
        if high * 100 > low * SPREAD_PERCENT_MAX {
            return None;
        }
        let is_noise = self.leaps * 5 >= self.samples;
        (self.samples, self.leaps) = (0, 0);
        Some(Measured { bytes_per_second: sorted[count / 2], is_noise })
    }

    fn look_at(&mut self, message: &[u8]) {
        let (pairs, _) = message.as_chunks::<2>();
        let mut before = None;
        for pair in pairs {
            let sample = i16::from_le_bytes(*pair);
            let leaps = before.is_some_and(|before: i16| u32::from(before.abs_diff(sample)) > LEAP);
            self.leaps += u64::from(leaps);
            before = Some(sample);
        }
        self.samples += pairs.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Audio of a caller: a tone of 400 Hz.
    fn tone(bytes: usize) -> Vec<u8> {
        let samples = (0..bytes / 2).map(|n| (9_000.0 * (n as f64 * 0.3).sin()) as i16);
        samples.flat_map(i16::to_le_bytes).collect()
    }

    /// What is measured of messages of so many bytes at these times.
    fn measured_at(message: &[u8], at_ms: impl IntoIterator<Item = u64>) -> Vec<Measured> {
        let mut meter = Meter::default();
        at_ms
            .into_iter()
            .filter_map(|ms| meter.take(message, Instant::from_micros(5_000_000 + ms * 1000)))
            .collect()
    }

    fn every(ms: u64) -> impl Iterator<Item = u64> {
        (0..4_000 / ms).map(move |n| n * ms)
    }

    #[test]
    fn the_rate_is_told_by_bytes_against_time_whatever_a_messages_length() {
        for rate in SampleRate::ALL {
            for ms in [10, 20, 30, 40, 60, 100, 140, 200, 300] {
                let message = tone(rate.samples_per_frame() * 2 * ms as usize / 20);
                let measured = measured_at(&message, every(ms));
                assert!(!measured.is_empty(), "{rate} in {ms} ms");
                for one in measured {
                    assert_eq!((one.rate(1), one.is_noise), (Some(rate), false), "{rate} in {ms} ms");
                }
            }
        }
        let stereo = measured_at(&tone(1280), every(20));
        assert_eq!(
            (stereo[0].rate(2), stereo[0].rate(1)),
            (Some(SampleRate::Hz16000), Some(SampleRate::Hz32000))
        );
    }

    #[test]
    fn neither_a_late_start_nor_pauses_nor_bursts_decide() {
        let message = tone(320);
        let late = every(20).map(|ms| if ms == 0 { 0 } else { ms + 900 });
        let one_pause = every(20).map(|ms| if ms < 500 { ms } else { ms + 300 });
        let pauses = every(20).map(|ms| ms + ms / 700 * 250);
        let talk = (0..20).flat_map(|talk| (0..30).map(move |n| talk * 1_500 + n * 20));
        let hiccup = every(20).map(|ms| if (800..1_000).contains(&ms) { 1_000 } else { ms });
        let pairs = every(20).map(|ms| ms / 40 * 40);
        for (name, times) in [
            ("late", late.collect::<Vec<_>>()),
            ("one pause", one_pause.collect()),
            ("pauses", pauses.collect()),
            ("silence left out", talk.collect()),
            ("hiccup", hiccup.collect()),
            ("pairs", pairs.collect()),
        ] {
            let measured = measured_at(&message, times);
            assert!(!measured.is_empty(), "{name}");
            assert!(
                measured.iter().all(|one| one.rate(1) == Some(SampleRate::Hz8000)),
                "{name}: {measured:?}"
            );
        }
    }

    #[test]
    fn nothing_is_said_before_a_second_and_nothing_of_what_waited_for_us() {
        assert!(measured_at(&tone(320), every(20).take_while(|ms| *ms < 1_000)).is_empty());
        let mut meter = Meter::default();
        for n in 0..1_000 {
            assert_eq!(meter.take(&tone(320), Instant::from_micros(n * 2_500)), None);
            meter.disturbed();
        }
    }

    #[test]
    fn companded_audio_is_noise_and_linear_audio_at_half_the_pace_is_none() {
        let mut state = 7_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(160)
        .collect();
        assert!(measured_at(&noise, every(20)).iter().all(|one| one.is_g711()));
        assert!(measured_at(&tone(160), every(20)).iter().all(|one| !one.is_g711() && one.rate(1).is_none()));
        assert!(measured_at(&noise, every(10)).iter().all(|one| !one.is_g711()), "loud, but at its pace");
        for (bytes, ms) in [(884, 20), (240, 10), (2_560, 20)] {
            let measured = measured_at(&tone(bytes), every(ms));
            assert!(
                measured.iter().all(|one| one.rate(1).is_none()),
                "{bytes} bytes each {ms} ms: {measured:?}"
            );
        }
    }
}
