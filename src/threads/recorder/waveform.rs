//! The waveform of a recording: the peak of each side in every 100 ms, for a page to draw.
//!
//! Runs in: the thread that writes recordings: pure. Owns a number for each 100 ms.
//! Invariant: as many numbers for one side as for the other.

use serde_json::json;

use super::timeline::{Pair, RATE};

/// Milliseconds of each peak.
pub(crate) const INTERVAL_MS: u32 = 100;
const PAIRS: usize = RATE.samples_in_ms(INTERVAL_MS);

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Waveform {
    peaks: Vec<[u16; 2]>,
    current: [u16; 2],
    counted: usize,
}

impl Waveform {
    /// Takes what follows.
    pub(crate) fn take(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            for (peak, sample) in self.current.iter_mut().zip(pair) {
                *peak = (*peak).max(sample.unsigned_abs());
            }
            self.counted += 1;
            if self.counted == PAIRS {
                self.peaks.push(std::mem::take(&mut self.current));
                self.counted = 0;
            }
        }
    }

    /// The sidecar: `{"interval_ms": 100, "caller": [0…1], "agent": [0…1]}`.
    pub(crate) fn to_json(&self) -> String {
        let last = (self.counted > 0).then_some(&self.current);
        let share = |peak: u16| (f64::from(peak) / 32_768.0 * 1000.0).round() / 1000.0;
        let side = |side: usize| -> Vec<f64> {
            self.peaks
                .iter()
                .chain(last)
                .filter_map(|peaks| peaks.get(side))
                .map(|peak| share(*peak))
                .collect()
        };
        json!({"interval_ms": INTERVAL_MS, "caller": side(0), "agent": side(1)}).to_string()
    }
}
