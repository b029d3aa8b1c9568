//! A caller of numbered words: says utterances made of marks, one after another, each when the answer to the one before
//! has ended or did not come, and writes down every mark that he hears. With a parrot for a model it can be told of
//! every frame whether it came back, how often and when.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns what was said and heard. Never judges: that is
//! for who reads the report. Invariant: marks of one call are never repeated by the caller, so one heard twice was said
//! twice by the other side.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ear::{Heard, TICK_NS};
use super::mark::{MARK_NUMBERS, MarkReader};
use super::scan::Scanner;
use super::source::is_audible;

const MS: u64 = 1_000_000;

/// What each caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Frames of 20 ms of each utterance, in the order in which they are said.
    pub utterances: Vec<u32>,
    /// An answer has ended when nothing was heard for so long.
    pub quiet_ms: u32,
    /// An answer that has not begun by then does not come.
    pub patience_ms: u32,
}

impl Plan {
    /// Marks that one caller needs: the callers of a run have ranges of their own, one after another, as long as there
    /// are marks; then they begin again.
    pub fn span(&self) -> u64 {
        self.utterances.iter().map(|frames| u64::from(*frames)).sum()
    }

    /// The first mark of call `index`.
    pub fn first_mark(&self, index: usize) -> u64 {
        let ranges = (MARK_NUMBERS / self.span().max(1)).max(1);
        index as u64 % ranges * self.span()
    }

    /// Checks what can be checked without doing anything.
    ///
    /// # Errors
    /// A text that names the figure and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        if self.utterances.contains(&0) || !(1..=MARK_NUMBERS).contains(&self.span()) {
            return Err(format!(
                "a dialogue of {:?} frames: every utterance has one at least, all together {MARK_NUMBERS} at most",
                self.utterances
            ));
        }
        Ok(())
    }
}

/// One utterance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utterance {
    /// The number of its first mark; the others follow.
    pub first_mark: u64,
    /// Its marks, one in each frame of 20 ms.
    pub frames: u32,
    /// When its first frame was sent.
    pub begun_ns: u64,
    /// When its last frame was sent.
    pub ended_ns: u64,
    /// When something was heard between its end and the next utterance, if ever: marks or anything else.
    pub answered_ns: Option<u64>,
}

/// A mark that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardMark {
    /// Its number.
    pub number: u16,
    /// When its first sample was played.
    pub at_ns: u64,
}

/// What was said and heard in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogueReport {
    /// What was said, all that was begun.
    pub utterances: Vec<Utterance>,
    /// What was heard, in order.
    pub heard: Vec<HeardMark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Silence until this time, then the next utterance.
    Pausing {
        until_ns: u64,
    },
    Talking {
        frame: u32,
    },
    Waiting {
        since_ns: u64,
    },
    Listening {
        last_ns: u64,
    },
    Finished,
}

/// The conversation of one call.
pub struct Dialogue {
    plan: Plan,
    phase: Phase,
    next_mark: u64,
    scanner: Scanner,
    /// Where in the stream pieces of audio begin, and when each was played; those of the last second.
    pieces: std::collections::VecDeque<(u64, u64)>,
    report: DialogueReport,
}

impl Dialogue {
    /// The caller of call `index`, who begins to talk at `first_ns`.
    pub fn new(plan: Plan, reader: Arc<MarkReader>, index: usize, first_ns: u64) -> Self {
        Self {
            phase: Phase::Pausing { until_ns: first_ns },
            next_mark: plan.first_mark(index),
            plan,
            scanner: Scanner::new(reader),
            pieces: std::collections::VecDeque::new(),
            report: DialogueReport::default(),
        }
    }

    /// Everything has been said, and answered or waited for.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// What was said and heard so far.
    pub fn report(&self) -> &DialogueReport {
        &self.report
    }

    /// The mark to send at the tick `now_ns`; `None` is silence.
    pub fn next(&mut self, now_ns: u64) -> Option<u64> {
        match self.phase {
            Phase::Pausing { until_ns } if now_ns >= until_ns => self.begin(now_ns),
            Phase::Waiting { since_ns } if now_ns >= since_ns + u64::from(self.plan.patience_ms) * MS => {
                self.begin(now_ns);
            }
            Phase::Listening { last_ns } if now_ns >= last_ns + u64::from(self.plan.quiet_ms) * MS => {
                self.begin(now_ns);
            }
            _ => {}
        }
        let Phase::Talking { frame } = self.phase else { return None };
        let utterance = self.report.utterances.last_mut()?;
        utterance.ended_ns = now_ns;
        self.phase = if frame + 1 < utterance.frames {
            Phase::Talking { frame: frame + 1 }
        } else {
            Phase::Waiting { since_ns: now_ns }
        };
        self.next_mark += 1;
        Some(self.next_mark - 1)
    }

