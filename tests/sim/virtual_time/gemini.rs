//! The gemini thread's loop around the model sides of its calls, without sockets.
//!
//! Runs in: the simulations, a share at a time. Owns nothing.
//! Invariant: as in `threads::gemini`: a link is always read.

use tandem::base::Instant;
use tandem::base::limits::CLOSE_TIMEOUT_MS;
use tandem::call::model::LinkEnd;
use tandem::call::{Fact, ModelOrder, Part as CallPart};
use tandem::codec::Provider;
use tandem::threads::gemini::model_side::{ModelSide, Wake};
use tandem::threads::messages::{ControlInput, GeminiOrder};

use super::call::{LinkSocket, Witness};
use super::plan::{FromGemini, Said};
use super::world::{Event, Part, World};

/// As in `threads::gemini`.
const REFILL_US: u64 = 40_000;
const GARBAGE_MAX: u32 = 8;

impl World {
    /// A share of a pass. Returns when it wants to run again.
    pub(super) fn gemini_step(&mut self) -> Option<Instant> {
        let now = self.now;
        self.take_gemini_orders();
        while let Some((id, link)) = self.connected.pop_front() {
            let number = self.number(id);
            self.link_is_up(number, link);
        }
        let mut share = self.share();
        let mut wake = Wake::default();
        let mut more = false;
        for number in 0..self.calls.len() {
            more |= !self.read_link(number, &mut share, &mut wake);
        }
        let backlog = share > 0 && self.serve_calls(&mut share, &mut wake);
        more |= share == 0;
        let mut closing = false;
        for call in &mut self.calls {
            let expired = call.link.as_ref().and_then(|link| link.close_by).map(|by| now >= by);
            if expired == Some(true) {
                call.link = None;
            }
            closing |= expired == Some(false);
        }
        if wake.telephony {
            self.ring(Part::Telephony);
        }
        if wake.dsp {
            self.ring(Part::Dsp);
        }
        if more {
            return Some(now.plus_us(self.rng.u64(0..100)));
        }
        (backlog || closing).then(|| now.plus_us(REFILL_US))
    }

    /// Whether a link is still there, open or being closed.
    pub(super) fn links_are_open(&self) -> bool {
        self.calls.iter().any(|call| call.link.is_some()) || !self.connected.is_empty()
    }

    fn take_gemini_orders(&mut self) {
        while let Some(order) = self.ends.gemini.take() {
            match order {
                GeminiOrder::Add(new) => {
                    let number = self.number(new.id);
                    let call = &mut self.calls[number];
                    call.model = Some(ModelSide::new(*new, call.plan.limits));
                }
                GeminiOrder::Call(id, ModelOrder::CloseLink(number)) => {
                    let by = self.now.plus_ms(CLOSE_TIMEOUT_MS);
                    let at = self.number(id);
                    let call = &mut self.calls[at];
                    call.orders.closes_link();
                    let model = call.model.as_mut();
                    let sent_again = model.and_then(|model| model.close(number, &mut self.pool));
                    if let Some(link) = call.link.as_mut().filter(|link| link.number == number) {
                        link.close_by = Some(by);
                        cut_off(&mut call.witness, link, self.now);
                    }
                    sent_again.into_iter().for_each(|fact| self.tell(id, fact));
                }
                GeminiOrder::Call(id, ModelOrder::Retire) => {
                    let at = self.number(id);
                    self.calls[at].orders.retires(CallPart::Gemini);
                    if let Some(model) = self.calls[at].model.take() {
                        model.release(&mut self.pool);
                    }
                    self.ends.inbox.send(ControlInput::Retired(id, CallPart::Gemini));
                }
                GeminiOrder::Call(id, ModelOrder::Prompt(_, text)) => {
                    let at = self.number(id);
                    self.calls[at].orders.prompts();
                    self.note(at, format_args!("prompt: {text}"));
                }
                GeminiOrder::Connected { .. } | GeminiOrder::Call(..) | GeminiOrder::Stop => {
                    unreachable!("never sent here")
                }
            }
        }
    }

    fn link_is_up(&mut self, number: usize, link: u32) {
        let now = self.now;
        let call = &mut self.calls[number];
        // Of one that was given up meanwhile nobody hears anything: it is dropped.
        let Some(model) = call.model.as_mut().filter(|model| model.closed() < link) else { return };
        model.connected(link);
        call.link = Some(LinkSocket {
            number: link,
            incoming: Default::default(),
            garbage: 0,
            speaking: None,
            close_by: None,
        });
        let arrivals: Vec<u64> = call.plan.from_gemini.iter().map(|(at, _)| *at).collect();
        let id = call.id;
        for (n, at) in arrivals.into_iter().enumerate() {
            self.expect(now.plus_us(at), number, Event::FromGemini(n));
        }
        self.tell(id, Fact::LinkConnected(link));
    }

