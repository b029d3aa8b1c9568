//! Several credentials: sessions that run out, a key that fails, tokens for Vertex AI, links that wait.
//!
//! Runs in: the tests' threads, against the real binary. Owns relays, models and a stand-in of the metadata server.
//! Invariant: who is refused is refused before the answer, and whoever is served says with which credential.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tandem_loadtest::sim::{AuthKind, Fault, SimConfig, Voice, What};

use crate::harness::admin::ask;
use crate::harness::{Leg, Model, PATIENCE, Relay, in_company, noise};

const FIRST: &str = "AIzaSyFirst-simulated_0123456789abcdefgh";
const SECOND: &str = "AIzaSySecond-simulated_0123456789abcdefg";
const KEYS: [(&str, &str); 2] =
    [("TANDEM_CREDENTIALS_FIRST_API_KEY", FIRST), ("TANDEM_CREDENTIALS_SECOND_API_KEY", SECOND)];

/// A model for any key, each with so many sessions.
fn model(sessions_per_key: Option<usize>) -> Model {
    Model::start(SimConfig { sessions_per_key, ..SimConfig { voice: Voice::Parrot, ..SimConfig::default() } })
}

fn quota() -> Fault {
    Fault::Close { code: 1011, reason: "You exceeded your current quota, please check your plan.".into() }
}

