//! One outsider against all others: whatever one address does at a door of the relay, the others are served.
//!
//! Runs in: the test's threads and a relay, on 127.0.0.1; the outsider is 127.0.0.2.
//! Invariant: nothing is measured but who was served before whom, and with what answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tandem_loadtest::sim::Voice;
use tungstenite::Message;

use crate::harness::admin::{address, ask};
use crate::harness::model::speaking;
use crate::harness::{Leg, Model, PATIENCE, Relay, alone, certificate, in_company};

/// Where the outsider is.
const OUTSIDER: u8 = 2;

/// A connection from 127.0.0.`from`.
fn connect(to: SocketAddr, from: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into()).expect("a loopback address");
    socket.connect_timeout(&to.into(), PATIENCE).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream
}

/// Asks over a connection of its own, and gives the head of the answer as soon as it is complete, with the connection.
fn asked(to: SocketAddr, from: u8, target: &str) -> (String, TcpStream) {
    let mut socket = connect(to, from);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it takes a request");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("{target}: {other:?} behind {:?}", String::from_utf8_lossy(&head)),
        }
    }
    (String::from_utf8_lossy(&head).into_owned(), socket)
}

/// The status of the answer.
fn status(to: SocketAddr, from: u8, target: &str) -> u16 {
    let (head, _) = asked(to, from, target);
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"))
}

/// Looks until something is there.
fn until(what: &str, mut look: impl FnMut() -> Option<()>) {
    let deadline = Instant::now() + PATIENCE;
    while look().is_none() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What was counted under this name.
fn counted(relay: &Relay, name: &str) -> u64 {
    let (_, metrics) = ask(relay, "GET /metrics", "");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
}

#[test]
fn silent_connections_displace_their_own_and_not_the_handshakes_of_others() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["listen.max_handshakes=16", "listen.handshake_timeout_ms=30000"]);
    let mut slow: Vec<_> = (0..4).map(|_| connect(relay.address(), 1)).collect();
    for socket in &mut slow {
        socket.write_all(b"GET /?uuid=slow HTTP/1.1\r\nHost: a\r\n").expect("it takes bytes");
    }
    let silent: Vec<_> = (0..64).map(|_| connect(relay.address(), OUTSIDER)).collect();
    let evicted = "tandem_refusals_total{reason=\"handshakes\"}";
    until("the silent ones have displaced each other", || {
        (counted(&relay, evicted) >= 64 + 4 - 16).then_some(())
    });
    let rest = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    slow[0].write_all(rest.as_bytes()).expect("it takes bytes");
    let mut answer = [0; 12];
    slow[0].read_exact(&mut answer).expect("its handshake is still there");
    assert_eq!(&answer, b"HTTP/1.1 101");
    // Nobody has to begin early to be served.
    assert_eq!(Leg::call(&relay, "/?uuid=late").hang_up().0, 1000);
    drop((slow, silent));
}

#[test]
fn tls_handshakes_of_one_address_are_bounded_and_others_are_served_meanwhile() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let pem = certificate();
    let directory = std::env::temp_dir().join(format!("tandem-doors-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let write = |name: &str, text: &[u8]| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let certificate =
        format!("listen.tls_certificate={}", write("certificate.pem", &pem.certificate).display());
    let key = format!("listen.tls_key={}", write("key.pem", &pem.key).display());
    let rates = ["listen.max_calls_per_second_per_address=1", "listen.max_calls_burst_per_address=10"];
    let relay = Relay::start(&model, &[&certificate, &key, rates[0], rates[1]]);
    let root = native_tls::Certificate::from_pem(&pem.certificate).expect("PEM");
    let connector = native_tls::TlsConnector::builder().add_root_certificate(root).build().expect("TLS");

    // Handshakes that are begun and left alone, and others that are completed.
    let half: Vec<_> = (0..10)
        .map(|_| {
            let mut socket = connect(relay.address(), OUTSIDER);
            socket.write_all(&[0x16, 3, 1]).expect("it takes bytes");
            socket
        })
        .collect();
    let began = Instant::now();
    let attempts = 40;
    let complete = (0..attempts)
        .filter(|_| connector.connect("localhost", connect(relay.address(), OUTSIDER)).is_ok())
        .count();
    // Twenty at once and two a second, of which ten are half done.
    let allowed = 10 + 2 * (began.elapsed().as_secs() as usize + 1);
    assert!((1..=allowed).contains(&complete), "{complete} of {attempts} while {allowed} are allowed");
    assert!(counted(&relay, "tandem_refusals_total{reason=\"rate\"}") >= (attempts - allowed) as u64);

    let stream =
        connector.connect("localhost", connect(relay.address(), 1)).expect("another address is let in");
    let url = format!("ws://{}/?uuid=encrypted", relay.address());
    let (mut socket, _) = tungstenite::client(url, stream).expect("an upgrade inside TLS");
    socket.send(Message::binary(vec![7_u8; 640])).expect("it takes audio");
    socket.close(None).expect("it takes a close");
    while socket.read().is_ok() {}
    assert!(relay.end_of("uuid=encrypted").contains("ended by caller"));
    assert_eq!(Leg::call(&relay, "/?uuid=plain").hang_up().0, 1000);
    drop(half);
    _ = std::fs::remove_dir_all(directory);
}

#[test]
fn admit_and_healthz_are_answered_whoever_else_is_connected_to_the_admin_server() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &[]);
    let admin = address(&relay);
    // From the dialplan's own address: it is not told apart by where it comes from alone.
    for from in [1, OUTSIDER] {
        let began = Instant::now();
        let silent: Vec<_> = (0..380).map(|_| connect(admin, from)).collect();
        let half: Vec<_> = (0..100)
            .map(|_| {
                let mut socket = connect(admin, from);
                socket
                    .write_all(b"GET /api/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
                    .expect("it takes bytes");
                socket
            })
            .collect();
        for target in ["/admit?did=100", "/healthz", "/readyz"] {
            assert_eq!(status(admin, 1, target), 200, "{target} beside {from}");
        }
        // None of them has been given up for its silence yet, which takes five seconds.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop((silent, half));
    }
    // Streams that go on for ever keep their places, and are of a limited number.
    let mut streams = Vec::new();
    let refused = loop {
        let (head, stream) = asked(admin, OUTSIDER, "/api/events");
        if !head.contains(" 200 ") {
            break head;
        }
        streams.push(stream);
        assert!(streams.len() < 100, "one address has all");
    };
    assert!(refused.contains(" 503 "), "{refused}");
    assert_eq!(
        (streams.len(), status(admin, 1, "/api/events"), status(admin, OUTSIDER, "/admit")),
        (32, 200, 200)
    );
    drop(streams);
}

