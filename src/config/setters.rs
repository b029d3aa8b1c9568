//! The checks and conversions behind the keys that are more than a number in a range.
//!
//! Runs in: the main thread, at start; pure. Owns nothing. Never quotes a secret in an error.
//! Invariant: an error completes the sentence "KEY = VALUE …".

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::agent::{AgentConfig, CallVariable, Fallback};
use super::base_url::is_near;
use super::model::Config;
use super::secret::Secret;
use super::template::Variable;
use crate::base::command::{Context, Destination, VariableName};

pub(super) fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

pub(super) fn seconds(value: u64) -> Duration {
    Duration::from_secs(value)
}

/// `None` for 0, which the key says means "never".
pub(super) fn unless_zero(value: u64, duration: fn(u64) -> Duration) -> Option<Duration> {
    (value > 0).then(|| duration(value))
}

pub(super) fn path(text: Option<&str>) -> Option<PathBuf> {
    text.map(PathBuf::from)
}

/// A text that goes into a header: visible ASCII (RFC 9110 section 5.5, without spaces).
pub(super) fn header_secret(text: Option<&str>) -> Result<Option<Secret>, String> {
    let Some(text) = text else { return Ok(None) };
    if text.chars().any(char::is_whitespace) {
        return Err(
            "contains white space or a line break (often the last character of a file it was read from)"
                .into(),
        );
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains a character that cannot go into an HTTP header".into());
    }
    if text.len() > 4096 {
        return Err("is longer than 4096 bytes".into());
    }
    Ok(Some(Secret::new(text)))
}

/// A text that goes into a URL or a name of the API: letters, digits and the given marks.
pub(super) fn name_of(text: Option<&str>, marks: &str) -> Result<String, String> {
    let text = text.ok_or("is empty")?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !marks.contains(*c)) {
        Some(stranger) => Err(format!("contains {stranger:?}")),
        None => Ok(text.to_owned()),
    }
}

/// The value of a choice whose first word stands for none.
pub(super) fn chosen<T: Copy>(values: &[T], position: usize) -> Option<T> {
    values.get(position.checked_sub(1)?).copied()
}

/// What becomes of a call that cannot go on.
pub(super) fn fallback(text: Option<&str>) -> Result<Fallback, String> {
    match text {
        None | Some("switch") => Ok(Fallback::Switch),
        Some("hangup") => Ok(Fallback::HangUp),
        Some(to) => {
            Destination::new(to).map(Fallback::Transfer).map_err(|unfit| format!("cannot be used: {unfit}"))
        }
    }
}

/// Names of tables, such as of `[tools.NAME]`.
pub(super) fn names(texts: &[String]) -> Result<Vec<String>, String> {
    texts
        .iter()
        .map(|text| name_of(Some(text), "-_").map_err(|wrong| format!("{wrong} in {text:?}")))
        .collect()
}

/// The URL of a tool. What goes there unencrypted stays near: the caller's words are in it, and may be a secret.
pub(super) fn languages(texts: &[String]) -> Result<Vec<String>, String> {
    texts.iter().map(|text| name_of(Some(text), "-")).collect()
}

/// Words of a vocabulary, each of which a person can read.
pub(super) fn vocabulary(texts: &[String]) -> Result<Vec<String>, String> {
    const WORDS_MAX: usize = 500;
    const CHARACTERS_MAX: usize = 100;
    if texts.len() > WORDS_MAX {
        return Err(format!("holds more than {WORDS_MAX} words"));
    }
    let word = |text: &String| match text.trim() {
        "" => Err("holds an empty word".to_owned()),
        word if word.chars().count() > CHARACTERS_MAX || word.chars().any(char::is_control) => {
            Err(format!("holds a word of more than {CHARACTERS_MAX} characters, or of more than one line"))
        }
        word => Ok(word.to_owned()),
    };
    texts.iter().map(word).collect()
}

/// An agent's own variables, `NAME` or `NAME=DEFAULT`.
pub(super) fn call_variables(texts: &[String]) -> Result<Vec<CallVariable>, String> {
    const VARIABLES_MAX: usize = 32;
    const NAME_CHARACTERS_MAX: usize = 32;
    if texts.len() > VARIABLES_MAX {
        return Err(format!("holds more than {VARIABLES_MAX} names"));
    }
    let mut variables: Vec<CallVariable> = Vec::new();
    for text in texts {
        let (name, default) = match text.split_once('=') {
            Some((name, default)) => (name.trim(), Some(default.trim().to_owned())),
            None => (text.trim(), None),
        };
        let letters = name.bytes().filter(|byte| *byte != b'_').count();
        let fits = letters >= 2
            && name.len() <= NAME_CHARACTERS_MAX
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !fits {
            return Err(format!(
                "holds {name:?}: a name has 2 to {NAME_CHARACTERS_MAX} of the characters a-z and _"
            ));
        }
        if Variable::ALL.iter().any(|(known, _)| *known == name) {
            return Err(format!("holds {name:?}, which every agent has: leave it out"));
        }
        if variables.iter().any(|known| known.name == name) {
            return Err(format!("holds {name:?} twice"));
        }
        variables.push(CallVariable { name: name.to_owned(), default });
    }
    Ok(variables)
}