    /// Reads a link. Returns false when the share was used up before.
    fn read_link(&mut self, number: usize, share: &mut u32, wake: &mut Wake) -> bool {
        loop {
            let Some(link) = &mut self.calls[number].link else { return true };
            if link.incoming.is_empty() {
                return true;
            }
            if *share == 0 {
                return false;
            }
            *share -= 1;
            match link.incoming.pop_front() {
                Some(FromGemini::Said(said)) => self.take_said(number, &said, wake),
                Some(FromGemini::Close(code, reason)) => {
                    self.drop_link(number, Provider::Gemini.end_of_close(Some(code), reason.as_bytes()));
                }
                Some(FromGemini::Drop) => self.drop_link(number, LinkEnd::dropped("reset")),
                None => {}
            }
        }
    }

    fn take_said(&mut self, number: usize, said: &Said, wake: &mut Wake) {
        let now = self.now;
        let call = &mut self.calls[number];
        let id = call.id;
        let (Some(model), Some(link), Some(witness)) = (&mut call.model, &mut call.link, &mut call.witness)
        else {
            return;
        };
        if link.close_by.is_some() {
            return;
        }
        let mut facts = Vec::new();
        let received = model.receive(&said.json, &mut self.pool, |fact| facts.push(fact));
        match received {
            Ok(woken) => {
                assert!(!said.garbage, "garbage was taken for a message");
                wake.dsp |= woken.dsp;
                wake.telephony |= woken.telephony;
            }
            Err(error) => {
                assert!(said.garbage, "a good message was not understood: {error}");
                link.garbage += 1;
                if link.garbage >= GARBAGE_MAX {
                    self.drop_link(number, LinkEnd::protocol(&error.to_string()));
                }
                return;
            }
        }
        if said.samples > 0 {
            witness.ear.answer_arrives(now, said.answer, said.samples);
            link.speaking = Some(said.answer);
        }
        if said.ends || said.interrupts {
            link.speaking = None;
        }
        if said.ends {
            witness.ear.answer_ends(now, said.answer);
        }
        if said.interrupts {
            witness.ear.interrupted(now, said.answer);
        }
        let Said { answer, samples, ends, interrupts, .. } = *said;
        self.note(
            number,
            format_args!("answer {answer}: {samples} samples, end {ends}, interrupted {interrupts}"),
        );
        for fact in facts {
            self.tell(id, fact);
        }
    }

    fn drop_link(&mut self, number: usize, end: LinkEnd) {
        self.note(number, format_args!("the link is gone: {end}"));
        let call = &mut self.calls[number];
        let Some(mut link) = call.link.take() else { return };
        if link.close_by.is_some() {
            return;
        }
        cut_off(&mut call.witness, &mut link, self.now);
        let model = call.model.as_mut();
        let sent_again = model.and_then(|model| model.disconnected(&mut self.pool, false));
        let id = call.id;
        sent_again.into_iter().for_each(|fact| self.tell(id, fact));
        self.tell(id, Fact::LinkGone(link.number, end));
    }

    /// Moves every call's speech on, both ways. Returns whether speech still waits here.
    fn serve_calls(&mut self, share: &mut u32, wake: &mut Wake) -> bool {
        let mut backlog = false;
        let mut json = Vec::new();
        for call in &mut self.calls {
            let (Some(model), Some(witness)) = (&mut call.model, &mut call.witness) else { continue };
            model.take_uplink(&mut self.pool, drop);
            let tally = witness.shared.tally.snapshot();
            if tally.uplink_frames_dropped + tally.silence_cut_frames > 0 {
                witness.hearing.speech_is_given_up();
            }
            if model.has_backlog() {
                wake.dsp |= model.fill(&mut self.pool);
                backlog |= model.has_backlog();
            }
            if call.link.as_ref().is_none_or(|link| link.close_by.is_some()) {
                continue;
            }
            while *share > 0 && model.next_message(&mut self.pool, &mut json) {
                *share = share.saturating_sub(1);
                witness.hearing.hear(std::str::from_utf8(&json).expect("ASCII"));
            }
        }
        backlog
    }
}

/// The link is gone in the middle of an answer: what came of it is all of it.
fn cut_off(witness: &mut Option<Witness>, link: &mut LinkSocket, now: Instant) {
    if let (Some(witness), Some(answer)) = (witness, link.speaking.take()) {
        witness.ear.answer_ends(now, answer);
    }
}
