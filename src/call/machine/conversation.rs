//! The conversation with the model over its links: when one is dialled, left and followed by the next, and when there is no use
//! in another; and what was said.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the times and counts of that, and the transcript.
//! Never dials while an older link may be open: a conversation is resumed only where no other link holds it.
//! Invariant: as long as the call has no outcome and is not being given up, there is a link in use or on its way, or a time
//! at which one will be.

use std::time::Duration;

use super::shared::Shared;
use super::watchdog::NUDGE;
use crate::base::{Instant, LinkNumber};
use crate::call::events::{Fact, ModelOrder, Order};
use crate::call::model::{LinkEndKind, SessionResumption, SetupRequest};
use crate::call::outcome::{Cause, Outcome};
use crate::call::session::LinkState;
use crate::call::transcript::{Spoken, Transcript};

/// How long the next link is waited for after so many failures in a row; as long as the last one after more.
const BACK_OFF_MS: [u64; 5] = [0, 500, 1_000, 2_000, 4_000];
/// How much of a wait is left to chance, so that calls which lost their links together do not come back together.
const JITTER_PERCENT: u64 = 25;
/// How long the closing of a link is waited for before the next is dialled all the same.
const CLOSE_WITHIN_MS: u64 = 500;
/// A link that lived this long ends a series of failures.
const STABLE_MS: u64 = 2_000;
/// How much earlier than the server a link is left that found no pause, at most; a quarter of the time if that is less.
const GO_AWAY_MARGIN_MS: u64 = 5_000;
/// Setups with one handle that may be refused for a reason which passes.
const REFUSALS_MAX: u32 = 2;
/// What the caller said so long ago, and nobody has answered or asked about since, is not answered on another link.
const UNANSWERED_MS: u64 = 15_000;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    transcript: Transcript,
    /// Until when what the session's state waits for must have come.
    due: Option<Instant>,
    /// The link is to be left in the next pause, and by then in any case.
    leave_by: Option<Instant>,
    /// The credential of the last setup, and whether that held a handle.
    credential: usize,
    with_handle: bool,
    /// How many turns were complete where the session goes on from; 0 for a new one.
    resumed_from: u64,
    /// The next setup begins a new conversation, whatever handle there is.
    anew: bool,
    failures: u32,
    refusals: u32,
    /// Since when links fail, without one between that lived for a while.
    trouble_since: Option<Instant>,
    /// Why the last attempt failed that had time to succeed.
    trouble: Option<Cause>,
    live_since: Option<Instant>,
    /// Since when the model hears nothing, once it has heard something.
    gap_since: Option<Instant>,
    chance: u64,
    /// To be said on the next link: the model was cut off in the middle.
    go_on: Option<String>,
    /// How much of the present turn was received and waits, when last told.
    spoken: Spoken,
}

impl Conversation {
    /// Decides by chance with this seed from here on.
    pub(super) fn seed(&mut self, seed: u64) {
        self.chance = seed;
    }

    /// What was said so far.
    pub(super) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Writes down what is said, as a fact has it that is of the present link if it is of any.
    pub(super) fn take(&mut self, shared: &Shared, fact: &Fact) {
        let now_ms = shared.now_ms();
        match fact {
            Fact::TurnStarted(_) => {
                self.spoken = Spoken::default();
                self.transcript.model_began(now_ms);
            }
            Fact::Spoken(_, spoken) => {
                self.spoken = *spoken;
                self.transcript.model_spoke(*spoken);
            }
            Fact::Transcribed(_, speaker, text) => self.transcript.transcribed(now_ms, *speaker, text),
            Fact::TurnComplete(_) => self.transcript.model_ended(now_ms),
            Fact::Interrupted(_) => self.transcript.interrupted(now_ms, self.spoken),
            Fact::CallerSpoke(begins) => self.transcript.caller_spoke(now_ms, *begins),
            _ => {}
        }
    }

