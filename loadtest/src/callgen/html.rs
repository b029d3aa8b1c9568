//! The HTML report: one file with inline SVG plots, nothing loaded from elsewhere, legible in light and dark.
//!
//! Runs in: callgen's main thread; pure. Owns nothing. Never contains a script.
//! Invariant: whatever is in the report, the page is well formed: every text is escaped.

use std::fmt::Write as _;

use super::plot::{Plot, Series};
use super::report::{LegReport, Report, Spread};
use super::table::{leg_columns, spreads};

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2024;--muted:#646b73;--line:#d8dce0;--a:#0969da;--b:#bc4c00;--bad:#cf222e;--good:#1a7f37;--card:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--muted:#9198a1;--line:#30363d;--a:#4493f8;--b:#f0883e;--bad:#f85149;--good:#3fb950;--card:#161b22}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1120px;padding:1.5rem 1rem 3rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:2.5rem 0 0}h1:first-child{margin-top:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.muted{color:var(--muted)}
.good{color:var(--good)}.bad{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6rem;margin:1rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem}
.card b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.card span{color:var(--muted);font-size:.85rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left;white-space:nowrap}th{color:var(--muted);font-weight:600}
details{border-bottom:1px solid var(--line);padding:.4rem 0}summary{cursor:pointer;font-weight:600}audio{width:100px;height:32px;vertical-align:middle}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--muted);font:12px system-ui,sans-serif}svg .grid{stroke:var(--line);stroke-width:1}
svg .mark{stroke:var(--muted);stroke-width:1;stroke-dasharray:4 3}
svg .a{stroke:var(--a)}svg .b{stroke:var(--b)}svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
svg .fill-a{fill:var(--a)}svg .fill-b{fill:var(--b)}
";

/// The page of one run.
pub fn page(report: &Report) -> String {
    let title = format!("callgen: {} calls, {}", report.calls, report.mode);
    pages(&title, std::slice::from_ref(report))
}

/// One page of several runs, one below the other.
pub fn pages(title: &str, reports: &[Report]) -> String {
    pages_below(title, "", reports)
}

/// One page of several runs below `head`, which is HTML; each run is folded up under its name.
pub(crate) fn folded(title: &str, head: &str, runs: &[(&str, &Report)]) -> String {
    let mut html = head.to_owned();
    for (name, report) in runs {
        let _ = writeln!(html, "<details><summary>{}</summary>", escaped(name));
        run(&mut html, report);
        html.push_str("</details>\n");
    }
    pages_below(title, &html, &[])
}

/// Several runs, one below the other, below `head`, which is HTML.
pub(crate) fn pages_below(title: &str, head: &str, reports: &[Report]) -> String {
    let mut html = String::with_capacity(64 * 1024);
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style></head><body>\n",
        escaped(title)
    );
    html.push_str(head);
    for report in reports {
        run(&mut html, report);
    }
    html.push_str("</body></html>\n");
    html
}

fn run(html: &mut String, report: &Report) {
    heading(html, report);
    cards(html, report);
    if report.latency_ms.count > 0 {
        html.push_str("<h2>Round trip</h2>\n<p class=\"muted\">From the sending of a frame to the arrival of the message that holds its first millisecond, ms.</p>\n");
        html.push_str(&latency_plot(report));
    }
    if report.jitter_ms.count > 0 {
        html.push_str("<h2>Jitter over time</h2>\n<p class=\"muted\">How far arrivals are from their distance on the 20 ms grid, ms. The first 100 ms of an answer, in which the relay hands over its lead, are left out.</p>\n");
        let series = &report.series;
        let plot = Plot::over_time(series.bin_ms, "ms");
        html.push_str(&plot.lines(&[
            Series { name: "largest", class: "b", values: &series.jitter_max_ms },
            Series { name: "mean", class: "a", values: &series.jitter_mean_ms },
        ]));
    }
    course(html, report);
    if report.legs.len() > 1 {
        legs(html, &report.legs);
    }
    distributions(html, report);
    worst_calls(html, report);
}

