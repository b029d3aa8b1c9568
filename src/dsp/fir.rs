//! Low-pass FIR filters for resampling: their design (Kaiser window) and one table of them for every pair of rates.
//!
//! Runs in: anywhere: pure. The tables are computed once in the process, by whoever calls [`warm_tables`] or first asks
//! for one; from then on they are only read. Owns the tables. Never changes one.
//! Invariant: every filter has linear phase, every phase of it sums to one, and its number of taps is a multiple of
//! the input samples from one output sample of a phase to the next.

use std::f64::consts::PI;
use std::sync::OnceLock;

use crate::base::SampleRate;

/// The most taps a phase can have: those of 48 to 8 kHz, the steepest way down.
pub const TAPS_MAX: usize = WINDOW_PERIODS * 6;

/// The most input samples from one output sample to the next of the same phase: those of 48 to 8 kHz.
pub const STEP_MAX: usize = 6;

/// Length of the filters, in periods of the slower of the two rates: 4 ms at 8 kHz, 2 ms at 16 kHz. Half of it is the
/// delay, of which 3 ms are allowed. 32 leave 10 dB in hand in the stop band.
const WINDOW_PERIODS: usize = 32;

/// Where the response has fallen by 6 dB, as a part of the slower rate. A little below the half that symmetry suggests:
/// the pass band (to 0.425: 3.4 kHz at 8 kHz) has half a decibel to give away and uses a tenth of it, and the
/// stop band (from 0.575: 4.6 kHz at 8 kHz) gains 3 dB.
const CUTOFF: f64 = 0.49;

/// Shape of the Kaiser window. 8.0 puts the whole stop band 80 dB down with the length and the cut-off above; the
/// requirement is 70 dB.
const KAISER_BETA: f64 = 8.0;

/// A low-pass filter cut into phases, one for each position that an output sample can have between two input samples.
pub struct Polyphase {
    phases: usize,
    taps: usize,
    /// Input samples from one output sample to the next of the same phase; phases from one output sample to the next.
    step: usize,
    /// Phase after phase, `taps` each; oldest sample's coefficient first.
    coefficients: Box<[f32]>,
    /// The same, those of one phase sorted by [`Self::every`].
    sorted: Box<[f32]>,
}

impl Polyphase {
    /// Designs the filter that turns samples at `from` into samples at `to`.
    fn design(from: SampleRate, to: SampleRate) -> Self {
        let common = greatest_common_divisor(from.hz(), to.hz());
        let phases = (to.hz() / common) as usize;
        let step = (from.hz() / common) as usize;
        let slower_hz = from.hz().min(to.hz());
        let window_samples = WINDOW_PERIODS * from.hz() as usize / slower_hz as usize;
        let taps = window_samples.next_multiple_of(step);
        // The prototype works at the rate that both are divisors of: `from` times the number of phases.
        let prototype_hz = f64::from(from.hz()) * phases as f64;
        let prototype = low_pass(taps * phases, CUTOFF * f64::from(slower_hz) / prototype_hz, KAISER_BETA);

        let mut coefficients = Vec::with_capacity(taps * phases);
        for phase in 0..phases {
            let newest_first: Vec<f64> = prototype.iter().skip(phase).step_by(phases).copied().collect();
            // Each phase by itself, not their mean: a constant must come out constant, not as a tone at `from`.
            let gain: f64 = newest_first.iter().sum();
            coefficients.extend(newest_first.iter().rev().map(|coefficient| (coefficient / gain) as f32));
        }
        let sorted = coefficients.chunks(taps).flat_map(|phase| {
            (0..step).flat_map(move |first| phase.iter().skip(first).step_by(step).copied())
        });
        Self { phases, taps, step, sorted: sorted.collect(), coefficients: coefficients.into_boxed_slice() }
    }

    /// How many phases: the output rate over the greatest common divisor of both rates; 1 to 6.
    pub fn phases(&self) -> usize {
        self.phases
    }

    /// Input samples from one output sample to the next of the same phase: 1 to [`STEP_MAX`].
    pub fn step(&self) -> usize {
        self.step
    }

    /// Input samples that one output sample is made of: a multiple of [`Self::step`], at most [`TAPS_MAX`].
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// The coefficients of one phase, oldest sample's first, [`Self::taps`] of them; empty beyond the last phase.
    pub fn phase(&self, phase: usize) -> &[f32] {
        self.coefficients.get(phase * self.taps..(phase + 1) * self.taps).unwrap_or_default()
    }

    /// The coefficients of one phase that stand [`Self::step`] apart, from the one at `first` (below [`Self::step`]) on.
    pub fn every(&self, phase: usize, first: usize) -> &[f32] {
        let each = self.taps / self.step();
        self.sorted
            .get(phase * self.taps + first * each..)
            .and_then(|from| from.get(..each))
            .unwrap_or_default()
    }

    /// Where the `outputs`th output sample after one at `phase` lies: how many whole input samples further, and at which
    /// phase.
    pub fn after(&self, phase: usize, outputs: usize) -> (usize, usize) {
        let phase = phase + self.step * outputs;
        (phase / self.phases, phase % self.phases)
    }

