//! The control messages of Asterisk's chan_websocket: events from it and commands to it, as plain text or as JSON.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. Never fails, whatever the text is.
//! Invariant: a command has at most 128 bytes, the most that Asterisk reads.
//!
//! The format is that of `chan_websocket.c` (read in Asterisk 22.10.1). Audio is in binary messages without a head.

use serde_json::{Map, Value};

use crate::base::SampleRate;
use crate::base::excerpt::excerpt;
use crate::call::leg::CallFields;
use crate::call::leg::fields::Source;

/// Longest event that is looked at, in bytes; channel variables make the first one the longest.
pub(crate) const EVENT_BYTES_MAX: usize = 65_536;
/// The most of an error's text that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 160;
/// Channel variables that name a field of the call begin with this: `TANDEM_DID` and so on.
const VARIABLE_PREFIX: &str = "TANDEM_";

/// How control messages are written on a channel: `f(plain-text)` or `f(json)` in the dial string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Words.
    Plain,
    /// Objects.
    Json,
}

/// What the first event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaStart {
    /// How control messages are written.
    pub control: Control,
    /// Rate of the audio both ways; `None` where the format is not linear, or of a rate that no filter exists for.
    pub rate: Option<SampleRate>,
    /// What channel variables say of the call; the channel's id stands for a missing UUID.
    pub fields: CallFields,
}

/// The end of a stretch of audio that was marked: which stretch, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Flushes before it.
    pub flushes: u32,
    /// Frames handed over since the last flush.
    pub frames: u32,
}

/// Something that Asterisk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The channel is there: the first event.
    MediaStart(Box<MediaStart>),
    /// The queue is nearly full: send nothing.
    Xoff,
    /// There is room again.
    Xon,
    /// Everything before this mark was played.
    Mark(Mark),
    /// The caller pressed a key.
    Dtmf(char),
    /// How Asterisk's queue stands: whether it counts as full.
    Status {
        /// It wants no more audio.
        full: bool,
    },
    /// Something that we said was wrong, or went wrong there, in Asterisk's words.
    Error(String),
    /// Anything else.
    Other,
}

impl Event {
    /// Reads one text message.
    pub(crate) fn parse(text: &str) -> Self {
        if text.len() > EVENT_BYTES_MAX {
            return Self::Other;
        }
        let text = text.trim_matches(|one: char| one.is_whitespace() || matches!(one, '\0' | '\u{FEFF}'));
        if text.starts_with('{') {
            let object: Option<Map<String, Value>> = serde_json::from_str(text).ok();
            return object.and_then(|object| from_json(&object)).unwrap_or(Self::Other);
        }
        from_plain(text).unwrap_or(Self::Other)
    }
}

fn from_json(object: &Map<String, Value>) -> Option<Event> {
    let text = |name| object.get(name)?.as_str();
    match text("event")? {
        "MEDIA_START" => {
            let variables = object.get("channel_variables").and_then(Value::as_object);
            let pairs: Vec<(&str, Option<&str>)> = variables
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((field_name(name)?, value.as_str())))
                .collect();
            Some(media_start(Control::Json, text("format")?, text("channel_id"), &pairs))
        }
        "DTMF_END" => key(text("digit")?),
        "MEDIA_MARK_PROCESSED" => mark(text("correlation_id")?),
        "STATUS" => Some(Event::Status { full: object.get("queue_full")?.as_bool()? }),
        "ERROR" => Some(error(text("error_text").unwrap_or_default())),
        event => flow(event),
    }
}

fn from_plain(text: &str) -> Option<Event> {
    let (event, rest) = text.split_once(' ').unwrap_or((text, ""));
    let named = |name: &str| {
        let mut words = rest.split(' ').filter_map(|word| word.split_once(':'));
        words.find(|(word, _)| *word == name).map(|(_, value)| value)
    };
    match event {
        "MEDIA_START" => Some(media_start(Control::Plain, named("format")?, named("channel_id"), &[])),
        "DTMF_END" => key(named("digit")?),
        "MEDIA_MARK_PROCESSED" => mark(rest),
        "STATUS" => Some(Event::Status { full: named("queue_full")? == "true" }),
        // The text goes on to the end of the line.
        "ERROR" => Some(error(rest.split_once("error_text:").map_or(rest, |(_, text)| text))),
        event => flow(event),
    }
}

