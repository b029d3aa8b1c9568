//! The end of a call at the control thread: its line in the log, its record and what is added to the process's counters.
//!
//! Runs in: the control thread. Owns nothing.
//! Invariant: every call that was offered is logged, recorded and counted once.

use std::time::Duration;

use log::{debug, info, warn};

use super::Control;
use super::record::record_of;
use crate::base::{CallId, Instant, LegFormat, Quoted};
use crate::call::machine::CallEvents;
use crate::call::{Machine, Outcome};
use crate::sync::shared::TallySnapshot;

/// How long a relay that ends is still there for a dialplan that asks what is next; it asks within milliseconds.
const ASKS_WITHIN: Duration = Duration::from_secs(1);

impl Control {
    pub(super) fn finish(&mut self, now: Instant, id: CallId, outcome: &Outcome) {
        let Some(call) = self.calls.remove(id) else { return };
        self.channels.forget(id);
        if call.machine.leg_kind().traits().asks_afterwards {
            self.asked_until = now.plus(ASKS_WITHIN);
        }
        self.relay.registry.release(now, id);
        let tally = call.shared.tally.snapshot();
        let machine = &call.machine;
        self.count(outcome, &tally, machine, call.shared.format());
        debug!("call {id}: what was said:{}", machine.transcript());
        let line = format!(
            "call {id}: ended by {} ({}): {outcome}{}; {}, from {}, {:.1} s, {}{}",
            outcome.by.label(),
            outcome.label(),
            machine.hang_up_cause().map_or(String::new(), |cause| format!(" [{}]", Quoted(cause))),
            machine.fields(),
            call.peer,
            now.since_ms(machine.offered_at()) as f64 / 1000.0,
            call.credential.as_ref().map_or(String::new(), |name| format!("credential {name}, ")),
            summary(machine, &tally, call.shared.format())
        );
        if outcome.is_failure() {
            warn!("{line}")
        } else {
            info!("{line}")
        }
        let detail = Box::new(record_of(now, &call, outcome, &tally));
        self.living.over(call.record_id);
        self.record_ended(now, id, call.tap, detail);
    }

    fn count(&self, outcome: &Outcome, tally: &TallySnapshot, machine: &Machine, leg: LegFormat) {
        let leg_frame_samples = leg.rate.samples_per_frame() as u64;
        let counters = &self.relay.counters;
        let events = machine.events();
        counters.end_call(outcome.label());
        for (counter, n) in [
            (&counters.uplink_frames, tally.uplink_frames),
            (&counters.downlink_frames, tally.downlink_frames),
            (&counters.uplink_silence_frames, tally.silence_frames),
            (&counters.uplink_dropped_frames, tally.uplink_frames_dropped + tally.caller_messages_dropped),
            (&counters.underruns, tally.underruns),
            (&counters.switch_gaps, events.switch_gaps),
            (&counters.slips, tally.slips),
            (&counters.model_turns, events.turns),
            (&counters.barge_ins, events.interruptions),
            (&counters.input_tokens, events.tokens.input()),
            (&counters.output_tokens, events.tokens.output()),
            (&counters.tools_called, events.tools_called),
            (&counters.tools_repeated, events.tools_repeated),
            (&counters.tools_refused, events.tools_refused),
            (&counters.tools_failed, events.tools_failed),
            (&counters.tools_timed_out, events.tools_timed_out),
            (&counters.tools_cancelled, events.tools_cancelled),
            (&counters.uplink_stream_ends, tally.stream_ends),
            (&counters.flushed_frames, tally.flushed_samples / leg_frame_samples),
            (&counters.session_resumptions, events.resumptions),
            (&counters.session_fresh, events.fresh_sessions),
            (&counters.session_failed_attempts, events.failed_attempts),
            (&counters.session_go_aways, events.go_aways),
            (&counters.sessions_given_up, events.given_up.into()),
            (&counters.watchdog_commits, events.commits),
            (&counters.watchdog_nudges, events.nudges),
            (&counters.watchdog_resumptions, events.watchdog_resumptions),
            (&counters.watchdog_sessions, events.watchdog_sessions),
            (&counters.watchdog_healed, events.healed),
            (&counters.empty_turns, events.empty_turns),
            (&counters.local_barge_ins, tally.local_barge_ins),
            (&counters.recording_frames_lost, tally.tap_lost_frames),
            (&counters.replayed_frames, tally.replayed_frames),
            (&counters.silence_cut_frames, tally.silence_cut_frames),
        ] {
            counter.add(n);
        }
        if tally.flushes > 0 {
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
        events.tokens.input(),
        events.tokens.output(),
        turns_summary(&events, tally) + &session_summary(&events, tally) + &control_summary(&events)
    )
}

/// How the caller's turns went, where they spoke, and what was done about those that went wrong.
fn turns_summary(events: &CallEvents, tally: &TallySnapshot) -> String {
    let mut summary = String::new();
    for (what, count) in [
        ("talkspurts", tally.spurts),
        ("of speech (ms)", tally.speech_ms),
        ("paused for the caller", tally.local_barge_ins),
        ("empty turns", events.empty_turns),
        ("commits", events.commits),
        ("nudges", events.nudges),
        ("links left", events.watchdog_resumptions),
        ("sessions left", events.watchdog_sessions),
        ("healed", events.healed),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {what} {count}"));
        }
    }
    summary
}

/// What became of the links, where anything did.
fn session_summary(events: &CallEvents, tally: &TallySnapshot) -> String {
    let mut summary = String::new();
    let mut say = |count: u64, what: String| {
        if count > 0 {
            summary.push_str(&what);
        }
    };
    say(events.go_aways, format!(", goAway {}", events.go_aways));
    say(events.resumptions, format!(", resumed {}", events.resumptions));
    say(events.fresh_sessions, format!(", begun anew {}", events.fresh_sessions));
    say(events.failed_attempts, format!(", links failed {}", events.failed_attempts));
    let gaps = format!(", without a link {} ms (at most {} at once)", events.gap_ms_total, events.gap_ms_max);
    say(events.gap_ms_max, gaps);
    say(events.broken_off, format!(", answers broken off {}", events.broken_off));
    let seconds = |frames: u64| frames as f64 / 50.0;
    let again = format!(", caller's audio sent again {:.1} s", seconds(tally.replayed_frames));
    say(tally.replayed_frames, again);
    let cut = format!(", silence left out {:.1} s", seconds(tally.silence_cut_frames));
    say(tally.silence_cut_frames, cut);
    for (kind, count) in events.link_ends() {
        say(1, format!(", link ends {} {count}", kind.label()));
    }
    say(events.given_up.into(), ", given up".to_owned());
    summary
}

/// What call control did, where it did anything.
fn control_summary(events: &CallEvents) -> String {
    let mut summary = String::new();
    for (what, count) in [
        ("keys pressed", events.keys),
        ("orders done", events.commands_done),
        ("orders failed", events.commands_failed),
        ("gaps at the switch", events.switch_gaps),
        ("ms of silence in them", events.switch_gap_ms),
        ("leg came back", events.reattachments),
        ("ms without leg", events.detached_ms),
        ("tools called", events.tools_called),
        ("tools repeated", events.tools_repeated),
        ("tools refused", events.tools_refused),
        ("tools failed", events.tools_failed),
        ("tools timed out", events.tools_timed_out),
        ("tools taken back", events.tools_cancelled),
    ] {
        if count > 0 {
            summary.push_str(&format!(", {what} {count}"));
        }
    }
    summary
}
