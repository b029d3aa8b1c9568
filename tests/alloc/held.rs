//! What a call holds of the memory: its own part, the speech that waits, and that all of it is given back.
//!
//! Runs in: `cargo test --test alloc`. Owns the bounds. Never looks at what the allocator keeps of it.
//! Invariant: bytes are counted as they are asked for, so that the figures are the same on every machine.

use std::sync::Arc;

use allocation_counter::measure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tandem::base::{CallId, FrameSource, Instant, LegFormat, SampleRate};
use tandem::dsp::fir;
use tandem::sync::CallShared;
use tandem::sync::rings::call_rings;
use tandem::threads::dsp::DspCall;
use tandem::threads::gemini::model_side::{ModelSide, ModelSideLimits};
use tandem::threads::gemini::speech::SpeechPool;
use tandem::threads::messages::NewModelSide;

/// Of a call in which nothing waits, without its sockets and its machine: 32 KiB of rings, 19 of a pre-roll, 6 of the line before a
/// talkspurt, and what the two directions stage.
const IDLE_BYTES: i64 = 72 * 1024;
/// Of a second of the model's speech that waits: 47 KiB, and what a block has beside its samples.
const SECOND_BYTES: i64 = 49 * 1024;
/// What stays of the pool when all of it was given back: the list of its free blocks.
const LIST_BYTES: i64 = 8 * 1024;

fn answer(ms: u32) -> Vec<u8> {
    let audio = STANDARD.encode(vec![5; SampleRate::Hz24000.samples_in_ms(ms) * 2]);
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
    let message = answer(100);
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
        for _ in 0..100 {
            side.receive(&message, &mut pool, |_| {}).expect("a message of the protocol");
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
