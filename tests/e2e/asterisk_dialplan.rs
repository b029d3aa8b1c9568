//! `deploy/asterisk/extensions.conf` against the real relay: whatever becomes of a call, its caller is hung up on only where
//! the call is over as it should be, and gets the fallback otherwise.
//!
//! Runs in: the test's thread. Asterisk is played: a reader of the dialplan that knows the applications and functions which
//! stand in it, asks with the real curl, and dials with the legs of the harness. What it takes for Asterisk's behaviour: a
//! channel whose `Dial()` ends by the other side hangs up without option g, and goes on with it (app_dial.c).
//! Invariant: an application that it does not know is a failure.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;
use tandem_loadtest::sim::Voice;

use crate::harness::admin::{address, ask};
use crate::harness::model::speaking;
use crate::harness::{Asterisk, AudioLine, Leg, Model, Relay, Told, in_company};

const CONTEXTS: [&str; 4] =
    ["tandem-audiosocket", "tandem-audiosocket-wide", "tandem-websocket", "tandem-websocket-incoming"];
const MEDIA_START: &str = r#"{"event":"MEDIA_START","connection_id":"c","channel":"WebSocket/c/0x1",
    "channel_id":"1795335118.9","format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{}}"#;

/// Routes and agents that make every end: refused, given up, given up and hung up on.
const CONFIGURATION: &str = r#"
[agents.broken]
model = "models/no-such-model"
[agents.final]
model = "models/no-such-model"
fallback = "hangup"
[[routes]]
did = "0900"
refuse = "closed today"
[[routes]]
did = "0901"
agent = "broken"
[[routes]]
did = "0902"
agent = "final"
"#;

/// What becomes of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    HungUp,
    Announcement,
}

/// What happens while the call is up.
enum During<'a> {
    Nothing,
    HungUpByTheRelay,
    TheRelayDies(&'a mut Relay),
}

/// A leg that Asterisk has dialled.
enum Line {
    Audio(AudioLine),
    WebSocket(Leg),
}

impl Line {
    /// Waits until the relay has let go of it.
    fn is_let_go(&self) {
        match self {
            Self::Audio(line) => line.let_go(),
            Self::WebSocket(leg) => leg.until("the end of the leg", |told| {
                told.iter().any(|(_, told)| matches!(told, Told::Close(..) | Told::End)).then_some(())
            }),
        }
    }
}

/// Asterisk with the dialplan, as far as it goes.
struct Switch<'a> {
    contexts: HashMap<String, Vec<String>>,
    variables: HashMap<String, String>,
    asterisk: &'a Asterisk,
    relay: &'a str,
    during: During<'a>,
    dialled: usize,
}

/// The text between the bracket that opens at the start and the one that closes it, and what is behind.
fn bracketed(text: &str, open: char, close: char) -> (&str, &str) {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        depth += i32::from(letter == open) - i32::from(letter == close);
        if depth == 0 {
            return (&text[1..at], &text[at + 1..]);
        }
    }
    panic!("a bracket is not closed: {text}");
}

/// Splits at commas that stand in no bracket.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        depth += i32::from(matches!(letter, '(' | '{' | '[')) - i32::from(matches!(letter, ')' | '}' | ']'));
        match letter {
            ',' if depth == 0 => fields.push(String::new()),
            _ => fields.last_mut().expect("one at least").push(letter),
        }
    }
    fields
}

