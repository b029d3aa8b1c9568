//! The switch and its caller: talkspurts whose frames can be told apart, and legs that are lost and come back, with the
//! telephony thread's loop around the leg.
//!
//! Runs in: the simulation. Owns what the caller has said, and the leg.
//! Invariant: every frame is different from every other, and loud enough to be found as speech.

use tandem::admission::Arrival;
use tandem::base::Instant;
use tandem::call::events::{ConnectionNumber, LegEnd};
use tandem::call::leg::CallFields;
use tandem::call::{Fact, LegOrder};
use tandem::threads::messages::{ControlInput, NewLeg, ReturnedLeg, TelephonyOrder};
use tandem::threads::telephony::defaults::LegDefaults;
use tandem::threads::telephony::leg::{Leg, Received};

use super::world::{Event, LEG, LegLoss, UUID, World};
use crate::relay::{SWITCH, shown};

/// What the first sample of a frame says of the others.
const MAGIC: i16 = 12_345;
const FRAME: usize = 320;
/// Within so many frames the relay finds a talkspurt.
const ONSET_FRAMES: usize = 5;

/// What was said and heard of each talkspurt.
#[derive(Debug, Default)]
pub(super) struct Spurt {
    /// Times that each frame reached the model.
    pub heard: Vec<u32>,
    /// When its last frame was said, in microseconds.
    pub ended_us: Option<u64>,
    /// The model has begun an answer since it heard all of it.
    pub answered: bool,
}

impl Spurt {
    /// Times that all of it reached the model.
    pub(super) fn heard_whole(&self) -> u32 {
        self.heard.iter().copied().min().unwrap_or_default()
    }

    /// Times that all of it but its onset did: where the model finds talkspurts itself, the mark from which one is sent
    /// again stands where the relay found it, some frames in.
    pub(super) fn heard_behind_onset(&self) -> u32 {
        self.heard.iter().skip(ONSET_FRAMES).copied().min().unwrap_or_default()
    }
}

