//! AudioSocket: what a real Asterisk sent, replayed; the pace of frames and their wholeness; silence, hang-ups, keys,
//! what is refused, and calls that were announced.
//!
//! Runs in: the test's thread beside relay and simulator. Owns nothing but the recordings in `tests/data/asterisk`.
//! Invariant: the model hears exactly what Asterisk recorded, however the bytes are cut into writes; every frame comes
//! whole, and the last is 0x00.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use tandem::base::{Instant as RelayInstant, SampleRate};
use tandem::call::leg::CallFields;
use tandem::config::{BaseUrl, Config, Secret};
use tandem::dsp::resample::Resampler;
use tandem::server::Server;
use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::audio_line::frame;
use crate::harness::model::speaking;
use crate::harness::{AudioLine, KEY, Model, Relay, alone, in_company, noise, resampled, without_silence};

const UUID: [u8; 16] = [0x5a; 16];
const UUID_TEXT: &str = "5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a";

fn recording(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/asterisk").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The frames of a recording: kind and payload, and the whole.
fn frames(mut wire: &[u8]) -> Vec<(u8, &[u8], &[u8])> {
    let mut frames = Vec::new();
    while let [kind, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        frames.push((*kind, &rest[..length], &wire[..3 + length]));
        wire = &rest[length..];
    }
    frames
}

fn samples(wire: &[u8]) -> Vec<i16> {
    let audio = frames(wire).into_iter().filter(|(kind, ..)| *kind >= 0x10);
    audio
        .flat_map(|(_, payload, _)| payload.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)))
        .collect()
}

#[test]
fn what_asterisk_recorded_reaches_the_model_bit_for_bit_however_it_is_cut() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let mut session = 0;
    for (name, rate, uuid) in [
        ("as-app-8k-speech-a2b.bin", SampleRate::Hz8000, "455847da-27e5-4c0d-a71d-dc29ad9bcbfc"),
        ("as-chan-slin16-speech-a2b.bin", SampleRate::Hz16000, "a0f702b7-d83e-45a2-b7c5-9dc1dc6ca3d0"),
        ("as-chan-slin24-440hz-a2b.bin", SampleRate::Hz24000, "762b4da2-d7f7-48be-9176-57ba891b8b82"),
    ] {
        let wire = recording(name);
        let spoken = samples(&wire);
        let expected = match rate {
            SampleRate::Hz16000 => spoken,
            rate => resampled(Resampler::new(rate, SampleRate::Hz16000), &spoken),
        };
        // Writes that come apart for a moment too long get silence between them, which a filter does not leave as it was:
        // only what is passed on unfiltered can be compared however it is cut.
        let crumbs = if rate == SampleRate::Hz16000 { &[7, 323][..] } else { &[] };
        for (n, piece) in [wire.len()].into_iter().chain(crumbs.iter().copied()).enumerate() {
            session += 1;
            let line = AudioLine::open(relay.address(), &[]);
            wire.chunks(piece).for_each(|piece| line.wire(piece));
            // A starved machine lets silence be filled in, whole frames of it, which do not count as heard.
            let common = expected.len() / 320 * 320;
            let words = without_silence(&expected[..common]);
            model.until("every word", |_| {
                (without_silence(&model.audio_so_far(session)).len() >= words.len()).then_some(())
            });
            line.hang_up();
            let heard = model.audio(session);
            let at = first_sound(&heard) - first_sound(&expected);
            assert_eq!(at % 320, 0, "{name} in {piece}: only whole frames of silence come before the caller");
            let heard = without_silence(&heard[at..]);
            assert!(
                heard.get(..words.len()) == Some(&words[..]),
                "{name} in {piece}: the model heard something else"
            );
            relay.nth_line(&[": ended by caller (hangup)", &format!("uuid={uuid},")], n + 1);
            assert_eq!(line.ended().last().map(|frame| frame.kind), Some(0x00), "the last word");
        }
    }
}

