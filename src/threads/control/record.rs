//! The record of a call that has ended, put together from what its machine and its counters know.
//!
//! Runs in: the control thread, once a call. Owns nothing.
//! Invariant: the record and the call's line in the log say the same.

use super::Call;
use crate::base::Instant;
use crate::call::model::Tokens;
use crate::call::record::{TranscriptTurn, rfc3339};
use crate::call::{CallDetail, CallRecord, Outcome};
use crate::config::PriceConfig;
use crate::sync::shared::TallySnapshot;

/// Frames of 20 ms in a second.
const FRAMES_PER_SECOND: f64 = 50.0;

/// The record of `call`, whose last thread let go of it at `now`.
pub(super) fn record_of(now: Instant, call: &Call, outcome: &Outcome, tally: &TallySnapshot) -> CallDetail {
    let machine = &call.machine;
    let (events, agent, fields) = (machine.events(), machine.agent(), machine.fields());
    let offered_ms = call.record_id.unix_ms();
    let at = |moment: Instant| rfc3339(offered_ms + moment.since_ms(machine.offered_at()));
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let positive = |seconds: f64| thousandths(seconds.max(0.0));
    let caller_talk_s = seconds(tally.speech_ms);
    let agent_talk_s = tally.played_samples as f64 / f64::from(call.shared.format().rate.hz());
    let live_s = machine.answered_at().map_or(0.0, |answered_at| seconds(now.since_ms(answered_at)));
    let model = agent.setup.model.trim_start_matches("models/");
    let price = agent.price.as_ref();
    let record = CallRecord {
        id: call.record_id.to_string(),
        uuid: fields.uuid_shown(),
        did: fields.did.clone(),
        caller: fields.caller.clone(),
        agent: agent.name.clone(),
        model: Some(model.to_owned()).filter(|model| !model.is_empty()),
        credential: call.credential.as_deref().map(str::to_owned),
        leg: call.machine.leg_kind().label().to_owned(),
        peer: call.peer.to_string(),
        offered_at: at(machine.offered_at()),
        answered_at: machine.answered_at().map(at),
        first_audio_at: machine.first_audio_at().map(at),
        ended_at: at(now),
        duration_s: seconds(now.since_ms(machine.offered_at())),
        ended_by: outcome.by.label().to_owned(),
        outcome: outcome.label().to_owned(),
        reason: outcome.to_string(),
        verdict: None,
        problems: None,
        hang_up_cause: machine.hang_up_cause().map(str::to_owned),
        caller_talk_s,
        caller_silence_s: positive(tally.uplink_frames as f64 / FRAMES_PER_SECOND - caller_talk_s),
        agent_talk_s: thousandths(agent_talk_s),
        agent_silence_s: positive(live_s - agent_talk_s),
        turns: events.turns,
        barge_ins: events.interruptions,
        barge_in_residual_ms_max: (tally.flushes > 0).then_some(tally.residual_us_max / 1000),
        resumptions: events.resumptions,
        fresh_sessions: events.fresh_sessions,
        gap_ms_max: events.gap_ms_max,
        gap_ms_total: events.gap_ms_total,
        watchdog_commits: events.commits,
        watchdog_nudges: events.nudges,
        watchdog_resumptions: events.watchdog_resumptions,
        watchdog_sessions: events.watchdog_sessions,
        watchdog_healed: events.healed,
        answer_ms_p50: call.shared.answer_ms_p50().map(u64::from),
        answer_ms_max: (tally.answers > 0).then_some(tally.answer_us_max / 1000),
        underruns: tally.underruns,
        underrun_ms: tally.underrun_us / 1000,
        switch_gaps: events.switch_gaps,
        switch_gap_ms: events.switch_gap_ms,
        lost_frames: tally.uplink_frames_dropped + tally.caller_messages_dropped,
        prompt_tokens: events.tokens.input(),
        response_tokens: events.tokens.output(),
        cost: price.map(|price| cost(price, &events.tokens)),
        cost_currency: price.map(|price| price.currency.clone()),
        tools_called: events.tools_called,
        tools_failed: events.tools_failed + events.tools_timed_out + events.tools_refused,
        recording: None,
    };
    let transcript = machine.transcript().turns().map(TranscriptTurn::from).collect();
    CallDetail { record, transcript, events: machine.history() }
}

/// What tokens cost at this price.
fn cost(price: &PriceConfig, tokens: &Tokens) -> f64 {
    let text = price.output_text_per_million.unwrap_or(price.output_per_million);
    let of_each = [
        (tokens.input_audio, price.input_per_million),
        (tokens.input_text, price.input_text_per_million.unwrap_or(price.input_per_million)),
        (tokens.output_audio, price.output_per_million),
        (tokens.output_text, text),
        (tokens.thoughts, price.thoughts_per_million.unwrap_or(text)),
    ];
    of_each.into_iter().map(|(count, per_million)| count as f64 * per_million).sum::<f64>() / 1_000_000.0
}

/// Rounded, because a record is read by people.
fn thousandths(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_token_has_its_price_and_what_has_none_costs_as_speech_does() {
        let tokens =
            Tokens { input_text: 750, input_audio: 300, output_text: 0, output_audio: 100, thoughts: 900 };
        let speech =
            PriceConfig { input_per_million: 3.0, output_per_million: 12.0, ..PriceConfig::named("x") };
        let micros = |price: &PriceConfig| (cost(price, &tokens) * 1e6).round();
        assert_eq!(micros(&speech), 1050.0 * 3.0 + 1000.0 * 12.0);
        let listed = PriceConfig {
            input_text_per_million: Some(0.75),
            output_text_per_million: Some(4.5),
            ..speech.clone()
        };
        assert_eq!(
            micros(&listed),
            (700.0 * 0.75 + 300.0 * 3.0 + 50.0 * 0.75 + 100.0 * 12.0 + 900.0 * 4.5_f64).round()
        );
        let free = PriceConfig { thoughts_per_million: Some(0.0), ..listed };
        assert_eq!(micros(&free), (750.0 * 0.75 + 300.0 * 3.0 + 100.0 * 12.0_f64).round());
    }
}
