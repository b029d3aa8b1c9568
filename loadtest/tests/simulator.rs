//! The simulator seen from a client's socket, with tungstenite as the judge of its frames: what Google's SDKs do not
//! show (events, broken frames, hostile clients, the floor, load).
//!
//! Runs in: the test's thread beside the simulator's own, on 127.0.0.1.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tandem_loadtest::{
    floor::{DOWNLINK_LINK_BYTES, UPLINK_LINK_BYTES},
    sim::{
        AudioKept, AuthKind, ClosedBy, Fault, Fnv1a, Scheduled, SimConfig, SimEvent, Simulator, Voice, What,
    },
    speech,
};
use tungstenite::{Message, WebSocket, protocol::Role};

const PATH: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(simulator: &Simulator) -> Self {
        let stream = tcp(simulator);
        let url = format!("ws://{}{PATH}?key=k", simulator.addr());
        let (socket, response) = tungstenite::client(url, stream).expect("the upgrade succeeds");
        assert_eq!(response.status(), 101);
        Self(socket)
    }

    fn open(simulator: &Simulator, more: Value) -> Self {
        let mut client = Self::connect(simulator);
        client.setup(more);
        assert!(client.next().get("setupComplete").is_some());
        client
    }

    fn setup(&mut self, more: Value) {
        let mut setup = json!({"model": "models/gemini-3.8-live"});
        setup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send(&json!({"setup": setup}));
    }

    fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).expect("the socket takes a message");
    }

    fn audio(&mut self, samples: &[i16]) {
        let pcm: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let blob = json!({"mimeType": "audio/pcm;rate=16000", "data": STANDARD.encode(pcm)});
        self.send(&json!({"realtimeInput": {"audio": blob}}));
    }

    fn say(&mut self, samples: &[i16]) {
        for chunk in samples.chunks(320) {
            self.audio(chunk);
        }
    }

    fn text(&mut self, text: &str) {
        self.send(&json!({"realtimeInput": {"text": text}}));
    }

    /// The next JSON message.
    fn next(&mut self) -> Value {
        loop {
            match self.0.read().expect("a message comes") {
                Message::Binary(json) => return serde_json::from_slice(&json).expect("JSON"),
                Message::Text(json) => return serde_json::from_str(&json).expect("JSON"),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Receives until `serverContent` has this field.
    fn until(&mut self, field: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next());
            if seen.last().is_some_and(|message| message["serverContent"].get(field).is_some()) {
                return seen;
            }
        }
    }

    /// The code of the close that comes next.
    fn closed(&mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map_or(1005, |frame| frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }
}

fn tcp(simulator: &Simulator) -> TcpStream {
    let stream = TcpStream::connect(simulator.addr()).expect("the simulator listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn start(faults: &[&str], voice: Voice, burst: f64) -> Simulator {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let answer = Some(vec![1_000; 12_000]);
    Simulator::start(SimConfig { faults, voice, burst, answer, ..SimConfig::default() }).unwrap()
}

fn samples_of(messages: &[Value]) -> Vec<i16> {
    let mut samples = Vec::new();
    for part in messages
        .iter()
        .filter_map(|message| message["serverContent"]["modelTurn"]["parts"].as_array())
        .flatten()
    {
        let pcm = STANDARD.decode(part["inlineData"]["data"].as_str().unwrap()).unwrap();
        samples.extend(pcm.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)));
    }
    samples
}

/// Takes events until one fits.
fn event(simulator: &Simulator, fits: impl Fn(&What) -> bool) -> SimEvent {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = simulator
            .events()
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .expect("the event comes in time");
        if fits(&event.what) {
            return event;
        }
    }
}