pub(super) fn tool_url(text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("is empty")?;
    let url: http::Uri = text.parse().map_err(|error| format!("is not a URL ({error})"))?;
    let authority = url.authority().ok_or("names no host")?;
    let port = authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    if authority.host().trim_matches(['[', ']']).is_empty() {
        return Err("names no host".into());
    }
    if authority.as_str().contains('@') || text.contains('#') {
        return Err(
            "holds a user, a password or a fragment (a secret goes into header and header_env)".into()
        );
    }
    if port.is_some() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not one of 1 to 65535".into());
    }
    match url.scheme_str() {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_near(authority.host()) => Ok(text.to_owned()),
        Some("http") => {
            Err("would send what the caller said unencrypted: http:// is for loopback and private addresses \
                             (numbers, or localhost), https:// for all others"
                .into())
        }
        _ => Err("begins with neither https:// nor http://".into()),
    }
}

/// One key of a telephone.
pub(super) fn digits_terminator(text: &str) -> Result<char, String> {
    let mut keys = text.chars();
    match (keys.next(), keys.next()) {
        (Some(key @ ('0'..='9' | 'A'..='D' | '*' | '#')), None) => Ok(key),
        _ => Err("is not one key of a telephone".into()),
    }
}

/// A secret as the value of a header: printable ASCII (RFC 9110 section 5.5), spaces as in `Bearer …` included.
pub(super) fn header_value(text: &str) -> Result<Secret, &'static str> {
    match text {
        _ if text.trim() != text => Err("begins or ends with white space"),
        _ if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
            Err("holds a character that cannot go into an HTTP header")
        }
        _ if text.len() > 4096 => Err("is longer than 4096 bytes"),
        _ => Ok(Secret::new(text)),
    }
}

pub(super) fn set_host(config: &mut Config, host: Option<&str>) -> Result<(), String> {
    let host = host.ok_or("is empty")?;
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    config.listen.host = host.trim_matches(['[', ']']).parse().map_err(|_| "is not an IP address")?;
    Ok(())
}

pub(super) fn set_allow(config: &mut Config, networks: &[String]) -> Result<(), String> {
    if networks.is_empty() {
        return Err("would let nobody call; \"0.0.0.0/0\" and \"::/0\" stand for everybody".into());
    }
    let parsed: Result<Vec<ipnet::IpNet>, String> = networks
        .iter()
        .map(|text| {
            let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
            network.map_err(|_| format!("contains {text:?}, which is no network"))
        })
        .collect();
    config.listen.allow = parsed?;
    Ok(())
}

pub(super) fn set_admin_listen(config: &mut Config, address: Option<&str>) -> Result<(), String> {
    config.admin.listen =
        address.map(|text| text.parse().map_err(|_| "is not an address and port")).transpose()?;
    Ok(())
}

pub(super) fn set_destinations<T: AsMut<AgentConfig>>(
    target: &mut T,
    texts: &[String],
) -> Result<(), String> {
    let destinations: Result<_, _> = texts.iter().map(|text| Destination::new(text)).collect();
    target.as_mut().transfer_destinations =
        destinations.map_err(|unfit| format!("cannot be used: {unfit}"))?;
    Ok(())
}

pub(super) fn set_variables(config: &mut Config, texts: &[String]) -> Result<(), String> {
    let names: Result<_, _> = texts.iter().map(|text| VariableName::new(text)).collect();
    config.control.variables = names.map_err(|unfit| format!("cannot be used: {unfit}"))?;
    Ok(())
}

pub(super) fn set_contexts(config: &mut Config, texts: &[String]) -> Result<(), String> {
    let names: Result<_, _> = texts.iter().map(|text| Context::new(text)).collect();
    config.control.transfer_contexts = names.map_err(|unfit| format!("cannot be used: {unfit}"))?;
    Ok(())
}

/// What stands for the number in a dial string.
const TO: &str = "{to}";

pub(super) fn set_dial_string(config: &mut Config, template: Option<&str>) -> Result<(), String> {
    if let Some(template) = template {
        if template.matches(TO).count() != 1 {
            return Err("does not hold {to} once".into());
        }
        // A space would begin the next argument of originate.
        if template.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("holds white space or a control character".into());
        }
    }
    config.esl.dial_string = template.map(str::to_owned);
    Ok(())
}

/// `name(arguments)`, as originate runs it.
pub(super) fn application(text: Option<&str>) -> Result<String, String> {
    let text = text.ok_or("is empty")?;
    if text.chars().any(|c| c.is_control() || c == '\'') {
        return Err("holds a quote or a control character".into());
    }
    match text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        Some((name, _))
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
        {
            Ok(text.to_owned())
        }
        _ => Err("is not of the form NAME(ARGUMENTS)".into()),
    }
}

pub(super) fn set_log_level(config: &mut Config, position: usize) {
    config.log.level = [
        LevelFilter::Off,
        LevelFilter::Error,
        LevelFilter::Warn,
        LevelFilter::Info,
        LevelFilter::Debug,
        LevelFilter::Trace,
    ][position];
}
