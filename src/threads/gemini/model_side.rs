//! The model side of one call without its socket: what the server says becomes queued speech and facts, what the caller
//! says becomes messages.
//!
//! Runs in: the gemini thread, and tests. Owns the call's queues and the gemini ends of its rings.
//! Never reads a clock or a socket.
//! Invariant: the turn changes, and the queue is dropped, in the very call that reads `interrupted`; and no audio is sent
//! before the setup is accepted.

use std::sync::Arc;

use crate::base::limits::MODEL_IN_FRAMES;
use crate::base::units::PTIME_MS;
use crate::base::{CallId, Frame, FrameKind, FrameSink, FrameSource, LinkNumber, SampleRate, Sound};
use crate::call::Fact;
use crate::call::model::ToolCall;
use crate::call::transcript::Speaker;
use crate::codec::gemini::client;
use crate::codec::gemini::server::{self, ServerMessage};
use crate::codec::gemini::usage::UsageMeter;
use crate::sync::CallShared;
use crate::sync::rings::GeminiRings;
use crate::sync::shared::add;
use crate::threads::gemini::speech::{SpeechPool, SpeechQueue, Taken};
use crate::threads::gemini::state;
use crate::threads::gemini::unanswered::Unanswered;
use crate::threads::messages::NewModelSide;

mod stop;

/// How full `model_in` is kept: 10 frames are 133 ms at 24 kHz.
const MODEL_IN_FILL: usize = MODEL_IN_FRAMES * 3 / 4;
/// Kept speech beyond this is sent in longer messages, so that a replay is quick.
const REPLAY_FROM_MS: u64 = 200;
/// From so much waiting speech of the caller on, silence between talkspurts is left out.
const LEAVE_OUT_FROM_MS: u64 = 2_000;
/// What is left of such silence on either side of it.
const SILENCE_MS: u64 = 200;
/// What is left of silence that no talkspurt follows, so that the model's own detection hears the last one end.
const LAST_SILENCE_MS: u64 = 1_000;
/// What is kept of silence while the caller's speech is held: a talkspurt is found a moment after it began.
const PRE_ROLL_MS: u64 = 300;
/// The longest audio message to the model.
const CHUNK_MS_MAX: u32 = 100;
/// The longest piece of a transcription; real ones are words.
const TRANSCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// The longest handle of a session that is kept; real ones have some hundred bytes.
const HANDLE_BYTES_MAX: usize = 16 * 1024;
/// Most ids of tool calls taken back at once; the model calls a handful at most.
const TOOL_IDS_MAX: usize = 64;
const CHUNK_SAMPLES_MAX: usize = SampleRate::Hz16000.samples_in_ms(CHUNK_MS_MAX);

/// What of the configuration the gemini thread needs.
#[derive(Debug, Clone, Copy)]
pub struct ModelSideLimits {
    /// Milliseconds of audio in a message to the model.
    pub chunk_ms: u32,
    /// Milliseconds of the model's speech that may wait.
    pub model_speech_ms: u64,
    /// Milliseconds of the caller's speech that may wait for a link.
    pub kept_speech_ms: u64,
}

/// Whom to wake after something was done for a call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// The dsp worker: there is audio, or the turn changed.
    pub dsp: bool,
    /// Telephony: the turn changed.
    pub telephony: bool,
}

/// See the head of this file.
pub struct ModelSide {
    id: CallId,
    shared: Arc<CallShared>,
    rings: GeminiRings,
    limits: ModelSideLimits,
    speech: SpeechQueue,
    kept: SpeechQueue,
    unanswered: Unanswered,
    /// Milliseconds of the caller's stream behind the last talkspurt, sent or left out.
    silence_ms: u64,
    link: LinkNumber,
    /// Links up to this one were closed by order of control, connected or not.
    closed: LinkNumber,
    live: bool,
    speaking: bool,
    /// Samples of the present or last turn, taken to be at 24 kHz.
    turn_samples: u64,
    overflowed: bool,
    /// What still comes of the present turn is not heard: the caller stopped it.
    stopped: bool,
    /// The present link's end was announced; said once, for control logs it.
    going_away: bool,
    /// What was counted of the present link's tokens.
    usage: UsageMeter,
    /// The model is told where talkspurts begin and end.
    relay_turns: bool,
    /// What is sent next belongs to a talkspurt.
    in_spurt: bool,
    /// The model was told on the present link that the caller speaks, and not yet that they have stopped.
    activity: bool,
    /// The caller's speech waits although there is a link.
    held: bool,
}

