//! The PROXY protocol: whom a proxy names is who calls, and nobody else is believed.
//!
//! Runs in: the tests' threads beside relay and simulator, and a real HAProxy. Invariant: what the relay makes of a header is
//! read where an operator sees it: in the answer, in the log, in the record.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use openssl::ssl::{SslConnector, SslMethod};
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::{Files, Haproxy, Leg, Model, PATIENCE, Relay, in_company};

const TRUSTED: &str = "listen.proxy_from=127.0.0.1";
const ALLOWED: &str = "listen.allow=203.0.113.0/24";
const FIRST: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 9094\r\n";

/// A header of version 2 that names 203.0.113.7:4711.
fn second() -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0x23, 0x86];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses].concat()
}

fn upgrade(uuid: &str) -> Vec<u8> {
    format!(
        "GET /?uuid={uuid} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

fn connect(relay: &Relay) -> TcpStream {
    let socket = TcpStream::connect(relay.address()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    socket.set_nodelay(true).expect("a TCP socket");
    socket
}

/// The first line of the answer.
fn status(mut stream: impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte).expect("an answer") == 0 {
            break;
        }
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text").trim_end().to_owned()
}

/// What is answered to these bytes, until the relay ends the connection.
fn refused(relay: &Relay, bytes: &[u8]) -> String {
    let mut socket = connect(relay);
    socket.write_all(bytes).expect("it takes them");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The bytes that come before the end, which is a reset where the relay has not read all.
fn silence_until_the_end(mut socket: TcpStream) -> usize {
    match socket.read(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
        read => read.expect("an end"),
    }
}

#[test]
fn whom_a_proxy_names_is_who_calls_in_both_versions_whole_or_in_pieces() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[TRUSTED, ALLOWED]);
    for (uuid, header) in [("first", FIRST.to_vec()), ("second", second())] {
        let mut socket = connect(&relay);
        socket.write_all(&[header.clone(), upgrade(uuid)].concat()).expect("it takes them");
        assert_eq!(status(&socket), "HTTP/1.1 101 Switching Protocols");
        relay.line(&["offered from 203.0.113.7:4711", uuid]);
        drop(socket);
        let mut socket = connect(&relay);
        let uuid = format!("pieces-of-{uuid}");
        for byte in [header, upgrade(&uuid)].concat() {
            socket.write_all(&[byte]).expect("it takes it");
        }
        assert_eq!(status(&socket), "HTTP/1.1 101 Switching Protocols");
        relay.line(&["offered from 203.0.113.7:4711", &uuid]);
    }
}

#[test]
fn allow_lists_and_refusals_are_of_whom_the_proxy_names() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[TRUSTED, ALLOWED]);
    let stranger = b"PROXY TCP4 198.51.100.1 10.0.0.1 4711 9094\r\n";
    let answer = refused(&relay, &[stranger, &upgrade("stranger")[..]].concat());
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    relay.line(&["refused 198.51.100.1:4711 (address)"]);
    // A proxy that speaks for itself is itself, which is not allowed here.
    let answer = refused(&relay, &[b"PROXY UNKNOWN\r\n", &upgrade("itself")[..]].concat());
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    relay.line(&["refused 127.0.0.1:", "(address)"]);
}

#[test]
fn what_is_no_header_is_refused_with_what_to_do_and_half_of_one_has_its_time() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[TRUSTED, ALLOWED, "listen.handshake_timeout_ms=300"]);
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 4096]].concat();
    for bytes in [upgrade("bare"), b"PROXY TCP4 x y 1 2\r\n".to_vec(), long] {
        let answer = refused(&relay, &bytes);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("send-proxy"), "{answer}");
    }
    // One that says nothing more, and one that goes.
    let mut silent = connect(&relay);
    silent.write_all(&FIRST[..20]).expect("it takes them");
    assert_eq!(silence_until_the_end(silent), 0);
    relay.line(&["refused 127.0.0.1:", "listen.handshake_timeout_ms"]);
    let mut gone = connect(&relay);
    gone.write_all(&second()[..13]).expect("it takes them");
    gone.shutdown(Shutdown::Write).expect("a TCP socket");
    assert_eq!(silence_until_the_end(gone), 0);
    // Twice is once too often.
    let answer = refused(&relay, &[FIRST, &second(), &upgrade("twice")].concat());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("and once"), "{answer}");
}

#[test]
fn nobody_else_is_believed() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["listen.proxy_from=192.0.2.1"]);
    for header in [FIRST.to_vec(), second()] {
        let answer = refused(&relay, &[header, upgrade("liar")].concat());
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("listen.proxy_from"), "{answer}");
    }
    relay.nth_line(&["refused 127.0.0.1:", "a PROXY header where none is expected"], 2);
    assert_eq!(Leg::call(&relay, "/").hang_up().0, 1000);
}

#[test]
fn tls_and_audiosocket_come_behind_the_header() {
    let _turn = in_company();
    let files = Files::write("proxied");
    let model = Model::start(speaking(Voice::Echo));
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let sets = [format!("listen.tls_certificate={certificate}"), format!("listen.tls_key={key}")];
    let relay = Relay::start(&model, &[TRUSTED, ALLOWED, &sets[0], &sets[1]]);
    let mut socket = connect(&relay);
    socket.write_all(&second()).expect("it takes them");
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL");
    builder.set_ca_file(&files.certificate).expect("a certificate");
    let mut stream = builder.build().connect("localhost", socket).expect("TLS");
    stream.write_all(&upgrade("encrypted")).expect("it takes them");
    assert_eq!(status(&mut stream), "HTTP/1.1 101 Switching Protocols");
    relay.line(&["offered from 203.0.113.7:4711", "encrypted"]);

    let mut socket = connect(&relay);
    let uuid = [&[0x01, 0x00, 0x10][..], &[7; 16]].concat();
    socket.write_all(&[FIRST, &uuid].concat()).expect("it takes them");
    relay.line(&["offered from 203.0.113.7:4711", "07070707-0707-0707-0707-070707070707"]);
}

#[test]
fn a_real_haproxy_names_its_clients_in_both_versions() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[TRUSTED, "listen.allow=127.0.0.1"]);
    for option in ["send-proxy", "send-proxy-v2"] {
        let haproxy = Haproxy::in_front_of(&relay, option);
        let socket = TcpStream::connect(haproxy.address).expect("HAProxy listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let own = socket.local_addr().expect("connected");
        (&socket).write_all(&upgrade(option)).expect("it takes them");
        assert_eq!(status(&socket), "HTTP/1.1 101 Switching Protocols");
        // The port is ours, and not that of HAProxy's connection.
        relay.line(&[&format!("offered from {own}"), option]);
    }
}
