//! One leg without its socket: messages of the switch become frames, paced frames become messages to the switch.
//!
//! Runs in: the telephony thread, and tests. Owns the telephony ends of the call's rings. Never reads a clock or a socket,
//! and knows no wire format: that is [`super::wire`]'s.
//! Invariant: once the turn has changed, no message with audio of an older one is made; and a frame leaves the ring only
//! to be put into an output that is empty.

use std::collections::VecDeque;
use std::sync::Arc;

use tungstenite::{Bytes, Message};

mod identity;
#[cfg(test)]
mod line_tests;
mod rate;

pub use super::defaults::LegDefaults;
use super::meter::Meter;
use super::unheard::Unheard;
use super::wire::{Said, Wire};
use crate::base::bucket::{Bucket, Rate};
use crate::base::command::Command;
use crate::base::limits::{
    CALLER_AHEAD_MS_MAX, CALLER_SPEED_MAX, LEG_SAID_MESSAGES, LEG_TEXT_BURST, LEG_TEXTS_PER_SECOND,
};
use crate::base::{CallId, Frame, FrameKind, FrameSink, FrameSource, Instant, LegReport, SampleRate, Turn};
use crate::call::leg::{CallFields, LegKind, OrderNumber};
use crate::call::{LegNote, LegNotes};
use crate::codec::audiosocket;
use crate::codec::mod_audio_stream::UplinkDecoder;
use crate::sync::CallShared;
use crate::sync::rings::TelephonyRings;
use crate::sync::shared::add;

/// How long a full ring holds the socket back before the message is given up.
const STALLED_MS_MAX: u64 = 2_000;
/// How long a full ring may hold a message back before the time of the next one says nothing of the switch.
const DELAYED_MS_MAX: u64 = 40;
/// What one frame of the ring lasts at most: its 320 samples at 8 kHz.
const MESSAGE_PART_US_MAX: u64 = 40_000;

/// How much audio may come, in microseconds.
const AUDIO_US: Rate =
    Rate { per_second: CALLER_SPEED_MAX as u32 * 1_000_000, burst: CALLER_AHEAD_MS_MAX as u32 * 1000 };
/// How many texts and pings.
const TEXTS: Rate = Rate { per_second: LEG_TEXTS_PER_SECOND, burst: LEG_TEXT_BURST };

/// What became of a message of the switch.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// It is dealt with.
    Done,
    /// The ring is full, or the caller far ahead of real time: read no further before [`Leg::resume`] says so.
    Stalled,
    /// It said more about the call.
    Identified(Box<CallFields>),
    /// It said something that control has to know.
    Reported(LegReport),
    /// The switch hangs up.
    HungUp,
    /// It cannot work, and what to do about it: the leg is to be closed.
    Refused(&'static str),
    /// More text or pings than any switch sends: the leg is to be closed.
    Flood,
}

struct Waiting {
    message: Bytes,
    taken: usize,
    since: Instant,
}

/// See the head of this file.
pub struct Leg {
    id: CallId,
    shared: Arc<CallShared>,
    rings: TelephonyRings,
    defaults: LegDefaults,
    kind: LegKind,
    wire: Wire,
    /// Our script is in the switch.
    script: bool,
    unheard: Unheard,
    fields: CallFields,
    decoder: UplinkDecoder,
    rate: SampleRate,
    /// At which the caller is heard, where that is not what a label says.
    heard_rate: Option<SampleRate>,
    meter: Meter,
    /// What is measured changes nothing any more.
    measured: bool,
    notes: LegNotes,
    /// When the present connection came, and the caller's last audio on it.
    since: Instant,
    audio_at: Option<Instant>,
    audio_seen: bool,
    waiting: Option<Waiting>,
    turn: Turn,
    handed_over: bool,
    chunk: Vec<i16>,
    chunk_rate: SampleRate,
    /// What is to be said beside the audio, the oldest first.
    said: VecDeque<Message>,
    audio_allowance: Bucket,
    ahead: bool,
    texts: u32,
    text_allowance: Bucket,
}