impl ModelSide {
    /// The model side of a new call, without a link.
    pub fn new(new: NewModelSide, limits: ModelSideLimits) -> Self {
        Self {
            id: new.id,
            shared: new.shared,
            rings: new.rings,
            limits,
            speech: SpeechQueue::new(limits.model_speech_ms),
            kept: SpeechQueue::new(limits.kept_speech_ms),
            unanswered: Unanswered::new(limits.kept_speech_ms),
            silence_ms: SILENCE_MS,
            link: 0,
            closed: 0,
            live: false,
            speaking: false,
            turn_samples: 0,
            overflowed: false,
            stopped: false,
            going_away: false,
            usage: UsageMeter::default(),
            relay_turns: false,
            in_spurt: false,
            activity: false,
            held: false,
        }
    }

    /// Which call.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The present link's number; 0 before the first.
    pub fn link(&self) -> LinkNumber {
        self.link
    }

    /// A link was connected and its setup queued.
    pub fn connected(&mut self, link: LinkNumber) {
        self.link = link;
        self.live = false;
        self.going_away = false;
        self.activity = false;
        self.stopped = false;
        self.usage = UsageMeter::default();
    }

    /// The relay takes the turns in this call: the model is told where talkspurts begin and end.
    pub fn take_turns(&mut self) {
        self.relay_turns = true;
    }

    /// Keeps the caller's speech from here on although there is a link, or sends what was kept and what follows. What the
    /// caller did not say anything in is not kept for longer than a pre-roll. Why is known to the call's machine alone.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The present link is gone: the caller's speech is kept from here on, and what the model has said is all that comes of
    /// this turn.
    ///
    /// What the model has not begun to answer is sent again on the next link. The server may blame what was sent
    /// (`blamed`): then that is done once. Returns whether there is anything to be sent again, to be told of a link that was
    /// live.
    #[must_use]
    pub fn disconnected(&mut self, pool: &mut SpeechPool, blamed: bool) -> Option<Fact> {
        if std::mem::take(&mut self.speaking) {
            self.speech.push_end(pool, SampleRate::Hz24000);
        }
        std::mem::take(&mut self.live).then(|| {
            let given_back = self.unanswered.give_back(pool, &mut self.kept, blamed);
            self.in_spurt = given_back.in_spurt;
            add(&self.shared.tally.replayed_frames, given_back.replayed);
            add(&self.shared.tally.uplink_frames_dropped, given_back.given_up);
            Fact::SentAgain(self.link, given_back.replayed > 0)
        })
    }

    /// Control has ordered this link to be closed, whether or not it is connected yet. See [`ModelSide::disconnected`].
    #[must_use]
    pub fn close(&mut self, link: LinkNumber, pool: &mut SpeechPool) -> Option<Fact> {
        self.closed = self.closed.max(link);
        if self.link == link { self.disconnected(pool, false) } else { None }
    }

    /// The last link that control ordered to be closed; 0 if there is none.
    pub fn closed(&self) -> LinkNumber {
        self.closed
    }

    /// Queues a sound behind what the model has said. Returns whether some of it went to the dsp worker at once.
    pub fn play(&mut self, sound: &Sound, pool: &mut SpeechPool, mut fact: impl FnMut(Fact)) -> bool {
        let queued = self.speech.push(pool, sound.rate, &sound.samples);
        if queued.is_err() && !std::mem::replace(&mut self.overflowed, true) {
            fact(Fact::SpeechOverflow);
        }
        self.speech.push_end(pool, sound.rate);
        self.fill(pool)
    }

    /// Whether the setup of the present link was accepted.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether speech waits here that `model_in` had no room for.
    pub fn has_backlog(&self) -> bool {
        !self.speech.is_empty()
    }