    /// Leaves the present link for another one that goes on with the conversation. Without a live link there is nothing
    /// to leave: the next one is on its way.
    pub(super) fn leave(&mut self, shared: &mut Shared) {
        let Some(link) = shared.session.live() else { return };
        shared.order_model(ModelOrder::CloseLink(link));
        shared.session.without_link(LinkState::Closing);
        self.left(shared);
        self.failures = 0;
        self.due = Some(shared.now.plus_ms(CLOSE_WITHIN_MS));
    }

    /// Leaves the present link for one with a new conversation, which is told what was said so far.
    pub(super) fn leave_for_anew(&mut self, shared: &mut Shared) {
        self.anew = true;
        self.leave(shared);
    }

    /// Dials the next link.
    pub(super) fn dial(&mut self, shared: &mut Shared) {
        let link = shared.session.dial();
        let due = self.not_beyond_giving_up(shared, shared.terms().dial_timeout);
        self.due = Some(due);
        self.trouble = self.trouble.take().filter(|_| due <= shared.now);
        shared.order(Order::Dial(link));
    }

    /// A link is connected, its setup sent.
    pub(super) fn connected(&mut self, shared: &mut Shared, link: LinkNumber) {
        if shared.session.link() != Some(link) {
            // Connected after it was given up.
            shared.order_model(ModelOrder::CloseLink(link));
        } else if shared.session.state() == LinkState::Dialing {
            shared.session.advance(link, LinkState::SettingUp);
            self.due = Some(self.not_beyond_giving_up(shared, shared.terms().setup_timeout));
        }
    }

    /// What the next link is asked for, as far as that is the conversation's, under this credential.
    pub(super) fn begin_setup(&mut self, shared: &Shared, credential: usize, setup: &mut SetupRequest) {
        let handle = shared.session.handle(credential, shared.floor.turns()).filter(|_| !self.anew);
        (self.credential, self.with_handle) = (credential, handle.is_some());
        self.resumed_from = handle.map_or(0, |handle| shared.session.turns_at(handle));
        if handle.is_none() && shared.answered_at.is_some() {
            self.tell_what_was_said(setup);
        }
        setup.resumption = Some(SessionResumption { handle: handle.map(str::to_owned) });
    }

    /// How many turns were complete where the present link goes on from.
    pub(super) fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    /// The setup was accepted: speech flows. Somebody waits for the model since then, if anybody does.
    pub(super) fn live(&mut self, shared: &mut Shared, link: LinkNumber, waits_since: Option<Instant>) {
        let now = shared.now;
        if shared.session.state() == LinkState::Live || !shared.session.advance(link, LinkState::Live) {
            return;
        }
        (self.due, self.leave_by, self.refusals, self.anew) = (None, None, 0, false);
        self.live_since = Some(now);
        let gap_ms = self.gap_since.take().map(|since| now.since_ms(since));
        if shared.answered_at.is_some() {
            let after = gap_ms.map_or(String::new(), |gap_ms| format!("after {gap_ms} ms"));
            let counts = &mut shared.counts;
            let (count, noted) = match self.with_handle {
                true => (&mut counts.resumptions, "resumed"),
                false => (&mut counts.fresh_sessions, "fresh_session"),
            };
            *count += 1;
            shared.note_of(noted, &after);
        }
        if self.with_handle {
            self.transcript.resumed();
        } else {
            shared.session.forget_handles();
        }
        shared.floor.ready(now, gap_ms.unwrap_or_default());
        shared.counts.gap_ms_max = shared.counts.gap_ms_max.max(gap_ms.unwrap_or_default());
        shared.counts.gap_ms_total += gap_ms.unwrap_or_default();
        let mut prompts = shared.floor.take_prompts();
        let go_on = self.go_on.take().or_else(|| {
            let asked = self.transcript.unanswered().filter(|_| gap_ms.is_some())?;
            (now.since_ms(waits_since?) < UNANSWERED_MS).then(|| answer_now(asked))
        });
        if go_on.is_some() {
            // It says the same, and what about.
            prompts.retain(|text| text != NUDGE && Some(text) != go_on.as_ref());
        }
        for text in go_on.into_iter().chain(prompts) {
            shared.prompt(text);
        }
    }

