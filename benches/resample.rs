//! What a frame of 20 ms costs in our resampler and in `rubato`.
//!
//! Runs in: `cargo bench --bench resample`. Owns nothing. Never a pass mark: times belong to a machine, so the ratios that
//! it prints last are taken in turns.
//! Invariant: both sides take and give 16-bit samples, conversions included.

use criterion::{Criterion, Throughput};
use tandem::base::SampleRate;
use tandem::dsp::{Resampler, fir};

use converter::Converter;
use rubato_side::{Rubato, Variant};

#[path = "../tests/figures/converter.rs"]
mod converter;
#[path = "../examples/resampler_figures/cost.rs"]
mod cost;
#[path = "../examples/resampler_figures/rubato_side.rs"]
mod rubato_side;

const PAIRS: [(SampleRate, SampleRate); 4] = [
    (SampleRate::Hz24000, SampleRate::Hz16000),
    (SampleRate::Hz24000, SampleRate::Hz8000),
    (SampleRate::Hz8000, SampleRate::Hz16000),
    (SampleRate::Hz48000, SampleRate::Hz16000),
];

/// Ours first, then all of rubato's.
fn candidates(from: SampleRate, to: SampleRate) -> (Vec<&'static str>, Vec<Box<dyn Converter>>) {
    let ours: (_, Box<dyn Converter>) = ("ours", Box::new(Resampler::new(from, to)));
    let others = Variant::ALL.map(|variant| {
        let rubato: Box<dyn Converter> = Box::new(Rubato::new(variant, from, to));
        (variant.name(), rubato)
    });
    [ours].into_iter().chain(others).unzip()
}

fn a_frame_each(criterion: &mut Criterion) {
    for (from, to) in PAIRS {
        let mut group = criterion.benchmark_group(format!("resample {from} to {to}"));
        let input = cost::noise(from.samples_per_frame());
        group.throughput(Throughput::Elements(input.len() as u64));
        let (names, converters) = candidates(from, to);
        for (name, mut converter) in names.into_iter().zip(converters) {
            let mut output = Vec::with_capacity(2 * to.samples_per_frame());
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    output.clear();
                    converter.frame(std::hint::black_box(&input), &mut output);
                    output.len()
                });
            });
        }
    }
}

fn ratios() {
    for (from, to) in PAIRS {
        println!("\n{from} to {to}, in turns:");
        let (names, mut converters) = candidates(from, to);
        for (name, cost) in names.iter().zip(cost::in_turns(&mut converters, from)) {
            println!("  {name:<24} {:7.1} us a frame, {:5.2} times ours", cost.us_per_frame, cost.ratio);
        }
    }
}

fn main() {
    fir::warm_tables();
    let mut criterion = Criterion::default().configure_from_args();
    a_frame_each(&mut criterion);
    criterion.final_summary();
    // `cargo test` runs benchmarks once, to see that they run; ratios of that would mean nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        ratios();
    }
}
