//! Renewing the links of many calls at once: every call gets `goAway` in the middle of an answer that comes in real time,
//! with so much time left that the turn's end can be waited for, or with too little.
//!
//! Runs in: the `faults` binary: pure. Owns nothing.
//! Invariant: silence counts as added only between two frames of one answer.

use std::collections::BTreeMap;

use super::judge::{gaps_ms, leg_name, links, percentile, repeated};
use super::{Case, LEGS, Played, Row};
use crate::callgen::dialogue::Plan;
use crate::callgen::{DialogueReport, Utterance};

/// More silence than the time to connect, in an answer that was cut: so much is allowed.
const SILENCE_MS_MAX: f64 = 300.0;
/// So much earlier or later the switch's tick of 20 ms plays a frame, whatever the relay does.
const TICK_MS: f64 = 20.0;

/// One rotation of all calls.
#[derive(Debug, Default)]
pub struct Rotation {
    /// What and when.
    pub name: String,
    /// Calls offered, and those that survived.
    pub calls: (usize, usize),
    /// Connections that the calls had beyond their first.
    pub renewed: usize,
    /// Frames of the callers' speech that no connection got.
    pub speech_lost: usize,
    /// The longest silence that was added within the answers that met the rotation.
    pub silence_ms_max: f64,
    /// The same within the other answers: what the simulator's pace and the machine add by themselves.
    pub silence_ms_elsewhere: f64,
    /// The longest time from a connection's request to its `setupComplete`, at the simulator.
    pub connect_ms_max: f64,
    /// The longest time without a live link.
    pub gap_ms_max: f64,
    /// The silence that is allowed beyond one tick of the switch; the time to connect comes to it where answers are cut.
    allowed_ms: f64,
}

/// The rotation at a turn's boundary, and the one that is forced within it.
pub(super) fn both() -> [Case; 2] {
    [
        Case::special(BOUNDARY, "model speaks", &["go-away:8000@turn2.mid#new", CONNECTS, GOES_ON], 1.0),
        Case::special("rotation: goAway, 0.4 s left", "model speaks", &[FORCED, CONNECTS, GOES_ON], 1.0),
    ]
}

const BOUNDARY: &str = "rotation: goAway, 8 s left";
const FORCED: &str = "go-away:400@turn2.mid#new";
/// A real connection takes its time.
const CONNECTS: &str = "delay:150@resume";
/// What was not said of an answer is said on the next connection: there is something to be late.
const GOES_ON: &str = "carry-on@resume";

/// What its callers say: the answer to the second utterance lasts 2 s, half of which is still to come.
pub(super) fn plan() -> Plan {
    Plan { utterances: vec![40, 100, 40], quiet_ms: 1_500, patience_ms: 15_000 }
}

pub(super) fn judge(case: &Case, plan: &Plan, played: &Played) -> (Row, Rotation) {
    let links = links(played);
    // There are not marks enough for every caller, so calls are told apart by their conversations.
    let mut conversations: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (session, link) in links.iter().filter(|(_, link)| link.live.is_some()) {
        conversations.entry(link.resumes.unwrap_or(*session)).or_default().push(*session);
    }
    let mut gaps = Vec::new();
    let mut got = 0;
    for sessions in conversations.values() {
        let of_call: Vec<_> = sessions.iter().filter_map(|session| links.get(session)).collect();
        gaps.extend(gaps_ms(&of_call));
        let mut marks = std::collections::BTreeSet::new();
        of_call.iter().for_each(|link| marks.extend(link.marks.iter().copied()));
        got += marks.len();
    }
    let calls = &played.report.per_call;
    let dialogues = || calls.iter().filter_map(|call| call.dialogue.as_ref());
    let said: usize =
        dialogues().flat_map(|dialogue| &dialogue.utterances).map(|said| said.frames as usize).sum();
    let answered = |of: &DialogueReport| {
        of.utterances.iter().filter(|utterance| utterance.answered_ns.is_some()).count()
    };
    let survived = calls
        .iter()
        .filter(|call| {
            call.failure.is_none()
                && call.dialogue.as_ref().is_some_and(|dialogue| {
                    dialogue.utterances.len() == plan.utterances.len()
                        && dialogue.utterances.last().is_some_and(|last| last.answered_ns.is_some())
                })
        })
        .count();
    let connect_ms = |link: &super::judge::Link| {
        link.live?.checked_duration_since(link.upgraded?).map(|took| took.as_secs_f64() * 1e3)
    };
    let row = Row {
        fault: case.fault.to_owned(),
        moment: case.moment.to_owned(),
        leg: leg_name(LEGS[0]),
        offered: calls.len(),
        survived,
        speech_lost: said.saturating_sub(got),
        unanswered: calls.len() * plan.utterances.len() - dialogues().map(answered).sum::<usize>(),
        repeated: dialogues().map(repeated).sum(),
        gap_ms_p50: percentile(&mut gaps, 0.5),
        gap_ms_p99: percentile(&mut gaps, 0.99),
    };
    let rotation = Rotation {
        name: case.name(),
        calls: (calls.len(), survived),
        renewed: links.values().filter(|link| link.live.is_some() && link.resumes.is_some()).count(),
        speech_lost: row.speech_lost,
        silence_ms_max: dialogues().map(|of| silence_ms(of, |place| place == 1)).fold(0.0, f64::max),
        silence_ms_elsewhere: dialogues().map(|of| silence_ms(of, |place| place != 1)).fold(0.0, f64::max),
        connect_ms_max: links.values().filter_map(connect_ms).fold(0.0, f64::max),
        gap_ms_max: gaps.iter().copied().fold(0.0, f64::max),
        allowed_ms: if case.fault == BOUNDARY { 0.0 } else { SILENCE_MS_MAX },
    };
    (row, rotation)
}

