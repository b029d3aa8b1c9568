//! The budget of the telephony thread: what a message of the caller and a message to the switch may allocate.
//!
//! Runs in: `cargo test --test alloc`. Owns the budgets, each with its reason.
//! Invariant: the first messages of a call are not counted (vectors grow, tungstenite's buffers are made); what is
//! counted goes on for the rest of the call.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use tandem::base::limits::{LEG_MESSAGE_BYTES, LEG_READ_BYTES};
use tandem::base::{CallId, Frame, FrameSink, FrameSource, Instant, Mix, PlaybackFormat, SampleRate};
use tandem::call::leg::{CallFields, LegKind};
use tandem::codec::audiosocket::FrameReader;
use tandem::net::stream::Stream;
use tandem::net::websocket::{self, Connection, Incoming};
use tandem::sync::CallShared;
use tandem::sync::rings::{DspRings, call_rings};
use tandem::threads::telephony::defaults::Pacing;
use tandem::threads::telephony::leg::{Leg, LegDefaults, Received};
use tungstenite::protocol::Role;
use tungstenite::{Bytes, Message, WebSocket};

use super::Asked;

const MESSAGES: u64 = 1000;

/// When the switch sends this message: every 20 ms.
fn at(round: u64) -> Instant {
    Instant::default().plus_ms(20 * round)
}

fn audiosocket_leg() -> (Leg, DspRings, Arc<CallShared>) {
    leg_of(LegKind::AudioSocket, SampleRate::Hz16000, PlaybackFormat::Binary, 20)
}

fn leg(rate: SampleRate, playback: PlaybackFormat, chunk_ms: u16) -> (Leg, DspRings, Arc<CallShared>) {
    leg_of(LegKind::ModAudioStream, rate, playback, chunk_ms)
}

fn leg_of(
    protocol: LegKind,
    rate: SampleRate,
    playback: PlaybackFormat,
    chunk_ms: u16,
) -> (Leg, DspRings, Arc<CallShared>) {
    let pacing = Pacing { lead_ms: 60, chunk_ms };
    let (stream, file) = (pacing, pacing);
    let defaults = LegDefaults {
        rate,
        rate_is_written: false,
        mix: Mix::Mono,
        playback,
        stream,
        file,
        chan_websocket_lead_ms: 40,
    };
    let fields = CallFields { rate: Some(rate), ..CallFields::default() };
    let shared =
        Arc::new(CallShared::new(CallId { slot: 0, generation: 1 }, defaults.format(protocol, &fields)));
    let (rings, dsp, _) = call_rings();
    let leg = Leg::new(
        CallId { slot: 0, generation: 1 },
        Arc::clone(&shared),
        rings,
        defaults,
        protocol,
        fields,
        Instant::default(),
    );
    (leg, dsp, shared)
}

/// A connection of the telephony thread, and the switch's end of the socket.
fn connection() -> (Connection, WebSocket<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let switch = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
    switch.set_nodelay(true).expect("a socket");
    let stream = Stream::plain(listener.accept().expect("connected").0);
    let config = websocket::limits(LEG_READ_BYTES, LEG_MESSAGE_BYTES);
    (Connection::server(stream, Vec::new(), config), WebSocket::from_raw_socket(switch, Role::Client, None))
}

#[test]
fn a_caller_message_is_decoded_without_allocating() {
    for rate in SampleRate::ALL {
        let (mut leg, mut dsp, _shared) = leg(rate, PlaybackFormat::Binary, 20);
        let mut asked = Asked::default();
        for round in 0..MESSAGES {
            let message = Bytes::from(vec![7; rate.samples_per_frame() * 2]);
            let received = asked.count(|| leg.receive_audio(message, at(round)));
            assert_eq!(received, Received::Done);
            while dsp.caller_in.take().is_some() {}
        }
        // What is freed is the message that came in.
        assert_eq!(asked, Asked { allocations: 0, frees: MESSAGES }, "{rate}");
    }
}

