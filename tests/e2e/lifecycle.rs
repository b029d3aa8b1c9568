//! The process from its start to its end: arguments, refusals to start, signals, drain, limits of a call, TLS, secrets.
//!
//! Runs in: the test's thread beside relay and simulator. Invariant: every end has its exit status and its words.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use tandem_loadtest::sim::{AuthKind, SimConfig, Voice, What};
use tungstenite::Message;

use crate::harness::model::speaking;
use crate::harness::process::{Process, command};
use crate::harness::{Files, KEY, Leg, Model, PATIENCE, Relay, Told, in_company, noise};

#[test]
fn after_sigterm_running_calls_finish_new_ones_get_503_and_the_status_is_0() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &["drain.seconds=600"]);
    let leg = Leg::call(&relay, "/?uuid=running");
    model.ready(1);
    relay.signal(Signal::TERM);
    relay.line(&["shutting down", "1 running call"]);
    let refusal = Leg::try_call(relay.address(), "/", &[]).err().expect("a new call is refused");
    for words in ["HTTP 503", "draining", "the relay is shutting down", "Retry-After"] {
        assert!(refusal.contains(words), "{words:?} is not in {refusal}");
    }
    // The running call goes on, both ways.
    let spoken = noise(1, 8_000);
    leg.audio(&spoken, 320);
    model.heard(1, spoken.len());
    leg.hear(8_000);
    assert!(relay.is_running());
    assert_eq!(leg.hang_up().0, 1000);
    let end = relay.end_of("uuid=running");
    assert!(end.contains("ended by caller (hangup)"), "{end}");
    assert_eq!(relay.ended().code(), Some(0));
    let counters = relay.line(&["counters: "]);
    assert!(counters.contains(r#"draining"#), "{counters}");
}

#[test]
fn calls_that_outlast_the_drain_are_ended() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &["drain.seconds=1"]);
    let leg = Leg::call(&relay, "/?uuid=outlasting");
    model.ready(1);
    relay.signal(Signal::TERM);
    assert_eq!(leg.closed(), (1000, "shutdown".to_owned()));
    assert!(relay.end_of("uuid=outlasting").contains("ended by us (shutdown)"));
    assert_eq!(relay.ended().code(), Some(0));
    model.audio(1);
}

#[test]
fn without_calls_a_relay_ends_at_once() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    for signal in [Signal::TERM, Signal::INT] {
        let mut relay = Relay::start(&model, &["drain.seconds=600"]);
        relay.signal(signal);
        assert_eq!(relay.ended().code(), Some(0));
    }
}

#[test]
fn a_second_sigint_ends_it_at_once() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &["drain.seconds=600"]);
    let leg = Leg::call(&relay, "/");
    model.ready(1);
    relay.signal(Signal::INT);
    relay.line(&["shutting down"]);
    leg.ping(b"still there");
    leg.until("the answer to a ping", |told| {
        told.iter().any(|(_, told)| matches!(told, Told::Pong(_))).then_some(())
    });
    relay.signal(Signal::INT);
    assert_eq!(relay.ended().code(), Some(130));
    leg.until("the end", |told| told.iter().any(|(_, told)| *told == Told::End).then_some(()));
}

#[test]
fn sigusr1_logs_the_counters_and_nothing_else_happens() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &[]);
    let leg = Leg::call(&relay, "/?uuid=counted");
    model.ready(1);
    relay.signal(Signal::USR1);
    let counters = relay.line(&["counters: "]);
    let json = counters.split_once("counters: ").expect("found by it").1;
    let counters: serde_json::Value = serde_json::from_str(json).expect("JSON for scripts");
    assert_eq!(counters["tandem_calls_total"], 1, "{counters:#}");
    assert_eq!(counters["tandem_active_calls"], 1, "{counters:#}");
    assert!(relay.is_running());
    assert_eq!(leg.hang_up().0, 1000);
}

