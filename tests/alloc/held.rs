//! What a call holds of the memory: its own part, the speech that waits, and that all of it is given back.
//!
//! Runs in: `cargo test --test alloc`. Owns the bounds. Never looks at what the allocator keeps of it.
//! Invariant: bytes are counted as they are asked for, so that the figures are the same on every machine; and what is said
//! is speech as a telephone brings it, so that nothing which makes samples smaller is measured with samples that suit it.

use std::sync::Arc;

use allocation_counter::measure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tandem::base::{CallId, Frame, FrameKind, FrameSink, FrameSource, Instant, LegFormat, SampleRate};
use tandem::dsp::{Resampler, fir};
use tandem::sync::CallShared;
use tandem::sync::rings::call_rings;
use tandem::threads::dsp::DspCall;
use tandem::threads::gemini::model_side::{ModelSide, ModelSideLimits};
use tandem::threads::gemini::speech::SpeechPool;
use tandem::threads::messages::NewModelSide;
use tandem_loadtest::speech;

/// Of a call in which nothing waits, without its sockets and its machine: 24 KiB of rings, 19 of a pre-roll, 6 of the line before a
/// talkspurt, and what the two directions stage.
const IDLE_BYTES: i64 = 72 * 1024;
/// Of a second of the model's speech that waits: 47 KiB as samples, 28 packed, and what of the last page of a block is empty.
const SECOND_BYTES: i64 = 34 * 1024;
/// Of a second of what the caller has said on a leg of 8 kHz and the model has not begun to answer: 31 KiB as
/// samples, 19 packed, and beside that a tenth of the four blocks of a queue that are not.
const UNANSWERED_SECOND_BYTES: i64 = 24 * 1024;
/// What the queue's list grows to beside, and what of it stays when all of the pool was given back.
const LIST_BYTES: i64 = 8 * 1024;

/// Speech of 16 kHz at another rate.
fn resampled(samples: &[i16], from: SampleRate, to: SampleRate) -> Vec<i16> {
    let mut resampler = Resampler::new(from, to);
    let (mut out, mut rest) = (Vec::new(), samples);
    let mut piece = [0; SampleRate::Hz48000.samples_per_frame()];
    while !rest.is_empty() {
        let progress = resampler.process(rest, &mut piece);
        assert!(progress.consumed + progress.produced > 0, "a resampler goes on");
        out.extend_from_slice(&piece[..progress.produced]);
        rest = &rest[progress.consumed..];
    }
    out
}

/// So much of `sentence`, said again and again.
fn seconds(sentence: &[i16], rate: SampleRate, seconds: usize) -> Vec<i16> {
    sentence.iter().copied().cycle().take(rate.samples_in_ms(1000) * seconds).collect()
}

/// A message of the model with this audio of 24 kHz.
fn message(samples: &[i16]) -> Vec<u8> {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let audio = STANDARD.encode(bytes);
    format!(
        r#"{{"serverContent":{{"modelTurn":{{"parts":[{{"inlineData":{{"mimeType":"audio/pcm;rate=24000","data":"{audio}"}}}}]}}}}}}"#
    )
    .into_bytes()
}

#[test]
fn a_call_holds_its_rings_and_the_speech_that_waits_and_gives_all_of_it_back() {
    fir::warm_tables();
    let id = CallId { slot: 0, generation: 1 };
    let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 120_000, kept_speech_ms: 60_000 };
    let said = resampled(&speech::answer(), SampleRate::Hz16000, SampleRate::Hz24000);
    let said = seconds(&said, SampleRate::Hz24000, 10);
    let messages: Vec<_> = said.chunks(SampleRate::Hz24000.samples_in_ms(100)).map(message).collect();
    let mut pool = SpeechPool::new(64 << 20);
    let mut call = None;
    let idle = measure(|| {
        let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz8000, 60, 20)));
        let (telephony, dsp, rings) = call_rings();
        let worker = Box::new(DspCall::new(Instant::from_micros(0), dsp, Arc::clone(&shared), 0));
        let side = Box::new(ModelSide::new(NewModelSide { id, shared, rings }, limits));
        call = Some((telephony, worker, side));
    });
    assert!(idle.bytes_current <= IDLE_BYTES, "an idle call holds {} bytes", idle.bytes_current);
    let (mut telephony, worker, mut side) = call.expect("it was made");
    side.connected(1);

    let talking = measure(|| {
        for message in &messages {
            side.receive(message, &mut pool, |_| {}).expect("a message of the protocol");
        }
    });
    let bounds = 9 * SECOND_BYTES..=10 * SECOND_BYTES + LIST_BYTES;
    assert!(bounds.contains(&talking.bytes_current), "10 s that wait hold {}", talking.bytes_current);

    let over = measure(|| {
        assert!(telephony.caller_out.take().is_none());
        drop((telephony, worker));
        side.release(&mut pool);
        for second in 0..60 {
            pool.rest(Instant::from_micros(second * 1_000_000));
        }
    });
    let left = idle.bytes_current + talking.bytes_current + over.bytes_current;
    assert!((0..=LIST_BYTES).contains(&left), "{left} bytes are left of a call that is over");
    assert_eq!(pool.blocks_in_use(), 0);
}

#[test]
fn what_a_caller_said_on_a_leg_of_8_khz_is_held_at_no_more_than_this_until_it_is_answered() {
    fir::warm_tables();
    let id = CallId { slot: 0, generation: 1 };
    let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 120_000, kept_speech_ms: 60_000 };
    let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz8000, 60, 20)));
    let (_telephony, mut dsp, rings) = call_rings();
    let mut side = ModelSide::new(NewModelSide { id, shared, rings }, limits);
    let mut pool = SpeechPool::new(64 << 20);
    side.connected(1);
    side.receive(br#"{"setupComplete":{}}"#, &mut pool, |_| {}).expect("a message of the protocol");
    let line = resampled(&speech::question(), SampleRate::Hz16000, SampleRate::Hz8000);
    let line = resampled(&line, SampleRate::Hz8000, SampleRate::Hz16000);
    let line = seconds(&line, SampleRate::Hz16000, 10);
    let mut json = Vec::with_capacity(16 * 1024);

    let mut sent = 0;
    let asked = measure(|| {
        dsp.model_out.put(Frame::mark(FrameKind::SpurtStart));
        for frame in line.chunks(SampleRate::Hz16000.samples_per_frame()) {
            dsp.model_out.put(Frame::audio(0, SampleRate::Hz16000, frame));
            side.take_uplink(&mut pool, |_| {});
            while side.next_message(&mut pool, &mut json) {
                sent += 1;
            }
        }
    });
    assert_eq!(sent, 500, "all of it went to the model as it came");
    assert!(pool.blocks_in_use() > 0, "and is kept, to be sent again");
    let most = 10 * UNANSWERED_SECOND_BYTES;
    assert!(asked.bytes_current <= most, "10 s that the model has not answered hold {}", asked.bytes_current);

    dsp.model_out.put(Frame::mark(FrameKind::SpurtEnd));
    side.take_uplink(&mut pool, |_| {});
    while side.next_message(&mut pool, &mut json) {}
    let answer = message(&[1; 240]);
    side.receive(&answer, &mut pool, |_| {}).expect("a message of the protocol");
    assert_eq!(pool.blocks_in_use(), 0, "what is being answered is not kept");
}
