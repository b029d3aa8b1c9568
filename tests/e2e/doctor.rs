//! `tandem doctor` against set-ups that are broken in one place each: it finds that place, names it, and says what to do;
//! and against one that is not, where it finds nothing.
//!
//! Runs in: the test's thread, with the doctor, a relay, a simulator and a scripted event socket. Owns a directory that
//! looks like FreeSWITCH's. Invariant: every fault is looked for in the same set-up, so that nothing else can be meant.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::model::speaking;
use crate::harness::process::command;
use crate::harness::{KEY, Model, Relay, certificate, in_company};

const PASSWORD_OF_RECORDS: &str = "a-password-of-the-database";
const PASSWORD: &str = "a-password-of-the-doctor's-test";

/// A listener on loopback that serves connections until the process ends.
fn serve(answer: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    address
}

/// Not a question: what a call through the switch hears, `speech`, `silence` or `hang-up`.
const SOUND: &str = "the sound";

/// mod_audio_stream, for one call: connects and sends what the caller hears, each second of it at once.
fn stream(url: &str, sound: &str) {
    let (url, sound) = (url.to_owned(), sound.to_owned());
    std::thread::spawn(move || {
        let (mut leg, _) = tungstenite::connect(url.as_str()).expect("the doctor listens");
        let level: i16 = if sound == "speech" { 3_000 } else { 0 };
        let second: Vec<u8> = std::iter::repeat_n(level, 8_000).flat_map(i16::to_le_bytes).collect();
        let sent = leg.send(tungstenite::Message::Binary(second.into()));
        if sound == "hang-up" {
            _ = leg.close(None);
        }
        // Held until the doctor has enough.
        while sent.is_ok() && leg.read().is_ok() {}
    });
}

