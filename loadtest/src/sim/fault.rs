//! What can go wrong in a simulated session, and when: one grammar for flags, script files and tests.
//!
//! Runs in: anywhere: values and their text form. Owns nothing. Never acts: `session` and `connection` do.
//! Invariant: every `Scheduled` that parses names a fault that can happen at its moment.

use std::{error::Error, fmt, str::FromStr, time::Duration};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// `http:STATUS`: the upgrade is refused.
    Http(u16),
    /// `delay:MS`: what would happen now happens later. At `turn.mid` it is a pause in the audio.
    Delay(Duration),
    /// `silence`: nothing is sent any more, pongs and the answer to a close apart. At `turn` only that turn is
    /// swallowed.
    Silence,
    /// `drop`: the TCP connection ends without a close frame.
    Drop,
    /// `reset`: the TCP connection is reset.
    Reset,
    /// `close:CODE[:REASON]`: a close frame.
    Close {
        /// Close code; any number, allowed by RFC 6455 or not.
        code: u16,
        /// Reason, cut to 123 bytes.
        reason: String,
    },
    /// `garbage`: a binary frame that is not JSON.
    Garbage,
    /// `invalid-utf8`: a text frame that is not UTF-8.
    InvalidUtf8,
    /// `wrong-opcode`: a frame with the reserved opcode 3.
    WrongOpcode,
    /// `masked`: a frame masked as only clients may.
    Masked,
    /// `huge:BYTES`: a valid message with an unknown field of this size inside `serverContent`.
    Huge(usize),
    /// `announce:BYTES`: the head of a binary frame of this length, and nothing after it.
    Announce(u64),
    /// `unknown-fields`: a message with unknown fields beside a known one.
    UnknownFields,
    /// `ping`: a ping, which the client has to answer.
    Ping,
    /// `late-pongs:MS`: from now on pings are answered this late.
    LatePongs(Duration),
    /// `bundle`: the turn's audio is followed by one message that holds the last chunk, its transcription,
    /// `generationComplete` and `turnComplete` together.
    Bundle,
    /// `empty-turn`: `turnComplete` without any audio.
    EmptyTurn,
    /// `interrupt`: `interrupted` although nobody spoke.
    Interrupt,
    /// `go-away:MS`: `goAway` with this much time left, and after it a close with 1008.
    GoAway(Duration),
    /// `tool:NAME[:JSON]`: a tool call with these arguments before the turn's audio, if NAME is declared.
    ToolCall {
        /// The function.
        name: String,
        /// Its arguments, a JSON object.
        args: serde_json::Value,
    },
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `upgrade`: the HTTP request is complete.
    Upgrade,
    /// `setup`: the setup was accepted, `setupComplete` is due.
    Setup,
    /// `5s`, `300ms`: so long after `setupComplete`.
    After(Duration),
    /// `turn`, `turn2`: a turn is about to begin; without a number every turn.
    Turn(Option<u64>),
    /// `turn.mid`, `turn2.mid`: half of its audio is sent.
    MidTurn(Option<u64>),
    /// `turn.end`, `turn2.end`: `turnComplete` is sent.
    TurnEnd(Option<u64>),
}

impl Moment {
    /// Whether `self`, from a script, means the moment `now`, whose turn is numbered.
    pub(super) fn is(self, now: Moment) -> bool {
        let same = |scripted: Option<u64>, turn| scripted.is_none() || scripted == turn;
        match (self, now) {
            (Self::Turn(scripted), Self::Turn(turn))
            | (Self::MidTurn(scripted), Self::MidTurn(turn))
            | (Self::TurnEnd(scripted), Self::TurnEnd(turn)) => same(scripted, turn),
            _ => self == now,
        }
    }
}

/// A fault, its moment, and on which connection. In text `FAULT@MOMENT[#CONNECTION]`, such as `drop@5s#1` or
/// `close:1011:Internal error@turn2.mid`; without a connection it happens on every one.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// What.
    pub fault: Fault,
    /// When.
    pub at: Moment,
    /// The connection, counted from 1 in the order of acceptance; `None`: every one.
    pub connection: Option<u64>,
}

