//! What a switch may tell about a call, by name: the fields, their spellings, their limits.
//!
//! Runs in: the accept and telephony threads, once per call; pure. Owns the table of names.
//! Never refuses a call: a value that cannot be used is left out and noted.
//! Invariant: every text kept here is of limited length and holds no control character, so that it may be logged,
//! stored and sent to the switch again.

use super::variables::Variables;
use crate::base::excerpt::{cut, is_loggable};
use crate::base::{Mix, PlaybackFormat, Quoted, SampleRate, Words, call_name};
use std::fmt;

/// Longest UUID of a call, in bytes. A UUID has 36; a switch may use a SIP Call-ID in its place.
pub(crate) const UUID_BYTES_MAX: usize = 64;
/// Longest number dialled, in bytes: E.164 has 16, SIP users are longer.
pub(crate) const DID_BYTES_MAX: usize = 64;
/// Longest caller, in bytes: may be a name.
pub(crate) const CALLER_BYTES_MAX: usize = 128;
/// Longest name of an agent, in bytes.
pub(crate) const AGENT_BYTES_MAX: usize = 64;
/// Most notes kept for one source, so that a hostile request cannot fill the log.
pub(crate) const NOTES_MAX: usize = 16;

const NOTED_VALUE_BYTES_MAX: usize = 32;

/// Everything a switch may tell about a call, each field optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFields {
    /// The call's UUID at the switch.
    pub uuid: Option<String>,
    /// The number dialled.
    pub did: Option<String>,
    /// Who calls: a number or a name.
    pub caller: Option<String>,
    /// How audio is sent back.
    pub playback: Option<PlaybackFormat>,
    /// Rate of the leg's audio.
    pub rate: Option<SampleRate>,
    /// Rate of the audio that is sent back, where that is another one.
    pub playback_rate: Option<SampleRate>,
    /// Channels of the caller's audio.
    pub mix: Option<Mix>,
    /// The agent to answer with.
    pub agent: Option<String>,
    /// Whether our script is in the switch: it carries out commands, plays files and reports.
    pub script: Option<bool>,
    /// Whether whoever connects it asks what is next when the leg has ended, and connects it again if told so: a dialplan that goes
    /// round.
    pub again: Option<bool>,
    /// What else was said, for the texts of the agent that asks for it.
    pub variables: Variables,
}

impl fmt::Display for CallFields {
    /// What is known of who is calling whom, as `name="value"` words for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = self.uuid_shown();
        let known = [("uuid", &uuid), ("did", &self.did), ("caller", &self.caller), ("agent", &self.agent)];
        let mut separator = "";
        for (name, value) in known.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            write!(f, "{separator}{name}={}", Quoted(value))?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("caller unknown") } else { Ok(()) }
    }
}

/// Where a field came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The path or the query of the URL.
    Url,
    /// A header of the upgrade request.
    Header,
    /// The metadata text.
    Metadata,
}

/// What was wrong with a value that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Longer than the given number of bytes.
    TooLong(usize),
    /// Holds a character that this field cannot have.
    ForbiddenCharacter,
    /// None of the values that the text lists.
    NotOneOf(&'static str),
    /// A list, an object or a boolean where a text or a number belongs.
    NotText,
    /// Begins like JSON but is none.
    NotJson,
    /// More names and values than anybody looks at.
    TooMany(usize),
    /// Bytes that are not UTF-8, in whose place U+FFFD is read.
    NotUtf8,
    /// A `#` that nobody escaped, which is read as itself.
    Hash,
    /// Parameters without the `?` that begins them, which are read all the same.
    NoQuestionMark,
    /// `&amp;` between parameters, as in XML, which is read as `&`.
    EscapedAmpersand,
    /// An answer that the module is not set up to play, so that the caller hears nothing.
    NotStreamed,
}

/// A value that was left out, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldNote {
    /// Where it stood.
    pub(crate) source: Source,
    /// Which field it was for, or `text`, `query`, `token`.
    pub field: &'static str,
    /// What was wrong.
    pub(crate) problem: Problem,
    /// The value, shortened and printable; empty for a token.
    pub value: String,
}

