//! What a call costs: CPU and round trips beside the null relay, and beside a naive one.
//!
//! Runs in: the `density` binary. Owns the processes while it measures. Never leaves out what is dear: TLS, silence and
//! an open page stand beside the plain call. Invariant: each ratio is of runs that alternated.

use serde_json::json;

use super::Error;
use super::figures::Figures;
use super::measure::Sample;
use super::rounds::{Bench, Side};
use super::start::{Relay, Sim};
use crate::callgen::{self, Audio, Expect};

/// Of many calls one in so many is analysed.
const ANALYSE: u32 = 20;
/// The share of the time in which either side of a conversation talks.
const TALK: f64 = 0.4;

fn us(sample: &Sample) -> f64 {
    sample.us_per_frame_pair
}

fn p50(sample: &Sample) -> f64 {
    sample.latency_p50_ms
}

fn p99(sample: &Sample) -> f64 {
    sample.latency_p99_ms
}

/// CPU of 100 calls: everything that is said of it, in the same rounds.
pub(super) fn cpu(bench: &Bench<'_>, figures: &mut Figures, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let options = bench.options;
    let null = Relay::null(&options.programs)?;
    let plain = Relay::tandem(&options.programs, "plain", &Sim::ECHO, &[])?;
    let tls = Relay::tandem(&options.programs, "tls", &Sim { is_tls: true, ..Sim::ECHO }, &[])?;
    let density = Relay::tandem(&options.programs, "density", &Sim::ECHO, &["media.profile=density"])?;
    let parrot = Relay::tandem(&options.programs, "parrot", &Sim { voice: "parrot", is_tls: false }, &[])?;
    let admin = plain.process.wait_for("admin server: http://")?;
    let side = |name, relay, change: callgen::Options| {
        let mut side = bench.side(name, relay, options.calls);
        side.calls = callgen::Options { url: side.calls.url, calls: side.calls.calls, ..change };
        side
    };
    let light = || callgen::Options { analyse: ANALYSE, ..callgen::Options::default() };
    let line = |audio| callgen::Options { audio, analyse: 0, ..callgen::Options::default() };
    let conversation =
        callgen::Options { audio: Audio::Speech, expect: Expect::Parrot, talk: Some(TALK), ..light() };
    let sides = [
        side("null relay", &null, callgen::Options { floor: true, ..callgen::Options::default() }),
        side("plain", &plain, light()),
        Side { watched: Some(&admin), ..side("page open", &plain, light()) },
        side("silence", &plain, line(Audio::Silence)),
        side("noise", &plain, line(Audio::Noise)),
        side("tls", &tls, light()),
        side("density profile", &density, light()),
        // Talkspurts and pauses even out over a longer time.
        Side { seconds: options.seconds * 2.0, ..side("conversation", &parrot, conversation) },
    ];
    let rounds = bench.in_turns(&sides, figures, say)?;
    for (name, side, other) in [
        ("cpu_ratio", "plain", "null relay"),
        ("cpu_ratio_tls", "tls", "null relay"),
        ("cpu_ratio_density_profile", "density profile", "null relay"),
        ("cpu_ratio_conversation", "conversation", "null relay"),
        ("cpu_ratio_silence_to_noise", "silence", "noise"),
        ("cpu_ratio_page_open", "page open", "plain"),
    ] {
        figures.set(name, rounds.ratio(side, other, us));
    }
    let of_sides = |f: fn(&Sample) -> f64| -> serde_json::Value {
        sides.iter().map(|side| (side.name.to_owned(), json!(rounds.median(side.name, f)))).collect()
    };
    figures.set("relay_us_per_frame_pair", rounds.median("plain", us));
    figures.set("null_us_per_frame_pair", rounds.median("null relay", us));
    figures.set(
        "cpu",
        json!({
            "calls": options.calls,
            "rounds": rounds.count(),
            "us_per_frame_pair": of_sides(us),
            "us_per_frame_pair_rounds": sides
                .iter()
                .map(|side| (side.name.to_owned(), json!(rounds.each(side.name, us))))
                .collect::<serde_json::Value>(),
            "page_open_latency_p99_ratio": rounds.ratio("page open", "plain", p99),
        }),
    );
    Ok(())
}

/// Round trips of one call and of many, beside those of the null relay.
pub(super) fn latency(
    bench: &Bench<'_>,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let options = bench.options;
    let null = Relay::null(&options.programs)?;
    let relay = Relay::tandem(&options.programs, "latency", &Sim::ECHO, &[])?;
    let mut all = serde_json::Map::new();
    // One call has nobody to wait for: half the time is enough.
    for (calls, name, seconds) in
        [(1, "one", options.seconds / 2.0), (options.latency_calls, "many", options.seconds)]
    {
        let side = |name, relay| Side { seconds, ..bench.side(name, relay, calls) };
        let mut sides = [side("null relay", &null), side("relay", &relay)];
        sides[0].calls.floor = true;
        let rounds = bench.in_turns(&sides, figures, say)?;
        all.insert(
            name.to_owned(),
            json!({
                "calls": calls,
                "relay_p50": rounds.median("relay", p50),
                "relay_p99": rounds.median("relay", p99),
                "null_p50": rounds.median("null relay", p50),
                "null_p99": rounds.median("null relay", p99),
                "added_p50": rounds.added("relay", "null relay", p50),
                "added_p99": rounds.added("relay", "null relay", p99),
            }),
        );
        if name == "many" {
            figures.set(&format!("added_ms_p50_{calls}_calls"), rounds.added("relay", "null relay", p50));
            figures.set(&format!("added_ms_p99_{calls}_calls"), rounds.added("relay", "null relay", p99));
        }
    }
    figures.set("latency_ms", all);
    Ok(())
}

/// The naive relay beside this one.
pub(super) fn baseline(
    bench: &Bench<'_>,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let options = bench.options;
    let naive = Relay::naive(&options.programs)?;
    let relay = Relay::tandem(&options.programs, "beside-naive", &Sim::ECHO, &[])?;
    let calls = options.baseline_calls;
    let sides = [bench.side("naive relay", &naive, calls), bench.side("relay", &relay, calls)];
    let rounds = bench.in_turns(&sides, figures, say)?;
    figures.set("baseline_cpu_ratio", rounds.ratio("naive relay", "relay", us));
    figures.set("baseline_p99_ratio", rounds.ratio("naive relay", "relay", p99));
    let one = |name| {
        json!({
            "us_per_frame_pair": rounds.median(name, us),
            "p50_ms": rounds.median(name, p50),
            "p99_ms": rounds.median(name, p99),
        })
    };
    figures.set(
        "baseline",
        json!({"calls": calls, "rounds": rounds.count(), "naive": one("naive relay"), "relay": one("relay")}),
    );
    Ok(())
}
