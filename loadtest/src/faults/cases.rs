//! The matrix: which fault happens at which moment, and how the relay is configured for it.
//!
//! Runs in: the `faults` binary: pure. Owns nothing.
//! Invariant: every case's texts parse as faults (tested), and leave the third utterance of a call alone.

use crate::callgen::dialogue;
use crate::sim::Scheduled;

/// Frames of each utterance: 0.8 s, so that three of them for each of four callers have marks of their own.
const UTTERANCE_FRAMES: u32 = 40;
/// An utterance of 0.4 s, as short as "yes".
const SHORT_FRAMES: u32 = 20;

/// A fault at a moment.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// What goes wrong, as the table names it.
    pub fault: &'static str,
    /// When.
    pub moment: &'static str,
    /// The simulator's script.
    script: Vec<String>,
    /// More of the relay's settings, `key=value`.
    settings: Vec<&'static str>,
    /// How many times faster than real time the simulator speaks.
    pub burst: f64,
    /// The second utterance is a short one.
    short: bool,
    /// The model may call the tool `look_up`, which takes 0.8 s.
    tool: bool,
    /// What the simulator must have seen, or the fault did not happen.
    pub(super) evidence: Evidence,
}

/// What shows in a call's connections that its fault did happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Nothing: it happens to every session, or shows in nothing that the simulator tells.
    #[default]
    None,
    /// A connection more than the first that was live.
    Renewed,
    /// A tool was called.
    Called,
    /// Both.
    CalledAndRenewed,
}

/// Faults that end or still a link, each tried at each of [`MOMENTS`].
const LINK_FAULTS: [(&str, &str); 8] = [
    ("connection drops (1006)", "drop"),
    ("close 1011", "close:1011:Internal error encountered."),
    ("close 1008", "close:1008:The operation was aborted"),
    ("close 1007", "close:1007:Request contains an invalid argument."),
    ("goAway, 8 s left", "go-away:8000"),
    ("goAway, 0.4 s left", "go-away:400"),
    ("goAway, then silence", "go-away:2000:silent"),
    ("link falls silent", "silence"),
];

/// When they happen: in the second of three exchanges.
const MOMENTS: [(&str, &str); 4] = [
    ("caller speaks", "speech2+400#new"),
    ("model speaks", "turn2.mid#new"),
    ("idle", "turn2.end+250#new"),
    ("tool call", "tool-call1+200#new"),
];

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (fault, text) in LINK_FAULTS {
        for (moment, at) in MOMENTS {
            let tool = moment == "tool call";
            let mut script = vec![format!("{text}@{at}")];
            if tool {
                script.push("tool:look_up@turn2#new".to_owned());
            }
            let evidence = if tool { Evidence::CalledAndRenewed } else { Evidence::Renewed };
            cases.push(Case { tool, evidence, ..case(fault, moment, script) });
        }
    }
    let first_attempts = |text: &str| vec![format!("{text}#1-4")];
    for (fault, text) in [
        ("upgrade refused with 503", "http:503@upgrade"),
        ("connection drops (1006)", "drop@setup"),
        ("close 1011", "close:1011:The service is currently unavailable.@setup"),
        ("setupComplete 1.5 s late", "delay:1500@setup"),
        ("link falls silent", "silence@setup"),
    ] {
        cases.push(case(fault, "setup", first_attempts(text)));
    }
    let dropped = |more: &str| vec!["drop@turn2.end+250#new".to_owned(), more.to_owned()];
    for (fault, text) in [
        ("first resume refused with 1011", "close:1011:Internal error encountered.@resume1"),
        ("every resume refused with 1007", "close:1007:Invalid session resumption handle.@resume"),
        ("upgrade refused once with 503", "http:503@upgrade#5-8"),
        ("context lost", "forget@resume"),
        ("transcripts replayed", "replay-transcripts@resume"),
        ("no handles given", "no-handles@setup"),
        ("setupComplete 1.5 s late", "delay:1500@resume"),
        ("dropped again at once", "drop@resume1"),
    ] {
        cases.push(Case { evidence: Evidence::Renewed, ..case(fault, "resume when idle", dropped(text)) });
    }
    cases.push(case(
        "replay faster than 4 s ahead refused",
        "resume as the caller speaks",
        vec![
            "close:1007:CONTENT_TYPE_AUDIO@speech2+400#new".to_owned(),
            "replay-limit:4000@resume".to_owned(),
        ],
    ));
    cases.push(case("pongs 20 s late", "idle", vec!["late-pongs:20000@1ms".to_owned()]));
    cases.push(case("slower than real time", "model speaks", vec!["pace:0.7@turn2".to_owned()]));
    cases.push(case("pause of 1.5 s", "model speaks", vec!["delay:1500@turn2.mid".to_owned()]));
    cases.push(case("empty turn", "model should speak", vec!["empty-turn@turn2#new".to_owned()]));
    cases.push(case("no turn at all", "model should speak", vec!["silence@turn2#new".to_owned()]));
    cases.push(Case {
        short: true,
        ..case("short utterance swallowed", "caller speaks", vec!["swallow:600@setup#new".to_owned()])
    });
    for (fault, text) in [
        ("empty turn after the response", "empty-turn@tool-response1#new"),
        ("silence after the response", "silence@tool-response1#new"),
        ("call cancelled", "cancel-tools@tool-call1+200#new"),
    ] {
        let script = vec![text.to_owned(), "tool:look_up@turn2#new".to_owned()];
        cases.push(Case { tool: true, evidence: Evidence::Called, ..case(fault, "tool call", script) });
    }
    cases.push(Case {
        tool: true,
        evidence: Evidence::Called,
        settings: vec!["tools.look_up.hold_uplink=true"],
        ..case(
            "audio refused with 1008",
            "tool call",
            vec![
                "tool-audio:1008:Operation is not implemented@setup".to_owned(),
                "tool:look_up@turn2#new".to_owned(),
            ],
        )
    });
    cases
}

