//! What a frame costs, several resamplers in turns on the same samples.
//!
//! Runs in: the figures example and the benchmark, which include this file. Owns nothing. Never compares times taken at
//! different moments: a machine that slows down slows all of them down.
//! Invariant: the first converter is the one that the others are compared with.

use std::time::Instant;

use tandem::base::SampleRate;

use super::converter::Converter;

/// Turns that each converter gets; the medians of them count.
const ROUNDS: usize = 101;

/// Frames converted in a turn.
const FRAMES: usize = 20;

/// The cost of one converter.
pub(crate) struct Cost {
    /// Microseconds for a frame of 20 ms, median of all turns.
    pub us_per_frame: f64,
    /// This over the cost of the first converter in the same round, median of all rounds.
    pub ratio: f64,
}

/// Lets each of `converters` convert the same noise in turns.
pub(crate) fn in_turns(converters: &mut [Box<dyn Converter>], from: SampleRate) -> Vec<Cost> {
    let input = noise(from.samples_per_frame());
    let mut output = Vec::with_capacity(FRAMES * 2 * SampleRate::Hz48000.samples_per_frame());
    let mut rounds: Vec<Vec<f64>> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let turns = converters.iter_mut().map(|converter| {
            output.clear();
            let started = Instant::now();
            for _ in 0..FRAMES {
                converter.frame(std::hint::black_box(&input), &mut output);
            }
            std::hint::black_box(&output);
            started.elapsed().as_secs_f64() * 1e6 / FRAMES as f64
        });
        rounds.push(turns.collect());
    }
    (0..converters.len())
        .map(|which| Cost {
            us_per_frame: median(rounds.iter().map(|turns| turns[which])),
            ratio: median(rounds.iter().map(|turns| turns[which] / turns[0])),
        })
        .collect()
}

/// Noise of the full 16-bit scale, the same every time.
pub(crate) fn noise(samples: usize) -> Vec<i16> {
    let mut state = 1u32;
    (0..samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        })
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
