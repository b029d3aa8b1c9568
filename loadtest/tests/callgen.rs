//! The call generator against small servers whose faults are known: what it reports is what they did.
//!
//! Runs in: test threads, loopback only. Each run is bounded by the generator's own time limits.

mod callgen_support;
#[path = "callgen/legs.rs"]
mod legs;

use std::io::{Read, Write};
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgen_support::{Leg, each_frame, floor_echo, serve_calls, serve_tcp};
use tandem::base::SampleRate;
use tandem_loadtest::callgen::{Audio, Expect, Mix, Options, Playback, Report, Steps, run, source};
use tandem_loadtest::floor;
use tungstenite::Message;

fn options(url: String) -> Options {
    Options { url, calls: 4, seconds: 1.2, warmup_ms: 100, ramp_per_s: 200.0, ..Options::default() }
}

fn report(options: Options) -> Report {
    run(options).expect("the options are good")
}

fn echo(leg: Leg) {
    each_frame(leg, |bytes, out| out.push(Message::binary(bytes)));
}

/// Reads a request up to its empty line, a byte at a time so that nothing behind it is taken.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole request");
        head.extend(byte);
    }
    String::from_utf8(head).expect("ASCII")
}

#[test]
fn an_echo_gives_round_trips_and_no_loss() {
    let report = report(options(serve_calls(echo)));
    assert_eq!((report.calls_good, report.calls_failed), (4, 0), "{:?}", report.failures);
    // 60 frames each, five of them silent.
    assert_eq!(report.marked_frames_sent, 4 * 55);
    assert_eq!((report.lost_frames, report.repeated_frames, report.reordered_frames), (0, 0, 0));
    assert_eq!(report.latency_ms.count, 4 * 55);
    assert!(report.frames_received >= 4 * 60);
    assert!(report.latency_ms.p50 < 20.0, "{:?}", report.latency_ms);
    assert_eq!(report.concurrency_max, 4);
    assert_eq!((report.gaps, report.gap_ms), (0, 0.0));
}

#[test]
fn every_rate_and_json_playback_and_stereo_are_understood() {
    for rate in SampleRate::ALL {
        let hz = rate.hz();
        let url = serve_calls(move |leg| {
            each_frame(leg, |bytes, out| {
                assert_eq!(bytes.len() as u32, hz / 50 * 4);
                let left: Vec<u8> = bytes.chunks(4).flat_map(|pair| [pair[0], pair[1]]).collect();
                out.push(Message::text(format!(
                    r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":{hz},"audioData":"{}"}}}}"#,
                    STANDARD.encode(left)
                )));
            });
        });
        let options =
            Options { rate, playback: Playback::Json, mix: Mix::Stereo, seconds: 0.5, ..options(url) };
        let report = report(options);
        assert_eq!(report.calls_good, 4, "{rate}: {:?}", report.failures);
        assert_eq!(report.latency_ms.count, 4 * 20);
    }
}

#[test]
fn loss_repetition_and_crossed_calls_are_counted_and_fail_the_calls() {
    let url = serve_calls(|leg| {
        let mut count = 0;
        each_frame(leg, |bytes, out| {
            count += 1;
            match count {
                20 | 30 | 31 => {}
                40 => out.extend([Message::binary(bytes.clone()), Message::binary(bytes)]),
                _ => out.push(Message::binary(bytes)),
            }
        });
    });
    let lossy = report(options(url));
    assert_eq!((lossy.lost_frames, lossy.repeated_frames), (4 * 3, 4));
    // 3 instead of 1 where a busy machine made the generator itself late.
    assert!(lossy.calls_good == 0 && lossy.exit_status() != 0);
    assert_eq!(lossy.failures.get("lost frames"), Some(&4));

    // Two calls whose audio is exchanged.
    let (to_second, from_first) = mpsc::channel::<Vec<u8>>();
    let (to_first, from_second) = mpsc::channel::<Vec<u8>>();
    let ends = std::sync::Mutex::new(vec![(to_second, from_second), (to_first, from_first)]);
    let ends = std::sync::Arc::new(ends);
    let url = serve_calls(move |leg| {
        let (send, receive) = ends.lock().expect("no panic").pop().expect("two calls");
        each_frame(leg, |bytes, out| {
            send.send(bytes).ok();
            out.extend(receive.try_iter().map(Message::binary));
        });
    });
    let crossed = report(Options { calls: 2, ..options(url) });
    assert!(crossed.foreign_frames > 0, "{crossed:?}");
    assert_eq!(crossed.calls_good, 0);
}

