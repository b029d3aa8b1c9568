//! The machine's part in links: when one is dialled, left and followed by the next, and when there is no use in another.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the times and counts of that.
//! Never dials while an older link may be open: a conversation is resumed only where no other link holds it.
//! Invariant: as long as the call has no outcome and is not being given up, there is a link in use or on its way, or a time
//! at which one will be.

use super::Machine;
use super::watchdog::NUDGE;
use crate::base::{Instant, LinkNumber};
use crate::call::events::{ModelOrder, Order};
use crate::call::model::{LinkEndKind, SetupRequest};
use crate::call::outcome::{Cause, Outcome};
use crate::call::session::LinkState;
use crate::call::transcript::Spoken;

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
pub(super) struct Links {
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
    pub(super) gap_since: Option<Instant>,
    chance: u64,
    /// To be said on the next link: the model was cut off in the middle.
    go_on: Option<String>,
    /// How much of the present turn was received and waits, when last told.
    pub(super) spoken: Spoken,
}

impl Machine {
    /// Decides by chance with this seed from here on.
    pub(super) fn seed(&mut self, seed: u64) {
        self.links.chance = seed;
    }

    /// Leaves the present link for another one that goes on with the conversation. Without a live link there is nothing
    /// to leave: the next one is on its way.
    pub fn rotate(&mut self, now: Instant) {
        self.shared.now = now;
        self.leave(now);
        self.settle();
    }

    pub(super) fn leave(&mut self, now: Instant) {
        let Some(link) = self.shared.session.live().filter(|_| self.outcome.is_none()) else { return };
        self.shared.order_model(ModelOrder::CloseLink(link));
        self.shared.session.without_link(LinkState::Closing);
        self.left(now);
        self.links.failures = 0;
        self.links.due = Some(now.plus_ms(CLOSE_WITHIN_MS));
    }

    /// Leaves the present link for one with a new conversation, which is told what was said so far.
    pub(super) fn fresh(&mut self, now: Instant) {
        self.links.anew = true;
        self.leave(now);
    }

    /// Dials the next link.
    pub(super) fn dial(&mut self, now: Instant) {
        let link = self.shared.session.dial();
        let due = self.not_beyond_giving_up(now.plus(self.shared.terms().dial_timeout));
        self.links.due = Some(due);
        self.links.trouble = self.links.trouble.take().filter(|_| due <= now);
        self.shared.order(Order::Dial(link));
    }

    /// A link is connected, its setup sent.
    pub(super) fn link_connected(&mut self, now: Instant, link: u32) {
        if self.shared.session.advance(link, LinkState::SettingUp) {
            self.links.due = Some(self.not_beyond_giving_up(now.plus(self.shared.terms().setup_timeout)));
        } else {
            // Connected after it was given up.
            self.shared.order_model(ModelOrder::CloseLink(link));
        }
    }

    /// The handle for the next setup, under this credential.
    pub(super) fn handle_for(&mut self, credential: usize) -> Option<String> {
        let handle = self.shared.session.handle(credential, self.shared.floor.turns()).map(str::to_owned);
        let handle = handle.filter(|_| !self.links.anew);
        (self.links.credential, self.links.with_handle) = (credential, handle.is_some());
        self.links.resumed_from = match &handle {
            Some(handle) => self.shared.session.turns_at(handle),
            None => 0,
        };
        handle
    }

