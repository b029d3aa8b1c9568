//! The scripts for FreeSWITCH, run by real Lua on a stand-in of its API (`tests/lua/`), and the files around them,
//! looked at by the tools that are there for it.
//!
//! Runs in: `cargo test --test lua`. Owns which interpreters and tools are used. Never talks to a switch.
//! Invariant: with the environment variable CI set a missing interpreter or tool is a failure; without it, it is said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// FreeSWITCH has embedded 5.2 and 5.3; 5.4 is what most machines have.
const INTERPRETERS: [&str; 3] = ["lua5.2", "lua5.3", "lua5.4"];
const SCRIPTS: &str = "deploy/freeswitch/scripts";
const SCRIPT_DEADLINE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a program is there. In CI it must be.
fn is_there(program: &str, probe: &[&str]) -> bool {
    let there = Command::new(program).args(probe).output().is_ok_and(|output| output.status.success());
    if !there {
        let hint = format!("{program} is missing: tests/prerequisites.sh test installs it");
        assert!(std::env::var_os("CI").is_none(), "{hint}");
        eprintln!("left out, because {hint}");
    }
    there
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(root()).output().expect("a program that starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// One test an interpreter, so that they run side by side.
fn the_scripts_pass_on(lua: &str) {
    if is_there(lua, &["-v"]) {
        let output = run(lua, &["tests/lua/run.lua"]);
        assert!(output.status.success(), "{lua}:\n{}", text(&output));
    }
}

#[test]
fn the_scripts_pass_on_lua_5_2() {
    the_scripts_pass_on(INTERPRETERS[0]);
}

#[test]
fn the_scripts_pass_on_lua_5_3() {
    the_scripts_pass_on(INTERPRETERS[1]);
}

#[test]
fn the_scripts_pass_on_lua_5_4() {
    the_scripts_pass_on(INTERPRETERS[2]);
}

#[test]
fn the_files_are_well_formed_xml() {
    if !is_there("xmllint", &["--version"]) {
        return;
    }
    let mut count = 0;
    let mut folders = vec![root().join("deploy/freeswitch")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "xml") {
                let output = run("xmllint", &["--noout", path.to_str().expect("a name in UTF-8")]);
                assert!(output.status.success(), "{}:\n{}", path.display(), text(&output));
                count += 1;
            }
        }
    }
    assert!(count >= 5, "only {count} files");
}

#[test]
fn settings_stand_one_a_line_and_not_in_comments() {
    // FreeSWITCH's preprocessor works line by line and does not know comments.
    let text =
        std::fs::read_to_string(root().join("deploy/freeswitch/vars_tandem.xml")).expect("the settings");
    let mut inside = false;
    let mut settings = 0;
    for line in text.lines() {
        inside |= line.contains("<!--");
        let count = line.to_ascii_lowercase().matches("x-pre-process").count();
        settings += count;
        assert!(count == 0 || (count == 1 && !inside && line.trim().ends_with("\"/>")), "{line}");
        inside &= !line.contains("-->");
    }
    assert!(settings >= 15, "only {settings} settings");
}

#[test]
fn every_setting_of_the_scripts_stands_in_the_settings_file() {
    let settings =
        std::fs::read_to_string(root().join("deploy/freeswitch/vars_tandem.xml")).expect("the settings");
    let mut missing = Vec::new();
    for name in ["tandem.lua", "tandem_events.lua", "start_audio_stream.lua"] {
        let code = std::fs::read_to_string(root().join(SCRIPTS).join(name)).expect("a script");
        for call in ["setting(\"", "number_setting(\"", "setting_lists(\""] {
            for rest in code.split(call).skip(1) {
                let setting = rest.split('"').next().expect("a name");
                if !settings.contains(&format!("data=\"{setting}=")) {
                    missing.push(format!("{name}: {setting}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in vars_tandem.xml: {missing:?}");
}

/// The hand test against a server of this test; what it printed, and what the server got.
fn hand_test(lua: &str, serve: impl FnOnce(TcpStream) -> Vec<u8> + Send + 'static) -> (String, Vec<u8>) {
    hand_test_as("0a1b2c3d-1111-4222-8333-444455556666", lua, serve)
}

/// The same with this in the place of a UUID.
fn hand_test_as(
    uuid: &str,
    lua: &str,
    serve: impl FnOnce(TcpStream) -> Vec<u8> + Send + 'static,
) -> (String, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(SCRIPT_DEADLINE)).expect("a time-out");
        serve(stream)
    });
    let script = format!("{SCRIPTS}/audio_socket_client.lua");
    let output = run(lua, &[&script, uuid, "127.0.0.1", &port]);
    (text(&output), server.join().expect("the server"))
}

fn lua_with_sockets() -> Option<&'static str> {
    INTERPRETERS.into_iter().find(|lua| is_there(lua, &["-e", "require 'socket'"]))
}

/// Frames of AudioSocket: kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        frames.push((*kind, &rest[..length]));
        bytes = &rest[length..];
    }
    frames
}