impl Scheduled {
    /// A fault on every connection.
    pub const fn new(fault: Fault, at: Moment) -> Self {
        Self { fault, at, connection: None }
    }

    /// The same on one connection only.
    pub const fn on_connection(mut self, connection: u64) -> Self {
        self.connection = Some(connection);
        self
    }

    fn check(self) -> Result<Self, String> {
        let upgrade = matches!(self.at, Moment::Upgrade);
        let turn = matches!(self.at, Moment::Turn(_));
        let fits = match &self.fault {
            Fault::Http(_) => upgrade,
            Fault::Silence | Fault::Drop | Fault::Reset => true,
            Fault::Delay(_) => !matches!(self.at, Moment::After(_) | Moment::TurnEnd(_)),
            Fault::Bundle | Fault::EmptyTurn | Fault::ToolCall { .. } => turn,
            Fault::Interrupt => matches!(self.at, Moment::MidTurn(_)),
            _ => !upgrade,
        };
        if fits { Ok(self) } else { Err(format!("{:?} cannot happen at {:?}", self.fault, self.at)) }
    }
}

/// The text of a fault could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultError {
    text: String,
    why: String,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fault {:?}: {}; write FAULT@MOMENT[#CONNECTION], see gemini-sim --help",
            self.text, self.why
        )
    }
}

impl Error for FaultError {}