    /// The setup was accepted: speech flows.
    pub(super) fn link_live(&mut self, now: Instant, link: u32) {
        if self.shared.session.state() == LinkState::Live
            || !self.shared.session.advance(link, LinkState::Live)
        {
            return;
        }
        let links = &mut self.links;
        (links.due, links.leave_by, links.refusals, links.anew) = (None, None, 0, false);
        links.live_since = Some(now);
        let (with_handle, gap_since) = (links.with_handle, links.gap_since.take());
        let gap_ms = gap_since.map(|since| now.since_ms(since));
        let after = gap_ms.map_or(String::new(), |gap_ms| format!("after {gap_ms} ms"));
        match (self.shared.answered_at.is_some(), with_handle) {
            (true, true) => {
                self.shared.counts.resumptions += 1;
                self.shared.note_of("resumed", &after);
            }
            (true, false) => {
                self.shared.counts.fresh_sessions += 1;
                self.shared.note_of("fresh_session", &after);
            }
            (false, _) => {}
        }
        self.tools.resumed(now, self.links.resumed_from);
        if with_handle {
            self.transcript.resumed();
        } else {
            self.shared.session.forget_handles();
        }
        self.shared.floor.ready(now, gap_ms.unwrap_or_default());
        if let Some(gap_ms) = gap_ms {
            self.shared.counts.gap_ms_max = self.shared.counts.gap_ms_max.max(gap_ms);
            self.shared.counts.gap_ms_total += gap_ms;
        }
        let mut prompts = self.shared.floor.take_prompts();
        let go_on = self.links.go_on.take().or_else(|| {
            let asked = self.transcript.unanswered().filter(|_| gap_ms.is_some())?;
            let waits = self.watchdog.waits_since()?;
            (now.since_ms(waits) < UNANSWERED_MS).then(|| answer_now(asked))
        });
        if go_on.is_some() {
            // It says the same, and what about.
            prompts.retain(|text| text != NUDGE && Some(text) != go_on.as_ref());
        }
        for text in go_on.into_iter().chain(prompts) {
            self.shared.prompt(text);
        }
    }

    /// What becomes of the caller's speech that a link was left with.
    pub(super) fn sent_again(&mut self, link: LinkNumber, again: bool) {
        // News of the link that was left last, or is about to be.
        if self.shared.session.last() == link {
            self.transcript.sent_again(again);
        }
    }

