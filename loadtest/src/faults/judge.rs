//! What became of every word: the callers' own notes beside what the simulator's sessions received.
//!
//! Runs in: the `faults` binary: pure. Owns nothing.
//! Invariant: a frame counts as received only where the connection that got its utterance's end got it too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tandem::base::SampleRate;

use super::cases::Evidence;
use super::{Case, Played, Row};
use crate::callgen::dialogue::Plan;
use crate::callgen::mark::MarkReader;
use crate::callgen::scan::Scanner;
use crate::callgen::{CallReport, DialogueReport, Leg, Playback};
use crate::sim::{SimEvent, What};

/// An answer of which so many frames were heard twice was repeated; less is a seam.
const REPEATED_FRAMES: usize = 10;
/// The end of an utterance: one of so many last frames.
const END_FRAMES: u32 = 5;

/// One call.
#[derive(Debug)]
pub struct CallVerdict {
    /// Its leg.
    pub leg: Leg,
    /// Why it did not end as planned.
    pub failure: Option<String>,
    /// The caller ended it, and was answered at last.
    pub survived: bool,
    /// Frames that the model did not get.
    pub speech_lost: usize,
    /// Utterances without an answer.
    pub unanswered: usize,
    /// Utterances answered twice.
    pub repeated: usize,
    /// Times without a live link.
    pub gaps_ms: Vec<f64>,
}

/// The calls of one relay.
#[derive(Debug)]
pub struct Verdict {
    /// Each of them.
    pub calls: Vec<CallVerdict>,
    /// The generator was late.
    pub void: bool,
}

/// One connection to the simulator, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// The connection whose conversation it resumed.
    pub(super) resumes: Option<u64>,
    pub(super) upgraded: Option<Instant>,
    pub(super) live: Option<Instant>,
    pub(super) ended: Option<Instant>,
    /// It made a tool call.
    pub(super) called: bool,
    /// The marks that it received.
    pub(super) marks: BTreeSet<u64>,
}

/// The simulator's connections by their numbers.
pub(super) fn links(played: &Played) -> BTreeMap<u64, Link> {
    let reader = Arc::new(MarkReader::new(SampleRate::Hz16000));
    let mut links: BTreeMap<u64, Link> = BTreeMap::new();
    for SimEvent { at, session, what } in &played.events {
        let link = links.entry(*session).or_default();
        match what {
            What::Upgraded { .. } => link.upgraded = Some(*at),
            What::Opened { resumes, .. } => link.resumes = *resumes,
            What::SetupComplete => link.live = Some(*at),
            What::Closed { .. } => link.ended = Some(*at),
            What::ToolCall { .. } => link.called = true,
            _ => {}
        }
    }
    for (session, audio) in &played.audio {
        let link = links.entry(*session).or_default();
        // Silence behind lets the last mark be read.
        let mut scanner = Scanner::new(Arc::clone(&reader));
        scanner.push(audio, |_, number| _ = link.marks.insert(u64::from(number)));
        scanner.push(&[0; 640], |_, number| _ = link.marks.insert(u64::from(number)));
    }
    links
}

/// Judges the calls of a matrix case, whose callers have marks of their own.
pub(super) fn judge(case: &Case, plan: &Plan, played: &Played) -> Verdict {
    let links = links(played);
    let call_of = |number: &u64| (number / plan.span()) as usize;
    // The call of a connection: whose marks it received; without any, that of the connection that it resumes.
    let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
    for (session, link) in &links {
        let owner = link.marks.iter().next().map(call_of);
        let inherited = link.resumes.and_then(|root| owners.get(&root).copied());
        owners.extend(owner.or(inherited).map(|owner| (*session, owner)));
    }
    let calls = &played.report.per_call;
    let of_call = |index: usize| -> Vec<&Link> {
        links
            .iter()
            .filter(|(session, _)| owners.get(session) == Some(&index))
            .map(|(_, link)| link)
            .collect()
    };
    let judged = calls.iter().map(|call| {
        let links = of_call(call.call);
        let mut verdict = judge_call(plan, call, &links);
        if !case.evidence.is_there(&links) {
            verdict.survived = false;
            verdict.failure.get_or_insert_with(|| "the fault did not happen".to_owned());
        }
        verdict
    });
    Verdict { calls: judged.collect(), void: played.report.void }
}

impl Evidence {
    fn is_there(self, links: &[&Link]) -> bool {
        let renewed = links.iter().filter(|link| link.live.is_some()).count() > 1;
        let called = links.iter().any(|link| link.called);
        match self {
            Self::None => true,
            Self::Renewed => renewed,
            Self::Called => called,
            Self::CalledAndRenewed => called && renewed,
        }
    }
}

fn judge_call(plan: &Plan, call: &CallReport, links: &[&Link]) -> CallVerdict {
    let silent = DialogueReport::default();
    let dialogue = call.dialogue.as_ref().unwrap_or(&silent);
    let answered = dialogue.utterances.iter().filter(|utterance| utterance.answered_ns.is_some()).count();
    let last_answered = dialogue.utterances.len() == plan.utterances.len()
        && dialogue.utterances.last().is_some_and(|utterance| utterance.answered_ns.is_some());
    CallVerdict {
        leg: leg_of(call),
        failure: call.failure.clone(),
        survived: call.failure.is_none() && last_answered,
        speech_lost: speech_lost(dialogue, links),
        unanswered: plan.utterances.len() - answered,
        repeated: repeated(dialogue),
        gaps_ms: gaps_ms(links),
    }
}