    /// Takes one message of the server, from a binary or a text frame.
    ///
    /// # Errors
    /// What is wrong with the message; it was ignored from the fault on.
    pub fn receive(
        &mut self,
        message: &[u8],
        pool: &mut SpeechPool,
        mut fact: impl FnMut(Fact),
    ) -> Result<Wake, server::ServerDecodeError> {
        let before = self.overflowed;
        let (speech, overflowed, stopped) = (&mut self.speech, &mut self.overflowed, self.stopped);
        let decoded = server::decode(message, |rate, samples| {
            if stopped {
                return;
            }
            // What comes after a hole is not queued either: until the call has ended it is silent, not garbled.
            *overflowed = *overflowed || speech.push(pool, rate, samples).is_err();
        });
        if self.overflowed && !before {
            fact(Fact::SpeechOverflow);
        }
        let decoded = decoded?;
        add(&self.shared.tally.model_samples, decoded.audio_samples as u64);
        Ok(self.apply(&decoded, pool, &mut fact))
    }

    fn apply(
        &mut self,
        message: &ServerMessage<'_>,
        pool: &mut SpeechPool,
        fact: &mut impl FnMut(Fact),
    ) -> Wake {
        let mut wake = Wake::default();
        let link = self.link;
        if message.setup_complete && !self.live {
            self.live = true;
            fact(Fact::SetupComplete(link));
        }
        let heard = message.audio_samples > 0 && !self.stopped;
        if heard && !self.speaking {
            (self.speaking, self.turn_samples) = (true, 0);
            self.unanswered.answered(pool);
            fact(Fact::TurnStarted(link));
        }
        self.turn_samples += message.audio_samples as u64;
        for (speaker, piece) in
            [(Speaker::Caller, &message.input_transcription), (Speaker::Model, &message.output_transcription)]
        {
            if let Some(piece) = piece.as_ref().filter(|piece| piece.len() <= TRANSCRIPTION_BYTES_MAX) {
                fact(Fact::Transcribed(link, speaker, piece.to_string()));
            }
        }
        // What is taken back with an interruption is not to be answered because of it.
        if !message.cancelled_tool_calls.is_empty() {
            let ids =
                message.cancelled_tool_calls.iter().map(|id| id.to_string()).take(TOOL_IDS_MAX).collect();
            fact(Fact::ToolsCancelled(link, ids));
        }
        if message.interrupted {
            wake = self.cut_off(pool, fact);
        }
        if (message.generation_complete || message.turn_complete) && self.speaking {
            self.speaking = false;
            self.speech.push_end(pool, SampleRate::Hz24000);
            fact(Fact::Spoken(link, self.spoken()));
            fact(Fact::GenerationComplete(link));
        }
        let in_progress = state::tell(link, message, fact);
        in_progress.into_iter().for_each(|in_progress| self.unanswered.is_worked_on(in_progress));
        self.stopped &= !(message.generation_complete || message.turn_complete || message.interrupted);
        if message.turn_complete {
            fact(Fact::TurnComplete(link));
        }
        if let Some(go_away) = &message.go_away
            && !self.going_away
        {
            self.going_away = true;
            fact(Fact::GoAway(link, go_away.time_left.unwrap_or_default()));
        }
        if let Some(resumption) = &message.resumption
            && resumption.resumable
            && let Some(handle) = &resumption.new_handle
            && handle.len() <= HANDLE_BYTES_MAX
        {
            fact(Fact::Resumable(link, handle.to_string()));
        }
        if let Some(tokens) = self.usage.take(message) {
            fact(Fact::TokensUsed(link, tokens));
        }
        for call in message
            .tool_calls
            .iter()
            .filter_map(|call| ToolCall::read(call.id.as_deref(), &call.name, &call.args))
        {
            fact(Fact::ToolCalled(link, Box::new(call)));
        }
        wake.dsp |= self.fill(pool);
        wake
    }

    /// Moves waiting speech into `model_in` as far as it should be filled. Returns whether it moved any.
    pub fn fill(&mut self, pool: &mut SpeechPool) -> bool {
        let mut moved = false;
        let turn = self.shared.turn();
        while MODEL_IN_FRAMES - self.rings.model_in.room() < MODEL_IN_FILL {
            let Some(frame) = self.speech.take_frame(pool, turn) else { break };
            self.rings.model_in.put(frame);
            moved = true;
        }
        moved
    }