/// What happened in each second.
fn course(html: &mut String, report: &Report) {
    let series = &report.series;
    let mut lines = |title: &str, unit: &'static str, lines: &[Series<'_>]| {
        let _ = writeln!(html, "<h2>{title}</h2>");
        html.push_str(&Plot::over_time(series.bin_ms, unit).lines(lines));
    };
    let numbers = |values: &[u64]| -> Vec<f64> { values.iter().map(|value| *value as f64).collect() };
    if report.latency_ms.count > 0 {
        lines(
            "Round trip over time",
            "ms",
            &[
                Series { name: "p99", class: "b", values: &series.latency_p99_ms },
                Series { name: "p50", class: "a", values: &series.latency_p50_ms },
            ],
        );
    }
    if report.frames_sent > 0 {
        let values = &series.own_lateness_p99_ms;
        lines("The generator's own lateness over time", "ms", &[Series { name: "p99", class: "a", values }]);
        let (sent, received) = (numbers(&series.frames_sent), numbers(&series.frames_received));
        lines(
            "Frames",
            "frames",
            &[
                Series { name: "sent", class: "b", values: &sent },
                Series { name: "received", class: "a", values: &received },
            ],
        );
    }
    if report.underruns > 0 {
        let underruns = numbers(&series.underruns);
        lines("Underruns", "times", &[Series { name: "underruns", class: "b", values: &underruns }]);
    }
    let concurrency: Vec<f64> = series.concurrency.iter().map(|count| f64::from(*count)).collect();
    lines("Calls at once", "calls", &[Series { name: "calls up", class: "a", values: &concurrency }]);
    if report.calls_refused + report.calls_failed > 0 {
        let (refused, failed) = (numbers(&series.refused), numbers(&series.failed));
        lines(
            "Calls refused and failed",
            "calls",
            &[
                Series { name: "refused", class: "a", values: &refused },
                Series { name: "failed", class: "b", values: &failed },
            ],
        );
    }
    if !report.steps.is_empty() {
        html.push_str(
            "<h2>Steps</h2>\n<div class=\"scroll\"><table><tr><th>calls</th><th>p50 ms</th><th>p99 ms</th><th>underruns</th>\
             <th>failed</th><th>refused</th><th>own lateness p99 ms</th></tr>\n",
        );
        for step in &report.steps {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td></tr>",
                step.calls,
                step.latency_ms.p50,
                step.latency_ms.p99,
                step.underruns,
                step.calls_failed,
                step.calls_refused,
                step.own_lateness_ms.p99
            );
        }
        html.push_str("</table></div>\n");
    }
}

/// The legs beside each other.
fn legs(html: &mut String, legs: &[LegReport]) {
    html.push_str("<h2>Legs</h2>\n<div class=\"scroll\"><table><tr><th>leg (ms)</th><th>playback</th>");
    for (place, leg) in legs.iter().enumerate() {
        let columns = leg_columns(leg);
        if place == 0 {
            columns.iter().for_each(|(name, _)| html.push_str(&format!("<th>{name}</th>")));
            html.push_str("</tr>\n");
        }
        let _ = write!(html, "<tr><td>{}</td><td>{}</td>", escaped(&leg.leg), escaped(&leg.playback));
        columns.iter().for_each(|(_, value)| html.push_str(&format!("<td>{value}</td>")));
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
}

fn heading(html: &mut String, report: &Report) {
    let (class, verdict) = match report.exit_status() {
        0 => ("good", "All calls were good."),
        3 => ("bad", "Void: the generator itself was too late; these figures say nothing about the relay."),
        _ if report.calls_failed == 0 => ("bad", "Some calls were refused."),
        _ => ("bad", "Some calls failed."),
    };
    let _ = write!(
        html,
        "<h1>callgen: {} calls, {}</h1>\n<p class=\"{class}\"><strong>{verdict}</strong></p>\n\
         <p class=\"muted\">{} · {}, {} Hz, {}, {} playback · {} s of audio a call · run of {:.1} s · version {}</p>\n",
        report.calls,
        escaped(&report.mode),
        escaped(&report.url),
        escaped(&report.leg),
        report.rate_hz,
        escaped(&report.mix),
        escaped(&report.playback),
        report.seconds,
        report.wall_ms / 1000.0,
        escaped(&report.version)
    );
    for (why, count) in report.failures.iter().chain(&report.refusals) {
        let _ = writeln!(html, "<p class=\"bad\">{count} calls: {}</p>", escaped(why));
    }
}

fn cards(html: &mut String, report: &Report) {
    html.push_str("<div class=\"cards\">");
    let mut card = |value: String, name: &str| {
        let _ = write!(html, "<div class=\"card\"><b>{value}</b><span>{name}</span></div>");
    };
    card(format!("{} / {}", report.calls_good, report.calls), "calls good");
    if report.latency_ms.count > 0 {
        card(format!("{:.2} ms", report.ear_latency_ms.p50), "round trip at the ear p50");
        card(format!("{:.2} ms", report.ear_latency_ms.p99), "round trip at the ear p99");
        card(format!("{:.2} ms", report.latency_ms.p50), "round trip at the socket p50");
        card(format!("{:.2} ms", report.latency_ms.p99), "round trip at the socket p99");
    }
    if report.marked_frames_sent > 0 {
        let wrong =
            report.lost_frames + report.repeated_frames + report.reordered_frames + report.foreign_frames;
        card(wrong.to_string(), "frames lost, repeated, reordered or foreign");
    }
    if report.response_ms.count > 0 {
        card(format!("{:.0} ms", report.response_ms.p50), "response p50");
    }
    if report.barge_in_ms.count > 0 {
        card(format!("{:.0} ms", report.barge_in_ms.p99), "barge-in at the ear p99");
        card(format!("{:.0} ms", report.barge_in_residual_ms.max), "barge-in residual, most");
    }
    if report.frames_received > 0 {
        card(format!("{} ms", report.underrun_ms), "of underruns at the ear");
    }
    card(format!("{:.2} ms", report.own_lateness_ms.p99), "own lateness p99");
    html.push_str("</div>\n");
}

fn latency_plot(report: &Report) -> String {
    let bars = &report.latency_bars;
    let Spread { p50, p90, p99, p999, .. } = report.latency_ms;
    let marks = [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p999)];
    Plot::bars(&bars.edges_ms, &bars.counts, &marks)
}