#[test]
fn version_and_check_print_and_end() {
    let _turn = in_company();
    let output = command(&["--version"], &[]).output().expect("it runs");
    assert!(output.status.success());
    let version = concat!("tandem ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);

    let environment = [("GEMINI_API_KEY", KEY), ("AUDIO_SOCKET_HOST", "127.0.0.1")];
    let output = command(&["--check", "--set", "leg.rate=8000"], &environment).output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    for words in ["leg.rate", "8000", "--set", "AUDIO_SOCKET_HOST", "gemini.api_key", "(set)", "default"] {
        assert!(printed.contains(words), "{words:?} is not in:\n{printed}");
    }
    assert!(!printed.contains(KEY), "the key is printed");
}

#[test]
fn what_cannot_work_is_told_with_status_2() {
    let _turn = in_company();
    for (arguments, words) in [
        (&["--set", "leg.rate=11025"][..], &["leg.rate", "11025", "8000, 16000"][..]),
        (&["--set", "leg.rat=8000"], &["leg.rat", "leg.rate"]),
        (&["--config", "no-such.toml"], &["no-such.toml"]),
        (&["--prot"], &["--prot", "--help"]),
    ] {
        let output = command(arguments, &[]).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        for words in words {
            assert!(errors.contains(words), "{arguments:?}: {words:?} is not in: {errors}");
        }
    }
}

#[test]
fn a_taken_port_and_a_missing_key_are_told_with_their_remedy() {
    let _turn = in_company();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let environment = [
        ("AUDIO_SOCKET_HOST", "127.0.0.1"),
        ("FREESWITCH_AUDIO_SOCKET_PORT", port.as_str()),
        ("GEMINI_API_KEY", KEY),
    ];
    let mut process = Process::start(command(&[], &environment));
    assert_eq!(process.ended().code(), Some(1));
    let address = format!("127.0.0.1:{port}");
    process.line(&["ERROR", "cannot listen on", &address, "ss -ltnp", "FREESWITCH_AUDIO_SOCKET_PORT"]);

    let environment = [("AUDIO_SOCKET_HOST", "127.0.0.1"), ("FREESWITCH_AUDIO_SOCKET_PORT", "0")];
    let mut process = Process::start(command(&[], &environment));
    assert_eq!(process.ended().code(), Some(2), "systemd need not try again");
    process.line(&["no key for Gemini: set GEMINI_API_KEY", "make play"]);
}

#[test]
fn the_log_is_in_the_time_zone_of_tz() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start_at(&model.url(), &[], &[("TZ", "Asia/Kolkata")]);
    let line = relay.line(&["FreeSWITCH mod_audio_stream WebSocket server: ws://127.0.0.1:"]);
    assert!(line.split(' ').next().is_some_and(|time| time.ends_with("+05:30")), "{line}");
}

#[test]
fn the_longest_call_is_ended_in_order() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["leg.max_call_seconds=1"]);
    let leg = Leg::call(&relay, "/?uuid=long");
    assert_eq!(leg.closed(), (1000, "max_call".to_owned()));
    assert!(relay.end_of("uuid=long").contains("ended by us (max_call)"));
}

#[test]
fn a_leg_that_goes_silent_is_pinged_and_then_ended_and_one_that_answers_is_not() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["leg.silent_after_ms=1000", "leg.detached_ms=0"]);
    let silent = Leg::call(&relay, "/?uuid=silent");
    silent.mute();
    // Sends no audio either, but answers pings, as a switch does that waits for something to be played.
    let quiet = Leg::call(&relay, "/?uuid=quiet");
    let end = relay.end_of("uuid=silent");
    assert!(end.contains("ended by network (leg_silent)"), "{end}");
    silent.until("a ping and the end", |told| {
        let pinged = told.iter().any(|(_, told)| matches!(told, Told::Ping(_)));
        (pinged && told.last().is_some_and(|(_, told)| *told == Told::End)).then_some(())
    });
    quiet.until("three pings", |told| {
        (told.iter().filter(|(_, told)| matches!(told, Told::Ping(_))).count() >= 3).then_some(())
    });
    assert_eq!(quiet.hang_up().0, 1000);
    assert!(relay.end_of("uuid=quiet").contains("(hangup)"));
}

