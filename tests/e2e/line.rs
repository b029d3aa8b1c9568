//! The telephone's line as switches really use it: what they say wrong, what they do not say, and what of it is in the log.
//!
//! Runs in: the test's thread beside relay and simulator. Owns nothing.
//! Invariant: no optional word of a switch, said or unsaid, ends a call or leaves it silent.

use std::time::{Duration, Instant};

use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::admin::ask;
use crate::harness::model::speaking;
use crate::harness::{AudioLine, Leg, Model, Relay, Told, alone, in_company, noise, without_silence};

const MEDIA: [(&str, &str); 1] = [("Sec-WebSocket-Protocol", "media")];
const ASKED: &str = "GET_STATUS";

fn texts(told: &[(Instant, Told)]) -> Vec<&str> {
    let texts = told.iter().filter_map(|(_, told)| match told {
        Told::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn every_refusal_is_named_in_the_log_as_often_as_one_address_may_fill_it() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let token = [("TANDEM_TOKEN", "0123456789abcdefX"), ("RUST_LOG", "tandem=info")];
    let relay = Relay::start_at(&model.url(), &["listen.max_calls=1"], &token);
    for _ in 0..7 {
        assert!(Leg::try_call(relay.address(), "/?uuid=a&did=5", &[]).is_err());
    }
    relay.nth_line(&["WARN", "refused 127.0.0.1:", "(token)", "listen.token", "uuid=a did=5"], 5);
    assert!(Leg::try_call(relay.address(), "/?uuid=a b", &[]).is_err());
    relay.line(&["WARN", "(bad_request)"]);
    let call = Leg::call(&relay, "/?uuid=b&rate=16000&token=0123456789abcdefX");
    call.audio(&noise(1, 320), 320);
    model.heard(1, 320);
    let second = "/?uuid=c&rate=16000&token=0123456789abcdefX";
    assert!(Leg::try_call(relay.address(), second, &[]).is_err());
    relay.line(&["WARN", "(calls)", "listen.max_calls"]);
    // tandem: and the token, in base64.
    let basic = [("Authorization", "Basic dGFuZGVtOjAxMjM0NTY3ODlhYmNkZWZY")];
    let answer = Leg::try_call(relay.address(), "/?uuid=d", &basic).err().expect("one call is allowed");
    assert!(answer.contains("calls: "), "the password was taken for the token: {answer}");
    let lines = relay.log().lines().filter(|line| line.contains("(token)")).count();
    assert_eq!(lines, 5);
}

#[test]
fn metadata_in_latin_1_costs_a_note_and_nothing_else() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=latin&rate=16000");
    let spoken = noise(1, 3_200);
    leg.audio(&spoken[..1_600], 320);
    leg.text_of(b"{\"did\":\"5000\",\"caller\":\"J\xf6rg\"}");
    leg.text_of(b"\xff\xfe");
    leg.audio(&spoken[1_600..], 320);
    model.heard(1, spoken.len());
    relay.line(&["WARN", "text in the call's metadata", "not UTF-8"]);
    leg.hang_up();
    assert!(without_silence(&model.audio(1)) == spoken, "audio and texts were told apart");
    assert!(relay.end_of("uuid=latin did=5000").contains("ended by caller (hangup)"));
    // A goodbye whose reason is no text is one all the same.
    let leg = Leg::call(&relay, "/?uuid=goodbye&rate=16000");
    let close = [0x88, 0x80 | 5, 0, 0, 0, 0, 0x03, 0xe8, b'J', 0xf6, b'r'];
    assert_eq!(leg.close_with(&close).0, 1000);
    assert!(relay.end_of("uuid=goodbye").contains("(hangup)"));
}

#[test]
fn what_a_switch_says_wrong_is_in_the_log_once_a_call() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start_at(&model.url(), &[], &[("RUST_LOG", "tandem=info")]);
    let leg = Leg::call(&relay, "/tandem&uuid=a&did=*21#");
    leg.text(r#"{"sampleRate":11025,"agent":"no such agent"}"#);
    leg.text(r#"{"from":"1","x":""45" <sip:4@1.1.1.1>"}"#);
    for part in ["without a ?", "write %23", "\"11025\"", "\"no such agent\"", "begins like JSON"] {
        relay.line(&["WARN", part]);
    }
    let asterisk = Leg::call_with(&relay, "/?uuid=b", &MEDIA);
    asterisk.text("MEDIA_START channel_id:1.2 format:slin16 optimal_frame_size:640 ptime:20");
    asterisk.text("ERROR channel_id:1.2 error_text:Unable to parse JSON command");
    relay.line(&["WARN", "reports an error: \"Unable to parse JSON command\""]);
    leg.hang_up();
    relay.end_of("uuid=a did=*21#");
}

#[test]
fn without_media_start_asterisk_hears_the_greeting_and_the_log_says_so() {
    let _turn = alone();
    let answer = Some(noise(1, 24_000));
    let model = Model::start(SimConfig { answer, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    let leg = Leg::call_with(&relay, "/?uuid=quiet", &MEDIA);
    let mut due = Instant::now();
    for _ in 0..5 {
        due = leg.speak(&vec![0; 160 * 25], 160, due);
    }
    // The caller's frames are 20 ms at 8 kHz, and so are the answer's.
    leg.until("the greeting", |told| told.iter().any(|(_, told)| told.samples().len() == 160).then_some(()));
    assert!(leg.told().iter().all(|(_, told)| matches!(told.samples().len(), 0 | 160)));
    assert_eq!(texts(&leg.told()).first(), Some(&ASKED));
    relay.line(&["WARN", "MEDIA_START has not come"]);
    leg.hang_up();
    relay.end_of("uuid=quiet");
}

#[test]
fn a_held_channel_of_asterisk_is_asked_and_never_pinged_not_even_for_a_second_leg() {
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["leg.silent_after_ms=1000"]);
    let held = Leg::call_with(&relay, "/?uuid=held", &MEDIA);
    held.text("MEDIA_START channel_id:1.2 format:slin16 optimal_frame_size:640 ptime:20");
    let status = "STATUS channel_id:1.2 queue_length:0 xon_level:800 xoff_level:900 queue_full:false";
    for asked in 1..=3 {
        held.until("a question for a sign of life", |told| {
            (texts(told).iter().filter(|text| **text == ASKED).count() >= asked).then_some(())
        });
        held.text(status);
    }
    let asked = texts(&held.told()).iter().filter(|text| **text == ASKED).count();
    let answer = std::thread::scope(|scope| {
        let second = scope.spawn(|| Leg::try_call(relay.address(), "/?uuid=HELD", &MEDIA).err());
        held.until("another question", |told| {
            (texts(told).iter().filter(|text| **text == ASKED).count() > asked).then_some(())
        });
        held.text(status);
        second.join().expect("it does not panic")
    });
    assert!(answer.expect("it is refused").contains("409"));
    assert!(!held.told().iter().any(|(_, told)| matches!(told, Told::Ping(_) | Told::Close(..))));
    held.hang_up();
    assert!(relay.end_of("uuid=held").contains("(hangup)"));
}

#[test]
fn messages_of_40_ms_are_heard_at_the_rate_that_is_written_and_at_the_measured_one_where_none_is() {
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    for (sets, uuid, line) in [
        (&["leg.rate=8000"][..], "uuid=written", None),
        (&[], "uuid=measured", Some("was taken for 16000 Hz: it goes on at 8000 Hz")),
    ] {
        let relay = Relay::start(&model, sets);
        let leg = Leg::call(&relay, &format!("/?{uuid}"));
        let mut due = Instant::now();
        // Real time, as a switch with STREAM_BUFFER_SIZE=40 sends.
        for message in noise(7, 8_000 * 2).chunks(320) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            leg.audio(message, 320);
            due += Duration::from_millis(40);
        }
        if let Some(line) = line {
            relay.line(&["WARN", line]);
        }
        leg.hang_up();
        relay.end_of(uuid);
        assert!(line.is_some() || !relay.log().contains("WARN"), "{}", relay.log());
    }
}

#[test]
fn a_call_is_one_however_its_uuid_is_written() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let uuid = "4A4A4A4A-4A4A-4A4A-4A4A-4A4A4A4A4A4A";
    assert_eq!(ask(&relay, "POST /api/expect", &format!(r#"{{"uuid":"{uuid}","did":"5"}}"#)).0, 204);
    // A list of calls that is kept for a moment, and has no call.
    assert_eq!(ask(&relay, "GET /api/calls?state=live", "").0, 200);
    let line = AudioLine::call(relay.address(), [0x4a; 16]);
    // The call has begun at this moment, and is found at once.
    relay.line(&["offered from"]);
    let plain = uuid.replace('-', "");
    for written in [uuid, &uuid.to_lowercase(), &plain] {
        let (status, body) = ask(&relay, &format!("GET /api/calls/{written}"), "");
        assert!(status == 200 && body.contains(r#""did":"5""#), "{written}: {status} {body}");
        assert!(body.contains(&uuid.to_lowercase()), "{body}");
    }
    let (status, body) = ask(&relay, &format!("POST /api/calls/{uuid}/hangup"), "");
    assert_eq!(status, 200, "{body}");
    line.ended();
    relay.end_of(&format!("uuid={}", uuid.to_lowercase()));
    let (status, _) = ask(&relay, "POST /api/calls/nobody/hangup", "");
    assert_eq!(status, 404);
}

#[test]
fn jambonz_is_spoken_to_as_its_documentation_says() {
    let _turn = in_company();
    let answer = Some(noise(1, 24_000 * 10));
    let model = Model::start(SimConfig { answer, hangover_ms: 100, ..speaking(Voice::Answer) });
    // What is configured for mod_audio_stream is nothing that jambonz plays.
    let relay = Relay::start(&model, &["leg.playback=json"]);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let request = format!(
        "GET /?rate=8000 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: audio.jambonz.org\r\n\r\n"
    );
    let (head, leg) = Leg::replay(&relay, request.as_bytes(), key);
    assert!(head.to_lowercase().contains("sec-websocket-protocol: audio.jambonz.org"), "{head}");
    let uuid = "bbf0e5a1-9d4d-4f7d-8f4f-7d5c0b6c1d1e";
    leg.text(&format!(
        r#"{{"sampleRate":8000,"mixType":"mono","callSid":"{uuid}","direction":"inbound","from":"1001","to":"5000",
        "callId":"x@y","callStatus":"in-progress","bidirectionalAudio":{{"enabled":true,"streaming":true,"sampleRate":16000}}}}"#
    ));
    model.ready(1);
    let mut due = Instant::now();
    for answers in 1..=2 {
        due = leg.speak(&noise(2, 160 * 5), 160, due);
        due = leg.speak(&vec![0; 160 * 40], 160, due);
        leg.until("an answer", |told| {
            let audio = told.iter().filter(|(_, told)| !told.samples().is_empty());
            (audio.count() > 20 * answers).then_some(())
        });
    }
    leg.until("killAudio", |told| texts(told).contains(&r#"{"type":"killAudio"}"#).then_some(()));
    let told = leg.told();
    assert_eq!(texts(&told), [r#"{"type":"killAudio"}"#; 1], "nothing else that it does not know");
    assert!(told.iter().all(|(_, told)| matches!(told, Told::Text(_) | Told::Binary(_))), "raw samples only");
    assert!(told.iter().all(|(_, told)| matches!(told.samples().len(), 0 | 320)), "20 ms at 16 kHz");
    leg.text(r#"{"event":"dtmf","dtmf":"5","duration":1600}"#);
    let (status, body) = ask(&relay, &format!("POST /api/calls/{uuid}/hangup"), "");
    assert_eq!(status, 200, "{body}");
    assert_eq!(leg.closed().0, 1000);
    let end = relay.end_of(&format!("uuid={uuid} did=5000 caller=1001"));
    assert!(end.contains("by us"), "{end}");

    let (_, leg) = Leg::replay(&relay, request.as_bytes(), key);
    leg.text(r#"{"sampleRate":8000,"mixType":"mono","callSid":"c-2","from":"1","to":"2"}"#);
    model.ready(2);
    leg.hang_up();
    let end = relay.end_of("uuid=c-2");
    assert!(end.contains("ended by caller (hangup)") && !end.contains("ms without leg"), "{end}");
}

#[test]
fn asterisk_without_its_subprotocol_hears_frames_that_it_plays() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["leg.playback=json"]);
    let leg = Leg::call(&relay, "/?uuid=nameless");
    leg.text("MEDIA_START connection_id:c channel_id:1.2 format:slin optimal_frame_size:320 ptime:20");
    let spoken = noise(5, 1_600);
    leg.speak(&spoken, 160, Instant::now());
    leg.until("the echo", |told| told.iter().any(|(_, told)| told.samples().len() == 160).then_some(()));
    assert_eq!(texts(&leg.told()).first(), Some(&"START_MEDIA_BUFFERING"));
    relay.line(&["WARN", "protocols = media"]);
    leg.hang_up();
    assert!(relay.end_of("uuid=nameless").contains("ended by caller (hangup)"));
    let companded = Leg::call(&relay, "/?uuid=companded-nameless");
    companded.text(r#"{"event":"MEDIA_START","format":"alaw","optimal_frame_size":160,"ptime":20}"#);
    assert_eq!(companded.closed().0, 1003);
    assert!(relay.end_of("uuid=companded-nameless").contains("c(slin16)"));
}