#[test]
fn events_tell_a_session_in_order() {
    let simulator = start(&[], Voice::Answer, 4.0);
    let mut client = Client::open(&simulator, json!({"inputAudioTranscription": {}}));
    client.audio(&[0; 320]);
    client.text("Hello");
    client.until("turnComplete");
    client.0.close(None).unwrap();
    let mut kinds = Vec::new();
    loop {
        let SimEvent { session, what, .. } = simulator.events().recv_timeout(PATIENCE).unwrap();
        assert_eq!(session, 1);
        let over = matches!(what, What::Closed { .. });
        kinds.push(what);
        if over {
            break;
        }
    }
    let setup = json!({"model": "models/gemini-3.8-live", "inputAudioTranscription": {}});
    assert_eq!(
        kinds,
        [
            What::Upgraded { path: format!("{PATH}?key=***"), auth: AuthKind::KeyQuery },
            What::Opened { setup, resumes: None, auth: AuthKind::KeyQuery },
            What::SetupComplete,
            What::Audio { samples: 320, rate_hz: 16_000 },
            What::Text("Hello".to_owned()),
            What::TurnStarted { turn: 1 },
            What::TurnComplete { turn: 1 },
            What::Closed {
                by: ClosedBy::Client,
                code: 1005,
                reason: String::new(),
                audio_samples: 320,
                audio_digest: None
            },
        ]
    );
}

#[test]
fn nothing_of_a_turn_follows_interrupted_and_the_event_has_the_time_of_its_write() {
    let simulator = start(&[], Voice::Answer, 1.0);
    let mut client = Client::open(&simulator, json!({}));
    client.text("Talk");
    client.next();
    client.say(&speech::question()[..8_000]);
    let before = client.until("interrupted");
    let received = Instant::now();
    let after = client.until("turnComplete");
    assert_eq!(after.len(), 1, "only turnComplete follows: {after:?}");
    assert!(samples_of(&before).len() < 12_000);
    let written = event(&simulator, |what| *what == What::Interrupted { turn: 1 }).at;
    assert!(written <= received);
}

#[test]
fn an_answer_goes_out_at_its_burst_and_is_complete_when_it_would_have_been_heard() {
    for burst in [4.0, 0.0] {
        let simulator = start(&[], Voice::Answer, burst);
        let mut client = Client::open(&simulator, json!({}));
        client.text("Talk");
        let messages = client.until("generationComplete");
        let sent = Instant::now();
        assert_eq!(samples_of(&messages), vec![1_000; 12_000]);
        client.until("turnComplete");
        let started = event(&simulator, |what| *what == What::TurnStarted { turn: 1 }).at;
        let complete = event(&simulator, |what| *what == What::TurnComplete { turn: 1 }).at;
        assert!(
            complete - started >= Duration::from_millis(495),
            "half a second, not {:?}",
            complete - started
        );
        if burst > 0.0 {
            // Thirteen chunks of 40 ms, four times as fast: the last is due after 120 ms.
            assert!(sent - started >= Duration::from_millis(115), "{:?}", sent - started);
        }
    }
}

#[test]
fn received_audio_is_kept_to_the_bit() {
    let config = SimConfig { audio_kept: AudioKept::Samples, voice: Voice::Echo, ..SimConfig::default() };
    let simulator = Simulator::start(config).unwrap();
    let speech = speech::question();
    let mut client = Client::open(&simulator, json!({}));
    client.say(&speech);
    client.0.close(None).unwrap();
    let mut expected = Fnv1a::default();
    for sample in &speech {
        expected.update(&sample.to_le_bytes());
    }
    let closed = event(&simulator, |what| matches!(what, What::Closed { .. }));
    let What::Closed { audio_samples, audio_digest, .. } = closed.what else { unreachable!() };
    assert_eq!((audio_samples, audio_digest), (speech.len() as u64, Some(expected.digest())));
    assert_eq!(simulator.audio(1), speech);
}

#[test]
fn the_echo_has_the_wire_size_of_the_floor() {
    let simulator = start(&[], Voice::Echo, 0.0);
    let mut client = Client::open(&simulator, json!({}));
    client.audio(&[0; 320]);
    let Message::Binary(json) = client.0.read().unwrap() else { panic!("not binary") };
    // A frame of 126 to 65535 bytes has a head of four.
    assert_eq!(json.len() + 4, ECHO_WIRE_BYTES);
}

/// One 20 ms echo on the wire: 480 samples at 24 kHz, 1280 characters of base64, their JSON, the frame's head.
const ECHO_WIRE_BYTES: usize = 1403;