#[test]
fn the_hand_test_sends_a_call_and_says_what_came_back() {
    let Some(lua) = lua_with_sockets() else { return };
    let (printed, received) = hand_test(lua, |mut stream| {
        // Echoes at 16 kHz what it has time for: 25 frames with a square wave, then goes on reading.
        let mut answer = vec![0x12, 0x02, 0x80];
        answer.extend((0..320_i16).flat_map(|i| if i % 40 < 20 { 16384_i16 } else { -16384 }.to_le_bytes()));
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        let mut answers = 0;
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            received.extend_from_slice(&chunk[..length]);
            if answers < 25 && received.len() > 19 {
                stream.write_all(&answer).expect("an open connection");
                answers += 1;
            }
        }
        received
    });
    let frames = frames(&received);
    assert_eq!(
        frames[0],
        (
            1,
            &[0x0a, 0x1b, 0x2c, 0x3d, 0x11, 0x11, 0x42, 0x22, 0x83, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0x66]
                [..]
        )
    );
    assert_eq!(frames.len(), 201, "{printed}");
    assert!(frames[1..].iter().all(|(kind, payload)| *kind == 0x10 && payload.len() == 320));
    let loud =
        |payload: &[u8]| payload.chunks(2).any(|pair| i16::from_le_bytes([pair[0], pair[1]]).abs() > 8000);
    assert!(frames[1..51].iter().all(|(_, payload)| loud(payload)), "one second of a tone");
    assert!(frames[51..].iter().all(|(_, payload)| payload.iter().all(|byte| *byte == 0)), "then silence");
    for expected in [
        "Audio came back: 25 frames, 0.50 s at 16000 Hz, loudest -6 dBFS.",
        "The first frame came after",
        "The connection stayed up to the end: the relay can be heard from here.",
    ] {
        assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
    }
}

#[test]
fn the_hand_test_says_how_the_relay_ended_it() {
    let Some(lua) = lua_with_sockets() else { return };
    let (printed, _) = hand_test(lua, |mut stream| {
        let mut uuid = [0; 19];
        stream.read_exact(&mut uuid).expect("the UUID");
        stream.write_all(&[0, 0, 0]).expect("an open connection");
        stream.shutdown(Shutdown::Write).expect("a shutdown");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    for expected in ["No audio came back.", "with a hang-up frame", "That is a refusal"] {
        assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
    }
}

#[test]
fn the_hand_test_makes_a_uuid_where_it_is_given_none_and_says_so() {
    let Some(lua) = lua_with_sockets() else { return };
    for name in ["test-uuid", "0a1b2c3d-1111-4222-8333-44445555666", "zz1b2c3d-1111-4222-8333-444455556666"] {
        let (printed, received) = hand_test_as(name, lua, |mut stream| {
            let mut first = vec![0; 19];
            stream.read_exact(&mut first).expect("the UUID");
            stream.write_all(&[0, 0, 0]).expect("an open connection");
            stream.shutdown(Shutdown::Write).expect("a shutdown");
            _ = stream.read_to_end(&mut Vec::new());
            first
        });
        assert!(printed.contains(&format!("\"{name}\" is no UUID")), "{printed}");
        let sent: String = received[3..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(received[..3], [1, 0, 16]);
        assert!(printed.replace('-', "").contains(&sent), "{sent} is not told of in {printed}");
    }
}

#[test]
fn the_hand_test_names_the_remedy_when_nothing_listens() {
    let Some(lua) = lua_with_sockets() else { return };
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port().to_string()
    };
    let script = format!("{SCRIPTS}/audio_socket_client.lua");
    let uuid = "0a1b2c3d-1111-4222-8333-444455556666";
    let begun = Instant::now();
    let printed = text(&run(lua, &[&script, uuid, "127.0.0.1", &port]));
    assert!(printed.contains("connection refused") && printed.contains("Is the relay running?"), "{printed}");
    assert!(begun.elapsed() < SCRIPT_DEADLINE);
    for wrong in [vec![uuid, "a b"], vec![uuid, "127.0.0.1", "x"]] {
        let arguments: Vec<&str> = std::iter::once(script.as_str()).chain(wrong.iter().copied()).collect();
        assert!(text(&run(lua, &arguments)).contains(" must be "), "{wrong:?}");
    }
}

#[test]
fn the_hand_test_says_how_to_get_lua_socket() {
    let Some(lua) = INTERPRETERS.into_iter().find(|lua| is_there(lua, &["-v"])) else { return };
    let hide = "package.path='' package.cpath='' arg={} ";
    let code = format!("{hide} dofile('{SCRIPTS}/audio_socket_client.lua')");
    let printed = text(&run(lua, &["-e", &code]));
    assert!(
        printed.contains("apt-get install lua-socket") && printed.contains("module-directory"),
        "{printed}"
    );
}