impl Leg {
    /// A leg that was just connected.
    pub fn new(
        id: CallId,
        shared: Arc<CallShared>,
        rings: TelephonyRings,
        defaults: LegDefaults,
        kind: LegKind,
        fields: CallFields,
        now: Instant,
    ) -> Self {
        let turn = shared.turn();
        Self {
            id,
            shared,
            rings,
            defaults,
            wire: Wire::new(kind, defaults.playback(kind, &fields)),
            kind,
            script: fields.script == Some(true),
            unheard: Unheard::default(),
            decoder: UplinkDecoder::new(defaults.mix(kind, &fields)),
            rate: defaults.rate(kind, &fields),
            heard_rate: None,
            meter: Meter::default(),
            measured: false,
            notes: identity::first_notes(&defaults, kind, &fields),
            since: now,
            audio_at: None,
            chunk: Vec::new(),
            chunk_rate: defaults.format(kind, &fields).rate,
            fields,
            audio_seen: false,
            waiting: None,
            turn,
            handed_over: false,
            said: VecDeque::new(),
            audio_allowance: Bucket::new(now, AUDIO_US),
            ahead: false,
            texts: 0,
            text_allowance: Bucket::new(now, TEXTS),
        }
    }

    /// Goes on with another connection of the same switch. What was not handed over yet is still to be played; what was
    /// to be said beside it was said to a switch that is not listening any more.
    pub fn reconnected(&mut self, kind: LegKind, fields: CallFields, now: Instant) {
        self.kind = kind;
        (self.since, self.audio_at) = (now, None);
        self.measure_anew();
        self.said.clear();
        self.texts = 0;
        self.text_allowance = Bucket::new(now, TEXTS);
        self.audio_allowance = Bucket::new(now, AUDIO_US);
        self.adopt(fields.or(self.fields.clone()));
        self.decoder = UplinkDecoder::new(self.defaults.mix(kind, &self.fields));
        self.wire.reconnected(kind, self.defaults.playback(kind, &self.fields));
    }

    /// What is on the line and what is known of the call.
    pub fn opened(&self) -> (LegKind, CallFields) {
        (self.kind, self.fields.clone())
    }

    /// Notes that the switch has sent something.
    pub fn hear_switch(&self, now: Instant) {
        self.shared.hear_leg(now);
    }

    /// Whether a switch that speaks this protocol closes with 1000 for nothing but a caller who hung up.
    pub fn hangs_up_by_closing(&self) -> bool {
        self.kind.traits().closes_to_hang_up
    }

    /// Which call.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Takes a binary message: the caller's audio.
    pub fn receive_audio(&mut self, message: Bytes, now: Instant) -> Received {
        if !self.audio_seen && !message.is_empty() {
            self.audio_seen = true;
            self.infer_rate(message.len());
        }
        self.audio_at = Some(now);
        if !self.measured
            && let Some(why) = self.measure(&message, now)
        {
            return Received::Refused(why);
        }
        self.waiting = Some(Waiting { message, taken: 0, since: now });
        if self.move_on(now) { Received::Done } else { Received::Stalled }
    }

    /// Goes on with a message for which the ring had no room, and sets `heard` where any of it found some: the worker has
    /// nothing else to wake it. Returns whether the socket may be read again.
    pub fn resume(&mut self, now: Instant, heard: &mut bool) -> bool {
        let taken = |leg: &Self| leg.waiting.as_ref().map(|waiting| waiting.taken);
        let before = taken(self);
        let goes_on = self.move_on(now);
        *heard |= taken(self) != before;
        goes_on
    }