/// Waits until `/admit` says this, whatever it said before.
fn until_admit(relay: &Relay, status: u16) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (found, body) = ask(relay, "GET /admit?did=100&caller=200", "");
        if found == status {
            return body;
        }
        assert!(Instant::now() < deadline, "/admit still says {found}: {body}");
        // The end of a back-off is nowhere to be seen but here.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn of_eight_calls_on_two_credentials_with_three_sessions_each_two_are_refused_before_the_answer() {
    let _turn = in_company();
    let model = model(Some(3));
    let sets = ["credentials.first.max_sessions=3", "credentials.second.max_sessions=3"];
    let relay = Relay::start_at(&model.url(), &sets, &KEYS);
    assert_eq!(ask(&relay, "GET /admit", "").0, 200);
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let address = relay.address();
            std::thread::spawn(move || Leg::try_call(address, &format!("/?uuid=call-{n}"), &[]))
        })
        .collect();
    let answers: Vec<_> = callers.into_iter().map(|caller| caller.join().expect("no panic")).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((served.len(), refused.len()), (6, 2));
    for answer in refused {
        let answer = answer.err().expect("refused");
        for part in ["503 Service Unavailable", "Retry-After: ", "no_capacity: every credential"] {
            assert!(answer.contains(part), "{part:?} is not in {answer}");
        }
    }
    model.until("six sessions", |events| {
        let ready = events.iter().filter(|event| event.what == What::SetupComplete).count();
        (ready == 6).then_some(())
    });
    let (status, body) = ask(&relay, "GET /admit?did=100", "");
    assert!(status == 503 && body.contains(r#""reason":"no_capacity""#), "{status} {body}");
    // A session that is given back serves the next call.
    for leg in served {
        assert_eq!(leg.expect("served").hang_up().0, 1000);
    }
    until_admit(&relay, 200);
    let again = Leg::call(&relay, "/?uuid=again");
    model.ready(7);
    again.hang_up();
    let ends: Vec<_> = (0..8).map(|n| format!("uuid=\"call-{n}\"")).collect();
    relay.end_of("uuid=again");
    let log = relay.log();
    let lines = |name: &str| {
        let of =
            |line: &&str| line.contains(": ended by ") && ends.iter().any(|end| line.contains(end.as_str()));
        log.lines().filter(of).filter(|line| line.contains(&format!("credential {name},"))).count()
    };
    assert_eq!((lines("first"), lines("second")), (3, 3), "{log}");
    assert!(!log.contains(FIRST) && !log.contains(SECOND), "a key is in the log");
    assert!(!log.contains("is left alone"), "nothing has failed");
}

#[test]
fn a_credential_that_fails_is_left_and_later_taken_back() {
    let _turn = in_company();
    let model = model(None);
    let sets = [
        "credentials.first.max_sessions=3",
        "credentials.second.max_sessions=3",
        "gemini.credential_backoff_ms=200",
    ];
    let relay = Relay::start_at(&model.url(), &sets, &KEYS);
    model.simulator().fail_key(FIRST, Some(quota()));
    let leg = Leg::call(&relay, "/?uuid=spilled");
    relay.line(&["WARN", "credential \"first\" is left alone for 0.2 s", "quota"]);
    relay.line(&["goes on with credential \"second\""]);
    // The caller notices nothing.
    model.until("a session", |events| {
        events.iter().find(|event| event.what == What::SetupComplete).map(|_| ())
    });
    leg.hang_up();
    let end = relay.end_of("uuid=spilled");
    assert!(end.contains("ended by caller (hangup)") && end.contains("credential second,"), "{end}");
    // Healed: whoever comes after the back-off tries it, and it stays.
    model.simulator().fail_key(FIRST, None);
    let deadline = Instant::now() + PATIENCE;
    for n in 0.. {
        assert!(Instant::now() < deadline, "it is never taken back");
        let leg = Leg::call(&relay, &format!("/?uuid=trial-{n}"));
        relay.line(&["the model is ready", &format!("call {}", id_of(&relay, &format!("uuid=trial-{n}")))]);
        leg.hang_up();
        if relay.end_of(&format!("uuid=trial-{n},")).contains("credential first,") {
            break;
        }
    }
    relay.line(&["INFO", "credential \"first\" works again"]);
}

/// How the log calls the call whose identity contains `call`.
fn id_of(relay: &Relay, call: &str) -> String {
    let line = relay.line(&[": offered from ", call]);
    let id = line.split("call ").nth(1).and_then(|rest| rest.split(':').next());
    id.expect("a line of a call").to_owned()
}

#[test]
fn without_a_working_credential_a_call_goes_to_the_fallback_and_the_next_is_refused_before_the_answer() {
    let _turn = in_company();
    let model = model(None);
    let sets = ["credentials.first.max_sessions=1", "gemini.credential_backoff_ms=3000"];
    let relay = Relay::start_at(&model.url(), &sets, &KEYS[..1]);
    model.simulator().fail_key(FIRST, Some(Fault::Http(429)));
    let leg = Leg::call(&relay, "/?uuid=unlucky");
    assert_eq!(leg.closed(), (1008, "no_credential".to_owned()), "the code that our script falls back on");
    let end = relay.end_of("uuid=unlucky");
    assert!(end.contains("ended by us (no_credential)") && end.contains("This key fails."), "{end}");
    let refused = Leg::try_call(relay.address(), "/?uuid=refused", &[]).err().expect("refused");
    assert!(refused.contains("503 Service Unavailable") && refused.contains("credentials: "), "{refused}");
    // AudioSocket has a frame for it.
    assert_eq!(audiosocket_answer(&relay), [0, 0, 0], "a hang-up frame");
    let body = until_admit(&relay, 503);
    assert!(body.contains(r#""reason":"credentials""#), "{body}");
    model.simulator().fail_key(FIRST, None);
    until_admit(&relay, 200);
    let leg = Leg::call(&relay, "/?uuid=lucky");
    relay.line(&["credential \"first\" works again"]);
    leg.hang_up();
}

#[test]
fn a_session_is_given_back_by_calls_that_end_before_they_begin() {
    let _turn = in_company();
    let model = model(None);
    // Nobody listens there any more.
    let gone =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let media_url = format!("asterisk.media_url=ws://{gone}/media");
    let sets = ["credentials.first.max_sessions=1", "listen.require_expected=true", &media_url];
    let relay = Relay::start_at(&model.url(), &sets, &KEYS[..1]);
    // Admitted and then refused, because nobody announced it.
    assert_eq!(audiosocket_answer(&relay), [0, 0, 0], "a hang-up frame");
    // Admitted, and its leg cannot be connected.
    let (status, body) = ask(&relay, "POST /api/connect", r#"{"connection_id":"media-1"}"#);
    assert_eq!(status, 202, "{body}");
    relay.line(&["no connection to ", "asterisk.media_url"]);
    until_admit(&relay, 200);
    // The one session, twice.
    for n in 1..=2 {
        let leg = Leg::call(&relay, &format!("/?uuid=call-{n}"));
        model.ready(n);
        assert_eq!(ask(&relay, "GET /admit", "").0, 503);
        leg.hang_up();
        until_admit(&relay, 200);
    }
}

/// What an AudioSocket is answered until the relay closes it.
fn audiosocket_answer(relay: &Relay) -> Vec<u8> {
    let mut socket = TcpStream::connect(relay.address()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    let uuid = [&[1, 0, 16][..], &[7; 16]].concat();
    socket.write_all(&uuid).expect("it reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an answer");
    answer
}

/// A metadata server that gives this token to everybody who asks as Google's libraries do, and tells of it.
fn metadata_server(token: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (asked, told) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).expect("ASCII");
            let body = format!(r#"{{"access_token":"{token}","expires_in":3599,"token_type":"Bearer"}}"#);
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).expect("it reads");
            if asked.send(request).is_err() {
                return;
            }
        }
    });
    (address, told)
}

#[test]
fn vertex_is_called_with_a_token_of_the_metadata_server_fetched_before_the_call() {
    const TOKEN: &str = "ya29.simulated-token_0123456789";
    let _turn = in_company();
    let model = model(None);
    let (metadata, asked) = metadata_server(TOKEN);
    let base = format!("credentials.cloud.base_url={}", model.url());
    let sets = [
        "credentials.cloud.kind=vertex",
        "credentials.cloud.project=my-project",
        "credentials.cloud.location=us-central1",
        "credentials.cloud.metadata=true",
        &base,
        "agent.model=gemini-3.8-live",
    ];
    let metadata = metadata.to_string();
    let relay = Relay::start_at(&model.url(), &sets, &[("GCE_METADATA_HOST", &metadata)]);
    relay.line(&["there is a token for credential \"cloud\""]);
    let request = asked.recv_timeout(PATIENCE).expect("it was asked");
    assert!(request.to_ascii_lowercase().contains("metadata-flavor: google"), "{request}");
    let leg = Leg::call(&relay, "/?uuid=vertex");
    leg.audio(&noise(1, 320), 320);
    let (setup, auth) = model.event(1, "a setup", |what| match what {
        What::Opened { setup, auth, .. } => Some((setup.clone(), *auth)),
        _ => None,
    });
    assert_eq!(auth, AuthKind::Bearer);
    let model_name = "projects/my-project/locations/us-central1/publishers/google/models/gemini-3.8-live";
    assert_eq!(setup["model"], model_name, "{setup}");
    let path = model.event(1, "an upgrade", |what| match what {
        What::Upgraded { path, .. } => Some(path.clone()),
        _ => None,
    });
    assert!(path.ends_with("google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"), "{path}");
    leg.hang_up();
    relay.end_of("uuid=vertex");
    assert!(!relay.log().contains(TOKEN), "the token is in the log");
    assert!(asked.try_recv().is_err(), "the call asked for no token");
}

#[test]
fn without_a_token_a_call_is_refused_and_the_log_says_why() {
    let _turn = in_company();
    let model = model(None);
    let base = format!("credentials.cloud.base_url={}", model.url());
    let sets = [
        "credentials.cloud.kind=vertex",
        "credentials.cloud.project=my-project",
        "credentials.cloud.token_command=echo ya29.not-to-be-seen; exit 3",
        &base,
    ];
    let relay = Relay::start_at(&model.url(), &sets, &[]);
    relay.line(&["WARN", "credential \"cloud\" is not used", "token_command ended with exit status: 3"]);
    let refused = Leg::try_call(relay.address(), "/?uuid=none", &[]).err().expect("refused");
    assert!(refused.contains("503 Service Unavailable") && refused.contains("credentials: "), "{refused}");
    assert!(!relay.log().contains("not-to-be-seen"));
}

#[test]
fn a_warm_link_is_there_before_the_call_and_is_replaced() {
    let _turn = in_company();
    let model = model(None);
    let relay = Relay::start(&model, &["gemini.warm_links=1"]);
    // That the relay has it, not only that the model has answered: a call that comes between the two dials for itself.
    let waits = |nth| relay.nth_line(&["a link waits for its call"], nth);
    waits(1);
    let leg = Leg::call(&relay, "/?uuid=warm");
    model.ready(1);
    waits(2);
    let leg_two = Leg::call(&relay, "/?uuid=warm-too");
    model.ready(2);
    leg.hang_up();
    leg_two.hang_up();
    relay.end_of("uuid=warm-too");
    relay.signal(rustix::process::Signal::USR1);
    relay.line(&["counters: ", r#"tandem_warm_links_total{end=\"used\"}":2"#]);
}
