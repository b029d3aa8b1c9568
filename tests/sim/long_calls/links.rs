//! The links: the dial pool and the gemini thread's loop around the call's model side, and the server at the other end.
//!
//! Runs in: the simulation. Owns the model side and what is known of the call's links.
//! Invariant: no link is dialled beside another one, and none goes on with a conversation that began with another credential.

use std::collections::BTreeSet;
use tandem::base::LinkNumber;

use tandem::base::limits::CLOSE_TIMEOUT_MS;
use tandem::call::model::{LinkEnd, LinkEndKind};
use tandem::call::{Fact, ModelOrder, Part};
use tandem::codec::Provider;
use tandem::codec::base64;
use tandem::threads::gemini::model_side::{ModelSide, ModelSideLimits};
use tandem::threads::messages::{ControlInput, GeminiOrder, LinkRequest};

use super::gemini::Say;
use super::switch::frame_of;
use super::world::{CREDENTIALS, Event, World};

const LIMITS: ModelSideLimits =
    ModelSideLimits { chunk_ms: 20, model_speech_ms: 120_000, kept_speech_ms: 60_000 };
/// What the model has not begun to answer so long after it was said needs no answer. The relay waits for 15 s.
const ANSWER_OWED_US: u64 = 10_000_000;
/// The relay sends a talkspurt again three times.
const TIMES_HEARD_MAX: u32 = 4;

struct Link {
    number: LinkNumber,
    credential: usize,
    closing: bool,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Links {
    pub model: Option<ModelSide>,
    pub dialling: Option<LinkNumber>,
    link: Option<Link>,
    /// What Gemini says of each credential, if it refuses it.
    pub refusals: [Option<Say>; CREDENTIALS],
    /// Which links were dialled with which credentials.
    dialled: BTreeSet<(LinkNumber, usize)>,
    /// The credential with which each handle was given out.
    handles: Vec<usize>,
}

impl Links {
    /// Whether nothing is left of any.
    pub(super) fn is_empty(&self) -> bool {
        self.model.is_none() && self.dialling.is_none() && self.link.is_none()
    }

    /// Whether speech of the model waits to be handed on.
    pub(super) fn has_backlog(&self) -> bool {
        self.model.as_ref().is_some_and(ModelSide::has_backlog)
    }

    /// Whether this link is there, and not being closed.
    pub(super) fn is_open(&self, number: LinkNumber) -> bool {
        self.open() == Some(number)
    }

    fn open(&self) -> Option<LinkNumber> {
        self.link.as_ref().filter(|link| !link.closing).map(|link| link.number)
    }
}

impl World {
    /// Takes orders, and moves speech on. Returns whether there was anything.
    pub(super) fn serve_links(&mut self) -> bool {
        let mut again = false;
        while let Ok(request) = self.ends.dials.try_recv() {
            self.dial(&request);
            again = true;
        }
        while let Some(order) = self.ends.gemini.take() {
            again = true;
            match order {
                GeminiOrder::Add(side) => self.links.model = Some(ModelSide::new(*side, LIMITS)),
                GeminiOrder::Call(_, order) => self.order(order),
                GeminiOrder::Connected { .. } | GeminiOrder::Stop => panic!("nobody orders that"),
            }
        }
        let mut facts = Vec::new();
        if let Some(model) = &mut self.links.model {
            model.take_uplink(&mut self.pool, |fact| facts.push(fact));
            again |= model.fill(&mut self.pool);
        }
        self.tell_all(facts);
        again | self.send()
    }

    fn tell_all(&mut self, facts: impl IntoIterator<Item = Fact>) {
        let id = self.id();
        for fact in facts {
            if !matches!(fact, Fact::TurnStarted(_) | Fact::GenerationComplete(_) | Fact::TurnComplete(_)) {
                self.note(format_args!("fact {fact:?}"));
            }
            self.ends.tell(id, fact);
        }
    }

    fn order(&mut self, order: ModelOrder) {
        let mut facts = Vec::new();
        self.note(format_args!("order {order:?}"));
        let now_us = self.now.as_micros();
        match order {
            ModelOrder::Prompt(link, _) => {
                self.count("prompts");
                if self.links.is_open(link) && self.gemini.live {
                    let says = self.gemini.answer(&mut self.rng, now_us);
                    self.says(link, says);
                }
            }
            ModelOrder::AnswerTool(link, call, _) => {
                self.count("tools answered");
                let answered = self.gemini.answered.insert((link, call.id.clone()));
                assert!(answered, "the call {} is answered twice", call.id);
                if self.links.is_open(link) && self.gemini.live {
                    let says = self.gemini.answer(&mut self.rng, now_us);
                    self.says(link, says);
                }
            }
            ModelOrder::Commit(link) => {
                self.count("commits");
                if self.links.is_open(link) {
                    let says = self.gemini.over(&mut self.rng, now_us);
                    self.says(link, says);
                }
            }
            ModelOrder::CloseLink(link) => self.close_link(link),
            ModelOrder::Retire => {
                if let Some(model) = self.links.model.take() {
                    model.release(&mut self.pool);
                }
                if let Some(number) = self.links.open() {
                    self.close_link(number);
                }
                let id = self.id();
                self.ends.inbox.send(ControlInput::Retired(id, Part::Gemini));
            }
            ModelOrder::Play(sound) => {
                if let Some(model) = &mut self.links.model {
                    model.play(&sound, &mut self.pool, |fact| facts.push(fact));
                }
            }
            ModelOrder::StopSpeech => {
                if let Some(model) = &mut self.links.model {
                    model.stop_speech(&mut self.pool, |fact| facts.push(fact));
                }
            }
            ModelOrder::HoldUplink(held) => self.links.model.iter_mut().for_each(|model| model.hold(held)),
            ModelOrder::TakeTurns => self.links.model.iter_mut().for_each(ModelSide::take_turns),
        }
        self.tell_all(facts);
    }

