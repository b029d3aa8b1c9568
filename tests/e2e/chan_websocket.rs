//! Asterisk's chan_websocket: what a real Asterisk sent, replayed; what it is told, and how a barge-in empties its queue.
//!
//! Runs in: the test's thread beside relay and simulator. Owns nothing but the recordings in `tests/data/asterisk`.
//! Invariant: the model hears exactly what Asterisk recorded, and no audio leaves before buffering was asked for.

use std::time::Instant;

use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::model::speaking;
use crate::harness::recording::Recording;
use crate::harness::{Leg, Model, Relay, Told, in_company, noise, without_silence};

const MEDIA: [(&str, &str); 1] = [("Sec-WebSocket-Protocol", "media")];

#[test]
fn what_asterisk_recorded_reaches_the_model_and_its_hang_up_is_one() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    for (session, (file, uuid)) in [
        ("ws-slin16-plain-a2b.bin", "uuid=1795335118.347"),
        ("ws-slin16-json-a2b.bin", "uuid=1795335127.349"),
    ]
    .into_iter()
    .enumerate()
    {
        let recording = Recording::of("asterisk", file);
        let (head, leg) = Leg::replay(&relay, recording.before_close(), &recording.key());
        assert!(head.to_lowercase().contains("sec-websocket-protocol: media"), "{head}");
        let spoken = recording.samples();
        model.heard(session as u64 + 1, spoken.len());
        let close = recording.close().expect("it hung up");
        assert_eq!(leg.close_with(recording.wire(close)).0, 1000, "{file}");
        let heard = model.audio(session as u64 + 1);
        assert!(
            without_silence(&heard) == without_silence(&spoken),
            "{file}: the model heard something else"
        );
        assert!(relay.end_of(uuid).contains("ended by caller (hangup)"));
    }
}

#[test]
fn an_answer_is_buffered_marked_and_flushed_at_a_barge_in() {
    let _turn = in_company();
    let answer = Some(noise(1, 24_000 * 10));
    let model = Model::start(SimConfig { answer, hangover_ms: 100, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call_with(&relay, "/?uuid=asterisk&did=5000", &MEDIA);
    leg.text("MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:1.2 format:slin optimal_frame_size:320 ptime:20");
    model.ready(1);
    let mut due = Instant::now();
    for answers in 1..=2 {
        due = leg.speak(&noise(2, 160 * 5), 160, due);
        due = leg.speak(&vec![0; 160 * 40], 160, due);
        leg.until("an answer", |told| {
            let starts = told.iter().filter(|(_, told)| *told == Told::Text("START_MEDIA_BUFFERING".into()));
            let audio = told.iter().filter(|(_, told)| !told.samples().is_empty());
            (starts.count() == answers && audio.count() > 20 * answers).then_some(())
        });
    }
    leg.text("MEDIA_MARK_PROCESSED t1-10");
    leg.text("DTMF_END digit:5 channel_id:1.2");
    leg.hang_up();
    let told: Vec<Told> = leg.told().into_iter().map(|(_, told)| told).collect();
    let texts: Vec<&str> = told
        .iter()
        .filter_map(|told| match told {
            Told::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts[..2], ["START_MEDIA_BUFFERING", "MARK_MEDIA t0-10"], "{texts:?}");
    let flush = texts.iter().position(|text| *text == "FLUSH_MEDIA").expect("a barge-in");
    assert_eq!(texts[flush + 1..flush + 3], ["START_MEDIA_BUFFERING", "MARK_MEDIA t1-10"], "{texts:?}");
    let first_audio = told.iter().position(|told| !told.samples().is_empty()).expect("an answer");
    assert_eq!(told[first_audio - 1], Told::Text("START_MEDIA_BUFFERING".into()));
    // Its frames are 20 ms at 8 kHz.
    assert!(told.iter().all(|told| matches!(told.samples().len(), 0 | 160)));
    let end = relay.end_of("uuid=asterisk did=5000");
    assert!(end.contains(", heard 0.2 s of "), "{end}");
}

#[test]
fn a_format_that_cannot_be_used_is_refused_in_words() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call_with(&relay, "/?uuid=companded", &MEDIA);
    leg.text(
        r#"{"event":"MEDIA_START","channel_id":"1.2","format":"ulaw","optimal_frame_size":160,"ptime":20}"#,
    );
    assert_eq!(leg.closed().0, 1003);
    let end = relay.end_of("uuid=companded");
    assert!(end.contains("(leg_protocol)") && end.contains("c(slin16)"), "{end}");
}