#[test]
fn tls_and_plain_connections_come_to_the_same_port() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let files = Files::write("door");
    let certificate = format!("listen.tls_certificate={}", files.certificate.display());
    let key = format!("listen.tls_key={}", files.key.display());
    let relay = Relay::start(&model, &[&certificate, &key]);

    let plain = Leg::call(&relay, "/?uuid=plain");
    let root = native_tls::Certificate::from_pem(&files.pem.certificate).expect("PEM");
    let connector = native_tls::TlsConnector::builder().add_root_certificate(root).build().expect("TLS");
    let stream = TcpStream::connect(relay.address()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let stream = connector.connect("localhost", stream).expect("a TLS handshake");
    let url = format!("ws://{}/?uuid=encrypted&rate=24000", relay.address());
    let (mut socket, _) = tungstenite::client(url, stream).expect("an upgrade inside TLS");
    let spoken = noise(2, 480 * 50);
    for frame in spoken.chunks(480) {
        let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        socket.send(Message::binary(bytes)).expect("it takes audio");
    }
    let mut heard = 0;
    while heard < 24_000 {
        if let Message::Binary(bytes) = socket.read().expect("the echo comes back") {
            heard += bytes.len() / 2;
        }
    }
    socket.close(None).expect("it takes a close");
    while socket.read().is_ok() {}
    assert!(relay.end_of("uuid=encrypted").contains("ended by caller"));
    assert_eq!(plain.hang_up().0, 1000);
}

#[test]
fn a_model_behind_tls_is_believed_only_with_its_authority() {
    let _turn = in_company();
    let files = Files::write("model");
    let model = Model::start(SimConfig { tls: Some(files.pem.clone()), ..speaking(Voice::Echo) });
    assert!(model.url().starts_with("wss://"));
    let trusting = Relay::start(&model, &[&format!("gemini.ca_file={}", files.certificate.display())]);
    let leg = Leg::call(&trusting, "/?uuid=trusting");
    let spoken = noise(3, 8_000);
    leg.audio(&spoken, 320);
    leg.hear(8_000);
    assert_eq!(leg.hang_up().0, 1000);

    let wary = Relay::start(&model, &["session.give_up_seconds=0"]);
    let leg = Leg::call(&wary, "/?uuid=wary");
    assert_eq!(leg.closed().0, 1008);
    let end = wary.end_of("uuid=wary");
    assert!(end.contains("TLS") && end.contains("certificate verify failed"), "{end}");
}

#[test]
fn neither_key_nor_token_is_ever_in_the_log_or_in_a_url() {
    const TOKEN: &str = "a-token-of-some-length-4711";
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let trace = [("RUST_LOG", "trace"), ("TANDEM_TOKEN", TOKEN)];
    let mut relay = Relay::start_at(&model.url(), &["agent.greeting=Hello."], &trace);
    let refusal = Leg::try_call(relay.address(), "/?token=not-the-right-one-at-all", &[]).err();
    assert!(refusal.is_some_and(|refusal| refusal.contains("HTTP 401")));
    let leg = Leg::call(&relay, &format!("/?token={TOKEN}&uuid=secretive"));
    let bearer = format!("Bearer {TOKEN}");
    let other = Leg::call_with(&relay, "/?uuid=discreet", &[("Authorization", &bearer)]);
    leg.text(r#"{"uuid":"secretive","caller":"1001"}"#);
    leg.hear(8_000);
    leg.audio(&noise(4, 3_200), 320);
    model.heard(1, 3_200);
    let (path, auth) = model.event(1, "the upgrade", |what| match what {
        What::Upgraded { path, auth } => Some((path.clone(), *auth)),
        _ => None,
    });
    assert_eq!(auth, AuthKind::KeyHeader);
    assert!(!path.contains('?'), "the key belongs into a header, and nothing else into the URL: {path}");
    assert_eq!((leg.hang_up().0, other.hang_up().0), (1000, 1000));
    relay.end_of("uuid=secretive");
    relay.end_of("uuid=discreet");
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().code(), Some(0));
    let log = relay.log();
    assert!(log.contains(" TRACE "), "the log is at its most talkative");
    for secret in [KEY, TOKEN, "not-the-right-one-at-all"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
    }
}

#[test]
fn an_address_that_is_not_allowed_is_told_so() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["listen.allow=10.0.0.0/8"]);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, relay.address().port()));
    let refusal = Leg::try_call(loopback, "/", &[]).err().expect("a stranger is refused");
    assert!(refusal.contains("HTTP 403") && refusal.contains("listen.allow"), "{refusal}");
}