    /// Takes what the dsp worker made of the caller, and tells where talkspurts begin and end. Beyond the limit the oldest
    /// is given up, counted.
    pub fn take_uplink(&mut self, pool: &mut SpeechPool, mut fact: impl FnMut(Fact)) {
        let Self { rings, kept, shared, in_spurt, .. } = self;
        // Each frame is looked at where it lies.
        let mut keep = |frame: &Frame| {
            if matches!(frame.kind, FrameKind::SpurtStart | FrameKind::SpurtEnd | FrameKind::End) {
                if frame.kind != FrameKind::End {
                    fact(Fact::CallerSpoke(frame.kind == FrameKind::SpurtStart));
                }
                kept.push_mark(pool, frame.rate, frame.kind);
                return;
            }
            while kept.push(pool, frame.rate, frame.samples()).is_err() {
                if let Some(ms) = kept.drop_silence(pool, *in_spurt) {
                    add(&shared.tally.silence_cut_frames, ms / u64::from(PTIME_MS));
                    continue;
                }
                add(&shared.tally.uplink_frames_dropped, 1);
                if !give_up_oldest(kept, in_spurt, pool) {
                    break;
                }
            }
        };
        while rings.model_out.take_with(&mut keep).is_some() {}
        // Without a mark nothing that waits is speech, or its beginning is yet to be found.
        while self.held
            && !self.in_spurt
            && self.kept.queued_ms() > PRE_ROLL_MS
            && !self.kept.has_mark()
            && give_up_oldest(&mut self.kept, &mut self.in_spurt, pool)
        {}
    }

    /// Writes the next message with the caller's audio into `out`, which it empties first. Returns false when the link
    /// is not ready for any or less than a chunk waits.
    pub fn next_message(&mut self, pool: &mut SpeechPool, out: &mut Vec<u8>) -> bool {
        if !self.live || self.held {
            return false;
        }
        out.clear();
        loop {
            if self.relay_turns && self.in_spurt != self.activity {
                let mark = if self.in_spurt { client::ACTIVITY_START } else { client::ACTIVITY_END };
                out.extend_from_slice(mark.as_bytes());
                self.activity = self.in_spurt;
                return true;
            }
            let replayed = self.kept.queued_ms() > REPLAY_FROM_MS;
            let chunk_ms = if replayed { CHUNK_MS_MAX } else { self.limits.chunk_ms };
            if self.kept.queued_ms() < u64::from(chunk_ms) && !self.kept.has_mark() {
                return false;
            }
            let mut samples = [0; CHUNK_SAMPLES_MAX];
            if self.is_silence_to_leave_out() {
                let leave_out = &mut samples[..SampleRate::Hz16000.samples_per_frame()];
                if let Taken::Samples(..) = self.kept.take(pool, leave_out) {
                    add(&self.shared.tally.silence_cut_frames, 1);
                }
                continue;
            }
            let wanted = SampleRate::Hz16000.samples_in_ms(chunk_ms).min(CHUNK_SAMPLES_MAX);
            match self.kept.take(pool, &mut samples[..wanted]) {
                Taken::Samples(n, _) => {
                    client::write_realtime_audio(out, &samples[..n]);
                    self.unanswered.sent(pool, &samples[..n]);
                    self.silence_ms += u64::from(chunk_ms);
                    let frames = n.div_ceil(SampleRate::Hz16000.samples_in_ms(PTIME_MS));
                    add(&self.shared.tally.sent_frames, frames as u64);
                    return true;
                }
                Taken::Mark(mark @ (FrameKind::SpurtStart | FrameKind::SpurtEnd)) => {
                    self.unanswered.passed(pool, mark);
                    (self.in_spurt, self.silence_ms) = (mark == FrameKind::SpurtStart, 0);
                }
                // Only a model that detects activity itself knows of pauses in the stream.
                Taken::Mark(_) if self.relay_turns => {}
                Taken::Mark(mark) => {
                    self.unanswered.passed(pool, mark);
                    out.extend_from_slice(client::AUDIO_STREAM_END.as_bytes());
                    add(&self.shared.tally.stream_ends, 1);
                    return true;
                }
                Taken::Nothing => return false,
            }
        }
    }

