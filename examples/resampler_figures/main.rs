//! Measures our resampler and `rubato` side by side: prints the table of `docs/resampler.md`, writes
//! `target/resampler.json`, and draws `docs/pictures/resampler.svg`.
//!
//! Runs in: `cargo run --release --example resampler_figures`, a minute or two. Owns those two files. Never part of the
//! relay. Invariant: both sides are measured by the same code (`tests/figures`), on the same samples, in turns.

use std::error::Error;
use std::fs;
use std::path::Path;

use figures::converter::{self, Converter};
use rubato_side::{Rubato, Variant};
use serde_json::json;
use tandem::base::SampleRate;
use tandem::dsp::{Resampler, fir};

mod cost;
#[path = "../../tests/figures/mod.rs"]
mod figures;
mod picture;
mod rubato_side;

/// The conversions shown: both ways of Gemini to and from the telephone rates in use.
const SHOWN: [(SampleRate, SampleRate); 6] = [
    (SampleRate::Hz24000, SampleRate::Hz16000),
    (SampleRate::Hz24000, SampleRate::Hz8000),
    (SampleRate::Hz24000, SampleRate::Hz48000),
    (SampleRate::Hz8000, SampleRate::Hz16000),
    (SampleRate::Hz32000, SampleRate::Hz16000),
    (SampleRate::Hz48000, SampleRate::Hz16000),
];

/// Those of them that the picture shows.
const DRAWN: usize = 4;

/// How many instances share the memory that is measured, a page at a time.
const INSTANCES: usize = 500;

/// A resampler by name, and how to make one.
struct Candidate {
    name: &'static str,
    make: fn(SampleRate, SampleRate) -> Box<dyn Converter>,
}

const CANDIDATES: [Candidate; 1 + Variant::ALL.len()] = [
    Candidate { name: "ours", make: |from, to| Box::new(Resampler::new(from, to)) },
    Candidate { name: Variant::Sinc.name(), make: |from, to| Box::new(Rubato::new(Variant::Sinc, from, to)) },
    Candidate {
        name: Variant::FftShort.name(),
        make: |from, to| Box::new(Rubato::new(Variant::FftShort, from, to)),
    },
    Candidate { name: Variant::Fft.name(), make: |from, to| Box::new(Rubato::new(Variant::Fft, from, to)) },
];

fn main() -> Result<(), Box<dyn Error>> {
    fir::warm_tables();
    println!(
        "| conversion | resampler | loss at edge dB | unwanted dB | delay ms | held back ms | KiB | us a frame | cost |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut rows = Vec::new();
    let mut panels = Vec::new();
    let mut kept_alive = Vec::new();
    for (from, to) in SHOWN {
        let mut converters: Vec<_> = CANDIDATES.iter().map(|candidate| (candidate.make)(from, to)).collect();
        let costs = cost::in_turns(&mut converters, from);
        let mut curves = Vec::new();
        for (candidate, cost) in CANDIDATES.iter().zip(costs) {
            let sweep = figures::sweep(&candidate.make, from, to);
            let delay_ms = figures::delay_ms(&candidate.make, from, to, 1000);
            let held_back_ms = figures::held_back_ms(&candidate.make, from, to);
            let memory_bytes = memory_bytes(candidate, from, to, &mut kept_alive);
            println!(
                "| {} to {} kHz | {} | {:.2} | {:.1} | {delay_ms:.2} | {held_back_ms:.2} | {} | {:.1} | {:.2} |",
                from.hz() / 1000,
                to.hz() / 1000,
                candidate.name,
                sweep.edge_loss_db,
                sweep.worst_unwanted_db,
                memory_bytes.map_or("?".into(), |bytes| format!("{:.1}", bytes / 1024.0)),
                cost.us_per_frame,
                cost.ratio,
            );
            rows.push(json!({
                "from_hz": from.hz(),
                "to_hz": to.hz(),
                "resampler": candidate.name,
                "edge_loss_db": sweep.edge_loss_db,
                "worst_passband_db": sweep.worst_passband_db,
                "worst_unwanted_db": sweep.worst_unwanted_db,
                "delay_ms": delay_ms,
                "held_back_ms": held_back_ms,
                "memory_bytes": memory_bytes,
                "us_per_frame": cost.us_per_frame,
                "cost_ratio": cost.ratio,
            }));
            curves.push((candidate.name, sweep.response));
        }
        panels.push(picture::Panel { from, to, curves });
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(root.join("target"))?;
    fs::write(root.join("target/resampler.json"), serde_json::to_string_pretty(&json!({ "rows": rows }))?)?;
    fs::write(root.join("docs/pictures/resampler.svg"), picture::draw(&panels[..DRAWN]))?;
    println!("\nwritten: target/resampler.json, docs/pictures/resampler.svg");
    Ok(())
}

/// What one instance that has converted a frame adds to the process, in bytes; `None` where the system does not tell.
/// The instances go to `kept_alive`: memory given back by one candidate must not be lent to the next.
fn memory_bytes(
    candidate: &Candidate,
    from: SampleRate,
    to: SampleRate,
    kept_alive: &mut Vec<Box<dyn Converter>>,
) -> Option<f64> {
    let input = cost::noise(from.samples_per_frame());
    let mut output = Vec::with_capacity(2 * SampleRate::Hz48000.samples_per_frame());
    kept_alive.reserve(2 * INSTANCES);
    let mut another = |kept_alive: &mut Vec<_>| {
        let mut converter = (candidate.make)(from, to);
        output.clear();
        converter.frame(&input, &mut output);
        kept_alive.push(converter);
    };
    // The first ones use up what earlier measurements gave back, which the process already occupies.
    (0..INSTANCES).for_each(|_| another(kept_alive));
    let before = resident_bytes()?;
    (0..INSTANCES).for_each(|_| another(kept_alive));
    Some(resident_bytes()?.saturating_sub(before) as f64 / INSTANCES as f64)
}

/// The memory that the process occupies, by Linux's `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
