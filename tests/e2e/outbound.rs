//! Calls that never come to be: outbound ones that nobody answers, which `tandem call` says by its exit status, and refused
//! ones. Each leaves a record with its cause.
//!
//! Runs in: the test's thread beside relay and simulator; the event socket is played.
//! Invariant: what is in the record is what the switch said.

use std::path::PathBuf;

use serde_json::Value;
use tandem_loadtest::sim::Voice;

use crate::harness::admin::{address, ask};
use crate::harness::event_socket::{EventSocket, Fate};
use crate::harness::model::speaking;
use crate::harness::process::command;
use crate::harness::{Leg, Model, PATIENCE, Relay, in_company};

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Setup {
    relay: Relay,
    switch: EventSocket,
    store: String,
    _directory: Directory,
    _model: Model,
}

impl Setup {
    fn start(name: &str) -> Self {
        let directory =
            Directory(std::env::temp_dir().join(format!("tandem-outbound-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&directory.0).expect("a directory for the test");
        let store = format!("sqlite:{}", directory.0.join("calls.db").display());
        let (model, switch) = (Model::start(speaking(Voice::Parrot)), EventSocket::start());
        let mut sets = switch.settings();
        sets.push("esl.dial_string=sofia/gateway/provider/{to}".into());
        sets.push("esl.answer_seconds=5".into());
        sets.push("listen.max_calls=2".into());
        sets.push(format!("store.url={store}"));
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let relay = Relay::start(&model, &sets);
        switch.logged_in(1);
        Self { relay, switch, store, _directory: directory, _model: model }
    }

    /// `tandem call` with these arguments: exit status, what it printed, what it complained of.
    fn tandem_call(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let listen = format!("admin.listen={}", address(&self.relay));
        let arguments: Vec<&str> =
            ["--set", &listen, "call", "--to=+420123", "--from=100"].iter().chain(more).copied().collect();
        let output = command(&arguments, &[]).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The record of the call with this UUID, by `tandem calls`, once it is there.
    fn record(&self, uuid: &str) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let asked =
                command(&["calls", "show", uuid, "--json"], &[("TANDEM_STORE_URL", &self.store)]).output();
            let output = asked.expect("it runs");
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).expect("JSON");
            }
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(std::time::Instant::now() < deadline, "{uuid} has no record: {errors}");
        }
    }

    fn counted(&self, result: &str) -> bool {
        let (_, metrics) = ask(&self.relay, "GET /metrics", "");
        metrics.contains(&format!("tandem_outbound_calls_total{{result=\"{result}\"}} 1\n"))
    }
}

#[test]
fn a_call_that_nobody_answers_is_told_by_the_exit_status_and_leaves_a_record_with_its_cause() {
    let _turn = in_company();
    let setup = Setup::start("causes");
    for (output, cause, status, outcome, by) in [
        ("-ERR USER_BUSY\n", "USER_BUSY", 3, "busy", "caller"),
        ("-ERR NO_ANSWER\n", "NO_ANSWER", 4, "no_answer", "caller"),
        ("-ERR CALL_REJECTED\n", "CALL_REJECTED", 5, "rejected", "caller"),
        ("-ERR GATEWAY_DOWN\n", "GATEWAY_DOWN", 6, "not_connected", "network"),
    ] {
        setup.switch.fate(Fate::Says(output));
        let (exit, uuid, complaint) = setup.tandem_call(&["--agent", "sales"]);
        assert_eq!(exit, Some(status), "{cause}: {complaint}");
        assert!(complaint.contains(cause) && uuid.len() == 36, "{uuid:?}: {complaint}");
        let record = setup.record(&uuid);
        for (field, expected) in [
            ("uuid", uuid.as_str()),
            ("did", "+420123"),
            ("caller", "100"),
            ("agent", "sales"),
            ("leg", "outbound"),
            ("outcome", outcome),
            ("ended_by", by),
        ] {
            assert_eq!(record[field], expected, "{field} of {record}");
        }
        assert!(record["reason"].as_str().is_some_and(|reason| reason.contains(cause)), "{record}");
        assert_eq!(
            (&record["events"][0]["kind"], &record["events"][0]["detail"]),
            (&"hung_up".into(), &cause.into())
        );
        assert!(setup.counted(outcome), "{outcome} is not counted");
        let listed =
            command(&["calls", "--outcome", outcome], &[("TANDEM_STORE_URL", &setup.store)]).output();
        let listed = String::from_utf8(listed.expect("it runs").stdout).expect("text");
        assert!(listed.contains("+420123") && listed.contains(outcome), "{listed}");
    }
    assert!(!setup.counted("connected"));
}

