//! How faults are written: one grammar for flags, script files and tests.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: a text that is not understood is refused with what in it is wrong.

use std::{str::FromStr, time::Duration};

use super::{Connections, Fault, FaultError, Moment, Scheduled};

impl FromStr for Scheduled {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        parse(text).map_err(|why| FaultError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<Scheduled, String> {
    let (fault, when) = text.rsplit_once('@').ok_or("there is no @ before the moment")?;
    let (when, connections) = match when.split_once('#') {
        Some((when, connections)) => (when, parse_connections(connections)?),
        None => (when, Connections::Every),
    };
    let (moment, later) = match when.split_once('+') {
        Some((moment, ms)) => (moment, Duration::from_millis(whole(ms, "milliseconds")?)),
        None => (when, Duration::ZERO),
    };
    Scheduled { fault: parse_fault(fault)?, at: parse_moment(moment)?, later, connections }.check()
}

fn parse_connections(text: &str) -> Result<Connections, String> {
    match text {
        "new" => return Ok(Connections::New),
        "resumed" => return Ok(Connections::Resumed),
        _ => {}
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (whole::<u64>(first, "connection")?, whole::<u64>(last, "connection")?);
    if last < first {
        return Err(format!("{text:?} is no range of connections: write the smaller number first"));
    }
    Ok(Connections::Numbers(first, last))
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let needed = |what: &str| argument.ok_or_else(|| format!("{name} needs {what}: {name}:{what}"));
    let milliseconds = || Ok::<_, String>(Duration::from_millis(whole(needed("MS")?, "milliseconds")?));
    let fault = match name {
        "http" => Fault::Http(whole(needed("STATUS")?, "HTTP status")?),
        "delay" => Fault::Delay(milliseconds()?),
        "late-pongs" => Fault::LatePongs(milliseconds()?),
        "go-away" => {
            let (ms, silent) = match needed("MS")?.split_once(':') {
                Some((ms, "silent")) => (ms, true),
                Some((_, other)) => return Err(format!("go-away knows \"silent\", not {other:?}")),
                None => (needed("MS")?, false),
            };
            let left = Duration::from_millis(whole(ms, "milliseconds")?);
            if silent { Fault::GoAwaySilent(left) } else { Fault::GoAway(left) }
        }
        "swallow" => Fault::Swallow(milliseconds()?),
        "replay-limit" => Fault::ReplayLimit(milliseconds()?),
        "ageing" => Fault::Ageing(milliseconds()?),
        "pace" => {
            let factor: f64 = whole(needed("FACTOR")?, "factor")?;
            if !(factor == 0.0 || (0.01..=1_000.0).contains(&factor)) {
                return Err(format!("pace {factor}: write 0, or 0.01 to 1000"));
            }
            Fault::Pace(factor)
        }
        "huge" => Fault::Huge(whole(needed("BYTES")?, "bytes")?),
        "announce" => Fault::Announce(whole(needed("BYTES")?, "bytes")?),
        "close" => {
            let (code, reason) = code_and_reason(needed("CODE")?)?;
            Fault::Close { code, reason }
        }
        "tool-audio" => {
            let (code, reason) = code_and_reason(needed("CODE")?)?;
            Fault::ToolAudio { code, reason }
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
                "uninterruptible" => Fault::Uninterruptible,
                "start-again" => Fault::StartAgain,
                "cancel-tools" => Fault::CancelTools,
                "no-handles" => Fault::NoHandles,
                "forget" => Fault::Forget,
                "replay-transcripts" => Fault::ReplayTranscripts,
                "carry-on" => Fault::CarryOn,
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
    for (name, moment) in [
        ("speech", Moment::Speech as fn(Option<u64>) -> Moment),
        ("tool-call", Moment::ToolCall),
        ("tool-response", Moment::ToolResponse),
        ("resume", Moment::Resume),
    ] {
        if let Some(number) = text.strip_prefix(name) {
            return numbered(number, name).map(moment);
        }
    }
    if let Some(turn) = text.strip_prefix("turn") {
        let (number, part) = turn.split_once('.').map_or((turn, None), |(number, part)| (number, Some(part)));
        let number = numbered(number, "turn")?;
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

fn code_and_reason(text: &str) -> Result<(u16, String), String> {
    let (code, reason) = text.split_once(':').unwrap_or((text, ""));
    Ok((whole(code, "close code")?, reason.to_owned()))
}

fn numbered(number: &str, what: &str) -> Result<Option<u64>, String> {
    if number.is_empty() { Ok(None) } else { whole(number, what).map(Some) }
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
            parsed("reset@speech2+500#new"),
            Scheduled {
                fault: Fault::Reset,
                at: Moment::Speech(Some(2)),
                later: Duration::from_millis(500),
                connections: Connections::New,
            }
        );
        assert_eq!(parsed("forget@resume1#1-6").connections, Connections::Numbers(1, 6));
        assert_eq!(
            parsed("go-away:900:silent@turn.end").fault,
            Fault::GoAwaySilent(Duration::from_millis(900))
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
            ("forget@setup", "cannot happen"),
            ("empty-turn@turn+20", "cannot happen later"),
            ("drop@upgrade#new", "nobody knows yet"),
            ("drop@speech2#3-1", "smaller number first"),
            ("go-away:5:loud@5s", "knows \"silent\""),
            ("pace:-1@turn", "0.01 to 1000"),
        ] {
            let error = text.parse::<Scheduled>().unwrap_err().to_string();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }
}