impl FieldNote {
    pub(crate) fn new(source: Source, field: &'static str, problem: Problem, value: &[u8]) -> Self {
        Self { source, field, problem, value: cut(value, NOTED_VALUE_BYTES_MAX) }
    }
}

impl fmt::Display for FieldNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Url => "URL",
            Source::Header => "headers",
            Source::Metadata => "metadata",
        };
        let ignored = if self.problem.is_read_all_the_same() { "" } else { " ignored" };
        write!(f, "{} in the call's {source}{ignored}: ", self.field)?;
        if !self.value.is_empty() {
            write!(f, "{} ", Quoted(&self.value))?;
        }
        match self.problem {
            Problem::NotUtf8 => f.write_str("holds bytes that are not UTF-8, and is read with \u{FFFD} in their place"),
            Problem::Hash => f.write_str("holds a # that is not escaped, and is read as it is: write %23"),
            Problem::NoQuestionMark => {
                f.write_str("holds parameters without a ? before them, and they are read all the same: write /?name=value&name=value")
            }
            Problem::EscapedAmpersand => f.write_str("has &amp; between parameters, read as &: write it once in XML"),
            Problem::NotStreamed => {
                f.write_str("does not stream, so that the caller hears nothing: set bidirectionalAudio.streaming to true")
            }
            Problem::TooLong(bytes_max) => write!(f, "is longer than {bytes_max} bytes"),
            Problem::ForbiddenCharacter => f.write_str("holds a character that may not stand there"),
            Problem::NotOneOf(values) => write!(f, "is none of {values}"),
            Problem::NotText => f.write_str("is neither a text nor a number"),
            Problem::NotJson => f.write_str("begins like JSON but is none"),
            Problem::TooMany(count_max) => write!(f, "has more than {count_max} entries"),
        }
    }
}

impl FieldNote {
    /// What it is about, in one word for everything that is said of it.
    pub const fn kind(&self) -> &'static str {
        self.field
    }

    /// Whether `other` says the same of the same field, be it of another value.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.source, self.field, self.problem) == (other.source, other.field, other.problem)
    }
}

impl Problem {
    /// Whether the value is used in spite of it.
    const fn is_read_all_the_same(self) -> bool {
        matches!(
            self,
            Self::NotUtf8 | Self::Hash | Self::NoQuestionMark | Self::EscapedAmpersand | Self::NotStreamed
        )
    }
}