    /// Whether what is sent next is silence that would only keep the talkspurts behind it waiting: much waits, and the
    /// silence is neither right behind a talkspurt nor right before one.
    fn is_silence_to_leave_out(&self) -> bool {
        if self.in_spurt || self.kept.queued_ms() < LEAVE_OUT_FROM_MS {
            return false;
        }
        let (ahead_ms, mark) = self.kept.next_mark();
        let behind_ms = if mark == Some(FrameKind::SpurtStart) { SILENCE_MS } else { LAST_SILENCE_MS };
        self.silence_ms >= behind_ms && ahead_ms > SILENCE_MS
    }

    /// Gives all blocks back; the call is over.
    pub fn release(mut self, pool: &mut SpeechPool) {
        self.speech.clear(pool);
        self.unanswered.clear(pool);
        self.kept.clear(pool);
    }
}

/// Takes the oldest frame of what is kept, to be heard by nobody. Returns false if there is none.
fn give_up_oldest(kept: &mut SpeechQueue, in_spurt: &mut bool, pool: &mut SpeechPool) -> bool {
    let mut given_up = [0; SampleRate::Hz16000.samples_per_frame()];
    match kept.take(pool, &mut given_up) {
        Taken::Nothing => return false,
        Taken::Mark(FrameKind::SpurtStart) => *in_spurt = true,
        Taken::Mark(FrameKind::SpurtEnd) => *in_spurt = false,
        Taken::Mark(_) | Taken::Samples(..) => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LegFormat;
    use crate::codec::base64;
    use crate::sync::rings::call_rings;

    fn spoken(level: i16, samples: usize) -> Vec<u8> {
        let mut json = br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":""#.to_vec();
        base64::encode_samples(&mut json, &vec![level; samples]);
        json.extend_from_slice(br#""}}]}}}"#);
        json
    }

    #[test]
    fn speech_beyond_the_limit_ends_the_call_and_leaves_no_hole_in_what_is_heard() {
        let id = CallId { slot: 0, generation: 1 };
        let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)));
        let (_telephony, mut dsp, rings) = call_rings();
        let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 100, kept_speech_ms: 1000 };
        let mut model = ModelSide::new(NewModelSide { id, shared, rings }, limits);
        let mut pool = SpeechPool::new(1 << 20);
        let mut facts = Vec::new();
        // 133 ms fill the ring, 90 more wait, another 20 do not fit, and 5 would fit again.
        for (level, ms) in [(1, 100), (1, 100), (1, 23), (2, 20), (3, 5)] {
            let message = spoken(level, ms * 24);
            model.receive(&message, &mut pool, |fact| facts.push(fact)).expect("a good message");
        }
        assert_eq!(facts, [Fact::TurnStarted(0), Fact::SpeechOverflow]);
        let mut heard = Vec::new();
        while let Some(frame) = dsp.model_in.take() {
            heard.extend_from_slice(frame.samples());
            model.fill(&mut pool);
        }
        assert_eq!(heard, [1; 223 * 24]);
    }

    #[test]
    fn what_the_caller_stops_with_a_key_is_not_heard_nor_the_rest_of_its_turn_and_the_next_one_is() {
        let (mut model, mut dsp, mut pool) = with_link();
        let mut facts = Vec::new();
        let mut receive = |model: &mut ModelSide, pool: &mut SpeechPool, message: &[u8]| {
            model.receive(message, pool, |fact| facts.push(fact)).expect("a good message");
        };
        receive(&mut model, &mut pool, &spoken(1, 4_800));
        let turn = model.shared.turn();
        let mut stopped = Vec::new();
        let wake = model.stop_speech(&mut pool, |fact| stopped.push(fact));
        assert!(wake.dsp && wake.telephony && model.shared.turn() != turn);
        assert!(matches!(stopped[..], [Fact::Spoken(1, _), Fact::Interrupted(1)]), "{stopped:?}");
        while dsp.model_in.take().is_some() {}
        receive(&mut model, &mut pool, &spoken(2, 4_800));
        receive(&mut model, &mut pool, br#"{"serverContent":{"generationComplete":true}}"#);
        assert!(dsp.model_in.take().is_none(), "the rest of the turn");
        receive(&mut model, &mut pool, br#"{"serverContent":{"turnComplete":true}}"#);
        receive(&mut model, &mut pool, &spoken(3, 4_800));
        assert_eq!(dsp.model_in.take().expect("the next turn").samples()[0], 3);
        let begun = facts.iter().filter(|fact| matches!(fact, Fact::TurnStarted(_))).count();
        assert_eq!((begun, facts.contains(&Fact::TurnComplete(1))), (2, true));
        // Nothing is there to be stopped once all was heard.
        let (mut quiet, _dsp, mut pool) = with_link();
        assert_eq!(quiet.stop_speech(&mut pool, |fact| panic!("{fact:?}")), Wake::default());
    }

    /// A model side with a ready link, and the dsp worker's end of its rings.
    fn with_link() -> (ModelSide, crate::sync::rings::DspRings, SpeechPool) {
        let id = CallId { slot: 0, generation: 1 };
        let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)));
        let (_telephony, dsp, rings) = call_rings();
        let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 1000, kept_speech_ms: 5000 };
        let mut model = ModelSide::new(NewModelSide { id, shared, rings }, limits);
        model.connected(1);
        model.live = true;
        (model, dsp, SpeechPool::new(1 << 20))
    }

    /// What the model is told, a letter each: `a` audio, `(` and `)` the caller's activity, `e` the end of the stream.
    fn told(model: &mut ModelSide, pool: &mut SpeechPool) -> String {
        let (mut told, mut json) = (String::new(), Vec::new());
        while model.next_message(pool, &mut json) {
            let text = String::from_utf8(std::mem::take(&mut json)).expect("text");
            told.push(match text.as_str() {
                client::ACTIVITY_START => '(',
                client::ACTIVITY_END => ')',
                client::AUDIO_STREAM_END => 'e',
                _ => 'a',
            });
        }
        told
    }

    /// Lets the dsp worker say it in the same letters; `e` is the end of the stream. Returns what control is told.
    fn say(
        model: &mut ModelSide,
        dsp: &mut crate::sync::rings::DspRings,
        pool: &mut SpeechPool,
        said: &str,
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        for letter in said.chars() {
            dsp.model_out.put(match letter {
                '(' => Frame::mark(FrameKind::SpurtStart),
                ')' => Frame::mark(FrameKind::SpurtEnd),
                'e' => Frame::end(0, SampleRate::Hz16000),
                _ => Frame::audio(0, SampleRate::Hz16000, &[5; 320]),
            });
            model.take_uplink(pool, |fact| facts.push(fact));
        }
        facts
    }

    #[test]
    fn talkspurts_are_told_to_control_always_and_to_the_model_where_the_relay_takes_the_turns() {
        for (relay_turns, expected) in [(false, "aaaaea"), (true, "a(aa)aa")] {
            let (mut model, mut dsp, mut pool) = with_link();
            if relay_turns {
                model.take_turns();
            }
            let facts = say(&mut model, &mut dsp, &mut pool, "a(aa)aea");
            assert_eq!(facts, [Fact::CallerSpoke(true), Fact::CallerSpoke(false)]);
            assert_eq!(told(&mut model, &mut pool), expected);
        }
    }

    #[test]
    fn a_link_that_comes_in_the_middle_of_a_talkspurt_is_told_of_it_before_its_audio() {
        let (mut model, mut dsp, mut pool) = with_link();
        model.take_turns();
        say(&mut model, &mut dsp, &mut pool, "(aa");
        assert_eq!(told(&mut model, &mut pool), "(aa");
        assert_eq!(model.disconnected(&mut pool, false), Some(Fact::SentAgain(1, true)));
        say(&mut model, &mut dsp, &mut pool, "aa)");
        model.connected(2);
        assert_eq!(told(&mut model, &mut pool), "", "the setup is not accepted yet");
        model.live = true;
        assert_eq!(told(&mut model, &mut pool), "(aaaa)", "what the lost link was told is told again");
    }

    /// Lets the link be lost and another one come. Returns what that is told.
    fn next_link(model: &mut ModelSide, pool: &mut SpeechPool, blamed: bool) -> String {
        assert!(model.disconnected(pool, blamed).is_some(), "it is told");
        model.connected(model.link() + 1);
        model.live = true;
        told(model, pool)
    }

    #[test]
    fn what_the_model_has_begun_to_answer_is_not_sent_again_and_a_talkspurt_under_way_is() {
        let (mut model, mut dsp, mut pool) = with_link();
        say(&mut model, &mut dsp, &mut pool, "a(aaa)a(aa");
        assert_eq!(told(&mut model, &mut pool), "aaaaaaa");
        model.receive(&spoken(1, 240), &mut pool, |_| ()).expect("a good message");
        assert_eq!(next_link(&mut model, &mut pool, false), "aa");
        say(&mut model, &mut dsp, &mut pool, "a)");
        assert_eq!(told(&mut model, &mut pool), "a");
        model.speaking = false;
        model.receive(&spoken(1, 240), &mut pool, |_| ()).expect("a good message");
        assert_eq!(next_link(&mut model, &mut pool, false), "");
        assert_eq!(model.shared.tally.snapshot().replayed_frames, 2);
    }

    #[test]
    fn an_end_of_the_stream_is_said_again_behind_what_it_ended() {
        let (mut model, mut dsp, mut pool) = with_link();
        say(&mut model, &mut dsp, &mut pool, "(aaa)ae");
        assert_eq!(told(&mut model, &mut pool), "aaaae");
        assert_eq!(next_link(&mut model, &mut pool, false), "aaaae");
    }

    #[test]
    fn a_talkspurt_is_sent_again_a_few_times_and_once_where_the_server_blames_it() {
        for (blamed, times) in [(false, 3), (true, 1)] {
            let (mut model, mut dsp, mut pool) = with_link();
            say(&mut model, &mut dsp, &mut pool, "(aaa)");
            assert_eq!(told(&mut model, &mut pool), "aaa");
            for _ in 0..times {
                assert_eq!(next_link(&mut model, &mut pool, blamed), "aaa");
            }
            assert_eq!(next_link(&mut model, &mut pool, blamed), "");
            assert_eq!(model.shared.tally.snapshot().uplink_frames_dropped, 3, "counted as lost");
            model.release(&mut pool);
            assert_eq!(pool.blocks_in_use(), 0);
        }
    }

    #[test]
    fn a_talkspurt_that_was_never_answered_is_not_sent_again_for_ever() {
        let (mut model, mut dsp, mut pool) = with_link();
        say(&mut model, &mut dsp, &mut pool, "(aaa)");
        for _ in 0..15 {
            say(&mut model, &mut dsp, &mut pool, &"a".repeat(50));
            told(&mut model, &mut pool);
        }
        assert_eq!(next_link(&mut model, &mut pool, false), "");
    }

    #[test]
    fn of_much_that_waits_talkspurts_come_first_and_only_silence_is_left_out() {
        let (mut model, mut dsp, mut pool) = with_link();
        model.live = false;
        let (long, short) = ("a".repeat(100), "a".repeat(40));
        say(&mut model, &mut dsp, &mut pool, &format!("{long}(aaa){long}(aa){short}"));
        model.live = true;
        told(&mut model, &mut pool);
        let tally = model.shared.tally.snapshot();
        assert_eq!(tally.silence_cut_frames + tally.sent_frames, 245);
        // 200 ms are left in front of the first; then so much that no more than two seconds wait.
        assert!((90..=140).contains(&tally.silence_cut_frames), "{}", tally.silence_cut_frames);
        assert_eq!(tally.uplink_frames_dropped, 0);
    }

    #[test]
    fn a_full_queue_gives_silence_up_before_speech() {
        let (mut model, mut dsp, mut pool) = with_link();
        model.live = false;
        // Four of the five seconds that fit are silence.
        let (silence, speech) = ("a".repeat(200), "a".repeat(150));
        say(&mut model, &mut dsp, &mut pool, &format!("{silence}({speech})"));
        let tally = model.shared.tally.snapshot();
        assert_eq!(tally.uplink_frames_dropped, 0);
        assert!(tally.silence_cut_frames >= 100, "{}", tally.silence_cut_frames);
    }

    #[test]
    fn a_sound_is_played_whether_or_not_there_is_a_link() {
        let (mut model, mut dsp, mut pool) = with_link();
        assert_eq!(model.disconnected(&mut pool, false), Some(Fact::SentAgain(1, false)));
        let sound = Sound { rate: SampleRate::Hz16000, samples: vec![3; 640] };
        assert!(model.play(&sound, &mut pool, |fact| panic!("{fact:?}")));
        let kinds: Vec<_> = std::iter::from_fn(|| dsp.model_in.take())
            .map(|frame| (frame.kind, frame.samples().len()))
            .collect();
        assert_eq!(kinds, [(FrameKind::Audio, 320), (FrameKind::Audio, 320), (FrameKind::End, 0)]);
    }

    #[test]
    fn what_the_server_says_of_its_state_is_told_ahead_of_the_end_of_the_turn() {
        let told = |content: &str| {
            let (mut model, _, mut pool) = with_link();
            let mut facts = vec![];
            let message = format!(r#"{{"serverContent":{{{content}}}}}"#);
            model.receive(message.as_bytes(), &mut pool, |fact| facts.push(fact)).expect("a good message");
            facts
        };
        let ended_by = |reason: &str| Fact::TurnEndedBy(1, reason.to_owned());
        for (content, facts) in [
            (r#""interactionStatus":"IN_PROGRESS""#, vec![Fact::InProgress(1, true)]),
            (
                r#""turnComplete":true,"interactionStatus":"IDLE""#,
                vec![Fact::InProgress(1, false), Fact::TurnComplete(1)],
            ),
            (
                r#""turnComplete":true,"interactionStatus":"WAITING_FOR_INPUT""#,
                vec![Fact::InProgress(1, false), Fact::WaitsForInput(1), Fact::TurnComplete(1)],
            ),
            (r#""waitingForInput":true"#, vec![Fact::WaitsForInput(1)]),
            (
                r#""turnComplete":true,"turnCompleteReason":"NEED_MORE_INPUT","waitingForInput":true"#,
                vec![Fact::WaitsForInput(1), ended_by("NEED_MORE_INPUT"), Fact::TurnComplete(1)],
            ),
            (
                r#""turnComplete":true,"turnCompleteReason":"GENERATED_AUDIO_SAFETY""#,
                vec![ended_by("GENERATED_AUDIO_SAFETY"), Fact::TurnComplete(1)],
            ),
            (r#""turnComplete":true,"interactionStatus":"ODD""#, vec![Fact::TurnComplete(1)]),
        ] {
            assert_eq!(told(content), facts, "{content}");
        }
    }

    #[test]
    fn a_question_that_the_model_works_on_is_sent_again_however_long_that_takes() {
        for (in_progress, again) in [(true, true), (false, false)] {
            let (mut model, mut dsp, mut pool) = with_link();
            say(&mut model, &mut dsp, &mut pool, "(aaa)");
            told(&mut model, &mut pool);
            if in_progress {
                let status = br#"{"serverContent":{"interactionStatus":"IN_PROGRESS"}}"#;
                model.receive(status, &mut pool, |_| ()).expect("a good message");
            }
            for _ in 0..20 {
                say(&mut model, &mut dsp, &mut pool, &"a".repeat(50));
                told(&mut model, &mut pool);
            }
            assert_eq!(model.disconnected(&mut pool, false), Some(Fact::SentAgain(1, again)));
        }
    }

    #[test]
    fn speech_that_is_held_is_sent_afterwards_and_the_silence_before_it_is_not() {
        let (mut model, mut dsp, mut pool) = with_link();
        model.hold(true);
        say(&mut model, &mut dsp, &mut pool, &"a".repeat(200));
        assert_eq!(model.kept.queued_ms(), PRE_ROLL_MS);
        say(&mut model, &mut dsp, &mut pool, &format!("({})", "a".repeat(100)));
        assert_eq!(told(&mut model, &mut pool), "");
        assert_eq!(model.kept.queued_ms(), PRE_ROLL_MS + 2_000, "what the caller said is all there");
        model.hold(false);
        assert!(told(&mut model, &mut pool).len() >= 23);
        assert_eq!(model.kept.queued_ms(), 0);
    }
}