    /// Whether a message waits for the ring or for real time.
    pub fn is_stalled(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether the caller has ever been so far ahead of real time that its audio had to wait.
    pub fn has_run_ahead(&self) -> bool {
        self.ahead
    }

    /// Takes a text message: metadata, or a report of the switch.
    pub fn receive_text(&mut self, text: &str, now: Instant) -> Received {
        if !self.text_allowance.take_one(now) {
            return Received::Flood;
        }
        self.revise(text);
        let said = self.wire.read(text);
        self.hear(said, now)
    }

    /// Takes a frame of an AudioSocket.
    pub fn receive_frame(&mut self, frame: audiosocket::Frame, now: Instant) -> Received {
        let said = self.wire.read_frame(frame);
        // Whatever is not audio costs as much as a text does.
        if !matches!(said, Said::Audio(..)) && !self.text_allowance.take_one(now) {
            return Received::Flood;
        }
        self.hear(said, now)
    }

    fn hear(&mut self, said: Said, now: Instant) -> Received {
        match said {
            Said::Nothing => Received::Done,
            Said::HungUp => Received::HungUp,
            Said::Refused(why) => Received::Refused(why),
            Said::Started(rate, more) => {
                self.audio_seen = true;
                self.fields.rate = Some(rate);
                self.set_rate(rate);
                self.measure_anew();
                self.identify(more)
            }
            Said::Note(note) => {
                self.notes.add(note);
                Received::Done
            }
            Said::Heard(frames) => {
                let samples = u64::from(frames) * self.chunk_rate.samples_per_frame() as u64;
                add(&self.shared.tally.heard_samples, samples);
                Received::Done
            }
            Said::Audio(rate, audio) => {
                self.audio_seen = true;
                if rate != self.rate {
                    self.measure_anew();
                    self.set_rate(rate);
                }
                self.receive_audio(audio, now)
            }
            Said::Report(report) => {
                match report {
                    LegReport::Hello { .. } => self.script = true,
                    LegReport::Playing(_) => self.unheard.playing(),
                    // Said with its reason: that nothing is acknowledged follows from it.
                    LegReport::Unplayed(_) => self.unheard.told(),
                    _ => {}
                }
                Received::Reported(report)
            }
            Said::Fields(more, notes) => {
                notes.into_iter().for_each(|note| self.notes.add(LegNote::Field(note)));
                self.identify(more)
            }
        }
    }

    /// Takes a ping or a pong, which count as texts do: each costs an answer or a look.
    pub fn receive_ping(&mut self, now: Instant) -> Received {
        if self.text_allowance.take_one(now) { Received::Done } else { Received::Flood }
    }

    /// Tells the switch to carry out a command. Returns whether that is all there is to know of it: otherwise the switch
    /// reports what became of it.
    ///
    /// # Errors
    /// Why nothing was said.
    pub fn command(&mut self, number: OrderNumber, command: &Command) -> Result<bool, &'static str> {
        let ordered =
            self.wire.command(number, command).ok_or("the leg's protocol has no such command, or not yet")?;
        self.say(ordered.message)
            .map_err(|_| "the switch takes nothing, so that too many messages wait for it")?;
        Ok(!ordered.reported)
    }

    /// Says something to the switch beside the audio: a command. It leaves before the audio that leaves next, behind
    /// what was said before it, and independent of whether there is any audio.
    ///
    /// # Errors
    /// The message, when [`LEG_SAID_MESSAGES`] wait already: the switch takes nothing.
    pub fn say(&mut self, message: Message) -> Result<(), Message> {
        if self.said.len() >= LEG_SAID_MESSAGES {
            return Err(message);
        }
        self.said.push_back(message);
        Ok(())
    }

