//! One call of a simulation: its script, what each thread of the relay holds of it, and who listens at both ends.
//!
//! Runs in: the simulations. Owns the call's share of every thread.
//! Invariant: a call ends with exactly one outcome, the one whose cause the machine was told first, and leaves nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use tandem::base::{CallId, Instant, SampleRate};
use tandem::call::Fact;
use tandem::call::events::LegEnd;
use tandem::sync::CallShared;
use tandem::sync::shared::TallySnapshot;
use tandem::threads::gemini::model_side::ModelSide;
use tandem::threads::messages::NewLeg;
use tandem::threads::telephony::defaults::{LegDefaults, Pacing};
use tandem::threads::telephony::leg::Leg;

use super::ear::Ear;
use super::hearing::Hearing;
use super::order_log::OrderLog;
use super::plan::{Dialling, Fault, FromGemini, FromSwitch, Plan};
use super::report::Report;
use super::world::{Event, Part, World};

/// A leg and its socket, as the telephony thread holds them.
pub(super) struct LegSocket {
    pub leg: Leg,
    pub incoming: VecDeque<FromSwitch>,
    /// Still to be read.
    pub remembered: bool,
    /// The switch takes nothing, so the output does not get empty.
    pub stalled: bool,
    /// Why we are closing it, and until when the switch may take to agree.
    pub closing: Option<(LegEnd, Instant)>,
    /// The switch has agreed.
    pub agreed: bool,
}

/// A link, as the gemini thread holds it.
pub(super) struct LinkSocket {
    pub number: u32,
    pub incoming: VecDeque<FromGemini>,
    pub garbage: u32,
    /// The answer of which more is to come.
    pub speaking: Option<usize>,
    /// The end of a close of ours that Gemini does not answer.
    pub close_by: Option<Instant>,
}

/// What both ends know of a call while it lives.
pub(super) struct Witness {
    pub shared: Arc<CallShared>,
    pub ear: Ear,
    pub hearing: Hearing,
    seen: TallySnapshot,
    /// Underruns as long as the switch was still given audio.
    underruns: Option<u64>,
}

impl Witness {
    /// From here on the switch is given nothing.
    pub(super) fn goes_deaf(&mut self) {
        self.underruns.get_or_insert(self.shared.tally.snapshot().underruns);
    }
}

/// See the head of this file.
pub(super) struct Call {
    pub id: CallId,
    pub plan: Plan,
    pub leg: Option<LegSocket>,
    /// A leg that lost its connection.
    pub lost_leg: Option<Leg>,
    pub model: Option<ModelSide>,
    pub link: Option<LinkSocket>,
    pub witness: Option<Witness>,
    pub orders: OrderLog,
    /// What its record says became of it.
    pub outcome: Option<String>,
    /// What the switch has sent before telephony had the leg.
    early: VecDeque<FromSwitch>,
}

impl Call {
    pub(super) fn new(number: usize, plan: Plan) -> Self {
        Self {
            id: CallId { slot: number as u32, generation: 0 },
            plan,
            leg: None,
            lost_leg: None,
            model: None,
            link: None,
            witness: None,
            orders: OrderLog::default(),
            outcome: None,
            early: VecDeque::new(),
        }
    }

    /// Telephony gets the leg.
    pub(super) fn take_leg(&mut self, new: NewLeg, now: Instant) {
        let NewLeg { id, shared, rings, fields, kind, .. } = new;
        self.leg = Some(LegSocket {
            leg: Leg::new(id, shared, rings, self.defaults(), kind, fields, now),
            incoming: std::mem::take(&mut self.early),
            remembered: true,
            stalled: false,
            closing: None,
            agreed: false,
        });
    }

    /// What the relay takes its leg to be.
    fn defaults(&self) -> LegDefaults {
        let mut defaults = self.plan.defaults;
        if self.plan.fields.rate.is_none() {
            // The switch has not told its rate; its first message will.
            defaults.rate = SampleRate::Hz8000;
        }
        defaults
    }

    pub(super) fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    pub(super) fn describe(&self) -> String {
        format!("{}: {:?}, {:?}", self.id, self.plan.fault, self.orders)
    }

    /// Compares what the worker did with what it may do.
    pub(super) fn worker_passed(&mut self, now: Instant) {
        let Some(witness) = self.witness.as_mut().filter(|_| self.outcome.is_none()) else { return };
        let tally = witness.shared.tally.snapshot();
        let (frames, silence) = (
            tally.uplink_frames - witness.seen.uplink_frames,
            tally.silence_frames - witness.seen.silence_frames,
        );
        witness.hearing.worker_passed(now, frames, silence);
        witness.seen = tally;
    }

