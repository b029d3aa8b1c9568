//! Tools end to end: the model calls one, a server behind TLS is asked, the model is answered and speaks on.
//!
//! Runs in: the test's threads beside relay and simulator; the server is one of them.
//! Invariant: what the caller said, what the server answered and its secret stand in no line of the log above debug.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};

use native_tls::{Identity, TlsAcceptor};
use tandem_loadtest::sim::{SimConfig, TlsPem, Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, certificate, in_company};

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
    model.event(1, "its answer", |what| match what {
        What::ToolResponse { ids } => Some(assert_eq!(*ids, [id.clone()])),
        _ => None,
    });
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