    /// The next message for the switch, if there is one. To be called only while the socket's output is empty.
    pub fn next_message(&mut self) -> Option<Message> {
        if let Some(message) = self.said.pop_front() {
            return Some(message);
        }
        loop {
            // First whether there is a frame, then the turn: whoever put the frame there had seen its turn, so that no
            // frame is newer than the turn, and none of an older one slips through between the two.
            let next = self.rings.caller_out.peek().ok().map(|frame| (frame.rate, frame.turn));
            let turn = self.shared.turn();
            if turn != self.turn {
                self.turn = turn;
                add(&self.shared.tally.flushed_samples, self.chunk.len() as u64);
                self.chunk.clear();
                if self.handed_over {
                    self.handed_over = false;
                    self.unheard.cancelled();
                    self.break_off(turn);
                    if let Some(message) = self.said.pop_front() {
                        return Some(message);
                    }
                }
            }
            let (next_rate, next_turn) = next?;
            if self.wire.holds_audio() && next_turn == turn {
                return None;
            }
            if let Some(message) = self.wire.before_audio() {
                return Some(message);
            }
            if next_rate != self.chunk_rate && !self.chunk.is_empty() {
                // The rate changed within a chunk; a message has one.
                return Some(self.encode(false));
            }
            let (chunk, tally) = (&mut self.chunk, &self.shared.tally);
            let kind = self.rings.caller_out.take_with(|frame| {
                if frame.turn != turn {
                    add(&tally.flushed_samples, frame.samples().len() as u64);
                    return FrameKind::AudioContinued;
                }
                chunk.extend_from_slice(frame.samples());
                self.chunk_rate = frame.rate;
                frame.kind
            })?;
            if kind != FrameKind::AudioContinued && !self.chunk.is_empty() {
                return Some(self.encode(kind == FrameKind::AudioLast));
            }
        }
    }

    /// Takes back what was handed over of older turns than `turn`, as far as the switch can.
    fn break_off(&mut self, turn: Turn) {
        self.said.extend(self.wire.clear(turn));
        if let Some(silence) = self.wire.silence(self.chunk_rate) {
            self.said.extend(self.wire.before_audio());
            self.said.push_back(silence);
        }
    }

    fn encode(&mut self, is_last: bool) -> Message {
        self.handed_over = true;
        if self.script && self.wire.plays_files() {
            self.unheard.sent(self.turn);
        }
        add(&self.shared.tally.played_samples, self.chunk.len() as u64);
        let message = self.wire.audio(&self.chunk, self.chunk_rate, self.turn, is_last);
        self.chunk.clear();
        message
    }

    /// What keeps the call alive when nothing was sent for a second, where the switch needs that.
    pub fn keepalive(&mut self) -> Option<Message> {
        self.wire.keepalive(self.rate)
    }

