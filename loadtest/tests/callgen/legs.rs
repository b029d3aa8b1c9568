//! The call generator's legs against small peers that behave or misbehave in a known way: what is reported at the ear is
//! what a caller behind that switch would have heard.
//!
//! Runs in: test threads, loopback only. Each run is bounded by the generator's own time limits.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use crate::callgen_support::{Leg as Peer, serve_calls, serve_tcp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tandem_loadtest::callgen::{Leg, Options, Playback, Report, run};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;

fn options(url: String, leg: Leg) -> Options {
    Options {
        url,
        calls: 2,
        seconds: 1.2,
        warmup_ms: 100,
        ramp_per_s: 200.0,
        legs: vec![leg],
        ..Options::default()
    }
}

fn report(options: Options) -> Report {
    run(options).expect("the options are good")
}

/// Serves WebSocket calls that offer a subprotocol, and chooses it.
fn serve_chosen(serve: impl Fn(Peer) + Send + Sync + Clone + 'static) -> SocketAddr {
    serve_tcp(move |stream| {
        stream.set_nodelay(true).expect("a socket");
        // The size of the error is tungstenite's.
        #[expect(clippy::result_large_err)]
        let choose = |request: &Request, mut response: Response| {
            if let Some(offered) = request.headers().get("Sec-WebSocket-Protocol") {
                response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::clone(offered));
            }
            Ok(response)
        };
        if let Ok(leg) = tungstenite::accept_hdr(stream, choose) {
            serve(leg);
        }
    })
}

/// Answers every binary message with what `frame` makes of it, and hands every text to `text`.
fn answer(mut leg: Peer, mut frame: impl FnMut(Vec<u8>) -> Vec<Message>, mut text: impl FnMut(&str)) {
    loop {
        let out = match leg.read() {
            Ok(Message::Binary(bytes)) => frame(bytes.to_vec()),
            Ok(Message::Text(words)) => {
                text(&words);
                Vec::new()
            }
            Ok(_) => Vec::new(),
            Err(_) => return,
        };
        if out.into_iter().any(|message| leg.send(message).is_err()) {
            return;
        }
    }
}

/// The frames of one AudioSocket connection until it ends; `answer` gives the bytes to send for each.
fn each_socket_frame(mut stream: TcpStream, mut answer: impl FnMut(u8, &[u8]) -> Vec<u8>) {
    stream.set_nodelay(true).expect("a socket");
    loop {
        let mut header = [0; 3];
        if stream.read_exact(&mut header).is_err() {
            return;
        }
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[1], header[2]]))];
        if stream.read_exact(&mut payload).is_err() || stream.write_all(&answer(header[0], &payload)).is_err()
        {
            return;
        }
    }
}

fn socket_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![kind];
    wire.extend((payload.len() as u16).to_be_bytes());
    wire.extend(payload);
    wire
}

fn is_good(report: &Report) {
    assert_eq!((report.calls_good, report.lost_frames), (report.calls, 0), "{:?}", report.failures);
    assert_eq!(report.ear_latency_ms.count, report.marked_frames_sent);
}

#[test]
fn audiosocket_begins_with_the_uuid_and_its_frames_are_heard_as_they_come() {
    let (sender, receiver) = mpsc::channel();
    let addr = serve_tcp(move |stream| {
        let mut kinds = Vec::new();
        each_socket_frame(stream, |kind, payload| {
            kinds.push((kind, payload.len()));
            if kind == 0x12 { socket_frame(kind, payload) } else { Vec::new() }
        });
        sender.send(kinds).expect("the test waits");
    });
    let report = report(options(format!("ws://{addr}/"), Leg::AudioSocket));
    is_good(&report);
    for _ in 0..2 {
        let kinds = receiver.recv().expect("a connection");
        assert_eq!(kinds[0], (0x01, 16));
        assert!(kinds[1..].iter().all(|kind| *kind == (0x12, 640)));
    }
    // Nothing waits for a tick of the switch.
    assert!(report.ear_latency_ms.p50 < report.latency_ms.p50 + report.offset_ms.p50 + 1.0, "{report:?}");
}

#[test]
fn a_burst_on_audiosocket_is_lost_on_the_caller_and_split_frames_end_the_call() {
    let bursting = serve_tcp(|stream| {
        let mut kept = Vec::new();
        let mut frames = 0;
        each_socket_frame(stream, |kind, payload| {
            if kind == 0x12 {
                kept.extend(socket_frame(kind, payload));
                frames += 1;
            }
            // Every half second of speech at once.
            if frames % 25 == 0 { std::mem::take(&mut kept) } else { Vec::new() }
        });
    });
    let burst = report(options(format!("ws://{bursting}/"), Leg::AudioSocket));
    assert_eq!(burst.calls_good, 0);
    assert!(burst.dropped_ms > 0.0 && burst.lost_frames > 0 && burst.underruns > 0, "{burst:?}");

    // The header now, the payload when the next frame has come, some 20 ms later.
    let split = serve_tcp(|stream| {
        let mut late = Vec::new();
        each_socket_frame(stream, |kind, payload| {
            if kind != 0x12 {
                return Vec::new();
            }
            let mut now = std::mem::replace(&mut late, payload.to_vec());
            now.extend(&socket_frame(kind, payload)[..3]);
            now
        });
    });
    let split = report(options(format!("ws://{split}/"), Leg::AudioSocket));
    let why = "Asterisk: Poll timed out while waiting for data: a payload more than 5 ms late";
    assert_eq!(split.failures.get(why), Some(&2), "{:?}", split.failures);
}

