//! The verdict on a call that has ended: good, or what was wrong with it.
//!
//! Runs in: anywhere: pure; the control thread judges each record once, the database thread those of earlier versions. Owns
//! the rules. Never looks at what was said. Invariant: a verdict follows from the record's numbers and the limits alone, so
//! that a record can be judged at any time.

use crate::base::{Problem, Words, words};
use crate::call::CallRecord;
use crate::call::model::LinkEndKind;
use crate::config::VerdictConfig;

/// Less of a caller's speech than this is a noise, which nobody has to answer.
const SPOKE_S: f64 = 1.0;

words! {
    /// How calls end, by what it means to somebody who runs the relay.
    pub enum Ending {
        /// As calls end: hung up, transferred, moved, or a limit that the configuration sets.
        Usual = "usual",
        /// An outbound call that reached nobody.
        NotReached = "not_reached",
        /// The relay took it not.
        Refused = "refused",
        /// The model or the way to it.
        Model = "model",
        /// The line, the relay itself, or a word that is not known here.
        Abnormal = "abnormal",
    }
}

impl Ending {
    /// What an outcome's word means.
    pub(crate) fn of(outcome: &str) -> Self {
        let known = Self::ALL.into_iter().find(|ending| ending.outcomes().any(|word| word == outcome));
        known.unwrap_or(Self::Abnormal)
    }

    /// The outcomes' words that mean it; none for the last, which has all others.
    pub(crate) fn outcomes(self) -> impl Iterator<Item = &'static str> {
        let (own, of_links): (&[&str], &[&str]) = match self {
            Self::Usual => (
                &[
                    "hangup",
                    "leg_closed",
                    "leg_closed_by_us",
                    "transferred",
                    "ordered_hangup",
                    "moved",
                    "sent_away",
                    "max_call",
                    "token_limit",
                    "caller_silent",
                ],
                &[],
            ),
            Self::NotReached => (&["busy", "no_answer", "rejected", "not_connected", "not_known"], &[]),
            Self::Refused => (&["refused"], &[]),
            Self::Model => (
                &["dial_timeout", "setup_timeout", "model_silent", "tool_limit", "speech_overflow"],
                LinkEndKind::WORDS,
            ),
            Self::Abnormal => (&[], &[]),
        };
        own.iter().chain(of_links).copied()
    }
}

/// Judges the record: sets its verdict and its problems.
pub(crate) fn judge(record: &mut CallRecord, limits: &VerdictConfig) {
    let found = problems(record, limits);
    record.verdict = Some(in_words(record, &found));
    record.problems = Some(found.into_iter().map(|problem| problem.label().to_owned()).collect());
}

/// What was wrong with the call, the worst first.
pub(crate) fn problems(record: &CallRecord, limits: &VerdictConfig) -> Vec<Problem> {
    let ending = Ending::of(&record.outcome);
    let longer = |ms: u64, limit: std::time::Duration| u128::from(ms) > limit.as_millis();
    let waited_in_vain = record.agent_talk_s == 0.0
        && record.caller_talk_s >= SPOKE_S
        && record.caller_silence_s > limits.slow_answer.as_secs_f64();
    // A route that says so is what the configuration wants.
    let by_route = ["route:", "refused by a route"].iter().any(|by| record.reason.starts_with(by));
    [
        (Problem::Refused, ending == Ending::Refused && !by_route),
        (Problem::Silence, record.outcome == "model_silent" || waited_in_vain),
        (Problem::ModelFault, ending == Ending::Model && record.outcome != "model_silent"),
        (Problem::AbnormalEnd, ending == Ending::Abnormal),
        (Problem::SlowAnswer, record.answer_ms_max.is_some_and(|ms| longer(ms, limits.slow_answer))),
        (Problem::Gaps, longer(gap_ms(record), limits.gap)),
        (Problem::Healed, record.watchdog_healed > 0),
        (Problem::Resumed, longer(record.gap_ms_max, limits.link_gap) || record.fresh_sessions > 0),
        (Problem::ToolFailed, record.tools_failed > 0),
        (Problem::Cost, limits.cost.zip(record.cost).is_some_and(|(limit, cost)| cost > limit)),
    ]
    .into_iter()
    .filter_map(|(problem, is)| is.then_some(problem))
    .collect()
}

/// Silence at the caller's ear within speech: as the relay and the switch saw it, of which the switch's has both.
fn gap_ms(record: &CallRecord) -> u64 {
    record.underrun_ms.max(record.switch_gap_ms)
}