/// The audio of a frame of 20 ms at 16 kHz.
fn frame(spurt: usize, number: usize) -> Vec<u8> {
    let mut samples = [0_i16; FRAME];
    for (n, sample) in samples.iter_mut().enumerate() {
        // A voice of 200 Hz.
        *sample = if (n / 40) % 2 == 0 { 6_000 } else { -6_000 };
    }
    (samples[0], samples[1], samples[2]) = (MAGIC, spurt as i16, number as i16);
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Which frame of which talkspurt these 20 ms are, if they are one.
pub(super) fn frame_of(samples: &[i16]) -> Option<(usize, usize)> {
    match samples {
        [MAGIC, spurt, number, ..] => Some((*spurt as usize, *number as usize)),
        _ => None,
    }
}

/// The leg, as the telephony thread holds it.
pub(super) struct Switch {
    defaults: LegDefaults,
    /// How a leg of this call is opened.
    fields: CallFields,
    leg: Option<Leg>,
    /// Which connection it is on.
    connection: ConnectionNumber,
    lost: Option<Leg>,
    closing: bool,
}

impl Switch {
    /// No leg yet.
    pub(super) fn new(defaults: LegDefaults, fields: CallFields) -> Self {
        Self { defaults, fields, leg: None, connection: 1, lost: None, closing: false }
    }

    /// Whether nothing of a leg is left.
    pub(super) fn is_empty(&self) -> bool {
        self.leg.is_none() && self.lost.is_none()
    }

    fn add(&mut self, leg: NewLeg, now: Instant) {
        assert!(self.is_empty(), "two legs of one call");
        let NewLeg { id, shared, rings, fields, kind, .. } = leg;
        self.leg = Some(Leg::new(id, shared, rings, self.defaults, kind, fields, now));
    }

    /// The leg while somebody speaks on it.
    fn open(&mut self) -> Option<&mut Leg> {
        self.leg.as_mut().filter(|_| !self.closing)
    }
}

impl World {
    /// Takes orders and hands over what is due. Returns whether there was anything.
    pub(super) fn serve_leg(&mut self) -> bool {
        let (now, id) = (self.now, self.id());
        let mut again = false;
        while let Some(order) = self.ends.telephony.take() {
            again = true;
            match order {
                TelephonyOrder::Add(leg) => self.switch.add(*leg, now),
                TelephonyOrder::TakeBack(returned) => {
                    let Some(mut leg) = self.switch.lost.take().or(self.switch.leg.take()) else { continue };
                    leg.reconnected(returned.kind, returned.fields, now);
                    (self.switch.leg, self.switch.connection) = (Some(leg), returned.number);
                    self.count("legs back");
                }
                TelephonyOrder::Call(_, LegOrder::Close(close)) => {
                    self.note(format_args!("the leg is closed: {}", close.reason()));
                    if self.switch.lost.take().is_some() {
                        self.ends.tell(id, Fact::LegGone(LegEnd::ByUs));
                    } else {
                        assert!(self.switch.open().is_some(), "the leg is closed twice");
                        self.switch.closing = true;
                        let us = self.rng.u64(0..200_000);
                        self.later(us, Event::LegClosed);
                    }
                }
                _ => panic!("an order for the leg that nobody asked for"),
            }
        }
        if let Some(leg) = self.switch.open() {
            if leg.is_stalled() {
                leg.resume(now, &mut false);
            }
            while let Some(message) = leg.next_message() {
                self.ear.hear(&message);
                again = true;
            }
        }
        again
    }

    /// The caller says 20 ms of a talkspurt; without a leg nobody hears them.
    pub(super) fn frame(&mut self, spurt: usize, number: usize, left: usize) {
        let heard = &mut self.spurts[spurt].heard;
        if let Some(leg) = self.switch.open() {
            let said = heard.len();
            heard.push(0);
            leg.receive_audio(frame(spurt, said).into(), self.now);
        }
        if left > 1 {
            self.later(20_000, Event::Frame(spurt, number + 1, left - 1));
        } else {
            self.spurts[spurt].ended_us = Some(self.now.as_micros());
        }
    }

    pub(super) fn key(&mut self) {
        let (now, id) = (self.now, self.id());
        let report = r#"{"type":"tandem","event":"dtmf","digit":"5"}"#;
        let received = self.switch.leg.as_mut().map(|leg| leg.receive_text(report, now));
        if let Some(Received::Reported(report)) = received {
            self.ends.tell(id, Fact::Reported(report));
        }
    }

    pub(super) fn leg_lost(&mut self, loss: LegLoss) {
        let hangs_up = loss == LegLoss::HungUp;
        if self.switch.open().is_none() {
            // It is away already: the caller hangs up all the same, which the event socket tells.
            if hangs_up {
                self.hung_up();
            }
            return;
        }
        let (end, back) = match loss {
            LegLoss::Dropped => (LegEnd::Dropped("reset".into()), Some(self.rng.u64(1_000..11_000_000))),
            LegLoss::Goodbye => (LegEnd::Closed(1000), Some(self.rng.u64(1_000..550_000))),
            LegLoss::HungUp => (LegEnd::Closed(1000), None),
        };
        match back {
            // It comes back before anybody has noticed that the old connection is dead.
            Some(_) if self.rng.u32(0..5) == 0 => return self.leg_returns(),
            Some(us) => self.later(us, Event::LegReturns),
            None => self.hung_up(),
        }
        self.count("legs lost");
        self.switch.lost = self.switch.leg.take();
        let lost = Fact::LegLost(self.switch.connection, end);
        self.ends.tell(self.shared.id(), lost);
    }

    /// As accept does it, which has waited until it is clear that the first connection is dead.
    pub(super) fn leg_returns(&mut self) {
        let known = self.ends.relay.registry.known();
        let fields = self.switch.fields.clone();
        let (credentials, opening) = shown(LEG, &fields);
        let id = match known.arrive(UUID, &credentials, &opening) {
            Arrival::Returns(id) => id,
            Arrival::Second(id, _) if known.may_take_over(UUID, id, &opening) => id,
            // The call is over: this would be another one.
            Arrival::New => return,
            other => panic!("a leg that comes back is {other:?}"),
        };
        let returned =
            ReturnedLeg { id, number: 0, peer: (SWITCH, 2).into(), connection: None, fields, kind: LEG };
        self.ends.inbox.send(ControlInput::Returned(Box::new(returned)));
    }

    pub(super) fn leg_closed(&mut self) {
        if self.switch.leg.take().is_some() {
            self.ends.tell(self.shared.id(), Fact::LegGone(LegEnd::ByUs));
        }
    }
}