#[test]
fn a_message_to_the_switch_allocates_its_own_bytes_and_nothing_else() {
    for playback in PlaybackFormat::ALL {
        for (rate, chunk_ms) in SampleRate::ALL.into_iter().flat_map(|rate| [(rate, 20), (rate, 60)]) {
            let (mut leg, mut dsp, shared) = leg(rate, playback, chunk_ms);
            let samples = vec![3; rate.samples_in_ms(chunk_ms.into())];
            let mut speak = |leg: &mut Leg| {
                let mut pieces = samples.chunks(Frame::CAPACITY).peekable();
                while let Some(piece) = pieces.next() {
                    let mut frame = Frame::audio(shared.turn(), rate, piece);
                    if pieces.peek().is_some() {
                        frame.kind = tandem::base::FrameKind::AudioContinued;
                    }
                    dsp.caller_out.put(frame);
                }
                leg.next_message()
            };
            let mut asked = Asked::default();
            assert!(speak(&mut leg).is_some(), "the first message, for which the leg's chunk grows");
            for _ in 0..MESSAGES {
                let message = asked.count(|| speak(&mut leg));
                assert!(message.is_some_and(|message| message.len() >= samples.len() * 2));
            }
            // One allocation a message: tungstenite takes messages by value. It holds exactly the bytes to be sent.
            let budget = Asked { allocations: MESSAGES, frees: 0 };
            assert_eq!(asked, budget, "{playback:?} at {rate}, {chunk_ms} ms");
        }
    }
}

#[test]
fn frames_of_an_audiosocket_stay_within_the_same_budget_both_ways() {
    let (mut leg, mut dsp, shared) = audiosocket_leg();
    let mut reader = FrameReader::default();
    let wire: Vec<u8> = [&[0x12, 2, 128][..], &[7; 640]].concat();
    let speak = |leg: &mut Leg, dsp: &mut DspRings| {
        dsp.caller_out.put(Frame::audio(shared.turn(), SampleRate::Hz16000, &[3; 320]));
        leg.next_message()
    };
    let (mut read, mut written) = (Asked::default(), Asked::default());
    for round in 0..MESSAGES + 10 {
        if round == 10 {
            (read, written) = (Asked::default(), Asked::default());
        }
        let received = read.count(|| {
            let filled = reader.fill::<()>(LEG_READ_BYTES, |room| {
                room[..wire.len()].copy_from_slice(&wire);
                Ok(wire.len())
            });
            assert_eq!(filled, Ok(wire.len()));
            let frame = reader.next_frame().expect("a whole frame");
            leg.receive_frame(frame, at(round))
        });
        assert_eq!(received, Received::Done);
        assert!(dsp.caller_in.take().is_some());
        let message = written.count(|| speak(&mut leg, &mut dsp)).expect("a frame waits");
        assert_eq!(message.len(), 643, "head and payload in one piece");
    }
    // The reader's memory is used again once the frame is dropped; the frame to be sent is its own bytes.
    assert_eq!((read, written), (Asked::NOTHING, Asked { allocations: MESSAGES, frees: 0 }));
}

#[test]
fn a_message_through_the_socket_stays_within_its_budget_both_ways() {
    let (mut connection, mut switch) = connection();
    let (mut leg, mut dsp, shared) = leg(SampleRate::Hz16000, PlaybackFormat::Binary, 20);
    let mut read = Asked::default();
    let mut written = Asked::default();
    for round in 0..MESSAGES + 10 {
        if round == 10 {
            (read, written) = (Asked::default(), Asked::default());
        }
        switch.send(Message::binary(vec![7; 640])).expect("the relay reads");
        // The socket blocks here, so every read brings its message.
        let received = read.count(|| match connection.read() {
            Incoming::Message(Message::Binary(audio)) => leg.receive_audio(audio, at(round)),
            other => panic!("{other:?}"),
        });
        assert_eq!(received, Received::Done);
        connection.rearm(false);
        assert!(dsp.caller_in.take().is_some());

        dsp.caller_out.put(Frame::audio(shared.turn(), SampleRate::Hz16000, &[3; 320]));
        let sent = written.count(|| {
            let message = leg.next_message().expect("a frame waits");
            connection.queue(message).and_then(|()| connection.flush())
        });
        assert_eq!(sent, Ok(()));
        assert_eq!(switch.read().expect("the relay writes").len(), 640);
    }
    // tungstenite's read buffer is used again once the message is dropped.
    assert_eq!(read, Asked::NOTHING);
    // The message's bytes, given back as soon as they are copied behind the frame's head.
    assert_eq!(written, Asked { allocations: MESSAGES, frees: MESSAGES });
}
