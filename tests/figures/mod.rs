//! Measures what a resampler does to sound: loss, aliases and images, delay, samples held back.
//!
//! Runs in: tests and examples, which include this file. Owns nothing. Never looks inside a resampler: everything goes
//! through 16-bit samples in frames of 20 ms, as a call does, so that any resampler can be measured beside ours.
//! Invariant: tones fit a whole number of times into the measured stretch, so that a fit of one is blind to all others.

use std::f64::consts::TAU;

use tandem::base::SampleRate;

use converter::Converter;

pub(crate) mod converter;

/// Makes a fresh converter for one pair of rates.
pub(crate) type Factory<'a> = dyn Fn(SampleRate, SampleRate) -> Box<dyn Converter> + 'a;

/// The pass band ends here, as a part of the slower rate: 3.4 kHz at 8 kHz, 6.8 kHz at 16 kHz.
pub(crate) const PASS_EDGE: f64 = 0.425;

/// What would fold into the pass band begins here: 4.6 kHz at 8 kHz, 9.2 kHz at 16 kHz.
pub(crate) const STOP_EDGE: f64 = 0.575;

/// About -0.8 dBFS: near full scale, and no filter ripple can make it saturate.
const AMPLITUDE: f64 = 30_000.0;

/// Left out of every measurement while filters and queues fill.
const SETTLE_MS: u32 = 100;

/// Measured. Tones must be multiples of [`GRID_HZ`] to fit.
const MEASURED_MS: u32 = 100;

/// One period in the measured stretch.
const GRID_HZ: u32 = 1000 / MEASURED_MS;

/// What became of tones swept over the whole input band.
pub(crate) struct Sweep {
    /// Loss at the edge of the pass band, in dB; positive means quieter.
    pub edge_loss_db: f64,
    /// The largest deviation from 0 dB anywhere in the pass band.
    pub worst_passband_db: f64,
    /// The loudest of everything that is not the tone itself (aliases, images, distortion, noise, taken together),
    /// relative to the tone put in, over all tones in the pass band and all that would fold into it.
    pub worst_unwanted_db: f64,
    /// The response by frequency in Hz, in dB, up to half the rate that both rates divide: each image and alias that a
    /// tone can take, fitted where it comes out. Ascending.
    pub response: Vec<(u32, f64)>,
}

/// Sends a tone a time through fresh converters, from near 0 Hz to near half the input rate, both band edges included.
pub(crate) fn sweep(factory: &Factory<'_>, from: SampleRate, to: SampleRate) -> Sweep {
    let slower_hz = from.hz().min(to.hz());
    let edge_hz = |edge: f64| (f64::from(slower_hz) * edge).round() as u32;
    let (pass_edge_hz, stop_edge_hz) = (edge_hz(PASS_EDGE), edge_hz(STOP_EDGE));
    let step_hz = slower_hz / 160;
    // One off the round numbers, where a tone and its alias would be the same frequency.
    let mut tones_hz: Vec<u32> = (GRID_HZ..from.hz() / 2).step_by(step_hz as usize).collect();
    tones_hz.extend([pass_edge_hz, stop_edge_hz].into_iter().filter(|&edge_hz| edge_hz < from.hz() / 2));

    let mut sweep = Sweep {
        edge_loss_db: f64::NAN,
        worst_passband_db: 0.0,
        worst_unwanted_db: f64::NEG_INFINITY,
        response: Vec::new(),
    };
    for tone_hz in tones_hz {
        let output = steady_tone(factory, from, to, tone_hz);
        let wanted = if tone_hz < to.hz() / 2 { fit(&output, to, tone_hz).amplitude } else { 0.0 };
        let power = output.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / output.len() as f64;
        let unwanted_power = (power - wanted * wanted / 2.0).max(0.0);
        if tone_hz <= pass_edge_hz {
            let gain_db = decibels(wanted / AMPLITUDE);
            sweep.worst_passband_db = sweep.worst_passband_db.max(gain_db.abs());
            if tone_hz == pass_edge_hz {
                sweep.edge_loss_db = -gain_db;
            }
        }
        if tone_hz <= pass_edge_hz || tone_hz >= stop_edge_hz {
            let unwanted_db = decibels(unwanted_power.sqrt() / (AMPLITUDE / 2f64.sqrt()));
            sweep.worst_unwanted_db = sweep.worst_unwanted_db.max(unwanted_db);
        }
        for image_hz in images(tone_hz, from, to) {
            let amplitude = fit(&output, to, folded(image_hz, to)).amplitude;
            sweep.response.push((image_hz, decibels(amplitude / AMPLITUDE)));
        }
    }
    sweep.response.sort_by_key(|&(hz, _)| hz);
    sweep
}

