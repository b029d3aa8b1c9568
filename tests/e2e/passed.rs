//! Listening sockets that belong to whoever starts the relay: a restart and an upgrade that refuse nobody.
//!
//! Runs in: the tests' threads beside relay and simulator. The test owns the sockets, as systemd does. Invariant: a call is
//! placed without looking at whether a relay runs.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::process::{Process, command_with_socket};
use crate::harness::{KEY, Leg, Model, Relay, in_company, noise};

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// Places calls one after another until told to stop, and counts them; the first that is refused is a failure.
fn stream_of_calls(address: SocketAddr, enough: &AtomicBool) -> usize {
    let mut calls = 0;
    while !enough.load(Ordering::Relaxed) {
        let leg = Leg::try_call(address, "/", &[]);
        let leg = leg.unwrap_or_else(|refusal| panic!("call {calls} was refused: {refusal}"));
        assert_eq!(leg.hang_up().0, 1000);
        calls += 1;
    }
    calls
}

#[test]
fn no_call_of_a_stream_of_calls_is_refused_by_restarts() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let (socket, address) = socket();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..3).map(|_| scope.spawn(|| stream_of_calls(address, &enough))).collect();
        for _ in 0..4 {
            let mut relay = Relay::start_passed(&model, &["drain.seconds=30"], "legs", &socket);
            assert_eq!(relay.address(), address);
            relay.nth_line(&[": ended by "], 5);
            relay.signal(Signal::TERM);
            assert_eq!(relay.ended().code(), Some(0));
            let counters = relay.line(&["counters: "]);
            assert!(!counters.contains("draining"), "refused at the end: {counters}");
        }
        // Calls wait for this one, which tells the streams to end.
        let last = Relay::start_passed(&model, &[], "legs", &socket);
        enough.store(true, Ordering::Relaxed);
        for stream in streams {
            let calls = stream.join().expect("no call of it was refused");
            assert!(calls >= 4, "{calls} calls");
        }
        drop(last);
    });
}

#[test]
fn a_new_relay_beside_the_old_takes_all_calls_and_the_old_one_ends_with_its_last() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let (socket, address) = socket();
    let mut old = Relay::start_passed(&model, &["drain.seconds=600"], "legs", &socket);
    let running = Leg::try_call(address, "/?uuid=running", &[]).expect("a call");
    model.ready(1);
    let new = Relay::start_passed(&model, &[], "legs", &socket);
    old.signal(Signal::TERM);
    old.line(&["shutting down", "1 running call"]);
    for n in 0..20 {
        let uuid = format!("new-{n}");
        let leg = Leg::try_call(address, &format!("/?uuid={uuid}"), &[]).expect("a call");
        assert_eq!(leg.hang_up().0, 1000);
        new.end_of(&format!("uuid={uuid}"));
    }
    // The old call goes on, both ways, and ends when its caller says so.
    let spoken = noise(1, 8_000);
    running.audio(&spoken, 320);
    running.hear(8_000);
    assert!(old.is_running());
    assert_eq!(running.hang_up().0, 1000);
    assert!(old.end_of("uuid=running").contains("ended by caller (hangup)"));
    assert_eq!(old.ended().code(), Some(0));
}

#[test]
fn the_admin_server_is_passed_its_socket_by_name() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let (socket, address) = socket();
    let relay = Relay::start_passed(&model, &[], "admin", &socket);
    relay.line(&["admin server: http://", &address.to_string()]);
    assert_ne!(relay.address(), address);
    assert_eq!(Leg::call(&relay, "/").hang_up().0, 1000);
}

#[test]
fn a_socket_that_nobody_would_serve_is_told_with_what_to_do() {
    let _turn = in_company();
    let (everywhere, _) = (TcpListener::bind("0.0.0.0:0").expect("a free port"), ());
    for (name, words) in [
        ("tandem.socket", &["\"tandem.socket\"", "FileDescriptorName="][..]),
        ("admin", &["reachable from other machines", "admin.token"]),
    ] {
        let environment = [
            ("AUDIO_SOCKET_HOST", "127.0.0.1"),
            ("FREESWITCH_AUDIO_SOCKET_PORT", "0"),
            ("GEMINI_API_KEY", KEY),
        ];
        let mut process = Process::start(command_with_socket(&[], &environment, name, &everywhere));
        assert_eq!(process.ended().code(), Some(1));
        for words in words {
            assert!(process.log().contains(words), "{words:?} is not in {}", process.log());
        }
    }
}
