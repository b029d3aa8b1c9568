//! The table that a run prints, and the progress line while it lasts.
//!
//! Runs in: callgen's main thread; pure. Owns nothing. Never shows a figure that was not measured in this mode.
//! Invariant: every figure has its unit beside it and is also in the JSON report.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::report::{LATENESS_MS_MAX, LegReport, Report, Spread, StepReport};
use super::totals::Progress;

/// One line per measurement, aligned, and the verdict last.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<26} {value}");
    };
    line(
        "mode",
        format!(
            "{}, {}, {} Hz, {}, {} playback",
            report.mode, report.leg, report.rate_hz, report.mix, report.playback
        ),
    );
    line(
        "calls",
        format!(
            "{} good, {} failed, {} refused, at most {} at once, {:.1} s",
            report.calls_good,
            report.calls_failed,
            report.calls_refused,
            report.concurrency_max,
            report.wall_ms / 1000.0
        ),
    );
    line("frames (20 ms)", format!("{} sent, {} received", report.frames_sent, report.frames_received));
    if report.marked_frames_sent > 0 {
        line(
            "marked frames",
            format!(
                "{} sent, {} lost, {} repeated, {} reordered, {} of other calls",
                report.marked_frames_sent,
                report.lost_frames,
                report.repeated_frames,
                report.reordered_frames,
                report.foreign_frames
            ),
        );
    }
    line("", format!("{:>9} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "p99.9", "max"));
    for (name, spread) in spreads(report) {
        if spread.count > 0 {
            let Spread { p50, p90, p99, p999, max, .. } = spread;
            line(name, format!("{p50:>9.3} {p90:>9.3} {p99:>9.3} {p999:>9.3} {max:>9.3}"));
        }
    }
    if report.frames_received > 0 {
        let (underruns, all_ms, longest_ms) =
            (report.underruns, report.underrun_ms, report.underrun_longest_ms);
        line("underruns at the ear", format!("{underruns}, {all_ms} ms in all, the longest {longest_ms} ms"));
    }
    if report.marked_frames_sent > 0 && report.mode == "echo" {
        line("gaps in the audio", format!("{}, {} ms in all", report.gaps, report.gap_ms));
    }
    if report.answers > 0 {
        line(
            "answers",
            format!("{} right, correlation at least {:.3}", report.answers, report.correlation_min),
        );
    }
    if report.barge_ins > 0 {
        line("barge-ins", format!("{}, {} clear messages", report.barge_ins, report.clears));
    }
    if report.legs.len() > 1 {
        leg_lines(report).into_iter().for_each(|(name, figures)| line(&name, figures));
    }
    for step in &report.steps {
        let StepReport { latency_ms, own_lateness_ms, .. } = step;
        line(
            &format!("step of {} calls", step.calls),
            format!(
                "round trip p50 {:.3} ms, p99 {:.3} ms; {} underruns, {} failed, {} refused; own lateness p99 {:.3} ms{}",
                latency_ms.p50,
                latency_ms.p99,
                step.underruns,
                step.calls_failed,
                step.calls_refused,
                own_lateness_ms.p99,
                if step.void { ", VOID" } else { "" }
            ),
        );
    }
    for (why, count) in &report.failures {
        line("FAILED", format!("{count}: {why}"));
    }
    for (why, count) in &report.refusals {
        line("REFUSED", format!("{count}: {why}"));
    }
    let verdict = match report.exit_status() {
        3 => format!(
            "VOID: the generator itself was later than {LATENESS_MS_MAX} ms at p99; this says nothing"
        ),
        0 => "good".to_owned(),
        _ if report.calls_failed == 0 => "some calls were refused".to_owned(),
        _ => "some calls failed".to_owned(),
    };
    line("verdict", verdict);
    text
}

/// The figures that tell legs apart: name, unit, value.
pub fn leg_columns(leg: &LegReport) -> [(&'static str, String); 8] {
    let spread = |spread: &Spread, value: f64| {
        if spread.count > 0 { format!("{value:.1}") } else { "-".to_owned() }
    };
    [
        ("good", format!("{}/{}", leg.calls_good, leg.calls)),
        ("ear p50", spread(&leg.ear_latency_ms, leg.ear_latency_ms.p50)),
        ("ear p99", spread(&leg.ear_latency_ms, leg.ear_latency_ms.p99)),
        ("jitter p99", spread(&leg.jitter_ms, leg.jitter_ms.p99)),
        ("underruns", leg.underruns.to_string()),
        ("lost", leg.lost_frames.to_string()),
        ("barge-in p99", spread(&leg.barge_in_ms, leg.barge_in_ms.p99)),
        ("clear-silence p99", spread(&leg.clear_to_silence_ms, leg.clear_to_silence_ms.p99)),
    ]
}

/// A line for each leg, under one that names the columns.
fn leg_lines(report: &Report) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for leg in &report.legs {
        let columns = leg_columns(leg);
        if lines.is_empty() {
            let names = columns.iter().map(|(name, _)| format!("{name:>12}"));
            lines.push(("legs (times in ms)".to_owned(), names.collect::<Vec<_>>().join(" ")));
        }
        let values = columns.iter().map(|(name, value)| format!("{value:>w$}", w = name.len().max(12)));
        lines.push((format!("{} {}", leg.leg, leg.playback), values.collect::<Vec<_>>().join(" ")));
    }
    lines
}

/// The distributions of a report with the names they are shown under.
pub fn spreads(report: &Report) -> [(&'static str, Spread); 13] {
    [
        ("round trip, at the ear ms", report.ear_latency_ms),
        ("round trip, at the socket", report.latency_ms),
        ("offset in message ms", report.offset_ms),
        ("jitter ms", report.jitter_ms),
        ("set-up (to the 101) ms", report.setup_ms),
        ("refusal ms", report.refusal_ms),
        ("response ms", report.response_ms),
        ("barge-in, at the ear ms", report.barge_in_ms),
        ("barge-in, handed over ms", report.barge_in_handed_over_ms),
        ("barge-in, clear ms", report.barge_in_clear_ms),
        ("clear to silence ms", report.clear_to_silence_ms),
        ("barge-in, residual ms", report.barge_in_residual_ms),
        ("own lateness ms", report.own_lateness_ms),
    ]
}

/// Where a run stands.
pub fn progress_line(progress: &Progress, elapsed_s: u64) -> String {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "{elapsed_s:>4} s  {} calls begun, {} up, {} ended, {} failed, {} refused; {} frames sent, {} received",
        of(&progress.begun),
        of(&progress.up),
        of(&progress.ended),
        of(&progress.failed),
        of(&progress.refused),
        of(&progress.frames_sent),
        of(&progress.frames_received)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_was_measured_and_the_reasons() {
        let mut report = Report { calls_failed: 1, ..Report::default() };
        report.figures.calls_good = 2;
        report.failures.insert("lost frames".to_owned(), 1);
        report.figures.ear_latency_ms = Spread { count: 9, p50: 1.5, ..Spread::default() };
        let text = table(&report);
        assert!(text.contains("round trip, at the ear ms") && text.contains("1.500"), "{text}");
        assert!(text.contains("1: lost frames") && text.contains("some calls failed"), "{text}");
        assert!(!text.contains("barge-in") && !text.contains("audiosocket"), "{text}");
        let leg = |name: &str| LegReport { leg: name.to_owned(), ..LegReport::default() };
        report.legs = vec![leg("audiosocket"), leg("chan_websocket")];
        let text = table(&report);
        assert!(text.contains("audiosocket") && text.contains("clear-silence p99"), "{text}");
        report.void = true;
        assert!(table(&report).contains("VOID"));
    }
}
