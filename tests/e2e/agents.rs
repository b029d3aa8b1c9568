//! Several agents behind one relay: chosen by number, refused by number, configured anew while calls run.
//!
//! Runs in: the test's thread beside relay and simulator. Owns the configuration file of each test.
//! Invariant: a call keeps the agent with which it began.

use std::path::PathBuf;

use rustix::process::Signal;
use tandem_loadtest::sim::{Voice, What};

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, Relay, admin, in_company};

/// A configuration file that is removed with its directory.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tandem-agents-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        let file = Self(directory.join("tandem.toml"));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the file can be written");
    }

    fn relay(&self, model: &Model) -> Relay {
        Relay::start_at(&model.url(), &[], &[("TANDEM_CONFIG", self.0.to_str().expect("UTF-8"))])
    }
}

impl Drop for File {
    fn drop(&mut self) {
        _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

/// Voice and instructions in the setup of a session.
fn asked_for(model: &Model, session: u64) -> (String, String) {
    let setup = model.event(session, "a setup", |what| match what {
        What::Opened { setup, .. } => Some(setup.clone()),
        _ => None,
    });
    let text = |path: &str| setup.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    (
        text("/generationConfig/speechConfig/voiceConfig/prebuiltVoiceConfig/voiceName"),
        text("/systemInstruction/parts/0/text"),
    )
}

const TWO_AGENTS: &str = r#"
[agent]
voice = "Puck"
[agents.shop]
voice = "Kore"
instructions = "You are {agent} at {did}, called by {caller}."
[agents.night]
voice = "Charon"
[[routes]]
did = "220*"
agent = "shop"
[[routes]]
did = "331X"
agent = "night"
"#;

#[test]
fn each_number_has_its_agent_and_a_new_configuration_is_for_new_calls() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let file = File::new("reload", TWO_AGENTS);
    let mut relay = file.relay(&model);

    let running = Leg::call(&relay, "/?uuid=a&did=2200405&caller=777");
    assert_eq!(
        asked_for(&model, 1),
        ("Kore".into(), "You are shop at 2200405, called by 777.".into()),
        "the route's agent, with its variables"
    );
    let other = Leg::call(&relay, "/?uuid=b&did=3315");
    assert_eq!(asked_for(&model, 2).0, "Charon");
    let named = Leg::call(&relay, "/?uuid=c&did=3315&agent=shop");
    assert_eq!(asked_for(&model, 3).0, "Kore", "the dialplan's word wins over routes");

    file.write(&TWO_AGENTS.replace("Charon", "Zephyr").replace("331X", "332X"));
    relay.signal(Signal::HUP);
    relay.line(&["the configuration was read anew: agents 3, routes 2"]);
    let new = Leg::call(&relay, "/?uuid=d&did=3325");
    assert_eq!(asked_for(&model, 4).0, "Zephyr", "the new configuration");

    file.write(
        &TWO_AGENTS.replace("voice = \"Kore\"", "vioce = \"Kore\"").replace("[[routes]]", "[[route]]"),
    );
    relay.signal(Signal::HUP);
    relay.line(&[
        "is refused, the old one stays",
        "tandem.toml:5: unknown key agents.shop.vioce: did you mean voice?",
    ]);
    let newest = Leg::call(&relay, "/?uuid=e&did=2200405");
    assert_eq!(asked_for(&model, 5).0, "Kore", "what was in force before");

    assert!(relay.is_running());
    for leg in [running, other, named, new, newest] {
        assert_eq!(leg.hang_up().0, 1000);
    }
    assert!(relay.end_of("uuid=a").contains("ended by caller (hangup)"));
}

const REFUSALS: &str = r#"
[agents.shop]
voice = "Kore"
[leg]
metadata_wait_ms = 10000
[[routes]]
did = "0900*"
refuse = "closed today"
[[routes]]
did = "220*"
agent = "shop"
"#;

#[test]
fn a_number_that_nobody_answers_is_refused_as_soon_as_it_is_known() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let file = File::new("refusals", REFUSALS);
    let relay = file.relay(&model);

    let refusal = Leg::try_call(relay.address(), "/?uuid=a&did=0900123", &[]).err().expect("it is refused");
    for words in ["HTTP 403", "route", "closed today"] {
        assert!(refusal.contains(words), "{words:?} is not in {refusal}");
    }
    let (status, body) = admin::ask(&relay, "GET /admit?did=0900123", "");
    assert!(status == 503 && body.contains("closed today"), "{status} {body}");

    // Our script does not get to see the status, so it is told by a close.
    let scripted = Leg::call(&relay, "/?uuid=s&did=0900123&script=1");
    assert_eq!(scripted.closed(), (1008, "route: a route refuses this call: closed today".to_owned()));

    // The number comes with metadata: too late for the door, in time for the model.
    let late = Leg::call(&relay, "/?uuid=b");
    late.text(r#"{"did": "0900123"}"#);
    assert_eq!(late.closed(), (1008, "closed today".to_owned()));
    assert!(relay.end_of("uuid=b").contains("ended by us (refused)"));
    let welcome = Leg::call(&relay, "/?uuid=c");
    welcome.text(r#"{"did": "2200405"}"#);
    assert_eq!(asked_for(&model, 1).0, "Kore", "no link was made for those that were refused");
    assert_eq!(welcome.hang_up().0, 1000);
    relay.end_of("uuid=c");
}
