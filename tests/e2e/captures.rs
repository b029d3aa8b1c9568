//! What real switches sent, replayed byte for byte through a real socket to the real binary.
//!
//! Runs in: the test's thread beside relay and simulator. Owns nothing but the recordings in `tests/data/freeswitch`.
//! Invariant: the model hears exactly the audio that the switch recorded, however the bytes are cut into writes.

use tandem::base::SampleRate;
use tandem::dsp::resample::Resampler;
use tandem_loadtest::callgen::handshake::answer;
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::recording::Recording;
use crate::harness::{Leg, Model, Relay, Told, in_company, resampled, without_silence};

/// Recordings at 16 kHz with one channel, and words that the log must hold at the call's end.
const MONO_16K: [(&str, &str); 8] = [
    ("basic-001-c2s.bin", r#"uuid="2a162ce6-b85c-45d4-a03d-ffd4286da520" did="1000" caller="lab1""#),
    ("slow-300-001-c2s.bin", "caller unknown"),
    ("buf-100-16k-001-c2s.bin", "caller unknown"),
    ("hdrs-001-c2s.bin", "caller unknown"),
    ("meta-json-001-c2s.bin", "caller unknown"),
    ("jb-bi-001-c2s.bin", "caller unknown"),
    ("v102-basic-001-c2s.bin", "caller unknown"),
    ("v102-basic-002-c2s.bin", "caller unknown"),
];

/// How a recording is cut into writes.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Everything at once, the upgrade request included, before the 101.
    Whole,
    /// The request, then, after the 101, a write a frame, as the module writes.
    Frames,
    /// Everything at once but in writes of seven bytes, which divide heads, frames and samples.
    Crumbs,
}

/// Replays a recording up to its close, and gives the head of the answer with the leg.
fn replay(relay: &Relay, recording: &Recording, cut: Cut) -> (String, Leg) {
    let key = recording.key();
    match cut {
        Cut::Whole => Leg::replay(relay, recording.before_close(), &key),
        Cut::Frames => {
            let (head, leg) = Leg::replay(relay, recording.head(), &key);
            let frames = recording.frames.iter().filter(|frame| !frame.message.is_close());
            frames.for_each(|frame| leg.wire(recording.wire(frame)));
            (head, leg)
        }
        Cut::Crumbs => {
            let (head, leg) = Leg::replay(relay, recording.head(), &key);
            let rest = &recording.before_close()[recording.head().len()..];
            rest.chunks(7).for_each(|crumb| leg.wire(crumb));
            (head, leg)
        }
    }
}

#[test]
fn sixteen_kilohertz_reach_the_model_bit_for_bit() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let mut session = 0;
    let mut ends = 0;
    for (file, words) in MONO_16K {
        let recording = Recording::read(file);
        for cut in [Cut::Whole, Cut::Frames, Cut::Crumbs] {
            session += 1;
            let name = format!("{file} {cut:?}");
            let (head, leg) = replay(&relay, &recording, cut);
            assert!(head.starts_with("HTTP/1.1 101 "), "{name}: {head}");
            let spoken = recording.samples();
            model.heard(session, spoken.len());
            for ping in recording.pings() {
                leg.until("the answer to a ping", |told| {
                    told.iter().any(|(_, told)| *told == Told::Pong(ping.clone())).then_some(())
                });
            }
            if let Some(close) = recording.close() {
                assert_eq!(leg.close_with(recording.wire(close)).0, 1000, "{name}");
            }
            let heard = model.audio(session);
            assert!(
                without_silence(&heard) == without_silence(&spoken),
                "{name}: the model heard something else"
            );
            ends += 1;
            let end = relay.nth_line(&[": ended by "], ends);
            assert!(end.contains("ended by caller (hangup)") && end.contains(words), "{name}: {end}");
        }
    }
}

#[test]
fn eight_kilohertz_are_doubled_and_the_left_channel_of_stereo_is_the_caller() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let stereo_relay = Relay::start(&model, &["leg.mix=stereo"]);

    let recording = Recording::read("fmt-mono-8k-001-c2s.bin");
    let (_, leg) = replay(&relay, &recording, Cut::Whole);
    let spoken = recording.samples();
    model.heard(1, spoken.len() * 2);
    leg.close_with(recording.wire(recording.close().expect("it said goodbye")));
    let expected = resampled(Resampler::new(SampleRate::Hz8000, SampleRate::Hz16000), &spoken);
    assert_eq!(expected.len(), spoken.len() * 2);
    let heard = model.audio(1);
    let at = first_sound(&heard) - first_sound(&expected);
    assert_eq!(at % 320, 0, "only whole frames of silence come before the caller");
    assert!(heard[at..at + expected.len()] == expected[..], "8 kHz: the model heard something else");

    let recording = Recording::read("fmt-stereo-16k-001-c2s.bin");
    let (_, leg) = replay(&stereo_relay, &recording, Cut::Whole);
    let left: Vec<i16> = recording.samples().iter().step_by(2).copied().collect();
    model.heard(2, left.len());
    leg.close_with(recording.wire(recording.close().expect("it said goodbye")));
    assert!(without_silence(&model.audio(2)) == without_silence(&left), "stereo: something else");
}

#[test]
fn compression_is_declined_and_the_subprotocol_of_mod_audio_fork_is_confirmed() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let offer = Recording::read("i0-deflate-001-head.bin");
    assert!(String::from_utf8_lossy(offer.head()).contains("permessage-deflate"));
    let (head, leg) = replay(&relay, &offer, Cut::Whole);
    assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
    leg.hang_up();

    let fork = Recording::read("jb-bi-001-c2s.bin");
    let (head, leg) = replay(&relay, &fork, Cut::Whole);
    assert!(head.contains("audio.drachtio.org"), "{head}");
    leg.hang_up();

    let usual = Recording::read("basic-001-c2s.bin");
    let (head, _leg) = replay(&relay, &usual, Cut::Whole);
    assert!(!head.to_lowercase().contains("sec-websocket-protocol"), "{head}");
    let other_key = answer(head.as_bytes(), "AAAAAAAAAAAAAAAAAAAAAA==");
    assert!(format!("{other_key:?}").contains("wrong"), "the accept value belongs to the recorded key");
}

#[test]
fn version_1_0_2_may_come_back_at_once_with_the_same_metadata() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let [first, second, dropped] =
        ["v102-basic-001-c2s.bin", "v102-basic-002-c2s.bin", "v102-drop-001-c2s.bin"].map(Recording::read);
    let (_, leg) = replay(&relay, &first, Cut::Whole);
    model.heard(1, first.samples().len());
    assert_eq!(leg.close_with(first.wire(first.close().expect("it said goodbye"))).0, 1000);
    let (_, again) = replay(&relay, &second, Cut::Whole);
    model.heard(2, second.samples().len());
    // A connection that was lost without a goodbye, with a new one beside it before the old one's end is known.
    let (_, lost) = replay(&relay, &dropped, Cut::Whole);
    let (_, beside) = replay(&relay, &dropped, Cut::Frames);
    model.heard(3, dropped.samples().len());
    model.heard(4, dropped.samples().len());
    lost.drop_connection();
    relay.line(&["ended by network (leg_dropped)"]);
    again.ping(b"still there");
    again.until("the answer to a ping", |told| {
        told.iter().any(|(_, told)| *told == Told::Pong(b"still there".to_vec())).then_some(())
    });
    assert_eq!(again.hang_up().0, 1000);
    assert_eq!(beside.hang_up().0, 1000);
}

fn first_sound(samples: &[i16]) -> usize {
    samples.iter().position(|sample| *sample != 0).expect("not only silence")
}