fn case(fault: &'static str, moment: &'static str, script: Vec<String>) -> Case {
    Case { fault, moment, script, burst: 4.0, ..Case::default() }
}

impl Case {
    /// A case outside the matrix.
    pub(super) fn special(fault: &'static str, moment: &'static str, script: &[&str], burst: f64) -> Self {
        Self { burst, ..case(fault, moment, script.iter().map(|text| (*text).to_owned()).collect()) }
    }

    /// Fault and moment.
    pub fn name(&self) -> String {
        format!("{} / {}", self.fault, self.moment)
    }

    /// What its callers say: three utterances, of which the second meets the fault and the third is to be answered as if
    /// nothing had been.
    pub(super) fn plan(&self) -> dialogue::Plan {
        let second = if self.short { SHORT_FRAMES } else { UTTERANCE_FRAMES };
        dialogue::Plan {
            utterances: vec![UTTERANCE_FRAMES, second, UTTERANCE_FRAMES],
            quiet_ms: 1_200,
            patience_ms: 15_000,
        }
    }

    /// The simulator's faults.
    pub(super) fn faults(&self) -> Vec<Scheduled> {
        self.script.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// The relay's settings; the tool is at this URL.
    pub(super) fn settings(&self, tool_url: &str) -> Vec<String> {
        let always = [
            "agent.input_transcription=true",
            "agent.output_transcription=true",
            // The calls on all legs meet the fault at one time: with one credential, what fails them all would turn the
            // last ones away at the door, as it should, and here each is to be tried.
            "gemini.credential_backoff_ms=0",
        ];
        let mut settings: Vec<String> = always.map(str::to_owned).into();
        if self.tool {
            settings.push("agent.tools=look_up".to_owned());
            settings.push("tools.look_up.description=Looks something up.".to_owned());
            settings.push(format!("tools.look_up.url={tool_url}"));
        }
        settings.extend(self.settings.iter().map(|setting| (*setting).to_owned()));
        settings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::callgen::mark::MARK_NUMBERS;
    use crate::faults::LEGS;

    #[test]
    fn every_case_parses_has_a_name_of_its_own_and_marks_for_every_leg() {
        let cases = cases();
        let names: BTreeSet<String> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
        for case in &cases {
            assert_eq!(case.faults().len(), case.script.len(), "{}", case.name());
            assert!(case.plan().span() * LEGS.len() as u64 <= MARK_NUMBERS);
        }
    }
}
