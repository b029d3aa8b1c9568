//! Every metric of the relay with its name: counters, and the histograms beside them.
//!
//! Runs in: anywhere; one [`Counters`] for a relay, shared as `Arc` or static. Owns the names. Never locks, allocates or
//! formats when counting: one relaxed addition. A thread that counts frames adds once for a pass, not once for a frame,
//! so that threads do not fight over a cache line. Invariant: a name with its labels occurs once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::histogram::{
    ANSWER_BOUNDS_US, Histogram, HistogramSnapshot, LATENCY_BOUNDS_US, LATENESS_BOUNDS_US, RESIDUAL_BOUNDS_US,
};
use super::refusal::RefusalReason;
use crate::base::{Problem, words};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `amount` at once.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that is what it was last set to.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// It is this now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

words! {
    /// What a name measures, by the word of Prometheus' format.
    pub enum MetricKind {
        /// A number that only grows; its name ends in `_total`, save where Prometheus' own names do not.
        Counter = "counter",
        /// A number that goes up and down.
        Gauge = "gauge",
        /// Buckets, a sum and a count.
        Histogram = "histogram",
    }
}

/// One value at one moment, in Prometheus' terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Metric name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Name and value of the label, if the metric has one.
    pub label: Option<(&'static str, &'static str)>,
    /// The value.
    pub value: u64,
}

