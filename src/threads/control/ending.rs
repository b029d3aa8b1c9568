//! The end of a call at the control thread: its line in the log and what is added to the process's counters.
//!
//! Runs in: the control thread. Owns nothing.
//! Invariant: every call that was offered is logged and counted once.

use std::time::Duration;

use log::{info, warn};

use super::Control;
use crate::base::{CallId, Instant, LegFormat};
use crate::call::machine::CallEvents;
use crate::call::{Machine, Outcome};
use crate::sync::shared::TallySnapshot;

impl Control {
    pub(super) fn finish(&mut self, now: Instant, id: CallId, outcome: &Outcome) {
        let Some(call) = self.calls.get_mut(id.slot as usize).and_then(Option::take) else { return };
        self.live -= 1;
        self.parts.registry.release(id);
        let tally = call.shared.tally.snapshot();
        let machine = &call.machine;
        self.count(outcome, &tally, machine, call.shared.format());
        let line = format!(
            "call {id}: ended by {} ({}): {outcome}{}; {}, from {}, {:.1} s, {}",
            outcome.by.label(),
            outcome.label(),
            machine.hang_up_cause().map_or(String::new(), |cause| format!(" [{cause}]")),
            machine.fields(),
            call.peer,
            now.since_ms(machine.offered_at()) as f64 / 1000.0,
            summary(machine, &tally, call.shared.format())
        );
        if outcome.is_failure() { warn!("{line}") } else { info!("{line}") }
    }

    fn count(&self, outcome: &Outcome, tally: &TallySnapshot, machine: &Machine, leg: LegFormat) {
        let leg_frame_samples = leg.rate.samples_per_frame() as u64;
        let counters = &self.parts.counters;
        let events = machine.events();
        counters.end_call(outcome.label());
        for (counter, n) in [
            (&counters.uplink_frames, tally.uplink_frames),
            (&counters.downlink_frames, tally.downlink_frames),
            (&counters.uplink_silence_frames, tally.silence_frames),
            (&counters.uplink_dropped_frames, tally.uplink_frames_dropped + tally.caller_messages_dropped),
            (&counters.underruns, tally.underruns),
            (&counters.slips, tally.slips),
            (&counters.model_turns, events.turns),
            (&counters.barge_ins, events.interruptions),
            (&counters.uplink_stream_ends, tally.stream_ends),
            (&counters.flushed_frames, tally.flushed_samples / leg_frame_samples),
        ] {
            counter.add(n);
        }
        if tally.barge_ins > 0 {
            counters.barge_in_residual.observe(Duration::from_micros(tally.residual_us_max));
        }
        if let Some(answered_at) = machine.answered_at() {
            counters.link_setup.observe(answered_at.since(machine.offered_at()));
        }
    }
}

/// What an operator wants to know of a call at a glance.
fn summary(machine: &Machine, tally: &TallySnapshot, leg: LegFormat) -> String {
    let seconds = |samples: u64| samples as f64 / f64::from(leg.rate.hz());
    let events = machine.events();
    let ready_ms = machine.answered_at().map(|at| at.since_ms(machine.offered_at()));
    let heard = match tally.heard_samples {
        0 => String::new(),
        samples => format!(", heard {:.1} s of {:.1} s", seconds(samples), seconds(tally.played_samples)),
    };
    let ready =
        ready_ms.map_or("the model never ready".into(), |ms| format!("the model ready after {ms} ms"));
    format!(
        "{ready}, turns {}, barge-ins {} (residual at most {} ms), underruns {} ({} ms), slips {}, caller's audio \
         {:.1} s (silence filled {:.1} s, dropped {:.1} s), model's {:.1} s{heard}, tokens {}+{}{}",
        events.turns,
        events.interruptions,
        tally.residual_us_max / 1000,
        tally.underruns,
        tally.underrun_us / 1000,
        tally.slips,
        tally.uplink_frames as f64 / 50.0,
        tally.silence_frames as f64 / 50.0,
        tally.uplink_frames_dropped as f64 / 50.0,
        tally.model_samples as f64 / 24_000.0,
        events.prompt_tokens,
        events.response_tokens,
        control_summary(&events)
    )
}

/// What call control did, where it did anything.
fn control_summary(events: &CallEvents) -> String {
    let mut summary = String::new();
    for (what, count) in [
        ("keys pressed", events.keys),
        ("orders done", events.commands_done),
        ("orders failed", events.commands_failed),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {what} {count}"));
        }
    }
    summary
}
