//! What a leg is taken for, and at which rate: what is written, what is measured, what its own words say, and waits that end.
//!
//! Runs in: `cargo test`. Owns a leg without a socket and a clock that the tests turn.
//! Invariant: no time passes but what the test hands in.

use std::sync::Arc;

use tungstenite::{Bytes, Message};

use super::super::defaults::LegDefaults;
use super::{Leg, Received};
use crate::base::{CallId, Frame, FrameSink, FrameSource, Instant, Mix, PlaybackFormat, SampleRate};
use crate::call::leg::CallFields;
use crate::call::{LegKind, LegNote};
use crate::codec::audiosocket;
use crate::config::Config;
use crate::sync::CallShared;
use crate::sync::rings::{DspRings, call_rings};

const ID: CallId = CallId { slot: 0, generation: 1 };
const STREAM: LegKind = LegKind::ModAudioStream;
const FORK: LegKind = LegKind::AudioFork;
const ASTERISK: LegKind = LegKind::ChanWebsocket;

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1000)
}

struct Line {
    leg: Leg,
    dsp: DspRings,
}

impl Line {
    fn new(kind: LegKind, fields: CallFields, change: impl FnOnce(&mut LegDefaults)) -> Self {
        let mut defaults = LegDefaults::configured(&Config::default());
        change(&mut defaults);
        let shared = Arc::new(CallShared::new(ID, defaults.format(kind, &fields)));
        let (rings, dsp, _gemini) = call_rings();
        Self { leg: Leg::new(ID, shared, rings, defaults, kind, fields, at(0)), dsp }
    }

    fn of(kind: LegKind) -> Self {
        Self::new(kind, CallFields::default(), |_| {})
    }

    /// A caller of three seconds: messages of so many bytes, one each so many milliseconds. Returns the rates at which they
    /// were heard, in the order in which those changed.
    fn caller(&mut self, message: &[u8], every_ms: u64) -> Result<Vec<SampleRate>, &'static str> {
        let mut heard = Vec::new();
        for n in 0..3_000 / every_ms {
            let now = at(n * every_ms);
            let received = match self.leg.opened().0 {
                LegKind::AudioSocket => {
                    let payload = Bytes::copy_from_slice(message);
                    self.leg.receive_frame(audiosocket::Frame { kind: 0x10, payload }, now)
                }
                _ => self.leg.receive_audio(Bytes::copy_from_slice(message), now),
            };
            if let Received::Refused(why) = received {
                return Err(why);
            }
            // A long message fills the ring, and goes on when there is room.
            loop {
                while let Some(frame) = self.dsp.caller_in.take() {
                    if heard.last() != Some(&frame.rate) {
                        heard.push(frame.rate);
                    }
                }
                if !self.leg.is_stalled()
                    || self.leg.resume(now, &mut false) && self.dsp.caller_in.peek().is_err()
                {
                    break;
                }
            }
        }
        Ok(heard)
    }

    fn text(&mut self, text: &str) -> Received {
        self.leg.receive_text(text, at(0))
    }

    fn notes(&mut self) -> Vec<LegNote> {
        std::iter::from_fn(|| self.leg.next_note()).collect()
    }

    fn says(&mut self) -> Vec<String> {
        let said = std::iter::from_fn(|| self.leg.next_message());
        said.filter_map(|message| match message {
            Message::Text(text) => Some(text.as_str().to_owned()),
            _ => None,
        })
        .collect()
    }
}