/// An event socket that knows these answers to `api` commands; to any other it says `-ERR`.
fn event_socket(answers: Vec<(&'static str, String)>) -> SocketAddr {
    serve(move |mut socket| {
        _ = socket.write_all(b"Content-Type: auth/request\n\n");
        let mut commands = BufReader::new(socket.try_clone().expect("a descriptor")).split(b'\n');
        while let Some(Ok(line)) = commands.next() {
            let line = String::from_utf8_lossy(&line).into_owned();
            let text = if line.is_empty() {
                continue;
            } else if let Some(password) = line.strip_prefix("auth ") {
                let reply = if password == PASSWORD { "+OK accepted" } else { "-ERR invalid" };
                format!("Content-Type: command/reply\nReply-Text: {reply}\n\n")
            } else {
                let asked = line.strip_prefix("api ").unwrap_or_default();
                // A question that ends in * stands for all that begin so.
                let known = answers.iter().find(|(question, _)| match question.strip_suffix('*') {
                    Some(beginning) => asked.starts_with(beginning),
                    None => *question == asked,
                });
                let answer = known.map_or("-ERR no reply\n", |(_, answer)| answer.as_str());
                if let Some(url) = asked.split(' ').nth(3).filter(|url| url.starts_with("ws://")) {
                    let sound = answers.iter().find(|(what, _)| *what == SOUND);
                    stream(url, sound.map_or("", |(_, sound)| sound));
                }
                format!("Content-Type: api/response\nContent-Length: {}\n\n{answer}", answer.len())
            };
            if socket.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// What a switch in order answers.
fn answers(url: &str) -> Vec<(&'static str, String)> {
    let text = |question, answer: &str| (question, answer.to_owned());
    vec![
        text("module_exists mod_audio_stream", "true"),
        text("module_exists mod_lua", "true"),
        text("module_exists mod_curl", "true"),
        text("module_exists mod_sndfile", "true"),
        text("module_exists mod_loopback", "true"),
        text("global_getvar tandem_ai_numbers", "1555[0-9]{4}|9094"),
        text("global_getvar mod_dir", "/nowhere/that/is/visible"),
        text("global_getvar default_password", "changed"),
        text("originate *", "+OK 8c1d9a52-6a1c-4a7f-9d7d-2f4f4f4f4f4f\n"),
        text("uuid_audio_stream *", "+OK Success\n"),
        text(SOUND, "speech"),
        text("uuid_kill *", "+OK\n"),
        text("uuid_audio_stream", "-USAGE: <uuid> [start | stop | send_text | pause | resume]\n"),
        text("global_getvar tandem_playback", "file"),
        text("global_getvar temp_dir", "/nowhere/that/is/visible"),
        text("global_getvar local_ip_v4", "192.0.2.7"),
        text("global_getvar external_rtp_ip", "198.51.100.7"),
        text("global_getvar audio_stream_url", url),
    ]
}

fn with(answers: Vec<(&'static str, String)>, question: &str, answer: &str) -> SocketAddr {
    with_all(answers, &[(question, answer)])
}

fn with_all(mut answers: Vec<(&'static str, String)>, others: &[(&str, &str)]) -> SocketAddr {
    for (question, answer) in others {
        let place = answers.iter_mut().find(|(known, _)| known == question).expect("a known question");
        place.1 = (*answer).to_owned();
    }
    event_socket(answers)
}

/// A directory as FreeSWITCH has one, with our files.
fn freeswitch(name: &str, url: &str) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}-{}", std::process::id()));
    let put = |path: &str, text: &str| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
        fs::write(path, text).expect("writable");
    };
    put(
        "vars.xml",
        &format!(r#"<include><X-PRE-PROCESS cmd="set" data="audio_stream_url={url}"/></include>"#),
    );
    put(
        "dialplan/public.xml",
        r#"<include><action application="lua" data="start_audio_stream.lua $${audio_stream_url} mono 16k"/></include>"#,
    );
    put("autoload_configs/lua.conf.xml", r#"<param name="startup-script" value="tandem_events.lua"/>"#);
    put("scripts/start_audio_stream.lua", "");
    put("scripts/tandem_events.lua", "");
    directory
}

/// A set-up to be examined.
#[derive(Clone)]
struct Setup {
    sets: Vec<String>,
    gemini: String,
    key: &'static str,
    port: u16,
    event_socket: SocketAddr,
    freeswitch: PathBuf,
    call: bool,
}

/// The doctor's report: whether healthy, and each bad finding as `check: found → remedy`.
fn examine(setup: &Setup) -> (bool, Vec<String>) {
    examine_for("bad", setup)
}

/// The same for findings of this status.
fn examine_for(status: &str, setup: &Setup) -> (bool, Vec<String>) {
    let (host, port) = (setup.event_socket.ip().to_string(), setup.event_socket.port().to_string());
    let directory = setup.freeswitch.display().to_string();
    let mut arguments: Vec<String> = vec!["doctor".into(), "--json".into(), "--freeswitch".into(), directory];
    if !setup.call {
        arguments.push("--no-call".into());
    }
    let sets = [format!("esl.host={host}"), format!("esl.port={port}"), format!("esl.password={PASSWORD}")];
    let sets = sets.iter().chain(&setup.sets).flat_map(|set| ["--set", set]);
    let all: Vec<&str> = sets.chain(arguments.iter().map(String::as_str)).collect();
    let relay_port = setup.port.to_string();
    let environment = [
        ("FREESWITCH_AUDIO_SOCKET_PORT", relay_port.as_str()),
        ("GEMINI_BASE_URL", setup.gemini.as_str()),
        ("GEMINI_API_KEY", setup.key),
        ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    ];
    let output = command(&all, &environment).output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
    assert!(!text.contains(PASSWORD) && !text.contains(KEY), "a secret is in {text}");
    let healthy = report["healthy"].as_bool().expect("a truth");
    assert_eq!(output.status.code(), Some(i32::from(!healthy)), "{text}");
    let findings = report["findings"].as_array().expect("a list").iter();
    let bad = findings
        .filter(|finding| finding["status"] == status)
        .map(|finding| {
            let word = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {} → {}", word("check"), word("found"), word("remedy"))
        })
        .collect();
    (healthy, bad)
}

#[test]
fn the_doctor_finds_and_names_what_is_broken_and_nothing_else() {
    let _company = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let port = relay.address().port();
    let url = format!("ws://127.0.0.1:{port}/");
    let good = Setup {
        sets: Vec::new(),
        gemini: model.url(),
        key: KEY,
        port,
        event_socket: event_socket(answers(&url)),
        freeswitch: freeswitch("good", &url),
        call: false,
    };
    let (healthy, bad) = examine(&Setup { call: true, ..good.clone() });
    assert!(healthy, "nothing is broken: {bad:#?}");
    let (_, good_findings) = examine_for("good", &Setup { call: true, ..good.clone() });
    let by_switch = good_findings.iter().find(|finding| finding.starts_with("call by switch: "));
    assert!(by_switch.is_some_and(|found| found.contains("9094 in context public")), "{good_findings:#?}");

    let guarded = Relay::start(&model, &["listen.token=another-token-than-the-doctor's"]);
    let closed = Relay::start(&model, &["listen.allow=192.0.2.0/24"]);
    let closed_port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a free port");
    let shell = serve(|mut socket| _ = socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
    let mute = serve(std::mem::forget);
    let private = Model::start(SimConfig { tls: Some(certificate()), ..speaking(Voice::Echo) });
    let rejecting =
        serve(|mut socket| _ = socket.write_all(b"Content-Type: text/rude-rejection\nContent-Length: 0\n\n"));
    let files = |name: &str, spoil: &dyn Fn(&Path)| {
        let directory = freeswitch(name, &url);
        spoil(&directory);
        Setup { freeswitch: directory, ..good.clone() }
    };
    let set =
        |sets: &[&str]| Setup { sets: sets.iter().map(|&set| set.to_owned()).collect(), ..good.clone() };
    let switch = |question: &str, answer: &str| Setup {
        event_socket: with(answers(&url), question, answer),
        ..good.clone()
    };
    // The switch calls the port, whoever has it.
    let at = |port: u16| Setup {
        port,
        event_socket: event_socket(answers(&format!("ws://127.0.0.1:{port}/"))),
        ..good.clone()
    };
    // What of the open build's file tells it from the others: it has the command, and nothing that a playing build has.
    let open_build = good.freeswitch.join("mod").display().to_string();
    fs::create_dir_all(&open_build).expect("writable");
    fs::write(Path::new(&open_build).join("mod_audio_stream.so"), "\0uuid_audio_stream\0streamAudio\0")
        .expect("writable");
    let gemini = |url: String| Setup { gemini: url, ..good.clone() };
    let of = |address: SocketAddr| format!("ws://{address}");
    let rewrite = |path: &'static str, from: &'static str, to: &'static str| {
        move |directory: &Path| {
            let path = directory.join(path);
            let text = fs::read_to_string(&path).expect("written before");
            fs::write(path, text.replace(from, to)).expect("writable");
        }
    };
    let remove =
        |path: &'static str| move |directory: &Path| fs::remove_file(directory.join(path)).expect("there");

    // What is broken; what the finding says of it; what the remedy names.
    let cases: Vec<(&str, Setup, &str, &str)> = vec![
        ("an unknown key", set(&["listen.prot=9094"]), "configuration: --set: unknown key", "listen.port"),
        ("a value out of range", set(&["playback.lead_ms=9000"]), "configuration: --set:", "lead_ms"),
        ("nobody listens", at(closed_port.port()), "port: nobody listens on", "systemctl start tandem"),
        ("another program has the port", at(shell.port()), "port: something else answers", "ss -ltnp"),
        ("the door is closed to us", at(closed.address().port()), "port: the relay on", "listen.allow"),
        (
            "a wrong key",
            Setup { key: "AIzaSyE2e-this-key-is-not-the-right-one", ..good.clone() },
            "Gemini key: ",
            "GEMINI_API_KEY",
        ),
        (
            "an unknown model",
            set(&["agent.model=gemini-of-the-future"]),
            "Gemini model: ",
            "the agent's model",
        ),
        (
            "an unknown host",
            gemini("wss://no-such-host.invalid".into()),
            "DNS: no-such-host.invalid",
            "resolv.conf",
        ),
        ("a closed firewall", gemini(of(closed_port)), "Gemini: 127.0.0.1", "firewall"),
        (
            "a Gemini that says nothing",
            Setup {
                gemini: of(mute),
                sets: vec!["gemini.connect_timeout_ms=500".into(), "gemini.setup_timeout_ms=500".into()],
                ..good.clone()
            },
            "Gemini: 127.0.0.1",
            "curl",
        ),
        ("a certificate nobody vouches for", gemini(private.url()), "TLS: ", "gemini.ca_file"),
        (
            "a wrong password of the event socket",
            set(&["esl.password=ClueCon"]),
            "event socket: 127.0.0.1",
            "esl.password",
        ),
        (
            "an event socket for others",
            Setup { event_socket: rejecting, ..good.clone() },
            "event socket: 127.0.0.1",
            "apply-inbound-acl",
        ),
        (
            "no event socket",
            Setup { event_socket: closed_port, ..good.clone() },
            "event socket: nobody listens",
            "mod_event_socket",
        ),
        (
            "no module",
            switch("module_exists mod_audio_stream", "false"),
            "module: mod_audio_stream is not loaded",
            "load mod_audio_stream",
        ),
        ("no Lua", switch("module_exists mod_lua", "false"), "module: mod_lua is not loaded", "load mod_lua"),
        (
            "no player of files",
            switch("module_exists mod_sndfile", "false"),
            "module: mod_sndfile is not loaded",
            "load mod_sndfile",
        ),
        (
            "binary for a build that plays nothing",
            Setup {
                event_socket: with_all(
                    answers(&url),
                    &[("global_getvar tandem_playback", "binary"), ("global_getvar mod_dir", &open_build)],
                ),
                ..good.clone()
            },
            "build: tandem_playback=binary, and the module in",
            "tandem_playback=file in vars_tandem.xml",
        ),
        (
            "json for a build that plays nothing",
            Setup {
                event_socket: with_all(
                    answers(&url),
                    &[("global_getvar tandem_playback", "json"), ("global_getvar mod_dir", &open_build)],
                ),
                ..good.clone()
            },
            "build: tandem_playback=json, and the module in",
            "tandem_playback=file in vars_tandem.xml",
        ),
        (
            "a call through the switch that stays silent",
            Setup { call: true, ..switch(SOUND, "silence") },
            "call by switch: 9094 in context public: nothing was heard",
            "tandem_events.lua",
        ),
        (
            "the same with a build that is said to play",
            Setup {
                call: true,
                event_socket: with_all(
                    answers(&url),
                    &[("global_getvar tandem_playback", "binary"), (SOUND, "silence")],
                ),
                ..good.clone()
            },
            "call by switch: 9094 in context public: nothing was heard",
            "tandem_playback=file",
        ),
        (
            "a dialplan that hangs up",
            Setup { call: true, ..switch(SOUND, "hang-up") },
            "call by switch: 9094 in context public: the dialplan ended the call",
            "tandem:",
        ),
        (
            "a number that no extension has",
            Setup { call: true, ..switch("originate *", "-ERR NO_ROUTE_DESTINATION\n") },
            "call by switch: 9094 in context public: the switch did not connect the call: NO_ROUTE_DESTINATION",
            "xml_locate",
        ),
        (
            "a playback that is none",
            switch("global_getvar tandem_playback", "files"),
            "build: tandem_playback=\"files\"",
            "vars.xml",
        ),
        (
            "no URL in the switch",
            switch("global_getvar audio_stream_url", ""),
            "audio_stream_url: ",
            "vars.xml (tandem freeswitch install does), then fs_cli -x reloadxml",
        ),
        (
            "a URL with another port",
            switch("global_getvar audio_stream_url", "ws://127.0.0.1:9/"),
            "switch's side: audio_stream_url",
            "FREESWITCH_AUDIO_SOCKET_PORT",
        ),
        (
            "a URL with TLS that is not there",
            switch("global_getvar audio_stream_url", &url.replace("ws:", "wss:")),
            "switch's side: audio_stream_url",
            "listen.tls_certificate",
        ),
        (
            "a host that the module does not take",
            switch("global_getvar audio_stream_url", "ws://my_host:9094/"),
            "switch's side: audio_stream_url",
            "vars.xml",
        ),
        (
            "a relay on loopback for a switch in a container",
            Setup {
                event_socket: with(
                    answers(&url),
                    "global_getvar audio_stream_url",
                    &format!("ws://192.0.2.1:{port}/"),
                ),
                sets: vec!["listen.host=127.0.0.1".into()],
                ..good.clone()
            },
            "switch's side: the switch calls 192.0.2.1",
            "AUDIO_SOCKET_HOST=0.0.0.0",
        ),
        (
            "no variables",
            files("variables", &rewrite("vars.xml", "audio_stream_url=", "other=")),
            "variables: ",
            "tandem freeswitch install",
        ),
        (
            "a dialplan that is commented out",
            files("dialplan", &rewrite("dialplan/public.xml", "<action", "<!--<action")),
            "dialplan: ",
            "tandem freeswitch install",
        ),
        (
            "a script missing",
            files("scripts", &remove("scripts/tandem_events.lua")),
            "scripts: tandem_events.lua",
            "tandem freeswitch install",
        ),
        (
            "another token",
            Setup { call: true, ..at(guarded.address().port()) },
            "test call: refused: HTTP status 401",
            "listen.token",
        ),
    ];
    assert!(cases.len() >= 15);
    let mut wrong = Vec::new();
    for (case, setup, found, remedy) in &cases {
        let (healthy, bad) = examine(setup);
        let named = bad.first().is_some_and(|first| first.starts_with(found) && first.contains(remedy));
        // One thing is broken, and one thing is to be said of it.
        if healthy || !named || bad.len() != 1 {
            wrong.push(format!("{case}: {found:?} with {remedy:?} is not {bad:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let directories = cases.iter().map(|(_, setup, ..)| &setup.freeswitch).chain([&good.freeswitch]);
    directories.for_each(|directory| _ = fs::remove_dir_all(directory));
}

#[test]
fn a_database_of_records_that_is_away_is_a_warning_without_its_password() {
    let _company = in_company();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a free port");
    let (gemini, database) =
        (format!("ws://{closed}"), format!("postgres://tandem:{PASSWORD_OF_RECORDS}@{closed}/calls"));
    let environment = [
        ("FREESWITCH_AUDIO_SOCKET_PORT", "1"),
        ("GEMINI_BASE_URL", gemini.as_str()),
        ("DATABASE_URL", database.as_str()),
        ("TANDEM_STORE_URL", ""),
    ];
    let output = command(&["doctor", "--json", "--no-call"], &environment).output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let records = findings.iter().find(|finding| finding["check"] == "records").expect("looked at");
    assert_eq!(records["status"], "warning", "{records}");
    assert!(records["remedy"].as_str().is_some_and(|remedy| remedy.contains("DATABASE_URL")), "{records}");
    assert!(!text.contains(PASSWORD_OF_RECORDS), "a password is in {text}");
}

#[test]
fn what_the_doctor_deems_worth_a_look_is_said_with_a_remedy_that_works() {
    let _company = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let port = relay.address().port();
    let url = format!("ws://127.0.0.1:{port}/");
    let disk = env!("CARGO_TARGET_TMPDIR");
    for (question, answer, found, remedies) in [
        // The example dialplan of FreeSWITCH asks for this password, and sleeps.
        (
            "global_getvar default_password",
            "1234",
            "default password: default_password is 1234",
            &["vars.xml", "reloadxml"][..],
        ),
        // No file of the configuration sets it.
        ("global_getvar temp_dir", disk, "temp_dir: ", &["tmpfs", "freeswitch -temp"][..]),
        ("global_getvar local_ip_v4", "127.0.0.1", "RTP: ", &["vars.xml", "sofia profile"][..]),
    ] {
        let setup = Setup {
            sets: Vec::new(),
            gemini: model.url(),
            key: KEY,
            port,
            event_socket: with(answers(&url), question, answer),
            freeswitch: freeswitch("look", &url),
            call: false,
        };
        let (healthy, warnings) = examine_for("warning", &setup);
        assert!(healthy, "{question}: {warnings:#?}");
        if question.ends_with("temp_dir") && warnings.is_empty() {
            continue; // The machine's build directory is in memory.
        }
        let named = warnings.iter().find(|warning| warning.starts_with(found));
        let named = named.unwrap_or_else(|| panic!("{question}: {warnings:#?}"));
        assert!(remedies.iter().all(|remedy| named.contains(remedy)), "{named}");
        assert!(!named.contains("switch.conf.xml"), "{named}");
        _ = fs::remove_dir_all(&setup.freeswitch);
    }
}
