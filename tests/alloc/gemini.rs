//! The budget of the gemini thread: what a message of the model and a message to the model may allocate.
//!
//! Runs in: `cargo test --test alloc`. Owns the budgets, each with its reason.
//! Invariant: the first messages of a call are not counted (vectors grow, tungstenite's buffers are made); what is
//! counted goes on for the rest of the call.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tandem::base::{CallId, Frame, FrameSink, FrameSource, LegFormat, SampleRate};
use tandem::net::outgoing::Outgoing;
use tandem::net::stream::Stream;
use tandem::net::websocket::{Connection, Incoming};
use tandem::sync::CallShared;
use tandem::sync::rings::{DspRings, call_rings};
use tandem::threads::gemini::link_limits;
use tandem::threads::gemini::model_side::{ModelSide, ModelSideLimits};
use tandem::threads::gemini::speech::SpeechPool;
use tandem::threads::messages::NewModelSide;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::Asked;

const MESSAGES: u64 = 1000;

struct Rig {
    side: ModelSide,
    pool: SpeechPool,
    dsp: DspRings,
    shared: Arc<CallShared>,
}

impl Rig {
    /// A call whose link is set up, with messages of 20 ms to the model.
    fn new() -> Self {
        let id = CallId { slot: 0, generation: 1 };
        let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)));
        let (_, dsp, rings) = call_rings();
        let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 120_000, kept_speech_ms: 60_000 };
        let side = ModelSide::new(NewModelSide { id, shared: Arc::clone(&shared), rings }, limits);
        let mut rig = Self { side, pool: SpeechPool::new(64 << 20), dsp, shared };
        rig.side.connected(1);
        rig.receive(br#"{"setupComplete":{}}"#);
        assert!(rig.side.is_live());
        rig
    }

    fn receive(&mut self, message: &[u8]) {
        self.side.receive(message, &mut self.pool, |_| {}).expect("a message of the protocol");
    }

    /// Takes, as the dsp worker does, all that waits, and has the rest moved on. Returns the samples.
    fn listen(&mut self, asked: &mut Asked) -> usize {
        let mut samples = 0;
        loop {
            while let Some(frame) = self.dsp.model_in.take() {
                samples += frame.samples().len();
            }
            if !asked.count(|| self.side.fill(&mut self.pool)) {
                return samples;
            }
        }
    }
}

/// A message of the model with so much audio, as the service writes it.
fn speech(ms: u32) -> Vec<u8> {
    let audio = STANDARD.encode(vec![5; SampleRate::Hz24000.samples_in_ms(ms) * 2]);
    format!(
        "{{\n  \"serverContent\": {{\n    \"modelTurn\": {{\n      \"parts\": [\n        {{\n          \"inlineData\": {{\n            \
         \"mimeType\": \"audio/pcm;rate=24000\",\n            \"data\": \"{audio}\"\n          }}\n        }}\n      ]\n    }}\n  }}\n}}\n"
    )
    .into_bytes()
}

#[test]
fn audio_of_the_model_in_real_time_is_received_without_allocating() {
    let mut rig = Rig::new();
    let message = speech(40);
    rig.receive(&message);
    rig.listen(&mut Asked::default());
    let mut asked = Asked::default();
    let mut heard = 0;
    for _ in 0..MESSAGES {
        asked.count(|| rig.receive(&message));
        heard += rig.listen(&mut asked);
    }
    // Decoded on the stack, put into blocks that the pool has kept.
    assert_eq!(asked, Asked::NOTHING);
    assert_eq!(heard as u64, 960 * MESSAGES);
}

#[test]
fn a_burst_of_a_minute_allocates_a_block_for_two_messages_and_the_pool_keeps_them() {
    let mut rig = Rig::new();
    let message = speech(40);
    let mut bursts = [Asked::default(); 3];
    for (number, asked) in bursts.iter_mut().enumerate() {
        for _ in 0..1500 {
            asked.count(|| rig.receive(&message));
        }
        assert!(rig.side.has_backlog());
        // Once it is heard to its end, once it is interrupted: both give the blocks back to the pool.
        if number == 0 {
            assert_eq!(rig.listen(asked), 1500 * 960);
        } else {
            asked.count(|| rig.receive(br#"{"serverContent":{"interrupted":true}}"#));
            rig.listen(asked);
        }
        assert!(!rig.side.has_backlog());
    }
    // 750 blocks of 80 ms; the tables of the queue and of the pool grow by doubling beside them.
    assert!((730..750 + 2 * 10).contains(&bursts[0].allocations), "{bursts:?}");
    // The pool has kept 512 of them (2 MiB) and given the others up.
    for again in &bursts[1..] {
        assert!(again.allocations <= 750 - 512, "{bursts:?}");
    }
}

#[test]
fn a_message_to_the_model_allocates_nothing() {
    let mut rig = Rig::new();
    let mut asked = Asked::default();
    let mut json = Vec::new();
    for round in 0..MESSAGES + 10 {
        if round == 10 {
            asked = Asked::default();
        }
        rig.dsp.model_out.put(Frame::audio(0, SampleRate::Hz16000, &[9; 320]));
        let made = asked.count(|| {
            rig.side.take_uplink(&mut rig.pool, drop);
            rig.side.next_message(&mut rig.pool, &mut json)
        });
        assert!(made && json.len() > 853, "{} bytes", json.len());
    }
    // The thread has one buffer for all of them.
    assert_eq!(asked, Asked::NOTHING);
    assert_eq!(rig.shared.tally.snapshot().sent_frames, MESSAGES + 10);
}

#[test]
fn a_message_through_the_socket_stays_within_its_budget_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let relay = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    relay.set_nodelay(true).expect("a socket");
    let model = listener.accept().expect("connected").0;
    let mut model = WebSocket::from_raw_socket(model, Role::Server, None);
    let mut connection = Connection::upgraded(WebSocket::from_raw_socket(
        Stream::plain(relay),
        Role::Client,
        Some(link_limits()),
    ));
    let mut rig = Rig::new();
    let message = speech(40);
    let mut read = Asked::default();
    let mut written = Asked::default();
    let (mut json, mut outgoing) = (Vec::new(), Outgoing::default());
    for round in 0..MESSAGES + 10 {
        if round == 10 {
            (read, written) = (Asked::default(), Asked::default());
        }
        model.send(Message::binary(message.clone())).expect("the relay reads");
        read.count(|| match connection.read() {
            Incoming::Message(Message::Binary(bytes)) => rig.receive(&bytes),
            other => panic!("{other:?}"),
        });
        connection.rearm(false);
        rig.listen(&mut read);

        rig.dsp.model_out.put(Frame::audio(0, SampleRate::Hz16000, &[9; 320]));
        let sent = written.count(|| {
            rig.side.take_uplink(&mut rig.pool, drop);
            assert!(rig.side.next_message(&mut rig.pool, &mut json));
            connection.send_text(&mut outgoing, &json)
        });
        assert_eq!(sent, Ok(()));
        assert!(model.read().expect("the relay writes").len() > 853);
    }
    // tungstenite's read buffer is used again once the message is dropped.
    assert_eq!(read, Asked::NOTHING);
    assert_eq!(written, Asked::NOTHING);
}