    fn dial(&mut self, request: &LinkRequest) {
        let LinkRequest { link, credential, ref setup, deadline, .. } = *request;
        self.note(format_args!("dial link {link} with credential {credential}"));
        let beside = self.links.open().is_some() || self.links.dialling.is_some();
        assert!(!beside, "link {link} is dialled beside another one");
        assert!(deadline > self.now, "link {link} has no time");
        let first = self.links.dialled.insert((link, credential));
        assert!(first, "link {link} is dialled again with credential {credential}, which refused it");
        if let Some((_, rest)) = Provider::Gemini.setup(setup).split_once(r#""handle":"h-"#) {
            let digits = rest.split_once('"').map_or("", |(digits, _)| digits);
            let handle: usize = digits.parse().expect("one of ours");
            let began_with = self.links.handles[handle];
            assert_eq!(began_with, credential, "another credential's conversation is resumed");
            self.count("dials with a handle");
        }
        self.count("dials");
        self.links.dialling = Some(link);
        let us = self.rng.u64(10_000..400_000);
        let (us, connected) = match self.rng.u32(0..100) {
            0..8 => (us, false),
            // Heard of after its time is over, connected or not.
            8..10 => (us + 3_500_000, self.rng.bool()),
            _ => (us, true),
        };
        self.later(us, Event::Dialled(link, credential, connected));
    }

    pub(super) fn dialled(&mut self, link: LinkNumber, credential: usize, connected: bool) {
        if self.links.dialling == Some(link) {
            self.links.dialling = None;
        }
        let quota = matches!(self.links.refusals[credential], Some(Say::Close(1011, _)));
        if !connected || (quota && self.rng.bool()) {
            let end = match self.rng.u32(0..3) {
                _ if connected => Provider::Gemini.end_of_status(429, b"quota exceeded"),
                0 => Provider::Gemini.end_of_status(503, b"unavailable"),
                _ => LinkEnd::dropped("reset"),
            };
            return self.tell_all([Fact::LinkGone(link, end)]);
        }
        let alone = self.links.open().is_none();
        let model = self.links.model.as_mut();
        // Of one that was given up meanwhile nobody hears anything: it is dropped.
        let Some(model) = model.filter(|model| model.closed() < link) else { return };
        // As long as an older link is open the server would refuse a resumption.
        assert!(alone, "two links at one time");
        model.connected(link);
        self.links.link = Some(Link { number: link, credential, closing: false });
        self.gemini.linked();
        self.tell_all([Fact::LinkConnected(link)]);
        let us = self.rng.u64(20_000..300_000);
        let answer = match self.rng.u32(0..100) {
            _ if self.links.refusals[credential].is_some() => self.links.refusals[credential].clone(),
            0..4 => Some(Say::Close(1011, "Internal error encountered.")),
            4..6 => Some(Say::Close(1008, "The operation was aborted.")),
            6..8 => Some(Say::Drop),
            8 => None,
            _ => Some(Say::SetupComplete),
        };
        self.says(link, answer.map(|say| (us, say)).into_iter().collect());
    }

    /// Sends what is to be sent on the link.
    fn send(&mut self) -> bool {
        let Some(number) = self.links.open() else { return false };
        let mut json = Vec::new();
        let mut sent = false;
        while self.links.model.as_mut().is_some_and(|model| model.next_message(&mut self.pool, &mut json)) {
            sent = true;
            let text = std::str::from_utf8(&json).expect("ASCII");
            let now_us = self.now.as_micros();
            let says = match text.split_once(r#""data":""#).and_then(|(_, rest)| rest.split_once('"')) {
                Some((audio, _)) => {
                    let mut samples = Vec::new();
                    base64::decode_samples(audio.as_bytes(), |block| samples.extend_from_slice(block))
                        .expect("base64");
                    let mut says = Vec::new();
                    for frame in samples.chunks(320) {
                        let known = frame_of(frame);
                        if let Some((spurt, n)) = known {
                            self.spurts[spurt].heard[n] += 1;
                        }
                        says.extend(self.gemini.hear(&mut self.rng, now_us, known.is_some()));
                    }
                    says
                }
                None if text.contains("audioStreamEnd") || text.contains("activityEnd") => {
                    self.gemini.over(&mut self.rng, now_us)
                }
                None => Vec::new(),
            };
            self.says(number, says);
        }
        sent
    }

