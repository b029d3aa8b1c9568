//! The shipped `deploy/haproxy/haproxy.cfg` in a real HAProxy, before two relays: calls are spread, a relay that drains gets no
//! new ones and keeps those that it has, one that dies is missed by nobody, and what belongs to one call meets at one relay.
//!
//! Runs in: the tests' threads beside relays, simulator and HAProxy. Invariant: a switch knows no address but HAProxy's, and a
//! call that is refused is a failure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tandem_loadtest::sim::Voice;

use crate::harness::admin::{ask, ask_at};
use crate::harness::model::speaking;
use crate::harness::{AudioLine, Haproxy, Leg, Model, Relay, alone, in_company, noise};

/// How long mod_audio_stream waits until it is connected.
const SWITCH_WAITS: Duration = Duration::from_secs(1);

fn relay(model: &Model, more: &[&str]) -> Relay {
    let sets =
        ["listen.proxy_from=127.0.0.1", "listen.allow=127.0.0.0/8", "admin.haproxy_agent_listen=127.0.0.1:0"];
    Relay::start(model, &[&sets, more].concat())
}

/// Places a call, which has to be connected in time.
fn call(haproxy: &Haproxy, target: &str) -> Leg {
    let began = Instant::now();
    let leg = Leg::try_call(haproxy.address, target, &[]).unwrap_or_else(|why| panic!("{target}: {why}"));
    assert!(began.elapsed() < SWITCH_WAITS, "{target}: connected after {:?}", began.elapsed());
    leg
}

fn has_call(relay: &Relay, uuid: &str) -> bool {
    relay.log().contains(&format!("uuid=\"{uuid}\""))
}

fn line(address: SocketAddr, byte: u8) -> AudioLine {
    AudioLine::call(address, [byte; 16])
}

