//! Calls that outlive their links: dropped, closed and announced to end, while the caller speaks on.
//!
//! Runs in: the test's thread beside relay and simulator. Invariant: the call goes on, with one session resumed by the
//! handle of the link before.

use tandem_loadtest::sim::{SimConfig, Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, in_company, noise};

/// The conversation that a connection's setup resumes.
fn resumed(model: &Model, session: u64) -> Option<u64> {
    model.event(session, "a setup", |what| match what {
        What::Opened { resumes, .. } => Some(*resumes),
        _ => None,
    })
}

#[test]
fn a_call_goes_on_over_links_that_are_dropped_closed_and_announced_to_end() {
    let _turn = in_company();
    let faults = ["drop@300ms#1", "close:1011:Internal error encountered.@300ms#2", "go-away:2000@300ms#3"];
    let faults = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
    let model = Model::start(SimConfig { faults, ..speaking(Voice::Echo) });
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=outlives");
    for session in 2..=4 {
        assert_eq!(resumed(&model, session), Some(1), "connection {session}");
        model.ready(session);
    }
    // The last link carries speech both ways.
    let before = leg.samples().len();
    leg.audio(&noise(4, 8_000), 320);
    leg.hear(before + 4_000);
    assert_eq!(leg.hang_up().0, 1000);
    let end = relay.end_of("uuid=outlives");
    for words in ["goAway 1", "resumed 3", "link ends internal 1", "link ends dropped 1", "without a link"] {
        assert!(end.contains(words), "{words:?} is not in: {end}");
    }
}