impl Sample {
    /// `name` or `name{label="value"}`.
    pub fn full_name(&self) -> String {
        match self.label {
            Some((label, value)) => format!("{}{{{label}=\"{value}\"}}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// The histograms of one name, for each value of its label.
pub(crate) struct LabelledSnapshots {
    pub name: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub of: Vec<(Arc<str>, HistogramSnapshot)>,
}

/// Writes the structure and the list of names from one table, so that no counter is forgotten in the list.
macro_rules! counters {
    (
        histograms { $($histogram:ident: $histogram_name:literal in $bounds:ident, $about:literal;)* }
        by_label { $($by:ident: $by_name:literal {$by_label:ident} in $by_bounds:ident, $by_help:literal;)* }
        $($field:ident: $name:literal $({$label:ident = $value:literal})?, $help:literal;)*
    ) => {
        /// All counters and histograms of one relay.
        #[derive(Debug)]
        pub struct Counters {
            $(
                #[doc = concat!("`", $name, $("{", stringify!($label), "=\"", $value, "\"}",)? "`: ", $help)]
                pub $field: Counter,
            )*
            #[doc = "`tandem_headroom_calls`: more calls that are carried."]
            pub headroom: Gauge,
            refusals: [Counter; RefusalReason::ALL.len()],
            problems: [Counter; Problem::ALL.len()],
            ended: LabelledCounters,
            $(
                #[doc = concat!("`", $histogram_name, "`: ", $about)]
                pub $histogram: Histogram,
            )*
            $(
                #[doc = concat!("`", $by_name, "{", stringify!($by_label), "=…}`: ", $by_help)]
                pub $by: super::histogram::LabelledHistograms,
            )*
        }

        impl Counters {
            /// Everything at 0.
            pub const fn new() -> Self {
                Self {
                    $($field: Counter::new(),)*
                    headroom: Gauge::new(),
                    refusals: [const { Counter::new() }; RefusalReason::ALL.len()],
                    problems: [const { Counter::new() }; Problem::ALL.len()],
                    ended: LabelledCounters::new(),
                    $($histogram: Histogram::new($bounds),)*
                    $($by: super::histogram::LabelledHistograms::new($by_bounds),)*
                }
            }

            /// Every histogram with its name and what it measures.
            pub fn histograms(&self) -> Vec<(&'static str, &'static str, HistogramSnapshot)> {
                vec![$(($histogram_name, $about, self.$histogram.snapshot()),)*]
            }

            /// Every histogram that has a label: its name, the label's, what it is, and the counts of each value.
            pub(crate) fn labelled_histograms(&self) -> Vec<LabelledSnapshots> {
                vec![$(LabelledSnapshots {
                    name: $by_name,
                    label: stringify!($by_label),
                    help: $by_help,
                    of: self.$by.snapshots(),
                },)*]
            }

            fn table(&self) -> Vec<Sample> {
                vec![$(Sample {
                    name: $name,
                    help: $help,
                    kind: MetricKind::Counter,
                    label: [$((stringify!($label), $value))?].first().copied(),
                    value: self.$field.get(),
                },)*]
            }
        }
    };
}

counters! {
    histograms {
        barge_in_residual: "tandem_barge_in_residual_seconds" in RESIDUAL_BOUNDS_US, "Audio of the interrupted turn that the switch already had at a barge-in; the most of a call, counted at its end.";
        first_audio: "tandem_first_audio_seconds" in LATENCY_BOUNDS_US, "From the start of a call to the model's first audio.";
        link_setup: "tandem_link_setup_seconds" in LATENCY_BOUNDS_US, "From the start of a call until the model was first ready; counted at the call's end.";
        session_gap: "tandem_session_gap_seconds" in LATENCY_BOUNDS_US, "From the loss of a live link to the next one's setupComplete.";
        answer_latency: "tandem_answer_latency_seconds" in ANSWER_BOUNDS_US, "From the caller's last word to the first that they hear of the answer.";
        playout_lateness: "tandem_playout_lateness_seconds" in LATENESS_BOUNDS_US, "How late frames leave that had only their time to wait for: the relay's jitter.";
    }
    by_label {
        credential_setup: "tandem_credential_setup_seconds" {credential} in LATENCY_BOUNDS_US, "From the order to connect a link until the model was ready on it, by the credential that it was made with.";
    }

    records_written: "tandem_records_written_total", "Records of calls written to the database.";
    records_spooled: "tandem_records_spooled_total", "Records of calls that were put on disk to wait for the database.";
    records_failed: "tandem_records_failed_total", "Records of calls that were lost or that the database does not take.";
    live_rows_written: "tandem_live_call_rows_total" {result = "written"}, "Rows of living calls, by whether the database took them.";
    live_rows_put_off: "tandem_live_call_rows_total" {result = "put_off"}, "Rows of living calls, by whether the database took them.";
    dead_relay_calls: "tandem_dead_relay_calls_total", "Calls of relays that died, of which this one made the records.";

    connections: "tandem_connections_total", "TCP connections accepted from switches.";
    calls: "tandem_calls_total", "Calls admitted.";
    refusals_unrecorded: "tandem_refusals_unrecorded_total", "Refused calls that left no record because many were refused.";
    outbound_connected: "tandem_outbound_calls_total" {result = "connected"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_busy: "tandem_outbound_calls_total" {result = "busy"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_no_answer: "tandem_outbound_calls_total" {result = "no_answer"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_rejected: "tandem_outbound_calls_total" {result = "rejected"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_not_connected: "tandem_outbound_calls_total" {result = "not_connected"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_no_leg: "tandem_outbound_calls_total" {result = "no_leg"}, "Outbound calls that the switch began with, by what became of them.";
    outbound_not_known: "tandem_outbound_calls_total" {result = "not_known"}, "Outbound calls that the switch began with, by what became of them.";
    announcements_displaced: "tandem_announcements_displaced_total", "Announced calls that had to make room for newer ones before their legs came.";

    admin_tokens_wrong: "tandem_admin_tokens_refused_total" {why = "wrong"}, "Tokens that the admin server did not take, by why.";
    admin_tokens_unread: "tandem_admin_tokens_refused_total" {why = "too_many"}, "Tokens that the admin server did not take, by why.";

    leg_protocol_errors: "tandem_leg_faults_total" {fault = "protocol"}, "Faults of switches, by kind.";
    leg_messages_too_big: "tandem_leg_faults_total" {fault = "message_too_big"}, "Faults of switches, by kind.";
    leg_text_floods: "tandem_leg_faults_total" {fault = "text_flood"}, "Faults of switches, by kind.";
    leg_audio_floods: "tandem_leg_faults_total" {fault = "audio_flood"}, "Faults of switches, by kind.";
    leg_unplayed: "tandem_leg_faults_total" {fault = "unplayed"}, "Faults of switches, by kind.";
    leg_unheard: "tandem_leg_faults_total" {fault = "unheard"}, "Faults of switches, by kind.";
    leg_timeouts: "tandem_leg_faults_total" {fault = "timeout"}, "Faults of switches, by kind.";
    leg_unreachable: "tandem_leg_faults_total" {fault = "unreachable"}, "Faults of switches, by kind.";

    legs_sent_away: "tandem_legs_sent_away_total", "Legs closed at a drain so that they connect to another relay.";
    legs_held: "tandem_legs_held_total", "Legs closed with a goodbye whose calls were held for half a second in case that they came back.";
    legs_lost: "tandem_legs_lost_total", "Legs lost without a goodbye whose calls waited for them.";
    leg_reattachments: "tandem_leg_reattachments_total", "Legs that came back and took their call over again.";

    links_opened: "tandem_links_opened_total", "Connections to Gemini that were upgraded to WebSocket.";
    link_dial_failures: "tandem_link_dial_failures_total", "Connections to Gemini that failed before the upgrade.";
    link_protocol_errors: "tandem_link_faults_total" {fault = "protocol"}, "Faults of Gemini, by kind.";
    link_garbage: "tandem_link_faults_total" {fault = "garbage"}, "Faults of Gemini, by kind.";
    link_messages_too_big: "tandem_link_faults_total" {fault = "message_too_big"}, "Faults of Gemini, by kind.";

    credentials_left: "tandem_credential_changes_total" {change = "left"}, "Changes of credentials' states.";
    credentials_taken_back: "tandem_credential_changes_total" {change = "taken_back"}, "Changes of credentials' states.";
    credential_tokens_lost: "tandem_credential_changes_total" {change = "no_token"}, "Changes of credentials' states.";
    credential_moves: "tandem_credential_moves_total", "Calls that went on with another credential than before.";
    links_without_credential: "tandem_credential_misses_total", "Links that no credential could take.";
    token_fetches: "tandem_token_fetches_total" {result = "fetched"}, "Attempts to fetch a bearer token, by result.";
    token_failures: "tandem_token_fetches_total" {result = "failed"}, "Attempts to fetch a bearer token, by result.";
    warm_links_used: "tandem_warm_links_total" {end = "used"}, "Links connected ahead of their calls, by what became of them.";
    warm_links_expired: "tandem_warm_links_total" {end = "expired"}, "Links connected ahead of their calls, by what became of them.";
    warm_links_closed: "tandem_warm_links_total" {end = "closed"}, "Links connected ahead of their calls, by what became of them.";

    tools_called: "tandem_tools_called_total", "Calls of tools by the model.";
    tools_repeated: "tandem_tools_repeated_total", "Calls of tools that repeated one before and were answered with its result.";
    input_tokens: "tandem_tokens_total" {side = "input"}, "Tokens that are billed, by side: what the model hears and reads (input), what it says, writes and thinks (output).";
    output_tokens: "tandem_tokens_total" {side = "output"}, "Tokens that are billed, by side: what the model hears and reads (input), what it says, writes and thinks (output).";
    recordings_begun: "tandem_recordings_total", "Recordings begun.";
    recordings_failed: "tandem_recording_failures_total", "Recordings that could not be written, or not to their end.";
    recording_bytes: "tandem_recording_bytes_total", "Bytes of recordings that ended.";
    recording_frames_lost: "tandem_recording_losses_total", "Frames of 20 ms and one side that are silent in recordings and for listeners because they were lost on the way.";
    recordings_removed: "tandem_recordings_removed_total", "Recordings removed because they were too old or too many.";

    tools_failed: "tandem_tools_unanswered_total" {why = "failed"}, "Calls of tools without a result, by why.";
    tools_timed_out: "tandem_tools_unanswered_total" {why = "timeout"}, "Calls of tools without a result, by why.";
    tools_cancelled: "tandem_tools_unanswered_total" {why = "cancelled"}, "Calls of tools without a result, by why.";
    tools_refused: "tandem_tools_unanswered_total" {why = "too_often"}, "Calls of tools without a result, by why.";
    session_resumptions: "tandem_session_links_total" {kind = "resumed"}, "Links after a call's first, by what became of the conversation.";
    session_fresh: "tandem_session_links_total" {kind = "fresh"}, "Links after a call's first, by what became of the conversation.";
    session_failed_attempts: "tandem_session_failed_attempts_total", "Links of calls that did not come about.";
    session_go_aways: "tandem_session_go_aways_total", "Ends of links that the model announced.";
    sessions_given_up: "tandem_sessions_given_up_total", "Calls without any use in another link.";
    watchdog_commits: "tandem_watchdog_steps_total" {step = "commit"}, "Steps taken because the model did not answer (docs/turn-taking.md).";
    watchdog_nudges: "tandem_watchdog_steps_total" {step = "nudge"}, "Steps taken because the model did not answer (docs/turn-taking.md).";
    watchdog_resumptions: "tandem_watchdog_steps_total" {step = "resume"}, "Steps taken because the model did not answer (docs/turn-taking.md).";
    watchdog_sessions: "tandem_watchdog_steps_total" {step = "fresh"}, "Steps taken because the model did not answer (docs/turn-taking.md).";
    watchdog_healed: "tandem_watchdog_healed_total", "Times that the model answered after such a step.";
    empty_turns: "tandem_model_empty_turns_total", "Turns of the model without a word, for no known reason.";
    local_barge_ins: "tandem_local_barge_ins_total", "Times that playout paused because the caller began to speak.";
    replayed_frames: "tandem_uplink_replayed_frames_total", "Caller's frames sent again on the next link.";
    silence_cut_frames: "tandem_uplink_silence_cut_frames_total", "Caller's frames of silence between talkspurts left out of a replay.";

    uplink_frames: "tandem_frames_total" {direction = "uplink"}, "Audio frames, by direction.";
    downlink_frames: "tandem_frames_total" {direction = "downlink"}, "Audio frames, by direction.";
    uplink_silence_frames: "tandem_uplink_silence_frames_total", "Frames of silence filled in for a switch that sent nothing.";
    uplink_dropped_frames: "tandem_uplink_dropped_frames_total", "Caller's frames dropped after two seconds of back-pressure.";
    uplink_stream_ends: "tandem_uplink_stream_ends_total", "audioStreamEnd messages sent.";
    model_turns: "tandem_model_turns_total", "Turns the model completed.";
    barge_ins: "tandem_barge_ins_total", "Turns the model declared interrupted.";
    flushed_frames: "tandem_playout_flushed_frames_total", "Frames of interrupted turns discarded before they were handed over.";
    switch_gaps: "tandem_switch_gaps_total", "Times that switches report silence where speech came too late for their player.";
    underruns: "tandem_playout_underruns_total", "Times playout ran dry in the middle of a turn.";
    slips: "tandem_playout_slips_total", "Times the pacer was later than the lead and began its grid anew.";
    starvations: "tandem_starvations_total", "Times that the relay was kept from its processor for a quarter of a second or more.";
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Counts a connection that did not become a call: `tandem_refusals_total{reason=…}`.
    pub fn refuse(&self, reason: RefusalReason) {
        self.refusals[reason as usize].increment();
    }

    /// Connections refused for this reason.
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refusals[reason as usize].get()
    }

    /// Counts a call that went wrong in this way: `tandem_call_problems_total{problem=…}`.
    pub fn find_problem(&self, problem: Problem) {
        self.problems[problem as usize].increment();
    }

    /// Counts the end of a call that [`Counters::calls`] counted: `tandem_calls_ended_total{outcome=…}`. Takes the label
    /// as text because outcomes are defined above this floor.
    pub fn end_call(&self, outcome: &'static str) {
        self.ended.increment(outcome);
    }

    /// Calls that ended with this outcome.
    pub fn ended(&self, outcome: &str) -> u64 {
        self.ended.samples().into_iter().find(|(label, _)| *label == outcome).map_or(0, |(_, count)| count)
    }

    /// Calls admitted and not ended.
    pub fn active_calls(&self) -> u64 {
        let ended: u64 = self.ended.samples().iter().map(|(_, count)| count).sum();
        self.calls.get().saturating_sub(ended)
    }

    /// Every counter, zero or not, samples of one name together. Taken one after another, not at one instant.
    pub fn snapshot(&self) -> Vec<Sample> {
        let mut samples = self.table();
        let gauge = |name, help, value| Sample { name, help, kind: MetricKind::Gauge, label: None, value };
        samples.push(gauge("tandem_active_calls", "Calls admitted and not ended.", self.active_calls()));
        let help =
            "More calls that the relay carries, by what the present ones cost it; 0 while it is overloaded.";
        samples.push(gauge("tandem_headroom_calls", help, self.headroom.get()));
        let counter =
            |name, help, label, value| Sample { name, help, kind: MetricKind::Counter, label, value };
        samples.extend(RefusalReason::ALL.into_iter().map(|reason| {
            let label = Some(("reason", reason.label()));
            counter("tandem_refusals_total", "Connections refused, by reason.", label, self.refused(reason))
        }));
        samples.extend(Problem::ALL.into_iter().map(|problem| {
            let (label, help) =
                (Some(("problem", problem.label())), "Calls that went wrong, by what was wrong.");
            counter("tandem_call_problems_total", help, label, self.problems[problem as usize].get())
        }));
        samples.extend(self.ended.samples().into_iter().map(|(outcome, count)| {
            counter("tandem_calls_ended_total", "Calls ended, by outcome.", Some(("outcome", outcome)), count)
        }));
        samples
    }

    /// All counters that are not 0 and all histograms that are not empty, as one line of JSON:
    /// `{"tandem_calls_total":3,"tandem_first_audio_seconds":{"count":3,"mean_ms":…,"p50_ms":…,"p99_ms":…}}`.
    pub fn to_json(&self) -> String {
        let ms =
            |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_secs_f64() * 1e3);
        let mut object = serde_json::Map::new();
        for sample in self.snapshot().into_iter().filter(|sample| sample.value > 0) {
            object.insert(sample.full_name(), sample.value.into());
        }
        for (name, _, histogram) in self.histograms().into_iter().filter(|(.., seen)| seen.count() > 0) {
            let summary = serde_json::json!({
                "count": histogram.count(),
                "mean_ms": ms(histogram.mean()),
                "p50_ms": ms(histogram.quantile(0.5)),
                "p99_ms": ms(histogram.quantile(0.99)),
            });
            object.insert(name.to_owned(), summary);
        }
        serde_json::Value::Object(object).to_string()
    }
}

/// One line for the log: what is not 0, without the `tandem_` that all names share.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |name: &str| name.strip_prefix("tandem_").unwrap_or(name).to_owned();
        write!(f, "active_calls={}", self.active_calls())?;
        let counted = self.snapshot().into_iter().filter(|s| s.kind == MetricKind::Counter && s.value > 0);
        for sample in counted {
            write!(f, " {}={}", short(&sample.full_name()), sample.value)?;
        }
        for (name, _, histogram) in self.histograms().into_iter().filter(|(.., seen)| seen.count() > 0) {
            write!(f, " {}({histogram})", short(name))?;
        }
        Ok(())
    }
}

/// Counters whose labels are not known here: each label takes the next free slot when it is first counted.
#[derive(Debug)]
struct LabelledCounters {
    slots: [(OnceLock<&'static str>, Counter); LABELS_MAX],
    /// What came when all slots were taken.
    others: Counter,
}

/// More than there are outcomes of a call.
const LABELS_MAX: usize = 48;

impl LabelledCounters {
    const fn new() -> Self {
        Self { slots: [const { (OnceLock::new(), Counter::new()) }; LABELS_MAX], others: Counter::new() }
    }

    fn increment(&self, label: &'static str) {
        for (owner, counter) in &self.slots {
            // Whoever comes first owns the slot; a thread that loses that race looks at the label it lost to.
            if *owner.get_or_init(|| label) == label {
                counter.increment();
                return;
            }
        }
        self.others.increment();
    }

    fn samples(&self) -> Vec<(&'static str, u64)> {
        let taken = self.slots.iter().map_while(|(owner, counter)| Some((*owner.get()?, counter.get())));
        let others = Some(("other", self.others.get())).filter(|(_, count)| *count > 0);
        taken.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn names_follow_the_convention_and_occur_once() {
        let samples = Counters::new().snapshot();
        let names: HashSet<String> = samples.iter().map(Sample::full_name).collect();
        assert_eq!(names.len(), samples.len());
        for sample in &samples {
            assert!(sample.name.starts_with("tandem_"), "{}", sample.name);
            assert!(
                sample.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{}",
                sample.name
            );
            assert_eq!(
                sample.name.ends_with("_total"),
                sample.kind == MetricKind::Counter,
                "{}",
                sample.name
            );
            assert!(sample.help.ends_with('.'), "{}", sample.name);
        }
    }

    #[test]
    fn samples_of_one_name_stand_together_with_one_help_text() {
        let counters = Counters::new();
        counters.end_call("caller_hangup");
        counters.end_call("model_closed");
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for sample in counters.snapshot() {
            if seen.last() != Some(&(sample.name, sample.help)) {
                assert!(seen.iter().all(|(name, _)| *name != sample.name), "{} is torn apart", sample.name);
                seen.push((sample.name, sample.help));
            }
        }
    }

    #[test]
    fn refusals_and_outcomes_are_counted_by_label() {
        let counters = Counters::new();
        counters.calls.add(5);
        counters.refuse(RefusalReason::Token);
        counters.refuse(RefusalReason::Token);
        counters.end_call("caller_hangup");
        counters.end_call("model_closed");
        counters.end_call("caller_hangup");
        assert_eq!(
            (counters.refused(RefusalReason::Token), counters.refused(RefusalReason::Draining)),
            (2, 0)
        );
        assert_eq!(
            (counters.ended("caller_hangup"), counters.ended("model_closed"), counters.ended("x")),
            (2, 1, 0)
        );
        assert_eq!(counters.active_calls(), 2);
    }

    #[test]
    fn more_outcomes_than_slots_are_counted_together() {
        const LABELS: [&str; 4] = ["a", "b", "c", "d"];
        let counters = LabelledCounters::new();
        let many: Vec<&'static str> =
            (0..LABELS_MAX).map(|n| &*Box::leak(n.to_string().into_boxed_str())).collect();
        many.iter().chain(&LABELS).for_each(|label| counters.increment(label));
        assert_eq!(counters.samples().last(), Some(&("other", 4)));
        assert_eq!(counters.samples().iter().map(|(_, count)| count).sum::<u64>(), LABELS_MAX as u64 + 4);
    }

    #[test]
    fn outcomes_first_seen_by_many_threads_at_once_lose_no_count() {
        let counters = Counters::new();
        let labels = ["caller", "model", "us", "network"];
        std::thread::scope(|scope| {
            for first in 0..4 {
                let counters = &counters;
                scope.spawn(move || (0..4_000).for_each(|n| counters.end_call(labels[(first + n) % 4])));
            }
        });
        for label in labels {
            assert_eq!(counters.ended(label), 4_000);
        }
    }

    #[test]
    fn the_line_and_the_json_leave_out_what_is_zero() {
        let counters = Counters::new();
        assert_eq!(counters.to_string(), "active_calls=0");
        assert_eq!(counters.to_json(), "{}");
        counters.calls.increment();
        counters.refuse(RefusalReason::AddressNotAllowed);
        counters.leg_timeouts.increment();
        counters.barge_in_residual.observe(Duration::from_millis(40));
        assert_eq!(
            counters.to_string(),
            "active_calls=1 calls_total=1 leg_faults_total{fault=\"timeout\"}=1 \
             refusals_total{reason=\"address\"}=1 \
             barge_in_residual_seconds(n=1 mean=40.0ms p50=40.0ms p99=40.0ms)"
        );
        let json: serde_json::Value = serde_json::from_str(&counters.to_json()).unwrap();
        assert_eq!(json["tandem_refusals_total{reason=\"address\"}"], 1);
        assert_eq!(json["tandem_barge_in_residual_seconds"]["p99_ms"], 40.0);
        assert!(json.get("tandem_barge_ins_total").is_none());
    }
}
