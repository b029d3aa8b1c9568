//! What the codecs cost: the messages of the audio, encoded and decoded, against the plain way of doing it.
//!
//! Runs in: `cargo bench --bench codec`. The plain way (baseline) is a `serde_json::Value` and the base64 crate's
//! `String` and `Vec`. After criterion's figures a table of ratios is printed, measured in turns so that a busy machine
//! slows both sides alike, and written to `target/codec.json`.
//! Invariant: every pair is checked to give the same result before it is measured.

use ::base64::Engine;
use ::base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD};
use ::base64::engine::simd::Simd;
use criterion::{Criterion, Throughput};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tandem::base::{Mix, SampleRate};
use tandem::codec::base64;
use tandem::codec::gemini::{client, server};
use tandem::codec::mod_audio_stream::{UplinkDecoder, playback};

/// One thing done two ways; each returns a number that depends on all of the result.
struct Pair {
    name: &'static str,
    samples: usize,
    ours: Box<dyn FnMut() -> u64>,
    plain: Box<dyn FnMut() -> u64>,
}

fn speech_like(count: usize) -> Vec<i16> {
    let mut state = 0x2545_F491_u32;
    (0..count)
        .map(|position| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let tone = (position as f32 * 0.115).sin() * 6000.0;
            tone as i16 + (state >> 22) as i16
        })
        .collect()
}

fn to_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn checksum(samples: &[i16]) -> u64 {
    samples.iter().fold(0_u64, |sum, sample| sum.wrapping_add(u64::from(sample.cast_unsigned())))
}

fn encode_realtime_audio(name: &'static str, ms: u32) -> Pair {
    let samples = speech_like(SampleRate::Hz16000.samples_in_ms(ms));
    let count = samples.len();
    let copy = samples.clone();
    let mut out = Vec::with_capacity(client::realtime_audio_len(count));
    Pair {
        name,
        samples: count,
        ours: Box::new(move || {
            out.clear();
            client::write_realtime_audio(&mut out, black_box(&samples));
            black_box(&out).len() as u64
        }),
        plain: Box::new(move || {
            let text = STANDARD.encode(to_bytes(black_box(&copy)));
            let message = serde_json::json!({
                "realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": text}}
            });
            black_box(message.to_string()).len() as u64
        }),
    }
}

fn encode_stream_audio() -> Pair {
    let samples = speech_like(SampleRate::Hz16000.samples_in_ms(20));
    let count = samples.len();
    let copy = samples.clone();
    let mut out = Vec::new();
    Pair {
        name: "encode streamAudio, 20 ms at 16 kHz",
        samples: count,
        ours: Box::new(move || {
            out.clear();
            playback::write_stream_audio(&mut out, black_box(&samples), SampleRate::Hz16000, 7, None);
            black_box(&out).len() as u64
        }),
        plain: Box::new(move || {
            let text = STANDARD.encode(to_bytes(black_box(&copy)));
            let message = serde_json::json!({
                "type": "streamAudio",
                "data": {"audioDataType": "raw", "sampleRate": 16000, "turn": 7, "audioData": text}
            });
            black_box(message.to_string()).len() as u64
        }),
    }
}

fn decode_server_message(name: &'static str, ms: u32) -> Pair {
    let samples = speech_like(SampleRate::Hz24000.samples_in_ms(ms));
    let count = samples.len();
    let text = STANDARD.encode(to_bytes(&samples));
    let message = format!(
        r#"{{"serverContent":{{"modelTurn":{{"role":"model","parts":[{{"inlineData":{{"mimeType":"audio/pcm;rate=24000","data":"{text}"}}}}]}}}}}}"#
    )
    .into_bytes();
    let copy = message.clone();
    let mut heard = Vec::with_capacity(count);
    Pair {
        name,
        samples: count,
        ours: Box::new(move || {
            heard.clear();
            let said =
                server::decode(black_box(&message), |_, block| heard.extend_from_slice(block)).expect("JSON");
            assert_eq!(said.audio_samples, heard.len());
            checksum(&heard)
        }),
        plain: Box::new(move || {
            let value: serde_json::Value = serde_json::from_slice(black_box(&copy)).expect("JSON");
            let text = &value["serverContent"]["modelTurn"]["parts"][0]["inlineData"]["data"];
            let bytes = STANDARD.decode(text.as_str().expect("base64")).expect("base64");
            let samples: Vec<i16> =
                bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            checksum(&samples)
        }),
    }
}