/// Adds a note unless there are [`NOTES_MAX`] already.
pub(crate) fn note(notes: &mut Vec<FieldNote>, note: FieldNote) {
    if notes.len() < NOTES_MAX {
        notes.push(note);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Uuid,
    Did,
    Caller,
    Playback,
    Rate,
    PlaybackRate,
    Mix,
    Agent,
    Script,
    Again,
}

/// Every field with its name in notes and its spellings, the best first. Case, `-` and `_` do not matter.
const NAMES: [(Field, &str, &[&str]); 10] = [
    // jambonz gives the id by which its API knows a call as callSid, and the SIP Call-ID as callId.
    (Field::Uuid, "uuid", &["uuid", "calluuid", "callsid", "callid", "channeluuid", "uniqueid"]),
    (Field::Did, "did", &["did", "destinationnumber", "called", "callednumber", "destination", "dnis", "to"]),
    (Field::Caller, "caller", &["caller", "calleridnumber", "callernumber", "callerid", "ani", "from"]),
    (Field::Playback, "playback", &["playback"]),
    (Field::Rate, "rate", &["rate", "samplerate"]),
    (Field::PlaybackRate, "playback_rate", &["playbackrate", "bidirectionalaudio.samplerate"]),
    (Field::Mix, "mix", &["mix", "mixtype"]),
    (Field::Agent, "agent", &["agent"]),
    (Field::Script, "script", &["script"]),
    (Field::Again, "again", &["again"]),
];

const RATES: &str = "8000, 16000, 24000, 32000, 48000";

impl CallFields {
    /// The call's UUID as it is shown and stored ([`call_name::canonical`]); a switch is told its own spelling.
    pub fn uuid_shown(&self) -> Option<String> {
        self.uuid.as_deref().map(|uuid| call_name::canonical(uuid).into_owned())
    }

    /// These fields, and those of `other` where these are missing.
    pub fn or(self, other: Self) -> Self {
        Self {
            uuid: self.uuid.or(other.uuid),
            did: self.did.or(other.did),
            caller: self.caller.or(other.caller),
            playback: self.playback.or(other.playback),
            rate: self.rate.or(other.rate),
            playback_rate: self.playback_rate.or(other.playback_rate),
            mix: self.mix.or(other.mix),
            agent: self.agent.or(other.agent),
            script: self.script.or(other.script),
            again: self.again.or(other.again),
            variables: self.variables.or(other.variables),
        }
    }

    /// Whether nothing is said but variables, if any.
    pub(crate) fn is_unknown(&self) -> bool {
        *self == Self { variables: self.variables.clone(), ..Self::default() }
    }

    /// Fields out of names and values; `None` is a value that is neither text nor number. Where several names mean
    /// one field, the best name with a value that can be used counts. Empty values count as absent.
    pub(crate) fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: &[(N, Option<V>)],
        source: Source,
        notes: &mut Vec<FieldNote>,
    ) -> Self {
        let mut fields = Self::default();
        for (field, field_name, spellings) in NAMES {
            let values = spellings.iter().flat_map(|spelling| {
                pairs
                    .iter()
                    .filter(move |(name, _)| same_name(name.as_ref(), spelling))
                    .map(|(_, value)| value)
            });
            for value in values {
                let Some(value) = value else {
                    note(notes, FieldNote::new(source, field_name, Problem::NotText, b""));
                    continue;
                };
                let value = value.as_ref().trim();
                if value.is_empty() {
                    continue;
                }
                if value.contains(char::REPLACEMENT_CHARACTER) {
                    note(notes, FieldNote::new(source, field_name, Problem::NotUtf8, value.as_bytes()));
                }
                match fields.set(field, value) {
                    Ok(()) => break,
                    Err(problem) => {
                        note(notes, FieldNote::new(source, field_name, problem, value.as_bytes()));
                    }
                }
            }
        }
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref().map(AsRef::as_ref));
            if let Some(value) = value.filter(|_| !is_field(name)) {
                fields.variables.note(name, value);
            }
        }
        fields
    }

    fn set(&mut self, field: Field, value: &str) -> Result<(), Problem> {
        match field {
            Field::Uuid => self.uuid = Some(checked(value, UUID_BYTES_MAX, is_identifier)?),
            Field::Did => self.did = Some(checked(value, DID_BYTES_MAX, is_dialled)?),
            Field::Caller => self.caller = Some(checked(value, CALLER_BYTES_MAX, is_caller)?),
            Field::Playback => {
                let format =
                    PlaybackFormat::from_name(value).ok_or(Problem::NotOneOf("binary, json, file"))?;
                self.playback = Some(format);
            }
            Field::Rate => self.rate = Some(parse_rate(value).ok_or(Problem::NotOneOf(RATES))?),
            Field::PlaybackRate => {
                self.playback_rate = Some(parse_rate(value).ok_or(Problem::NotOneOf(RATES))?);
            }
            Field::Mix => {
                self.mix = Some(Mix::from_name(value).ok_or(Problem::NotOneOf("mono, mixed, stereo"))?);
            }
            Field::Agent => self.agent = Some(checked(value, AGENT_BYTES_MAX, is_identifier)?),
            Field::Script => self.script = Some(parse_flag(value)?),
            Field::Again => self.again = Some(parse_flag(value)?),
        }
        Ok(())
    }
}

fn parse_flag(value: &str) -> Result<bool, Problem> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Problem::NotOneOf("1, 0")),
    }
}

/// Whether something of this name is a field that the relay knows, and so no variable of a call.
pub(crate) fn is_field(name: &str) -> bool {
    NAMES.iter().any(|(_, _, spellings)| spellings.iter().any(|spelling| same_name(name, spelling)))
}

