//! Measures detectors of talkspurts on noisy telephone lines: prints the tables of `docs/turn-taking.md`.
//!
//! Runs in: `cargo run --release --example talkspurt_figures`, some seconds. Never part of the relay.
//! Invariant: all detectors hear the same samples, and the same rules make talkspurts of what they say.

use std::time::Instant;

use line::{BLOCK, Line, Noise, line};
use tandem::dsp::talkspurt::{Heard, Rule};
use tandem::dsp::voice::Voice;

mod line;

/// How long the caller is silent before a talkspurt has ended.
const HANGOVER_MS: u32 = 500;
const HANGOVER: usize = HANGOVER_MS as usize / 10;

/// For each 10 ms of the line: whether it is voice.
type Judge = fn(&[i16]) -> Vec<bool>;

fn energy(samples: &[i16]) -> Vec<bool> {
    let mut voice = Voice::new();
    let mut judged = Vec::new();
    voice.hear(samples, |voiced| judged.push(voiced));
    judged
}

fn earshot(samples: &[i16], threshold: f32) -> Vec<bool> {
    let mut detector = earshot::Detector::default();
    let scores: Vec<bool> =
        samples.as_chunks::<256>().0.iter().map(|frame| detector.predict_i16(frame) >= threshold).collect();
    // 16 ms each: a block of 10 ms gets what was known when it ended.
    (0..samples.len() / BLOCK)
        .map(|at| ((at + 1) * BLOCK / 256).checked_sub(1).is_some_and(|frame| scores[frame]))
        .collect()
}

const JUDGES: [(&str, Judge); 3] = [
    ("energy", energy),
    ("earshot 0.5", |samples| earshot(samples, 0.5)),
    ("earshot 0.8", |samples| earshot(samples, 0.8)),
];

#[derive(Default)]
struct Figures {
    missed: usize,
    speech: usize,
    false_alarms: usize,
    silence: usize,
    utterances: usize,
    unheard: usize,
    onsets_ms: Vec<f64>,
    ends_ms: Vec<f64>,
    false_spurts: usize,
    noise_s: f64,
    split: usize,
}

impl Figures {
    fn add(&mut self, line: &Line, judged: &[bool]) {
        for (at, (&truth, &said)) in line.speech.iter().zip(judged).enumerate().skip(200) {
            let near = (at.saturating_sub(12)..(at + 12).min(line.speech.len())).any(|n| line.speech[n]);
            if truth {
                self.speech += 1;
                self.missed += usize::from(!said);
            } else if !near {
                self.silence += 1;
                self.false_alarms += usize::from(said);
            }
        }
        let spurts = spurts(judged);
        let lead_in = line.lead_in / BLOCK;
        let is_near = |spurt: &(usize, usize)| {
            line.utterances.iter().any(|&(start, end)| spurt.0 < end / BLOCK + 20 && spurt.1 > start / BLOCK)
        };
        self.false_spurts += spurts.iter().filter(|spurt| spurt.0 > 200 && !is_near(spurt)).count();
        self.noise_s += (lead_in as f64 - 200.0) / 100.0 + 18.0;
        for &(start, end) in &line.utterances {
            let (start, end) = (start / BLOCK, end / BLOCK);
            self.utterances += 1;
            let mine: Vec<_> = spurts.iter().filter(|s| s.0 < end && s.1 > start).collect();
            self.unheard += usize::from(mine.is_empty());
            self.split += mine.len().saturating_sub(1);
            if let (Some(first), Some(last)) = (mine.first(), mine.last()) {
                self.onsets_ms.push((first.0 as f64 - start as f64) * 10.0);
                self.ends_ms.push((last.1 as f64 - HANGOVER as f64 - end as f64) * 10.0);
            }
        }
    }

    fn row(&mut self) -> String {
        let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        format!(
            "{:.1} | {:.1} | {} of {} | {} | {:.0} | {:.0} | {:.0} | {:.1}",
            percent(self.missed, self.speech),
            percent(self.false_alarms, self.silence),
            self.unheard,
            self.utterances,
            self.split,
            quantile(&mut self.onsets_ms, 0.5),
            quantile(&mut self.onsets_ms, 1.0),
            quantile(&mut self.ends_ms, 0.5),
            self.false_spurts as f64 * 60.0 / self.noise_s.max(1e-9)
        )
    }
}

/// From which 10 ms, when it was found, to which, when its hangover was over.
fn spurts(judged: &[bool]) -> Vec<(usize, usize)> {
    let mut rule = Rule::new(HANGOVER_MS);
    let mut spurts: Vec<(usize, usize)> = Vec::new();
    for (at, &voiced) in judged.iter().enumerate() {
        match rule.decided(voiced) {
            Some(Heard::Began) => spurts.push((at, judged.len())),
            Some(Heard::Ended { .. }) => spurts.last_mut().expect("it has begun").1 = at,
            None => {}
        }
    }
    spurts
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

fn main() {
    tandem::dsp::fir::warm_tables();
    println!(
        "| noise | SNR dB | detector | missed % | false % | unheard | split | onset ms | at most | end ms | false spurts a minute |"
    );
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for noise in Noise::ALL {
        for snr_db in [20.0, 10.0, 5.0] {
            let lines: Vec<Line> = [-20.0, -30.0].iter().map(|level| line(noise, snr_db, *level)).collect();
            for (name, judge) in JUDGES {
                let mut figures = Figures::default();
                for line in &lines {
                    figures.add(line, &judge(&line.samples));
                }
                println!("| {} | {snr_db} | {name} | {} |", noise.name(), figures.row());
            }
            if matches!(noise, Noise::None | Noise::Clicks) {
                break;
            }
        }
    }
    cost();
}

/// What 20 ms cost, in turns.
fn cost() {
    let samples = line(Noise::Pink, 10.0, -25.0).samples;
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); 2];
    let mut voice = Voice::new();
    let mut detector = earshot::Detector::default();
    for _ in 0..101 {
        let piece = &samples[16_000 * 20..16_000 * 21];
        let start = Instant::now();
        let mut voiced = 0;
        voice.hear(std::hint::black_box(piece), |v| voiced += usize::from(v));
        std::hint::black_box(voiced);
        rounds[0].push(start.elapsed().as_secs_f64() * 1e6 / 50.0);
        let start = Instant::now();
        let mut score = 0.0;
        for frame in std::hint::black_box(piece).as_chunks::<256>().0 {
            score += detector.predict_i16(frame);
        }
        std::hint::black_box(score);
        rounds[1].push(start.elapsed().as_secs_f64() * 1e6 / 50.0);
    }
    let mut ratios: Vec<f64> = rounds[1].iter().zip(&rounds[0]).map(|(a, b)| a / b).collect();
    println!(
        "\nµs for 20 ms: energy {:.2}, earshot {:.2}, ratio {:.1}",
        quantile(&mut rounds[0].clone(), 0.5),
        quantile(&mut rounds[1].clone(), 0.5),
        quantile(&mut ratios, 0.5)
    );
}
