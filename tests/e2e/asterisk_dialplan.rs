//! `deploy/asterisk/extensions.conf` against the real relay: whatever becomes of a call, its caller is hung up on only where
//! the call is over as it should be, is transferred where the agent says so, comes again where the relay sends them away, and gets
//! the fallback otherwise.
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
use tandem_loadtest::sim::{SimConfig, Voice};

use crate::harness::admin::{address, ask, ask_with};
use crate::harness::model::speaking;
use crate::harness::{Asterisk, AudioLine, Leg, Model, Relay, Told, in_company};

const CONTEXTS: [&str; 4] =
    ["tandem-audiosocket", "tandem-audiosocket-wide", "tandem-websocket", "tandem-websocket-incoming"];
/// Those whose calls Tandem is told that they go round.
const ROUND: [&str; 3] = ["tandem-audiosocket", "tandem-audiosocket-wide", "tandem-websocket"];
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
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    HungUp,
    Announcement,
    Transferred(String),
}

/// What happens while the call is up.
enum During<'a> {
    Nothing,
    HungUpByTheRelay,
    TheRelayDies(&'a mut Relay),
    /// It is to end, and sends the call away; there is no other, so the call comes back and is hung up.
    SentAway(&'a Relay),
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

/// What stands in a line of a context: its label, if it has one, and the application.
type Step = (String, String);

/// Asterisk with the dialplan, as far as it goes.
struct Switch<'a> {
    contexts: HashMap<String, Vec<Step>>,
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
        let (mut contexts, mut variables) = (HashMap::<_, Vec<Step>>::new(), HashMap::new());
        let mut context = String::new();
        for line in file.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(';')) {
            if let Some(name) = line.strip_prefix('[') {
                context = name.trim_end_matches(']').to_owned();
            } else if let Some((_, step)) = line.split_once("=>") {
                let (mut priority, mut step) = step.split_once(',').expect("a priority");
                if line.starts_with("exten") {
                    (priority, step) = step.split_once(',').expect("an application");
                }
                let label = priority.split_once('(').map_or("", |(_, label)| label.trim_end_matches(')'));
                contexts.entry(context.clone()).or_default().push((label.to_owned(), step.to_owned()));
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
            let (_, step) = steps[at].clone();
            let (application, arguments) = step.split_once('(').expect("an application");
            let arguments = arguments.strip_suffix(')').expect("its arguments end");
            at += 1;
            let mut goes_to = |this: &mut Self, destination: &str| {
                let [context, number, label] = destination.splitn(3, ',').collect::<Vec<_>>()[..] else {
                    panic!("where to: {destination}")
                };
                if context == this.variables["TANDEM_TRANSFER_CONTEXT"] {
                    return Some(End::Transferred(number.to_owned()));
                }
                steps = this.contexts.get(context).unwrap_or_else(|| panic!("no context {context}")).clone();
                at = steps.iter().position(|(own, _)| own == label).unwrap_or_default();
                None
            };
            match application {
                "Answer" | "Wait" => {}
                "Return" => return None,
                "Hangup" => return Some(End::HungUp),
                "Playback" => return Some(End::Announcement),
                "Goto" | "GotoIf" => {
                    let mut destination = self.expanded(arguments);
                    if application == "GotoIf" {
                        let (condition, there) = destination.split_once('?').expect("a condition");
                        if condition == "0" {
                            continue;
                        }
                        destination = there.to_owned();
                    }
                    if let Some(end) = goes_to(self, &destination) {
                        return Some(end);
                    }
                }
                "Set" => {
                    let (name, value) = arguments.split_once('=').expect("a value");
                    self.variables.insert("CONTEXT".into(), context.to_owned());
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
                    let status = if answered { "ANSWER" } else { "CHANUNAVAIL" };
                    self.variables.insert("DIALSTATUS".into(), status.into());
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
            During::SentAway(relay) if self.dialled == 1 => {
                relay.line(&["offered", &uuid]);
                let order = r#"{"seconds":600,"move":true}"#;
                assert_eq!(ask(relay, "POST /api/drain", order).0, 202);
                line.is_let_go();
            }
            During::HungUpByTheRelay | During::SentAway(_) => {
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

    /// With the values of variables, functions and expressions in their places.
    fn expanded(&self, text: &str) -> String {
        let Some(at) = text.find("${").into_iter().chain(text.find("$[")).min() else {
            return text.to_owned();
        };
        if text[at..].starts_with("$[") {
            let (inner, rest) = bracketed(&text[at + 1..], '[', ']');
            return format!("{}{}{}", &text[..at], value_of(&self.expanded(inner)), self.expanded(rest));
        }
        let (inner, rest) = bracketed(&text[at + 1..], '{', '}');
        let inner = self.expanded(inner);
        let variable = |name: &str| self.variables.get(name).cloned().unwrap_or_default();
        let value = match inner.split_once('(') {
            Some(("UUID", _)) => next_uuid(),
            Some(("SHELL", command)) => {
                let command = command.strip_suffix(')').expect("it ends");
                let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
                String::from_utf8(output.stdout).expect("text")
            }
            Some(("IF", choice)) => {
                let (condition, choice) = choice.split_once('?').expect("a condition");
                let (yes, no) = choice.trim_end_matches(')').split_once(':').expect("two of them");
                (if condition == "0" { no } else { yes }).to_owned()
            }
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
            None if inner == "EPOCH" => {
                let since = std::time::UNIX_EPOCH.elapsed().expect("a clock");
                since.as_secs().to_string()
            }
            _ => match inner.split_once(':') {
                Some((name, cut)) => {
                    let (from, count) = cut.split_once(':').unwrap_or((cut, "999"));
                    let [from, count] = [from, count].map(|number| number.parse().expect("a number"));
                    variable(name).chars().skip(from).take(count).collect()
                }
                None => variable(&inner),
            },
        };
        format!("{}{value}{}", &text[..at], self.expanded(rest))
    }
}

/// What an expression comes to: a number, or whether it is so.
fn value_of(expression: &str) -> String {
    if let Some((left, right)) = expression.split_once(" & ") {
        return u8::from(value_of(left) != "0" && value_of(right) != "0").to_string();
    }
    let number = |text: &str| text.trim().parse::<i64>().ok();
    for (sign, is_so) in [
        (" >= ", |order: std::cmp::Ordering| order.is_ge()),
        (" != ", |order: std::cmp::Ordering| order.is_ne()),
        (" = ", |order: std::cmp::Ordering| order.is_eq()),
        (" < ", |order: std::cmp::Ordering| order.is_lt()),
        (" > ", |order: std::cmp::Ordering| order.is_gt()),
    ] as [(&str, fn(std::cmp::Ordering) -> bool); 5]
    {
        if let Some((left, right)) = expression.split_once(sign) {
            let left = value_of(left);
            let order = match (number(&left), number(right)) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.as_str().cmp(right),
            };
            return u8::from(is_so(order)).to_string();
        }
    }
    let sum = |sign: &str| {
        let (left, right) = expression.split_once(sign)?;
        Some((number(left)?, number(right)?))
    };
    match (sum(" + "), sum(" - ")) {
        (Some((left, right)), _) => (left + right).to_string(),
        (_, Some((left, right))) => (left - right).to_string(),
        _ => expression.to_owned(),
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
        let next = |accept: &str| ask_with(&relay, "GET /api/calls/nobody/next", accept, "");
        assert_eq!(next(""), (200, "again".to_owned()), "of which nothing is known");
        assert_eq!(next("Accept: application/json\r\n").1.trim(), r#"{"next":"again"}"#);
        assert_eq!(call("5000", During::TheRelayDies(&mut relay)).0, End::Announcement, "{context}: it dies");
        assert_eq!(call("5000", During::Nothing).0, End::Announcement, "{context}: it is not there");
    }
}

#[test]
fn a_call_that_is_sent_away_comes_again_by_the_dialplan() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Parrot));
    for context in ROUND {
        let asterisk = Asterisk::start();
        let mut relay = Relay::start(&model, &[]);
        let (listens, admin) = (relay.address().to_string(), address(&relay).to_string());
        let mut switch = Switch::new(&listens, &admin, &asterisk, During::SentAway(&relay));
        assert_eq!(switch.call(context, "5000", "+420777"), End::HungUp, "{context}");
        assert_eq!(switch.dialled, 2, "{context}");
        relay.line(&["its leg is back"]);
        relay.line(&["ended by us (ordered_hangup)", "leg came back 1"]);
        assert_eq!(relay.ended().code(), Some(0));
    }
}

#[test]
fn the_agent_transfers_callers_of_asterisk_by_the_dialplan() {
    let _turn = in_company();
    for context in ROUND {
        let fault = r#"tool:transfer_call:{"destination":"2000"}@turn1"#;
        let faults = vec![fault.parse().expect("a fault")];
        let model = Model::start(SimConfig { faults, ..speaking(Voice::Parrot) });
        let asterisk = Asterisk::start();
        let relay =
            Relay::start(&model, &["agent.transfer_destinations=2000", "agent.greeting=Transfer me."]);
        let (listens, admin) = (relay.address().to_string(), address(&relay).to_string());
        let mut switch = Switch::new(&listens, &admin, &asterisk, During::Nothing);
        let end = switch.call(context, "5000", "+420777");
        assert_eq!((end, switch.dialled), (End::Transferred("2000".into()), 1), "{context}");
        relay.line(&["ended by model (transferred)"]);
        let uuid = &switch.variables["ID"];
        let path = format!("GET /api/calls/{uuid}/next");
        assert_eq!(ask(&relay, &path, ""), (200, "transfer 2000".to_owned()));
        let answer = ask_with(&relay, &path, "Accept: application/json\r\n", "").1;
        assert_eq!(answer.trim(), r#"{"next":"transfer","to":"2000"}"#);
    }
}
