//! The readings of those values that are more than a number in a range.
//!
//! Runs in: the main thread, at start; pure. Owns nothing. Never quotes a secret in an error.
//! Invariant: an error completes the sentence "KEY = VALUE …".

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::agent::CallVariable;
use super::base_url::is_near;
use super::secret::Secret;
use super::settings::from_checked;
use super::template::Variable;

/// A text that goes into a header: visible ASCII (RFC 9110 section 5.5, without spaces).
pub(super) fn header_secret(text: &str) -> Result<Secret, String> {
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
    Ok(Secret::new(text))
}

from_checked! {
    Secret: Text(text) => header_secret(&text), nothing => Err("is empty".into());
}

/// A text that goes into a URL or a name of the API: letters, digits and the given marks.
pub(super) fn name(text: &str, marks: &str) -> Result<String, String> {
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !marks.contains(*c)) {
        Some(stranger) => Err(format!("contains {stranger:?}")),
        None => Ok(text.to_owned()),
    }
}

/// Several of them, such as the names of tables `[tools.NAME]`.
pub(super) fn names(texts: &[String], marks: &str) -> Result<Vec<String>, String> {
    texts.iter().map(|text| name(text, marks).map_err(|wrong| format!("{wrong} in {text:?}"))).collect()
}

/// Values that have a character set of their own.
pub(super) fn fitting<V, U: Display>(
    texts: &[String],
    new: impl Fn(&str) -> Result<V, U>,
) -> Result<Vec<V>, String> {
    texts.iter().map(|text| new(text).map_err(|unfit| format!("cannot be used: {unfit}"))).collect()
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

/// The URL of a tool. What goes there unencrypted stays near: the caller's words are in it, and may be a secret.
pub(super) fn tool_url(text: &str) -> Result<String, String> {
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
pub(super) fn key_of_a_telephone(text: &str) -> Result<char, String> {
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

/// An address to listen on.
pub(super) fn host_address(host: &str) -> Result<IpAddr, String> {
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    host.trim_matches(['[', ']']).parse().map_err(|_| "is not an IP address".into())
}

/// Networks, and addresses as networks of one.
pub(super) fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    if texts.is_empty() {
        return Err("would let nobody call; \"0.0.0.0/0\" and \"::/0\" stand for everybody".into());
    }
    networks_or_none(texts)
}

/// The same where none are as good.
pub(super) fn networks_or_none(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    texts
        .iter()
        .map(|text| network(text).map_err(|_| format!("contains {text:?}, which is no network")))
        .collect()
}

/// Where a server listens.
pub(super) fn address_and_port(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an address and port".into())
}

/// What originate dials, with `{to}` for the number.
pub(super) fn dial_string(template: &str) -> Result<String, String> {
    if template.matches("{to}").count() != 1 {
        return Err("does not hold {to} once".into());
    }
    // A space would begin the next argument of originate.
    if template.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds white space or a control character".into());
    }
    Ok(template.to_owned())
}

/// `name(arguments)`, as originate runs it.
pub(super) fn application(text: &str) -> Result<String, String> {
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

/// The code of a currency.
pub(super) fn currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err("is no code of a currency (ISO 4217)".into())
}