/// The base64 alone, the way it was chosen: blocks on the stack, against one `decode_slice` of `engine` into a `Vec`
/// that is kept.
fn decode_base64(name: &'static str, engine: impl Engine + 'static) -> Pair {
    let samples = speech_like(SampleRate::Hz24000.samples_in_ms(100));
    let count = samples.len();
    let text = STANDARD.encode(to_bytes(&samples)).into_bytes();
    let copy = text.clone();
    let mut heard = Vec::with_capacity(count);
    let mut heard_plain = Vec::with_capacity(count);
    let mut bytes = vec![0; count * 2 + 4];
    Pair {
        name,
        samples: count,
        ours: Box::new(move || {
            heard.clear();
            base64::decode_samples(black_box(&text), |block| heard.extend_from_slice(block)).expect("base64");
            checksum(&heard)
        }),
        plain: Box::new(move || {
            heard_plain.clear();
            let length = engine.decode_slice(black_box(&copy), &mut bytes).expect("base64");
            heard_plain
                .extend(bytes[..length].as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)));
            checksum(&heard_plain)
        }),
    }
}

fn decode_uplink() -> Pair {
    let samples = speech_like(SampleRate::Hz16000.samples_in_ms(20));
    let count = samples.len();
    let bytes = to_bytes(&samples);
    let copy = bytes.clone();
    let mut decoder = UplinkDecoder::new(Mix::Mono);
    let mut block = [0; 320];
    Pair {
        name: "decode a binary message, 20 ms at 16 kHz",
        samples: count,
        ours: Box::new(move || {
            let progress = decoder.decode(black_box(&bytes), &mut block);
            checksum(&block[..progress.produced])
        }),
        plain: Box::new(move || {
            let samples: Vec<i16> =
                black_box(&copy).as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
            checksum(&samples)
        }),
    }
}

fn pairs() -> Vec<Pair> {
    vec![
        encode_realtime_audio("encode realtimeInput, 20 ms at 16 kHz", 20),
        encode_realtime_audio("encode realtimeInput, 100 ms at 16 kHz", 100),
        encode_stream_audio(),
        decode_server_message("decode a server message, 20 ms at 24 kHz", 20),
        decode_server_message("decode a server message, 100 ms at 24 kHz", 100),
        decode_base64("base64 alone, 100 ms: blocks / whole, scalar engine", STANDARD),
        decode_base64(
            "base64 alone, 100 ms: blocks / whole, SIMD engine",
            Simd::standard(GeneralPurposeConfig::new()),
        ),
        decode_uplink(),
    ]
}

fn nanoseconds_each(work: &mut dyn FnMut() -> u64, rounds: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Medians of rounds in turns, printed and kept as JSON.
fn print_ratios() {
    println!("\n{:<52} {:>10} {:>10} {:>7}", "", "ours ns", "plain ns", "ratio");
    let mut report = serde_json::Map::new();
    for mut pair in pairs() {
        let (mut ours, mut plain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..41 {
            ours.push(nanoseconds_each(&mut pair.ours, 500));
            plain.push(nanoseconds_each(&mut pair.plain, 500));
            ratios.push(ours[ours.len() - 1] / plain[plain.len() - 1]);
        }
        let (ours, plain, ratio) = (median(ours), median(plain), median(ratios));
        println!("{:<52} {ours:>10.0} {plain:>10.0} {ratio:>7.2}", pair.name);
        let figures = serde_json::json!({"ours_ns": ours, "plain_ns": plain, "ratio": ratio});
        report.insert(pair.name.to_owned(), figures);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/codec.json");
    let written = std::fs::write(path, format!("{:#}\n", serde_json::Value::Object(report)));
    if let Err(error) = written {
        eprintln!("cannot write {path}: {error}; the figures above are all there is");
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for mut pair in pairs() {
        assert_eq!((pair.ours)(), (pair.plain)(), "{}: the two ways differ", pair.name);
        let mut group = criterion.benchmark_group(pair.name);
        group.throughput(Throughput::Elements(pair.samples as u64));
        group.bench_function("ours", |bencher| bencher.iter(&mut pair.ours));
        group.bench_function("plain", |bencher| bencher.iter(&mut pair.plain));
        group.finish();
    }
    criterion.final_summary();
    // `cargo test --benches` runs each once to see that it works; figures from that would mean nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
}