fn tone(bytes: usize) -> Vec<u8> {
    (0..bytes / 2).flat_map(|n| ((9_000.0 * (n as f64 * 0.3).sin()) as i16).to_le_bytes()).collect()
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

#[test]
fn what_is_written_of_the_rate_counts_and_what_contradicts_it_is_said_once() {
    let told = CallFields { rate: Some(SampleRate::Hz8000), ..CallFields::default() };
    let mut configured = Line::new(STREAM, CallFields::default(), |defaults| {
        (defaults.rate, defaults.rate_is_written) = (SampleRate::Hz8000, true);
    });
    let mut said = Line::new(STREAM, told, |_| {});
    for line in [&mut configured, &mut said] {
        assert_eq!(line.caller(&tone(640), 40), Ok(vec![SampleRate::Hz8000]));
        assert_eq!(line.notes(), [], "40 ms of 8 kHz are what is written");
        line.leg.measure_anew();
        assert_eq!(line.caller(&tone(640), 20), Ok(vec![SampleRate::Hz8000]));
        assert_eq!(line.leg.shared.format().rate, SampleRate::Hz8000);
        let notes = line.notes();
        assert!(
            matches!(
                notes[..],
                [LegNote::RateContradicts { written: SampleRate::Hz8000, hz: 15_000..17_000, .. }]
            ),
            "{notes:?}"
        );
    }
}

#[test]
fn where_nothing_is_written_the_rate_is_measured_whatever_a_messages_length() {
    for rate in SampleRate::ALL {
        for ms in [10, 20, 40, 60, 100, 200] {
            let mut line = Line::of(STREAM);
            let heard = line.caller(&tone(rate.samples_per_frame() * 2 * ms / 20), ms as u64).unwrap();
            assert_eq!(heard.last(), Some(&rate), "{rate} in {ms} ms: {heard:?}");
            assert_eq!(line.leg.shared.format().rate, rate, "the answer too");
            assert!(line.notes().len() <= 1 && heard.len() <= 2, "{rate} in {ms} ms: {heard:?}");
        }
    }
    let stereo = |defaults: &mut LegDefaults| defaults.mix = Mix::Stereo;
    let mut line = Line::new(STREAM, CallFields::default(), stereo);
    assert_eq!(line.caller(&tone(2_560), 40).unwrap().last(), Some(&SampleRate::Hz16000));
    let mut odd = Line::of(STREAM);
    odd.caller(&tone(2_560), 20).unwrap();
    assert_eq!(odd.notes(), [LegNote::RateUnknown(64_000)]);
}

#[test]
fn an_audio_socket_whose_label_is_wrong_is_heard_as_fast_as_it_speaks_and_g711_is_refused() {
    for (bytes, ms) in [(160, 10), (320, 20), (640, 40), (480, 30)] {
        let mut line = Line::of(LegKind::AudioSocket);
        assert_eq!(line.caller(&tone(bytes), ms), Ok(vec![SampleRate::Hz8000]));
        assert_eq!(line.notes(), []);
    }
    for (bytes, rate) in [(640, SampleRate::Hz16000), (960, SampleRate::Hz24000)] {
        let mut line = Line::of(LegKind::AudioSocket);
        assert_eq!(line.caller(&tone(bytes), 20), Ok(vec![SampleRate::Hz8000, rate]));
        assert_eq!(line.leg.shared.format().rate, SampleRate::Hz8000, "it is answered as it labels");
        assert!(
            matches!(line.notes()[..], [LegNote::Mislabelled(why, is)] if is == rate && why.contains("c(slin)"))
        );
    }
    let mut half = Line::of(LegKind::AudioSocket);
    assert!(half.caller(&tone(160), 20).is_ok(), "half the pace alone may be silence left out");
    let mut g711 = Line::of(LegKind::AudioSocket);
    assert!(g711.caller(&noise(160), 20).unwrap_err().contains("c(slin16)"));
    let mut websocket = Line::of(ASTERISK);
    assert!(websocket.caller(&noise(160), 20).unwrap_err().contains("c(slin16)"));
    let mut loud = Line::of(LegKind::AudioSocket);
    assert!(loud.caller(&noise(320), 20).is_ok(), "noise at its pace is what the caller hears too");
}

#[test]
fn asterisk_without_its_subprotocol_is_known_by_its_first_word() {
    for kind in [STREAM, FORK, LegKind::Ixwebsocket] {
        let json = |defaults: &mut LegDefaults| defaults.playback = PlaybackFormat::File;
        let mut line = Line::new(kind, CallFields::default(), json);
        line.notes();
        let received = line
            .text("MEDIA_START connection_id:c channel_id:1.2 format:slin optimal_frame_size:320 ptime:20");
        assert!(matches!(received, Received::Identified(fields) if fields.uuid.as_deref() == Some("1.2")));
        assert_eq!(line.notes(), [LegNote::Revised { was: kind, is: LegKind::ChanWebsocket }]);
        assert_eq!(line.leg.shared.format().rate, SampleRate::Hz8000);
        assert_eq!(line.leg.probe(), Some(Message::text("GET_STATUS")));
        assert!(line.leg.hangs_up_by_closing());
    }
    let mut companded = Line::of(STREAM);
    let received = companded.text(r#"{"event":"MEDIA_START","format":"ulaw","optimal_frame_size":160}"#);
    assert!(matches!(received, Received::Refused(why) if why.contains("c(slin16)")));
}

#[test]
fn jambonz_is_played_as_it_was_set_up_whatever_is_configured_and_hangs_up_by_closing() {
    let json = |defaults: &mut LegDefaults| defaults.playback = PlaybackFormat::Json;
    for kind in [FORK, STREAM, ASTERISK] {
        let mut line = Line::new(kind, CallFields::default(), json);
        let start = r#"{"sampleRate":8000,"mixType":"mono","callSid":"c-1","callId":"x","from":"1","to":"2",
            "bidirectionalAudio":{"enabled":true,"streaming":true,"sampleRate":24000}}"#;
        let Received::Identified(fields) = line.text(start) else { panic!("metadata") };
        assert_eq!((fields.uuid.as_deref(), fields.did.as_deref()), (Some("c-1"), Some("2")));
        let revised = (kind != FORK).then_some(LegNote::Revised { was: kind, is: LegKind::AudioFork });
        assert_eq!(line.notes(), Vec::from_iter(revised));
        assert_eq!((line.leg.rate, line.leg.shared.format().rate), (SampleRate::Hz8000, SampleRate::Hz24000));
        line.dsp.caller_out.put(Frame::audio(1, SampleRate::Hz24000, &[1; 320]));
        assert!(line.leg.next_message().is_some_and(|message| message.is_binary()));
        line.leg.shared.cancel_turn();
        assert_eq!(line.says(), [r#"{"type":"killAudio"}"#]);
        assert!(line.leg.hangs_up_by_closing());
    }
    let mut deaf = Line::of(FORK);
    deaf.text(r#"{"sampleRate":8000,"mixType":"mono","callSid":"c","bidirectionalAudio":{"enabled":true}}"#);
    assert!(deaf.notes()[0].to_string().contains("bidirectionalAudio.streaming"));
}

#[test]
fn without_media_start_the_call_goes_on_at_the_rate_of_what_comes() {
    let mut line = Line::of(ASTERISK);
    line.dsp.caller_out.put(Frame::audio(1, SampleRate::Hz8000, &[1; 160]));
    assert_eq!(line.caller(&tone(320), 20), Ok(vec![SampleRate::Hz8000]));
    assert_eq!(line.leg.next_message(), None, "it is waited for");
    assert_eq!(line.leg.look(at(1_999)), None);
    assert_eq!(line.leg.next_message(), None);
    line.leg.look(at(2_000));
    assert_eq!(line.notes(), [LegNote::NoMediaStart(SampleRate::Hz8000)]);
    assert_eq!(line.leg.next_message(), Some(Message::text("GET_STATUS")));
    line.leg.receive_text("ERROR channel_id:1.2 error_text:Command X not recognized", at(2_000));
    assert_eq!(line.leg.next_message(), Some(Message::text("START_MEDIA_BUFFERING")));
    assert!(line.leg.next_message().is_some_and(|message| message.is_binary()));
    assert_eq!(line.notes(), [LegNote::Error("Command X not recognized".into())]);
}

#[test]
fn a_leg_that_says_nothing_of_its_caller_is_told_of_once() {
    let mut line = Line::of(STREAM);
    line.leg.receive_ping(at(4_000));
    line.leg.look(at(4_999));
    assert_eq!(line.notes(), []);
    line.leg.look(at(5_000));
    line.leg.look(at(60_000));
    assert_eq!(line.notes(), [LegNote::NoAudio(LegKind::ModAudioStream, 5)]);
    line.leg.receive_audio(tone(640).into(), at(60_000));
    line.leg.look(at(69_999));
    assert_eq!(line.notes(), []);
    line.leg.look(at(70_000));
    assert_eq!(line.notes(), [LegNote::AudioStopped(10)]);
    let mut held = Line::of(ASTERISK);
    held.leg.receive_audio(tone(640).into(), at(0));
    held.leg.look(at(60_000));
    assert!(!held.notes().iter().any(|note| matches!(note, LegNote::AudioStopped(_))), "a caller on hold");
}

#[test]
fn what_metadata_has_wrong_is_told_once_for_each_thing() {
    let mut line = Line::of(STREAM);
    for _ in 0..3 {
        line.text(r#"{"sampleRate":11025,"mixType":"both","agent":"no such agent"}"#);
        line.text(r#"{"from":"1","x":""45"}"#);
    }
    let notes: Vec<String> = line.notes().iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 4, "{notes:?}");
    for (note, part) in notes.iter().zip(["\"11025\"", "\"both\"", "\"no such agent\"", "begins like JSON"]) {
        assert!(note.contains(part), "{note}");
    }
}