#[test]
fn broken_frames_are_seen_as_broken_by_a_strict_client() {
    for (fault, seen) in [
        ("wrong-opcode@turn", "invalid opcode"),
        ("masked@turn", "masked"),
        ("invalid-utf8@turn", "UTF-8"),
        ("drop@turn", "without closing handshake"),
        ("reset@turn", "reset"),
    ] {
        let simulator = start(&[fault], Voice::Answer, 0.0);
        let mut client = Client::open(&simulator, json!({}));
        client.text("Talk");
        let error = client.0.read().expect_err(fault).to_string();
        assert!(error.contains(seen), "{fault}: {error}");
    }
}

#[test]
fn scripted_messages_arrive_as_scripted() {
    let simulator = start(
        &["garbage@turn1", "huge:300000@turn2", "unknown-fields@turn3", "close:4321:so it is@turn4"],
        Voice::Answer,
        0.0,
    );
    let mut client = Client::open(&simulator, json!({}));
    client.text("One");
    let Message::Binary(garbage) = client.0.read().unwrap() else { panic!("not binary") };
    assert!(serde_json::from_slice::<Value>(&garbage).is_err());
    client.until("turnComplete");
    client.text("Two");
    assert!(client.next().to_string().len() > 300_000);
    client.until("turnComplete");
    client.text("Three");
    assert!(client.next().get("alsoUnknown").is_some());
    client.until("turnComplete");
    client.text("Four");
    assert_eq!(client.closed(), 4321);
}

#[test]
fn a_frame_of_a_gibibyte_is_announced() {
    let simulator = start(&["announce:1073741824@turn"], Voice::Answer, 0.0);
    let mut client = Client::open(&simulator, json!({}));
    client.text("Talk");
    // tungstenite's limit on frames is below 1 GiB.
    let error = client.0.read().unwrap_err().to_string();
    assert!(error.contains("too long") || error.contains("too big"), "{error}");
}

#[test]
fn pongs_come_at_once_or_late() {
    for (fault, at_least) in
        [(None, Duration::ZERO), (Some("late-pongs:300@1ms"), Duration::from_millis(300))]
    {
        let simulator = start(fault.as_slice(), Voice::Answer, 0.0);
        let mut client = Client::open(&simulator, json!({}));
        // The first turn's start is later than the fault's millisecond.
        client.text("Wait a little");
        client.until("turnComplete");
        let asked = Instant::now();
        client.0.send(Message::Ping("now?".into())).unwrap();
        loop {
            if let Message::Pong(payload) = client.0.read().unwrap() {
                assert_eq!(payload, "now?");
                break;
            }
        }
        assert!(asked.elapsed() >= at_least, "{fault:?}: {:?}", asked.elapsed());
    }
}

#[test]
fn a_delay_moves_the_setup_and_silence_swallows_a_turn() {
    let simulator = start(&["delay:200@setup", "silence@turn1"], Voice::Answer, 0.0);
    let mut client = Client::connect(&simulator);
    client.setup(json!({}));
    assert!(client.next().get("setupComplete").is_some());
    let opened = event(&simulator, |what| matches!(what, What::Opened { .. })).at;
    let complete = event(&simulator, |what| *what == What::SetupComplete).at;
    assert!(complete - opened >= Duration::from_millis(200));
    client.text("Swallowed");
    client.text("Heard");
    client.until("turnComplete");
    assert_eq!(
        event(&simulator, |what| matches!(what, What::TurnComplete { .. })).what,
        What::TurnComplete { turn: 2 }
    );
}

#[test]
fn a_false_interruption_ends_the_turn_half_way() {
    let simulator = start(&["interrupt@turn1.mid"], Voice::Answer, 0.0);
    let mut client = Client::open(&simulator, json!({}));
    client.text("Talk");
    let messages = client.until("turnComplete");
    assert!(messages.iter().any(|message| message["serverContent"]["interrupted"] == true));
    // Half of thirteen chunks of 40 ms, rounded up.
    assert_eq!(samples_of(&messages).len(), 7 * 960);
}