fn leg_of(call: &CallReport) -> Leg {
    let playback = Playback::parse(&call.playback).unwrap_or(Playback::Binary);
    super::LEGS
        .into_iter()
        .find(|leg| leg.name() == call.leg && leg.playback() == playback)
        .unwrap_or(super::LEGS[0])
}

/// Frames that the connection which got an utterance's end did not get.
pub(super) fn speech_lost(dialogue: &DialogueReport, links: &[&Link]) -> usize {
    let mut lost = 0;
    for utterance in &dialogue.utterances {
        let marks = utterance.first_mark..utterance.first_mark + u64::from(utterance.frames);
        let end = marks.end - u64::from(END_FRAMES.min(utterance.frames))..marks.end;
        let got_end = links.iter().rfind(|link| end.clone().any(|mark| link.marks.contains(&mark)));
        lost += match got_end {
            Some(link) => marks.filter(|mark| !link.marks.contains(mark)).count(),
            None => utterance.frames as usize,
        };
    }
    lost
}

/// Utterances of which more was heard twice than a seam.
pub(super) fn repeated(dialogue: &DialogueReport) -> usize {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for heard in &dialogue.heard {
        *times.entry(u64::from(heard.number)).or_default() += 1;
    }
    let is_repeated = |first: u64, frames: u32| {
        let twice =
            (first..first + u64::from(frames)).filter(|mark| times.get(mark).is_some_and(|n| *n > 1)).count();
        twice >= REPEATED_FRAMES.min(frames as usize)
    };
    dialogue.utterances.iter().filter(|utterance| is_repeated(utterance.first_mark, utterance.frames)).count()
}

/// From the end of each connection to the next that was live.
pub(super) fn gaps_ms(links: &[&Link]) -> Vec<f64> {
    let mut live: Vec<(Instant, Option<Instant>)> =
        links.iter().filter_map(|link| Some((link.live?, link.ended))).collect();
    live.sort_unstable();
    let pairs = live.windows(2).filter_map(|pair| match pair {
        [(_, ended), (next, _)] => Some(next.saturating_duration_since((*ended)?).as_secs_f64() * 1e3),
        _ => None,
    });
    pairs.collect()
}

/// The row of one case and leg.
pub(super) fn row<'a>(case: &Case, leg: Leg, calls: impl Iterator<Item = &'a CallVerdict> + Clone) -> Row {
    let mut gaps: Vec<f64> = calls.clone().flat_map(|call| call.gaps_ms.iter().copied()).collect();
    let sum = |of: fn(&CallVerdict) -> usize| calls.clone().map(of).sum();
    Row {
        fault: case.fault.to_owned(),
        moment: case.moment.to_owned(),
        leg: leg_name(leg),
        offered: calls.clone().count(),
        survived: sum(|call| usize::from(call.survived)),
        speech_lost: sum(|call| call.speech_lost),
        unanswered: sum(|call| call.unanswered),
        repeated: sum(|call| call.repeated),
        gap_ms_p50: percentile(&mut gaps, 0.5),
        gap_ms_p99: percentile(&mut gaps, 0.99),
    }
}

/// The leg's name; file playback is told apart.
pub(super) fn leg_name(leg: Leg) -> String {
    match leg {
        Leg::ModAudioStream(Playback::File) => format!("{} (files)", leg.name()),
        _ => leg.name().to_owned(),
    }
}

/// Nearest rank, to a tenth of a millisecond; 0 of nothing.
pub(super) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).map_or(0.0, |value| (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::callgen::{HeardMark, Utterance};

    fn dialogue(heard: &[u16]) -> DialogueReport {
        let utterance =
            Utterance { first_mark: 100, frames: 20, answered_ns: Some(1), ..Utterance::default() };
        let heard = heard.iter().map(|&number| HeardMark { number, at_ns: 0 }).collect();
        DialogueReport { utterances: vec![utterance], heard }
    }

    fn link(marks: std::ops::Range<u64>) -> Link {
        Link { marks: marks.collect(), ..Link::default() }
    }

    #[test]
    fn what_only_an_earlier_connection_got_is_lost_and_what_was_replayed_is_not() {
        let (cut, replayed) = (link(100..110), link(100..120));
        assert_eq!(speech_lost(&dialogue(&[]), &[&cut, &replayed]), 0);
        assert_eq!(speech_lost(&dialogue(&[]), &[&cut, &link(112..120)]), 12);
        assert_eq!(speech_lost(&dialogue(&[]), &[&cut]), 20);
        assert_eq!(speech_lost(&dialogue(&[]), &[&replayed, &link(0..0)]), 0);
    }

    #[test]
    fn a_sentence_heard_twice_is_repeated_and_a_seam_is_not() {
        let once: Vec<u16> = (100..120).collect();
        assert_eq!(repeated(&dialogue(&once)), 0);
        assert_eq!(repeated(&dialogue(&[&once[..], &once[15..]].concat())), 0);
        assert_eq!(repeated(&dialogue(&[&once[..], &once[5..]].concat())), 1);
    }

    #[test]
    fn a_gap_is_from_the_end_of_a_connection_to_the_next_live_one() {
        let now = Instant::now();
        let at = |ms| Some(now + Duration::from_millis(ms));
        let first = Link { live: at(0), ended: at(1_000), ..Link::default() };
        let refused = Link { upgraded: at(1_050), ended: at(1_060), ..Link::default() };
        let second = Link { live: at(1_400), ..Link::default() };
        assert_eq!(gaps_ms(&[&first, &refused, &second]), [400.0]);
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}