    fn says(&mut self, number: LinkNumber, says: Vec<(u64, Say)>) {
        for (us, say) in says {
            self.later(us, Event::Gemini(number, say));
        }
    }

    /// The server says something on the present link.
    pub(super) fn said(&mut self, number: LinkNumber, say: &Say) {
        match say {
            Say::SetupComplete => {
                self.gemini.live = true;
                // No link lives for ever, and most say so.
                let life_us = self.rng.u64(150_000_000..900_000_000);
                let warned_ms = self.rng.u64(5_000..60_000);
                let end = self.link_end();
                if self.rng.u32(0..5) > 0 {
                    self.later(life_us - warned_ms * 1000, Event::Gemini(number, Say::GoAway(warned_ms)));
                }
                self.later(life_us, Event::Gemini(number, end));
                self.later(10_000, Event::Gemini(number, Say::Handle));
            }
            Say::GoAway(_) if self.rng.u32(0..3) == 0 => self.gemini.mute = true,
            Say::Close(code, reason) => {
                return self.link_gone(number, Provider::Gemini.end_of_close(Some(*code), reason.as_bytes()));
            }
            Say::Drop => return self.link_gone(number, LinkEnd::dropped("reset")),
            Say::ToolCancel(number) => _ = self.gemini.cancelled.insert(*number as u64),
            Say::Handle => {
                let credential = self.links.link.as_ref().map_or(0, |link| link.credential);
                // The first is number 1.
                self.links.handles.resize(self.gemini.handles + 2, credential);
            }
            _ => {}
        }
        let Some(message) = self.gemini.message(say) else { return };
        if let Say::Audio(..) = say {
            let heard = self.spurts.iter_mut().filter(|spurt| spurt.ended_us.is_some());
            heard.filter(|spurt| spurt.heard_whole() > 0).for_each(|spurt| spurt.answered = true);
        }
        let Some(model) = &mut self.links.model else { return };
        let mut facts = Vec::new();
        model.receive(&message, &mut self.pool, |fact| facts.push(fact)).expect("a good message");
        self.tell_all(facts);
    }

    /// Something goes wrong on the present link, if there is one.
    pub(super) fn strikes(&mut self, say: Say) {
        let Some(number) = self.links.open() else { return };
        if let Say::GoAway(ms) = say {
            let end = self.link_end();
            self.later(ms * 1000, Event::Gemini(number, end));
        }
        self.said(number, &say);
    }

    /// The link is over: what was heard on it and not answered is to be heard again.
    fn owe(&mut self) {
        let now_us = self.now.as_micros();
        for (n, spurt) in self.spurts.iter().enumerate().rev().take(8) {
            let recent = spurt.ended_us.is_some_and(|ended| ended + ANSWER_OWED_US > now_us);
            let times = spurt.heard_whole();
            if self.gemini.live && recent && !spurt.answered && (1..TIMES_HEARD_MAX).contains(&times) {
                self.owed.push((n, times, now_us));
            }
        }
    }

    fn link_gone(&mut self, number: LinkNumber, end: LinkEnd) {
        self.count("links lost");
        // Of what the server may blame nothing is sent twice.
        let blamed = end.kind == LinkEndKind::InvalidArgument;
        if !blamed {
            self.owe();
        }
        self.links.link = None;
        if let Some(model) = &mut self.links.model {
            let spoken = Fact::Spoken(number, model.spoken());
            let sent_again = model.disconnected(&mut self.pool, blamed);
            self.tell_all([spoken].into_iter().chain(sent_again));
        }
        self.tell_all([Fact::LinkGone(number, end)]);
    }

    fn close_link(&mut self, number: LinkNumber) {
        let sent_again = self.links.model.as_mut().and_then(|model| model.close(number, &mut self.pool));
        self.tell_all(sent_again);
        self.links.dialling.take_if(|dialling| *dialling == number);
        if let Some(link) = self.links.link.as_mut().filter(|link| link.number == number && !link.closing) {
            link.closing = true;
            self.owe();
            let us = match self.rng.u32(0..20) {
                // A server that does not answer a close.
                0 => CLOSE_TIMEOUT_MS * 1000,
                _ => self.rng.u64(1_000..60_000),
            };
            self.later(us, Event::LinkClosed(number));
        }
    }

    pub(super) fn link_closed(&mut self, number: LinkNumber) {
        // Another may have been connected since.
        self.links.link.take_if(|link| link.number == number && link.closing);
        self.tell_all([Fact::LinkClosed(number)]);
    }
}
