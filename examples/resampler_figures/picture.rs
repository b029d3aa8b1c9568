//! Draws frequency responses as SVG.
//!
//! Runs in: the figures example. Owns nothing. Never measures.
//! Invariant: the same figures give the same bytes, so that a change of the picture is a change of the sound.

use std::fmt::Write;

use tandem::base::SampleRate;

use super::figures::{PASS_EDGE, STOP_EDGE};

/// One conversion, with the response of each resampler: name, then frequency in Hz and gain in dB.
pub(crate) struct Panel {
    pub from: SampleRate,
    pub to: SampleRate,
    pub curves: Vec<(&'static str, Vec<(u32, f64)>)>,
}

const PANEL_WIDTH: f64 = 440.0;
const PANEL_HEIGHT: f64 = 250.0;
const MARGIN_LEFT: f64 = 52.0;
const MARGIN_TOP: f64 = 64.0;
const GAP: f64 = 62.0;
const TOP_DB: f64 = 5.0;
const BOTTOM_DB: f64 = -110.0;

/// First the line that is ours, then the others; told apart by dashes too.
const STYLES: [&str; 4] = [
    r##"stroke="#0b5fa5" stroke-width="1.8""##,
    r##"stroke="#c2410c" stroke-width="1" stroke-dasharray="5 2""##,
    r##"stroke="#15803d" stroke-width="1" stroke-dasharray="2 2""##,
    r##"stroke="#6b7280" stroke-width="1""##,
];

/// Two panels a row, one legend.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let width = MARGIN_LEFT + 2.0 * PANEL_WIDTH + GAP + 20.0;
    let height = MARGIN_TOP + panels.len().div_ceil(2) as f64 * (PANEL_HEIGHT + GAP);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#111">
<title>Frequency responses of the resampler and of rubato</title>
<rect width="{width}" height="{height}" fill="#fff"/>
"##
    );
    let names = panels.iter().flat_map(|panel| panel.curves.iter().map(|(name, _)| *name)).take(STYLES.len());
    for (place, (name, style)) in names.zip(STYLES).enumerate() {
        let x = MARGIN_LEFT + place as f64 * 215.0;
        line(&mut svg, (x, 20.0), (x + 30.0, 20.0), style);
        text(&mut svg, (x + 36.0, 24.0), "start", name);
    }
    for (place, panel) in panels.iter().enumerate() {
        let left = MARGIN_LEFT + (place % 2) as f64 * (PANEL_WIDTH + GAP);
        let top = MARGIN_TOP + (place / 2) as f64 * (PANEL_HEIGHT + GAP);
        draw_panel(&mut svg, panel, left, top);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel, left: f64, top: f64) {
    let limit_hz = panel.curves.iter().flat_map(|(_, curve)| curve).map(|&(hz, _)| hz).max().unwrap_or(1);
    let limit_hz = f64::from(limit_hz.next_multiple_of(1000));
    let x = |hz: f64| left + hz / limit_hz * PANEL_WIDTH;
    let y = |db: f64| top + (TOP_DB - db.clamp(BOTTOM_DB, TOP_DB)) / (TOP_DB - BOTTOM_DB) * PANEL_HEIGHT;

    let slower_hz = f64::from(panel.from.hz().min(panel.to.hz()));
    let (pass_hz, stop_hz) = (slower_hz * PASS_EDGE, slower_hz * STOP_EDGE);
    let heading = format!("{} to {} kHz", panel.from.hz() / 1000, panel.to.hz() / 1000);
    text(svg, (left, top - 8.0), "start", &heading);

    // Where a response must not be: above -70 dB in the stop band, below -0.5 dB in the pass band.
    for (from_hz, to_hz, from_db, to_db) in
        [(stop_hz, limit_hz, TOP_DB, -70.0), (0.0, pass_hz, -0.5, BOTTOM_DB)]
    {
        let (width, height) = (x(to_hz) - x(from_hz), y(to_db) - y(from_db));
        let (x, y) = (x(from_hz), y(from_db));
        let _ = writeln!(
            svg,
            r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="#f3e8e8"/>"##
        );
    }
    let grid = r##"stroke="#d4d4d4" stroke-width="0.6""##;
    for db in (-100..=0).step_by(20).map(f64::from) {
        line(svg, (left, y(db)), (left + PANEL_WIDTH, y(db)), grid);
        text(svg, (left - 6.0, y(db) + 4.0), "end", &format!("{db} dB"));
    }
    let tick_khz = if limit_hz > 12_000.0 { 4 } else { 2 };
    for khz in (0..=limit_hz as usize / 1000).step_by(tick_khz) {
        let at = x(khz as f64 * 1000.0);
        line(svg, (at, top), (at, top + PANEL_HEIGHT), grid);
        text(svg, (at, top + PANEL_HEIGHT + 16.0), "middle", &format!("{khz} kHz"));
    }
    // Ours last, on top of the others.
    for ((_, curve), style) in panel.curves.iter().zip(STYLES).rev() {
        let points: Vec<String> =
            curve.iter().map(|&(hz, db)| format!("{:.1},{:.1}", x(f64::from(hz)), y(db))).collect();
        let _ = writeln!(svg, r#"<polyline fill="none" {style} points="{}"/>"#, points.join(" "));
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#);
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let (x, y) = at;
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}
