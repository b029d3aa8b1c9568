//! The pieces of a call's way, each so many times and nothing else: for a tool that counts instructions.
//!
//! Runs in: `make counts`, which runs it under cachegrind; `cargo bench --bench counts -- PIECE TIMES` runs it alone. Owns
//! nothing. Never measures time: what it prints is made of all results, so that none of them can be left out.
//! Invariant: twice the times is twice the work, but for what is done once at the start.

use std::hint::black_box;
use std::sync::Arc;

use tandem::base::{CallId, Frame, FrameSink, FrameSource, Instant, LegFormat, SampleRate};
use tandem::codec::base64;
use tandem::codec::gemini::{client, server};
use tandem::dsp::voice::Voice;
use tandem::dsp::{Resampler, fir};
use tandem::sync::rings::{GeminiRings, TelephonyRings, call_rings, ring};
use tandem::sync::{CallShared, Doorbell, mailbox};
use tandem::threads::dsp::{DspCall, DspOrder, Worker};

fn noise(count: usize, quieter: u32) -> Vec<i16> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as i16 >> quieter
    };
    (0..count).map(|_| next()).collect()
}

fn sum(samples: &[i16]) -> u64 {
    samples.iter().map(|sample| u64::from(sample.cast_unsigned())).sum()
}

/// 20 ms at 16 kHz, after a second of noise.
fn voice(samples: &[i16], times: usize) -> u64 {
    let (mut voice, mut decisions) = (Voice::new(), 0);
    let before = noise(SampleRate::Hz16000.samples_in_ms(1_000), 10);
    voice.hear(&before, |voiced| decisions += u64::from(voiced));
    for _ in 0..times {
        voice.hear(black_box(samples), |voiced| decisions += u64::from(voiced));
    }
    decisions
}

/// 20 ms, in frames as the rings have them.
fn resample(from: SampleRate, to: SampleRate, times: usize) -> u64 {
    let mut resampler = Resampler::new(from, to);
    let input = noise(from.samples_per_frame(), 1);
    let mut output = vec![0; to.samples_per_frame()];
    let mut total = 0_u64;
    for _ in 0..times {
        let mut made = 0;
        for frame in black_box(&input).chunks(Frame::CAPACITY) {
            made += resampler.process(frame, &mut output[made..]).produced;
        }
        total = total.wrapping_mul(31).wrapping_add(sum(&output[..made]));
    }
    total
}

/// A message of the model with 40 ms of audio.
fn from_model(times: usize) -> u64 {
    let mut message =
        br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":""#
            .to_vec();
    base64::encode_samples(&mut message, &noise(SampleRate::Hz24000.samples_in_ms(40), 1));
    message.extend_from_slice(br#""}}]}}}"#);
    let mut total = 0_u64;
    for _ in 0..times {
        let said =
            server::decode(black_box(&message), |_, block| total = total.wrapping_add(block.len() as u64));
        assert!(said.is_ok());
    }
    total
}

/// A message to the model with 20 ms of audio.
fn to_model(times: usize) -> u64 {
    let (samples, mut message, mut total) = (noise(320, 1), Vec::new(), 0_u64);
    for _ in 0..times {
        message.clear();
        client::write_realtime_audio(&mut message, black_box(&samples));
        total += black_box(&message).len() as u64;
    }
    total
}

/// Passes over 50 calls of 16 kHz, with 20 ms both ways for each of them or with nothing.
fn passes(talking: bool, times: usize) -> u64 {
    const CALLS: usize = 50;
    let (mut orders, inbox) = mailbox(Doorbell::for_parked(std::thread::current()));
    let (back, _retired) = ring(CALLS);
    let mut worker = Worker::new(inbox, back, CALLS, Arc::default());
    let mut now = Instant::from_micros(1_000_000);
    let mut ends: Vec<(TelephonyRings, GeminiRings)> = (0..CALLS as u32)
        .map(|slot| {
            let format = LegFormat::new(SampleRate::Hz16000, 60, 20);
            let shared = Arc::new(CallShared::new(CallId { slot, generation: 1 }, format));
            let (telephony, rings, gemini) = call_rings();
            orders.send(DspOrder::Add(Box::new(DspCall::new(now, rings, shared, 0))));
            (telephony, gemini)
        })
        .collect();
    worker.pass(now);
    let (caller, model) = (noise(320, 1), noise(SampleRate::Hz24000.samples_per_frame(), 1));
    let mut total = 0;
    for _ in 0..times {
        if talking {
            now = now.plus_ms(20);
            for (telephony, gemini) in &mut ends {
                telephony.caller_in.put(Frame::audio(0, SampleRate::Hz16000, &caller));
                for piece in model.chunks(Frame::CAPACITY) {
                    gemini.model_in.put(Frame::audio(1, SampleRate::Hz24000, piece));
                }
            }
        }
        if talking {
            worker.pass_over_all(now);
            for (telephony, gemini) in &mut ends {
                for frame in [gemini.model_out.take(), telephony.caller_out.take()].into_iter().flatten() {
                    total += frame.samples().len() as u64;
                }
            }
        } else {
            worker.pass(now);
        }
    }
    total
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let piece = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(1);
    fir::warm_tables();
    let (khz8, khz16, khz24) = (SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000);
    let total = match piece.as_str() {
        "voice" => voice(&noise(320, 2), times),
        "silence" => voice(&[0; 320], times),
        "resample-24-16" => resample(khz24, khz16, times),
        "resample-24-8" => resample(khz24, khz8, times),
        "resample-8-16" => resample(khz8, khz16, times),
        "from-model" => from_model(times),
        "to-model" => to_model(times),
        "pass-talking" => passes(true, times),
        "pass-idle" => passes(false, times),
        // `cargo test` runs every bench once, to see that it works.
        _ => voice(&noise(320, 2), 1) + from_model(1) + to_model(1) + passes(true, 1),
    };
    println!("{total}");
}