    fn begin(&mut self, now_ns: u64) {
        let Some(&frames) = self.plan.utterances.get(self.report.utterances.len()) else {
            self.phase = Phase::Finished;
            return;
        };
        self.phase = Phase::Talking { frame: 0 };
        self.report.utterances.push(Utterance {
            first_mark: self.next_mark % MARK_NUMBERS,
            frames,
            begun_ns: now_ns,
            ended_ns: now_ns,
            answered_ns: None,
        });
    }

    /// Something is heard.
    pub fn played(&mut self, heard: Heard<'_>) {
        let length = self.scanner.samples_per_frame() as u64;
        if is_audible(heard.samples) {
            let last_ns = heard.at_ns + heard.samples.len() as u64 * TICK_NS / length;
            match &mut self.phase {
                Phase::Waiting { .. } => {
                    self.phase = Phase::Listening { last_ns };
                    if let Some(utterance) = self.report.utterances.last_mut() {
                        utterance.answered_ns = Some(heard.at_ns);
                    }
                }
                Phase::Listening { last_ns: last } => *last = last_ns,
                _ => {}
            }
        }
        self.pieces.push_back((self.scanner.end(), heard.at_ns));
        let (pieces, marks) = (&self.pieces, &mut self.report.heard);
        self.scanner.push(heard.samples, |start, number| {
            let landmark = start + length / 20;
            if let Some((first, at_ns)) = pieces.iter().take_while(|(first, _)| *first <= landmark).last() {
                let into_ns = (start as i64 - *first as i64) * TICK_NS as i64 / length as i64;
                marks.push(HeardMark { number, at_ns: at_ns.saturating_add_signed(into_ns) });
            }
        });
        while self.pieces.get(1).is_some_and(|(first, _)| *first <= self.scanner.kept_from()) {
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem::base::SampleRate;

    use super::*;
    use crate::callgen::mark::MarkWriter;

    /// A dialogue in virtual time against a parrot that answers after 600 ms; `answers` says which utterances, counted
    /// from 0, it answers.
    fn converse(answers: &[usize]) -> DialogueReport {
        let rate = SampleRate::Hz8000;
        let plan = Plan { utterances: vec![10, 20, 10], quiet_ms: 500, patience_ms: 2_000 };
        let writer = MarkWriter::new(rate);
        let mut dialogue = Dialogue::new(plan, Arc::new(MarkReader::new(rate)), 1, 100 * MS);
        let (mut said, mut due) = (Vec::new(), Vec::new());
        for tick in 0..1_000u64 {
            let now_ns = tick * TICK_NS;
            match dialogue.next(now_ns) {
                Some(mark) => said.push(mark),
                None if !said.is_empty() => {
                    if answers.contains(&(dialogue.report.utterances.len() - 1)) {
                        due =
                            said.iter().enumerate().map(|(n, mark)| (tick + 30 + n as u64, *mark)).collect();
                    }
                    said.clear();
                }
                None => {}
            }
            let samples = match due.iter().find(|(at, _)| *at == tick) {
                Some((_, mark)) => writer.frame(*mark).to_vec(),
                None => vec![0; 160],
            };
            dialogue.played(Heard { at_ns: now_ns, arrived_ns: now_ns, offset: 0, samples: &samples });
            if dialogue.is_finished() {
                return dialogue.report().clone();
            }
        }
        panic!("the dialogue does not end");
    }

    #[test]
    fn every_mark_that_comes_back_is_written_down_with_its_time() {
        let report = converse(&[0, 1, 2]);
        let numbers: Vec<u16> = report.heard.iter().map(|heard| heard.number).collect();
        // Call 1 begins behind the 40 marks of call 0.
        assert_eq!(numbers, (40..80).collect::<Vec<u16>>());
        let utterance = &report.utterances[1];
        assert_eq!((utterance.first_mark, utterance.frames), (50, 20));
        assert_eq!(utterance.answered_ns, Some(report.heard[10].at_ns));
        assert_eq!(report.heard[10].at_ns, utterance.ended_ns + 31 * TICK_NS);
    }

    #[test]
    fn an_answer_that_does_not_come_is_waited_for_and_noted() {
        let report = converse(&[0, 2]);
        let answered: Vec<bool> = report.utterances.iter().map(|u| u.answered_ns.is_some()).collect();
        assert_eq!(answered, [true, false, true]);
        assert_eq!(report.utterances[2].begun_ns - report.utterances[1].ended_ns, 2_000 * MS);
    }
}
