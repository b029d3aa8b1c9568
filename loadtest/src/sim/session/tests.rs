//! A session in virtual time: no socket, no clock, every turn, tool call and resumption in microseconds.

use tungstenite::protocol::frame::FrameHeader;

use serde_json::json;

use super::*;
use crate::sim::{config::Voice, fault::Scheduled};

/// A session, its surroundings, and a clock that only moves when told.
struct Stage {
    config: SimConfig,
    answers: Vec<Speech>,
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
            answers: vec![(vec![1; 24_000].into(), "One second.".to_owned())],
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

    /// The connection ends; another one, with this number, resumes by the handle.
    fn resume(&mut self, number: u64, handle: &str) {
        self.session.let_go(self.now, &mut self.registry);
        self.session = Session::new(number, request());
        self.outbox = Outbox::new(self.config.framing);
        self.set_up(json!({"sessionResumption": {"handle": handle}, "outputAudioTranscription": {}}));
    }

    /// The newest handle among what was sent.
    fn handle(&mut self) -> String {
        let messages = self.messages();
        let mut handles =
            messages.iter().filter_map(|message| message["sessionResumptionUpdate"]["newHandle"].as_str());
        handles.next_back().expect("a handle").to_owned()
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, Instant, &mut World, &mut Outbox)) {
        let mut tell = |what| self.told.push(what);
        let mut world = World {
            config: &self.config,
            answers: &self.answers,
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
fn what_there_is_to_say_is_said_one_after_the_other_and_then_anew() {
    let mut stage = Stage::new(&[], json!({}));
    stage.answers.push((vec![1; 48_000].into(), "Two seconds.".to_owned()));
    stage.run_for(1_000);
    let lengths: Vec<usize> = (0..3)
        .map(|_| {
            stage.text();
            stage.run_for(5_000).iter().filter(|(_, name)| name == "modelTurn").count()
        })
        .collect();
    assert_eq!(lengths, [10, 20, 10]);
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

fn resumable() -> Value {
    json!({"sessionResumption": {}, "outputAudioTranscription": {}})
}

#[test]
fn a_short_talkspurt_is_swallowed_and_eats_the_next_unless_the_stream_end_commits_it() {
    let mut stage = Stage::new(&["swallow:500@setup"], json!({}));
    let say = |stage: &mut Stage, ms| {
        stage.hear(ms, 9_000);
        stage.hear(600, 0);
        names(&stage.run_for(3_000)).contains(&"modelTurn")
    };
    stage.run_for(0);
    assert_eq!([300, 900, 900, 300].map(|ms| say(&mut stage, ms)), [false, false, true, false]);
    stage.say(json!({"realtimeInput": {"audioStreamEnd": true}}));
    assert!(names(&stage.run_for(3_000)).contains(&"modelTurn"));
    assert!(stage.told.contains(&What::Swallowed { samples: 300 * 16 }), "{:?}", stage.told);
}

#[test]
fn a_fault_happens_so_long_after_its_moment_and_on_the_connections_it_names() {
    let mut stage = Stage::new(&["go-away:5000@speech1+400#new", "close:1007:No@resume1"], resumable());
    stage.hear(100, 9_000);
    assert!(!names(&stage.run_for(390)).contains(&"goAway"));
    assert_eq!(names(&stage.run_for(10)), ["goAway"]);
    stage.text();
    stage.run_for(0);
    let mut stage = Stage::new(&["close:1007:No@resume1"], resumable());
    let handle = stage.handle();
    stage.resume(2, &handle);
    assert!(matches!(stage.outbox.take_end(), Some(End::Close { code: 1007, .. })));
    stage.resume(3, &handle);
    assert_eq!(names(&stage.run_for(0)), ["setupComplete", "sessionResumptionUpdate"]);
}

#[test]
fn a_resumed_conversation_is_remembered_replayed_carried_on_or_forgotten() {
    for (fault, expected) in [
        ("ping@5s", ["setupComplete", "sessionResumptionUpdate"].as_slice()),
        ("replay-transcripts@resume", &["setupComplete", "sessionResumptionUpdate", "outputTranscription"]),
        (
            "carry-on@resume",
            &[
                "setupComplete",
                "sessionResumptionUpdate",
                "modelTurn",
                "outputTranscription",
                "generationComplete",
                "turnComplete",
                "sessionResumptionUpdate",
            ],
        ),
    ] {
        let mut stage = Stage::new(&[fault], resumable());
        let handle = stage.handle();
        stage.text();
        // Five of ten chunks are out, and the first of two words.
        stage.run_for(220);
        stage.resume(2, &handle);
        let sent = stage.run_for(4_000);
        assert_eq!(names(&sent), expected, "{fault}");
    }
    for (fault, remembered) in [("ping@5s", true), ("forget@resume", false)] {
        let mut stage = Stage::new(&[fault], resumable());
        let handle = stage.handle();
        stage.hear(400, 0);
        stage.resume(2, &handle);
        assert_eq!(stage.session.memory.heard_samples > 0, remembered, "{fault}");
        assert!(stage.told.iter().any(|what| matches!(what, What::Opened { resumes: Some(1), .. })));
    }
}

#[test]
fn a_turn_that_cannot_be_interrupted_ends_first_and_one_that_starts_again_does() {
    let mut stage = Stage::new(&["uninterruptible@turn1", "start-again@turn3"], json!({}));
    let speak = |stage: &mut Stage| {
        stage.text();
        stage.run_for(100);
        stage.hear(100, 9_000);
        stage.hear(600, 0);
        stage.run_for(5_000)
    };
    let sent = speak(&mut stage);
    assert!(!names(&sent).contains(&"interrupted"));
    assert_eq!(sent.iter().filter(|(_, name)| name == "turnComplete").count(), 2);
    let sent = speak(&mut stage);
    assert!(names(&sent).contains(&"interrupted") && stage.session.again.is_none());
}

#[test]
fn tools_that_do_not_block_are_answered_when_their_response_says() {
    let tools =
        json!({"tools": [{"functionDeclarations": [{"name": "look_up", "behavior": "NON_BLOCKING"}]}]});
    let respond = |stage: &mut Stage, n: u32, more: Value| {
        let mut response = json!({"id": format!("function-call-1-{n}"), "name": "look_up", "response": {}});
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.say(json!({"toolResponse": {"functionResponses": [response]}}));
    };
    let mut stage = Stage::new(&["tool:look_up@turn1", "tool:look_up@turn3", "tool:look_up@turn5"], tools);
    stage.text();
    assert_eq!(
        names(&stage.run_for(3_000)),
        ["setupComplete", "toolCall", "modelTurn", "generationComplete", "turnComplete"]
    );
    respond(&mut stage, 1, json!({"willContinue": true}));
    assert_eq!(names(&stage.run_for(3_000)), Vec::<&str>::new());
    respond(&mut stage, 1, json!({}));
    assert_eq!(names(&stage.run_for(3_000)), ["modelTurn", "generationComplete", "turnComplete"]);
    stage.text();
    stage.run_for(100);
    respond(&mut stage, 2, json!({"scheduling": "INTERRUPT"}));
    let sent = stage.run_for(3_000);
    assert!(names(&sent).starts_with(&["interrupted", "turnComplete", "modelTurn"]), "{sent:?}");
    stage.text();
    stage.run_for(3_000);
    respond(&mut stage, 3, json!({"scheduling": "SILENT"}));
    assert_eq!(names(&stage.run_for(3_000)), Vec::<&str>::new());
}

#[test]
fn scheduling_is_refused_where_the_function_blocks() {
    let tools = json!({"tools": [{"functionDeclarations": [{"name": "look_up", "behavior": "BLOCKING"}]}]});
    let mut stage = Stage::new(&["tool:look_up@turn"], tools);
    stage.text();
    stage.run_for(100);
    let response = json!({"id": "function-call-1-1", "response": {}, "scheduling": "SILENT"});
    stage.say(json!({"toolResponse": {"functionResponses": [response]}}));
    assert!(matches!(stage.outbox.take_end(), Some(End::Close { code: 1007, .. })));
}

#[test]
fn what_happens_to_tool_calls_follows_the_script() {
    let tools = || json!({"tools": [{"functionDeclarations": [{"name": "look_up"}]}]});
    let mut stage = Stage::new(&["tool:look_up@turn", "cancel-tools@tool-call+200"], tools());
    stage.text();
    assert_eq!(
        names(&stage.run_for(3_000)),
        ["setupComplete", "toolCall", "toolCallCancellation", "generationComplete", "turnComplete"]
    );
    let mut stage = Stage::new(&["tool:look_up@turn", "empty-turn@tool-response"], tools());
    stage.text();
    stage.run_for(100);
    stage.say(json!({"toolResponse": {"functionResponses": [{"id": "function-call-1-1", "response": {}}]}}));
    assert_eq!(names(&stage.run_for(3_000)), ["generationComplete", "turnComplete"]);
    let mut stage = Stage::new(&["tool:look_up@turn", "tool-audio:1008:Not now@setup"], tools());
    stage.text();
    stage.run_for(100);
    stage.hear(20, 0);
    assert!(!stage.outbox.is_ending(), "it was on its way");
    stage.run_for(300);
    stage.hear(20, 0);
    assert!(matches!(stage.outbox.take_end(), Some(End::Close { code: 1008, .. })));
}

#[test]
fn a_conversation_ages_unless_its_context_is_compressed() {
    for (setup, delay) in [(json!({}), 500), (json!({"contextWindowCompression": {}}), 0)] {
        let mut stage = Stage::new(&["ageing:1000@setup"], setup);
        stage.run_for(0);
        for _ in 0..30 {
            stage.hear(1_000, 0);
        }
        let begun = stage.now;
        stage.text();
        let first = stage.run_for(5_000).first().cloned().unwrap();
        assert_eq!(first, ((begun - stage.start).as_millis() as u64 + delay, "modelTurn".to_owned()));
    }
}

#[test]
fn audio_too_far_ahead_of_real_time_is_refused_where_the_script_says() {
    let mut stage = Stage::new(&["replay-limit:2000@setup"], json!({}));
    stage.hear(1_000, 0);
    stage.hear(1_000, 0);
    assert!(!stage.outbox.is_ending());
    stage.hear(100, 0);
    assert!(matches!(stage.outbox.take_end(), Some(End::Close { code: 1007, .. })));
}