impl<'a> Switch<'a> {
    fn new(relay: &'a str, admin: &str, asterisk: &'a Asterisk, during: During<'a>) -> Self {
        let file = std::fs::read_to_string("deploy/asterisk/extensions.conf").expect("the dialplan");
        let (mut contexts, mut variables) = (HashMap::<_, Vec<String>>::new(), HashMap::new());
        let mut context = String::new();
        for line in file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(';')) {
            if let Some(name) = line.strip_prefix('[') {
                context = name.trim_end_matches(']').to_owned();
            } else if let Some((_, step)) = line.split_once("=>") {
                let (_, step) = step.split_once(',').expect("a priority");
                let step = if line.starts_with("exten") {
                    step.split_once(',').expect("an application").1
                } else {
                    step
                };
                contexts.entry(context.clone()).or_default().push(step.to_owned());
            } else {
                let (name, value) = line.split_once('=').expect("a global variable");
                variables.insert(name.to_owned(), value.to_owned());
            }
        }
        variables.insert("TANDEM".into(), relay.to_owned());
        variables.insert("TANDEM_ADMIN".into(), format!("http://{admin}"));
        Self { contexts, variables, asterisk, relay, during, dialled: 0 }
    }

    /// A call from `caller` to `number` in this context.
    fn call(&mut self, context: &str, number: &str, caller: &str) -> End {
        self.variables.insert("EXTEN".into(), number.to_owned());
        self.variables.insert("CALLERID(num)".into(), caller.to_owned());
        self.run(context).expect("a dialplan ends in a hang-up")
    }

    /// Runs a context to its end; `None` where it returns.
    fn run(&mut self, context: &str) -> Option<End> {
        let mut steps = self.contexts.get(context).unwrap_or_else(|| panic!("no context {context}")).clone();
        let mut at = 0;
        while at < steps.len() {
            let step = steps[at].clone();
            let (application, arguments) = step.split_once('(').expect("an application");
            let arguments = arguments.strip_suffix(')').expect("its arguments end");
            at += 1;
            let mut goes_to = |this: &Self, destination: &str| {
                let context = this.expanded(destination).split(',').next().expect("a context").to_owned();
                steps = this.contexts.get(&context).unwrap_or_else(|| panic!("no context {context}")).clone();
                at = 0;
            };
            match application {
                "Answer" => {}
                "Return" => return None,
                "Hangup" => return Some(End::HungUp),
                "Playback" => return Some(End::Announcement),
                "Goto" => goes_to(self, arguments),
                "GotoIf" => {
                    let (condition, destination) = arguments.split_once("]?").expect("a condition");
                    let condition = self.expanded(condition.trim_start_matches("$["));
                    let (left, right) = condition.split_once(" != ").expect("the only comparison");
                    if left != right {
                        goes_to(self, destination);
                    }
                }
                "Set" => {
                    let (name, value) = arguments.split_once('=').expect("a value");
                    let name = name.strip_prefix("LOCAL(").map_or(name, |name| name.trim_end_matches(')'));
                    self.variables.insert(name.to_owned(), self.expanded(value));
                }
                "GoSub" => {
                    let arguments = self.expanded(arguments);
                    self.subroutine(
                        &fields(&arguments)[0].clone(),
                        arguments.split_once("1(").expect("arguments").1,
                        ',',
                    );
                }
                "System" => {
                    let done = Command::new("sh")
                        .args(["-c", &self.expanded(arguments)])
                        .stdout(Stdio::null())
                        .status()
                        .is_ok_and(|status| status.success());
                    let word = if done { "SUCCESS" } else { "APPERROR" };
                    self.variables.insert("SYSTEMSTATUS".into(), word.into());
                }
                "Dial" => {
                    let arguments = fields(arguments);
                    let options = arguments.get(2).cloned().unwrap_or_default();
                    let goes_on = options.split('(').next().is_some_and(|letters| letters.contains('g'));
                    let answered = self.dial(&self.expanded(&arguments[0]), &options);
                    if answered && !goes_on {
                        return Some(End::HungUp);
                    }
                }
                other => panic!("{context} has {other}, which this test does not know"),
            }
        }
        panic!("{context} ends without a hang-up")
    }

    fn subroutine(&mut self, context: &str, arguments: &str, separator: char) {
        for (number, argument) in arguments.trim_end_matches(')').split(separator).enumerate() {
            self.variables.insert(format!("ARG{}", number + 1), argument.to_owned());
        }
        assert_eq!(self.run(context), None, "{context} returns");
    }

    /// Dials, and comes back when the leg is over. Returns whether it was answered.
    fn dial(&mut self, destination: &str, options: &str) -> bool {
        self.dialled += 1;
        let uuid = self.variables["ID"].clone();
        if let Some((_, before)) = options.split_once("b(") {
            self.variables.insert("MEDIA_WEBSOCKET_CONNECTION_ID".into(), uuid.clone());
            let before = self.expanded(before);
            let (context, arguments) = before.split_once("^s^1(").expect("a subroutine");
            self.subroutine(context, arguments.trim_end_matches(')'), '^');
            // Without a connection Dial() ends by its time-out.
            if self.variables["SYSTEMSTATUS"] != "SUCCESS" {
                return false;
            }
        }
        let Some(line) = self.line(destination, &uuid) else { return false };
        match &mut self.during {
            During::Nothing => line.is_let_go(),
            During::TheRelayDies(relay) => {
                relay.line(&["offered", &uuid]);
                relay.signal(Signal::KILL);
                line.is_let_go();
            }
            During::HungUpByTheRelay => {
                let admin = self.variables["TANDEM_ADMIN"].clone();
                std::thread::scope(|scope| {
                    // It is answered when the leg has ended.
                    scope.spawn(move || {
                        let url = format!("{admin}/api/calls/{uuid}/hangup");
                        let asked = Command::new("curl")
                            .args([
                                "-sf",
                                "--retry",
                                "20",
                                "--retry-all-errors",
                                "--retry-delay",
                                "1",
                                "-o",
                                "/dev/null",
                                "-X",
                                "POST",
                                &url,
                            ])
                            .status();
                        assert!(asked.is_ok_and(|status| status.success()), "{url}");
                    });
                    line.is_let_go();
                    drop(line);
                });
            }
        }
        true
    }

    fn line(&self, destination: &str, uuid: &str) -> Option<Line> {
        let relay = self.relay.parse().expect("an address");
        if destination.starts_with("AudioSocket/") {
            assert!(
                destination.contains(&format!("AudioSocket/{}/{uuid}/c(slin", self.relay)),
                "{destination}"
            );
            let digits = uuid.replace('-', "");
            let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
            return Some(Line::Audio(AudioLine::call(relay, std::array::from_fn(byte))));
        }
        if destination.starts_with("WebSocket/INCOMING/") {
            return Some(Line::WebSocket(self.asterisk.take(uuid, MEDIA_START)));
        }
        let (_, query) = destination.split_once("v(").expect("v() is in every call");
        let path = format!("/?{}", query.trim_end_matches(')').replace(',', "&"));
        let leg = Leg::try_call(relay, &path, &[("Sec-WebSocket-Protocol", "media")]).ok()?;
        leg.text(MEDIA_START);
        Some(Line::WebSocket(leg))
    }

    /// With the values of variables and functions in their places.
    fn expanded(&self, text: &str) -> String {
        let Some(at) = text.find("${") else { return text.to_owned() };
        let (inner, rest) = bracketed(&text[at + 1..], '{', '}');
        let inner = self.expanded(inner);
        let value = match inner.split_once('(') {
            Some(("UUID", _)) => next_uuid(),
            Some(("FILTER", arguments)) => {
                let (allowed, text) = arguments.split_once(',').expect("two arguments");
                let text = text.trim_end_matches(')');
                let ranges = |letter: char| match letter {
                    '0'..='9' => allowed.contains("0-9"),
                    'A'..='Z' => allowed.contains("A-Z"),
                    'a'..='z' => allowed.contains("a-z"),
                    _ => letter != '-' && allowed.contains(letter),
                };
                text.chars().filter(|letter| ranges(*letter)).collect()
            }
            _ => self.variables.get(&inner).cloned().unwrap_or_default(),
        };
        format!("{}{value}{}", &text[..at], self.expanded(rest))
    }
}