/// The problems as a supervisor reads them: `slow answer (4.6 s), tool failed`.
fn in_words(record: &CallRecord, problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "good".to_owned();
    }
    let seconds = |ms: u64| format!(" ({:.1} s)", ms as f64 / 1000.0);
    let words = problems.iter().map(|problem| {
        let more = match problem {
            Problem::SlowAnswer => record.answer_ms_max.map(seconds).unwrap_or_default(),
            Problem::Gaps => seconds(gap_ms(record)),
            Problem::Resumed if record.gap_ms_max > 0 => seconds(record.gap_ms_max),
            _ => String::new(),
        };
        format!("{}{more}", problem.words())
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> CallRecord {
        CallRecord {
            outcome: "hangup".into(),
            caller_talk_s: 20.0,
            caller_silence_s: 30.0,
            agent_talk_s: 25.0,
            answer_ms_p50: Some(900),
            answer_ms_max: Some(3_000),
            underrun_ms: 200,
            gap_ms_max: 2_000,
            resumptions: 1,
            barge_ins: 2,
            tools_called: 3,
            cost: Some(0.5),
            ..CallRecord::default()
        }
    }

    #[test]
    fn each_rule_finds_its_problem_and_no_other_where_its_limit_is_passed() {
        let limits = VerdictConfig { cost: Some(0.5), ..VerdictConfig::default() };
        assert_eq!(problems(&good(), &limits), [], "at every limit, not above");
        type Change = fn(&mut CallRecord);
        let changes: [(Problem, Change); 15] = [
            (Problem::SlowAnswer, |call| call.answer_ms_max = Some(3_001)),
            (Problem::Silence, |call| call.agent_talk_s = 0.0),
            (Problem::Silence, |call| call.outcome = "model_silent".into()),
            (Problem::Gaps, |call| call.underrun_ms = 201),
            (Problem::Gaps, |call| call.switch_gap_ms = 201),
            (Problem::Healed, |call| call.watchdog_healed = 1),
            (Problem::Resumed, |call| call.gap_ms_max = 2_001),
            (Problem::Resumed, |call| call.fresh_sessions = 1),
            (Problem::ModelFault, |call| call.outcome = "quota".into()),
            (Problem::ModelFault, |call| call.outcome = "setup_timeout".into()),
            (Problem::AbnormalEnd, |call| call.outcome = "leg_dropped".into()),
            (Problem::AbnormalEnd, |call| call.outcome = "a word of a later version".into()),
            (Problem::ToolFailed, |call| call.tools_failed = 1),
            (Problem::Cost, |call| call.cost = Some(0.51)),
            (Problem::Refused, |call| {
                (call.outcome, call.reason) = ("refused".into(), "max_calls: too many".into());
            }),
        ];
        for (expected, change) in changes {
            let mut call = good();
            change(&mut call);
            assert_eq!(problems(&call, &limits), [expected], "{call:?}");
        }
        let seen: Vec<Problem> = changes.iter().map(|(problem, _)| *problem).collect();
        assert!(Problem::ALL.iter().all(|problem| seen.contains(problem)), "a rule for each word");
    }

    #[test]
    fn what_the_configuration_wants_and_what_nobody_had_to_answer_is_no_problem() {
        let limits = VerdictConfig::default();
        let ends = |outcome: &str, reason: &str| CallRecord {
            outcome: outcome.into(),
            reason: reason.into(),
            ..CallRecord::default()
        };
        for call in [
            ends("refused", "route: closed at night"),
            ends("refused", "refused by a route: closed at night"),
            ends("busy", "the line was busy"),
            ends("max_call", "the longest call"),
            CallRecord { caller_talk_s: 0.9, caller_silence_s: 60.0, ..ends("hangup", "") },
            CallRecord { caller_talk_s: 4.0, caller_silence_s: 1.0, ..ends("hangup", "") },
            CallRecord { cost: Some(100.0), ..ends("hangup", "") },
        ] {
            assert_eq!(problems(&call, &limits), [], "{call:?}");
        }
    }

    #[test]
    fn a_verdict_is_one_phrase_with_how_bad_it_was() {
        let limits = VerdictConfig::default();
        let mut call = good();
        judge(&mut call, &limits);
        assert_eq!((call.verdict.as_deref(), call.problems.as_deref()), (Some("good"), Some(&[][..])));
        (call.answer_ms_max, call.tools_failed, call.fresh_sessions) = (Some(4_640), 1, 1);
        judge(&mut call, &limits);
        assert_eq!(
            call.verdict.as_deref(),
            Some("slow answer (4.6 s), connection to the model lost (2.0 s), tool failed")
        );
        assert_eq!(call.problems.unwrap(), ["slow_answer", "resumed", "tool_failed"]);
    }

    #[test]
    fn every_end_of_a_link_is_the_models() {
        assert!(LinkEndKind::ALL.iter().all(|kind| Ending::of(kind.label()) == Ending::Model));
    }
}