fn flow(event: &str) -> Option<Event> {
    match event {
        "MEDIA_XOFF" => Some(Event::Xoff),
        "MEDIA_XON" => Some(Event::Xon),
        _ => None,
    }
}

fn error(text: &str) -> Event {
    Event::Error(excerpt(text.as_bytes(), ERROR_BYTES_MAX))
}

fn key(digit: &str) -> Option<Event> {
    let mut digits = digit.chars();
    Some(Event::Dtmf(digits.next().filter(|_| digits.next().is_none())?))
}

/// The part of a channel variable's name that names a field.
fn field_name(variable: &str) -> Option<&str> {
    let (prefix, name) = variable.split_at_checked(VARIABLE_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(VARIABLE_PREFIX).then_some(name)
}

fn media_start(
    control: Control,
    format: &str,
    channel_id: Option<&str>,
    variables: &[(&str, Option<&str>)],
) -> Event {
    // What was left out and why is of no interest beside what the URL says.
    let mut notes = Vec::new();
    let told = CallFields::from_pairs(variables, Source::Metadata, &mut notes);
    let channel = CallFields::from_pairs(&[("uuid", channel_id)], Source::Metadata, &mut notes);
    let rate = match format {
        "slin" => Some(SampleRate::Hz8000),
        _ => {
            let thousands = format.strip_prefix("slin").and_then(|number| number.parse::<u32>().ok());
            thousands.and_then(|thousands| SampleRate::from_hz(thousands.checked_mul(1000)?))
        }
    };
    Event::MediaStart(Box::new(MediaStart { control, rate, fields: told.or(channel) }))
}

fn mark(id: &str) -> Option<Event> {
    let (flushes, frames) = id.strip_prefix('t')?.split_once('-')?;
    Some(Event::Mark(Mark { flushes: flushes.parse().ok()?, frames: frames.parse().ok()? }))
}

/// Something for Asterisk to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Put messages together into frames, so that no remainder of one is thrown away.
    StartBuffering,
    /// Forget what is queued; ends buffering too.
    Flush,
    /// Say when everything before this was played.
    Mark(Mark),
    /// Say how the queue stands: a sign of life that every version bears, as it does not bear a ping of WebSocket.
    Status,
}

