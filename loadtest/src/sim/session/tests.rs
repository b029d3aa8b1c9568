//! A session in virtual time: no socket, no clock, every turn, tool call and resumption in microseconds.

use tungstenite::protocol::frame::FrameHeader;

use super::*;
use crate::sim::fault::Scheduled;

/// A session, its surroundings, and a clock that only moves when told.
struct Stage {
    config: SimConfig,
    answer: (Arc<[i16]>, String),
    registry: Registry,
    told: Vec<What>,
    session: Session,
    outbox: Outbox,
    start: Instant,
    now: Instant,
}

impl Stage {
    /// One second of answer, sent at twice real time in chunks of 100 ms.
    fn new(faults: &[&str], setup: Value) -> Self {
        let faults = faults.iter().map(|fault| fault.parse::<Scheduled>().unwrap()).collect();
        let config =
            SimConfig { faults, voice: Voice::Answer, burst: 2.0, chunk_ms: 100, ..SimConfig::default() };
        let start = Instant::now();
        let mut stage = Self {
            answer: (vec![1; 24_000].into(), "One second.".to_owned()),
            registry: Registry::default(),
            told: Vec::new(),
            session: Session::new(1, request()),
            outbox: Outbox::new(config.framing),
            config,
            start,
            now: start,
        };
        stage.set_up(setup);
        stage
    }

    fn set_up(&mut self, more: Value) {
        let mut setup = json!({"model": "models/gemini-3.8-live"});
        setup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.say(json!({"setup": setup}));
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, Instant, &mut World, &mut Outbox)) {
        let mut tell = |what| self.told.push(what);
        let mut world = World {
            config: &self.config,
            answer: &self.answer,
            registry: &mut self.registry,
            tell: &mut tell,
        };
        act(&mut self.session, self.now, &mut world, &mut self.outbox);
    }

    fn say(&mut self, message: Value) {
        self.act(|session, now, world, out| {
            session.on_message(now, message.to_string().as_bytes(), world, out);
        });
    }

    fn text(&mut self) {
        self.say(json!({"realtimeInput": {"text": "Go on"}}));
    }

    /// Speech, as loud as a detector could wish, or silence.
    fn hear(&mut self, ms: usize, level: i16) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let data = STANDARD.encode(level.to_le_bytes().repeat(ms * 16));
        self.say(json!({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": data}}}));
    }

    /// Lets time pass, from deadline to deadline, and gives back what was sent: the milliseconds since the start, and a
    /// word for each message.
    fn run_for(&mut self, ms: u64) -> Vec<(u64, String)> {
        let until = self.now + Duration::from_millis(ms);
        let mut sent = self.sent();
        while let Some(deadline) = self.session.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.act(|session, now, world, out| session.on_time(now, world, out));
            sent.extend(self.sent());
        }
        self.now = until;
        sent
    }

    fn messages(&mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        self.outbox.flush(&mut bytes, |_, _| {}).unwrap();
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let mut cursor = std::io::Cursor::new(rest);
            let (_, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let (head, length) = (cursor.position() as usize, length as usize);
            messages.push(serde_json::from_slice(&rest[head..head + length]).unwrap());
            rest = &rest[head + length..];
        }
        messages
    }

    fn sent(&mut self) -> Vec<(u64, String)> {
        let at = (self.now - self.start).as_millis() as u64;
        let name = |message: &Value| {
            let object = message.as_object().unwrap();
            let kinds: Vec<&str> =
                object.keys().map(String::as_str).filter(|kind| *kind != "usageMetadata").collect();
            match kinds.as_slice() {
                ["serverContent"] => {
                    let fields: Vec<&str> =
                        message["serverContent"].as_object().unwrap().keys().map(String::as_str).collect();
                    fields.join("+")
                }
                _ => kinds.join("+"),
            }
        };
        self.messages().iter().map(|message| (at, name(message))).collect()
    }
}

fn request() -> Request {
    let head = b"GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k HTTP/1.1\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    Request::read(head).unwrap().0.unwrap()
}

fn names(sent: &[(u64, String)]) -> Vec<&str> {
    let mut names: Vec<&str> = sent.iter().map(|(_, name)| name.as_str()).collect();
    names.dedup();
    names
}

#[test]
fn a_turn_is_sent_at_its_burst_and_completed_in_real_time() {
    let mut stage = Stage::new(&[], json!({"outputAudioTranscription": {}}));
    assert_eq!(names(&stage.run_for(1_000)), ["setupComplete"]);
    stage.text();
    let sent = stage.run_for(5_000);
    let chunks: Vec<u64> = sent.iter().filter(|(_, name)| name == "modelTurn").map(|(at, _)| *at).collect();
    assert_eq!(chunks, [1000, 1050, 1100, 1150, 1200, 1250, 1300, 1350, 1400, 1450]);
    assert_eq!(
        names(&sent),
        [
            "modelTurn",
            "outputTranscription",
            "modelTurn",
            "outputTranscription",
            "generationComplete",
            "turnComplete"
        ]
    );
    assert_eq!(sent.last(), Some(&(2000, "turnComplete".to_owned())));
    assert_eq!(stage.session.deadline(), None);
}