#[test]
fn a_silent_caller_on_audiosocket_needs_something_to_come_every_two_seconds() {
    let mute = serve_tcp(|stream| each_socket_frame(stream, |_, _| Vec::new()));
    let idle = Options { idle: true, seconds: 2.5, ..options(format!("ws://{mute}/"), Leg::AudioSocket) };
    let given_up = report(idle);
    let why = "Asterisk: Reached timeout after 2000 ms of no activity in either direction";
    assert_eq!(given_up.failures.get(why), Some(&2), "{:?}", given_up.failures);
}

#[test]
fn mod_audio_fork_hears_each_frame_only_when_enough_has_gathered() {
    let addr = serve_chosen(|leg| answer(leg, |bytes| vec![Message::binary(bytes)], |_| {}));
    let report = report(options(format!("ws://{addr}/"), Leg::AudioFork));
    is_good(&report);
    assert!(report.latency_ms.p50 < 20.0, "{:?}", report.latency_ms);
    // The first frame waits for seven more, and the others stay behind it.
    assert!(report.ear_latency_ms.p50 >= 155.0, "{:?}", report.ear_latency_ms);
    assert_eq!((report.leg.as_str(), report.playback.as_str()), ("audio_fork", "binary"));
}

#[test]
fn chan_websocket_begins_with_media_start_and_discards_what_does_not_fill_a_frame() {
    let (sender, receiver) = mpsc::channel();
    let whole = serve_chosen(move |leg| {
        answer(leg, |bytes| vec![Message::binary(bytes)], |text| drop(sender.send(text.to_owned())));
    });
    let good = report(options(format!("ws://{whole}/media"), Leg::ChanWebSocket));
    is_good(&good);
    let start: serde_json::Value = serde_json::from_str(&receiver.recv().expect("a text")).expect("JSON");
    assert_eq!((&start["event"], &start["format"]), (&"MEDIA_START".into(), &"slin16".into()));
    assert_eq!(start["optimal_frame_size"], 640);

    // The same audio in halves of a frame: a caller hears nothing.
    let halves = serve_chosen(|leg| {
        let halved = |bytes: Vec<u8>| bytes.chunks(320).map(|half| Message::binary(half.to_vec())).collect();
        answer(leg, halved, |_| {});
    });
    let unheard = report(options(format!("ws://{halves}/media"), Leg::ChanWebSocket));
    assert_eq!(unheard.failures.get("no echo at all"), Some(&2), "{:?}", unheard.failures);
    assert!(unheard.dropped_ms > 0.0);
}

#[test]
fn files_are_heard_a_chunk_and_a_start_later_and_the_script_reports() {
    let (sender, receiver) = mpsc::channel();
    let url = serve_calls(move |leg| {
        let (mut gathered, mut chunk) = (Vec::new(), 0);
        let sender = sender.clone();
        let stream_audio = move |bytes: Vec<u8>| {
            gathered.extend(bytes);
            // 100 ms at 16 kHz.
            if gathered.len() < 3200 {
                return Vec::new();
            }
            chunk += 1;
            let audio = STANDARD.encode(std::mem::take(&mut gathered));
            vec![Message::text(format!(
                r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":16000,"turn":3,"chunk":{chunk},"audioData":"{audio}"}}}}"#
            ))]
        };
        answer(leg, stream_audio, |text| drop(sender.send(text.to_owned())));
    });
    let report = report(options(url, Leg::ModAudioStream(Playback::File)));
    is_good(&report);
    // 80 ms until the chunk is whole, 2 to 20 to the event, and FreeSWITCH reads at its next tick of 20 ms.
    assert!(report.ear_latency_ms.p50 >= 98.0, "{:?}", report.ear_latency_ms);
    let texts: Vec<String> = receiver.try_iter().collect();
    let count = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!(count(r#"{"type":"tandem","event":"hello","version":2}"#), 2);
    assert_eq!(count(r#"{"type":"tandem","event":"playing","turn":3}"#), 2);
}

#[test]
fn several_legs_in_one_run_have_figures_of_their_own() {
    let peers = serve_chosen(|leg| {
        let mut waiting = VecDeque::new();
        let delayed = move |bytes: Vec<u8>| {
            waiting.push_back(bytes);
            if waiting.len() > 1 {
                waiting.pop_front().map(Message::binary).into_iter().collect()
            } else {
                vec![]
            }
        };
        answer(leg, delayed, |_| {});
    });
    let legs = vec![Leg::AudioFork, Leg::ChanWebSocket, Leg::ModAudioStream(Playback::Binary)];
    let mixed = report(Options { calls: 7, legs, ..options(format!("ws://{peers}/"), Leg::AudioFork) });
    assert_eq!((mixed.leg.as_str(), mixed.playback.as_str()), ("mixed", "binary"));
    let counts: Vec<_> = mixed.legs.iter().map(|leg| (leg.leg.as_str(), leg.calls)).collect();
    assert_eq!(counts, [("audio_fork", 3), ("chan_websocket", 2), ("mod_audio_stream", 2)]);
    assert_eq!(mixed.per_call[4].leg, "chan_websocket");
    assert_eq!(mixed.legs.iter().map(|leg| leg.marked_frames_sent).sum::<u64>(), mixed.marked_frames_sent);
    assert_eq!(mixed.legs.iter().map(|leg| leg.jitter_ms.count).sum::<u64>(), mixed.jitter_ms.count);
    assert!(mixed.legs.iter().all(|leg| leg.ear_latency_ms.count > 0), "{:?}", mixed.failures);
}
