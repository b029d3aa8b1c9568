//! Plots as inline SVG: lines over time and bars with marks.
//!
//! Runs in: anywhere: pure. Owns nothing. Never sets a colour: classes do, so that light and dark both fit.
//! Invariant: finite input gives finite coordinates inside the view box.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 34.0;

/// One line of a plot.
pub(crate) struct Series<'a> {
    /// Shown in the legend.
    pub name: &'a str,
    /// `a` or `b`: which of the two colours.
    pub class: &'a str,
    /// One value per bin.
    pub values: &'a [f64],
}

/// A plot over time.
pub(crate) struct Plot {
    bin_s: f64,
    unit: &'static str,
}

impl Plot {
    /// A plot whose values are `bin_ms` apart, measured in `unit`.
    pub(crate) fn over_time(bin_ms: f64, unit: &'static str) -> Self {
        Self { bin_s: bin_ms / 1000.0, unit }
    }

    /// The lines, with axes and legend.
    pub(crate) fn lines(&self, series: &[Series<'_>]) -> String {
        let count = series.iter().map(|s| s.values.len()).max().unwrap_or(0);
        let span_s = self.bin_s * count.max(1) as f64;
        let xs: Vec<f64> = (0..count).map(|i| (i as f64 + 0.5) * self.bin_s).collect();
        through(Axis::Linear(0.0, span_s), ("s", self.unit), &xs, series)
    }

    /// Bars between `edges` (one more than `counts`, all above 0) on a logarithmic axis in ms, and vertical marks with
    /// names; counts of frames upwards.
    pub(crate) fn bars(edges: &[f64], counts: &[u64], marks: &[(&str, f64)]) -> String {
        let top = counts.iter().copied().max().unwrap_or(0) as f64;
        let from = edges.first().copied().unwrap_or(0.0).max(1e-3);
        let to = edges.last().copied().unwrap_or(0.0).max(from * 1.1);
        let mut svg = Frame::new(Axis::Logarithmic(from, to), top, "ms", "frames");
        for (edge, count) in edges.windows(2).zip(counts).filter(|(_, count)| **count > 0) {
            let [x0, x1] = [0, 1].map(|i| svg.x(edge.get(i).copied().unwrap_or(from)));
            let y = svg.y(*count as f64).min(HEIGHT - BOTTOM - 1.0);
            let _ = writeln!(
                svg.text,
                "<rect class=\"fill-a\" x=\"{x0:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (x1 - x0 - 1.0).max(1.0),
                HEIGHT - BOTTOM - y
            );
        }
        // Names that would overlap go to the next row.
        let (mut row, mut last_x) = (0, f64::MIN);
        for (name, value) in marks {
            let x = svg.x(*value);
            row = if x - last_x < 52.0 { (row + 1) % 3 } else { 0 };
            last_x = x;
            let (anchor, shift) = if x > WIDTH - 70.0 { ("end", -4.0) } else { ("start", 4.0) };
            let _ = writeln!(
                svg.text,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
                HEIGHT - BOTTOM,
                x + shift,
                TOP + 4.0 + 14.0 * f64::from(row)
            );
        }
        svg.finish()
    }
}

/// Lines through the values at `xs`, as a file of its own.
pub(crate) fn curves(x_unit: &str, xs: &[f64], y_unit: &str, series: &[Series<'_>]) -> String {
    let to = xs.iter().copied().fold(0.0, f64::max);
    let svg = through(Axis::Linear(0.0, to.max(1e-3)), (x_unit, y_unit), xs, series);
    svg.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1).replacen('>', STYLE, 1)
}

/// The style of a plot that stands by itself.
const STYLE: &str = "><style>text{fill:#646b73;font:12px system-ui,sans-serif}.grid{stroke:#d8dce0}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.a{stroke:#0969da}.b{stroke:#bc4c00}.fill-a{fill:#0969da}.fill-b{fill:#bc4c00}\
@media (prefers-color-scheme:dark){text{fill:#9198a1}.grid{stroke:#30363d}.a{stroke:#4493f8}.b{stroke:#f0883e}}</style>";

/// The lines, with axes and legend.
fn through(axis: Axis, (x_unit, y_unit): (&str, &str), xs: &[f64], series: &[Series<'_>]) -> String {
    let top = series.iter().flat_map(|s| s.values).fold(0.0, |a: f64, b| a.max(*b));
    let mut svg = Frame::new(axis, top, x_unit, y_unit);
    for line in series {
        let points: String = xs.iter().zip(line.values).fold(String::new(), |mut points, (x, value)| {
            let _ = write!(points, "{:.1},{:.1} ", svg.x(*x), svg.y(*value));
            points
        });
        let points = points.trim_end();
        let _ = writeln!(svg.text, "<polyline class=\"line {}\" points=\"{points}\"/>", line.class);
    }
    for (i, line) in series.iter().enumerate() {
        let x = LEFT + 8.0 + 110.0 * i as f64;
        let _ = writeln!(
            svg.text,
            "<rect class=\"fill-{}\" x=\"{x}\" y=\"8\" width=\"12\" height=\"12\" rx=\"2\"/>\
             <text x=\"{}\" y=\"18\">{}</text>",
            line.class,
            x + 18.0,
            line.name
        );
    }
    svg.finish()
}

/// The horizontal axis: from, to.
#[derive(Clone, Copy)]
enum Axis {
    Linear(f64, f64),
    Logarithmic(f64, f64),
}

impl Axis {
    /// Where labels stand.
    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(from, to) => {
                let (step, _) = steps((to - from).max(1e-3), 8.0);
                let first = (from / step).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|x| *x <= to * 1.0001).collect()
            }
            Self::Logarithmic(from, to) => {
                let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
                let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(decade)));
                all.filter(|x| (from..=to).contains(x)).collect()
            }
        }
    }

    /// 0 at the left end, 1 at the right.
    fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear(from, to) => (value - from) / (to - from).max(1e-9),
            Self::Logarithmic(from, to) => (value.max(from) / from).ln() / (to / from).ln().max(1e-9),
        }
    }
}