    /// Moves the waiting message into the ring as far as it has room.
    fn move_on(&mut self, now: Instant) -> bool {
        let Some(mut waiting) = self.waiting.take() else { return true };
        self.audio_allowance.refill(now);
        while waiting.taken < waiting.message.len() {
            if !self.audio_allowance.has(MESSAGE_PART_US_MAX) {
                // Back-pressure without end and without loss: no switch is that fast, and a file that is sent as fast
                // as the network takes it would cost as much as hundreds of calls.
                self.ahead = true;
                self.meter.disturbed();
                waiting.since = now;
                self.waiting = Some(waiting);
                return false;
            }
            if self.rings.caller_in.room() == 0 {
                // A long message fills the ring for as long as the dsp worker takes to look.
                if now.since_ms(waiting.since) > DELAYED_MS_MAX {
                    self.meter.disturbed();
                }
                if now.since_ms(waiting.since) < STALLED_MS_MAX {
                    self.waiting = Some(waiting);
                    return false;
                }
                add(&self.shared.tally.caller_messages_dropped, 1);
                return true;
            }
            let bytes = &waiting.message[waiting.taken..];
            let mut frame = Frame::end(0, self.heard_rate.unwrap_or(self.rate));
            let mut consumed = 0;
            frame.fill(|samples| {
                let progress = self.decoder.decode(bytes, samples);
                consumed = progress.consumed;
                progress.produced
            });
            waiting.taken += consumed;
            if !frame.samples().is_empty() {
                add(&self.shared.tally.caller_samples, frame.samples().len() as u64);
                self.audio_allowance.take(frame.duration_us());
                self.rings.caller_in.put(frame);
            } else if consumed == 0 {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::CALLER_IN_FRAMES;
    use crate::base::{Mix, PlaybackFormat};
    use crate::sync::rings::{DspRings, call_rings};
    use crate::threads::telephony::defaults::Pacing;

    const ID: CallId = CallId { slot: 0, generation: 1 };
    const STREAM: LegKind = LegKind::ModAudioStream;

    fn leg() -> (Leg, DspRings) {
        let pacing = Pacing { lead_ms: 60, chunk_ms: 20 };
        leg_playing(SampleRate::Hz16000, PlaybackFormat::Binary, pacing)
    }

    fn leg_playing(rate: SampleRate, playback: PlaybackFormat, pacing: Pacing) -> (Leg, DspRings) {
        let defaults = LegDefaults {
            rate,
            rate_is_written: false,
            mix: Mix::Mono,
            playback,
            stream: pacing,
            file: pacing,
            chan_websocket_lead_ms: 40,
        };
        let fields = CallFields::default();
        let shared = Arc::new(CallShared::new(ID, defaults.format(STREAM, &fields)));
        let (rings, dsp, _gemini) = call_rings();
        (Leg::new(ID, shared, rings, defaults, STREAM, fields, Instant::default()), dsp)
    }

    #[test]
    fn each_part_of_a_message_that_is_longer_than_the_ring_wakes_the_worker_and_no_wait_does() {
        let (mut leg, mut dsp) = leg();
        let mut heard = false;
        let message = Bytes::from(vec![1; 640 * CALLER_IN_FRAMES * 2 + 2]);
        assert_eq!(leg.receive_audio(message, Instant::default()), Received::Stalled);
        assert!(!leg.resume(Instant::default(), &mut heard) && !heard, "there is no room");
        while dsp.caller_in.take().is_some() {}
        assert!(!leg.resume(Instant::default(), &mut heard) && heard, "some of it found room");
        heard = false;
        while dsp.caller_in.take().is_some() {}
        assert!(leg.resume(Instant::default(), &mut heard) && heard, "and the rest");
    }

    #[test]
    fn a_caller_far_ahead_of_real_time_waits_and_loses_nothing() {
        let (mut leg, mut dsp) = leg();
        let message = Bytes::from(vec![1; 640]);
        let (mut sent, mut heard, mut now_ms) = (0_u64, 0_u64, 0_u64);
        let mut hear = |dsp: &mut DspRings| {
            while let Some(frame) = dsp.caller_in.take() {
                heard += frame.samples().len() as u64;
            }
            heard
        };
        while now_ms < 2_000 {
            let now = Instant::from_micros(now_ms * 1000);
            if leg.is_stalled() && !leg.resume(now, &mut false) {
                now_ms += 2;
                continue;
            }
            sent += 320;
            leg.receive_audio(message.clone(), now);
            hear(&mut dsp);
        }
        assert!(leg.has_run_ahead());
        let (heard_ms, allowed_ms) = (hear(&mut dsp) / 16, CALLER_AHEAD_MS_MAX + 2_000 * CALLER_SPEED_MAX);
        assert!((allowed_ms - 100..=allowed_ms).contains(&heard_ms), "{heard_ms} ms of {allowed_ms}");
        assert!(sent / 16 - heard_ms <= 20, "all but the message that waits");
    }

    #[test]
    fn pings_and_texts_beyond_what_any_switch_sends_are_a_flood() {
        let (mut leg, _dsp) = leg();
        let now = Instant::from_micros(0);
        let allowed = (0..).take_while(|_| leg.receive_ping(now) == Received::Done).count();
        assert_eq!(allowed, LEG_TEXT_BURST as usize);
        assert_eq!(leg.receive_text("{}", now), Received::Flood);
        assert_eq!(leg.receive_text("{}", now.plus_ms(1_000)), Received::Done);
    }

    #[test]
    fn commands_leave_in_order_before_the_next_audio_and_are_bounded() {
        let (mut leg, mut dsp) = leg();
        dsp.caller_out.put(Frame::audio(1, SampleRate::Hz16000, &[7; 320]));
        let command = |n: usize| Message::text(n.to_string());
        for n in 0..LEG_SAID_MESSAGES {
            assert_eq!(leg.say(command(n)), Ok(()));
        }
        assert_eq!(leg.say(command(99)), Err(command(99)), "a switch that takes nothing is not flooded");
        for n in 0..LEG_SAID_MESSAGES {
            assert_eq!(leg.next_message(), Some(command(n)));
        }
        assert!(leg.next_message().is_some_and(|message| message.is_binary()));
    }

    #[test]
    fn a_report_reaches_control_and_is_no_metadata() {
        let (mut leg, _dsp) = leg();
        let received =
            leg.receive_text(r#"{"type":"tandem","event":"dtmf","digit":"5"}"#, Instant::default());
        assert_eq!(received, Received::Reported(LegReport::Dtmf('5')));
    }

    #[test]
    fn a_rate_that_changes_within_a_chunk_begins_another_message() {
        let (mut leg, mut dsp) =
            leg_playing(SampleRate::Hz8000, PlaybackFormat::Json, Pacing { lead_ms: 200, chunk_ms: 40 });
        for (rate, kind) in
            [(SampleRate::Hz8000, FrameKind::AudioContinued), (SampleRate::Hz16000, FrameKind::Audio)]
        {
            let mut frame = Frame::audio(1, rate, &vec![1; rate.samples_per_frame()]);
            frame.kind = kind;
            dsp.caller_out.put(frame);
        }
        for rate in [8000, 16000] {
            let message = leg.next_message().expect("a message").into_text().expect("JSON");
            assert!(message.contains(&format!(r#""sampleRate":{rate},"#)), "{message}");
        }
        assert_eq!(leg.next_message(), None);
    }

    #[test]
    fn file_playback_counts_the_chunks_of_a_turn_and_clears_with_the_new_turn() {
        let (mut leg, mut dsp) =
            leg_playing(SampleRate::Hz8000, PlaybackFormat::File, Pacing { lead_ms: 200, chunk_ms: 20 });
        let shared = Arc::clone(&leg.shared);
        for expected in [r#""turn":1,"chunk":1,"#, r#""turn":1,"chunk":2,"#] {
            dsp.caller_out.put(Frame::audio(shared.turn(), SampleRate::Hz8000, &[1; 160]));
            let message = leg.next_message().expect("a message").into_text().expect("JSON");
            assert!(message.contains(expected), "{message}");
        }
        let mut end = Frame::audio(1, SampleRate::Hz8000, &[1; 160]);
        end.kind = FrameKind::AudioLast;
        dsp.caller_out.put(end);
        let message = leg.next_message().expect("a message").into_text().expect("JSON");
        assert!(message.contains(r#""turn":1,"chunk":3,"last":true,"#), "{message}");
        leg.shared.cancel_turn();
        dsp.caller_out.put(Frame::audio(2, SampleRate::Hz8000, &[1; 160]));
        let clear = leg.next_message().expect("a message").into_text().expect("JSON");
        assert_eq!(clear.as_str(), r#"{"type":"clearAudio","turn":2}"#);
        let message = leg.next_message().expect("a message").into_text().expect("JSON");
        assert!(message.contains(r#""turn":2,"chunk":1,"#), "{message}");
    }

    #[test]
    fn a_script_that_plays_nothing_is_noticed_and_one_that_reports_is_not() {
        let (mut leg, mut dsp) =
            leg_playing(SampleRate::Hz8000, PlaybackFormat::File, Pacing { lead_ms: 200, chunk_ms: 20 });
        let mut hear_nothing = |leg: &mut Leg, from_ms: u64, report: &str| {
            let turn = leg.shared.cancel_turn();
            dsp.caller_out.put(Frame::audio(turn, SampleRate::Hz8000, &[1; 160]));
            while leg.next_message().is_some() {}
            leg.receive_text(report, Instant::default());
            let looks = (from_ms..from_ms + 10_000).step_by(250);
            looks.filter(|ms| leg.look(Instant::from_micros(ms * 1000)).is_some()).count()
        };
        assert_eq!(hear_nothing(&mut leg, 0, r#"{"type":"tandem","event":"hello","version":1}"#), 0);
        let playing = r#"{"type":"tandem","event":"playing","turn":3}"#;
        assert_eq!(hear_nothing(&mut leg, 20_000, playing), 0, "it acknowledges");
        assert_eq!(hear_nothing(&mut leg, 40_000, "{}"), 1, "said once");
        assert_eq!(hear_nothing(&mut leg, 60_000, "{}"), 0, "said once");
    }

    /// A leg of chan_websocket that has said hello, and what it says next, texts as they are and audio as "audio".
    fn asterisk() -> (Leg, DspRings) {
        leg_of(LegKind::ChanWebsocket)
    }

    fn leg_of(kind: LegKind) -> (Leg, DspRings) {
        let defaults = LegDefaults::configured(&crate::config::Config::default());
        let fields = CallFields::default();
        let shared = Arc::new(CallShared::new(ID, defaults.format(kind, &fields)));
        let (rings, dsp, _gemini) = call_rings();
        (Leg::new(ID, shared, rings, defaults, kind, fields, Instant::default()), dsp)
    }

    fn said(leg: &mut Leg) -> Vec<String> {
        let messages = std::iter::from_fn(|| leg.next_message());
        messages
            .map(|message| message.into_text().map_or("audio".into(), |text| text.as_str().into()))
            .collect()
    }

    fn speak(dsp: &mut DspRings, turn: Turn, frames: usize) {
        for _ in 0..frames {
            // Not UTF-8, so that it cannot be taken for a text.
            dsp.caller_out.put(Frame::audio(turn, SampleRate::Hz16000, &[-1; 320]));
        }
    }

    #[test]
    fn chan_websocket_is_told_to_buffer_before_any_audio_and_after_each_flush() {
        let (mut leg, mut dsp) = asterisk();
        speak(&mut dsp, 1, 1);
        assert_eq!(said(&mut leg), [""; 0], "nothing before it said how it writes");
        let start = "MEDIA_START channel_id:1.2 format:slin16 optimal_frame_size:640 ptime:20";
        let received = leg.receive_text(start, Instant::default());
        assert!(matches!(received, Received::Identified(fields) if fields.uuid.as_deref() == Some("1.2")));
        assert_eq!(leg.shared.format().lead_ms, 40);
        assert_eq!(said(&mut leg), ["START_MEDIA_BUFFERING", "audio"]);
        leg.shared.cancel_turn();
        speak(&mut dsp, 2, 1);
        let silence = "\0".repeat(640);
        assert_eq!(said(&mut leg), ["FLUSH_MEDIA", "START_MEDIA_BUFFERING", &silence, "audio"]);
    }

    #[test]
    fn speech_broken_off_on_an_audio_socket_ends_in_a_frame_of_silence() {
        let (mut leg, mut dsp) = leg_of(LegKind::AudioSocket);
        speak(&mut dsp, 1, 1);
        assert_eq!(said(&mut leg), ["audio"]);
        leg.shared.cancel_turn();
        let frame = format!("\x12\x02\u{80}{}", "\0".repeat(640));
        let messages: Vec<_> = std::iter::from_fn(|| leg.next_message()).collect();
        assert_eq!(messages.len(), 1);
        let frame: Vec<u8> = frame.chars().map(|byte| byte as u8).collect();
        assert_eq!(messages[0], Message::binary(frame));
        leg.shared.cancel_turn();
        assert_eq!(said(&mut leg), [""; 0], "nothing was handed over since");
    }

    #[test]
    fn chan_websocket_that_wants_nothing_gets_nothing_but_old_turns_do_not_wait_for_it() {
        let (mut leg, mut dsp) = asterisk();
        leg.receive_text(r#"{"event":"MEDIA_START","format":"slin16"}"#, Instant::default());
        speak(&mut dsp, 1, 1);
        assert_eq!(said(&mut leg), [r#"{"command":"START_MEDIA_BUFFERING"}"#, "audio"]);
        leg.receive_text(r#"{"event":"MEDIA_XOFF"}"#, Instant::default());
        speak(&mut dsp, 1, 3);
        assert_eq!(said(&mut leg), [""; 0]);
        leg.shared.cancel_turn();
        speak(&mut dsp, 2, 1);
        let silence = "\0".repeat(640);
        let resumed =
            [r#"{"command":"FLUSH_MEDIA"}"#, r#"{"command":"START_MEDIA_BUFFERING"}"#, &silence, "audio"];
        assert_eq!(said(&mut leg), resumed, "a flushed queue has room");
        leg.receive_text(r#"{"event":"MEDIA_XOFF"}"#, Instant::default());
        speak(&mut dsp, 2, 1);
        assert_eq!(said(&mut leg), [""; 0]);
        leg.receive_text(r#"{"event":"MEDIA_XON"}"#, Instant::default());
        assert_eq!(said(&mut leg), ["audio"]);
    }

    #[test]
    fn what_chan_websocket_says_was_played_is_counted_as_far_as_it_was_sent() {
        let (mut leg, mut dsp) = asterisk();
        leg.receive_text(r#"{"event":"MEDIA_START","format":"slin16"}"#, Instant::default());
        speak(&mut dsp, 1, 6);
        assert_eq!(said(&mut leg).len(), 7, "the command to buffer, and audio");
        speak(&mut dsp, 1, 6);
        assert_eq!(said(&mut leg)[4..6], [r#"{"command":"MARK_MEDIA","correlation_id":"t0-10"}"#, "audio"]);
        let played = |leg: &mut Leg, id: &str| {
            let event = format!(r#"{{"event":"MEDIA_MARK_PROCESSED","correlation_id":"{id}"}}"#);
            leg.receive_text(&event, Instant::default());
        };
        for id in ["t0-10", "t0-10", "t0-900", "t1-12", "t0-3", "x"] {
            played(&mut leg, id);
        }
        assert_eq!(leg.shared.tally.snapshot().heard_samples, 10 * 320);
    }

    #[test]
    fn an_asterisk_that_writes_words_is_sent_no_marks_because_it_may_be_too_old_for_them() {
        let (mut leg, mut dsp) = asterisk();
        leg.receive_text("MEDIA_START format:slin16", Instant::default());
        for _ in 0..4 {
            speak(&mut dsp, 1, 8);
            assert!(said(&mut leg).iter().all(|said| said == "audio" || said == "START_MEDIA_BUFFERING"));
        }
    }

    #[test]
    fn a_break_flushes_chan_websocket_and_nothing_else_can_be_asked_of_it() {
        let (mut leg, mut dsp) = asterisk();
        leg.receive_text("MEDIA_START format:slin16", Instant::default());
        speak(&mut dsp, 1, 1);
        said(&mut leg);
        assert_eq!(leg.command(1, &Command::Break), Ok(true));
        speak(&mut dsp, 1, 1);
        assert_eq!(said(&mut leg), ["FLUSH_MEDIA", "START_MEDIA_BUFFERING", "audio"]);
        let digits = crate::base::command::Digits::new("1").expect("digits");
        assert!(leg.command(2, &Command::Dtmf(digits)).is_err());
    }

    #[test]
    fn a_format_that_is_not_linear_is_refused_with_the_remedy() {
        let (mut leg, _dsp) = asterisk();
        let received = leg.receive_text("MEDIA_START format:ulaw", Instant::default());
        assert!(matches!(received, Received::Refused(why) if why.contains("c(slin16)")));
    }
}