fn distributions(html: &mut String, report: &Report) {
    html.push_str(
        "<h2>Distributions</h2>\n<div class=\"scroll\"><table><tr><th>ms</th><th>values</th><th>min</th><th>mean</th>\
         <th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    for (name, spread) in spreads(report) {
        if spread.count > 0 {
            let _ = write!(html, "<tr><td>{}</td><td>{}</td>", name.trim_end_matches(" ms"), spread.count);
            for value in
                [spread.min, spread.mean, spread.p50, spread.p90, spread.p99, spread.p999, spread.max]
            {
                let _ = write!(html, "<td>{value:.3}</td>");
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str("</table></div>\n");
    let _ = writeln!(
        html,
        "<p class=\"muted\">{} frames sent, {} received; {} marked, {} lost, {} repeated, {} reordered, {} of other \
         calls; {} underruns ({} ms), {} gaps ({} ms).</p>",
        report.frames_sent,
        report.frames_received,
        report.marked_frames_sent,
        report.lost_frames,
        report.repeated_frames,
        report.reordered_frames,
        report.foreign_frames,
        report.underruns,
        report.underrun_ms,
        report.gaps,
        report.gap_ms
    );
}

/// Failed calls first, then those with the longest round trips.
fn worst_calls(html: &mut String, report: &Report) {
    let mut calls: Vec<_> = report.per_call.iter().collect();
    calls.sort_by(|a, b| a.good.cmp(&b.good).then(b.latency_ms.p99.total_cmp(&a.latency_ms.p99)));
    calls.truncate(20);
    html.push_str(
        "<h2>Calls, the worst 20</h2>\n<div class=\"scroll\"><table><tr><th>call</th><th>set-up ms</th><th>frames sent</th>\
         <th>received</th><th>lost</th><th>p50 ms</th><th>p99 ms</th><th>underruns</th><th>answers</th><th></th></tr>\n",
    );
    for call in calls {
        let verdict = match &call.failure {
            Some(why) => format!("<span class=\"bad\">{}</span>", escaped(why)),
            None => "<span class=\"good\">good</span>".to_owned(),
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td>\
             <td>{}</td><td>{verdict}</td></tr>",
            call.call,
            call.setup_ms,
            call.frames_sent,
            call.frames_received,
            call.lost_frames,
            call.latency_ms.p50,
            call.latency_ms.p99,
            call.underruns,
            call.answers
        );
    }
    html.push_str("</table></div>\n");
}

/// Text for HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_loads_nothing_and_escapes_what_it_was_told() {
        let mut report = Report { url: "ws://h/<script>".to_owned(), ..Report::default() };
        report.figures.calls = 1;
        report.legs = vec![LegReport { leg: "<i>".to_owned(), ..LegReport::default() }; 2];
        report.failures.insert("<b>&".to_owned(), 1);
        report.figures.latency_ms.count = 1;
        report.figures.jitter_ms.count = 1;
        report.latency_bars.counts = vec![1, 5, 2];
        report.latency_bars.edges_ms = vec![0.1, 0.2, 0.4, 0.8];
        report.series.bin_ms = 250.0;
        report.series.concurrency = vec![0, 3, 2];
        let html = page(&report);
        assert!(html.contains("&lt;b&gt;&amp;") && html.contains("&lt;script&gt;"));
        for forbidden in ["<script", "src=", "href=", "@import", "url(", "NaN", "inf"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }
}
