//! The table that a run prints, and the progress line while it lasts.
//!
//! Runs in: callgen's main thread; pure. Owns nothing. Never shows a figure that was not measured in this mode.
//! Invariant: every figure has its unit beside it and is also in the JSON report.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::report::{LATENESS_MS_MAX, Report, Spread};
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
        format!("{}, {} Hz, {}, {} playback", report.mode, report.rate_hz, report.mix, report.playback),
    );
    line(
        "calls",
        format!(
            "{} good, {} failed, at most {} at once, {:.1} s",
            report.calls_good,
            report.calls_failed,
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
        line("underruns at the ear", format!("{}, {} ms in all", report.underruns, report.underrun_ms));
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
    for (why, count) in &report.failures {
        line("FAILED", format!("{count}: {why}"));
    }
    let verdict = match report.exit_status() {
        3 => format!(
            "VOID: the generator itself was later than {LATENESS_MS_MAX} ms at p99; this says nothing"
        ),
        0 => "good".to_owned(),
        _ => "some calls failed".to_owned(),
    };
    line("verdict", verdict);
    text
}

/// The distributions of a report with the names they are shown under.
pub fn spreads(report: &Report) -> [(&'static str, Spread); 10] {
    [
        ("round trip ms", report.latency_ms),
        ("offset in message ms", report.offset_ms),
        ("jitter ms", report.jitter_ms),
        ("set-up (to the 101) ms", report.setup_ms),
        ("response ms", report.response_ms),
        ("barge-in, at the ear ms", report.barge_in_ms),
        ("barge-in, handed over ms", report.barge_in_handed_over_ms),
        ("barge-in, clear ms", report.barge_in_clear_ms),
        ("barge-in, residual ms", report.barge_in_residual_ms),
        ("own lateness ms", report.own_lateness_ms),
    ]
}

/// Where a run stands.
pub fn progress_line(progress: &Progress, calls: u32, elapsed_s: u64) -> String {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    format!(
        "{elapsed_s:>4} s  {} of {calls} calls begun, {} up, {} ended, {} failed; {} frames sent, {} received",
        of(&progress.begun),
        of(&progress.up),
        of(&progress.ended),
        of(&progress.failed),
        of(&progress.frames_sent),
        of(&progress.frames_received)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_was_measured_and_the_reasons() {
        let mut report = Report { calls: 3, calls_good: 2, calls_failed: 1, ..Report::default() };
        report.failures.insert("lost frames".to_owned(), 1);
        report.latency_ms = Spread { count: 9, p50: 1.5, ..Spread::default() };
        let text = table(&report);
        assert!(text.contains("round trip ms") && text.contains("1.500"), "{text}");
        assert!(text.contains("1: lost frames") && text.contains("some calls failed"), "{text}");
        assert!(!text.contains("barge-in"), "{text}");
        report.void = true;
        assert!(table(&report).contains("VOID"));
    }
}