#[test]
fn calls_of_both_kinds_are_spread_and_a_relay_that_drains_gets_no_new_ones_and_keeps_its_own() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let sets = ["leg.detached_ms=2000"];
    let (mut first, second) = (relay(&model, &sets), relay(&model, &sets));
    let haproxy = Haproxy::shipped("haproxy-drain", [&first, &second]);
    let own =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").ip();
    let legs: Vec<_> = (0..6).map(|n| call(&haproxy, &format!("/?uuid=spread-{n}"))).collect();
    let lines: Vec<_> = (1..=4).map(|byte| line(haproxy.address, byte)).collect();
    (1..=10).for_each(|session| model.ready(session));
    let of = |relay: &Relay, kind: &str| {
        relay.log().lines().filter(|line| line.contains("offered from") && line.contains(kind)).count()
    };
    for (kind, all) in [("spread-", 6), ("uuid=\"0", 4)] {
        let (one, other) = (of(&first, kind), of(&second, kind));
        assert!(one + other == all && one.min(other) >= 1, "{kind}: {one} and {other}");
    }
    // Who calls is the switch and not HAProxy.
    first.line(&[&format!("offered from {own}:")]);

    let kept = (0..6).find(|n| has_call(&first, &format!("spread-{n}"))).expect("it has one");
    assert_eq!(ask(&first, "POST /api/drain", r#"{"seconds":600}"#).0, 202);
    // HAProxy may not know it yet: what is refused goes to the other one.
    let fresh: Vec<_> = (0..5).map(|n| call(&haproxy, &format!("/?uuid=fresh-{n}"))).collect();
    for backend in ["websocket", "audiosocket", "admin"] {
        haproxy.until_it_sees(backend, "relay-1", |status, weight| status == "UP" && weight == 0);
    }
    let later = line(haproxy.address, 9);
    second.line(&["offered from", "09090909"]);
    assert!((0..5).all(|n| has_call(&second, &format!("fresh-{n}"))));
    // A call that it has goes on, also if its leg has to come back to it.
    let target = format!("/?uuid=spread-{kept}");
    legs[kept].drop_connection();
    first.line(&["the leg was lost"]);
    let back = call(&haproxy, &target);
    first.line(&["its leg is back"]);
    drop((legs, lines, back));
    assert_eq!(first.ended().code(), Some(0));
    drop((fresh, later, second));
}

#[test]
fn when_a_relay_dies_new_calls_go_to_the_other_one_at_once() {
    // A second is waited for.
    let _turn = alone();
    let model = Model::start(speaking(Voice::Parrot));
    let (first, second) = (relay(&model, &[]), relay(&model, &[]));
    let haproxy = Haproxy::shipped("haproxy-death", [&first, &second]);
    let legs: Vec<_> = (0..4).map(|n| call(&haproxy, &format!("/?uuid=before-{n}"))).collect();
    (1..=4).for_each(|session| model.ready(session));
    first.signal(Signal::KILL);
    let after: Vec<_> = (0..10).map(|n| call(&haproxy, &format!("/?uuid=after-{n}"))).collect();
    (0..10).for_each(|n| _ = second.line(&["offered from", &format!("after-{n}")]));
    // Those that were with it come again by their UUID, and find a relay.
    for n in (0..4).filter(|n| has_call(&first, &format!("before-{n}"))) {
        drop(call(&haproxy, &format!("/?uuid=before-{n}")));
        second.line(&["offered from", &format!("before-{n}")]);
    }
    line(haproxy.address, 7);
    second.line(&["offered from", "07070707"]);
    drop((legs, after));
}

#[test]
fn calls_that_a_draining_relay_sends_away_reach_the_other_one() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let sets = ["leg.detached_ms=2000"];
    let (mut first, mut second) = (relay(&model, &sets), relay(&model, &sets));
    let haproxy = Haproxy::shipped("haproxy-move", [&first, &second]);
    let target = "/?uuid=moved&script=1";
    let leg = call(&haproxy, target);
    model.ready(1);
    let is_at_first = has_call(&first, "moved");
    let (old, new) = if is_at_first { (&mut first, &second) } else { (&mut second, &first) };
    let server = if is_at_first { "relay-1" } else { "relay-2" };
    // The model is asked something, so that there is no pause before HAProxy knows.
    leg.audio(&noise(1, 8_000), 320);
    assert_eq!(ask(old, "POST /api/drain", r#"{"seconds":600,"move":true}"#).0, 202);
    haproxy.until_it_sees("websocket", server, |status, _| status.starts_with("DOWN"));
    assert_eq!(leg.closed(), (1001, "sent_away".to_owned()));
    let again = call(&haproxy, target);
    new.line(&["offered from", "uuid=moved"]);
    assert_eq!(old.ended().code(), Some(0));
    assert_eq!(again.hang_up().0, 1000);
}

#[test]
fn an_announcement_and_questions_about_a_call_meet_its_leg_at_one_relay() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let sets = ["listen.require_expected=true"];
    let (first, second) = (relay(&model, &sets), relay(&model, &sets));
    let haproxy = Haproxy::shipped("haproxy-announced", [&first, &second]);
    let relays = [&first, &second];
    for byte in 1..=6_u8 {
        let hex = format!("{byte:02x}").repeat(16);
        let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        let announcement = format!(r#"{{"uuid":"{uuid}","did":"100"}}"#);
        assert_eq!(ask_at(haproxy.admin, "POST /api/expect", "", &announcement).0, 204);
        let line = line(haproxy.address, byte);
        model.ready(byte.into());
        assert_eq!(ask_at(haproxy.admin, &format!("POST /api/calls/{uuid}/hangup"), "", "{}").0, 200);
        line.let_go();
        assert_eq!(ask_at(haproxy.admin, &format!("GET /api/calls/{uuid}/end"), "", "").0, 200);
    }
    assert!(relays.iter().all(|relay| relay.log().contains("ended by us (ordered_hangup)")), "both had some");
    assert!(relays.iter().all(|relay| !relay.log().contains("not_expected")));
}