/// The group delay in milliseconds at `hz`: how the phase of what comes out turns with frequency.
pub(crate) fn delay_ms(factory: &Factory<'_>, from: SampleRate, to: SampleRate, hz: u32) -> f64 {
    let below = fit(&steady_tone(factory, from, to, hz), to, hz).phase;
    let above = fit(&steady_tone(factory, from, to, hz + GRID_HZ), to, hz + GRID_HZ).phase;
    // A whole turn stands for the measured stretch, far more than any delay here.
    (below - above).rem_euclid(TAU) / TAU * f64::from(MEASURED_MS)
}

/// The most output, in milliseconds, that was still missing after a whole number of frames went in.
pub(crate) fn held_back_ms(factory: &Factory<'_>, from: SampleRate, to: SampleRate) -> f64 {
    let mut converter = factory(from, to);
    let mut output = Vec::new();
    let missing_samples = (1..=100usize).map(|frames| {
        converter.frame(&vec![0; from.samples_per_frame()], &mut output);
        (frames * to.samples_per_frame()).saturating_sub(output.len())
    });
    missing_samples.max().unwrap_or(0) as f64 / f64::from(to.hz()) * 1000.0
}

/// Converts `input`, a whole number of frames long, in frames.
pub(crate) fn convert(converter: &mut dyn Converter, from: SampleRate, input: &[i16]) -> Vec<i16> {
    let mut output = Vec::new();
    for frame in input.chunks_exact(from.samples_per_frame()) {
        converter.frame(frame, &mut output);
    }
    output
}

/// A sine of `amplitude` at `hz`, `ms` milliseconds long, that starts at phase 0.
pub(crate) fn tone(rate: SampleRate, hz: u32, amplitude: f64, ms: u32) -> Vec<i16> {
    let turn = TAU * f64::from(hz) / f64::from(rate.hz());
    (0..rate.samples_in_ms(ms)).map(|n| (amplitude * (turn * n as f64).sin()).round() as i16).collect()
}

/// What comes out for a tone at `hz` once everything has settled: [`MEASURED_MS`] of it.
fn steady_tone(factory: &Factory<'_>, from: SampleRate, to: SampleRate, hz: u32) -> Vec<i16> {
    // As much again at the end, for converters that hold samples back.
    let input = tone(from, hz, AMPLITUDE, 2 * SETTLE_MS + MEASURED_MS);
    let output = convert(factory(from, to).as_mut(), from, &input);
    output[to.samples_in_ms(SETTLE_MS)..][..to.samples_in_ms(MEASURED_MS)].to_vec()
}

/// A sine found in samples.
struct Fit {
    amplitude: f64,
    /// In radians, relative to a sine that starts with the samples.
    phase: f64,
}

/// Fits a sine of frequency `hz` by least squares. Because a whole number of periods fits into the samples, sine and
/// cosine are orthogonal to each other, to a constant and to all other tones of the grid.
fn fit(samples: &[i16], rate: SampleRate, hz: u32) -> Fit {
    assert!(hz.is_multiple_of(GRID_HZ), "{hz} Hz is not a multiple of {GRID_HZ} Hz and would leak");
    let turn = TAU * f64::from(hz) / f64::from(rate.hz());
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let angle = turn * n as f64;
        sine += f64::from(sample) * angle.sin();
        cosine += f64::from(sample) * angle.cos();
    }
    let scale = 2.0 / samples.len() as f64;
    Fit { amplitude: scale * sine.hypot(cosine), phase: cosine.atan2(sine) }
}

/// Where a tone at `tone_hz` lies and repeats, seen at the rate that both rates divide, up to half of that.
fn images(tone_hz: u32, from: SampleRate, to: SampleRate) -> impl Iterator<Item = u32> {
    let limit_hz = least_common_multiple(from.hz(), to.hz()) / 2;
    (0..=limit_hz / from.hz())
        .flat_map(move |k| [(k * from.hz()).checked_sub(tone_hz), Some(k * from.hz() + tone_hz)])
        .flatten()
        .filter(move |&hz| hz <= limit_hz)
}

/// Where a frequency shows in samples at `rate`.
fn folded(hz: u32, rate: SampleRate) -> u32 {
    let within = hz % rate.hz();
    within.min(rate.hz() - within)
}

fn least_common_multiple(a: u32, b: u32) -> u32 {
    (1..=b).map(|factor| a * factor).find(|multiple| multiple.is_multiple_of(b)).unwrap_or(a * b)
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-9).log10()
}
