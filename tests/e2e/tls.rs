//! TLS of our own servers: which versions and ciphers they speak, and a port that demands it.
//!
//! Runs in: the tests' threads. Owns nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};
use rustix::process::Signal;

use crate::harness::model::speaking;
use crate::harness::process::command;
use crate::harness::{Files, Model, PATIENCE, Relay, in_company};
use tandem_loadtest::sim::Voice;

/// A switch or browser that speaks these versions, and of TLS 1.2 these ciphers.
fn shake_hands(
    address: SocketAddr,
    files: &Files,
    (least, most): (SslVersion, SslVersion),
    ciphers: &str,
) -> Result<SslStream<TcpStream>, String> {
    let told = |error: openssl::error::ErrorStack| error.to_string();
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(told)?;
    builder.set_min_proto_version(Some(least)).map_err(told)?;
    builder.set_max_proto_version(Some(most)).map_err(told)?;
    builder.set_cipher_list(ciphers).map_err(told)?;
    builder.set_ca_file(&files.certificate).map_err(told)?;
    let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    builder.build().connect("localhost", socket).map_err(|error| error.to_string())
}

/// A relay whose two servers have a certificate, and where they are.
fn encrypted(model: &Model, files: &Files, sets: &[&str]) -> (Relay, SocketAddr) {
    let mut all = Vec::new();
    for section in ["listen", "admin"] {
        all.push(format!("{section}.tls_certificate={}", files.certificate.display()));
        all.push(format!("{section}.tls_key={}", files.key.display()));
    }
    let all: Vec<&str> = all.iter().map(String::as_str).chain(sets.iter().copied()).collect();
    let relay = Relay::start(model, &all);
    let line = relay.line(&["admin server: https://"]);
    let admin = line.rsplit("https://").next().and_then(|address| address.trim().parse().ok());
    let admin = admin.unwrap_or_else(|| panic!("no address in {line:?}"));
    (relay, admin)
}

#[test]
fn our_servers_speak_tls_1_3_and_1_2_with_authenticated_encryption_only() {
    let _turn = in_company();
    let files = Files::write("versions");
    let model = Model::start(speaking(Voice::Echo));
    let (relay, admin) = encrypted(&model, &files, &[]);
    for address in [relay.address(), admin] {
        let newest =
            shake_hands(address, &files, (SslVersion::TLS1_2, SslVersion::TLS1_3), "HIGH").expect("TLS 1.3");
        assert_eq!(newest.ssl().version_str(), "TLSv1.3");
        let only = |version| (version, version);
        let older = shake_hands(address, &files, only(SslVersion::TLS1_2), "ECDHE+AESGCM").expect("TLS 1.2");
        assert_eq!(older.ssl().version_str(), "TLSv1.2");
        for (what, versions, ciphers) in [
            (
                "CBC",
                only(SslVersion::TLS1_2),
                "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256",
            ),
            (
                "no forward secrecy",
                only(SslVersion::TLS1_2),
                "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA",
            ),
            ("TLS 1.1", only(SslVersion::TLS1_1), "ALL:@SECLEVEL=0"),
            ("TLS 1.0", only(SslVersion::TLS1), "ALL:@SECLEVEL=0"),
        ] {
            assert!(shake_hands(address, &files, versions, ciphers).is_err(), "{what} at {address}");
        }
    }
}

