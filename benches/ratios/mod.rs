//! Figures that can be compared between machines: work measured in turns with its baseline, printed and kept as JSON.
//!
//! Runs in: `cargo bench`. Owns `target/NAME.json`.
//! Invariant: a ratio is the median of ratios of neighbouring rounds, so that a busy machine slows both sides alike.

use serde_json::{Map, Value, json};

/// Rounds of which the median is taken. Many short ones (a few milliseconds): most of them then fall between the moments
/// at which a busy machine takes the core away.
const ROUNDS: usize = 101;

/// What a piece of work and its baseline cost.
pub(crate) struct Cost {
    /// Nanoseconds of one call of the work.
    pub ours_ns: f64,
    /// Nanoseconds of one call of the baseline.
    pub plain_ns: f64,
    /// The one over the other.
    pub ratio: f64,
    /// Between these lies the middle half of the rounds' ratios: far apart, the machine was too busy to tell.
    pub ratio_quartiles: [f64; 2],
}

/// Measures both in turns; each does its work a good many times and returns the nanoseconds of one.
pub(crate) fn in_turns(mut ours: impl FnMut() -> f64, mut plain: impl FnMut() -> f64) -> Cost {
    let (mut ours_ns, mut plain_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (ours(), plain());
        ours_ns.push(one);
        plain_ns.push(other);
        ratios.push(one / other);
    }
    Cost {
        ours_ns: quantile(&mut ours_ns, 0.5),
        plain_ns: quantile(&mut plain_ns, 0.5),
        ratio: quantile(&mut ratios, 0.5),
        ratio_quartiles: [quantile(&mut ratios, 0.25), quantile(&mut ratios, 0.75)],
    }
}

fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[((figures.len() - 1) as f64 * part) as usize]
}

/// A table on standard output that also goes to `target/NAME.json`.
pub(crate) struct Report {
    name: &'static str,
    rows: Map<String, Value>,
}

impl Report {
    /// Prints the heading.
    pub(crate) fn new(name: &'static str) -> Self {
        println!("\n{name:<52} {:>9} {:>9} {:>7}  {:>15}", "ours ns", "plain ns", "ratio", "middle half");
        Self { name, rows: Map::new() }
    }

    /// Prints a row.
    pub(crate) fn row(&mut self, name: &str, cost: &Cost) {
        let Cost { ours_ns, plain_ns, ratio, ratio_quartiles: [low, high] } = cost;
        println!("{name:<52} {ours_ns:>9.1} {plain_ns:>9.1} {ratio:>7.2}  {low:>6.2} to {high:<6.2}");
        let figures =
            json!({"ours_ns": ours_ns, "plain_ns": plain_ns, "ratio": ratio, "ratio_quartiles": [low, high]});
        self.rows.insert(name.to_owned(), figures);
    }

    /// Writes the file.
    pub(crate) fn write(self) {
        let path = format!("{}/target/{}.json", env!("CARGO_MANIFEST_DIR"), self.name);
        if let Err(error) = std::fs::write(&path, format!("{:#}\n", Value::Object(self.rows))) {
            eprintln!("cannot write {path}: {error}; the figures above are all there is");
        }
    }
}

/// Whether figures are wanted: `cargo test --benches` runs everything once only to see that it works.
pub(crate) fn wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
