//! What the script demands of a session, and what of it the session does at once.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: a fault happens at its moment, or so long after it as the script says, on the connections that it names.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Session, Task, World, tools::ToolTerms};
use crate::sim::{
    event::What,
    fault::{Fault, Moment},
    model::Refusal,
    outbox::{End, Outbox},
    turn::Manner,
};

/// What the script demands at a moment, as far as what happens at that moment has to act on it.
#[derive(Debug, Default)]
pub(super) struct Demands {
    pub(super) delay: Duration,
    pub(super) silence: bool,
    pub(super) empty: bool,
    pub(super) interrupt: bool,
    pub(super) cancel_tools: bool,
    pub(super) forget: bool,
    pub(super) replay_transcripts: bool,
    pub(super) carry_on: bool,
    pub(super) manner: Manner,
    pub(super) burst: Option<f64>,
    pub(super) tools: Vec<(String, Value)>,
}

impl Session {
    /// Acts on everything in the script for this moment.
    pub(super) fn happen(
        &mut self,
        now: Instant,
        moment: Moment,
        world: &World,
        out: &mut Outbox,
    ) -> Demands {
        let mut demands = Demands::default();
        self.happen_too(now, moment, &mut demands, world, out);
        demands
    }

    /// The same, where several moments come together.
    pub(super) fn happen_too(
        &mut self,
        now: Instant,
        moment: Moment,
        demands: &mut Demands,
        world: &World,
        out: &mut Outbox,
    ) {
        for scheduled in &world.config.faults {
            if !scheduled.at.is(moment) || !scheduled.connections.include(self.id, self.resumed) {
                continue;
            }
            let fault = scheduled.fault.clone();
            if scheduled.later.is_zero() {
                self.apply(now, fault, demands, out);
            } else {
                self.tasks.push((now + scheduled.later, Task::Fault(fault)));
            }
        }
    }

    /// Sets the timers of what happens so long after `setupComplete`.
    pub(super) fn schedule(&mut self, now: Instant, world: &World) {
        for scheduled in &world.config.faults {
            if let Moment::After(after) = scheduled.at
                && scheduled.connections.include(self.id, self.resumed)
            {
                self.tasks.push((now + after + scheduled.later, Task::Fault(scheduled.fault.clone())));
            }
        }
    }

    /// A fault that stands alone happens now.
    pub(crate) fn suffer(&mut self, now: Instant, fault: Fault, world: &mut World, out: &mut Outbox) {
        let mut demands = Demands::default();
        self.apply(now, fault, &mut demands, out);
        if demands.silence {
            out.mute();
        }
        if demands.cancel_tools {
            self.cancel_tools(now, world, out);
        }
    }

    fn apply(&mut self, now: Instant, fault: Fault, demands: &mut Demands, out: &mut Outbox) {
        match fault {
            Fault::Delay(delay) => demands.delay += delay,
            Fault::Silence => demands.silence = true,
            Fault::Bundle => demands.manner.bundled = true,
            Fault::Uninterruptible => demands.manner.uninterruptible = true,
            Fault::StartAgain => demands.manner.starts_again = true,
            Fault::Pace(burst) => demands.burst = Some(burst),
            Fault::EmptyTurn => demands.empty = true,
            Fault::Interrupt => demands.interrupt = true,
            Fault::CancelTools => demands.cancel_tools = true,
            Fault::Forget => demands.forget = true,
            Fault::ReplayTranscripts => demands.replay_transcripts = true,
            Fault::CarryOn => demands.carry_on = true,
            Fault::ToolCall { name, args } => demands.tools.push((name, args)),
            Fault::Swallow(shortest) => self.swallow = Some(shortest),
            Fault::ToolAudio { code, reason } => {
                self.tool_terms = ToolTerms::refusing(Refusal { code, reason })
            }
            Fault::ReplayLimit(limit) => self.replay_limit = Some(limit),
            Fault::Ageing(ageing) => self.ageing = ageing,
            Fault::NoHandles => self.no_handles = true,
            Fault::Drop => out.end(End::Drop),
            Fault::Reset => out.end(End::Reset),
            Fault::Close { code, reason } => out.end(End::Close { code, reason }),
            Fault::LatePongs(delay) => self.pong_delay = delay,
            Fault::GoAway(left) => {
                go_away(left, out);
                let reason = "Connection aborted because the client failed to close the connection after receiving a \
                              GoAway signal within the deadline.";
                let refusal = Refusal { code: 1008, reason: reason.to_owned() };
                self.tasks.push((now + left, Task::Close(refusal)));
            }
            Fault::GoAwaySilent(left) => {
                go_away(left, out);
                demands.silence = true;
            }
            frame => out.faulty(&frame),
        }
    }
}

fn go_away(left: Duration, out: &mut Outbox) {
    out.message(&json!({"goAway": {"timeLeft": duration_json(left)}}));
    out.mark(What::GoAway);
}

/// `"9.5s"`, as proto3 JSON writes durations.
fn duration_json(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