fn next_uuid() -> String {
    static UUIDS: AtomicU64 = AtomicU64::new(1);
    format!("5a5a5a5a-0000-4000-8000-{:012x}", UUIDS.fetch_add(1, Ordering::Relaxed))
}

/// A configuration file that is removed with its directory.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

#[test]
fn a_caller_is_hung_up_on_only_where_the_call_is_over_as_it_should_be() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    let directory = std::env::temp_dir().join(format!("tandem-dialplan-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the test");
    let file = File(directory.join("tandem.toml"));
    std::fs::write(&file.0, CONFIGURATION).expect("the file can be written");
    for context in CONTEXTS {
        let asterisk = Asterisk::start();
        let environment = [("TANDEM_CONFIG", file.0.to_str().expect("UTF-8"))];
        let mut relay = Relay::start_at(&model.url(), &[&asterisk.setting()], &environment);
        let (listens, admin) = (relay.address().to_string(), address(&relay).to_string());
        let call = |number: &str, during: During<'_>| {
            let mut switch = Switch::new(&listens, &admin, &asterisk, during);
            (switch.call(context, number, "+420777"), switch.dialled)
        };
        assert_eq!(call("5000", During::HungUpByTheRelay), (End::HungUp, 1), "{context}: over");
        assert_eq!(call("0900", During::Nothing).0, End::Announcement, "{context}: a route refuses it");
        assert_eq!(call("0901", During::Nothing), (End::Announcement, 1), "{context}: given up");
        assert_eq!(call("0902", During::Nothing), (End::HungUp, 1), "{context}: given up, and hung up on");
        assert_eq!(ask(&relay, "GET /api/calls/nobody/end", "").0, 404);
        assert_eq!(
            call("5000", During::TheRelayDies(&mut relay)),
            (End::Announcement, 1),
            "{context}: it dies"
        );
        assert_eq!(call("5000", During::Nothing).0, End::Announcement, "{context}: it is not there");
    }
}