/// The longest silence between two marks of one answer that come too late after each other, in the answers to those
/// utterances, counted from 0.
fn silence_ms(dialogue: &DialogueReport, wanted: impl Fn(usize) -> bool) -> f64 {
    let utterance = |mark: u16| {
        let mark = u64::from(mark);
        let holds = |of: &Utterance| (of.first_mark..of.first_mark + u64::from(of.frames)).contains(&mark);
        dialogue.utterances.iter().position(holds).filter(|place| wanted(*place))
    };
    let added = dialogue.heard.windows(2).filter_map(|pair| match pair {
        [first, second]
            if second.number > first.number
                && utterance(first.number).is_some_and(|first| utterance(second.number) == Some(first)) =>
        {
            let expected_ms = f64::from(second.number - first.number) * TICK_MS;
            Some(second.at_ns.saturating_sub(first.at_ns) as f64 / 1e6 - expected_ms)
        }
        _ => None,
    });
    added.fold(0.0, f64::max)
}

impl Rotation {
    /// Whether it kept what it promises.
    pub fn is_good(&self) -> bool {
        let connect_ms = if self.allowed_ms > 0.0 { self.connect_ms_max } else { 0.0 };
        self.calls.0 == self.calls.1
            && self.renewed >= self.calls.0
            && self.speech_lost == 0
            && self.silence_ms_max <= self.allowed_ms + connect_ms + self.silence_ms_elsewhere.max(TICK_MS)
    }

    /// In words.
    pub fn text(&self) -> String {
        format!(
            "{} {}: {} of {} calls survived, {} links renewed, {} frames of speech lost, the longest silence added to an \
             answer {:.0} ms (without a rotation {:.0} ms), the longest connect {:.0} ms, the longest time without a link {:.0} ms",
            if self.is_good() { " " } else { "✗" },
            self.name,
            self.calls.1,
            self.calls.0,
            self.renewed,
            self.speech_lost,
            self.silence_ms_max,
            self.silence_ms_elsewhere,
            self.connect_ms_max,
            self.gap_ms_max,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callgen::HeardMark;

    #[test]
    fn silence_is_what_lies_between_two_frames_of_an_answer_beyond_their_length() {
        let heard = |marks: &[(u16, u64)]| {
            let said = |first_mark| Utterance { first_mark, frames: 10, ..Utterance::default() };
            let heard = marks.iter().map(|(number, ms)| HeardMark { number: *number, at_ns: ms * 1_000_000 });
            DialogueReport { utterances: vec![said(0), said(10)], heard: heard.collect() }
        };
        let any = |_| true;
        assert_eq!(silence_ms(&heard(&[(1, 0), (2, 20), (3, 40)]), any), 0.0);
        assert_eq!(silence_ms(&heard(&[(1, 0), (2, 20), (4, 310)]), any), 250.0);
        assert_eq!(silence_ms(&heard(&[(1, 0), (2, 20), (4, 310)]), |place| place == 1), 0.0);
        assert_eq!(silence_ms(&heard(&[(9, 0), (10, 3_000)]), any), 0.0);
    }
}