    /// The group delay in samples of the prototype, which runs at the input rate times [`Self::phases`]; it is the same
    /// at every frequency because the coefficients are symmetric.
    pub fn delay_prototype_samples(&self) -> f64 {
        (self.taps * self.phases - 1) as f64 / 2.0
    }
}

/// Designs a linear-phase low-pass of `taps` coefficients by the window method: an ideal low-pass that is 6 dB down at
/// `cutoff` (cycles a sample, below 0.5) times a Kaiser window of shape `beta` (Oppenheim and Schafer, Discrete-Time
/// Signal Processing, section 7.6). The coefficients sum to about one.
pub fn low_pass(taps: usize, cutoff: f64, beta: f64) -> Vec<f64> {
    let centre = (taps.max(2) - 1) as f64 / 2.0;
    let window_peak = bessel_i0(beta);
    (0..taps)
        .map(|tap| {
            let offset = tap as f64 - centre;
            let ideal =
                if offset == 0.0 { 2.0 * cutoff } else { (2.0 * PI * cutoff * offset).sin() / (PI * offset) };
            let place = offset / centre;
            ideal * bessel_i0(beta * (1.0 - place * place).max(0.0).sqrt()) / window_peak
        })
        .collect()
}

/// The modified Bessel function of the first kind and order zero, by its power series, to the precision of `f64`.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    let mut k = 1.0;
    while term > sum * f64::EPSILON {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

const RATES: usize = SampleRate::ALL.len();

static TABLES: OnceLock<[[Option<Polyphase>; RATES]; RATES]> = OnceLock::new();

fn tables() -> &'static [[Option<Polyphase>; RATES]; RATES] {
    TABLES.get_or_init(|| {
        SampleRate::ALL
            .map(|from| SampleRate::ALL.map(|to| (from != to).then(|| Polyphase::design(from, to))))
    })
}

/// Computes the tables of all pairs of rates (18 KiB, less than a millisecond). To be called once at start,
/// before the dsp threads: afterwards [`polyphase`] neither allocates nor waits.
pub fn warm_tables() {
    tables();
}

/// The filter from one rate to another, shared by all calls; `None` where both are the same and nothing is to be
/// filtered. Computes all tables if [`warm_tables`] was not called before.
pub fn polyphase(from: SampleRate, to: SampleRate) -> Option<&'static Polyphase> {
    tables()[from as usize][to as usize].as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> impl Iterator<Item = (SampleRate, SampleRate, &'static Polyphase)> {
        SampleRate::ALL.into_iter().flat_map(|from| {
            SampleRate::ALL.into_iter().filter_map(move |to| Some((from, to, polyphase(from, to)?)))
        })
    }

    #[test]
    fn every_pair_of_different_rates_has_a_filter_of_whole_steps() {
        assert_eq!(pairs().count(), 20);
        for (from, to, filter) in pairs() {
            assert_eq!(filter.taps() % filter.step(), 0, "{from} to {to}");
            assert!(filter.taps() <= TAPS_MAX && filter.step() <= STEP_MAX, "{from} to {to}");
            for (place, &coefficient) in filter.phase(filter.phases() - 1).iter().enumerate() {
                let every = filter.every(filter.phases() - 1, place % filter.step());
                assert_eq!(every[place / filter.step()], coefficient, "{from} to {to}");
            }
            assert_eq!(filter.phase(filter.phases() - 1).len(), filter.taps());
            assert!(filter.phase(filter.phases()).is_empty());
        }
        assert!(polyphase(SampleRate::Hz8000, SampleRate::Hz8000).is_none());
    }

    #[test]
    fn every_phase_sums_to_one_and_mirrors_its_counterpart() {
        for (from, to, filter) in pairs() {
            for phase in 0..filter.phases() {
                let coefficients = filter.phase(phase);
                let sum: f64 = coefficients.iter().map(|&c| f64::from(c)).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{from} to {to}, phase {phase}: sum {sum}");
                let mirrored = filter.phase(filter.phases() - 1 - phase);
                for (a, b) in coefficients.iter().zip(mirrored.iter().rev()) {
                    assert!((a - b).abs() < 1e-6, "{from} to {to}, phase {phase}");
                }
            }
        }
    }

    #[test]
    fn output_samples_lie_where_their_rate_puts_them() {
        for (from, to, filter) in pairs() {
            for outputs in 0..500 {
                let (inputs, phase) = filter.after(0, outputs);
                assert_eq!(inputs, outputs * from.hz() as usize / to.hz() as usize, "{from} to {to}");
                assert_eq!(filter.after(phase, 7), {
                    let (further, next) = filter.after(0, outputs + 7);
                    (further - inputs, next)
                });
            }
        }
    }

    #[test]
    fn bessel_function_agrees_with_published_values() {
        // Abramowitz and Stegun, table 9.8.
        for (x, expected) in [(0.0, 1.0), (1.0, 1.266_065_877_752_01), (5.0, 27.239_871_823_604_4)] {
            assert!((bessel_i0(x) - expected).abs() < 1e-12 * expected, "I0({x})");
        }
    }

    #[test]
    fn a_low_pass_of_no_or_one_tap_is_harmless() {
        assert!(low_pass(0, 0.25, KAISER_BETA).is_empty());
        assert!(low_pass(1, 0.25, KAISER_BETA)[0].is_finite());
    }
}