    /// What becomes of the caller's speech that a link was left with.
    pub(super) fn sent_again(&mut self, shared: &Shared, link: LinkNumber, again: bool) {
        // News of the link that was left last, or is about to be.
        if shared.session.last() == link {
            self.transcript.sent_again(again);
        }
    }

    /// Tells a model that knows nothing of the call what was said in it.
    fn tell_what_was_said(&self, setup: &mut SetupRequest) {
        let instructions = setup.instructions.take().unwrap_or_default();
        let said = self.transcript.digest();
        let said = if said.is_empty() { "(not known)" } else { &said };
        setup.instructions = Some(format!(
            "{instructions}\n\nThis call is under way already; the connection to you was lost and is there again. What was \
             said so far, the oldest first:\n{said}\nGo on with the call. Do not greet again, and do not mention the \
             connection."
        ));
    }

    /// The server will end the link in so much time.
    pub(super) fn go_away(&mut self, shared: &mut Shared, link: LinkNumber, left_ms: u64) {
        if shared.session.live() == Some(link) {
            shared.counts.go_aways += 1;
            shared.note_of("go_away", &format!("{left_ms} ms left"));
            let margin_ms = GO_AWAY_MARGIN_MS.min(left_ms / 4);
            self.leave_by = Some(shared.now.plus_ms(left_ms - margin_ms));
        }
    }

    /// A handle came.
    pub(super) fn resumable(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        handle: String,
        awaits_tools: bool,
    ) {
        let at_boundary = !shared.floor.is_open() && !awaits_tools;
        let (credential, turns) = (self.credential, shared.floor.turns());
        shared.session.resumable(link, handle, credential, turns, at_boundary);
        if at_boundary && shared.session.live() == Some(link) {
            shared.floor.handle_came();
        }
    }

    /// A link that we closed is gone.
    pub(super) fn closed(&mut self, shared: &mut Shared, link: LinkNumber) {
        if shared.session.closing() == Some(link) {
            self.dial(shared);
        }
    }

    /// The present link did not come about, or was lost. Returns why there is no use in another, if so.
    pub(super) fn lost(&mut self, shared: &mut Shared, cause: Cause) -> Option<Cause> {
        let now = shared.now;
        let was = shared.session.state();
        shared.counts.link_failed(&cause);
        let mut wait_ms = 0;
        if let (Cause::DialTimeout | Cause::SetupTimeout, Some(link)) = (&cause, shared.session.link()) {
            shared.order_model(ModelOrder::CloseLink(link));
            wait_ms = CLOSE_WITHIN_MS;
        }
        shared.session.without_link(LinkState::Waiting);
        let what = Outcome::of(cause.clone()).to_string();
        if was == LinkState::Live {
            shared.note_of("link_lost", &what);
            self.left(shared);
        } else {
            shared.counts.failed_attempts += 1;
            shared.note_of("link_failed", &what);
            if self.is_useless(shared, was, &cause) {
                return Some(cause);
            }
        }
        let since = *self.trouble_since.get_or_insert(now);
        let end = since.plus(shared.terms().give_up);
        if now >= end {
            // An attempt at the very end has no time: what failed before is why.
            let before = self.trouble.take().filter(|_| cause == Cause::DialTimeout);
            return before.or(Some(cause));
        }
        let wait_ms = self.back_off_ms().max(wait_ms);
        if wait_ms == 0 {
            self.dial(shared);
        } else {
            self.trouble = Some(cause);
            self.due = Some(now.plus_ms(wait_ms).min(end));
        }
        None
    }

    /// Whether another attempt would fail as this one did. A conversation that cannot be resumed is begun anew.
    fn is_useless(&mut self, shared: &Shared, was: LinkState, cause: &Cause) -> bool {
        use LinkEndKind::{ContextExhausted, InvalidArgument, Quota, Unsupported};
        let kind = match cause {
            Cause::Link(end) => Some(end.kind),
            _ => None,
        };
        if was == LinkState::SettingUp && self.with_handle {
            let of_the_handle = matches!(kind, Some(ContextExhausted | InvalidArgument | Unsupported));
            self.refusals += 1;
            if of_the_handle || self.refusals >= REFUSALS_MAX {
                self.anew = true;
            }
            if of_the_handle {
                return false;
            }
        }
        match cause {
            // Said by ourselves, as where no credential has room: a call that is under way waits for it.
            Cause::Link(end) if end.close_code.is_none() && end.http_status.is_none() => {
                shared.answered_at.is_none() && end.is_fatal_at_setup()
            }
            // Another credential may have room.
            Cause::Link(end) if end.kind == Quota => false,
            Cause::Link(end) => end.is_fatal_at_setup(),
            _ => false,
        }
    }