/// What the relay answers to these bytes in clear, until it ends the connection.
fn told_in_clear(relay: &Relay, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(relay.address()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    socket.write_all(bytes).expect("it takes them");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("it ends the connection");
    answer
}

#[test]
fn a_port_that_demands_tls_refuses_whatever_comes_in_clear() {
    let _turn = in_company();
    let files = Files::write("demanded");
    let model = Model::start(speaking(Voice::Echo));
    let (relay, _) = encrypted(&model, &files, &["listen.tls_required=true"]);
    let upgrade = "GET /?uuid=clear HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = String::from_utf8(told_in_clear(&relay, upgrade.as_bytes())).expect("text");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("tls_required: "), "{answer}");
    assert!(answer.contains("wss://"), "{answer}");
    relay.line(&["tls_required", "wss://"]);
    // AudioSocket: its UUID, to which the answer is the frame that hangs up.
    let uuid = [&[0x01, 0x00, 0x10][..], &[7; 16]].concat();
    assert_eq!(told_in_clear(&relay, &uuid), [0, 0, 0]);
    relay.nth_line(&["refused", "tls_required"], 2);

    let versions = (SslVersion::TLS1_3, SslVersion::TLS1_3);
    let stream = shake_hands(relay.address(), &files, versions, "HIGH").expect("TLS");
    let url = format!("ws://{}/?uuid=encrypted", relay.address());
    let (mut socket, _) = tungstenite::client(url, stream).expect("an upgrade inside TLS");
    socket.close(None).expect("it takes a close");
    while socket.read().is_ok() {}
    relay.end_of("uuid=encrypted");
}

#[test]
fn the_command_line_speaks_tls_to_a_relay_that_does_and_to_no_other() {
    let _turn = in_company();
    let (files, others) = (Files::write("own"), Files::write("anothers"));
    let model = Model::start(speaking(Voice::Echo));
    let (relay, admin) =
        encrypted(&model, &files, &["listen.tls_required=true", "admin.token=a-token-of-some-length"]);
    let (admin, port) = (admin.to_string(), relay.address().port().to_string());
    let asked = |arguments: &[&str], files: &Files| {
        let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
        let environment = [
            ("TANDEM_ADMIN_LISTEN", admin.as_str()),
            ("TANDEM_ADMIN_TOKEN", "a-token-of-some-length"),
            ("TANDEM_ADMIN_TLS_CERTIFICATE", &certificate),
            ("TANDEM_ADMIN_TLS_KEY", &key),
            ("TANDEM_LISTEN_TLS_CERTIFICATE", &certificate),
            ("TANDEM_LISTEN_TLS_KEY", &key),
            ("TANDEM_LISTEN_TLS_REQUIRED", "true"),
            ("AUDIO_SOCKET_HOST", "127.0.0.1"),
            ("FREESWITCH_AUDIO_SOCKET_PORT", &port),
            ("GEMINI_BASE_URL", "ws://127.0.0.1:9"),
        ];
        let output = command(arguments, &environment).output().expect("it runs");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    // The relay has no switch that could call: that it says so proves that it was asked.
    let told = asked(&["call", "--to", "100"], &files);
    assert!(told.contains("outbound calls are off"), "{told}");
    let told = asked(&["call", "--to", "100"], &others);
    assert!(told.contains("another certificate"), "{told}");
    let told = asked(&["doctor"], &files);
    assert!(told.contains("the relay answers on 127.0.0.1:") && told.contains("let in after"), "{told}");
}

/// The certificate that the server at `address` shows.
fn shown(address: SocketAddr) -> Vec<u8> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL");
    builder.set_verify(openssl::ssl::SslVerifyMode::NONE);
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let stream = builder.build().connect("localhost", socket).expect("TLS");
    stream.ssl().peer_certificate().expect("a certificate").to_pem().expect("PEM")
}

#[test]
fn certificates_are_read_anew_on_sighup_and_a_broken_one_changes_nothing() {
    let _turn = in_company();
    let (files, renewed) = (Files::write("replaced"), Files::write("renewed"));
    let model = Model::start(speaking(Voice::Echo));
    let (relay, admin) = encrypted(&model, &files, &[]);
    for address in [relay.address(), admin] {
        assert_eq!(shown(address), files.pem.certificate);
    }
    std::fs::write(&files.certificate, &renewed.pem.certificate).expect("a writable file");
    std::fs::write(&files.key, &renewed.pem.key).expect("a writable file");
    relay.signal(Signal::HUP);
    for section in ["listen", "admin"] {
        relay.line(&["a certificate was read anew: ", section, " is valid until "]);
    }
    for address in [relay.address(), admin] {
        assert_eq!(shown(address), renewed.pem.certificate);
    }

    std::fs::write(&files.key, &files.pem.key).expect("a writable file");
    relay.signal(Signal::HUP);
    for section in ["listen.tls_certificate", "admin.tls_certificate"] {
        relay.line(&["is refused, the old one stays", section, "do not make an identity"]);
    }
    relay.nth_line(&["the configuration was read anew: "], 2);
    for address in [relay.address(), admin] {
        assert_eq!(shown(address), renewed.pem.certificate, "the last one that was good");
    }
}