#[test]
fn upgrades_are_refused_by_path_and_by_script() {
    let simulator = start(&["http:429@upgrade#2", "drop@upgrade#3", "delay:100@upgrade#4"], Voice::Echo, 0.0);
    let ask = |path: &str| {
        let url = format!("ws://{}{path}", simulator.addr());
        match tungstenite::client(url, tcp(&simulator)) {
            Ok(_) => 101,
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                response.status().as_u16()
            }
            Err(_) => 0,
        }
    };
    assert_eq!(ask("/ws/nothing"), 404);
    assert_eq!(ask(PATH), 429);
    assert_eq!(ask(PATH), 0);
    let asked = Instant::now();
    assert_eq!(ask(PATH), 101);
    assert!(asked.elapsed() >= Duration::from_millis(100));
    assert_eq!(
        event(&simulator, |what| matches!(what, What::Refused { .. })).what,
        What::Refused { status: 404 }
    );
}

#[test]
fn setup_comes_first_and_once() {
    let simulator = start(&[], Voice::Echo, 0.0);
    let mut client = Client::connect(&simulator);
    client.text("Too early");
    assert_eq!(client.closed(), 1007);
    let mut client = Client::open(&simulator, json!({}));
    client.setup(json!({}));
    assert_eq!(client.closed(), 1007);
    let mut client = Client::open(&simulator, json!({}));
    client.send(&json!({"realtimeInput": {"audio": {"codec": "opus"}}}));
    assert_eq!(client.closed(), 1007);
    let (mut keyless, _) =
        tungstenite::client(format!("ws://{}{PATH}", simulator.addr()), tcp(&simulator)).unwrap();
    keyless.send(Message::text(r#"{"setup":{"model":"models/gemini-3.8-live"}}"#)).unwrap();
    assert_eq!(Client(keyless).closed(), 1008);
}

#[test]
fn hostile_clients_end_alone() {
    let simulator = start(&[], Voice::Echo, 0.0);
    let mut good = Client::open(&simulator, json!({}));
    let attacks: [&[u8]; 5] = [
        b"\x82\x05hello",
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\xf2\x80\0\0\0\0",
        b"\x81\x82\0\0\0\0\xff\xff",
    ];
    for (attack, code) in attacks.into_iter().zip([1002, 1009, 1002, 1002, 1007]) {
        let bad = Client::connect(&simulator);
        let mut stream = bad.0.get_ref().try_clone().unwrap();
        stream.write_all(attack).unwrap();
        let mut again = Client(WebSocket::from_raw_socket(stream, Role::Client, None));
        assert_eq!(again.closed(), code, "{attack:?}");
    }
    tcp(&simulator).write_all(b"\x16\x03\x01 not HTTP\r\n\r\n").unwrap();
    let mut half = tcp(&simulator);
    half.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(half.read(&mut [0; 16]).unwrap(), 0);
    good.audio(&[7; 320]);
    assert_eq!(samples_of(&[good.next()]).len(), 480);
}

#[test]
fn the_floor_answers_each_message_with_its_head() {
    let simulator = Simulator::start(SimConfig { floor: true, ..SimConfig::default() }).unwrap();
    let mut stream = tcp(&simulator);
    for n in 0..50_u8 {
        let mut message = [n; UPLINK_LINK_BYTES];
        message[32..].fill(0xff);
        let (first, second) = message.split_at(usize::from(n) * 10);
        stream.write_all(first).unwrap();
        stream.write_all(second).unwrap();
        let mut answer = [0; DOWNLINK_LINK_BYTES];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..32], [n; 32]);
    }
}

#[test]
fn a_hundred_sessions_at_once_are_each_answered_with_their_own_audio() {
    let simulator = start(&[], Voice::Echo, 0.0);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::open(&simulator, json!({}))).collect();
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.audio(&[n as i16 * 100; 320]);
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let echo = samples_of(&[client.next()]);
            assert_eq!(echo.len(), 480);
            // The first round holds the filter's way up from silence.
            let settled = echo.iter().all(|sample| sample.abs_diff(n as i16 * 100) <= 2);
            assert!(round == 0 || settled, "session {n}: {echo:?}");
        }
    }
}