impl FromStr for Scheduled {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        parse(text).map_err(|why| FaultError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Scheduled, String> {
    let (fault, when) = text.rsplit_once('@').ok_or("there is no @ before the moment")?;
    let (moment, connection) = match when.split_once('#') {
        Some((moment, n)) => (moment, Some(whole::<u64>(n, "connection")?)),
        None => (when, None),
    };
    Scheduled { fault: parse_fault(fault)?, at: parse_moment(moment)?, connection }.check()
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let needed = |what: &str| argument.ok_or_else(|| format!("{name} needs {what}: {name}:{what}"));
    let milliseconds = || Ok::<_, String>(Duration::from_millis(whole(needed("MS")?, "milliseconds")?));
    let fault = match name {
        "http" => Fault::Http(whole(needed("STATUS")?, "HTTP status")?),
        "delay" => Fault::Delay(milliseconds()?),
        "late-pongs" => Fault::LatePongs(milliseconds()?),
        "go-away" => Fault::GoAway(milliseconds()?),
        "huge" => Fault::Huge(whole(needed("BYTES")?, "bytes")?),
        "announce" => Fault::Announce(whole(needed("BYTES")?, "bytes")?),
        "close" => {
            let (code, reason) = needed("CODE")?.split_once(':').unwrap_or((needed("CODE")?, ""));
            Fault::Close { code: whole(code, "close code")?, reason: reason.to_owned() }
        }
        "tool" => {
            let (name, args) = needed("NAME")?.split_once(':').unwrap_or((needed("NAME")?, "{}"));
            let args: serde_json::Value = serde_json::from_str(args)
                .map_err(|error| format!("the arguments {args:?} are no JSON: {error}"))?;
            if !args.is_object() {
                return Err(format!("the arguments {args} are no JSON object"));
            }
            Fault::ToolCall { name: name.to_owned(), args }
        }
        _ => {
            let plain = match name {
                "silence" => Fault::Silence,
                "drop" => Fault::Drop,
                "reset" => Fault::Reset,
                "garbage" => Fault::Garbage,
                "invalid-utf8" => Fault::InvalidUtf8,
                "wrong-opcode" => Fault::WrongOpcode,
                "masked" => Fault::Masked,
                "unknown-fields" => Fault::UnknownFields,
                "ping" => Fault::Ping,
                "bundle" => Fault::Bundle,
                "empty-turn" => Fault::EmptyTurn,
                "interrupt" => Fault::Interrupt,
                _ => return Err(format!("there is no fault {name:?}")),
            };
            if argument.is_some() {
                return Err(format!("{name} takes no argument"));
            }
            plain
        }
    };
    Ok(fault)
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    match text {
        "upgrade" => return Ok(Moment::Upgrade),
        "setup" => return Ok(Moment::Setup),
        _ => {}
    }
    if let Some(turn) = text.strip_prefix("turn") {
        let (number, part) = turn.split_once('.').map_or((turn, None), |(number, part)| (number, Some(part)));
        let number = if number.is_empty() { None } else { Some(whole::<u64>(number, "turn")?) };
        return match part {
            None => Ok(Moment::Turn(number)),
            Some("mid") => Ok(Moment::MidTurn(number)),
            Some("end") => Ok(Moment::TurnEnd(number)),
            Some(other) => Err(format!("a turn has no part {other:?}, only mid and end")),
        };
    }
    if let Some(ms) = text.strip_suffix("ms") {
        return Ok(Moment::After(Duration::from_millis(whole(ms, "milliseconds")?)));
    }
    if let Some(seconds) = text.strip_suffix('s') {
        let seconds: f64 = seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
        return Duration::try_from_secs_f64(seconds)
            .map(Moment::After)
            .map_err(|_| format!("{seconds} s is no time after the setup"));
    }
    Err(format!("there is no moment {text:?}"))
}

fn whole<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a valid {what}"))
}

/// Reads a script file: `{"faults": ["drop@5s#1", ...]}`.
///
/// # Errors
/// A text that names the entry that cannot be understood.
pub fn read_script(json: &[u8]) -> Result<Vec<Scheduled>, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Script {
        faults: Vec<String>,
    }
    let script: Script = serde_json::from_slice(json)
        .map_err(|error| format!("not of the form {{\"faults\": [\"drop@5s\", ...]}}: {error}"))?;
    script.faults.iter().map(|text| text.parse().map_err(|error: FaultError| error.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Scheduled {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_grammar_names_fault_moment_and_connection() {
        assert_eq!(parsed("http:429@upgrade"), Scheduled::new(Fault::Http(429), Moment::Upgrade));
        assert_eq!(
            parsed("drop@2.5s#1"),
            Scheduled::new(Fault::Drop, Moment::After(Duration::from_millis(2500))).on_connection(1)
        );
        assert_eq!(
            parsed("close:1011:Mail me: a@b@turn2.mid"),
            Scheduled::new(
                Fault::Close { code: 1011, reason: "Mail me: a@b".to_owned() },
                Moment::MidTurn(Some(2))
            )
        );
        assert_eq!(
            parsed(r#"tool:look_up:{"a":1}@turn"#),
            Scheduled::new(
                Fault::ToolCall { name: "look_up".to_owned(), args: serde_json::json!({"a": 1}) },
                Moment::Turn(None)
            )
        );
        assert_eq!(
            read_script(br#"{"faults":["delay:300@turn.mid","silence@300ms"]}"#),
            Ok(vec![parsed("delay:300@turn.mid"), parsed("silence@300ms")])
        );
    }

    #[test]
    fn nonsense_is_refused_with_its_cause() {
        for (text, cause) in [
            ("drop", "no @"),
            ("explode@setup", "no fault \"explode\""),
            ("drop@noon", "no moment \"noon\""),
            ("drop@turn1.start", "no part \"start\""),
            ("close@setup", "needs CODE"),
            ("close:x@setup", "not a valid close code"),
            ("http:429@setup", "cannot happen"),
            ("bundle@5s", "cannot happen"),
            ("garbage@upgrade", "cannot happen"),
            ("drop:3@5s", "no argument"),
            ("drop@-5s", "no time"),
            ("tool:f:[1]@turn", "no JSON object"),
        ] {
            let error = text.parse::<Scheduled>().unwrap_err().to_string();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn a_moment_without_a_number_is_every_turn() {
        assert!(Moment::Turn(None).is(Moment::Turn(Some(7))));
        assert!(Moment::Turn(Some(7)).is(Moment::Turn(Some(7))));
        assert!(!Moment::Turn(Some(7)).is(Moment::Turn(Some(8))));
        assert!(!Moment::Turn(None).is(Moment::MidTurn(Some(7))));
    }
}