#[test]
fn refusals_closes_and_silence_are_told_with_their_reason() {
    let refusing = serve_tcp(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 503 Too many calls\r\nContent-Length: 0\r\n\r\n").ok();
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let refused = report(options(format!("ws://{refusing}/")));
    assert_eq!(refused.refusals.get("HTTP 503 Too many calls"), Some(&4), "{:?}", refused.failures);
    assert_eq!((refused.calls_refused, refused.calls_failed, refused.calls_good), (4, 0, 0));
    assert_eq!((refused.refusal_ms.count, refused.exit_status()), (4, 1), "refused is not good");
    assert_eq!(refused.series.refused.iter().sum::<u64>(), 4);

    let closing = serve_calls(|mut leg| {
        let frame = tungstenite::protocol::CloseFrame { code: 1008.into(), reason: "not allowed".into() };
        leg.read().ok();
        leg.close(Some(frame)).ok();
        while leg.read().is_ok() {}
    });
    let closed = report(options(closing));
    assert_eq!(
        closed.failures.get("closed by the relay: 1008 not allowed"),
        Some(&4),
        "{:?}",
        closed.failures
    );

    // Reads until the caller closes, and then drops the connection.
    let rude = serve_tcp(|mut stream| {
        let head = read_head(&mut stream);
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key:")).expect("a key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("a caller");
        let mut frames = Vec::new();
        let mut read = [0; 4096];
        while !frames.ends_with(&[0x88, 0x80 | 16]) {
            let n = stream.read(&mut read).expect("a caller");
            frames.extend_from_slice(&read[..n]);
            if let Some(at) = frames.windows(2).position(|w| w == [0x88, 0x80 | 16]) {
                frames.truncate(at + 2);
            }
        }
    });
    let idle = Options { idle: true, seconds: 0.1, ..options(format!("ws://{rude}/")) };
    let dropped = report(idle);
    assert_eq!(dropped.calls_failed, 4);
    assert!(
        dropped
            .failures
            .keys()
            .all(|why| why.starts_with("the connection ended") || why.starts_with("connection lost"))
    );

    let silent = report(Options { seconds: 0.3, ..options(serve_calls(|leg| each_frame(leg, |_, _| {}))) });
    assert_eq!(silent.failures.get("no echo at all"), Some(&4), "{:?}", silent.failures);

    let mute = serve_tcp(|mut stream| {
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let unanswered = report(options(format!("ws://{mute}/")));
    assert_eq!(unanswered.failures.get("no 101 within 1 s"), Some(&4), "{:?}", unanswered.failures);
    assert_eq!(unanswered.exit_status(), 1);
}

#[test]
fn the_connection_begins_and_ends_as_the_modules_does() {
    let (sender, receiver) = mpsc::channel();
    let addr = serve_tcp(move |mut stream| {
        let mut read = [0; 65536];
        let text = read_head(&mut stream);
        let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key:")).expect("a key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        // A ping in the same segment as the 101.
        stream.write_all(&[answer.as_bytes(), b"\x89\x02hi"].concat()).expect("a caller");
        let mut frames = Vec::new();
        loop {
            match stream.read(&mut read) {
                Ok(n) if n > 0 => frames.extend_from_slice(&read[..n]),
                _ => break,
            }
            // Answer the close: FIN, opcode 8.
            if frames.len() > 22 && frames[frames.len() - 22..][..2] == [0x88, 0x80 | 16] {
                stream.write_all(b"\x88\x02\x03\xe8").expect("a caller");
            }
        }
        sender.send((text, frames)).expect("the test waits");
    });
    let options = Options {
        calls: 1,
        seconds: 0.1,
        idle: true,
        headers: vec![("X-Uuid".to_owned(), "{uuid}".to_owned())],
        ..options(format!("ws://{addr}/call?token=t"))
    };
    let report = report(options);
    assert_eq!(report.calls_good, 1, "{:?}", report.failures);
    let (request, frames) = receiver.recv().expect("one connection");
    let names: Vec<&str> = request.lines().map(|line| line.split(':').next().unwrap_or("")).collect();
    assert_eq!(
        names,
        [
            "GET /call?token=t&rate=16000&mix=mono&playback=binary HTTP/1.1",
            "Host",
            "Upgrade",
            "Connection",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Origin",
            "X-Uuid",
            ""
        ]
    );
    assert!(!request.contains(": "), "{request}");
    // Metadata first, then the pong, then the close.
    let unmasked = |at: usize, length: usize| -> Vec<u8> {
        (0..length).map(|i| frames[at + 4 + i] ^ frames[at + i % 4]).collect()
    };
    assert_eq!(frames[0], 0x81);
    let length = usize::from(frames[1] & 0x7f);
    let metadata: serde_json::Value = serde_json::from_slice(&unmasked(2, length)).expect("JSON");
    assert!(request.contains(&format!("X-Uuid:{}", metadata["uuid"].as_str().expect("a UUID"))));
    let pong = 2 + 4 + length;
    assert_eq!((frames[pong], unmasked(pong + 2, 2)), (0x8a, b"hi".to_vec()));
    let close = pong + 2 + 4 + 2;
    assert_eq!((frames[close], unmasked(close + 2, 16)), (0x88, b"\x03\xe8Normal closure".to_vec()));
    assert_eq!(frames.len(), close + 2 + 4 + 16);
}

/// A model in miniature: answers 25 silent frames after speech, one frame for each it receives, 3 ahead; spoken
/// over, it stops after 5 frames and clears.
fn answering(leg: Leg) {
    let answer: Vec<Vec<u8>> = source::answer(SampleRate::Hz16000)
        .chunks(320)
        .map(|frame| frame.iter().flat_map(|sample| sample.to_le_bytes()).collect())
        .collect();
    let (mut spoken, mut silent, mut loud, mut at) = (false, 0, 0, usize::MAX);
    each_frame(leg, |bytes, out| {
        let audible = bytes.chunks(2).any(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 500);
        (spoken, silent) = if audible { (true, 0) } else { (spoken, silent + 1) };
        loud = if audible && at < answer.len() { loud + 1 } else { 0 };
        if loud == 5 {
            at = usize::MAX;
            out.push(Message::text(r#"{"type":"clearAudio"}"#));
        } else if spoken && silent == 25 {
            spoken = false;
            at = 3;
            out.extend(answer[..3].iter().cloned().map(Message::binary));
        }
        if let Some(frame) = answer.get(at) {
            out.push(Message::binary(frame.clone()));
            at += 1;
        }
    });
}

#[test]
fn answers_are_timed_and_a_barge_in_is_measured() {
    let turns = Options {
        calls: 2,
        seconds: 1.0,
        audio: Audio::Speech,
        expect: Expect::Answer,
        ..options(serve_calls(answering))
    };
    let barge_in = Options { barge_in: true, ..turns.clone() };
    let turns = std::thread::spawn(|| report(turns));
    let barge_in = report(barge_in);
    let turns = turns.join().expect("no panic");
    assert_eq!((turns.calls_good, turns.answers), (2, 2), "{:?}", turns.failures);
    // 25 frames of silence and at most 3 until something is audible.
    assert!((480.0..620.0).contains(&turns.response_ms.p50), "{:?}", turns.response_ms);
    assert!(turns.correlation_min > 0.9, "{}", turns.correlation_min);
    // The stand-in answers frame by frame: a generator that is late on a busy machine hears its own lateness.
    assert!(turns.underruns == 0 || turns.own_lateness_ms.max > 1.0, "{} underruns", turns.underruns);

    assert_eq!((barge_in.calls_good, barge_in.barge_ins), (2, 2), "{:?}", barge_in.failures);
    assert_eq!(barge_in.clears, 2);
    // Cleared in answer to the fifth audible frame: 80 ms after the first. 20 ms more if a frame is quiet.
    assert!((75.0..150.0).contains(&barge_in.barge_in_ms.p50), "{:?}", barge_in.barge_in_ms);
    assert!(
        (20.0..=80.0).contains(&barge_in.barge_in_residual_ms.p50),
        "{:?}",
        barge_in.barge_in_residual_ms
    );
}

#[test]
fn calls_rise_in_steps_and_each_step_has_its_own_figures() {
    let steps = Steps { calls: vec![4, 20], seconds: 0.5 };
    let options = Options { steps: Some(steps), analyse: 4, ..options(serve_calls(echo)) };
    let report = report(options);
    assert_eq!((report.calls, report.calls_good), (20, 20), "{:?}", report.failures);
    let of: Vec<_> = report.steps.iter().map(|step| (step.calls, step.latency_ms.count)).collect();
    // One call in four is analysed, each for 25 frames; on the step's edges one more or less.
    assert!(
        of[0].0 == 4 && of[1].0 == 20 && of[0].1.abs_diff(25) < 5 && of[1].1.abs_diff(125) < 25,
        "{of:?}"
    );
    for (step, frames) in report.steps.iter().zip([100, 500]) {
        assert!(step.frames_sent.abs_diff(frames) <= frames / 5, "{step:?}");
        assert!(step.frames_received.abs_diff(frames) <= frames / 5, "{step:?}");
        assert_eq!((step.calls_failed, step.calls_refused), (0, 0));
    }
    assert_eq!((report.series.concurrency[0], report.concurrency_max), (4, 20));
    assert_eq!(report.series.frames_sent.iter().sum::<u64>(), report.frames_sent);
    assert_eq!(report.series.frames_received.iter().sum::<u64>(), report.frames_received);
}

#[test]
fn short_calls_follow_each_other_and_those_that_are_refused_come_again() {
    // Every third call is refused, and one of the others loses its last frames.
    let (places, count) = (6, std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let url = serve_tcp(move |mut stream| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if number % 3 == 2 {
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n").ok();
            return;
        }
        let Ok(leg) = tungstenite::accept(stream) else { return };
        let mut left = if number == 1 { 15 } else { usize::MAX };
        each_frame(leg, |bytes, out| {
            left = left.saturating_sub(1);
            out.extend((left != 0).then(|| Message::binary(bytes)));
        });
    });
    let options = Options {
        calls: places,
        seconds: 3.0,
        call_seconds: Some((0.4, 0.8)),
        analyse: 2,
        ..options(format!("ws://{url}/"))
    };
    let report = report(options);
    let Report { figures, calls_failed, .. } = &report;
    assert!(
        figures.calls > 12 && figures.calls_refused >= 4,
        "{} calls, {:?}",
        figures.calls,
        report.refusals
    );
    assert_eq!(report.failures.get("lost frames"), Some(&1), "{:?}", report.failures);
    assert!(*calls_failed == 1 && report.lost_frames > 1, "{} frames", report.lost_frames);
    assert_eq!(figures.calls, figures.calls_good + calls_failed + figures.calls_refused);
    assert_eq!(figures.refusal_ms.count as usize, figures.calls_refused);
    assert!(report.concurrency_max <= 6 && report.wall_ms < 8000.0, "{}", report.wall_ms);
    assert_eq!(report.per_call.len(), figures.calls);
}

#[test]
fn light_calls_count_what_comes_back_and_tell_silence_from_noise() {
    let (to_test, heard) = mpsc::channel::<usize>();
    let url = serve_calls(move |leg| {
        let to_test = to_test.clone();
        let mut zeros = 0;
        each_frame(leg, |bytes, out| {
            zeros += usize::from(bytes.iter().all(|byte| *byte == 0));
            to_test.send(zeros).ok();
            out.push(Message::binary(bytes));
        });
    });
    for (audio, share) in [(Audio::Noise, 0), (Audio::Silence, 25)] {
        let options =
            Options { audio, analyse: 0, calls: 1, seconds: 1.6, warmup_ms: 100, ..options(url.clone()) };
        let report = report(options);
        assert_eq!(report.calls_good, 1, "{:?}", report.failures);
        assert_eq!((report.frames_sent, report.latency_ms.count), (80, 0));
        // Five frames before the line is there.
        assert_eq!(heard.try_iter().max(), Some(5 + share));
    }
    let talking = Options { analyse: 0, talk: Some(0.5), calls: 3, ..options(url) };
    let report = report(talking);
    assert_eq!((report.calls_good, report.lost_frames), (3, 0), "{:?}", report.failures);
    let lossy = serve_calls(|leg| {
        let mut left = 30;
        each_frame(leg, |bytes, out| {
            left -= i32::from(left > 0);
            out.extend((left > 0).then(|| Message::binary(bytes)));
        });
    });
    let lossy = self::report(Options { analyse: 0, ..options(lossy) });
    assert_eq!(lossy.failures.get("lost frames"), Some(&4), "{:?}", lossy.failures);
}

#[test]
fn the_floor_goes_through_the_null_relay() {
    use std::sync::atomic::AtomicBool;
    use tandem_loadtest::null_relay::NullRelay;
    static STOP: AtomicBool = AtomicBool::new(false);
    let echo = serve_tcp(|stream| floor_echo(stream, floor::UPLINK_LINK_BYTES, floor::DOWNLINK_LINK_BYTES));
    let relay = NullRelay::bind("127.0.0.1:0".parse().expect("an address"), echo).expect("a free port");
    let url = format!("ws://{}/", relay.local_addr().expect("a bound socket"));
    std::thread::spawn(move || relay.run(&STOP));
    let report = report(Options { floor: true, calls: 20, ..options(url) });
    assert_eq!(report.calls_good, 20, "{:?}", report.failures);
    assert_eq!((report.marked_frames_sent, report.latency_ms.count), (20 * 60, 20 * 60));
    assert_eq!(report.mode, "floor");
    assert!(report.latency_ms.p50 < 5.0, "{:?}", report.latency_ms);
}
