//! Tools end to end: the model calls one, a server behind TLS is asked, the model is answered and speaks on.
//!
//! Runs in: the test's threads beside relay and simulator; the server is one of them.
//! Invariant: what the caller said, what the server answered and its secret stand in no line of the log above debug.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use native_tls::{Identity, TlsAcceptor};
use tandem_loadtest::sim::{SimConfig, TlsPem, Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, PATIENCE, Relay, certificate, in_company};

const SECRET: &str = "never-print-this-secret";

/// A server that answers one request with this JSON and gives what it was asked, and its URL.
fn server(pem: &TlsPem, answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("https://localhost:{}/free", listener.local_addr().expect("bound").port());
    let identity = Identity::from_pkcs8(&pem.certificate, &pem.key).expect("an identity");
    let acceptor = TlsAcceptor::new(identity).expect("the system's TLS");
    let asked = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the relay comes");
        let mut socket = acceptor.accept(socket).expect("a handshake");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", answer.len());
        write!(socket, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n{answer}").expect("an answer");
        String::from_utf8(request).expect("ASCII")
    });
    (url, asked)
}

#[test]
fn the_model_asks_a_server_is_answered_and_tells_the_caller() {
    let _turn = in_company();
    let fault = r#"tool:lookup:{"day":"Whitmonday & later"}@turn1"#.parse().expect("a fault");
    let model = Model::start(SimConfig { faults: vec![fault], ..speaking(Voice::Parrot) });
    let pem = certificate();
    let roots = std::env::temp_dir().join(format!("tandem-tools-{}.pem", std::process::id()));
    std::fs::write(&roots, &pem.certificate).expect("a temporary file");
    let (url, asked) = server(&pem, r#"{"free":["quarter past nine"]}"#);
    let sets = [
        format!("gemini.ca_file={}", roots.display()),
        format!("tools.lookup.url={url}"),
        "tools.lookup.method=GET".into(),
        "tools.lookup.description=Says when there is time.".into(),
        r#"tools.lookup.parameters={"type":"object","properties":{"day":{"type":"string"}}}"#.into(),
        "tools.lookup.header=X-Key".into(),
        "tools.lookup.header_env=LOOKUP_KEY".into(),
        "agent.tools=lookup".into(),
        "agent.greeting=Greet the caller.".into(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    // Everything is logged, by the HTTP client too.
    let relay = Relay::start_at(&model.url(), &sets, &[("LOOKUP_KEY", SECRET), ("RUST_LOG", "trace")]);
    let leg = Leg::call(&relay, "/?rate=8000&uuid=tool-1&did=100");
    let id = model.event(1, "a tool call", |what| match what {
        What::ToolCall { id, .. } => Some(id.clone()),
        _ => None,
    });
    let answered = model.event(1, "its answer", |what| match what {
        What::ToolResponse { ids } => Some(ids.clone()),
        _ => None,
    });
    assert_eq!(answered, [id]);
    leg.hear(1_600);
    leg.hang_up();
    let end = relay.end_of("uuid=tool-1");
    assert!(end.contains("tools called 1") && !end.contains("tools failed"), "{end}");
    let request = asked.join().expect("the server lives").to_lowercase();
    assert!(request.starts_with("get /free?day=whitmonday+%26+later http/1.1\r\n"), "{request}");
    for header in [&format!("x-key: {SECRET}"), "x-tandem-uuid: tool-1", "x-tandem-did: 100"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    let log = relay.log();
    assert!(!log.contains(SECRET), "the secret is in the log");
    let above_debug = log.lines().filter(|line| !line.contains(" DEBUG ") && !line.contains(" TRACE "));
    let told = above_debug.filter(|line| line.contains("Whitmonday") || line.contains("quarter past"));
    assert_eq!(told.collect::<Vec<_>>(), [""; 0]);
    _ = std::fs::remove_file(&roots);
}

/// A server without TLS that answers every request with its number, once `held` says so, and tells what it was sent.
fn counting() -> (String, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}/book", listener.local_addr().expect("bound"));
    let (let_go, held) = mpsc::channel();
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut reader = BufReader::new(socket.expect("the relay comes"));
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).expect("a request") > 2 {
                let lower = line.to_lowercase();
                length = lower
                    .strip_prefix("content-length: ")
                    .map_or(length, |n| n.trim().parse().expect("a number"));
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            tell.send(String::from_utf8(body).expect("text")).expect("the test lives");
            // The test may be over.
            _ = held.recv();
            let answer = format!(r#"{{"booked":{}}}"#, number + 1);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            _ = reader.into_inner().write_all(answer.as_bytes());
        }
    });
    (url, let_go, asked)
}

#[test]
fn what_a_thinking_model_calls_twice_is_booked_once_and_its_setup_holds_nothing_that_it_refuses() {
    let _turn = in_company();
    let fault = || r#"tool:book:{"day":"2026-12-01"}@turn1"#.parse().expect("a fault");
    let model = Model::start(SimConfig { faults: vec![fault(), fault()], ..speaking(Voice::Parrot) });
    let (url, let_go, asked) = counting();
    let sets = [
        "agent.model=gemini-3.8-live-extended-thinking".into(),
        "agent.thinking_level=low".into(),
        "agent.end_call=true".into(),
        "agent.call_info=true".into(),
        format!("tools.book.url={url}"),
        "tools.book.description=Books a day.".into(),
        "tools.book.scheduling=interrupt".into(),
        r#"tools.book.parameters={"type":"object","properties":{"day":{"type":"string"}}}"#.into(),
        "agent.tools=book".into(),
        "agent.greeting=Greet the caller.".into(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let relay = Relay::start_at(&model.url(), &sets, &[]);
    let leg = Leg::call(&relay, "/?rate=8000&uuid=tool-2&did=100");
    assert_eq!(asked.recv_timeout(PATIENCE).expect("a request"), r#"{"day":"2026-12-01"}"#);
    let two = |what: &str, of: fn(&What) -> Option<String>| {
        model.until(what, |events| {
            let found: Vec<_> = events.iter().filter_map(|event| of(&event.what)).take(2).collect();
            (found.len() == 2).then_some(found)
        })
    };
    let called = two("two calls of tools", |what| match what {
        What::ToolCall { id, .. } => Some(id.clone()),
        _ => None,
    });
    let_go.send(()).expect("the server lives");
    let answered = two("their answers", |what| match what {
        What::ToolResponse { ids } => Some(ids.concat()),
        _ => None,
    });
    assert_eq!(answered, called);
    leg.hang_up();
    let end = relay.end_of("uuid=tool-2");
    assert!(end.contains("tools called 2, tools repeated 1") && !end.contains("tools failed"), "{end}");
    assert!(asked.try_recv().is_err(), "asked twice");
}
