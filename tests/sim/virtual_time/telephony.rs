//! The telephony thread's loop around its legs, without sockets.
//!
//! Runs in: the simulations, a share at a time. Owns nothing.
//! Invariant: as in `threads::telephony`: a stalled leg is not read, and a message leaves only while the output is empty.

use tandem::base::Instant;
use tandem::base::limits::CLOSE_TIMEOUT_MS;
use tandem::call::events::LegEnd;
use tandem::call::{Fact, LegOrder};
use tandem::threads::messages::TelephonyOrder;
use tandem::threads::telephony::leg::Received;

use super::call::{Call, LegSocket, Witness};
use super::plan::FromSwitch;
use super::world::{Event, Part, World};

/// The messages of one share of the socket, about as many frames as the bytes of a real share hold.
const MESSAGES_PER_PASS: usize = 8;

/// As in `threads::telephony`.
const RETRY_US: u64 = 2_000;
const SWEEP_US: u64 = 250_000;

/// What reading a leg brought.
enum Read {
    Drained,
    /// There is more to read, next time.
    More,
    Over(LegEnd),
}

impl World {
    /// A share of a pass. Returns when it wants to run again.
    pub(super) fn telephony_step(&mut self) -> Option<Instant> {
        let now = self.now;
        while let Some(order) = self.ends.telephony.take() {
            match order {
                TelephonyOrder::Add(leg) => {
                    let number = self.number(leg.id);
                    self.calls[number].take_leg(*leg, now);
                }
                TelephonyOrder::Call(id, LegOrder::Close(close)) => {
                    let number = self.number(id);
                    self.note(number, format_args!("the leg is closed with {}", close.code().code()));
                    self.calls[number].orders.closes_leg();
                    if self.calls[number].lost_leg.take().is_some() {
                        self.tell(id, Fact::LegGone(LegEnd::ByUs));
                    }
                    self.start_close(number, LegEnd::ByUs);
                }
                _ => unreachable!("never sent here"),
            }
        }
        let mut share = self.share();
        let (mut heard, mut retry, mut more) = (false, false, false);
        for number in 0..self.calls.len() {
            let Some(socket) = &mut self.calls[number].leg else { continue };
            if socket.leg.is_stalled() && socket.leg.resume(now, &mut heard) {
                socket.remembered = true;
            }
            self.calls[number].caller_was_taken();
            match self.read_leg(number, &mut share, &mut heard) {
                Read::Drained => {}
                Read::More => more = true,
                Read::Over(end) => {
                    self.give_leg_up(number, end);
                    continue;
                }
            }
            let Some(socket) = &mut self.calls[number].leg else { continue };
            retry |= socket.leg.is_stalled();
            match &socket.closing {
                Some((end, by)) if now >= *by || socket.agreed => {
                    let end = end.clone();
                    self.give_leg_up(number, end);
                }
                _ => more |= !self.write_leg(number, &mut share),
            }
        }
        if heard {
            self.ring(Part::Dsp);
        }
        if more {
            return Some(now.plus_us(self.rng.u64(0..100)));
        }
        Some(now.plus_us(if retry { RETRY_US } else { SWEEP_US }))
    }

    fn read_leg(&mut self, number: usize, share: &mut u32, heard: &mut bool) -> Read {
        let now = self.now;
        for _ in 0..MESSAGES_PER_PASS {
            let call = &mut self.calls[number];
            let Some(socket) = &mut call.leg else { return Read::Drained };
            if !socket.remembered || socket.leg.is_stalled() {
                return Read::Drained;
            }
            if *share == 0 {
                return Read::More;
            }
            *share -= 1;
            let Some(message) = socket.incoming.pop_front() else {
                socket.remembered = false;
                return Read::Drained;
            };
            let received = match message {
                FromSwitch::Audio(bytes) => {
                    *heard = true;
                    socket.leg.receive_audio(bytes.into(), now)
                }
                FromSwitch::Text(text) => socket.leg.receive_text(&text, now),
                FromSwitch::Close(code) => return Read::Over(socket.ended(LegEnd::Closed(code))),
                FromSwitch::Drop => return Read::Over(socket.ended(LegEnd::Dropped("reset".into()))),
            };
            call.caller_was_taken();
            match received {
                Received::Done => {}
                Received::Stalled => return Read::Drained,
                Received::Identified(fields) => {
                    let id = call.id;
                    self.tell(id, Fact::Identified(fields));
                }
                Received::Reported(report) => {
                    let id = call.id;
                    self.tell(id, Fact::Reported(report));
                }
                Received::HungUp => return Read::Over(LegEnd::HungUp),
                Received::Refused(why) => self.start_close(number, LegEnd::Protocol(why.into())),
                Received::Flood => self.start_close(number, LegEnd::Protocol("a flood".into())),
            }
        }
        Read::More
    }

    /// Hands over what is due. Returns false when the share was used up before.
    fn write_leg(&mut self, number: usize, share: &mut u32) -> bool {
        let now = self.now;
        loop {
            let call = &mut self.calls[number];
            let Some(socket) = &mut call.leg else { return true };
            if socket.stalled || socket.closing.is_some() {
                return true;
            }
            if *share == 0 {
                return false;
            }
            *share -= 1;
            let Some(message) = socket.leg.next_message() else { return true };
            if let Some(witness) = &mut call.witness {
                witness.ear.hear(now, &message);
            }
            self.note(number, format_args!("{} bytes to the switch", message.len()));
        }
    }

    fn start_close(&mut self, number: usize, end: LegEnd) {
        let now = self.now;
        let Some(socket) = &mut self.calls[number].leg else { return };
        if socket.closing.is_none() {
            socket.closing = Some((end, now.plus_ms(CLOSE_TIMEOUT_MS)));
            self.calls[number].witness.iter_mut().for_each(Witness::goes_deaf);
            if let Some(us) = self.calls[number].plan.closes_after_us {
                self.expect(now.plus_us(us), number, Event::SwitchAgrees);
            }
        }
    }

    fn give_leg_up(&mut self, number: usize, end: LegEnd) {
        self.note(number, format_args!("the leg is gone: {end:?}"));
        let call = &mut self.calls[number];
        let socket = call.leg.take();
        call.witness.iter_mut().for_each(Witness::goes_deaf);
        if let Some(witness) = &call.witness
            && call.plan.hears_everything
        {
            witness.ear.assert_everything_was_heard();
        }
        let id = call.id;
        if end.may_come_back() {
            call.lost_leg = socket.map(|socket| socket.leg);
            self.tell(id, Fact::LegLost(1, end));
        } else {
            self.tell(id, Fact::LegGone(end));
        }
    }
}

impl LegSocket {
    /// How the leg ended: as we wanted it to, where we wanted it.
    fn ended(&self, end: LegEnd) -> LegEnd {
        self.closing.as_ref().map_or(end, |(ours, _)| ours.clone())
    }
}

impl Call {
    /// Tells the listeners what the leg has taken from the caller, and what it makes of the rate.
    fn caller_was_taken(&mut self) {
        if let Some(witness) = &mut self.witness {
            let format = witness.shared.format();
            witness.ear.format_changes(format);
            let taken = witness.shared.tally.snapshot().caller_samples as usize;
            witness.hearing.caller_speaks(taken, format.rate);
        }
    }
}
