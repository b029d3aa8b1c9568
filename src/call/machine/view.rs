//! What may be seen of a call from outside its machine, and the times that it is told by and by.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns nothing. Never changes what a call does.
//! Invariant: looking twice at one time shows the same.

use super::deadlines::Timer;
use super::tools::functions;
use super::{CallEvents, Machine, Phase, Stage};
use crate::base::Instant;
use crate::call::agent::{Agent, CredentialView};
use crate::call::events::{ConnectionNumber, LegEnd, Order};
use crate::call::leg::{CallFields, LegKind, OrderNumber};
use crate::call::model::SetupRequest;
use crate::call::record::{CallEvent, RECORDING_FAILED};
use crate::call::transcript::Transcript;

impl Machine {
    /// The next order, in the order in which they are to be carried out.
    pub fn next_order(&mut self) -> Option<Order> {
        self.shared.next_order()
    }

    /// When [`Machine::tick`] wants to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whether [`Machine::played`] is wanted in the next pass.
    pub fn wants_played(&self, now: Instant) -> bool {
        self.deadlines.is_due(Timer::Played, now)
    }

    /// What was handed to the switch will have been heard at this time, as the dsp worker says.
    pub fn hears_until(&mut self, now: Instant, at: Instant) {
        self.shared.now = now;
        self.shared.ear.hears_until(now, at);
        self.settle();
    }

    /// Notices that the relay had no processor until now: what others did meanwhile is still to be heard of.
    pub fn starved(&mut self, now: Instant) {
        self.shared.now = now;
        self.shared.starved_until = Some(now);
        self.settle();
    }

    /// What the next link is asked for, for the credential with which it was connected.
    pub fn setup(&mut self, credential: &CredentialView<'_>) -> SetupRequest {
        let mut setup = self.shared.setup().for_credential(credential.model_prefix);
        self.conversation.begin_setup(&self.shared, credential.number, &mut setup);
        setup.functions = functions(self.shared.terms(), |kind| self.line.way_of(&self.shared, kind).is_ok());
        setup
    }

    /// Says when the call began, in seconds since 1970, for the instructions that name it.
    pub fn set_begun(&mut self, begun_s: u64) {
        self.shared.begun_s = begun_s;
    }

    /// Says what is on the line; without it, a relative of mod_audio_stream. Commands are numbered from behind
    /// `numbers_from`, which is another for each call: a script remembers the numbers that it carried out for as long as
    /// its channel lives, and the channel's stream may end and begin again, which is another call here.
    pub fn set_leg(&mut self, kind: LegKind, numbers_from: OrderNumber) {
        self.line.set_kind(kind);
        self.line.commands.number_from(numbers_from);
        self.conversation.seed(numbers_from.into());
    }

    /// The leg has said what it is, after it was taken for something else.
    pub fn revise_leg(&mut self, kind: LegKind) {
        self.line.set_kind(kind);
    }

    /// The recording cannot be written from here on; the call goes on.
    pub fn recording_failed(&mut self, now: Instant, why: &str) {
        self.shared.now = now;
        self.shared.note_of(RECORDING_FAILED, why);
    }

    /// The phase. A call without a leg is [`Phase::Detached`] whatever its session does meanwhile.
    pub fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closing(_) => Phase::Closing,
            Stage::Ended => Phase::Ended,
            _ if self.line.lost().is_some() => Phase::Detached,
            Stage::Offered(_) => Phase::Offered,
            Stage::Dialing => Phase::Dialing,
            Stage::Live => Phase::Live,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Closing(_) | Stage::Ended)
    }

    /// Whether the caller hears, or is about to hear, what nothing may interrupt.
    pub(super) fn is_heard_to_its_end(&self) -> bool {
        self.greeting.is_under_way() || self.recording.announced_at().is_some()
    }

    pub(super) fn is_offered(&self) -> bool {
        matches!(self.stage, Stage::Offered(_))
    }

    /// What is on the line.
    pub fn leg_kind(&self) -> LegKind {
        self.line.kind()
    }

    /// Which connection of the leg the call has, or had last.
    pub fn leg_connection(&self) -> ConnectionNumber {
        self.line.connection()
    }

    /// Whether a leg may take the call over now.
    pub fn takes_leg_back(&self) -> bool {
        !self.line.is_gone() && !self.is_over()
    }

    /// How the leg was lost, where the call waits for it.
    pub fn lost_leg(&self) -> Option<&LegEnd> {
        self.line.lost()
    }

    /// Whether the call is recorded, were it not for a disk that is full, and whether that pauses now.
    pub fn is_recorded(&self) -> (bool, bool) {
        (!self.is_offered() && self.shared.terms().record, self.recording.is_paused())
    }

    /// Whether there is a link whose setup was accepted: speech flows now.
    pub fn has_live_link(&self) -> bool {
        self.shared.session.live().is_some()
    }

    /// Whether the model waits for a tool, or the switch for the caller to have heard the model's goodbye: a link that can
    /// choose should not be renewed now.
    pub fn awaits_tools(&self) -> bool {
        self.wish.is_some() || self.tools.any_waits() || self.line.commands.any_of_the_model()
    }

    /// Who answers.
    pub fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// What is known of the call's identity.
    pub fn fields(&self) -> &CallFields {
        &self.shared.fields
    }

    /// What was said so far.
    pub fn transcript(&self) -> &Transcript {
        self.conversation.transcript()
    }

    /// What was counted.
    pub fn events(&self) -> CallEvents {
        self.shared.counts
    }

    /// What happened, in its order.
    pub fn history(&self) -> Vec<CallEvent> {
        self.shared.history()
    }

    /// When the call was admitted.
    pub fn offered_at(&self) -> Instant {
        self.shared.offered_at
    }

    /// When the model was first ready, if it ever was.
    pub fn answered_at(&self) -> Option<Instant> {
        self.shared.answered_at
    }

    /// When the model first spoke, if it ever did.
    pub fn first_audio_at(&self) -> Option<Instant> {
        self.shared.first_audio_at
    }

    /// With which cause the switch hung up, where the event socket said so.
    pub fn hang_up_cause(&self) -> Option<&str> {
        self.line.hang_up_cause()
    }
}