/// White space, and what ends a text of C: nothing that a value begins or ends with by intent.
pub(crate) fn is_padding(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\0' | '\u{FEFF}')
}

/// Whether `given` is `spelling` (lower case, no separators) but for case, `-` and `_`.
fn same_name(given: &str, spelling: &str) -> bool {
    let letters =
        given.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).map(|byte| byte.to_ascii_lowercase());
    letters.eq(spelling.bytes())
}

fn checked(value: &str, bytes_max: usize, allowed: fn(&str) -> bool) -> Result<String, Problem> {
    if value.len() > bytes_max {
        return Err(Problem::TooLong(bytes_max));
    }
    if allowed(value) { Ok(value.to_owned()) } else { Err(Problem::ForbiddenCharacter) }
}

/// UUIDs, SIP Call-IDs and names of agents: nothing that a command line, a path or an event socket would interpret;
/// the first character rules out `..` and options.
fn is_identifier(value: &str) -> bool {
    value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@:+~=".contains(&byte))
}

/// Numbers as dialled, SIP users and addresses.
fn is_dialled(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+*#-_.@:;=()/~! ".contains(&byte))
}

/// Anything printable: caller names are in every language.
fn is_caller(value: &str) -> bool {
    value.chars().all(is_loggable)
}

/// `16000`, `16k`, `16 kHz`, `16000Hz`.
fn parse_rate(value: &str) -> Option<SampleRate> {
    let lower = value.to_ascii_lowercase();
    let number = lower.strip_suffix("hz").unwrap_or(&lower).trim_end();
    let hz = match number.strip_suffix('k') {
        Some(thousands) => thousands.trim_end().parse::<u32>().ok()?.checked_mul(1000)?,
        None => number.parse().ok()?,
    };
    SampleRate::from_hz(hz)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(pairs: &[(&str, &str)]) -> (CallFields, Vec<FieldNote>) {
        let mut notes = Vec::new();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, Some(*value))).collect();
        (CallFields::from_pairs(&pairs, Source::Url, &mut notes), notes)
    }

    #[test]
    fn every_spelling_of_a_name_is_understood() {
        for name in ["uuid", "UUID", "call_uuid", "Call-UUID", "callid", "callId", "Unique-ID"] {
            assert_eq!(from(&[(name, "u-1")]).0.uuid.as_deref(), Some("u-1"), "{name}");
        }
        for name in ["did", "destination_number", "called", "to", "Destination-Number"] {
            assert_eq!(from(&[(name, "100")]).0.did.as_deref(), Some("100"), "{name}");
        }
        for name in ["caller", "caller_id_number", "from", "Caller-ID-Number"] {
            assert_eq!(from(&[(name, "42")]).0.caller.as_deref(), Some("42"), "{name}");
        }
        let (fields, notes) = from(&[("uuidx", "1"), ("xuuid", "1"), ("", "1")]);
        assert_eq!((fields.variables.get("uuidx"), fields.variables.get("")), (Some("1"), None));
        assert_eq!((CallFields { variables: Variables::default(), ..fields }, notes), Default::default());
    }

    #[test]
    fn the_best_name_with_a_usable_value_counts() {
        assert_eq!(from(&[("callid", "b"), ("uuid", "a")]).0.uuid.as_deref(), Some("a"));
        let (fields, notes) = from(&[("uuid", "a b"), ("callid", ""), ("call_uuid", "c")]);
        assert_eq!(fields.uuid.as_deref(), Some("c"));
        assert_eq!(notes.len(), 1);
        assert_eq!(
            notes[0].to_string(),
            "uuid in the call's URL ignored: \"a b\" holds a character that may not stand there"
        );
    }

    #[test]
    fn rates_are_read_in_the_ways_people_write_them() {
        for text in ["16k", "16000", "16K", "16 kHz", "16000Hz"] {
            assert_eq!(from(&[("rate", text)]).0.rate, Some(SampleRate::Hz16000), "{text}");
        }
        for text in ["11025", "k", "-16k", "16.0k", "9999999k", "1e4", "0"] {
            let (fields, notes) = from(&[("rate", text)]);
            assert_eq!((fields.rate, notes.len()), (None, 1), "{text}");
        }
        let (_, notes) = from(&[("rate", "44.1k")]);
        assert_eq!(
            notes[0].to_string(),
            "rate in the call's URL ignored: \"44.1k\" is none of 8000, 16000, 24000, 32000, 48000"
        );
    }

    #[test]
    fn playback_and_mix_are_words() {
        let (fields, notes) = from(&[("playback", "JSON"), ("mix", "Stereo")]);
        assert_eq!((fields.playback, fields.mix), (Some(PlaybackFormat::Json), Some(Mix::Stereo)));
        assert!(notes.is_empty());
        let (fields, notes) = from(&[("playback", "file"), ("script", "1")]);
        assert_eq!((fields.playback, fields.script), (Some(PlaybackFormat::File), Some(true)));
        assert!(notes.is_empty());
        let (fields, notes) = from(&[("playback", "fifo"), ("mix", "both")]);
        assert_eq!((fields, notes.len()), (CallFields::default(), 2));
    }

    #[test]
    fn what_could_do_harm_later_is_left_out() {
        for value in ["../../etc", "-h", "..", "a/b", "a b", "a\nb", "a\0", "${uuid}", "á", &"a".repeat(65)]
        {
            let (fields, notes) = from(&[("uuid", value), ("agent", value)]);
            assert_eq!((fields, notes.len()), (CallFields::default(), 2), "{value}");
        }
        for value in ["a\r\nX: y", "\u{202E}evil", "\u{7f}", &"ž".repeat(65)] {
            let (fields, notes) = from(&[("caller", value)]);
            assert_eq!((fields, notes.len()), (CallFields::default(), 1), "{value}");
            assert!(notes[0].to_string().chars().all(is_loggable));
        }
        assert_eq!(from(&[("caller", "Žluťoučký kůň")]).0.caller.as_deref(), Some("Žluťoučký kůň"));
        assert_eq!(from(&[("did", "+420 123*4#")]).0.did.as_deref(), Some("+420 123*4#"));
        assert_eq!(from(&[("did", "100'`$x")]).0.did, None);
    }

    proptest! {
        /// What a reader of the log takes for fields is what the fields are, whatever a caller writes into them.
        #[test]
        fn no_value_of_a_caller_becomes_a_field_of_the_log(
            values in prop::array::uniform4(prop::option::of("[ a-z=\"\\\\\u{e9}\u{202e}\u{200b}\u{e0041}\\n]{0,20}|did=\"5\" ?")),
        ) {
            let [uuid, did, caller, agent] = values.clone();
            let known = CallFields { uuid, did, caller, agent, ..CallFields::default() };
            let line = known.to_string();
            prop_assert!(!line.contains(crate::base::visible::is_invisible));
            let mut rest = line.as_str();
            for (name, value) in ["uuid", "did", "caller", "agent"].into_iter().zip(&values) {
                let Some(value) = value else { continue };
                let quoted = Quoted(value).to_string();
                let after = rest.trim_start().strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
                let after = after.and_then(|rest| rest.strip_prefix(quoted.as_str()));
                prop_assert!(after.is_some(), "{} in {}", name, line);
                rest = after.unwrap_or_default();
            }
            prop_assert!(rest.is_empty() || values.iter().all(Option::is_none), "{}", line);
        }
    }

    #[test]
    fn notes_are_limited_in_number() {
        let pairs = vec![("uuid", "\u{1}x"); 100];
        assert_eq!(from(&pairs).1.len(), NOTES_MAX);
    }

    #[test]
    fn merging_keeps_what_is_there() {
        let ours = from(&[("uuid", "a"), ("rate", "8k")]).0;
        let theirs = from(&[("uuid", "b"), ("did", "100"), ("rate", "16k"), ("mix", "mono")]).0;
        let merged = ours.or(theirs);
        assert_eq!((merged.uuid.as_deref(), merged.did.as_deref()), (Some("a"), Some("100")));
        assert_eq!((merged.rate, merged.mix), (Some(SampleRate::Hz8000), Some(Mix::Mono)));
    }
}
