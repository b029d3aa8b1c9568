//! The scripts for FreeSWITCH themselves, run by real Lua in real time on the stand-in of `tests/lua/`, connected with
//! the real relay: speech that is heard, orders that are carried out, digits, connections lost, and the way to the IVR.
//!
//! Runs in: the test's thread, beside relay, simulator and a Lua process. Owns that process.
//! Invariant: with the environment variable CI set a missing Lua is a failure.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::admin::ask;
use crate::harness::model::speaking;
use crate::harness::{Leg, Model, PATIENCE, Relay, in_company, noise};

const CALL: &str = "live-call";
const HELLO: &str = r#"uuid_audio_stream live-call send_text {"type":"tandem","event":"hello","#;
const PLAYING: &str = r#"uuid_audio_stream live-call send_text {"type":"tandem","event":"playing","#;

/// A Lua with LuaSocket; `None` when there is none, which is said.
fn lua_with_sockets() -> Option<&'static str> {
    let with_sockets = |lua: &&str| {
        let probe = Command::new(lua).args(["-e", "require 'socket'"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    let found = ["lua5.4", "lua5.3", "lua5.2"].into_iter().find(with_sockets);
    if found.is_none() {
        let hint = "no Lua with LuaSocket: tests/prerequisites.sh test installs it";
        assert!(std::env::var_os("CI").is_none(), "{hint}");
        eprintln!("left out: {hint}");
    }
    found
}

/// A FreeSWITCH with one call, as far as the scripts can see.
struct Switch {
    child: Child,
    lines: BufReader<TcpStream>,
    /// Every line that it has said.
    said: Vec<String>,
}

impl Switch {
    /// Places a call to the relay; `None` without Lua.
    fn call(relay: &Relay, playback: &str) -> Option<Self> {
        let lua = lua_with_sockets()?;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let child = Command::new(lua)
            .args(["tests/lua/live.lua", &relay.url("/"), &port, playback])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .spawn()
            .expect("Lua starts");
        let (stream, _) = listener.accept().expect("it connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        Some(Self { child, lines: BufReader::new(stream), said: Vec::new() })
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.lines.get_mut(), "{line}").expect("it listens");
    }

    /// Waits for a line, also among those passed over, for which `find` finds something.
    fn until<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        if let Some(found) = self.said.iter().find_map(|line| find(line)) {
            return found;
        }
        loop {
            if let Some(found) = find(self.next_line(what)) {
                return found;
            }
        }
    }

    fn next_line(&mut self, what: &str) -> &str {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        let last = &self.said[self.said.len().saturating_sub(30)..];
        assert!(matches!(read, Ok(1..)), "{what}: {read:?}; it said last:\n{}", last.join("\n"));
        self.said.push(line.trim_end().to_owned());
        self.said.last().expect("just added")
    }

    /// Waits for a command of the scripts that begins like this.
    fn command(&mut self, beginning: &str) -> String {
        let command = |line: &str| line.strip_prefix("command ").map(str::to_owned);
        self.until(beginning, |line| command(line).filter(|command| command.starts_with(beginning)))
    }

    /// Waits until so many commands have begun like this.
    fn commands(&mut self, beginning: &str, times: usize) {
        while self.count(beginning) < times {
            self.next_line(beginning);
        }
    }

    fn count(&self, beginning: &str) -> usize {
        let lines = self.said.iter().filter_map(|line| line.strip_prefix("command "));
        lines.filter(|command| command.starts_with(beginning)).count()
    }

    /// Waits for the end of the call: `hangup CAUSE` or `routing DESTINATION`.
    fn end(&mut self) -> String {
        self.until("the end", |line| line.strip_prefix("end ").map(str::to_owned))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn model() -> Model {
    // Answers the greeting with two seconds.
    Model::start(SimConfig { answer: Some(noise(1, 24_000 * 2)), ..speaking(Voice::Answer) })
}

fn connected(relay: &Relay, playback: &str) -> Option<Switch> {
    let mut switch = Switch::call(relay, playback)?;
    switch.command(HELLO);
    relay.line(&["offered", CALL]);
    Some(switch)
}

fn ordered(relay: &Relay, kind: &str, body: &str) -> (u16, Value) {
    let (status, answer) = ask(relay, &format!("POST /api/calls/{CALL}/{kind}"), body);
    (status, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}")))
}

#[test]
fn the_scripts_play_every_chunk_of_the_relay_and_say_that_they_do() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    let Some(mut switch) = connected(&relay, "file") else { return };
    switch.command(PLAYING);
    // Two seconds of speech are 100 packets.
    switch.until("100 packets", |line| {
        line.strip_prefix("heard ")?.parse::<usize>().ok().filter(|n| *n >= 100)
    });
    switch.tell("hang up");
    assert_eq!(switch.end(), "hangup NORMAL_CLEARING");
    let speech = switch.until("the speech", |line| line.strip_prefix("speech ").map(str::to_owned));
    println!("heard: {speech}");
    // What shows that the switch plays at all, the answer, and perhaps what shows when it began.
    assert!((2..=3).contains(&switch.count("uuid_displace live-call start ")));
    let end = relay.end_of(CALL);
    assert!(end.contains("underruns 0"), "{end}");
    assert!(!relay.log().contains("cannot be hearing anything"), "the caller hears, and the relay knows");
}

#[test]
fn the_scripts_carry_out_each_order_and_the_relay_is_told() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    for playback in ["file", "binary"] {
        let Some(mut switch) = connected(&relay, playback) else { return };
        let done = (200, json!({"done": true}));
        assert_eq!(ordered(&relay, "dtmf", r#"{"digits":"123#"}"#), done);
        switch.command("uuid_send_dtmf live-call 123#");
        assert_eq!(ordered(&relay, "variable", r#"{"name":"tandem_result","value":"booked, 10:30"}"#), done);
        switch.command("uuid_setvar live-call tandem_result booked, 10:30");
        assert_eq!(ordered(&relay, "break", ""), done);
        switch.command("uuid_break live-call all");
        let (status, answer) = ordered(&relay, "transfer", r#"{"to":"2000","context":"secret"}"#);
        assert_eq!(status, 409, "{answer}");
        assert!(answer["error"].as_str().is_some_and(|why| why.contains("context_not_allowed")), "{answer}");
        assert_eq!(ordered(&relay, "transfer", r#"{"to":"2000"}"#), done);
        assert_eq!(switch.end(), "routing 2000 XML default");
        for command in ["uuid_transfer live-call 2000 XML default", "uuid_send_dtmf "] {
            assert_eq!(switch.count(command), 1, "{playback}: {command}");
        }
        let end = relay.end_of(CALL);
        assert!(end.contains("transferred"), "{end}");
    }
}

#[test]
fn the_scripts_hang_up_with_the_ordered_cause() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let Some(mut switch) = connected(&relay, "file") else { return };
    assert_eq!(ordered(&relay, "hangup", r#"{"cause":"USER_BUSY"}"#), (200, json!({"done": true})));
    assert_eq!(switch.end(), "hangup USER_BUSY");
    assert_eq!(switch.count("uuid_kill live-call USER_BUSY"), 1);
    let end = relay.end_of(CALL);
    assert!(end.contains("hung up by order"), "{end}");
}

#[test]
fn the_scripts_connect_again_when_the_connection_is_lost_and_obey_again() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let Some(mut switch) = connected(&relay, "file") else { return };
    switch.tell("drop");
    relay.line(&["its leg is back"]);
    switch.commands(HELLO, 2);
    assert_eq!(ordered(&relay, "dtmf", r#"{"digits":"7"}"#), (200, json!({"done": true})));
    assert_eq!(ordered(&relay, "hangup", ""), (200, json!({"done": true})));
    assert_eq!(switch.end(), "hangup NORMAL_CLEARING");
    assert_eq!(switch.count("uuid_send_dtmf "), 1);
}

#[test]
fn the_scripts_send_the_caller_to_the_ivr_when_the_relay_is_gone() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &[]);
    let Some(mut switch) = connected(&relay, "binary") else { return };
    relay.signal(Signal::KILL);
    assert_eq!(switch.end(), "routing tandem_ivr XML public");
    assert!(switch.count("uuid_audio_stream live-call start ") >= 3, "it has tried again");
}

#[test]
fn the_scripts_leave_at_once_where_the_relay_has_said_its_last_word() {
    let _turn = in_company();
    let model = model();
    let guarded = Relay::start(&model, &["listen.token=a-token-that-the-switch-has-not"]);
    let keyless = Relay::start_at(&model.url(), &[], &[("GEMINI_API_KEY", "AIzaSyWrong")]);
    let modelless = Relay::start(&model, &["agent.model=models/no-such-model"]);
    for (what, relay) in
        [("a wrong token", &guarded), ("a key that is refused", &keyless), ("no such model", &modelless)]
    {
        let begun = Instant::now();
        let Some(mut switch) = Switch::call(relay, "binary") else { return };
        assert_eq!(switch.end(), "routing tandem_ivr XML public", "{what}");
        assert_eq!(switch.count("uuid_audio_stream live-call start "), 1, "{what}: it has tried again");
        // The stand-in's script gives up after 3 s.
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_scripts_try_again_where_a_refusal_may_pass() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &["listen.max_calls=1"]);
    // Without a UUID it is not waited for.
    let other = Leg::call(&relay, "/");
    let Some(mut switch) = Switch::call(&relay, "binary") else { return };
    switch.commands("uuid_audio_stream live-call start ", 2);
    other.hang_up();
    switch.command(HELLO);
    switch.tell("hang up");
    assert_eq!(switch.end(), "hangup NORMAL_CLEARING");
}

#[test]
fn the_scripts_hang_up_where_the_agent_says_so_and_leave_where_it_does_not() {
    let _turn = in_company();
    let model = model();
    for (fallback, end) in [
        ("hangup", "hangup NORMAL_TEMPORARY_FAILURE"),
        ("switch", "routing tandem_ivr XML public"),
        ("2000", "routing 2000 XML default"),
    ] {
        let setting = format!("agent.fallback={fallback}");
        let relay = Relay::start(&model, &["agent.model=models/no-such-model", &setting]);
        let Some(mut switch) = Switch::call(&relay, "binary") else { return };
        assert_eq!(switch.end(), end, "{setting}");
    }
}

#[test]
fn the_hand_test_hears_the_real_relay() {
    let _turn = in_company();
    let model = model();
    let relay = Relay::start(&model, &["agent.greeting=Hello."]);
    let Some(lua) = lua_with_sockets() else { return };
    let output = Command::new(lua)
        .args(["deploy/freeswitch/scripts/audio_socket_client.lua", "0a1b2c3d-1111-4222-8333-444455556666"])
        .args(["127.0.0.1", &relay.address().port().to_string()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("Lua starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}");
    assert!(printed.contains("Audio came back:") && printed.contains(" at 8000 Hz, loudest -"), "{printed}");
    assert!(printed.contains("the relay can be heard from here"), "{printed}");
    relay.end_of("0a1b2c3d-1111-4222-8333-444455556666");
}