#[test]
fn an_answer_leaves_at_the_callers_rate_a_whole_frame_every_20_ms() {
    let _turn = alone();
    let said = noise(1, 24_000 * 3);
    let model = Model::start(SimConfig { answer: Some(said), burst: 0.0, ..speaking(Voice::Answer) });
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    for (kind, rate) in [(0x10, SampleRate::Hz8000), (0x12, SampleRate::Hz16000), (0x16, SampleRate::Hz48000)]
    {
        // The first frame says the rate before the model speaks.
        let mut first = frame(0x01, &UUID);
        first.extend(frame(kind, &vec![0; rate.samples_per_frame() * 2]));
        let line = AudioLine::open(relay.address(), &first);
        let heard = line.until("three seconds of speech", |heard| {
            let speech = heard.iter().filter(|frame| frame.payload.iter().any(|byte| *byte != 0));
            (speech.clone().count() >= 145).then(|| speech.cloned().collect::<Vec<_>>())
        });
        line.hang_up();
        line.ended();
        assert!(
            heard
                .iter()
                .all(|frame| (frame.kind, frame.payload.len()) == (kind, rate.samples_per_frame() * 2))
        );
        assert_eq!(line.torn_reads(), 0, "head and payload leave in one write");
        // Nothing early: a burst would become a burst of RTP. What is late may be this machine's doing.
        let took = heard[140].at.duration_since(heard[0].at);
        assert!((2_700..3_300).contains(&took.as_millis()), "140 frames within {took:?}");
        let mut gaps: Vec<_> = heard.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
        gaps.sort_unstable();
        println!(
            "{rate}: frame to frame {:?} to {:?}, median {:?}",
            gaps[0],
            gaps[gaps.len() - 1],
            gaps[gaps.len() / 2]
        );
        assert!((17..23).contains(&gaps[gaps.len() / 2].as_millis()), "{:?}", gaps[gaps.len() / 2]);
    }
    let end = relay.end_of(UUID_TEXT);
    assert!(end.contains("underruns 0"), "{end}");
}

#[test]
fn calls_with_silent_callers_stay_up() {
    const CALLS: usize = 100;
    /// Asterisk ends a call without traffic for 2 s.
    const QUIET_MAX: Duration = Duration::from_secs(2);
    const SECONDS: u64 = if cfg!(debug_assertions) { 5 } else { 10 };
    let _turn = alone();
    let model = Model::start(speaking(Voice::Parrot));
    let relay = Relay::start(&model, &[]);
    let begin = Instant::now();
    let lines: Vec<_> = (0..CALLS).map(|n| AudioLine::call(relay.address(), [n as u8; 16])).collect();
    for line in &lines {
        line.until("frames for as long as the test lasts", |heard| {
            let last = heard.last()?;
            (last.at.duration_since(begin) >= Duration::from_secs(SECONDS)).then_some(())
        });
    }
    for (n, line) in lines.iter().enumerate() {
        let heard = line.heard();
        assert!(!line.is_over(), "call {n}");
        let mut before = begin;
        for frame in &heard {
            assert!(frame.at.duration_since(before) < QUIET_MAX, "call {n} was quiet");
            assert_eq!((frame.kind, frame.payload.clone()), (0x10, vec![0; 320]), "20 ms of silence");
            before = frame.at;
        }
        assert_eq!(line.torn_reads(), 0);
        assert!(heard.len() <= SECONDS as usize + 2, "no more than is needed: {}", heard.len());
        line.hang_up();
    }
    relay.nth_line(&[": ended by caller (hangup)"], CALLS);
}

#[test]
fn mislabelled_audio_and_rates_without_a_filter_are_refused_with_the_remedy() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    // Asterisk's own u-law bytes, labelled 0x10, at the pace at which they came.
    let wire = recording("as-chan-ulaw-as-0x10-a2b.bin");
    let line = AudioLine::open(relay.address(), &[]);
    let mut due = Instant::now();
    for (_, _, whole) in frames(&wire).into_iter().take(70) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        line.wire(whole);
        due += Duration::from_millis(20);
    }
    assert_eq!(line.ended().last().map(|frame| frame.kind), Some(0x00));
    let end = relay.end_of("uuid=8b993a8a-a04f-4deb-845b-5a5651cb93d2");
    assert!(end.contains("(leg_protocol)") && end.contains("c(slin16)"), "{end}");

    for kind in [0x11, 0x15, 0x17, 0x18] {
        let line =
            AudioLine::open(relay.address(), &[frame(0x01, &[kind; 16]), frame(kind, &[0; 480])].concat());
        assert_eq!(line.ended().last().map(|frame| frame.kind), Some(0x00), "{kind:#x}");
        let uuid = format!("{kind:02x}{kind:02x}{kind:02x}{kind:02x}-");
        let end = relay.end_of(&uuid);
        assert!(end.contains("(leg_protocol)") && end.contains("c(slin16)"), "{end}");
    }
}