    /// What became of it, once it is over.
    pub(super) fn finish(self) -> Report {
        let (Some(outcome), Some(witness)) = (self.outcome, self.witness) else {
            panic!("the call never began")
        };
        let Witness { shared, ear, hearing, underruns, .. } = witness;
        assert!(self.leg.is_none() && self.lost_leg.is_none() && self.model.is_none() && self.link.is_none());
        assert_eq!(Arc::strong_count(&shared), 1, "somebody still owns a part of the call");
        let tally = shared.tally.snapshot();
        assert_eq!(tally.played_samples, ear.samples);
        assert_eq!(tally.sent_frames * 320, hearing.heard as u64);
        assert_eq!(tally.caller_messages_dropped, 0, "the worker takes everything in time");
        let Pacing { lead_ms, chunk_ms } = self.plan.defaults.stream;
        assert!(tally.residual_us_max <= u64::from(lead_ms) * 1000);
        if lead_ms > chunk_ms {
            assert_eq!(tally.slips, 0, "the worker is never later than the lead here");
        }
        // Gaps can be judged where messages are frames, and the switch takes them when they come.
        if self.plan.stalls.is_empty() && chunk_ms == 20 && ear.was_sure() {
            let (must, may) = ear.gaps;
            let counted = underruns.unwrap_or(tally.underruns);
            assert!((must..=may).contains(&counted), "{counted} underruns, the ear had {must} to {may} gaps");
        }
        if self.plan.fault == Fault::None {
            assert_eq!(outcome, "hangup");
        }
        Report {
            outcome,
            tally,
            whole_answers: ear.whole_answers,
            rate_was_known: ear.was_sure(),
            interruptions: ear.interruptions,
            residual_us_max: ear.residual_us_max,
            playback_hash: ear.hash(),
        }
    }
}

impl World {
    /// Something happens to a call from outside.
    pub(super) fn happens(&mut self, number: usize, event: Event) {
        let call = &mut self.calls[number];
        match event {
            Event::Begins => self.begin(number),
            Event::FromSwitch(n) => {
                let (_, what) = &mut call.plan.from_switch[n];
                let what = std::mem::replace(what, FromSwitch::Drop);
                match &mut call.leg {
                    Some(leg) => {
                        leg.incoming.push_back(what);
                        leg.remembered = true;
                    }
                    None => call.early.push_back(what),
                }
                self.ring(Part::Telephony);
            }
            Event::Stalls(stalled) => {
                let Some(leg) = &mut call.leg else { return };
                leg.stalled = stalled;
                self.note(number, format_args!("the switch takes audio: {}", !stalled));
                self.ring(Part::Telephony);
            }
            Event::SwitchAgrees => {
                let Some(leg) = &mut call.leg else { return };
                leg.agreed = true;
                self.ring(Part::Telephony);
            }
            Event::Dialled(link) => match call.plan.dialling.clone() {
                Dialling::Connects(_) => {
                    self.connected.push_back((call.id, link));
                    self.ring(Part::Gemini);
                }
                Dialling::Fails(_, end) => {
                    let id = call.id;
                    self.tell(id, Fact::LinkGone(link, end));
                }
                Dialling::Hangs => {}
            },
            Event::FromGemini(n) => {
                let Some(link) = &mut call.link else { return };
                let (_, what) = &mut call.plan.from_gemini[n];
                link.incoming.push_back(std::mem::replace(what, FromGemini::Drop));
                self.ring(Part::Gemini);
            }
            Event::ShutDown => {
                let id = call.id;
                self.tell(id, Fact::ShutDown);
            }
        }
    }

    /// Hands a new call to the threads, as the acceptor does.
    fn begin(&mut self, number: usize) {
        let (now, tolerance_us) = (self.now, self.tolerance_us());
        let call = &mut self.calls[number];
        let (plan, defaults) = (&call.plan, call.defaults());
        let mut fields = plan.fields.clone();
        fields.agent = Some(number.to_string());
        let shared = self.ends.offer(now, plan.flavour, fields, defaults, plan.stream_end_after_ms);
        call.id = shared.id();
        let format = shared.format();
        call.witness = Some(Witness {
            ear: Ear::new(plan, format, tolerance_us),
            hearing: Hearing::new(now, format.rate, plan, tolerance_us),
            seen: TallySnapshot::default(),
            underruns: None,
            shared,
        });
        let arrivals: Vec<u64> = call.plan.from_switch.iter().map(|(at, _)| *at).collect();
        let (stalls, shut_down) = (call.plan.stalls.clone(), call.plan.shut_down_at_us);
        self.note(
            number,
            format_args!("begins at {} with fault {:?}", format.rate, self.calls[number].plan.fault),
        );
        for (n, at) in arrivals.into_iter().enumerate() {
            self.expect(now.plus_us(at), number, Event::FromSwitch(n));
        }
        for (from, until) in stalls {
            self.expect(now.plus_us(from), number, Event::Stalls(true));
            self.expect(now.plus_us(until), number, Event::Stalls(false));
        }
        if let Some(at) = shut_down {
            self.expect(now.plus_us(at), number, Event::ShutDown);
        }
    }
}