#[test]
fn speech_over_a_turn_interrupts_it_and_nothing_of_it_follows() {
    let mut stage = Stage::new(&[], json!({}));
    stage.text();
    stage.run_for(220);
    stage.hear(100, 9_000);
    assert_eq!(names(&stage.run_for(3_000)), ["interrupted", "turnComplete"]);
    stage.hear(400, 0);
    assert_eq!(names(&stage.run_for(3_000)), Vec::<&str>::new(), "the hangover is not over");
    stage.hear(100, 0);
    assert_eq!(names(&stage.run_for(3_000)), ["modelTurn", "generationComplete", "turnComplete"]);
    assert!(stage.told.contains(&What::SpeechEnded { samples: 1_600 }), "{:?}", stage.told);
}

#[test]
fn speech_after_the_last_chunk_but_within_the_playing_time_interrupts_too() {
    let mut stage = Stage::new(&[], json!({}));
    stage.text();
    assert_eq!(names(&stage.run_for(900)), ["setupComplete", "modelTurn", "generationComplete"]);
    stage.hear(100, 9_000);
    assert_eq!(names(&stage.run_for(0)), ["interrupted", "turnComplete"]);
}

#[test]
fn without_interruption_the_answer_to_speech_waits_for_its_turn() {
    let config = json!({"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}});
    let mut stage = Stage::new(&[], config);
    stage.text();
    stage.hear(500, 9_000);
    stage.hear(600, 0);
    let sent = stage.run_for(5_000);
    let ends: Vec<u64> = sent.iter().filter(|(_, name)| name == "turnComplete").map(|(at, _)| *at).collect();
    assert_eq!(ends, [1000, 2000]);
    assert!(!names(&sent).contains(&"interrupted"));
}

#[test]
fn a_turn_waits_for_its_tool_and_an_interruption_cancels_the_call() {
    let tools = json!({"tools": [{"functionDeclarations": [{"name": "look_up"}]}]});
    let mut stage = Stage::new(&["tool:look_up@turn", "tool:undeclared@turn"], tools);
    stage.text();
    assert_eq!(names(&stage.run_for(5_000)), ["setupComplete", "toolCall"]);
    stage.say(json!({"toolResponse": {"functionResponses": [{"id": "another", "response": {}}]}}));
    assert_eq!(names(&stage.run_for(5_000)), Vec::<&str>::new());
    stage.say(json!({"toolResponse": {"functionResponses": [{"id": "function-call-1-1", "response": {}}]}}));
    assert_eq!(names(&stage.run_for(5_000)), ["modelTurn", "generationComplete", "turnComplete"]);
    stage.text();
    assert_eq!(names(&stage.run_for(5_000)), ["toolCall"]);
    stage.hear(100, 9_000);
    assert_eq!(names(&stage.run_for(5_000)), ["toolCallCancellation", "interrupted", "turnComplete"]);
}

#[test]
fn handles_come_at_the_start_and_after_each_turn_but_not_within() {
    let mut stage = Stage::new(&[], json!({"sessionResumption": {}}));
    stage.text();
    let mut messages = stage.messages();
    while let Some(deadline) = stage.session.deadline() {
        stage.now = deadline;
        stage.act(|session, now, world, out| session.on_time(now, world, out));
        messages.extend(stage.messages());
    }
    let updates: Vec<&Value> =
        messages.iter().filter_map(|message| message.get("sessionResumptionUpdate")).collect();
    let [first, within, last] = updates.as_slice() else { panic!("{updates:?}") };
    assert_eq!(**within, json!({}));
    assert!(
        first["resumable"] == true && last["resumable"] == true && first["newHandle"] != last["newHandle"]
    );
    assert_eq!(messages.last().unwrap().get("sessionResumptionUpdate"), Some(*last));
}

#[test]
fn a_pause_in_a_turn_and_a_slow_answer_follow_the_script() {
    let mut stage = Stage::new(&["delay:300@turn1", "delay:2000@turn1.mid"], json!({}));
    stage.text();
    let sent = stage.run_for(10_000);
    let chunks: Vec<u64> = sent.iter().filter(|(_, name)| name == "modelTurn").map(|(at, _)| *at).collect();
    assert_eq!(chunks, [300, 350, 400, 450, 500, 2550, 2600, 2650, 2700, 2750]);
    assert_eq!(sent.last(), Some(&(3050, "turnComplete".to_owned())));
}

#[test]
fn after_go_away_the_session_ends_when_the_time_is_up() {
    let mut stage = Stage::new(&["go-away:5000@2s", "silence@3s"], json!({}));
    let sent = stage.run_for(6_990);
    assert_eq!(sent, [(0, "setupComplete".to_owned()), (2000, "goAway".to_owned())]);
    assert!(!stage.outbox.is_ending());
    stage.text();
    assert_eq!(stage.run_for(20), [], "the server has fallen silent");
    assert!(matches!(stage.outbox.take_end(), Some(End::Close { code: 1008, .. })));
}