impl Command {
    /// The message.
    pub(crate) fn text(self, control: Control) -> String {
        let name = match self {
            Self::StartBuffering => "START_MEDIA_BUFFERING",
            Self::Flush => "FLUSH_MEDIA",
            Self::Mark(_) => "MARK_MEDIA",
            Self::Status => "GET_STATUS",
        };
        let id = match self {
            Self::Mark(Mark { flushes, frames }) => Some(format!("t{flushes}-{frames}")),
            Self::StartBuffering | Self::Flush | Self::Status => None,
        };
        match (control, id) {
            (Control::Plain, None) => name.to_owned(),
            (Control::Plain, Some(id)) => format!("{name} {id}"),
            (Control::Json, None) => format!(r#"{{"command":"{name}"}}"#),
            (Control::Json, Some(id)) => format!(r#"{{"command":"{name}","correlation_id":"{id}"}}"#),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn started(text: &str) -> MediaStart {
        match Event::parse(text) {
            Event::MediaStart(start) => *start,
            other => panic!("{other:?} of {text}"),
        }
    }

    #[test]
    fn the_first_event_tells_rate_and_call_in_both_ways_of_writing() {
        let plain = started(
            "MEDIA_START connection_id:conn2 channel:WebSocket/conn2/0x7efcd4004660 channel_id:1795335118.347 \
             format:slin16 optimal_frame_size:640 ptime:20",
        );
        assert_eq!((plain.control, plain.rate), (Control::Plain, Some(SampleRate::Hz16000)));
        assert_eq!(plain.fields.uuid.as_deref(), Some("1795335118.347"));
        let json = started(
            r#"{"event":"MEDIA_START","connection_id":"c","channel":"WebSocket/c/0x1","channel_id":"1.2","format":"slin",
            "optimal_frame_size":320,"ptime":20,"channel_variables":{"DIALEDPEERNUMBER":"c","TANDEM_DID":"5000",
            "tandem_caller":"1001","TANDEM_UUID":"u-1","TANDEM_AGENT":7,"DID":"no"}}"#,
        );
        assert_eq!((json.control, json.rate), (Control::Json, Some(SampleRate::Hz8000)));
        let CallFields { uuid, did, caller, agent, .. } = json.fields;
        assert_eq!(
            (uuid.as_deref(), did.as_deref(), caller.as_deref(), agent),
            (Some("u-1"), Some("5000"), Some("1001"), None)
        );
        for format in ["ulaw", "slin12", "slin44", "slin192", "slin+1", "opus", ""] {
            let text = format!(r#"{{"event":"MEDIA_START","format":"{format}"}}"#);
            assert_eq!(started(&text).rate, None, "{format}");
        }
    }

    #[test]
    fn events_are_the_same_in_words_and_in_json() {
        for (plain, json, expected) in [
            ("MEDIA_XOFF", r#"{"event":"MEDIA_XOFF","channel_id":"1.2"}"#, Event::Xoff),
            ("MEDIA_XON", r#"{"event":"MEDIA_XON","channel_id":"1.2"}"#, Event::Xon),
            (
                "DTMF_END digit:5 channel_id:1.2",
                r#"{"event":"DTMF_END","channel_id":"1.2","digit":"5"}"#,
                Event::Dtmf('5'),
            ),
            (
                "MEDIA_MARK_PROCESSED t3-150",
                r#"{"event":"MEDIA_MARK_PROCESSED","channel_id":"1.2","correlation_id":"t3-150"}"#,
                Event::Mark(Mark { flushes: 3, frames: 150 }),
            ),
            ("QUEUE_DRAINED", r#"{"event":"QUEUE_DRAINED"}"#, Event::Other),
            (
                "STATUS channel_id:1.2 queue_length:0 xon_level:800 xoff_level:900 queue_full:false bulk_media:false",
                r#"{"event":"STATUS","channel_id":"1.2","queue_length":0,"queue_full":false}"#,
                Event::Status { full: false },
            ),
            (
                "ERROR channel_id:1.2 error_text:Unable to parse JSON command",
                r#"{"event":"ERROR","channel_id":"1.2","error_text":"Unable to parse JSON command"}"#,
                Event::Error("Unable to parse JSON command".into()),
            ),
            (
                "MEDIA_MARK_PROCESSED mark1",
                r#"{"event":"MEDIA_MARK_PROCESSED","correlation_id":"m"}"#,
                Event::Other,
            ),
            ("DTMF_END digit:12", r#"{"event":"DTMF_END","digit":5}"#, Event::Other),
            ("MEDIA_START", r#"{"event":"MEDIA_START"}"#, Event::Other),
        ] {
            assert_eq!(Event::parse(plain), expected, "{plain}");
            assert_eq!(Event::parse(json), expected, "{json}");
        }
    }

    #[test]
    fn commands_are_what_asterisk_reads_and_never_too_long() {
        let mark = Mark { flushes: 1, frames: 20 };
        assert_eq!(Command::Flush.text(Control::Plain), "FLUSH_MEDIA");
        assert_eq!(Command::Status.text(Control::Plain), "GET_STATUS");
        assert_eq!(Command::Status.text(Control::Json), r#"{"command":"GET_STATUS"}"#);
        assert_eq!(Command::StartBuffering.text(Control::Json), r#"{"command":"START_MEDIA_BUFFERING"}"#);
        assert_eq!(Command::Mark(mark).text(Control::Plain), "MARK_MEDIA t1-20");
        let json = Command::Mark(mark).text(Control::Json);
        assert_eq!(json, r#"{"command":"MARK_MEDIA","correlation_id":"t1-20"}"#);
        let longest = Mark { flushes: u32::MAX, frames: u32::MAX };
        assert!(Command::Mark(longest).text(Control::Json).len() <= 128);
    }

    proptest! {
        #[test]
        fn any_text_is_some_event(text in "(MEDIA_START |DTMF_END |\\{\"event\":\"[A-Z_]{0,20}\",)?.{0,200}") {
            let _ = Event::parse(&text);
        }

        #[test]
        fn a_mark_comes_back(flushes in any::<u32>(), frames in any::<u32>()) {
            let mark = Mark { flushes, frames };
            let text = Command::Mark(mark).text(Control::Plain);
            let answer = text.replace("MARK_MEDIA", "MEDIA_MARK_PROCESSED");
            prop_assert_eq!(Event::parse(&answer), Event::Mark(mark));
        }
    }
}
