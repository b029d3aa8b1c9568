//! The door for browsers: a ticket of the admin server lets one of them in for one call, and no page comes in without.
//!
//! Runs in: the test's threads and a relay, on 127.0.0.1. The browser itself is in `tests/browser`.
//! Invariant: everything that a browser sends of its own accord is sent here too.

use rustix::process::Signal;
use serde_json::{Value, json};
use tandem_loadtest::sim::Voice;

use crate::harness::admin::ask;
use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, in_company};

const BROWSER: (&str, &str) = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
const PAGE: (&str, &str) = ("Origin", "http://any.example");

/// The ticket's subprotocols, and the whole answer.
fn ticket(relay: &Relay, body: &str) -> (String, Value) {
    let (status, answer) = ask(relay, "POST /api/telephone", body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let protocols =
        answer["protocols"].as_array().expect("a list").iter().map(|one| one.as_str().expect("text"));
    (protocols.collect::<Vec<_>>().join(", "), answer)
}

#[test]
fn a_browser_is_let_in_once_by_a_ticket_and_never_without() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &["listen.token=for-switches-only"]);
    let knock = |protocols: &str, target: &str| {
        let mut headers = vec![BROWSER, ("Origin", "http://any.example")];
        if !protocols.is_empty() {
            headers.push(("Sec-WebSocket-Protocol", protocols));
        }
        Leg::try_call(relay.address(), target, &headers)
    };
    for (protocols, target) in [
        ("", "/"),
        ("", "/?token=for-switches-only"),
        ("tandem.telephone", "/"),
        ("tandem.telephone, ticket.guessed", "/"),
    ] {
        let refused = knock(protocols, target).err().expect("no ticket");
        assert!(refused.contains("403"), "{protocols} {target}: {refused}");
    }
    // A name that was announced is no ticket, however it is spelled.
    for (announced, shown) in [
        ("ticket.mine", "ticket.mine"),
        ("mine", "ticket.mine"),
        ("ticket.ticket.mine", "ticket.ticket.mine"),
    ] {
        let body = json!({"uuid": announced, "agent": "default"}).to_string();
        assert_eq!(ask(&relay, "POST /api/expect", &body).0, 204, "{announced}");
        let refused = knock(&format!("tandem.telephone, {shown}"), "/").err().expect("no ticket");
        assert!(refused.contains("403"), "{announced} {shown}: {refused}");
    }
    let (protocols, answer) = ticket(&relay, r#"{"agent":"default"}"#);
    assert_eq!(answer["url"], json!(format!("ws://127.0.0.1:{}/", relay.address().port())));
    // What the page says of the call itself counts for nothing.
    let leg = knock(&protocols, "/?agent=other&did=900&uuid=chosen").expect("let in");
    assert!(knock(&protocols, "/").is_err(), "the ticket was for one call");
    leg.audio(&[3000; 3200], 320);
    assert!(leg.hear(320).iter().any(|sample| *sample != 0), "the echo comes back as raw audio");
    leg.hang_up();
    let ended = relay.end_of(answer["uuid"].as_str().expect("text"));
    assert!(!ended.contains(r#"did="900""#) && !ended.contains("chosen"), "{ended}");
    assert_eq!(ask(&relay, "POST /api/telephone", r#"{"agent":"nobody"}"#).0, 404);
    assert_eq!(ask(&relay, "POST /api/telephone", r#"{"agent":7}"#).0, 422);
    relay.signal(Signal::TERM);
    assert!(relay.ended().success());
    assert!(relay.log().contains(r#""tandem_refusals_total{reason=\"web_page\"}":8"#), "{}", relay.log());
}

#[test]
fn a_page_is_known_by_its_origin_and_a_switch_by_none_or_the_relays_own() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["listen.token=for-switches-only"]);
    let token = "/?token=for-switches-only";
    // The harness asks as mod_audio_stream does, with an Origin that is the relay's own address.
    for headers in [&[][..], &[("User-Agent", "ixwebsocket/11.4.3")], &[("User-Agent", "curl/8.5.0")]] {
        let leg = Leg::try_call(relay.address(), token, headers).expect("a switch is let in");
        assert_eq!(leg.hang_up().0, 1000);
    }
    for headers in [
        &[PAGE][..],
        &[PAGE, ("User-Agent", "curl/8.5.0")],
        &[("Origin", "null")],
        &[BROWSER],
        &[("Sec-Fetch-Mode", "websocket")],
    ] {
        let refused = Leg::try_call(relay.address(), token, headers).err().expect("a page is not");
        assert!(refused.contains("403") && refused.contains("web_page"), "{headers:?}: {refused}");
    }
    // No page can set this header.
    let headers = [PAGE, ("Authorization", "Bearer for-switches-only")];
    assert_eq!(Leg::try_call(relay.address(), "/", &headers).expect("a program").hang_up().0, 1000);
}