/// Axes, and the mapping from values to the view box.
struct Frame {
    axis: Axis,
    top: f64,
    text: String,
}

impl Frame {
    fn new(axis: Axis, top: f64, x_unit: &str, y_unit: &str) -> Self {
        let (y_step, top) = steps(top.max(1e-3), 4.0);
        let mut frame = Self { axis, top, text: String::new() };
        let _ = writeln!(frame.text, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        let mut y = 0.0;
        while y <= top * 1.0001 {
            let at = frame.y(y);
            let _ = writeln!(
                frame.text,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(y)
            );
            y += y_step;
        }
        for x in axis.ticks() {
            let at = frame.x(x);
            let _ = writeln!(
                frame.text,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM + 16.0,
                short(x)
            );
        }
        let _ = writeln!(
            frame.text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{x_unit}</text><text x=\"{}\" y=\"18\" text-anchor=\"end\">{y_unit}</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0,
            LEFT - 6.0
        );
        frame
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.axis.share(value).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// A round step that divides `span` into about `wanted` parts, and `span` rounded up to whole steps.
fn steps(span: f64, wanted: f64) -> (f64, f64) {
    let rough = span / wanted;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(power * 10.0);
    (step, (span / step).ceil() * step)
}

/// A number for an axis, without needless digits.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_cover_the_span() {
        for (span, step, top) in
            [(1.0, 0.5, 1.0), (7.0, 2.0, 8.0), (100.0, 50.0, 100.0), (0.013, 0.005, 0.015)]
        {
            let (got_step, got_top) = steps(span, 4.0);
            assert!(
                (got_step - step).abs() < 1e-9 && (got_top - top).abs() < 1e-9,
                "{span}: {got_step} {got_top}"
            );
        }
        assert_eq!((short(0.0), short(2.50), short(1000.0)), ("0".into(), "2.5".into(), "1000".into()));
    }

    #[test]
    fn empty_and_flat_plots_stay_finite() {
        let values = [0.0; 5];
        for values in [&values[..], &[]] {
            let svg = Plot::over_time(250.0, "ms").lines(&[Series { name: "n", class: "a", values }]);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let alone =
            curves("calls", &[0.0, 10.0], "ms", &[Series { name: "n", class: "a", values: &[1.0, 2.0] }]);
        assert!(alone.starts_with("<svg xmlns=") && alone.contains("role=\"img\"><style>"), "{alone}");
        let svg = Plot::bars(&[], &[], &[("p50", 3.0)]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
