//! The text format of Prometheus, version 0.0.4.
//!
//! Runs in: anywhere: pure. Owns nothing. Never decides what is measured.
//! Invariant: samples of a name stand together behind one HELP and one TYPE, and a label's value cannot end early.

use std::fmt::Write as _;

use super::counters::{Counters, LabelledSnapshots, MetricKind};
use super::histogram::HistogramSnapshot;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All samples of one name.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// The name.
    pub name: &'static str,
    /// What it measures, one sentence.
    pub help: &'static str,
    /// How.
    pub kind: MetricKind,
    /// The name of the label that tells the samples apart, if there is one.
    pub label: Option<&'static str>,
    lines: String,
}

impl Family {
    /// A name without samples yet.
    pub(crate) fn new(
        name: &'static str,
        help: &'static str,
        kind: MetricKind,
        label: Option<&'static str>,
    ) -> Self {
        Self { name, help, kind, label, lines: String::new() }
    }

    /// The same with one sample more, whose label has this value.
    pub(crate) fn with(mut self, label_value: &str, value: f64) -> Self {
        let label = self.label.map(|label| (label, label_value));
        self.line("", label, value);
        self
    }

    /// A gauge with one sample.
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::new(name, help, MetricKind::Gauge, None).with("", value)
    }

    /// A counter with one sample.
    pub(crate) fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::new(name, help, MetricKind::Counter, None).with("", value)
    }

    /// The same with one histogram more, whose label has this value.
    fn with_histogram(mut self, label_value: &str, observed: &HistogramSnapshot) -> Self {
        let label = self.label.map(|label| (label, label_value));
        let mut count = 0;
        for (bound, total) in observed.cumulative_seconds() {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            self.line("_bucket", label.into_iter().chain([("le", bound.as_str())]), total as f64);
            count = total;
        }
        self.line("_sum", label, observed.sum_us as f64 / 1e6);
        // That of the last bucket: one read a moment later could differ from it.
        self.line("_count", label, count as f64);
        self
    }

    fn line<'a>(&mut self, suffix: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) {
        // Writing to a string cannot fail.
        _ = write!(self.lines, "{}{suffix}", self.name);
        let mut open = "{";
        for (label, text) in labels {
            _ = write!(self.lines, "{open}{label}=\"{}\"", escaped(text));
            open = ",";
        }
        _ = writeln!(self.lines, "{} {value}", if open == "," { "}" } else { "" });
    }
}

/// A label's value as it stands between quotation marks.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Every counter and histogram.
pub(crate) fn families(counters: &Counters) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for sample in counters.snapshot() {
        let (label, text) = sample.label.unzip();
        let at = families.iter().position(|family| family.name == sample.name).unwrap_or_else(|| {
            families.push(Family::new(sample.name, sample.help, sample.kind, label));
            families.len() - 1
        });
        families[at].line("", label.zip(text), sample.value as f64);
    }
    for (name, help, observed) in counters.histograms() {
        families.push(Family::new(name, help, MetricKind::Histogram, None).with_histogram("", &observed));
    }
    for LabelledSnapshots { name, label, help, of } in counters.labelled_histograms() {
        let family = Family::new(name, help, MetricKind::Histogram, Some(label));
        families.push(of.iter().fold(family, |family, (value, seen)| family.with_histogram(value, seen)));
    }
    families
}

/// The text of them all.
pub(crate) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, help, kind, lines, .. } in families {
        _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}", kind.label());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::{LATENCY_BOUNDS_US, LabelledHistograms};
    use std::time::Duration;

    #[test]
    fn samples_of_a_name_stand_together_and_buckets_are_cumulative_seconds() {
        let counters = Counters::new();
        counters.end_call("hangup");
        counters.leg_timeouts.increment();
        counters.first_audio.observe(Duration::from_millis(1));
        counters.first_audio.observe(Duration::from_secs(60));
        let text = text(&families(&counters));
        assert_eq!(text.matches("# TYPE tandem_leg_faults_total counter\n").count(), 1);
        for line in [
            "tandem_leg_faults_total{fault=\"timeout\"} 1\n",
            "tandem_calls_ended_total{outcome=\"hangup\"} 1\n",
            "tandem_first_audio_seconds_bucket{le=\"0.001\"} 1\n",
            "tandem_first_audio_seconds_bucket{le=\"+Inf\"} 2\n",
            "tandem_first_audio_seconds_sum 60.001\ntandem_first_audio_seconds_count 2\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        for family in families(&counters) {
            assert!(
                family.help.ends_with('.') || family.help.ends_with(")."),
                "{}: {}",
                family.name,
                family.help
            );
            assert_eq!(
                family.kind == MetricKind::Counter,
                family.name.ends_with("_total"),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn a_histogram_with_a_label_has_it_before_its_bounds() {
        let histograms = LabelledHistograms::new(LATENCY_BOUNDS_US);
        histograms.observe(&"key".into(), Duration::from_millis(2));
        let family = Family::new("a", "b.", MetricKind::Histogram, Some("credential"));
        let family = histograms
            .snapshots()
            .iter()
            .fold(family, |family, (value, seen)| family.with_histogram(value, seen));
        for line in [
            "a_bucket{credential=\"key\",le=\"0.001\"} 0\n",
            "a_bucket{credential=\"key\",le=\"+Inf\"} 1\n",
            "a_sum{credential=\"key\"} 0.002\na_count{credential=\"key\"} 1\n",
        ] {
            assert!(family.lines.contains(line), "{line} in\n{}", family.lines);
        }
    }

    #[test]
    fn a_labels_value_cannot_end_early() {
        let family = Family::new("a", "b.", MetricKind::Gauge, Some("c")).with("x\"} 1\n\\", 2.0);
        assert_eq!(text(&[family]), "# HELP a b.\n# TYPE a gauge\na{c=\"x\\\"} 1\\n\\\\\"} 2\n");
    }
}
