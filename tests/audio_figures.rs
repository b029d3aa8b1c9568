//! What the resampler must do to sound, measured through 16-bit samples for every pair of rates that a call can have.
//!
//! Runs in: `cargo test`. The same measurements of other resamplers, and the table of all figures, are made by
//! `cargo run --release --example resampler_figures`.

mod figures;

use figures::converter::Converter;
use figures::{convert, delay_ms, held_back_ms, sweep, tone};
use proptest::prelude::*;
use tandem::base::SampleRate;
use tandem::dsp::Resampler;

/// What may be lost at 3.4 kHz (8 kHz) and 6.8 kHz (16 kHz).
const LOSS_DB_MAX: f64 = 0.5;

/// How far down aliases and images must be, from 4.6 kHz (8 kHz) and 9.2 kHz (16 kHz).
const UNWANTED_DB_MAX: f64 = -70.0;

/// What one conversion may add to the way of a sound.
const DELAY_MS_MAX: f64 = 3.0;

fn ours(from: SampleRate, to: SampleRate) -> Box<dyn Converter> {
    Box::new(Resampler::new(from, to))
}

fn different_rates() -> impl Iterator<Item = (SampleRate, SampleRate)> {
    let all = SampleRate::ALL.into_iter();
    all.flat_map(|from| SampleRate::ALL.into_iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
}

#[test]
fn the_pass_band_is_kept_and_everything_that_folds_or_repeats_is_seventy_decibels_down() {
    for (from, to) in different_rates() {
        let found = sweep(&ours, from, to);
        assert!(found.edge_loss_db <= LOSS_DB_MAX, "{from} to {to}: {:.2} dB lost", found.edge_loss_db);
        let worst_db = found.worst_passband_db;
        assert!(worst_db <= LOSS_DB_MAX, "{from} to {to}: {worst_db:.2} dB off within the pass band");
        let unwanted_db = found.worst_unwanted_db;
        assert!(unwanted_db <= UNWANTED_DB_MAX, "{from} to {to}: aliases or images at {unwanted_db:.1} dB");

        // The same, component by component, up to the highest image there can be.
        let stop_edge_hz = f64::from(from.hz().min(to.hz())) * figures::STOP_EDGE;
        for &(hz, gain_db) in found.response.iter().filter(|&&(hz, _)| f64::from(hz) >= stop_edge_hz) {
            assert!(gain_db <= UNWANTED_DB_MAX, "{from} to {to}: {hz} Hz comes through at {gain_db:.1} dB");
        }
    }
}

#[test]
fn every_frequency_is_delayed_alike_by_what_the_resampler_says_and_at_most_three_milliseconds() {
    for (from, to) in different_rates() {
        let stated_ms = f64::from(Resampler::new(from, to).delay_us()) / 1000.0;
        assert!(stated_ms <= DELAY_MS_MAX, "{from} to {to}: {stated_ms} ms");
        for hz in [300, 1000, 3300] {
            let found_ms = delay_ms(&ours, from, to, hz);
            assert!(
                (found_ms - stated_ms).abs() < 0.02,
                "{from} to {to}, {hz} Hz: {found_ms}, not {stated_ms} ms"
            );
        }
    }
}

#[test]
fn no_sample_is_held_back_over_the_end_of_a_frame() {
    for (from, to) in different_rates() {
        assert_eq!(held_back_ms(&ours, from, to), 0.0, "{from} to {to}");
    }
}

#[test]
fn a_constant_comes_out_as_the_same_constant() {
    for (from, to) in different_rates() {
        for constant in [-32768, -12345, -1, 1, 20000, 32767] {
            let input = vec![constant; from.samples_in_ms(100)];
            let output = convert(ours(from, to).as_mut(), from, &input);
            for &sample in &output[to.samples_in_ms(20)..] {
                assert_eq!(sample, constant, "{from} to {to}");
            }
        }
    }
}

#[test]
fn full_scale_saturates_and_never_wraps() {
    for (from, to) in different_rates() {
        let square = |amplitude: i16| -> Vec<i16> {
            let half_period = from.samples_in_ms(1) / 2;
            (0..from.samples_in_ms(200))
                .map(|n| if n / half_period % 2 == 0 { amplitude } else { -amplitude })
                .collect()
        };
        for (loud, quiet) in
            [(square(32766), square(16383)), (tone(from, 1000, 32766.0, 200), tone(from, 1000, 16383.0, 200))]
        {
            let loud = convert(ours(from, to).as_mut(), from, &loud);
            let quiet = convert(ours(from, to).as_mut(), from, &quiet);
            for (&loud, &quiet) in loud.iter().zip(&quiet) {
                let expected = (2 * i32::from(quiet)).clamp(i16::MIN.into(), i16::MAX.into());
                assert!((i32::from(loud) - expected).abs() <= 3, "{from} to {to}: {loud}, not {expected}");
            }
        }
        // The square's overshoot is what saturates.
        let output = convert(ours(from, to).as_mut(), from, &square(32766));
        let clipped = [i16::MIN, i16::MAX].iter().all(|end| output.contains(end));
        assert!(clipped, "{from} to {to}: nothing reached the ends of the scale");
    }
}

proptest! {
    /// Samples at any rates, cut into slices of any lengths, with any room for output each time.
    #[test]
    fn output_is_the_same_whatever_the_chunking(
        from in proptest::sample::select(&SampleRate::ALL[..]),
        to in proptest::sample::select(&SampleRate::ALL[..]),
        input in proptest::collection::vec(any::<i16>(), 0..4000),
        input_chunks in proptest::collection::vec(0usize..1200, 1..20),
        rooms in proptest::collection::vec(0usize..1200, 1..20),
    ) {
        let whole_length = (input.len() * to.hz() as usize).div_ceil(from.hz() as usize);
        let mut whole = vec![0; whole_length];
        let progress = Resampler::new(from, to).process(&input, &mut whole);
        prop_assert_eq!(progress.consumed, input.len());
        prop_assert_eq!(progress.produced, whole_length);

        let mut resampler = Resampler::new(from, to);
        let mut pieces = Vec::new();
        let mut consumed = 0;
        // Each length in turn, then a single sample, so that every round trip gets somewhere.
        let mut chunks = input_chunks.iter().chain([&1]).cycle();
        let mut rooms = rooms.iter().chain([&1]).cycle();
        while consumed < input.len() || pieces.len() < whole_length {
            let chunk = &input[consumed..(consumed + chunks.next().unwrap()).min(input.len())];
            let mut room = vec![0; *rooms.next().unwrap()];
            let progress = resampler.process(chunk, &mut room);
            prop_assert!(progress.consumed <= chunk.len() && progress.produced <= room.len());
            prop_assert!(
                progress.consumed == chunk.len() || progress.produced == room.len(),
                "stopped with input left and room left"
            );
            consumed += progress.consumed;
            pieces.extend_from_slice(&room[..progress.produced]);
            if progress.produced < room.len() {
                let determined = (consumed * to.hz() as usize).div_ceil(from.hz() as usize);
                prop_assert_eq!(pieces.len(), determined, "samples were held back");
            }
        }
        prop_assert_eq!(whole, pieces);
    }
}