    /// The live link is one no more.
    fn left(&mut self, shared: &mut Shared) {
        let now = shared.now;
        self.gap_since.get_or_insert(now);
        self.leave_by = None;
        if self.live_since.is_some_and(|since| now.since_ms(since) >= STABLE_MS) {
            (self.failures, self.trouble_since) = (0, None);
        }
        let broken_off = self.transcript.broken_off();
        if shared.floor.leave(now, broken_off.is_some()) {
            shared.counts.broken_off += 1;
            self.go_on = Some(go_on(broken_off));
        }
        self.transcript.link_lost(shared.now_ms());
    }

    fn back_off_ms(&mut self) -> u64 {
        let step = BACK_OFF_MS[(self.failures as usize).min(BACK_OFF_MS.len() - 1)];
        self.failures += 1;
        // The generator of Knuth's MMIX: good enough to scatter some calls.
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        step + step * ((self.chance >> 33) % JITTER_PERCENT) / 100
    }

    fn not_beyond_giving_up(&self, shared: &Shared, within: Duration) -> Instant {
        let give_up = self.trouble_since.map(|since| since.plus(shared.terms().give_up));
        let at = shared.now.plus(within);
        give_up.map_or(at, |give_up| give_up.min(at))
    }

    /// Does what is due. Returns why there is no use in another link, if so.
    pub(super) fn tick(&mut self, shared: &mut Shared) -> Option<Cause> {
        match shared.session.state() {
            LinkState::None => {}
            LinkState::Live => self.leave(shared),
            LinkState::Dialing => return self.lost(shared, Cause::DialTimeout),
            LinkState::SettingUp => return self.lost(shared, Cause::SetupTimeout),
            LinkState::Closing | LinkState::Waiting => self.dial(shared),
        }
        None
    }

    /// When [`Conversation::tick`] has something to do.
    pub(super) fn deadline(&self, shared: &Shared, awaits_tools: bool) -> Option<Instant> {
        match shared.session.state() {
            LinkState::Live => {}
            LinkState::Dialing | LinkState::SettingUp => return self.due.map(|at| shared.excused(at)),
            _ => return self.due,
        }
        let by = self.leave_by?;
        let pause = shared.floor.pause_at().filter(|_| !awaits_tools);
        Some(pause.map_or(by, |pause| pause.min(by)))
    }

    /// The call is over, or given up: the model is let go.
    pub(super) fn end(&mut self, shared: &mut Shared) {
        if let Some(link) = shared.session.link() {
            shared.order_model(ModelOrder::CloseLink(link));
        }
        shared.session.without_link(LinkState::None);
        self.due = None;
    }
}

/// What a model is told that does not know, or not for sure, what the caller waits for.
fn answer_now(asked: &str) -> String {
    format!(
        "The connection to you was lost and is there again. The caller had said: \"{asked}\". If you have not answered that, \
         answer it now; do not greet, and do not mention the connection."
    )
}

/// What a model is told that was cut off: what it answered, and how far it had come.
fn go_on(broken_off: Option<(&str, &str)>) -> String {
    let so_far = match broken_off {
        Some((asked, said)) if !said.is_empty() => {
            let asked =
                if asked.is_empty() { String::new() } else { format!("The caller had said: \"{asked}\". ") };
            format!("{asked}The caller has heard of your answer: \"{said}\". Go on right behind these words")
        }
        _ => "Go on where you stopped".to_owned(),
    };
    format!(
        "The connection to you broke off while you were speaking and is there again. {so_far}; do not repeat them, do not \
         greet, and do not mention the connection."
    )
}
