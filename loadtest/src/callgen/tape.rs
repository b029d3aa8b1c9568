//! What a caller said and what he heard, sample by sample, for those who want to listen to a call of the generator.
//!
//! Runs in: a callgen worker, for one call of a run that asked for it. Owns the samples. Never part of a JSON report.
//! Invariant: both sides begin with the call's first frame.

use tandem::base::SampleRate;

use crate::speech::{Wav, write_wav};

/// Both sides of a call, at the leg's rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tape {
    rate_hz: u64,
    from_ns: u64,
    said: Vec<i16>,
    heard: Vec<i16>,
}

impl Tape {
    /// Of a call whose first frame is due at `from_ns`.
    pub(super) fn new(rate_hz: u64, from_ns: u64) -> Self {
        Self { rate_hz, from_ns, ..Self::default() }
    }

    pub(super) fn say(&mut self, now_ns: u64, samples: &[i16]) {
        let place = self.place(now_ns);
        put(&mut self.said, place, samples);
    }

    pub(super) fn hear(&mut self, at_ns: u64, samples: &[i16]) {
        let place = self.place(at_ns);
        put(&mut self.heard, place, samples);
    }

    fn place(&self, at_ns: u64) -> usize {
        (at_ns.saturating_sub(self.from_ns) * self.rate_hz / 1_000_000_000) as usize
    }

    /// What the caller said, what was played to him, and both beside each other (left and right), as WAV files of equal length.
    pub fn wavs(&self) -> [Vec<u8>; 3] {
        let length = self.said.len().max(self.heard.len());
        let [said, heard] = [&self.said, &self.heard].map(|side| {
            let mut side = side.clone();
            side.resize(length, 0);
            side
        });
        let both = said.iter().zip(&heard).flat_map(|(said, heard)| [*said, *heard]).collect();
        let rate = SampleRate::from_hz(self.rate_hz as u32).unwrap_or(SampleRate::Hz8000);
        [(1, said), (1, heard), (2, both)]
            .map(|(channels, samples)| write_wav(&Wav { rate, channels, samples }))
    }
}

/// Samples at `place` of a side, or behind what is there already where that goes further by less than a frame: times of a player and
/// samples do not divide evenly.
fn put(side: &mut Vec<i16>, place: usize, samples: &[i16]) {
    if place > side.len() {
        side.resize(place, 0);
    }
    side.extend_from_slice(samples);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::read_wav;

    #[test]
    fn both_sides_stand_where_they_were_said_and_heard() {
        let mut tape = Tape::new(8000, 1_000_000_000);
        tape.say(1_000_000_000, &[1, 2]);
        tape.hear(1_001_000_000, &[3; 4]);
        let [said, heard, both] = tape.wavs().map(|file| read_wav(&file).expect("a WAV file"));
        assert_eq!(said.samples, [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(heard.samples, [0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3]);
        assert_eq!((both.channels, both.samples.len(), both.samples[17]), (2, 24, 3));
    }
}