#[test]
fn a_simulator_that_is_stopped_lets_its_clients_and_its_port_go() {
    let mut simulator = start(&[], Voice::Echo, 0.0);
    let mut client = Client::open(&simulator, json!({}));
    simulator.stop();
    assert!(client.0.read().is_err());
    assert!(TcpStream::connect(simulator.addr()).is_err());
    let closed = event(&simulator, |what| matches!(what, What::Closed { .. }));
    assert!(matches!(closed.what, What::Closed { by: ClosedBy::Simulator, .. }));
}

#[test]
fn an_address_in_use_is_named() {
    let first = start(&[], Voice::Echo, 0.0);
    let error = Simulator::start(SimConfig { listen: first.addr(), ..SimConfig::default() }).unwrap_err();
    assert!(error.to_string().contains(&first.addr().to_string()), "{error}");
}

#[test]
fn a_key_has_so_many_sessions_and_one_that_fails_fails_until_it_recovers() {
    for (quota_at_upgrade, status, code) in [(false, 101, 1011), (true, 429, 0)] {
        let config = SimConfig { sessions_per_key: Some(1), quota_at_upgrade, ..SimConfig::default() };
        let simulator = Simulator::start(config).unwrap();
        let mut first = Client::open(&simulator, json!({}));
        assert_eq!(attempt(&simulator, "k"), (status, code));
        assert_eq!(attempt(&simulator, "another"), (101, 0));
        first.0.close(None).unwrap();
        event(&simulator, |what| matches!(what, What::Closed { .. }));
        simulator.fail_key("k", Some(Fault::Http(503)));
        assert_eq!(attempt(&simulator, "k"), (503, 0));
        simulator.fail_key("k", Some("close:1008:Gone@setup".parse::<Scheduled>().unwrap().fault));
        assert_eq!(attempt(&simulator, "k"), (101, 1008));
        assert_eq!(attempt(&simulator, "another"), (101, 0));
        simulator.fail_key("k", None);
        assert_eq!(attempt(&simulator, "k"), (101, 0));
    }
}

/// Opens a session with a key and leaves it to itself: the status of the upgrade and the code of a refused setup, 0 for
/// one that was accepted.
fn attempt(simulator: &Simulator, key: &str) -> (u16, u16) {
    let url = format!("ws://{}{PATH}?key={key}", simulator.addr());
    let mut client = match tungstenite::client(url, tcp(simulator)) {
        Ok((socket, _)) => Client(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            return (response.status().as_u16(), 0);
        }
        Err(error) => panic!("{error}"),
    };
    client.setup(json!({}));
    match client.0.read().expect("an answer") {
        Message::Close(frame) => (101, frame.map_or(1005, |frame| frame.code.into())),
        _ => {
            client.0.close(None).unwrap();
            event(simulator, |what| matches!(what, What::Closed { code: 1005, .. }));
            (101, 0)
        }
    }
}

#[test]
fn what_happens_to_everyone_happens_to_every_open_session_at_once() {
    let simulator = start(&[], Voice::Answer, 0.0);
    let mut clients = [(); 3].map(|()| Client::open(&simulator, json!({})));
    simulator.everyone("go-away:60000@setup".parse::<Scheduled>().unwrap().fault).unwrap();
    for client in &mut clients {
        assert_eq!(client.next()["goAway"]["timeLeft"], "60s");
    }
    assert!(simulator.everyone("empty-turn@turn".parse::<Scheduled>().unwrap().fault).is_err());
}

#[test]
fn after_a_silent_go_away_nothing_comes_and_nothing_is_closed() {
    let simulator = start(&["go-away:50:silent@turn1"], Voice::Answer, 0.0);
    let mut client = Client::open(&simulator, json!({}));
    client.text("Talk");
    assert_eq!(client.next()["goAway"]["timeLeft"], "0.05s");
    client.0.get_ref().set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let error = client.0.read().expect_err("nothing more comes");
    assert!(
        matches!(&error, tungstenite::Error::Io(io) if io.kind() == std::io::ErrorKind::WouldBlock),
        "{error}"
    );
}