    /// Tells a model that knows nothing of the call what was said in it.
    pub(super) fn tell_what_was_said(&self, setup: &mut SetupRequest) {
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
    pub(super) fn go_away(&mut self, now: Instant, link: u32, left_ms: u64) {
        if self.shared.session.live() == Some(link) {
            self.shared.counts.go_aways += 1;
            self.shared.note_of("go_away", &format!("{left_ms} ms left"));
            let margin_ms = GO_AWAY_MARGIN_MS.min(left_ms / 4);
            self.links.leave_by = Some(now.plus_ms(left_ms - margin_ms));
        }
    }

    /// A handle came.
    pub(super) fn resumable(&mut self, link: u32, handle: String) {
        let at_boundary = !self.shared.floor.is_open() && !self.awaits_tools();
        let (credential, turns) = (self.links.credential, self.shared.floor.turns());
        self.shared.session.resumable(link, handle, credential, turns, at_boundary);
        if at_boundary && self.shared.session.live() == Some(link) {
            self.shared.floor.handle_came();
        }
    }

    /// A link that we closed is gone.
    pub(super) fn link_closed(&mut self, now: Instant, link: u32) {
        if self.shared.session.closing() == Some(link) && self.outcome.is_none() {
            self.dial(now);
        }
    }

    /// The present link did not come about, or was lost.
    pub(super) fn link_lost(&mut self, now: Instant, cause: Cause) {
        let was = self.shared.session.state();
        self.shared.counts.link_failed(&cause);
        let mut wait_ms = 0;
        if let (Cause::DialTimeout | Cause::SetupTimeout, Some(link)) = (&cause, self.shared.session.link()) {
            self.shared.order_model(ModelOrder::CloseLink(link));
            wait_ms = CLOSE_WITHIN_MS;
        }
        self.shared.session.without_link(LinkState::Waiting);
        let what = Outcome::of(cause.clone()).to_string();
        if was == LinkState::Live {
            self.shared.note_of("link_lost", &what);
            self.left(now);
        } else {
            self.shared.counts.failed_attempts += 1;
            self.shared.note_of("link_failed", &what);
            if self.is_useless(was, &cause) {
                return self.give_up(now, cause);
            }
        }
        let since = *self.links.trouble_since.get_or_insert(now);
        let end = since.plus(self.shared.terms().give_up);
        if now >= end {
            // An attempt at the very end has no time: what failed before is why.
            let before = self.links.trouble.take().filter(|_| cause == Cause::DialTimeout);
            return self.give_up(now, before.unwrap_or(cause));
        }
        let wait_ms = self.back_off_ms().max(wait_ms);
        if wait_ms == 0 {
            self.dial(now);
        } else {
            self.links.trouble = Some(cause);
            self.links.due = Some(now.plus_ms(wait_ms).min(end));
        }
    }

    /// Whether another attempt would fail as this one did. A conversation that cannot be resumed is begun anew.
    fn is_useless(&mut self, was: LinkState, cause: &Cause) -> bool {
        use LinkEndKind::{ContextExhausted, InvalidArgument, Quota, Unsupported};
        let kind = match cause {
            Cause::Link(end) => Some(end.kind),
            _ => None,
        };
        if was == LinkState::SettingUp && self.links.with_handle {
            let of_the_handle = matches!(kind, Some(ContextExhausted | InvalidArgument | Unsupported));
            self.links.refusals += 1;
            if of_the_handle || self.links.refusals >= REFUSALS_MAX {
                self.links.anew = true;
            }
            if of_the_handle {
                return false;
            }
        }
        match cause {
            // Said by ourselves, as where no credential has room: a call that is under way waits for it.
            Cause::Link(end) if end.close_code.is_none() && end.http_status.is_none() => {
                self.shared.answered_at.is_none() && end.is_fatal_at_setup()
            }
            // Another credential may have room.
            Cause::Link(end) if end.kind == Quota => false,
            Cause::Link(end) => end.is_fatal_at_setup(),
            _ => false,
        }
    }

    /// The live link is one no more.
    fn left(&mut self, now: Instant) {
        self.links.gap_since.get_or_insert(now);
        self.links.leave_by = None;
        if self.links.live_since.is_some_and(|since| now.since_ms(since) >= STABLE_MS) {
            (self.links.failures, self.links.trouble_since) = (0, None);
        }
        let broken_off = self.transcript.broken_off();
        let left = self.shared.floor.leave(now, broken_off.is_some());
        if left.broken_off {
            self.shared.counts.broken_off += 1;
            self.links.go_on = Some(go_on(broken_off));
        }
        self.transcript.link_lost(now.since_ms(self.shared.offered_at));
        self.watchdog.left(now, left);
    }

    fn back_off_ms(&mut self) -> u64 {
        let links = &mut self.links;
        let step = BACK_OFF_MS[(links.failures as usize).min(BACK_OFF_MS.len() - 1)];
        links.failures += 1;
        // The generator of Knuth's MMIX: good enough to scatter some calls.
        links.chance =
            links.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        step + step * ((links.chance >> 33) % JITTER_PERCENT) / 100
    }

    fn not_beyond_giving_up(&self, at: Instant) -> Instant {
        let give_up = self.links.trouble_since.map(|since| since.plus(self.shared.terms().give_up));
        give_up.map_or(at, |give_up| give_up.min(at))
    }

    /// Does what is due.
    pub(super) fn tick_links(&mut self, now: Instant) {
        match self.shared.session.state() {
            LinkState::None => {}
            LinkState::Live => self.leave(now),
            LinkState::Dialing => self.link_lost(now, Cause::DialTimeout),
            LinkState::SettingUp => self.link_lost(now, Cause::SetupTimeout),
            LinkState::Closing | LinkState::Waiting => self.dial(now),
        }
    }

    /// When [`Machine::tick_links`] has something to do.
    pub(super) fn links_deadline(&self) -> Option<Instant> {
        if self.shared.session.state() != LinkState::Live {
            return self.links.due;
        }
        let by = self.links.leave_by?;
        let pause = self.shared.floor.pause_at().filter(|_| !self.awaits_tools());
        Some(pause.map_or(by, |pause| pause.min(by)))
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