#[test]
fn an_answered_call_is_told_as_such_and_has_the_record_of_its_leg_or_of_its_absence() {
    let _turn = in_company();
    let setup = Setup::start("answered");
    let (exit, uuid, complaint) = setup.tandem_call(&["--agent=sales"]);
    assert_eq!((exit, complaint.as_str()), (Some(0), ""));
    let leg = Leg::call(&setup.relay, &format!("/?uuid={uuid}"));
    setup.relay.line(&["offered", &uuid]);
    let hang_up = format!("Event-Name: CHANNEL_HANGUP\nUnique-ID: {uuid}\nHangup-Cause: MEDIA_TIMEOUT");
    setup.switch.event(&hang_up);
    // What the event socket answers is behind what it told.
    let (status, answer) = ask(&setup.relay, &format!("POST /api/calls/{uuid}/dtmf"), r#"{"digits":"5"}"#);
    assert_eq!(status, 200, "{answer}");
    leg.hang_up();
    let record = setup.record(&uuid);
    assert_eq!(record["hang_up_cause"], "MEDIA_TIMEOUT");
    assert_eq!(
        (&record["leg"], &record["outcome"]),
        (&"mod_audio_stream".into(), &"hangup".into()),
        "{record}"
    );
    assert!(setup.counted("connected"));
    // Answered, and hung up before its leg came.
    let (exit, uuid, complaint) = setup.tandem_call(&[]);
    assert_eq!(exit, Some(0), "{complaint}");
    setup
        .switch
        .event(&format!("Event-Name: CHANNEL_HANGUP\nUnique-ID: {uuid}\nHangup-Cause: NORMAL_CLEARING"));
    let record = setup.record(&uuid);
    assert_eq!((&record["outcome"], &record["ended_by"]), (&"no_leg".into(), &"us".into()), "{record}");
    assert_eq!(record["hang_up_cause"], "NORMAL_CLEARING");
    assert!(
        record["reason"].as_str().is_some_and(|reason| reason.contains("esl.answered_application")),
        "{record}"
    );
    assert!(setup.counted("no_leg"));
}

#[test]
fn a_call_that_is_refused_leaves_one_record_however_often_its_switch_tries() {
    let _turn = in_company();
    let setup = Setup::start("refused");
    let guarded = setup.relay.address();
    // Full: the only other way in is taken.
    let others: Vec<Leg> = (0..2).map(|n| Leg::call(&setup.relay, &format!("/?uuid=other-{n}"))).collect();
    for _ in 0..5 {
        let refusal = Leg::try_call(guarded, "/?uuid=refused-1&did=5000&caller=777", &[]).err();
        assert!(refusal.is_some_and(|refusal| refusal.contains("503")), "it is full");
    }
    let record = setup.record("refused-1");
    for (field, expected) in [("did", "5000"), ("caller", "777"), ("outcome", "refused"), ("ended_by", "us")]
    {
        assert_eq!(record[field], expected, "{field} of {record}");
    }
    assert!(record["reason"].as_str().is_some_and(|reason| reason.starts_with("calls: ")), "{record}");
    let listed =
        command(&["calls", "--outcome=refused", "--json"], &[("TANDEM_STORE_URL", &setup.store)]).output();
    let listed: Value = serde_json::from_slice(&listed.expect("it runs").stdout).expect("JSON");
    assert_eq!(listed["calls"].as_array().map(Vec::len), Some(1), "{listed}");
    others.iter().for_each(|leg| _ = leg.hang_up());
}

#[test]
fn whoever_does_not_wait_is_told_that_the_switch_has_begun() {
    let _turn = in_company();
    let setup = Setup::start("no-wait");
    setup.switch.fate(Fate::Rings);
    let (exit, uuid, complaint) = setup.tandem_call(&["--no-wait"]);
    assert_eq!((exit, uuid.len(), complaint.as_str()), (Some(0), 36, ""));
    // The connection over which the switch would say more is lost; the end of the channel tells.
    setup.switch.fate(Fate::LostBeforeReply);
    let (exit, _, complaint) = setup.tandem_call(&[]);
    assert_eq!(exit, Some(1), "{complaint}");
    assert!(complaint.contains("may or may not"), "{complaint}");
    setup.switch.logged_in(2);
    setup.switch.event(&format!("Event-Name: CHANNEL_HANGUP\nUnique-ID: {uuid}\nHangup-Cause: USER_BUSY"));
    assert_eq!(setup.record(&uuid)["outcome"], "busy");
}