#[test]
fn kinds_of_another_time_are_passed_over_and_a_hang_up_is_one_however_it_comes() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let spoken = noise(2, 16_000);
    let line = AudioLine::call(relay.address(), UUID);
    for odd in
        [frame(0x02, b"id"), frame(0x20, &[1; 700]), frame(0x03, b"5"), frame(0x03, b""), frame(0x12, b"")]
    {
        line.wire(&odd);
    }
    let due = line.speak(0x12, &spoken, 320, Instant::now() - Duration::from_secs(1));
    model.heard(1, spoken.len());
    line.speak(0x12, &[], 320, due);
    line.wire(&[0x00, 0, 0]);
    assert_eq!(line.ended().last().map(|frame| frame.kind), Some(0x00));
    assert!(without_silence(&model.audio(1)) == spoken, "the odd frames are no audio");
    assert!(relay.end_of(UUID_TEXT).contains("ended by caller (hangup)"));

    // A first frame that is none, in whatever pieces, costs the door nothing but its time.
    for first in [&[0x01, 0, 15][..], &[0x01, 0xff, 0xff], &[0x01, 0, 0]] {
        let line = AudioLine::open(relay.address(), &[first, &[0; 32]].concat());
        assert_eq!(line.ended().iter().map(|frame| frame.kind).collect::<Vec<_>>(), [0x00], "{first:?}");
    }
    let torn = AudioLine::open(relay.address(), &frame(0x01, &[7; 16]));
    torn.wire(&[0x10, 1]);
    torn.hang_up();
    assert!(relay.end_of("uuid=07070707-").contains("ended by network (leg_dropped)"));
}

#[test]
fn a_flood_of_frames_that_are_no_audio_ends_its_call_and_no_other() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let quiet = AudioLine::call(relay.address(), UUID);
    model.ready(1);
    let flood = AudioLine::call(relay.address(), [8; 16]);
    flood.wire(&frame(0x03, b"1").repeat(2_000));
    assert_eq!(flood.ended().last().map(|frame| frame.kind), Some(0x00));
    let end = relay.end_of("uuid=08080808-");
    assert!(end.contains("(leg_protocol)") && end.contains("flood"), "{end}");
    let spoken = noise(3, 3_200);
    quiet.speak(0x12, &spoken, 320, Instant::now() - Duration::from_secs(1));
    model.heard(1, spoken.len());
    assert!(!quiet.is_over());
}

/// A relay within this process, whose announcements the test makes itself.
fn relay_in_process(model: &Model, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    config.listen.host = "127.0.0.1".parse().expect("an address");
    config.listen.port = 0;
    config.admin.listen = None;
    config.gemini.base_url = BaseUrl::parse(&model.url()).expect("a URL");
    config.gemini.api_key = Some(Secret::new(KEY));
    change(&mut config);
    Server::start(&config).expect("it starts")
}

#[test]
fn an_announced_call_is_known_by_its_uuid_and_an_unknown_one_is_refused_where_that_is_wanted() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let own_port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let server = relay_in_process(&model, |config| {
        config.listen.require_expected = true;
        config.listen.audiosocket_port = Some(own_port.port());
    });
    let fields = CallFields { did: Some("100".into()), agent: Some("sales".into()), ..CallFields::default() };
    let now: RelayInstant = server.clock().now();
    server.expected().insert(now, [127, 0, 0, 1].into(), &UUID_TEXT.to_uppercase(), fields, 60_000);

    let unknown = AudioLine::call(server.address(), [9; 16]);
    assert_eq!(unknown.ended().iter().map(|frame| frame.kind).collect::<Vec<_>>(), [0x00]);
    let known = AudioLine::call(own_port, UUID);
    model.ready(1);
    let again = AudioLine::call(server.address(), UUID);
    assert_eq!(again.ended().len(), 1, "an announcement is for one call");
    assert_eq!(server.live_calls(), 1);
    // A relay that is shut down hangs up in order too.
    server.handle().drain(Duration::ZERO);
    assert_eq!(known.ended().last().map(|frame| frame.kind), Some(0x00));
    server.join();
}

fn first_sound(samples: &[i16]) -> usize {
    samples.iter().position(|sample| *sample != 0).expect("not only silence")
}
