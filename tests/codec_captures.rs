//! Recorded bytes of real switches through the codecs: upgrade request, WebSocket frames, texts, audio.
//!
//! Runs in: `cargo test`. Owns nothing but the recordings in `tests/data/freeswitch`.
//! Invariant: what comes out does not depend on how the bytes are divided into reads.

use std::io::{Read, Write};
use std::path::PathBuf;
use tandem::base::{Mix, SampleRate};
use tandem::call::leg::{CallFields, LegCloseCode, LegKind};
use tandem::codec::mod_audio_stream::leg_text::MarkEvent;
use tandem::codec::mod_audio_stream::{LegText, RequestFacts, UplinkDecoder, metadata};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Sizes of reads that divide the bytes badly (within heads and samples), as networks do, and hardly at all.
const READ_SIZES: [usize; 4] = [1, 7, 1448, 1 << 20];

/// What the module said on one connection.
struct Conversation {
    target: String,
    facts: RequestFacts,
    messages: Vec<Message>,
}

/// The recorded bytes as a socket that gives at most `read_size` of them at a time, and takes all answers.
struct Replay<'a> {
    rest: &'a [u8],
    read_size: usize,
}

impl Read for Replay<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = self.rest.len().min(self.read_size).min(out.len());
        let (now, later) = self.rest.split_at(count);
        out[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

impl Write for Replay<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn recording(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/freeswitch").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn replay(name: &str, read_size: usize) -> Conversation {
    let bytes = recording(&format!("{name}-001-c2s.bin"));
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let head_len = request.parse(&bytes).expect("a request").unwrap();
    let target = request.path.expect("a target").to_owned();
    let facts =
        RequestFacts::from_request(&target, request.headers.iter().map(|header| (header.name, header.value)));
    let socket = Replay { rest: &bytes[head_len..], read_size };
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut websocket = WebSocket::from_partially_read(socket, Vec::new(), Role::Server, Some(config));
    let mut messages = Vec::new();
    while let Ok(message) = websocket.read() {
        messages.push(message);
    }
    Conversation { target, facts, messages }
}

impl Conversation {
    fn texts(&self) -> Vec<&str> {
        let texts = self.messages.iter().filter_map(|message| match message {
            Message::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    fn binary_lengths(&self) -> Vec<usize> {
        self.binaries().map(<[u8]>::len).collect()
    }

    fn binaries(&self) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().filter_map(|message| match message {
            Message::Binary(bytes) => Some(bytes.as_ref()),
            _ => None,
        })
    }

    /// The code and the reason of the module's close.
    fn close(&self) -> Option<(u16, &str)> {
        self.messages.iter().find_map(|message| match message {
            Message::Close(Some(frame)) => Some((u16::from(frame.code), frame.reason.as_str())),
            _ => None,
        })
    }

    /// The caller's audio, decoded into blocks of 20 ms at 16 kHz, as the telephony thread does it.
    fn caller(&self, mix: Mix) -> Vec<i16> {
        let mut decoder = UplinkDecoder::new(mix);
        let mut samples = Vec::new();
        let mut block = [0; 320];
        for mut bytes in self.binaries() {
            while !bytes.is_empty() {
                let progress = decoder.decode(bytes, &mut block);
                samples.extend_from_slice(&block[..progress.produced]);
                bytes = &bytes[progress.consumed..];
            }
        }
        assert_eq!(decoder.pending_bytes(), 0);
        samples
    }
}

/// Peak amplitude of the component at `frequency_hz` (single-bin DFT).
fn amplitude(samples: &[i16], frequency_hz: f64, rate: SampleRate) -> f64 {
    let step = std::f64::consts::TAU * frequency_hz / f64::from(rate.hz());
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (position, sample) in samples.iter().enumerate() {
        let angle = step * position as f64;
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    2.0 * f64::hypot(real, imaginary) / samples.len() as f64
}

fn root_mean_square(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// Half a second from the middle is the 440 Hz tone that the caller played, and nothing else.
fn assert_tone(name: &str, samples: &[i16], rate: SampleRate) {
    let half_second = rate.samples_in_ms(500);
    let middle = &samples[samples.len() / 2 - half_second / 2..][..half_second];
    let tone = amplitude(middle, 440.0, rate);
    assert!((8165.0..8181.0).contains(&tone), "{name}: amplitude of 440 Hz {tone}");
    for neighbour in [420.0, 460.0, 220.0, 880.0] {
        let other = amplitude(middle, neighbour, rate);
        assert!(other < tone / 300.0, "{name}: {other} at {neighbour} Hz beside {tone} at 440 Hz");
    }
    // A sine alone: the RMS is the peak divided by the root of 2. Half a sample of shift would be noise.
    let level = root_mean_square(middle);
    assert!((level - tone / std::f64::consts::SQRT_2).abs() < 5.0, "{name}: RMS {level}");
}

#[test]
fn every_frame_comes_out_as_it_was_recorded() {
    let recorded = [
        "basic",
        "slow-300",
        "fmt-mono-8k",
        "fmt-stereo-16k",
        "buf-100-16k",
        "hdrs",
        "meta-json",
        "v102-drop",
    ];
    for name in recorded {
        let lines = String::from_utf8(recording(&format!("{name}-001-frames.jsonl"))).expect("UTF-8");
        let expected: Vec<(u64, u64)> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .filter(|frame| frame["dir"] == "c2s")
            .map(|frame| (frame["op"].as_u64().expect("op"), frame["len"].as_u64().expect("len")))
            .collect();
        assert!(expected.len() > 20, "{name}");
        for read_size in READ_SIZES {
            let conversation = replay(name, read_size);
            let found: Vec<(u64, u64)> = conversation
                .messages
                .iter()
                .map(|message| match message {
                    Message::Text(text) => (1, text.len() as u64),
                    Message::Binary(bytes) => (2, bytes.len() as u64),
                    Message::Close(frame) => {
                        (8, frame.as_ref().map_or(0, |frame| 2 + frame.reason.len() as u64))
                    }
                    Message::Ping(bytes) => (9, bytes.len() as u64),
                    other => panic!("{name}: {other:?}"),
                })
                .collect();
            assert_eq!(found, expected, "{name} read by {read_size}");
        }
    }
}

#[test]
fn the_reference_call_tells_who_calls_and_is_heard() {
    for read_size in READ_SIZES {
        let call = replay("basic", read_size);
        assert_eq!((call.target.as_str(), call.facts.kind), ("/", LegKind::ModAudioStream));
        assert_eq!(call.facts, RequestFacts::default());
        let [text] = call.texts()[..] else { panic!("one text") };
        let LegText::Metadata(metadata) = LegText::parse(text) else { panic!("metadata") };
        let fields = call.facts.merged(&metadata.fields);
        assert_eq!(fields.uuid.as_deref(), Some("2a162ce6-b85c-45d4-a03d-ffd4286da520"));
        assert_eq!((fields.caller.as_deref(), fields.did.as_deref()), (Some("lab1"), Some("1000")));
        assert!(metadata.notes.is_empty());
        assert_eq!(call.binary_lengths(), vec![640; 275]);
        assert_tone("basic", &call.caller(Mix::Mono), SampleRate::Hz16000);
        let (code, reason) = call.close().expect("a close");
        assert_eq!((code, reason), (LegCloseCode::Normal.code(), "Normal closure"));
    }
}

/// What the relay itself understands of them.
fn without_variables(fields: &CallFields) -> CallFields {
    CallFields { variables: Default::default(), ..fields.clone() }
}

#[test]
fn audio_before_the_metadata_is_not_lost() {
    let call = replay("slow-300", 1448);
    let before = call.messages.iter().position(Message::is_text).expect("metadata");
    assert_eq!((before, call.binary_lengths().len()), (15, 125));
    assert_eq!(call.texts(), [r#"{"meta":"first?"}"#]);
    let LegText::Metadata(metadata) = LegText::parse(call.texts()[0]) else { panic!("metadata") };
    assert_eq!(without_variables(&metadata.fields), CallFields::default());
    assert_eq!(metadata.fields.variables.get("meta"), Some("first?"));
    assert_tone("slow-300", &call.caller(Mix::Mono), SampleRate::Hz16000);
}

#[test]
fn frames_of_every_length_give_the_same_tone() {
    let cases =
        [("fmt-mono-8k", SampleRate::Hz8000, 320, 75), ("buf-100-16k", SampleRate::Hz16000, 3200, 35)];
    for (name, rate, length, count) in cases {
        let call = replay(name, 7);
        assert_eq!(call.binary_lengths(), vec![length; count], "{name}");
        let samples = call.caller(Mix::Mono);
        assert_eq!(samples.len(), length / 2 * count);
        assert_tone(name, &samples, rate);
    }
}

#[test]
fn the_left_channel_of_stereo_is_the_caller() {
    let call = replay("fmt-stereo-16k", 1448);
    assert_eq!(call.binary_lengths(), vec![1280; 72]);
    let left = call.caller(Mix::Stereo);
    let both = call.caller(Mix::Mono);
    assert_eq!(left.len(), 72 * 320);
    assert!(left.iter().eq(both.iter().step_by(2)));
    assert_tone("fmt-stereo-16k", &left, SampleRate::Hz16000);
    // The two are told apart by their beginning: 40 ms of silence on the left, where the right sounds at once.
    let right: Vec<i16> = both.iter().skip(1).step_by(2).copied().collect();
    let begin = |channel: &[i16]| channel.iter().position(|sample| sample.abs() > 1000);
    assert_eq!((begin(&left), begin(&right)), (Some(671), Some(31)));
}

#[test]
fn extra_headers_carry_the_token() {
    let call = replay("hdrs", 1448);
    let token = call.facts.token.as_ref().expect("the token of the Authorization header");
    assert!(token.matches(b"t0k"));
    assert_eq!(without_variables(&call.facts.headers), CallFields::default());
    assert_eq!(
        call.facts.headers.variables.get("alpha"),
        Some("one"),
        "a header of the call's own may be a variable"
    );
    assert!(call.facts.notes.is_empty());
    assert_eq!((call.texts().len(), call.binary_lengths().len()), (0, 75));
}

#[test]
fn metadata_with_quotes_and_utf8_arrives_unchanged() {
    let call = replay("meta-json", 1);
    let expected = r#"{"a":"b c","n":1, "q":"it's","bs":"x\ny","u":"žluť"}"#;
    assert_eq!(call.texts(), [expected]);
    let metadata = metadata::parse(expected);
    assert_eq!((without_variables(&metadata.fields), metadata.notes), Default::default());
    assert_eq!(metadata.fields.variables.get("bs"), Some("xy"), "without what cannot be seen");
    assert_eq!(call.binary_lengths(), vec![640; 74]);
}

#[test]
fn the_old_module_is_told_by_its_user_agent_and_pings() {
    for (name, count, close) in [("v102-basic", 100, Some((1000, "bye"))), ("v102-drop", 25, None)] {
        let call = replay(name, 1448);
        assert_eq!(call.facts.kind, LegKind::Ixwebsocket, "{name}");
        assert!(call.facts.notes.is_empty(), "{name}");
        assert_eq!(call.texts(), [r#"{"m":1}"#], "{name}");
        let ping = call.messages.iter().find(|message| message.is_ping()).expect("a ping");
        assert_eq!(ping.clone().into_data().as_ref(), b"ixwebsocket::heartbeat::32524s::0", "{name}");
        assert_eq!(call.binary_lengths(), vec![640; count], "{name}");
        assert_eq!(call.close(), close, "{name}");
    }
    assert_tone("v102-basic", &replay("v102-basic", 7).caller(Mix::Mono), SampleRate::Hz16000);
}

#[test]
fn mod_audio_fork_is_told_by_its_subprotocol_and_reports_marks() {
    let call = replay("jb-bi", 1448);
    assert_eq!(call.facts.kind, LegKind::AudioFork);
    assert_eq!((call.facts.url.clone(), call.facts.notes.len()), (CallFields::default(), 0));
    let texts: Vec<LegText> = call.texts().into_iter().map(LegText::parse).collect();
    let cleared = LegText::Mark { name: "m1".to_owned(), event: MarkEvent::Cleared };
    assert_eq!(texts, [LegText::Other, cleared.clone(), cleared]);
    assert_eq!(call.binary_lengths(), vec![640; 326]);
    assert_eq!(call.close(), Some((1000, "")));
    assert_tone("jb-bi", &call.caller(Mix::Mono), SampleRate::Hz16000);
}