#[test]
fn a_search_ends_with_its_time_and_keeps_nobody_else_from_reading() {
    // It takes a core for as long as it may.
    let _turn = alone();
    let model = Model::start(speaking(Voice::Echo));
    let directory = std::env::temp_dir().join(format!("tandem-search-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let url = format!("sqlite:{}", directory.join("calls.db").display());
    let relay = Relay::start_at(&model.url(), &[], &[("TANDEM_STORE_URL", &url)]);
    assert_eq!(Leg::call(&relay, "/?uuid=kept").hang_up().0, 1000);
    let admin = address(&relay);
    until("the record is kept", || {
        (status(admin, 1, "/api/calls/kept") == 200
            && ask(&relay, "GET /api/calls/kept", "").1.contains("\"live\":false"))
        .then_some(())
    });
    let database = rusqlite::Connection::open(directory.join("calls.db")).expect("the database");
    let columns: Vec<String> = {
        let mut statement = database.prepare("SELECT name FROM pragma_table_info('calls')").expect("SQL");
        let names = statement.query_map([], |row| row.get(0)).expect("rows");
        names.collect::<Result<_, _>>().expect("names")
    };
    let copied: Vec<&str> = columns
        .iter()
        .map(|name| match name.as_str() {
            "id" => "printf('00000000-0000-7000-8000-%012d', n)",
            "uuid" => "'copy-' || n",
            "search" => "replace(hex(zeroblob(100000)), '0', 'a')",
            other => other,
        })
        .collect();
    let rows = 200;
    database
        .execute_batch(&format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows}) \
             INSERT INTO calls ({}) SELECT {} FROM calls, numbers WHERE uuid = 'kept'",
            columns.join(", "),
            copied.join(", ")
        ))
        .expect("rows");

    let hard = format!("/api/calls?q={}b", "a".repeat(100));
    let (answer, while_it_ran) = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..3).map(|_| scope.spawn(|| status(admin, OUTSIDER, &hard))).collect();
        let read = ["/api/calls?limit=2", "/api/calls/kept", "/api/calls?did=1"].map(|target| {
            let read = status(admin, 1, target);
            (read, searches.iter().any(|search| search.is_finished()))
        });
        (searches.into_iter().map(|search| search.join().expect("an answer")).collect::<Vec<_>>(), read)
    });
    assert_eq!(while_it_ran, [(200, false); 3], "answers, and whether a search was over before them");
    assert!(answer.iter().all(|status| *status == 503), "{answer:?}");
    // Its place is free again once its work has ended, and not before.
    let (found, body) = ask(&relay, "GET /api/calls?q=kept", "");
    let calls: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((found, calls["calls"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(status(admin, OUTSIDER, "/api/calls?q=kept"), 200);
    assert_eq!(status(admin, 1, &format!("/api/calls?q={}", "a".repeat(6_000))), 422);
    assert_eq!(status(admin, 1, &format!("/api/calls?did={}", "1".repeat(129))), 422);
    drop(relay);
    _ = std::fs::remove_dir_all(directory);
}
